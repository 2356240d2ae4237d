//! Child processes: servers of others, and our own binaries. They can be killed, frozen and restarted.
//!
//! Each process leads a process group. Dropping a [`Process`] ends the group and waits for the leader's
//! end; should we die first, the [janitor](crate::janitor) does it. A [`Process`] belongs to no runtime,
//! so several tests can share it.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tokio::sync::watch;
use vitals_runtime::nats_server::user_cache;

use crate::supervisor::{self, Child};
use crate::{logs, wait_for};

/// A process ends this soon after SIGKILL, however busy the machine.
const KILL_TIMEOUT: Duration = Duration::from_secs(30);

/// What to start, and how.
///
/// The environment is empty but for `PATH`, `HOME` (the folder of the logs), `XDG_CACHE_HOME` (the
/// user's, where downloads are kept) and what is given here: nothing of the person's own setup
/// (kubeconfig, proxies, `VITALS_…`) gets in.
#[derive(Clone, Debug)]
pub struct Program {
    name: String,
    path: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
}

/// A started [`Program`]. Its standard output goes to `<name>.out`, its standard error to `<name>.log`.
#[derive(Debug)]
pub struct Process {
    program: Program,
    folder: PathBuf,
    child: Mutex<Child>,
    _logs: logs::Kept,
}

/// What a program left when it ended.
#[derive(Clone, Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Program {
    /// `name` is what the log files are called.
    pub fn new(name: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self { name: name.into(), path: path.into(), args: Vec::new(), env: Vec::new() }
    }

    /// Adds one argument.
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    pub fn args(mut self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets a variable.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Starts it with its logs in `folder`, which must outlive the process.
    pub async fn start(self, folder: &Path) -> Result<Process> {
        Process::start(self, folder).await
    }

    /// Runs it to its end. An exit status other than 0 is no error here; running over `deadline` is.
    pub async fn run(self, folder: &Path, deadline: Duration) -> Result<Output> {
        let process = Process::start(self, folder).await?;
        let status = process.exited(deadline).await?;
        Ok(Output { status, stdout: process.stdout(), stderr: process.stderr() })
    }

    fn command(&self, folder: &Path) -> Result<std::process::Command> {
        let mut command = std::process::Command::new(&self.path);
        command.args(&self.args).current_dir(folder).env_clear().env("HOME", folder);
        let kept = ["PATH", "TMPDIR", "LLVM_PROFILE_FILE"];
        command.envs(kept.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        if let Some(cache) = user_cache().as_deref().and_then(Path::parent) {
            command.env("XDG_CACHE_HOME", cache);
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null());
        command.stdout(append(&self.stdout_path(folder))?);
        command.stderr(append(&self.stderr_path(folder))?);
        Ok(command)
    }

    fn stdout_path(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.out", self.name))
    }

    fn stderr_path(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.log", self.name))
    }
}

impl Process {
    async fn start(program: Program, folder: &Path) -> Result<Self> {
        let child = spawn(&program, folder).await?;
        let files = vec![program.stdout_path(folder), program.stderr_path(folder)];
        let logs = logs::keep(&program.name, files);
        Ok(Self { program, folder: folder.to_owned(), child: Mutex::new(child), _logs: logs })
    }

    /// The name given to [`Program::new`].
    pub fn name(&self) -> &str {
        &self.program.name
    }

    /// The id of the present incarnation; it changes with [`restart`](Self::restart).
    pub fn pid(&self) -> Pid {
        self.child().pid
    }

    /// Whether it has not ended. A frozen process runs.
    pub fn is_running(&self) -> bool {
        self.child().exit.borrow().is_none()
    }

    /// Awaits its end.
    pub async fn exited(&self, deadline: Duration) -> Result<ExitStatus> {
        let mut exit: watch::Receiver<Option<ExitStatus>> = self.child().exit.clone();
        let ended = tokio::time::timeout(deadline, exit.wait_for(Option::is_some)).await;
        let ended = ended.map_err(|_| {
            anyhow!("{} still runs after {} s", self.name(), deadline.as_secs_f32())
        })?;
        ended.context("the supervisor is gone")?.context("an exit status")
    }

    /// What comes of `work` (usually waiting for the process to do something), or an error with the end of
    /// its log as soon as the process ends.
    pub async fn while_running<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let mut exit = self.child().exit.clone();
        tokio::select! {
            done = work => done,
            _ = exit.wait_for(Option::is_some) => {
                bail!("{} has ended:\n{}", self.name(), logs::tail_of(&self.stderr()))
            }
        }
    }

    /// `kill -9`: the process gets no chance to tidy. Its own children stay until this is dropped.
    pub async fn kill(&self) -> Result<ExitStatus> {
        self.signal(Signal::SIGKILL).await?;
        self.exited(KILL_TIMEOUT).await
    }

    /// Asks it to end (SIGTERM) and awaits that.
    pub async fn terminate(&self, deadline: Duration) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM).await?;
        self.exited(deadline).await
    }

    /// Ctrl-C: asks it to end (SIGINT) and awaits that.
    pub async fn interrupt(&self, deadline: Duration) -> Result<ExitStatus> {
        self.signal(Signal::SIGINT).await?;
        self.exited(deadline).await
    }

    /// Stops it without ending it (SIGSTOP): its connections stay open and nothing answers on them.
    pub async fn freeze(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP).await?;
        let stat = format!("/proc/{}/stat", self.pid());
        wait_for("a process to stop", KILL_TIMEOUT, async || {
            let stopped = match std::fs::read_to_string(&stat) {
                Ok(stat) => stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T')),
                Err(_) => true, // Only Linux tells.
            };
            Ok(stopped.then_some(()))
        })
        .await
    }

    /// Lets a frozen process go on (SIGCONT).
    pub async fn thaw(&self) -> Result<()> {
        self.signal(Signal::SIGCONT).await
    }

    /// Sends any other signal to the process, not to its group.
    pub async fn signal(&self, signal: Signal) -> Result<()> {
        let orders = self.child().orders.clone();
        supervisor::signal(&orders, signal)
            .await
            .with_context(|| format!("send {signal} to {}", self.name()))
    }

    /// Starts the same program again with the same arguments; kills it before if it still runs. The logs
    /// continue in the same files.
    pub async fn restart(&self) -> Result<()> {
        if self.is_running() {
            self.kill().await?;
        }
        let child = spawn(&self.program, &self.folder).await?;
        *self.child() = child;
        Ok(())
    }

    /// All it wrote to standard output so far.
    pub fn stdout(&self) -> String {
        read(&self.program.stdout_path(&self.folder))
    }

    /// All it wrote to standard error so far.
    pub fn stderr(&self) -> String {
        read(&self.program.stderr_path(&self.folder))
    }

    /// Resident memory in bytes, as Linux counts it.
    pub fn memory_bytes(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.pid());
        let status = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).context("a line VmRSS")?;
        Ok(kib.trim().parse::<u64>().context("a number of kB")? * 1024)
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn spawn(program: &Program, folder: &Path) -> Result<Child> {
    supervisor::spawn(program.command(folder)?)
        .await
        .with_context(|| format!("start {}", program.path.display()))
}

fn append(path: &Path) -> Result<File> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.with_context(|| format!("open {}", path.display()))
}

/// A file that is not there yet has nothing in it.
fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}
