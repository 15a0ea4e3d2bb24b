//! Openings: the machines from a provider's greeting to a signed-in lane, driven by `upstream`.
//!
//! They do no I/O and read no clock, and no credential leaves them before TLS where TLS is wanted (rules R2 to R5). The
//! driver dials, does implicit TLS before the first octet, and keeps the time.

pub mod imap;
mod sign_in;
pub mod smtp;

pub use sign_in::{NOBODY_AT_THE_DOOR, SignIn};

use crate::{
    failure::Failure,
    model::{FolderTable, Secret},
    wire,
};

/// The provider's words in letters; enough for the longest links of Google and Microsoft.
const WORDS_MAX: usize = 500;

/// A provider's words as they may be shown to the account's owner: in one line, and cut.
pub(super) fn words_for_people(words: &str) -> String {
    words.chars().map(|letter| if letter.is_control() { '?' } else { letter }).take(WORDS_MAX).collect()
}

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

    /// Whether the opening failed because the provider does not take this access token: a fresh one may do. A mailbox that
    /// may not be opened at all, a busy provider and a wrong password are nothing that a fresh token mends.
    fn token_refused(&self) -> bool;
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
