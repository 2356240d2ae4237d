//! How much there may be: streams ([`Gate`]; beyond, RESOURCE_EXHAUSTED), connections ([`Places`]; beyond, they
//! are closed), and what a connection may do without a token ([`Stranger`]).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

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

/// Most connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PlaceLimits {
    /// In all.
    pub(super) connections: usize,
    /// From one peer. Much: a proxy, or a node that hides the addresses behind it, is one peer, and with what
    /// runs beside the hub all may come from the loopback address.
    pub(super) connections_per_peer: usize,
    /// From one peer that shake hands at once; beyond, they wait.
    pub(super) handshakes_per_peer: usize,
}

impl Default for PlaceLimits {
    fn default() -> Self {
        Self { connections: 8_192, connections_per_peer: 2_048, handshakes_per_peer: 64 }
    }
}

/// Why there is no place for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Full {
    #[error("there are {0} connections, which is the most")]
    Total(usize),
    #[error("this peer has {0} connections, which is the most")]
    Peer(usize),
}

/// Places for connections: so many in all, and no peer may have them all.
#[derive(Debug)]
pub(super) struct Places {
    limits: PlaceLimits,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    by_peer: BTreeMap<IpAddr, OfPeer>,
}

#[derive(Debug)]
struct OfPeer {
    connections: usize,
    handshakes: Arc<Semaphore>,
}

/// The place of one connection; dropped, it is free.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    peer: IpAddr,
    handshakes: Arc<Semaphore>,
}

impl Places {
    pub(super) fn new(limits: PlaceLimits) -> Arc<Self> {
        Arc::new(Self { limits, taken: Mutex::default() })
    }

    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Result<Place, Full> {
        let PlaceLimits { connections, connections_per_peer, handshakes_per_peer } = self.limits;
        let peer = peer_of(address);
        let mut taken = self.lock();
        if taken.total >= connections {
            return Err(Full::Total(connections));
        }
        let of_peer = taken.by_peer.entry(peer).or_insert_with(|| OfPeer {
            connections: 0,
            handshakes: Arc::new(Semaphore::new(handshakes_per_peer)),
        });
        if of_peer.connections >= connections_per_peer {
            return Err(Full::Peer(connections_per_peer));
        }
        of_peer.connections += 1;
        let handshakes = Arc::clone(&of_peer.handshakes);
        taken.total += 1;
        Ok(Place { places: Arc::clone(self), peer, handshakes })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// The turns to shake hands that its peer has.
    pub(super) fn handshakes(&self) -> &Semaphore {
        &self.handshakes
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.total -= 1;
        if let Some(of_peer) = taken.by_peer.get_mut(&self.peer) {
            of_peer.connections -= 1;
            if of_peer.connections == 0 {
                taken.by_peer.remove(&self.peer);
            }
        }
    }
}

/// What counts as one peer: an address of IPv4, or the /64 of one of IPv6, since a machine has all of its /64.
fn peer_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (!0 << 64)).into(),
    }
}

/// Most probes of one connection that are answered at once; beyond, RESOURCE_EXHAUSTED.
const PROBES_MAX: usize = 8;

/// Most requests of one connection that are refused before a token is shown; beyond, it is closed.
const REFUSALS_MAX: usize = 100;

/// How long a connection may be open before a token is shown; after that, it is closed, and may come again.
const INTRODUCTION_TIMEOUT: Duration = Duration::from_secs(60);

/// A connection on which nobody has shown a token yet, and what it may do so. (Where no tokens are asked for,
/// whoever asks anything is taken for somebody who has shown one.)
#[derive(Clone, Debug)]
pub(super) struct Stranger(Arc<Conduct>);

#[derive(Debug)]
struct Conduct {
    is_known: AtomicBool,
    probes: Arc<Semaphore>,
    refusals_left: Semaphore,
    refused_too_often: CancellationToken,
}

impl Default for Stranger {
    fn default() -> Self {
        Self(Arc::new(Conduct {
            is_known: AtomicBool::new(false),
            probes: Arc::new(Semaphore::new(PROBES_MAX)),
            refusals_left: Semaphore::new(REFUSALS_MAX),
            refused_too_often: CancellationToken::new(),
        }))
    }
}

impl Stranger {
    /// A token was shown.
    pub(super) fn admit(&self) {
        self.0.is_known.store(true, Ordering::Relaxed);
    }

    /// A request was refused. What is known may be a proxy: it is not closed for one of those
    /// behind it.
    pub(super) fn refuse(&self) {
        match self.0.refusals_left.try_acquire() {
            Ok(refusal) => refusal.forget(),
            Err(_) if self.0.is_known.load(Ordering::Relaxed) => {}
            Err(_) => self.0.refused_too_often.cancel(),
        }
    }

    /// Begins what needs no token; `None` where too many of it are open.
    pub(super) fn probe(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.probes).try_acquire_owned().ok()
    }

    /// Ends when it has to be closed at once.
    pub(super) async fn refused_too_often(&self) {
        self.0.refused_too_often.cancelled().await;
    }

    /// Ends when no token was shown in time.
    pub(super) async fn is_overdue(&self) {
        tokio::time::sleep(INTRODUCTION_TIMEOUT).await;
        if self.0.is_known.load(Ordering::Relaxed) {
            std::future::pending().await
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

    #[test]
    fn no_peer_takes_all_places() {
        let limits =
            PlaceLimits { connections: 3, connections_per_peer: 2, handshakes_per_peer: 1 };
        let places = Places::new(limits);
        let take = |address: &str| places.take(address.parse().unwrap());
        let first = take("2001:db8::1").unwrap();
        let _second = take("2001:db8::2:1").unwrap();
        assert_eq!(take("2001:db8::3").err(), Some(Full::Peer(2)), "one /64 is one peer");
        let other = take("::ffff:192.0.2.1").unwrap();
        assert_eq!(take("2001:db8:0:1::1").err(), Some(Full::Total(3)));
        drop(first);
        let _again = take("192.0.2.1").unwrap();
        assert_eq!(places.lock().by_peer.len(), 2, "mapped or not, it is one address");
        drop((other, _again));
        assert_eq!(places.lock().by_peer.len(), 1);
    }
}
