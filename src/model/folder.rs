//! A provider's mailboxes as last read: the folder table, from which names are mapped and LIST is answered.

use super::RemoteName;
use serde::{Deserialize, Serialize};

/// What a mailbox is for (RFC 6154). These have one LocalName whatever the provider calls them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Sent,
    Drafts,
    Trash,
    Junk,
}

impl Role {
    /// All roles, in the order in which they are shown.
    pub const ALL: [Self; 4] = [Self::Sent, Self::Drafts, Self::Trash, Self::Junk];

    /// The special-use attribute (RFC 6154 section 2).
    #[must_use]
    pub fn attribute(self) -> &'static str {
        match self {
            Self::Sent => "\\Sent",
            Self::Drafts => "\\Drafts",
            Self::Trash => "\\Trash",
            Self::Junk => "\\Junk",
        }
    }
}

/// What LIST said of a mailbox beside its name. Whether it has children is worked out from the LocalNames: mapping moves
/// mailboxes in the tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// `\Noselect` or `\NonExistent`: a node of the tree that holds no messages.
    pub no_select: bool,
    /// `\Noinferiors`.
    pub no_inferiors: bool,
}

/// One mailbox at the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    pub name: RemoteName,
    pub attributes: Attributes,
    /// Said by a special-use attribute, not guessed from the name.
    pub role: Option<Role>,
    pub subscribed: bool,
}

/// All mailboxes of one account as last read, and the shape of its names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FolderTable {
    /// What stands before every personal mailbox but INBOX (RFC 2342), delimiter included: `INBOX.` or nothing.
    pub prefix: Vec<u8>,
    /// The provider's hierarchy delimiter; None for a flat namespace.
    pub delimiter: Option<u8>,
    /// In the provider's order, names unique.
    pub folders: Vec<Folder>,
    /// Names that are subscribed and no mailbox any more: LSUB tells them all the same (RFC 3501 6.3.9).
    pub gone: Vec<RemoteName>,
    /// The provider keeps no subscriptions: it refuses LSUB, or answers it with nothing.
    pub unsubscribed: bool,
    /// The prefixes of namespaces that are not this user's own: other users' and shared (RFC 2342).
    pub foreign: Vec<Vec<u8>>,
}
