//! Where PostgreSQL's programs are on this machine.
//!
//! Looks in Debian's directories, in `target/postgres/` (where the set-up unpacks other versions)
//! and at what `pg_config` names. Does not install anything.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::{account::Account, guardian::Guardian};

/// The oldest server that Segue supports.
const VERSION_MIN: u32 = 14;
/// The source of tests and demo, where it is there: Debian's own.
const VERSION_SOURCE: u32 = 15;

/// One version's programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    /// Major version.
    pub version: u32,
    /// The directory with `postgres` and `initdb`.
    pub programs: PathBuf,
}

impl Installation {
    /// All that are found, the oldest first.
    pub fn all() -> Vec<Self> {
        let mut found: Vec<Self> = candidates().into_iter().filter_map(Self::at).collect();
        found.sort_by_key(|installation| installation.version);
        found.dedup_by_key(|installation| installation.version);
        found
    }

    /// For the source: 15 where it is there, else the oldest supported one.
    pub fn for_source() -> Result<Self> {
        let all = Self::supported()?;
        let preferred = all
            .iter()
            .find(|one| one.version == VERSION_SOURCE)
            .or_else(|| all.first());
        preferred.cloned().context("no PostgreSQL")
    }

    /// For the target: the newest.
    pub fn for_target() -> Result<Self> {
        Self::supported()?.pop().context("no PostgreSQL")
    }

    /// One version, if it is there.
    pub fn of(version: u32) -> Option<Self> {
        Self::all()
            .into_iter()
            .find(|installation| installation.version == version)
    }

    fn supported() -> Result<Vec<Self>> {
        let mut all = Self::all();
        all.retain(|installation| installation.version >= VERSION_MIN);
        ensure!(
            !all.is_empty(),
            "no PostgreSQL server from version {VERSION_MIN} on was found; \
             on Debian: apt-get install postgresql-15"
        );
        Ok(all)
    }

    fn at(programs: PathBuf) -> Option<Self> {
        let output = Command::new(programs.join("postgres"))
            .arg("--version")
            .output()
            .ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        // "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", or "18beta1".
        let number = text.split_whitespace().nth(2)?;
        let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
        Some(Self {
            version: digits.parse().ok()?,
            programs,
        })
    }

    /// A program of this installation.
    pub fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// The same installation at a place that the servers' account can reach, copied if it must be.
    pub fn reachable(self) -> Result<Self> {
        if Account::for_servers()?.may_run(&self.program("postgres")) {
            return Ok(self);
        }
        let root = self
            .programs
            .parent()
            .context("PostgreSQL lies in no directory")?;
        let copy = Guardian::of_this_process()?
            .directory()
            .join(format!("pg{}", self.version));
        if !copy.exists() {
            let status = Command::new("cp").arg("-a").arg(root).arg(&copy).status()?;
            ensure!(status.success(), "could not copy {}", root.display());
        }
        Ok(Self {
            version: self.version,
            programs: copy.join("bin"),
        })
    }
}

fn candidates() -> Vec<PathBuf> {
    let mut candidates = Vec::new();
    candidates.extend(subdirectories(Path::new("/usr/lib/postgresql")).map(|dir| dir.join("bin")));
    let unpacked = workspace().join("target/postgres");
    candidates.extend(subdirectories(&unpacked).map(|dir| dir.join("bin")));
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output() {
        candidates.push(PathBuf::from(
            String::from_utf8_lossy(&output.stdout).trim(),
        ));
    }
    candidates
}

fn subdirectories(directory: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    entries.filter_map(|entry| entry.ok().map(|entry| entry.path()))
}

/// The root of this clone.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
