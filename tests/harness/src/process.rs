//! A child process whose output goes to files, so that no pipe can fill up and no reader is needed.
//!
//! Does not restart anything. A dropped process is killed.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::{
    guardian::{Ending, Guardian},
    wait,
};

/// A running child, on the guardian's list.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    output: PathBuf,
    errors: PathBuf,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts a command. Its output goes to `<stem>.out` and `<stem>.err`, which are appended to.
    pub fn start(name: &str, command: &mut Command, stem: &Path, ending: Ending) -> Result<Self> {
        let guardian = Guardian::of_this_process()?;
        let output = stem.with_extension("out");
        let errors = stem.with_extension("err");
        // What an earlier process of this name said must not be taken for this one's words.
        File::create(&output)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(append(&output)?)
            .stderr(append(&errors)?)
            .spawn()
            .with_context(|| format!("could not start {name}: {command:?}"))?;
        guardian.watch(child.id(), ending)?;
        Ok(Self {
            name: name.to_owned(),
            child,
            output,
            errors,
            ended: None,
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far.
    pub fn output(&self) -> String {
        lossy(&self.output)
    }

    /// What it has logged so far.
    pub fn errors(&self) -> String {
        lossy(&self.errors)
    }

    /// Waits for a line on standard output that starts with `prefix`; the rest of it is returned.
    pub async fn line(&mut self, prefix: &str, patience: Duration) -> Result<String> {
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            let output = self.output();
            let complete = output
                .split_inclusive('\n')
                .filter(|line| line.ends_with('\n'));
            if let Some(line) = complete
                .map(str::trim_end)
                .find_map(|l| l.strip_prefix(prefix))
            {
                return Ok(line.trim().to_owned());
            }
            if let Some(status) = self.status()? {
                bail!(
                    "{} ended with {status} before {prefix:?}: {}\n{}",
                    self.name,
                    // Where only the beginning of a message is shown, that has to say why.
                    self.errors()
                        .lines()
                        .next_back()
                        .unwrap_or("it said nothing"),
                    self.errors()
                );
            }
            if tokio::time::Instant::now() > deadline {
                bail!(
                    "{} has not printed {prefix:?}:\n{}",
                    self.name,
                    self.errors()
                );
            }
            tokio::time::sleep(wait::PAUSE).await;
        }
    }

    /// Its exit status, if it has ended.
    pub fn status(&mut self) -> Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait()?;
            if self.ended.is_some() {
                Guardian::of_this_process()?.forget(self.child.id());
            }
        }
        Ok(self.ended)
    }

    /// Sends a signal by name (`TERM`, `QUIT`, `STOP`).
    pub fn signal(&self, name: &str) -> Result<()> {
        if self.ended.is_some() {
            return Ok(());
        }
        // The shell's own kill: a minimal Debian has no such program.
        let status = Command::new("sh")
            .args(["-c", &format!("kill -{name} {}", self.pid())])
            .status()?;
        anyhow::ensure!(status.success(), "could not send {name} to {}", self.name);
        Ok(())
    }

    /// Waits until it has ended.
    pub async fn ended(&mut self, patience: Duration) -> Result<ExitStatus> {
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            if let Some(status) = self.status()? {
                return Ok(status);
            }
            if tokio::time::Instant::now() > deadline {
                bail!(
                    "{} has not ended within {patience:?}:\n{}",
                    self.name,
                    self.errors()
                );
            }
            tokio::time::sleep(wait::PAUSE).await;
        }
    }

    /// Asks it to end, and waits for that.
    pub async fn terminate(&mut self, patience: Duration) -> Result<ExitStatus> {
        self.signal("TERM")?;
        self.ended(patience).await
    }

    /// kill -9, and waits until it is gone.
    pub fn kill(&mut self) -> Result<()> {
        if self.status()?.is_none() {
            self.child.kill()?;
            self.ended = Some(self.child.wait()?);
            Guardian::of_this_process()?.forget(self.child.id());
        }
        Ok(())
    }

    /// Waits, blocking, for at most five seconds after a signal that ends it; kills it then.
    pub fn reap(&mut self) -> Result<()> {
        let script = format!(
            "n=0; while [ -d /proc/{0} ] && ! grep -q '^State:.Z' /proc/{0}/status 2>/dev/null \
             && [ $n -lt 100 ]; do n=$((n+1)); sleep 0.05; done",
            self.pid()
        );
        Command::new("sh").args(["-c", &script]).status()?;
        self.kill()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.kill().is_err() {
            // It stays on the guardian's list.
        }
    }
}

fn append(path: &Path) -> Result<File> {
    let file = File::options().create(true).append(true).open(path);
    file.with_context(|| format!("could not open {}", path.display()))
}

fn lossy(path: &Path) -> String {
    std::fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}
