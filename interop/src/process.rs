//! A started program and its end.

use std::fs::File;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::scratch::Scratch;
use crate::wait;

/// A running program that is killed, by its process number, when its guard goes.
pub struct Process {
    name: String,
    child: Child,
}

impl Process {
    /// Starts `command`; what it says goes to the log called `name`.
    pub fn start(scratch: &Scratch, name: &str, command: &mut Command) -> Result<Self> {
        let path = scratch.log(name);
        let log = File::options().create(true).append(true).open(&path);
        let log = log.with_context(|| format!("cannot write {}", path.display()))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("{name} did not start: {command:?}"))?;
        Ok(Self { name: name.to_owned(), child })
    }

    /// Its process number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// An error when it has ended, which a server does not do by itself.
    pub fn must_run(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended too early ({status})", self.name),
        }
    }

    /// Whether it has ended well; an error when it has ended otherwise.
    pub fn has_ended_well(&mut self) -> Result<bool> {
        match self.child.try_wait()? {
            Some(status) if !status.success() => bail!("{} failed ({status})", self.name),
            ended => Ok(ended.is_some()),
        }
    }

    /// Waits for its end; an error when it did not end well, or not within `limit`.
    pub fn must_end_well(&mut self, limit: Duration) -> Result<()> {
        let status = self.wait(limit)?;
        if !status.success() {
            bail!("{} failed ({status})", self.name);
        }
        Ok(())
    }

    /// Waits for its end.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let what = format!("{} to end", self.name);
        wait::until(&what, limit, || Ok(self.child.try_wait()?))
    }

    /// Asks it to end, as Ctrl-C does, and waits until it has.
    pub fn interrupt(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.signal(rustix::process::Signal::INT)?;
        self.wait(limit)
    }
}

/// What happens to a process when its machine sleeps.
impl Process {
    /// It stands still until it is woken.
    pub fn put_to_sleep(&self) -> Result<()> {
        self.signal(rustix::process::Signal::STOP)
    }

    /// It goes on.
    pub fn wake(&self) -> Result<()> {
        self.signal(rustix::process::Signal::CONT)
    }

    fn signal(&self, signal: rustix::process::Signal) -> Result<()> {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, signal).with_context(|| format!("cannot send {signal:?}"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Either fails only when the process is gone, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
