//! How many streams there may be: on one connection, and in all. Beyond, RESOURCE_EXHAUSTED.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::metrics::{LimitKind, ServeMetrics};

/// Most streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// On one connection.
    pub streams_per_connection: usize,
    /// In all.
    pub streams: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { streams_per_connection: 1_000, streams: 20_000 }
    }
}

/// Why a stream is refused. It may be tried again once others have ended, or at another replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Exceeded {
    /// Too many on its connection.
    #[error(
        "this connection has {0} streams open, which is the most: end some, or watch with one wider \
         filter (--watches-per-connection-max)"
    )]
    Connection(usize),
    /// Too many in all.
    #[error(
        "this hub has {0} streams open, which is the most: try another replica (--watches-max)"
    )]
    Total(usize),
}

/// Counts the open streams.
#[derive(Debug)]
pub struct Gate {
    limits: Limits,
    open: Mutex<Open>,
    metrics: ServeMetrics,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    by_connection: BTreeMap<SocketAddr, usize>,
}

/// One open stream; dropped, it is one no more.
#[derive(Debug)]
pub struct Permit {
    gate: Arc<Gate>,
    connection: Option<SocketAddr>,
}

impl Gate {
    /// With nothing open.
    pub fn new(limits: Limits, metrics: ServeMetrics) -> Arc<Self> {
        Arc::new(Self { limits, open: Mutex::default(), metrics })
    }

    /// Opens a stream on the connection from `connection`; `None` where that is not known.
    pub fn open(self: &Arc<Self>, connection: Option<SocketAddr>) -> Result<Permit, Exceeded> {
        let Limits { streams_per_connection, streams } = self.limits;
        let mut open = self.lock();
        if open.total >= streams {
            self.metrics.refuse(LimitKind::Total);
            return Err(Exceeded::Total(streams));
        }
        if let Some(connection) = connection {
            let count = open.by_connection.entry(connection).or_default();
            if *count >= streams_per_connection {
                self.metrics.refuse(LimitKind::Connection);
                return Err(Exceeded::Connection(streams_per_connection));
            }
            *count += 1;
        }
        open.total += 1;
        self.metrics.watches.inc();
        Ok(Permit { gate: Arc::clone(self), connection })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut open = self.gate.lock();
        open.total -= 1;
        self.gate.metrics.watches.dec();
        let Some(connection) = self.connection else { return };
        if let Some(count) = open.by_connection.get_mut(&connection) {
            *count -= 1;
            if *count == 0 {
                open.by_connection.remove(&connection);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_limits_streams_are_refused_until_others_end() {
        let limits = Limits { streams_per_connection: 2, streams: 3 };
        let gate = Gate::new(limits, ServeMetrics::default());
        let from = |port| Some(SocketAddr::from(([127, 0, 0, 1], port)));
        let first = gate.open(from(1)).unwrap();
        let _second = gate.open(from(1)).unwrap();
        assert_eq!(gate.open(from(1)).err(), Some(Exceeded::Connection(2)));
        let _other = gate.open(from(2)).unwrap();
        assert_eq!(gate.open(None).err(), Some(Exceeded::Total(3)));
        drop(first);
        let _again = gate.open(from(1)).unwrap();
        assert_eq!(gate.lock().by_connection.len(), 2);
    }
}
