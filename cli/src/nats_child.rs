//! A nats-server of our own, as a child process: for `vitals up`.
//!
//! It listens on a free port of this machine alone, wants a token that only this process knows, and keeps its streams in a
//! folder. It is in a process group of its own, so that Ctrl-C does not end it before what still writes to it.
//!
//! Invariant: one server per folder, since two would ruin the store. A lock keeps a second `vitals up` away; a server
//! that outlived the process that started it (`kill -9`) is found by its pid file, and ended first.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};
use vitals_runtime::nats_server::NatsServer;

/// It listens within a second; a large store takes longer to be read.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// It closes its store within this.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// A process is gone within this after SIGKILL, unless the kernel itself is stuck in it.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// Between two looks whether it listens, or has gone.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Lines of its log that are shown when it does not start.
const LOG_LINES: usize = 5;

/// A nats-server that runs. Dropped, it is killed; [`NatsChild::stop`] lets it close its store.
#[derive(Debug)]
pub struct NatsChild {
    child: Child,
    token: String,
    /// Where it says its ports.
    ports: PathBuf,
    log: PathBuf,
    /// Held for as long as it runs.
    _lock: File,
}

/// What of an earlier run is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// All of it.
    Kept,
    /// Nothing: the streams begin empty.
    Fresh,
}

/// Why there is no server. All are final until somebody changes what they name.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder cannot be used.
    #[error("cannot use the folder {}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Another process uses the folder.
    #[error(
        "another `vitals up` uses {}: end it, or give this one a folder of its own by --data",
        path.display()
    )]
    Taken {
        /// The folder.
        path: PathBuf,
    },
    /// A server that an earlier run left behind does not end. Two on one folder would ruin the store.
    #[error("nats-server of an earlier run, process {pid}, does not end: end it, then try again")]
    Orphan {
        /// Its process id.
        pid: u32,
    },
    /// The server did not begin to listen.
    #[error("nats-server does not start; the end of its log ({}):\n{said}", log.display())]
    Start {
        /// Its log.
        log: PathBuf,
        /// The end of it.
        said: String,
    },
}

impl NatsChild {
    /// Starts a server with its store in `folder`. [`NatsChild::listening`] waits until it can be used; whoever gives up
    /// waiting can still [`NatsChild::stop`] it.
    ///
    /// # Errors
    /// When the folder cannot be used, is in use, or the server does not start.
    pub async fn start(server: &NatsServer, folder: &Path, store: Store) -> Result<Self, Error> {
        let unusable = |source| Error::Folder { path: folder.to_owned(), source };
        std::fs::create_dir_all(folder).map_err(unusable)?;
        let lock = File::create(folder.join("lock")).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err(Error::Taken { path: folder.to_owned() });
            }
            Err(std::fs::TryLockError::Error(source)) => return Err(unusable(source)),
        }
        let files = Files::of(folder);
        end_orphan(&files).await?;
        files.remove_ports().map_err(unusable)?;
        if store == Store::Fresh {
            files.remove_store().map_err(unusable)?;
        }
        let token: String = std::iter::repeat_with(fastrand::alphanumeric).take(32).collect();
        files.write_config(&token).map_err(unusable)?;
        let child = Command::new(&server.path)
            .arg("--config")
            .arg(&files.config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(unusable)?;
        let ports = files.ports(child.id());
        Ok(Self { child, token, ports, log: files.log, _lock: lock })
    }

    /// Waits until it listens: where clients connect, with the token.
    ///
    /// # Errors
    /// When it ends before, or takes too long.
    pub async fn listening(&mut self) -> Result<String, Error> {
        let end = Instant::now() + START_TIMEOUT;
        while Instant::now() < end && matches!(self.child.try_wait(), Ok(None)) {
            if let Some(address) = read_ports(&self.ports) {
                return Ok(format!("nats://{}@{address}", self.token));
            }
            sleep(LOOK_INTERVAL).await;
        }
        Err(Error::Start { log: self.log.clone(), said: self.last_words() })
    }

    /// Waits until it ends, which it does not of itself.
    pub async fn ended(&mut self) -> std::io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// What it logged last.
    #[must_use]
    pub fn last_words(&self) -> String {
        last_lines(&self.log)
    }

    /// Lets it close its store, and waits for that.
    pub async fn stop(mut self) {
        if let Some(pid) = pid(self.child.id()) {
            // An error means that it has gone.
            kill(pid, Signal::SIGTERM).ok();
        }
        if timeout(STOP_TIMEOUT, self.child.wait()).await.is_err() {
            tracing::warn!("nats-server does not end and is killed");
            self.child.kill().await.ok();
        }
    }
}

/// What is in the folder.
struct Files {
    folder: PathBuf,
    config: PathBuf,
    pid: PathBuf,
    log: PathBuf,
}

impl Files {
    fn of(folder: &Path) -> Self {
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        let (config, pid) = (folder.join("nats.conf"), folder.join("nats.pid"));
        Self { config, pid, log: folder.join("nats.log"), folder }
    }

    fn store(&self) -> PathBuf {
        self.folder.join("nats")
    }

