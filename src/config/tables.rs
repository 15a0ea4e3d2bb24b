//! The tables of providers and of CRM profiles of this machine: what is built in, and the files that replace or add to it.

use super::Error;
use crate::{mistake::Mistake, profile, provider};
use std::{
    io,
    path::{Path, PathBuf},
};

/// The folder of provider files, beside the configuration file and in the state directory.
const PROVIDERS: &str = "providers";
/// The folder of CRM profiles, in the same places.
const PROFILES: &str = "crm";

/// The providers that are built in, with the files of the state directory, then those beside the configuration file.
///
/// # Errors
/// The first mistake in a file, with its place.
pub fn providers(state: &Path, configuration: Option<&Path>) -> Result<provider::Table, Error> {
    let mut table = provider::Table::built_in().map_err(Error::Wrong)?;
    for_each_file(PROVIDERS, state, configuration, &mut |file, text| table.read(file, text))?;
    Ok(table)
}

/// The same of CRM profiles.
///
/// # Errors
/// The first mistake in a file, with its place.
pub fn profiles(state: &Path, configuration: Option<&Path>) -> Result<profile::Table, Error> {
    let mut table = profile::Table::built_in().map_err(Error::Wrong)?;
    for_each_file(PROFILES, state, configuration, &mut |file, text| table.read(file, text))?;
    Ok(table)
}

fn for_each_file(
    name: &str,
    state: &Path,
    configuration: Option<&Path>,
    read: &mut impl FnMut(&Path, &str) -> Result<(), Box<Mistake>>,
) -> Result<(), Error> {
    let beside = configuration.and_then(Path::parent).map(|folder| folder.join(name));
    for folder in [Some(state.join(name)), beside].into_iter().flatten() {
        for file in files(&folder)? {
            // Whose provider it is would be anyone's guess: passwords and refresh tokens go where it says.
            let above = [folder.parent(), Some(&*folder), Some(&*file)];
            above.into_iter().flatten().try_for_each(refuse_writable)?;
            let text = std::fs::read_to_string(&file).map_err(|source| unreadable(&file, source))?;
            read(&file, &text).map_err(Error::Wrong)?;
        }
    }
    Ok(())
}

/// The files of a folder that may not be there, in order.
fn files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(folder, error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| unreadable(folder, error))?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// What anyone may write says nothing. A group of administrators is their own affair.
#[cfg(unix)]
pub(super) fn refuse_writable(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt;
    // The folder above a name without one.
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let mode = std::fs::metadata(path).map_err(|source| unreadable(path, source))?.permissions().mode();
    if mode & 0o002 == 0 { Ok(()) } else { Err(Error::WritableByAnyone(path.to_owned())) }
}

/// Where there are no modes, access lists of the user's own profile protect the file.
#[cfg(not(unix))]
pub(super) fn refuse_writable(_path: &Path) -> Result<(), Error> {
    Ok(())
}

fn unreadable(path: &Path, source: io::Error) -> Error {
    Error::UnreadableTable { path: path.to_owned(), source }
}
