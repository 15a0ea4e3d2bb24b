//! What can be chosen for an account beside where it is: the words of its settings.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Of which mailboxes CRMs hear how many messages are unread. Some count over all folders and some over one, and a page
/// that asks hundreds of folders is slow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnreadScope {
    /// Of all.
    #[default]
    All,
    /// Of INBOX; of others the answer is none.
    Inbox,
}

impl UnreadScope {
    /// All of them, as they are kept and typed.
    pub const ALL: [Self; 2] = [Self::All, Self::Inbox];
}

impl fmt::Display for UnreadScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "all",
            Self::Inbox => "inbox",
        })
    }
}

/// What becomes of an envelope sender that is not one of the account's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SenderPolicy {
    /// It passes, and the provider judges it.
    Any,
    /// The command is refused.
    #[default]
    Refuse,
    /// One of the account's takes its place.
    Rewrite,
}

impl SenderPolicy {
    /// All of them, as they are kept and typed.
    pub const ALL: [Self; 3] = [Self::Any, Self::Refuse, Self::Rewrite];
}

impl fmt::Display for SenderPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "any",
            Self::Refuse => "refuse",
            Self::Rewrite => "rewrite",
        })
    }
}

/// What becomes of the From field of a message (RFC 5322 section 3.6.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromPolicy {
    /// It passes, and nobody looks at it.
    Keep,
    /// A message from another address than the account's is refused.
    #[default]
    Check,
    /// The same, and a bare address gets the account's display name.
    AddName,
    /// The account's own take the place of what is not: address and display name.
    Force,
}

impl FromPolicy {
    /// All of them, as they are kept and typed.
    pub const ALL: [Self; 4] = [Self::Keep, Self::Check, Self::AddName, Self::Force];
}

impl fmt::Display for FromPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Keep => "keep",
            Self::Check => "check",
            Self::AddName => "add-name",
            Self::Force => "force",
        })
    }
}

/// Whether the bridge puts a copy of what is sent into the account's Sent mailbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SentCopy {
    /// Where the provider does not. Where that is not known, it is looked at and remembered.
    #[default]
    Auto,
    /// Where it is not there yet.
    Always,
    /// The CRM, the provider or nobody does.
    Never,
}

impl SentCopy {
    /// All of them, as they are kept and typed.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Always, Self::Never];
}

impl fmt::Display for SentCopy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Always => "always",
            Self::Never => "never",
        })
    }
}

/// When a CRM hears that its message is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Submission {
    /// When the provider has taken it.
    #[default]
    Direct,
    /// When it is on the disk of the bridge, which goes on trying.
    Queued,
}

impl Submission {
    /// All of them, as they are kept and typed.
    pub const ALL: [Self; 2] = [Self::Direct, Self::Queued];
}

impl fmt::Display for Submission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "direct",
            Self::Queued => "queued",
        })
    }
}

/// What becomes of a queued message whose end mark the provider never answered (RFC 1047).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Uncertain {
    /// It is shown, and a person decides.
    #[default]
    Hold,
    /// It is sent again, and may so be sent twice.
    Resend,
}

impl Uncertain {
    /// All of them, as they are kept and typed.
    pub const ALL: [Self; 2] = [Self::Hold, Self::Resend];
}

impl fmt::Display for Uncertain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hold => "hold",
            Self::Resend => "resend",
        })
    }
}

/// How the name with which the bridge signs in at the provider comes about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UserFormat {
    /// The whole address.
    #[default]
    Address,
    /// What stands before the `@`.
    MailboxName,
    /// As a person gave it.
    Manual,
}

impl UserFormat {
    /// All of them, as they are kept and typed.
    pub const ALL: [Self; 3] = [Self::Address, Self::MailboxName, Self::Manual];
}

impl fmt::Display for UserFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Address => "address",
            Self::MailboxName => "mailbox-name",
            Self::Manual => "manual",
        })
    }
}

/// With what the bridge signs in to the provider's submission service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", content = "user")]
pub enum SmtpAuth {
    /// As to IMAP.
    #[default]
    Same,
    /// Not at all: a relay that knows this machine.
    None,
    /// As this user, with a password of its own.
    Separate(String),
    /// As this user, with what opens the mailbox: a shared one of Microsoft's, which its delegate sends for.
    Delegate(String),
}

impl SmtpAuth {
    /// The word for the kind, as it is kept.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::None => "none",
            Self::Separate(_) => "separate",
            Self::Delegate(_) => "delegate",
        }
    }
}
