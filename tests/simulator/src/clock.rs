//! The time of a simulated cluster: that of the machine, off by as much as it is told, or one that only moves when it is told.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use vitals_runtime::clock::SystemClock;

/// A clock. Its clones are the same clock.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Mutex<Source>>);

#[derive(Clone, Copy, Debug)]
enum Source {
    System { skew: SignedDuration },
    Manual { now: Timestamp },
}

impl Clock {
    /// The machine's.
    #[must_use]
    pub fn system() -> Self {
        Self(Arc::new(Mutex::new(Source::System { skew: SignedDuration::ZERO })))
    }

    /// One that stands still until somebody moves it.
    #[must_use]
    pub fn manual(now: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(Source::Manual { now })))
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match *self.lock() {
            Source::System { skew } => plus(SystemClock.now(), skew),
            Source::Manual { now } => now,
        }
    }

    /// Lets the clock be wrong by this much, instead of what it was wrong by before; a manual one jumps by it.
    pub fn skew(&self, by: SignedDuration) {
        match &mut *self.lock() {
            Source::System { skew } => *skew = by,
            Source::Manual { now } => *now = plus(*now, by),
        }
    }

    /// Sets a manual clock. The machine's goes on as it is.
    pub(crate) fn set(&self, time: Timestamp) {
        if let Source::Manual { now } = &mut *self.lock() {
            *now = time;
        }
    }

    /// Whether it only moves when it is told.
    pub(crate) fn is_manual(&self) -> bool {
        matches!(*self.lock(), Source::Manual { .. })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Source> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn plus(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.checked_add(by).unwrap_or(time)
}
