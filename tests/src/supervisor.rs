//! Owns the child processes: one task per child, on a runtime of its own that outlives every test's.
//!
//! Only the child's task reaps it and only that task signals it, so that a signal never reaches a process
//! which got the id later.

use std::process::ExitStatus;
use std::sync::{LazyLock, mpsc as blocking};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};

use crate::janitor;

/// Orders waiting for one child; senders wait when there are more.
const ORDERS_MAX: usize = 16;

/// Dropping a child waits this long for its end.
const DROP_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a killed group is looked at until it is empty.
const GROUP_PAUSE: Duration = Duration::from_millis(50);

static RUNTIME: LazyLock<Handle> =
    LazyLock::new(|| start_runtime().expect("a runtime and a thread"));

/// A started child. Dropping it ends its process group.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) pid: Pid,
    pub(crate) orders: mpsc::Sender<Order>,
    pub(crate) exit: watch::Receiver<Option<ExitStatus>>,
}

/// What a child's task can be told.
#[derive(Debug)]
pub(crate) enum Order {
    Signal(Signal, oneshot::Sender<Result<(), Errno>>),
    End(blocking::SyncSender<()>),
}

/// Starts the command as leader of its own process group.
pub(crate) async fn spawn(mut command: std::process::Command) -> Result<Child> {
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let (orders, received) = mpsc::channel(ORDERS_MAX);
    let (told, exit) = watch::channel(None);
    let (started, starting) = oneshot::channel();
    RUNTIME.spawn(async move {
        match tokio::process::Command::from(command).spawn() {
            Ok(child) => supervise(child, received, told, started).await,
            Err(error) => drop(started.send(Err(error))),
        }
    });
    let pid = starting.await.context("the supervisor is gone")??;
    Ok(Child { pid, orders, exit })
}

/// Sends a signal to the child itself.
pub(crate) async fn signal(orders: &mpsc::Sender<Order>, signal: Signal) -> Result<()> {
    let (reply, answer) = oneshot::channel();
    let ended = || anyhow!("it has ended already");
    orders.send(Order::Signal(signal, reply)).await.map_err(|_| ended())?;
    Ok(answer.await.map_err(|_| ended())??)
}

impl Drop for Child {
    fn drop(&mut self) {
        let (done, ended) = blocking::sync_channel(1);
        // If the queue is full or the task is gone, the group ends with the channel, or has ended.
        if self.orders.try_send(Order::End(done)).is_ok() {
            ended.recv_timeout(DROP_TIMEOUT).ok();
        }
    }
}

async fn supervise(
    mut child: tokio::process::Child,
    mut orders: mpsc::Receiver<Order>,
    told: watch::Sender<Option<ExitStatus>>,
    started: oneshot::Sender<std::io::Result<Pid>>,
) {
    let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw) else {
        return;
    };
    janitor::born(pid);
    drop(started.send(Ok(pid)));
    let mut group = Group { leader: Some(pid), group: Some(pid) };
    let done = loop {
        tokio::select! {
            ended = child.wait(), if group.leader.is_some() => group.leader_ended(ended, &told),
            order = orders.recv() => match order {
                Some(Order::Signal(signal, reply)) => drop(reply.send(group.signal(signal))),
                Some(Order::End(done)) => break Some(done),
                None => break None,
            },
        }
    };
    group.kill();
    if group.leader.is_some() {
        let ended = child.wait().await;
        group.leader_ended(ended, &told);
    }
    if let Some(done) = done {
        done.send(()).ok();
    }
    group.forget_when_empty().await;
}

/// What is left of a child: its leader until it is reaped, its group until nobody is in it.
struct Group {
    leader: Option<Pid>,
    group: Option<Pid>,
}

impl Group {
    fn leader_ended(
        &mut self,
        ended: std::io::Result<ExitStatus>,
        told: &watch::Sender<Option<ExitStatus>>,
    ) {
        self.leader = None;
        if let Some(group) = self.group
            && killpg(group, None).is_err()
        {
            janitor::gone(group);
            self.group = None;
        }
        told.send_replace(ended.ok());
    }

    fn signal(&self, signal: Signal) -> Result<(), Errno> {
        self.leader.map_or(Err(Errno::ESRCH), |leader| kill(leader, signal))
    }

    fn kill(&self) {
        if let Some(group) = self.group {
            // The only failure is that nobody is in it any more.
            killpg(group, Signal::SIGKILL).ok();
        }
    }

    /// Killed grandchildren are in the group until the system's init reaps them, soon or, in some
    /// containers, never; as long as they are, the id is nobody else's.
    async fn forget_when_empty(self) {
        let Some(group) = self.group else { return };
        while killpg(group, None).is_ok() {
            tokio::time::sleep(GROUP_PAUSE).await;
        }
        janitor::gone(group);
    }
}

fn start_runtime() -> Result<Handle> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    std::thread::Builder::new()
        .name("testbed-supervisor".to_owned())
        .spawn(move || runtime.block_on(std::future::pending::<()>()))?;
    Ok(handle)
}
