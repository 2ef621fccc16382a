//! A small file system of its own, where this process may make one.
//!
//! Does not imitate a full disk: what is written to it fails as it does on one.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::account::Account;

/// A disk of 4 MB. Unmounted when it is dropped.
#[derive(Debug)]
pub struct SmallDisk {
    directory: PathBuf,
}

impl SmallDisk {
    /// Mounted on `directory`, which is made; nothing where mounting is not allowed.
    pub fn mount(directory: &Path) -> Option<Self> {
        std::fs::create_dir(directory).expect("a directory of the test's own");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=4m,mode=777", "tmpfs"])
            .arg(directory)
            .output();
        if !mounted.is_ok_and(|output| output.status.success()) {
            return None;
        }
        let disk = Self {
            directory: directory.to_owned(),
        };
        let account = Account::for_servers().expect("an account for servers");
        account
            .own(directory)
            .expect("the directory to be given away");
        Some(disk)
    }

    /// Where it is mounted.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Writes until there is no room.
    pub fn fill(&self) {
        let ballast = self.directory.join("ballast");
        // It ends with an error, which is what it is for.
        let filled = std::fs::write(ballast, vec![0; 8 << 20]);
        assert!(filled.is_err(), "a disk of 4 MB took 8");
    }

    /// Makes the room that [`SmallDisk::fill`] took.
    pub fn empty(&self) {
        std::fs::remove_file(self.directory.join("ballast")).expect("what has filled it");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount")
            .arg("-l")
            .arg(&self.directory)
            .status();
        assert!(unmounted.is_ok_and(|status| status.success()));
    }
}
