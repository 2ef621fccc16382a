//! A child that outlives us by a moment and clears up: it ends what we started and removes our
//! temporary directory once we are gone, be it by return, panic, Ctrl-C or kill -9.
//!
//! It learns of our end because its standard input closes. Does nothing while we live: what is
//! stopped in good order is taken off its list first.

use std::{
    io::Write,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::OnceLock,
};

use anyhow::{Context, Result};

/// Reads `+ SIGNAL PID`, `- PID` and, at the end of its input, signals what is left, waits for it
/// for at most five seconds, kills the rest and removes the directory `$1`.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
live=""
while read -r op a b; do
  case $op in
    +) live="$live $a:$b" ;;
    -) kept=""; for l in $live; do [ "${l#*:}" = "$a" ] || kept="$kept $l"; done; live=$kept ;;
  esac
done
for l in $live; do kill -"${l%%:*}" "${l#*:}" 2>/dev/null; done
tries=0
for l in $live; do
  while kill -0 "${l#*:}" 2>/dev/null && [ $tries -lt 50 ]; do tries=$((tries + 1)); sleep 0.1; done
  kill -KILL "${l#*:}" 2>/dev/null
done
rm -rf "$1"
"#;

/// How a process is ended when we can no longer do it ourselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// SIGKILL.
    Kill,
    /// SIGQUIT: PostgreSQL's immediate shutdown, which also frees its shared memory.
    Quit,
}

/// The one guardian of this process.
#[derive(Debug)]
pub struct Guardian {
    directory: PathBuf,
    orders: ChildStdin,
    child: Child,
}

static GUARDIAN: OnceLock<Guardian> = OnceLock::new();

impl Guardian {
    /// The guardian, started when first asked for.
    pub fn of_this_process() -> Result<&'static Self> {
        if let Some(guardian) = GUARDIAN.get() {
            return Ok(guardian);
        }
        let started = Self::start()?;
        Ok(GUARDIAN.get_or_init(|| started))
    }

    fn start() -> Result<Self> {
        let directory = unused_directory()?;
        let mut child = Command::new("sh")
            .args(["-c", SCRIPT, "guardian"])
            .arg(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("could not start sh to guard the temporary servers")?;
        let orders = child.stdin.take().context("the guardian has no input")?;
        Ok(Self {
            directory,
            orders,
            child,
        })
    }

    /// The temporary directory of this process; removed with it.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The guardian's own process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Puts a process on the list.
    pub fn watch(&self, pid: u32, ending: Ending) -> Result<()> {
        let signal = match ending {
            Ending::Kill => "KILL",
            Ending::Quit => "QUIT",
        };
        self.order(&format!("+ {signal} {pid}\n"))
    }

    /// Takes a process that has ended off the list: its number may be given out again.
    pub fn forget(&self, pid: u32) {
        if self.order(&format!("- {pid}\n")).is_err() {
            // The guardian itself was killed: nothing is left to tell.
        }
    }

    fn order(&self, line: &str) -> Result<()> {
        // One write of less than PIPE_BUF bytes is atomic, so threads need no lock.
        (&self.orders)
            .write_all(line.as_bytes())
            .context("the guardian is gone")
    }
}

fn unused_directory() -> Result<PathBuf> {
    let base = std::env::temp_dir();
    let process = std::process::id();
    for attempt in 0..1000 {
        let directory = base.join(format!("segue-{process}-{attempt}"));
        match std::fs::create_dir(&directory) {
            Ok(()) => {
                // The servers' account has to pass through.
                let open = std::fs::Permissions::from_mode(0o755);
                std::fs::set_permissions(&directory, open)?;
                return Ok(directory);
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("could not make {}", directory.display()));
            }
        }
    }
    anyhow::bail!("no unused directory in {}", base.display())
}
