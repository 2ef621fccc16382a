//! The operating system account that servers run under.
//!
//! PostgreSQL refuses root, so under root the servers run as `postgres`, or as `nobody` where that
//! account is missing. Does not switch accounts where we are an ordinary user already.

use std::{ffi::OsStr, path::Path, process::Command, sync::OnceLock};

use anyhow::{Context, Result};

/// An account to change to, or ourselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Account {
    /// We are not root: servers run as we do.
    Ourselves,
    /// We are root: servers run as this user and group.
    Other {
        /// User id.
        user: u32,
        /// Its primary group's id.
        group: u32,
    },
}

impl Account {
    /// The account for servers on this machine; asked for once.
    pub fn for_servers() -> Result<&'static Self> {
        static FOUND: OnceLock<Account> = OnceLock::new();
        if let Some(found) = FOUND.get() {
            return Ok(found);
        }
        let found = Self::find()?;
        Ok(FOUND.get_or_init(|| found))
    }

    fn find() -> Result<Self> {
        if id(&["-u"])? != 0 {
            return Ok(Self::Ourselves);
        }
        let name = if id(&["-u", "postgres"]).is_ok() {
            "postgres"
        } else {
            "nobody"
        };
        Ok(Self::Other {
            user: id(&["-u", name])?,
            group: id(&["-g", name])?,
        })
    }

    /// A command that runs `program` under this account.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        match self {
            Self::Ourselves => Command::new(program),
            Self::Other { user, group } => {
                let mut command = Command::new("setpriv");
                command
                    .arg(format!("--reuid={user}"))
                    .arg(format!("--regid={group}"))
                    .arg("--clear-groups")
                    .arg(program);
                command
            }
        }
    }

    /// Gives a file or directory of ours to this account.
    pub fn own(&self, path: &Path) -> Result<()> {
        match self {
            Self::Ourselves => Ok(()),
            Self::Other { user, group } => {
                std::os::unix::fs::chown(path, Some(*user), Some(*group))
                    .with_context(|| format!("could not give {} to user {user}", path.display()))
            }
        }
    }

    /// Whether the account may run this program: a clone under /root may be closed to it.
    pub fn may_run(&self, program: &Path) -> bool {
        self.command("test")
            .arg("-x")
            .arg(program)
            .status()
            .is_ok_and(|status| status.success())
    }
}

fn id(arguments: &[&str]) -> Result<u32> {
    let output = Command::new("id")
        .args(arguments)
        .output()
        .context("could not run id")?;
    anyhow::ensure!(
        output.status.success(),
        "id {arguments:?} found no such account"
    );
    String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .context("id printed no number")
}
