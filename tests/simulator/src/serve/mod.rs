//! The shell: HTTP over the core. Requests are read ([`route`]), answered under one lock ([`answer`]), and shown as the client
//! accepts ([`show`]); watches and logs go on by themselves ([`watch`], [`log`]).

pub(crate) mod route;
pub(crate) mod discovery;
pub(crate) mod openapi;
pub(crate) mod table;
pub(crate) mod show;
pub(crate) mod answer;
pub(crate) mod change;
pub(crate) mod watch;
pub(crate) mod log;
pub(crate) mod server;

use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::{Notify, watch as watch_channel};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::faults::Faults;
use crate::world::World;

/// What all requests share.
#[derive(Debug)]
pub(crate) struct Shared {
    world: Mutex<World>,
    pub(crate) clock: Clock,
    pub(crate) faults: Faults,
    /// Controllers have something to do.
    pub(crate) wake: Notify,
    /// Version of the last write, for watches.
    changed: watch_channel::Sender<u64>,
    /// Watches end, and so does the server.
    pub(crate) stopping: CancellationToken,
    /// Connections are cut: replaced each time.
    cutting: Mutex<CancellationToken>,
}

impl Shared {
    pub(crate) fn new(world: World, clock: Clock, stopping: CancellationToken) -> Self {
        Self {
            world: Mutex::new(world),
            clock,
            faults: Faults::default(),
            wake: Notify::new(),
            changed: watch_channel::channel(0).0,
            stopping,
            cutting: Mutex::new(CancellationToken::new()),
        }
    }

    /// Reads.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&World, Timestamp) -> T) -> T {
        let now = self.clock.now();
        read(&self.lock(), now)
    }

    /// Writes, and tells watches and controllers.
    pub(crate) fn write<T>(&self, write: impl FnOnce(&mut World, Timestamp) -> T) -> T {
        let now = self.clock.now();
        let written = self.act(|world| write(world, now));
        self.wake.notify_one();
        written
    }

    /// Writes as a controller does, and tells watches.
    pub(crate) fn act<T>(&self, act: impl FnOnce(&mut World) -> T) -> T {
        let mut world = self.lock();
        let acted = act(&mut world);
        let version = world.store.version();
        drop(world);
        self.changed.send_if_modified(|known| std::mem::replace(known, version) != version);
        acted
    }

    pub(crate) fn changes(&self) -> watch_channel::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Ends at once what streams now.
    pub(crate) fn cut(&self) {
        let mut cutting = self.cutting.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *cutting, CancellationToken::new()).cancel();
    }

    pub(crate) fn cutting(&self) -> CancellationToken {
        self.cutting.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
