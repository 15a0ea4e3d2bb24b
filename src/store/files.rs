//! Private files and directories of the bridge: readable by their owner alone from the first moment, whole or not there.
//!
//! Modes are given at creation, never by a later chmod (rule R37). Nothing here may write over a file in place: a crash
//! half way would leave a key or certificate that cannot be read.

use super::Error;
use ring::rand::{SecureRandom, SystemRandom};
use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Makes the directory, and those above it that are missing, for its owner alone. One that is there stays as it is, unless
/// others may write to it: whose files are in it would be anyone's guess.
pub(crate) fn private_directory(path: &Path) -> Result<(), Error> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(|cause| Error::file("make the directory", path, cause))?;
    refuse_writable(path)
}

/// Makes an empty private file if there is none; one that is there must be its owner's alone to write. SQLite gives the
/// files that it puts beside it the same mode.
pub(crate) fn ensure_private(path: &Path) -> Result<(), Error> {
    match private_new(path) {
        Ok(_) => Ok(()),
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => refuse_writable(path),
        Err(cause) => Err(Error::file("create", path, cause)),
    }
}

/// Puts a private file where none is, whole and on disk when this returns; one that is there is never written over.
pub(crate) fn create_private(path: &Path, content: &[u8]) -> Result<(), Error> {
    let draft = Draft::write(path, content)?;
    std::fs::hard_link(&draft.0, path).map_err(|cause| Error::file("create", path, cause))?;
    sync_parent(path)
}

/// Puts a private file, in place of the one that may be there, whole and on disk when this returns.
pub(crate) fn replace_private(path: &Path, content: &[u8]) -> Result<(), Error> {
    let draft = Draft::write(path, content)?;
    std::fs::rename(&draft.0, path).map_err(|cause| Error::file("replace", path, cause))?;
    sync_parent(path)
}

/// Holds off other processes of the bridge in the same directory until dropped.
pub(crate) fn lock(directory: &Path) -> Result<File, Error> {
    let path = directory.join(".lock");
    ensure_private(&path)?;
    let file = File::open(&path).map_err(|cause| Error::file("open", &path, cause))?;
    file.lock().map_err(|cause| Error::file("lock", &path, cause))?;
    Ok(file)
}

/// Whether others than the owner may read or write the file.
pub(crate) fn open_to_others(path: &Path) -> Result<bool, Error> {
    Ok(mode(path)? & 0o077 != 0)
}

/// What is believed must be ours, or root's: its owner can write it whatever its mode says.
fn refuse_writable(path: &Path) -> Result<(), Error> {
    if mode(path)? & 0o022 != 0 {
        return Err(Error::WritableByOthers(path.to_owned()));
    }
    if is_anothers(path)? { Err(Error::Anothers(path.to_owned())) } else { Ok(()) }
}

#[cfg(unix)]
fn is_anothers(path: &Path) -> Result<bool, Error> {
    let metadata = std::fs::metadata(path).map_err(|cause| Error::file("read", path, cause))?;
    let owner = std::os::unix::fs::MetadataExt::uid(&metadata);
    Ok(owner != 0 && owner != rustix::process::geteuid().as_raw())
}

#[cfg(not(unix))]
fn is_anothers(_path: &Path) -> Result<bool, Error> {
    Ok(false)
}

#[cfg(unix)]
fn mode(path: &Path) -> Result<u32, Error> {
    use std::os::unix::fs::PermissionsExt;
    let metadata = std::fs::metadata(path).map_err(|cause| Error::file("read", path, cause))?;
    Ok(metadata.permissions().mode())
}

/// Where there are no modes, access lists of the user's own profile protect the file.
#[cfg(not(unix))]
fn mode(_path: &Path) -> Result<u32, Error> {
    Ok(0)
}

/// A file under a name of its own, removed when dropped.
struct Draft(PathBuf);

impl Draft {
    fn write(target: &Path, content: &[u8]) -> Result<Self, Error> {
        let mut random = [0; 8];
        SystemRandom::new().fill(&mut random).map_err(|_| Error::Randomness)?;
        let path = target.with_extension(format!("{:016x}.draft", u64::from_ne_bytes(random)));
        let failed = |cause| Error::file("write", &path, cause);
        let mut file = private_new(&path).map_err(failed)?;
        let draft = Self(path.clone());
        file.write_all(content).and_then(|()| file.sync_all()).map_err(failed)?;
        Ok(draft)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Renamed away is the good case; a draft that stays after a crash is private all the same.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn private_new(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// A name is on disk only when its directory is.
fn sync_parent(path: &Path) -> Result<(), Error> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if cfg!(unix) {
        File::open(parent)
            .and_then(|directory| directory.sync_all())
            .map_err(|cause| Error::file("sync", parent, cause))?;
    }
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn files_are_private_and_never_written_over() {
        let root = tempfile::tempdir().expect("a directory");
        let directory = root.path().join("a/b");
        private_directory(&directory).expect("made");
        let file = directory.join("key");
        create_private(&file, b"one").expect("created");
        assert!(matches!(create_private(&file, b"two"), Err(Error::File { .. })));
        assert_eq!(std::fs::read(&file).expect("read"), b"one");
        replace_private(&file, b"three").expect("replaced");
        assert_eq!(std::fs::read(&file).expect("read"), b"three");
        let mode = |path: &Path| std::fs::metadata(path).expect("metadata").permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(&directory), mode(&root.path().join("a"))), (0o600, 0o700, 0o700));
        assert_eq!(std::fs::read_dir(&directory).expect("list").count(), 1, "no draft is left behind");
        assert!(!open_to_others(&file).expect("mode"));
    }

    #[test]
    fn what_belongs_to_another_user_is_not_believed() {
        // Only root gives a file away; elsewhere the rest of this shows nothing.
        let giving = rustix::process::geteuid().is_root();
        let root = tempfile::tempdir().expect("a directory");
        let directory = root.path().join("a");
        private_directory(&directory).expect("made");
        let file = directory.join("key");
        ensure_private(&file).expect("made");
        for path in [&file, &directory].into_iter().filter(|_| giving) {
            std::os::unix::fs::chown(path, Some(65_534), None).expect("given away");
        }
        let refused = |made: Result<(), Error>| matches!(made, Err(Error::Anothers(_)));
        assert_eq!(refused(ensure_private(&file)), giving);
        assert_eq!(refused(private_directory(&directory)), giving);
    }
}