    fn remove_store(&self) -> std::io::Result<()> {
        match std::fs::remove_dir_all(self.store()) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    /// Readable for its owner alone, since it holds the token.
    fn write_config(&self, token: &str) -> std::io::Result<()> {
        // NATS reads a quoted text as JSON does.
        let quoted = |path: &Path| serde_json::Value::from(path.to_string_lossy()).to_string();
        let config = format!(
            "server_name: vitals-up\nlisten: \"127.0.0.1:-1\"\nports_file_dir: {}\npid_file: {}\n\
             log_file: {}\nlogfile_size_limit: 10MB\nauthorization {{ token: \"{token}\" }}\n\
             jetstream {{ store_dir: {} }}\n",
            quoted(&self.folder),
            quoted(&self.pid),
            quoted(&self.log),
            quoted(&self.store()),
        );
        let mut options = File::options();
        let mut file =
            options.write(true).create(true).truncate(true).mode(0o600).open(&self.config)?;
        file.write_all(config.as_bytes())
    }

    /// Where the server of this process id says its ports.
    fn ports(&self, pid: Option<u32>) -> PathBuf {
        self.folder.join(format!("nats-server_{}.ports", pid.unwrap_or_default()))
    }

    /// What servers said that were killed. In a container the next one has the same process id.
    fn remove_ports(&self) -> std::io::Result<()> {
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("nats-server_") && name.ends_with(".ports") {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

/// Ends a server on this folder that outlived its parent. The lock is held, so it is nobody's.
///
/// One that has ended and that nobody waits for takes signals for ever, but commands nothing any more.
async fn end_orphan(files: &Files) -> Result<(), Error> {
    let said = std::fs::read_to_string(&files.pid).unwrap_or_default();
    let Some(id) = said.trim().parse::<u32>().ok() else { return Ok(()) };
    let Some(pid) = pid(Some(id)).filter(|_| commands_our_config(id, &files.config)) else {
        return Ok(());
    };
    tracing::info!(pid = id, "ending a nats-server that an earlier run left behind");
    let killing = Instant::now() + STOP_TIMEOUT;
    let mut signal = Some(Signal::SIGTERM);
    while commands_our_config(id, &files.config) && kill(pid, signal.take()) != Err(Errno::ESRCH) {
        if Instant::now() > killing + KILL_TIMEOUT {
            return Err(Error::Orphan { pid: id });
        }
        if Instant::now() > killing {
            signal = Some(Signal::SIGKILL);
        }
        sleep(LOOK_INTERVAL).await;
    }
    Ok(())
}

/// Whether the process was started with our configuration: process ids are used again.
fn commands_our_config(pid: u32, config: &Path) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).or_else(|_| {
        let mut ps = std::process::Command::new("ps");
        ps.args(["-o", "command=", "-p", &pid.to_string()]).output().map(|output| output.stdout)
    });
    line.is_ok_and(|line| String::from_utf8_lossy(&line).contains(&*config.to_string_lossy()))
}

fn pid(id: Option<u32>) -> Option<Pid> {
    id.and_then(|id| i32::try_from(id).ok()).filter(|id| *id > 0).map(Pid::from_raw)
}

/// `127.0.0.1:41234`, once the server has said it.
fn read_ports(path: &Path) -> Option<String> {
    #[derive(Deserialize)]
    struct Ports {
        nats: Vec<String>,
    }
    let ports: Ports = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    ports.nats.first()?.strip_prefix("nats://").map(str::to_owned)
}

fn last_lines(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default().join("\n")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use futures::FutureExt as _;

    use super::*;

    // One test, so that nothing else in this process starts a program while this one writes one: it could not be run.
    #[tokio::test]
    async fn no_server_is_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("slow");
        std::fs::write(&path, "#!/bin/sh\nexec sleep 600\n").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).unwrap();
        let server = NatsServer { path, version: vitals_runtime::nats_server::VERSION };
        let data = folder.path().join("data");
        let start = || async {
            let mut nats = NatsChild::start(&server, &data, Store::Kept).await.unwrap();
            assert!(nats.listening().now_or_never().is_none(), "it does not listen yet");
            let id = pid(nats.child.id()).unwrap();
            (nats, id)
        };

        let (stopped, id) = start().await;
        stopped.stop().await;
        timeout(STOP_TIMEOUT, gone(id)).await.expect("stopped before it listens");
        let (dropped, id) = start().await;
        drop(dropped);
        timeout(STOP_TIMEOUT, gone(id)).await.expect("dropped before it listens");

        let files = Files::of(&data);
        let mut zombie = std::process::Command::new("sh");
        zombie.args(["-c", "read line"]).arg(&files.config).stdin(Stdio::piped());
        let mut zombie = zombie.spawn().unwrap();
        std::fs::write(&files.pid, zombie.id().to_string()).unwrap();
        // Where a program has just begun, the kernel may not know its arguments yet.
        let begun = async {
            while !commands_our_config(zombie.id(), &files.config) {
                sleep(LOOK_INTERVAL).await;
            }
        };
        timeout(STOP_TIMEOUT, begun).await.unwrap();
        let ended = timeout(STOP_TIMEOUT, end_orphan(&files)).await;
        ended.expect("one that ended counts as ended before anybody waits for it").unwrap();
        zombie.wait().unwrap();
    }

    async fn gone(pid: Pid) {
        while kill(pid, None) != Err(Errno::ESRCH) {
            sleep(LOOK_INTERVAL).await;
        }
    }
}
