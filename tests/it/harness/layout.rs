//! How hosters lay a mailbox out: names, delimiter, special folders. The same mail lies in each, under other names.

use passerelle::wire::imap::utf7;

/// How the mailboxes look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// OVH as it was in 2019: everything below `INBOX.`, `.` between names, and no SPECIAL-USE flag on any mailbox.
    Ovh,
    /// The same names over a store in which a copy costs nothing, for mailboxes of 200,000 messages.
    OvhDense,
    /// No prefix and `/` between names, still without flags: as a CRM likes it, and as the bridge shows any other.
    Slash,
    /// Gmail in French: the specials below `[Gmail]`, known by their flags.
    Gmail,
    /// Microsoft 365 in French: the specials beside the user's own mailboxes, known by their flags.
    Microsoft,
    /// [`Layout::Gmail`] as a CRM is to see it: the four specials by their plain names, the rest as it is.
    GmailShown,
    /// [`Layout::Microsoft`] as a CRM is to see it.
    MicrosoftShown,
}

/// The mailboxes of [`Layout::Ovh`] as the wire spells them: Sent, Trash, Drafts, Junk, and a few that a French and a
/// German user made (`Été 2024`, below it `Devis & co`, and `Kunden-Ärger`).
pub(crate) const OVH_MAILBOXES: [&str; 10] = [
    "INBOX",
    "INBOX.&AMk-t&AOk- 2024",
    "INBOX.&AMk-t&AOk- 2024.Devis &- co",
    "INBOX.Clients",
    "INBOX.Clients.Dupont SARL",
    "INBOX.Drafts",
    "INBOX.Junk",
    "INBOX.Kunden-&AMQ-rger",
    "INBOX.Sent",
    "INBOX.Trash",
];

/// What users made, as people read it, `/` between names.
pub(super) const OWN: [&str; 5] = ["Été 2024", "Été 2024/Devis & co", "Clients", "Clients/Dupont SARL", "Kunden-Ärger"];

/// A special mailbox: the CRM's name of its role (none where a CRM has no such role), the hoster's, its flag.
struct Special {
    role: Option<&'static str>,
    name: &'static str,
    flag: &'static str,
}

const fn special(role: &'static str, name: &'static str, flag: &'static str) -> Special {
    Special { role: Some(role), name, flag }
}

const fn other(name: &'static str, flag: &'static str) -> Special {
    Special { role: None, name, flag }
}

const PLAIN: [Special; 4] = [
    special("Drafts", "Drafts", ""),
    special("Junk", "Junk", ""),
    special("Sent", "Sent", ""),
    special("Trash", "Trash", ""),
];

/// Source: providers.md section 3.
const GMAIL: [Special; 7] = [
    special("Drafts", "[Gmail]/Brouillons", "\\Drafts"),
    special("Junk", "[Gmail]/Spam", "\\Junk"),
    special("Sent", "[Gmail]/Messages envoyés", "\\Sent"),
    special("Trash", "[Gmail]/Corbeille", "\\Trash"),
    other("[Gmail]/Important", "\\Important"),
    other("[Gmail]/Suivis", "\\Flagged"),
    other("[Gmail]/Tous les messages", "\\All"),
];

/// Source: providers.md section 4; the apostrophe is U+2019.
const MICROSOFT: [Special; 5] = [
    special("Drafts", "Brouillons", "\\Drafts"),
    special("Junk", "Courrier indésirable", "\\Junk"),
    special("Sent", "Éléments envoyés", "\\Sent"),
    special("Trash", "Éléments supprimés", "\\Trash"),
    other("Boîte d’envoi", ""),
];

impl Layout {
    /// What stands between the parts of a name.
    pub(crate) fn delimiter(self) -> &'static str {
        if matches!(self, Self::Ovh | Self::OvhDense) { "." } else { "/" }
    }

    /// What all mailboxes but INBOX begin with.
    pub(crate) fn prefix(self) -> &'static str {
        if matches!(self, Self::Ovh | Self::OvhDense) { "INBOX." } else { "" }
    }

    fn specials(self) -> &'static [Special] {
        match self {
            Self::Ovh | Self::OvhDense | Self::Slash => &PLAIN,
            Self::Gmail | Self::GmailShown => &GMAIL,
            Self::Microsoft | Self::MicrosoftShown => &MICROSOFT,
        }
    }

    /// Whether a role's mailbox bears the role's own name.
    fn is_shown(self) -> bool {
        matches!(self, Self::GmailShown | Self::MicrosoftShown)
    }

    /// The layout that a CRM is to see for this one.
    pub(crate) fn shown(self) -> Self {
        match self {
            Self::Gmail | Self::GmailShown => Self::GmailShown,
            Self::Microsoft | Self::MicrosoftShown => Self::MicrosoftShown,
            Self::Ovh | Self::OvhDense | Self::Slash => Self::Slash,
        }
    }

    /// How the wire spells a mailbox that a CRM calls `Sent` or `Clients/Dupont SARL`.
    pub(crate) fn remote(self, local: &str) -> String {
        if local.eq_ignore_ascii_case("INBOX") {
            return "INBOX".to_owned();
        }
        let special = self.specials().iter().find(|special| special.role == Some(local) && !self.is_shown());
        let name = special.map_or(local, |special| special.name).replace('/', self.delimiter());
        String::from_utf8(utf7::encode(&format!("{}{name}", self.prefix()))).expect("modified UTF-7 is ASCII")
    }

    /// All mailboxes of a new user as the wire spells them.
    pub(crate) fn mailboxes(self) -> Vec<String> {
        let specials = self.specials().iter().map(|special| special.role.unwrap_or(special.name));
        ["INBOX"].into_iter().chain(OWN).chain(specials).map(|name| self.remote(name)).collect()
    }

    /// How this layout spells a mailbox of [`OVH_MAILBOXES`].
    pub(super) fn spell(self, mailbox: &str) -> String {
        match mailbox.strip_prefix("INBOX.") {
            Some(name) => {
                let local = utf7::decode(name.as_bytes()).expect("the names of OVH are well spelt");
                self.remote(&local.replace('.', "/"))
            }
            None => mailbox.to_owned(),
        }
    }

    /// Dovecot's store and namespace. Its configuration is UTF-8, knows no prefix and takes one setting a line.
    pub(super) fn directives(self) -> String {
        let mail = match self {
            Self::Ovh => "maildir:~/Maildir",
            Self::OvhDense => "mdbox:~/mdbox",
            _ => "maildir:~/Maildir:LAYOUT=fs",
        };
        let (prefix, delimiter) = (self.prefix(), self.delimiter());
        let specials = self.specials().iter().map(|special| {
            let shown = special.role.filter(|_| self.is_shown());
            (shown.unwrap_or(special.name), special.flag)
        });
        let mailboxes: String = OWN
            .into_iter()
            .map(|name| (name, ""))
            .chain(specials)
            .map(|(name, flag)| {
                let flag = if flag.is_empty() { String::new() } else { format!("    special_use = {flag}\n") };
                format!("  mailbox \"{}\" {{\n    auto = subscribe\n{flag}  }}\n", name.replace('/', delimiter))
            })
            .collect();
        format!(
            "mail_location = {mail}\nnamespace inbox {{\n  inbox = yes\n  prefix = {prefix}\n  separator = {delimiter}\n{mailboxes}}}\n"
        )
    }
}
