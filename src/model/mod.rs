//! The vocabulary: small types that every layer speaks, each valid by construction.
//!
//! Nothing here does I/O, reads a clock or knows a protocol machine. A value that exists is valid; what the types
//! refuse is said by [`Invalid`], without the refused text.

mod account;
mod address;
mod endpoint;
mod folder;
mod link;
mod login;
mod name;
mod number;
mod pin;
mod secret;
mod shell;

pub use account::{FromPolicy, SenderPolicy, SentCopy, SmtpAuth, Submission, Uncertain, UnreadScope, UserFormat};
pub use address::Address;
pub use endpoint::{Certificates, Endpoint, Host, Security};
pub use folder::{Attributes, Folder, FolderTable, Role};
pub use link::SignInLink;
pub use login::Login;
pub use name::{LocalName, MAILBOX_NAME_MAX, RemoteName};
pub use number::{index, number};
pub use pin::{Pin, Pins};
pub use secret::Secret;
pub use shell::quoted;

use serde::{Deserialize, Serialize};

/// A row of the store, and so an identity that never changes and is never used twice.
macro_rules! row_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);
    };
}
row_id! {
    /// A person known to the bridge.
    UserId
}
row_id! {
    /// One mailbox at one provider.
    AccountId
}
row_id! {
    /// A local name and password with which a CRM opens an account.
    LoginId
}
row_id! {
    /// A client (application) that is registered at a provider.
    RegistrationId
}

/// A number that grows when an account's credentials, provider or rights change. Lanes and caches that carry an old one
/// are thrown away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub i64);

/// A number of an account that grows only when it is swapped to another mailbox, never by credentials, host or rights.
/// With the RemoteName it decides whether UIDs of a mailbox can still be the ones that a CRM remembers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub i64);

/// Why a text is not a value of a type of this module. Holds no part of the text: it may be a secret or mail content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// An address without one `@` between a local part and a domain, or with octets that no SMTP line may hold.
    #[error("not an address of the form local@domain")]
    Address,
    /// A host that is neither a domain name nor an IP address.
    #[error("not a host name or IP address")]
    Host,
    /// A login name that is empty, too long, or holds blanks or control octets.
    #[error("not a login name (1 to 254 printable ASCII characters without blank, quote or backslash)")]
    Login,
    /// A mailbox name that is empty, too long, or holds CR, LF or NUL.
    #[error("not a mailbox name")]
    MailboxName,
    /// A pin that is no SHA-256.
    #[error("not the SHA-256 of a public key (64 hex digits, or base64)")]
    Pin,
    /// A port that is not a number from 1 to 65535.
    #[error("not a port from 1 to 65535")]
    Port,
}
