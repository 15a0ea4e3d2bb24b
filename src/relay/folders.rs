//! Reads a provider's folder table over a signed-in connection: NAMESPACE, LIST and, where it is needed, LSUB.
//!
//! It speaks when nothing else is pending on that connection, under tags of its own, and holds at most the caps of
//! `wire`. RFC 3501 6.3.8, RFC 2342, RFC 5258, RFC 6154.

use crate::{
    failure::Misbehaviour,
    model::{Folder, FolderTable, RemoteName},
    wire::{
        FOLDER_NAMES_MAX, FOLDERS_MAX,
        imap::{
            Capabilities,
            response::{self, Condition, Kind, Namespaces, Response},
        },
    },
};
use std::collections::{HashMap, HashSet};

/// A reading under way.
#[derive(Debug, Default)]
pub struct FolderReading {
    namespaces: Namespaces,
    delimiter: Option<u8>,
    folders: Vec<Folder>,
    index: HashMap<RemoteName, usize>,
    subscribed: HashSet<RemoteName>,
    octets: usize,
    lsub_failed: bool,
}

/// The tags of the reading; the last ends it.
const NAMESPACE: &[u8] = b"PSRLn";
const LIST: &[u8] = b"PSRLl";
const LSUB: &[u8] = b"PSRLs";

/// Where a reading stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// This response was the reading's; more come.
    Taken,
    /// This response is none of the reading's.
    Foreign,
    /// Nothing more comes.
    Done,
}

impl FolderReading {
    /// Begins, and says what to send. All at once: no answer decides what is asked next.
    #[must_use]
    pub fn begin(capabilities: &Capabilities) -> (Self, Vec<u8>) {
        let mut lines = Vec::new();
        if capabilities.has("NAMESPACE") {
            lines.extend_from_slice(&[NAMESPACE, b" NAMESPACE\r\n"].concat());
        }
        // Most tell special uses in plain LIST; with both extensions they may wait to be asked (RFC 6154 section 5).
        let extended = capabilities.has("LIST-EXTENDED") && capabilities.has("SPECIAL-USE");
        let returns: &[u8] = if extended { b" RETURN (SPECIAL-USE)" } else { b"" };
        lines.extend_from_slice(&[LIST, b" LIST \"\" \"*\"", returns, b"\r\n"].concat());
        // Of an extended LIST the subscribed names that are no mailbox would have to be asked for too.
        lines.extend_from_slice(&[LSUB, b" LSUB \"\" \"*\"\r\n"].concat());
        (Self::default(), lines)
    }

    /// Takes one whole response, its literals included.
    ///
    /// # Errors
    /// A response that cannot be read, a table above the caps, or a provider that refuses LIST.
    pub fn response(&mut self, octets: &[u8]) -> Result<Progress, Misbehaviour> {
        match response::read(octets)? {
            Response::Data { kind: Kind::Namespace, rest, .. } => {
                self.namespaces = match response::namespaces(octets, rest) {
                    // Without them mailboxes of others would be shown.
                    Err(Misbehaviour::TooManyMailboxes) => return Err(Misbehaviour::TooManyMailboxes),
                    // A provider whose NAMESPACE cannot be read still has mailboxes.
                    read => read.unwrap_or_default(),
                };
                Ok(Progress::Taken)
            }
            Response::Data { kind: Kind::List, rest, .. } => self.listed(octets, rest),
            Response::Data { kind: Kind::Lsub, rest, .. } => self.lsub(octets, rest),
            Response::Status { tag: Some(tag), status } => self.ended(tag, status.condition),
            _ => Ok(Progress::Foreign),
        }
    }

    fn ended(&mut self, tag: &[u8], condition: Condition) -> Result<Progress, Misbehaviour> {
        match tag {
            LIST if condition != Condition::Ok => Err(Misbehaviour::Syntax),
            LSUB => {
                self.lsub_failed = condition != Condition::Ok;
                Ok(Progress::Done)
            }
            LIST | NAMESPACE => Ok(Progress::Taken),
            _ => Ok(Progress::Foreign),
        }
    }

    fn listed(&mut self, octets: &[u8], rest: usize) -> Result<Progress, Misbehaviour> {
        let listed = response::listed(octets, rest)?;
        let name = listed.name.value(octets);
        // A name that could end a line is hidden, not passed (rule R10); so is the empty name, the root.
        let Ok(name) = RemoteName::parse(&name) else { return Ok(Progress::Taken) };
        self.delimiter = self.delimiter.or(listed.delimiter);
        if listed.nonexistent || self.index.contains_key(&name) || self.is_inbox_again(&name) {
            return Ok(Progress::Taken);
        }
        self.octets += name.as_bytes().len();
        if self.folders.len() == FOLDERS_MAX || self.octets > FOLDER_NAMES_MAX {
            return Err(Misbehaviour::TooManyLines);
        }
        self.index.insert(name.clone(), self.folders.len());
        self.folders.push(Folder { name, attributes: listed.attributes, role: listed.role, subscribed: false });
        Ok(Progress::Taken)
    }

    /// INBOX in another case is the same mailbox (RFC 3501 5.1): told twice, a client would see two of one name.
    fn is_inbox_again(&self, name: &RemoteName) -> bool {
        let is_inbox = |name: &RemoteName| name.as_bytes().eq_ignore_ascii_case(b"INBOX");
        is_inbox(name) && self.folders.iter().any(|folder| is_inbox(&folder.name))
    }

