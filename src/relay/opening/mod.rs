//! Openings: the machines from a provider's greeting to a signed-in lane, driven by `upstream`.
//!
//! They do no I/O and read no clock, and no credential leaves them before TLS where TLS is wanted (rules R2 to R5). The
//! driver dials, does implicit TLS before the first octet, and keeps the time.

pub mod imap;
pub mod smtp;

use crate::{
    failure::Failure,
    model::{FolderTable, Secret},
    wire::{
        self,
        sasl::{write_login, write_plain},
    },
};
use zeroize::Zeroizing;

/// A protocol from the greeting to signed in.
pub trait Opening: Send {
    /// Takes octets of the provider off the front of `input` and puts steps. All is taken unless the opening has ended
    /// with [`OpeningStep::Opened`]: what is left then belongs to the lane.
    ///
    /// # Errors
    /// Why there will be no lane; the opening is of no use afterwards.
    fn input(&mut self, input: &mut &[u8], out: &mut Vec<OpeningStep>) -> Result<(), Failure>;

    /// The handshake that [`OpeningStep::StartTls`] asked for is done.
    ///
    /// # Errors
    /// As for [`Opening::input`].
    fn tls_established(&mut self, out: &mut Vec<OpeningStep>) -> Result<(), Failure>;

    /// The provider's own words when it refused, capped and in one line: for the console and the command line, which
    /// belong to the account's owner, never for the CRM.
    fn provider_words(&self) -> Option<&str>;
}

/// What the driver does next, in this order.
pub enum OpeningStep {
    /// Send these octets, which may hold a credential: never log them.
    Write(Secret<Vec<u8>>),
    /// Shake hands. Octets that were read and not taken yet end the opening as
    /// [`crate::failure::Misbehaviour::StarttlsInjection`]; handing them to [`Opening::input`] does that.
    StartTls,
    /// For the log and for whoever waits.
    Progress(Milestone),
    /// The lane is signed in; the last step.
    Opened(Opened),
}

/// How far an opening has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Milestone {
    Greeted,
    TlsUpgraded,
    SignedIn,
    FoldersRead,
}

/// What an opening has learnt of the lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// `folders` where they were asked for.
    Imap {
        capabilities: wire::imap::Capabilities,
        folders: Option<FolderTable>,
    },
    Smtp {
        extensions: wire::smtp::Extensions,
    },
}

/// How the bridge signs in at the provider.
pub enum SignIn {
    Password { user: Box<str>, password: Secret<String> },
}

/// What stands in the place of a password.
const HIDDEN: &str = "[hidden]";
/// Where words are cut, so may be a password at their end: this much of it is hidden too.
const CUT_MIN: usize = 4;
/// This much of PLAIN's response, base64 of NUL and the user's first letters, is enough to know it by, however it was cut.
const PLAIN_START: usize = 8;

impl SignIn {
    /// Words of the provider without the password: servers echo the line that they refuse, and words are logged.
    fn hide(&self, words: &str) -> String {
        let Self::Password { user, password } = self;
        let password = password.expose();
        let quoted = Zeroizing::new(password.replace('\\', "\\\\").replace('"', "\\\""));
        let mut hidden = words.to_owned();
        if let Ok(plain) = write_plain(user.as_bytes(), password.as_bytes()) {
            let start = plain.expose().get(..PLAIN_START).unwrap_or(plain.expose());
            while let Some(at) = find(&hidden, start) {
                let rest = hidden.get(at..).unwrap_or_default();
                let length = rest.find(char::is_whitespace).unwrap_or(rest.len());
                hidden.replace_range(at..at + length, HIDDEN);
            }
        }
        let login = write_login(password.as_bytes()).ok();
        for form in [Some(quoted.as_str()), Some(password), login.as_ref().map(|login| login.expose().as_str())] {
            hidden = hide_form(hidden, form.unwrap_or_default());
        }
        hidden
    }
}

fn hide_form(mut words: String, form: &str) -> String {
    if form.is_empty() {
        return words;
    }
    let mut done = 0;
    while let Some(at) = words.get(done..).and_then(|rest| find(rest, form)).map(|at| done + at) {
        words.replace_range(at..at + form.len(), HIDDEN);
        done = at + HIDDEN.len();
    }
    let cut = |length: &usize| {
        let start = form.get(..*length).filter(|_| words.len() >= *length);
        start.is_some_and(|start| find(words.get(words.len() - length..).unwrap_or_default(), start).is_some())
    };
    if let Some(length) = (CUT_MIN..form.len()).rev().find(cut) {
        words.replace_range(words.len() - length.., HIDDEN);
    }
    words
}

/// Where `form` stands, in any case: some servers raise the line that they echo.
fn find(words: &str, form: &str) -> Option<usize> {
    words.as_bytes().windows(form.len()).position(|window| window.eq_ignore_ascii_case(form.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_of_a_provider_tells_the_password() {
        let hide = |password: &str, words: &str| {
            let password = Secret::new(password.to_owned());
            SignIn::Password { user: "alice".into(), password }.hide(words)
        };
        for (password, words, hidden) in [
            ("hunter2", "Unknown: LOGIN alice hunter2", "Unknown: LOGIN alice [hidden]"),
            ("hunter2", "no HUNTER2, no hunter2hunter2.", "no [hidden], no [hidden][hidden]."),
            ("a \"b\\", "x \"a \\\"b\\\\\" and a \"b\\ y", "x \"[hidden]\" and [hidden] y"),
            ("hunter2", "no AUTH PLAIN AGFsaWNlAGh1bnRlcjI=, sorry", "no AUTH PLAIN [hidden] sorry"),
            ("hunter2", "no AUTH PLAIN AGFsaWNlAGh1", "no AUTH PLAIN [hidden]"),
            ("hunter2", "<aHVudGVyMg==>", "<[hidden]>"),
            ("hunter2", "cut: aHVudG", "cut: [hidden]"),
            ("hunter2", "cut: hunte", "cut: [hidden]"),
            ("[hidden]", "[hidden]", "[hidden]"),
            ("mot de passe é", "échec: mot de passe é, é", "échec: [hidden], é"),
            ("passwort", "wrong password", "wrong password"),
            ("", "wrong password", "wrong password"),
        ] {
            assert_eq!(hide(password, words), hidden, "{password}: {words}");
        }
    }
}
