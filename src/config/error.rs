//! Why there is no configuration, and what mends it.

use crate::{mistake::Mistake, model::quoted};
use std::{io, path::PathBuf};

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither a flag nor the environment says where the state is.
    #[error("there is no place for the state: neither PASSERELLE_STATE nor HOME is set")]
    NoState,
    /// The file cannot be read.
    #[error("cannot read the configuration: {}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    /// A file of a provider or a CRM profile, or the folder of them, cannot be read.
    #[error("cannot read what is said of providers or CRMs: {}", path.display())]
    UnreadableTable { path: PathBuf, source: io::Error },
    /// Anyone could have written what it says.
    #[error("anyone on this machine may write: {}", .0.display())]
    WritableByAnyone(PathBuf),
    /// The file says something that cannot be.
    #[error("{0}")]
    Wrong(Box<Mistake>),
}

impl Error {
    /// What mends it, for people.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoState => Some("name a directory with `--state DIR`".to_owned()),
            Self::Unreadable { .. } => Some("name another file with `--config FILE`; none is needed".to_owned()),
            Self::UnreadableTable { .. } => {
                Some("check that the user of the bridge may read it, or move it away".to_owned())
            }
            Self::WritableByAnyone(path) => Some(format!(
                "look through what it says, then `chmod o-w {}`, or move it to a place of its own",
                quoted(&path.display().to_string())
            )),
            Self::Wrong(wrong) => Some(wrong.hint().to_owned()),
        }
    }
}