    fn lsub(&mut self, octets: &[u8], rest: usize) -> Result<Progress, Misbehaviour> {
        let listed = response::listed(octets, rest)?;
        // `\Noselect` in LSUB: only a child is subscribed (RFC 3501 6.3.9).
        if let (Ok(name), false) = (RemoteName::parse(&listed.name.value(octets)), listed.attributes.no_select)
            && !self.subscribed.contains(&name)
        {
            self.octets += name.as_bytes().len();
            if self.subscribed.len() == FOLDERS_MAX || self.octets > FOLDER_NAMES_MAX {
                return Err(Misbehaviour::TooManyLines);
            }
            self.subscribed.insert(name);
        }
        Ok(Progress::Taken)
    }

    /// The table, once the reading is done.
    #[must_use]
    pub fn finish(mut self) -> FolderTable {
        let (prefix, delimiter) = self.namespaces.personal.first().cloned().unwrap_or((Vec::new(), self.delimiter));
        let mut foreign = self.namespaces.foreign;
        foreign.retain(|prefix| !prefix.is_empty());
        let is_foreign = |name: &RemoteName| foreign.iter().any(|prefix| name.as_bytes().starts_with(prefix));
        let unsubscribed = self.lsub_failed || self.subscribed.is_empty();
        for folder in &mut self.folders {
            folder.subscribed = unsubscribed || self.subscribed.contains(&folder.name);
        }
        let mut gone: Vec<_> = self.subscribed.into_iter().filter(|name| !self.index.contains_key(name)).collect();
        gone.retain(|name| !is_foreign(name));
        gone.sort();
        let delimiter = delimiter.or(self.delimiter);
        FolderTable { prefix, delimiter, folders: self.folders, gone, unsubscribed, foreign }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::imap::response::capabilities;

    fn read(offered: &[u8], responses: &[&[u8]]) -> Result<FolderTable, Misbehaviour> {
        let (mut reading, _) = FolderReading::begin(&capabilities(offered));
        for response in responses {
            if reading.response(response)? == Progress::Done {
                return Ok(reading.finish());
            }
        }
        panic!("the reading did not end");
    }

    fn names(table: &FolderTable) -> Vec<String> {
        let name = |folder: &Folder| String::from_utf8_lossy(folder.name.as_bytes()).into_owned();
        table
            .folders
            .iter()
            .map(|folder| format!("{}{}", name(folder), if folder.subscribed { "+" } else { "" }))
            .collect()
    }

    #[test]
    fn an_old_provider_is_asked_for_subscriptions() {
        let table = read(
            b"IMAP4rev1 NAMESPACE",
            &[
                b"* NAMESPACE ((\"INBOX.\" \".\")) NIL ((\"shared.\" \".\"))",
                b"PSRLn OK",
                b"* LIST () \".\" INBOX",
                b"* LIST () \".\" {7}\r\nINBOX.a",
                b"* LIST () \".\" shared.b",
                b"* 3 EXISTS",
                b"PSRLl OK",
                b"* LSUB () \".\" INBOX.a",
                b"* LSUB (\\Noselect) \".\" INBOX",
                b"PSRLs OK",
            ],
        );
        let table = table.expect("read");
        assert_eq!(
            (names(&table), &*table.prefix, table.delimiter),
            (vec!["INBOX".into(), "INBOX.a+".into(), "shared.b".into()], &b"INBOX."[..], Some(b'.'))
        );
        assert_eq!((table.foreign, table.unsubscribed), (vec![b"shared.".to_vec()], false));
    }

    #[test]
    fn subscribed_names_that_are_no_mailbox_are_told() {
        let table = read(
            b"NAMESPACE LIST-EXTENDED SPECIAL-USE",
            &[
                b"* LIST (\\Sent) \"/\" \"[Gmail]/x\"",
                b"* LIST (\\NonExistent) \"/\" gone",
                b"PSRLl OK",
                b"* LSUB () \"/\" gone",
                b"* LSUB () \"/\" \"[Gmail]/x\"",
                b"PSRLs OK",
            ],
        );
        let table = table.expect("read");
        assert_eq!(names(&table), ["[Gmail]/x+"]);
        assert_eq!(table.gone, [RemoteName::parse(b"gone").expect("a name")]);
    }

    #[test]
    fn names_that_could_end_a_line_are_hidden() {
        let table = read(
            b"LIST-EXTENDED",
            &[b"* LIST () \"/\" {4}\r\na\r\nb", b"* LIST () \"/\" \"\"", b"PSRLl OK", b"PSRLs OK"],
        );
        assert!(table.expect("read").folders.is_empty());
    }

    #[test]
    fn inbox_is_one_mailbox_in_any_case() {
        let listed: [&[u8]; 5] =
            [b"* LIST () \"/\" inbox", b"* LIST () \"/\" INBOX", b"* LIST () \"/\" Inbox/a", b"PSRLl OK", b"PSRLs OK"];
        assert_eq!(names(&read(b"", &listed).expect("read")), ["inbox+", "Inbox/a+"]);
    }

    #[test]
    fn a_provider_cannot_fill_the_memory() {
        let (mut reading, _) = FolderReading::begin(&capabilities(b""));
        let fault = (0..=FOLDERS_MAX).find_map(|n| reading.response(format!("* LIST () \"/\" f{n}").as_bytes()).err());
        assert_eq!(fault, Some(Misbehaviour::TooManyLines));
    }

    #[test]
    fn where_subscriptions_are_refused_all_are_subscribed() {
        let table = read(b"", &[b"* LIST () \"/\" a", b"PSRLl OK", b"PSRLs BAD no"]);
        let table = table.expect("read");
        assert_eq!((names(&table), table.unsubscribed), (vec!["a+".into()], true));
        // RFC 3501 has no way to say that there are none to keep: some say nothing.
        let table = read(b"", &[b"* LIST () \"/\" a", b"PSRLl OK", b"PSRLs OK"]).expect("read");
        assert_eq!((names(&table), table.unsubscribed), (vec!["a+".into()], true));
    }
}
