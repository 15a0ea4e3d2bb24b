//! The provider table of this machine: what is built in, and the files that replace or add to it.

use super::Error;
use crate::provider::Table;
use std::{
    io,
    path::{Path, PathBuf},
};

/// The folder of provider files, beside the configuration file and in the state directory.
const FOLDER: &str = "providers";

/// The table that is built in, with the files of the state directory, then those beside the configuration file.
///
/// # Errors
/// The first mistake in a file, with its place.
pub fn providers(state: &Path, configuration: Option<&Path>) -> Result<Table, Error> {
    let mut table = Table::built_in().map_err(wrong)?;
    let beside = configuration.and_then(Path::parent).map(|folder| folder.join(FOLDER));
    for folder in [Some(state.join(FOLDER)), beside].into_iter().flatten() {
        for file in files(&folder)? {
            let text = std::fs::read_to_string(&file)
                .map_err(|source| Error::UnreadableProvider { path: file.clone(), source })?;
            table.read(&file, &text).map_err(wrong)?;
        }
    }
    Ok(table)
}

/// The files of a folder that may not be there, in order.
fn files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let unreadable = |source| Error::UnreadableProvider { path: folder.to_owned(), source };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn wrong(mistake: Box<crate::mistake::Mistake>) -> Error {
    Error::Wrong(mistake)
}
