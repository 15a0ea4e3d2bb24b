//! What can go wrong with what is kept: who is at fault, where, and the command that mends it.
//!
//! An error holds paths and names that the administrator gave, never a secret and never a value read from a row.

use super::vault;
use crate::{
    failure::{Cap, Failure, Misbehaviour, Unreachable},
    model::quoted,
};
use std::{io, path::PathBuf};

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is an account with this address.
    #[error("there is already an account with this address: {0}")]
    AddressTaken(crate::model::Address),
    /// Another has changed the account since it was read.
    #[error("the account was changed by another meanwhile, and nothing was changed by this")]
    Changed,
    /// Others kept changing the same row.
    #[error("too many changes at once of the table: {0}")]
    Contended(&'static str),
    /// A row holds what this program would never have written.
    #[error("the store holds a value that cannot be read, in the column: {0}")]
    Corrupt(&'static str),
    /// The database failed.
    #[error("the database failed")]
    Database(#[source] sqlx::Error),
    /// The disk is full. Nothing was changed.
    #[error("the disk of the store is full")]
    DiskFull,
    /// A file or directory of the bridge.
    #[error("cannot {doing}: {}", path.display())]
    File { doing: &'static str, path: PathBuf, source: io::Error },
    /// There is a login of this name.
    #[error("there is already a login of this name: {0}")]
    LoginTaken(crate::model::Login),
    /// The schema could not be brought up to date.
    #[error("the database could not be brought up to this version")]
    Migration(#[source] sqlx::migrate::MigrateError),
    /// No row of this kind has this id (any more).
    #[error("not found any more, it was removed meanwhile: {0}")]
    Missing(&'static str),
    /// Others than the owner may read or write a key.
    #[error("the key can be read or written by others than its owner: {}", .0.display())]
    OpenToOthers(PathBuf),
    /// Too many messages or recipients of one account are queued.
    #[error("too many messages of one account are in the queue")]
    QueueFull,
    /// The system gives no random octets.
    #[error("the system gives no random numbers")]
    Randomness,
    /// Another bridge serves this state directory.
    #[error("another `passerelle serve` has this state directory: {}", .0.display())]
    Served(PathBuf),
    /// The provider has shown more names of mailboxes than are kept of one account.
    #[error("this account has shown more folder names than the bridge keeps for one")]
    TooManyNames,
    /// The key, or what it seals.
    #[error(transparent)]
    Vault(#[from] vault::Error),
    /// What is believed belongs to another user, who can write it whatever its mode says.
    #[error("this belongs to another user: {}", .0.display())]
    Anothers(PathBuf),
    /// Others than the owner may write what is believed.
    #[error("others than its owner may write: {}", .0.display())]
    WritableByOthers(PathBuf),
}

impl Error {
    pub(crate) fn file(doing: &'static str, path: &std::path::Path, source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::StorageFull {
            return Self::DiskFull;
        }
        Self::File { doing, path: path.to_owned(), source }
    }

    /// What mends it, for people.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::AddressTaken(address) => {
                let address = quoted(address.as_str());
                Some(format!(
                    "see it with `passerelle account show {address}`, or give it another login with `passerelle login add {address} --label NAME`"
                ))
            }
            Self::Changed => Some("look with `passerelle account show ADDRESS`, then try again".to_owned()),
            Self::DiskFull => Some("make room on the disk of the state directory and try again".to_owned()),
            Self::File { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("run as the user who owns the state directory, or name another with `--state DIR`".to_owned())
            }
            Self::LoginTaken(_) => Some("choose another with `--name NAME` or `--label LABEL`".to_owned()),
            Self::Migration(sqlx::migrate::MigrateError::VersionMissing(_)) => {
                Some("this database was written by a newer passerelle: start that version".to_owned())
            }
            Self::Served(_) => Some(
                "one is enough for all accounts; stop it first, or give this one another directory with `--state DIR`"
                    .to_owned(),
            ),
            Self::TooManyNames => Some(
                "if the provider makes up new folders all the time, ask it why; if they are real, add the account anew: \
                 `passerelle account remove ADDRESS`, then `passerelle account add ADDRESS`"
                    .to_owned(),
            ),
            Self::Anothers(_) => Some(
                "run as the user who owns the state directory (`sudo -u OWNER passerelle …`), or name another with `--state DIR`"
                    .to_owned(),
            ),
            Self::OpenToOthers(path) => Some(format!("chmod 600 {}", quoted(&path.display().to_string()))),
            Self::Vault(error) => error.hint(),
            Self::WritableByOthers(path) => Some(format!("chmod go-w {}", quoted(&path.display().to_string()))),
            _ => None,
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        // SQLITE_FULL (13); PostgreSQL's disk_full (53100).
        let code = error.as_database_error().and_then(|database| database.code().map(|code| code.into_owned()));
        match code.as_deref() {
            Some("13" | "53100") => Self::DiskFull,
            _ => Self::Database(error),
        }
    }
}

/// Towards a session: the log says more.
impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        match error {
            // What was begun goes on with the account as it is now.
            Error::Changed => Self::ProviderUnreachable(Unreachable::Lost),
            Error::DiskFull => Self::OurDiskFull,
            Error::QueueFull => Self::Busy(Cap::Queue),
            Error::TooManyNames => Self::ProviderMisbehaved(Misbehaviour::TooManyMailboxes),
            Error::Vault(_) => Self::Internal("a sealed secret does not open"),
            _ => Self::Internal("the store"),
        }
    }
}
