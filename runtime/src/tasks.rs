//! The tasks of a process, watched over: none dies unseen, and all end together.
//!
//! A [`Supervisor`] owns them, [`Tasks`] is the handle that starts them. Losing a task (it fails, panics, or
//! ends although it should run for good) ends the whole, with its error. Shutdown is a path: the token
//! [`Tasks::stopping`] is cancelled, every task finishes what it has begun, and what has not ended by the
//! deadline is dropped where it waits.
//!
//! Invariant: no task outlives its supervisor.
//! Deliberately not here: restarting a lost task. State whose owner died is not trusted; the process is
//! started anew by whoever runs it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What a task fails with.
pub type TaskError = Box<dyn std::error::Error + Send + Sync>;

/// The name of a task, for people: `reader VITALS_OBJECTS`.
pub type TaskName = Cow<'static, str>;

/// Why the whole ended although nobody asked it to, or did not end well. Final: the process ends with it.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// A task returned an error.
    #[error("task {name} failed")]
    Failed {
        /// Of the task.
        name: TaskName,
        /// What it returned.
        source: TaskError,
    },
    /// A task panicked.
    #[error("task {name} panicked: {message}")]
    Panicked {
        /// Of the task.
        name: TaskName,
        /// What the panic said.
        message: String,
    },
    /// A task that should run until shutdown ended before.
    #[error("task {name} ended, although it should run until shutdown")]
    Ended {
        /// Of the task.
        name: TaskName,
    },
    /// Tasks did not end by the deadline of the shutdown, and were dropped.
    #[error("shutdown took longer than {} ms: still running were {}", deadline.as_millis(), names.join(", "))]
    NotDrained {
        /// Of the tasks.
        names: Vec<TaskName>,
        /// What they were given.
        deadline: Duration,
    },
}

/// Owns tasks. Dropping it drops them all, at once.
#[derive(Debug)]
pub struct Supervisor {
    tasks: Tasks,
    lost: mpsc::Receiver<Lost>,
}

/// Starts tasks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tasks {
    tracker: TaskTracker,
    /// Cancelled when shutdown begins.
    stopping: CancellationToken,
    /// Cancelled when the time for it is over.
    dropping: CancellationToken,
    running: Arc<Mutex<Running>>,
    /// Holds the first loss only: it is the cause, later ones are its consequences.
    lost: mpsc::Sender<Lost>,
}

#[derive(Debug, Default)]
struct Running {
    next_id: u64,
    names: BTreeMap<u64, TaskName>,
}

impl Supervisor {
    /// Without tasks, yet.
    #[expect(
        clippy::new_without_default,
        reason = "what owns tasks is made where it is meant to be"
    )]
    pub fn new() -> Self {
        let (sender, lost) = mpsc::channel(1);
        let tasks = Tasks {
            tracker: TaskTracker::new(),
            stopping: CancellationToken::new(),
            dropping: CancellationToken::new(),
            running: Arc::default(),
            lost: sender,
        };
        Self { tasks, lost }
    }

    /// The handle that starts tasks.
    pub fn tasks(&self) -> Tasks {
        self.tasks.clone()
    }

    /// Runs until `stop` ends or a task is lost, then shuts down: cancels [`Tasks::stopping`] and waits for
    /// the tasks, for `deadline` at most.
    ///
    /// A loss, before the shutdown or in it, is the error; so is a deadline that was missed.
    pub async fn run(
        mut self,
        stop: impl Future<Output = ()>,
        deadline: Duration,
    ) -> Result<(), Lost> {
        let lost = tokio::select! {
            biased;
            lost = self.lost.recv() => lost,
            () = stop => None,
        };
        self.tasks.stopping.cancel();
        self.tasks.tracker.close();
        let drained = tokio::time::timeout(deadline, self.tasks.tracker.wait()).await.is_ok();
        if let Some(lost) = lost.or_else(|| self.lost.try_recv().ok()) {
            return Err(lost);
        }
        if drained {
            return Ok(());
        }
        Err(Lost::NotDrained { names: self.tasks.names(), deadline })
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.tasks.stopping.cancel();
        self.tasks.dropping.cancel();
    }
}

impl Tasks {
    /// Cancelled when shutdown begins: a task that sees it stops taking work, finishes what it has begun,
    /// and returns `Ok`.
    pub fn stopping(&self) -> CancellationToken {
        self.stopping.clone()
    }

