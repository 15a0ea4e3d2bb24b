//! A disk of a few megabytes, to be filled: a tmpfs, which only root can mount, and not everywhere.

use super::leash::run;
use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

pub(crate) struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    /// Why there is none here, if there is none.
    pub(super) fn missing() -> Option<&'static str> {
        static MAY: OnceLock<bool> = OnceLock::new();
        let may = MAY.get_or_init(|| {
            let folder = tempfile::tempdir().expect("a temporary folder");
            Self::try_mount(folder.path()).is_some()
        });
        (!may).then_some("no right to mount a small disk (root, and not within most containers)")
    }

    /// 16 MB at a folder, which is made.
    pub(crate) fn mount(at: &Path) -> Self {
        fs::create_dir_all(at).expect("a folder for a disk");
        Self::try_mount(at).expect("a disk is mounted")
    }

    fn try_mount(at: &Path) -> Option<Self> {
        let options = ["-t", "tmpfs", "-o", "size=16m,mode=0700", "tmpfs"];
        let output = run(10, Command::new("mount").args(options).arg(at), b"");
        output.status.success().then(|| Self { at: at.to_owned() })
    }

    /// Not one octet more.
    pub(crate) fn fill(&self) {
        let mut filler = File::create(self.at.join("filler")).expect("a file");
        for piece in [64 * 1024, 1024, 1] {
            let piece = vec![0_u8; piece];
            while filler.write_all(&piece).is_ok() {}
        }
    }

    pub(crate) fn make_room(&self) {
        fs::remove_file(self.at.join("filler")).expect("there is room again");
    }

    /// Nothing below this folder of the disk can be written.
    pub(crate) fn lock(folder: &Path) -> Locked {
        for options in [&["--bind"][..], &["-o", "remount,ro,bind"]] {
            let output = run(10, Command::new("mount").args(options).args([folder, folder]), b"");
            assert!(output.status.success(), "{}", super::words(&output));
        }
        Locked(folder.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        unmount(&self.at);
    }
}

/// Until it is dropped.
pub(crate) struct Locked(PathBuf);

impl Drop for Locked {
    fn drop(&mut self) {
        unmount(&self.0);
    }
}

/// Also where it is in use: it goes with its last user.
fn unmount(at: &Path) {
    run(10, Command::new("umount").arg("--lazy").arg(at), b"");
}