    /// Starts a task that runs until shutdown: if it ends before, that is a loss.
    pub fn spawn<F, E>(&self, name: impl Into<TaskName>, task: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<TaskError>,
    {
        self.start(name.into(), End::AtShutdown, task);
    }

    /// Starts a task that may end well at any time: only an error or a panic is a loss.
    pub fn spawn_finite<F, E>(&self, name: impl Into<TaskName>, task: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<TaskError>,
    {
        self.start(name.into(), End::AnyTime, task);
    }

    fn start<F, E>(&self, name: TaskName, end: End, task: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<TaskError>,
    {
        let id = self.enter(name.clone());
        let tasks = self.clone();
        self.tracker.spawn(async move {
            let ended = tokio::select! {
                biased;
                () = tasks.dropping.cancelled() => None,
                ended = AssertUnwindSafe(task).catch_unwind() => Some(ended),
            };
            let lost = match ended {
                Some(Ok(Err(error))) => Some(Lost::Failed { name, source: error.into() }),
                Some(Err(panic)) => Some(Lost::Panicked { name, message: said(panic.as_ref()) }),
                Some(Ok(Ok(()))) => match end {
                    End::AtShutdown if !tasks.stopping.is_cancelled() => Some(Lost::Ended { name }),
                    End::AtShutdown | End::AnyTime => None,
                },
                None => None,
            };
            tasks.leave(id, lost);
        });
    }

    fn enter(&self, name: TaskName) -> u64 {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.next_id += 1;
        let id = running.next_id;
        running.names.insert(id, name);
        id
    }

    fn leave(&self, id: u64, lost: Option<Lost>) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).names.remove(&id);
        let Some(lost) = lost else { return };
        // Full means that another was lost before: that one is reported, this one at least logged.
        if let Err(mpsc::error::TrySendError::Full(lost)) = self.lost.try_send(lost) {
            tracing::error!(error = %lost, "another task lost");
        }
    }

    fn names(&self) -> Vec<TaskName> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.names.values().cloned().collect()
    }
}

/// When a task may end.
#[derive(Clone, Copy)]
enum End {
    AtShutdown,
    AnyTime,
}

fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("?").to_owned()
}

/// Ends when the process is asked to stop: SIGTERM, SIGINT (Ctrl-C), or SIGHUP (its terminal is gone).
///
/// From the first time that it is polled on, these signals do not end the process of themselves.
pub async fn stop_signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let obeys_hangup = !is_hangup_ignored();
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hangup = obeys_hangup.then(|| signal(SignalKind::hangup())).transpose()?;
    let hung_up = async {
        match &mut hangup {
            Some(hangup) => hangup.recv().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = terminate.recv() => tracing::info!(signal = "SIGTERM", "stopping"),
        _ = interrupt.recv() => tracing::info!(signal = "SIGINT", "stopping"),
        _ = hung_up => tracing::info!(signal = "SIGHUP", "stopping"),
    }
    Ok(())
}

/// `nohup` starts its program with SIGHUP ignored; to handle it would undo that. Only Linux says so: elsewhere it is handled.
fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(10);

    #[derive(Debug, thiserror::Error)]
    #[error("disk full")]
    struct DiskFull;

    /// What comes of one task that runs beside one that behaves.
    async fn outcome(
        start: impl FnOnce(&Tasks),
        stop: impl Future<Output = ()>,
    ) -> Result<(), String> {
        let supervisor = Supervisor::new();
        let tasks = supervisor.tasks();
        let stopping = tasks.stopping();
        tasks.spawn("good", async move {
            stopping.cancelled().await;
            Ok::<(), DiskFull>(())
        });
        start(&tasks);
        supervisor.run(stop, DEADLINE).await.map_err(|lost| lost.to_string())
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_task_ends_the_whole_with_its_error() {
        let failed = |tasks: &Tasks| tasks.spawn("a", ready(Err(DiskFull)));
        assert_eq!(outcome(failed, pending()).await, Err("task a failed".into()));
        let panicked = |tasks: &Tasks| {
            tasks.spawn_finite("b", async {
                if true { panic!("no") } else { Ok::<(), DiskFull>(()) }
            });
        };
        assert_eq!(outcome(panicked, pending()).await, Err("task b panicked: no".into()));
        let ended = |tasks: &Tasks| tasks.spawn("c", ready(Ok::<(), DiskFull>(())));
        let want = "task c ended, although it should run until shutdown";
        assert_eq!(outcome(ended, pending()).await, Err(want.into()));
    }

    #[tokio::test(start_paused = true)]
    async fn shutdown_waits_for_what_has_begun_and_names_what_does_not_end() {
        let finite = |tasks: &Tasks| tasks.spawn_finite("a", ready(Ok::<(), DiskFull>(())));
        assert_eq!(outcome(finite, ready(())).await, Ok(()));
        let finishing = |tasks: &Tasks| {
            let stopping = tasks.stopping();
            tasks.spawn("b", async move {
                stopping.cancelled().await;
                tokio::time::sleep(DEADLINE / 2).await;
                Ok::<(), DiskFull>(())
            });
        };
        assert_eq!(outcome(finishing, ready(())).await, Ok(()));
        let stuck = |tasks: &Tasks| tasks.spawn("c", pending::<Result<(), DiskFull>>());
        let want = "shutdown took longer than 10000 ms: still running were c";
        assert_eq!(outcome(stuck, ready(())).await, Err(want.into()));
    }

    #[tokio::test(start_paused = true)]
    async fn no_task_outlives_its_supervisor() {
        let supervisor = Supervisor::new();
        let (held, dropped) = tokio::sync::oneshot::channel::<()>();
        supervisor.tasks().spawn("holder", async move {
            let _held = held;
            pending::<Result<(), DiskFull>>().await
        });
        tokio::task::yield_now().await;
        drop(supervisor);
        assert!(dropped.await.is_err());
    }
}
