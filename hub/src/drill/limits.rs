//! How much clusters are asked: so often by one connection, so often and so much at once of one cluster. Beyond, the client is
//! told RESOURCE_EXHAUSTED at once: nothing queues. What is shared counts once for the cluster.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use vitals_proto::identity::ClusterName;
use vitals_runtime::bucket::{Bucket, Rate};

use super::Error;

/// Requests on one connection, shared ones too.
const RATE_OF_CONNECTION: Rate = Rate { per_second: 50.0, burst: 200.0 };

/// Connections beyond which those that have asked nothing for long are forgotten.
const CONNECTIONS_KEPT: usize = 256;

/// Questions to one cluster; an agent answers 20 a second, of all hubs together.
const RATE_OF_CLUSTER: Rate = Rate { per_second: 15.0, burst: 45.0 };

/// Questions to one cluster that are under way.
const ASKS_PER_CLUSTER: usize = 8;

/// Open logs of one cluster, and of all; each holds at most half a megabyte.
const LOGS_PER_CLUSTER: usize = 32;
const LOGS_MAX: usize = 256;

/// Counts what is asked.
#[derive(Debug)]
pub(super) struct Limits {
    connections: Mutex<BTreeMap<SocketAddr, Bucket>>,
    clusters: Mutex<BTreeMap<ClusterName, OfCluster>>,
    logs: Arc<Semaphore>,
}

#[derive(Debug)]
struct OfCluster {
    rate: Bucket,
    asks: Arc<Semaphore>,
    logs: Arc<Semaphore>,
}

/// One question that is under way, or one open log; dropped, it is over.
#[derive(Debug)]
pub(super) struct Permit {
    _of_cluster: OwnedSemaphorePermit,
    _of_all: Option<OwnedSemaphorePermit>,
}

impl Default for Limits {
    fn default() -> Self {
        let (connections, clusters) = Default::default();
        Self { connections, clusters, logs: Arc::new(Semaphore::new(LOGS_MAX)) }
    }
}

impl Limits {
    /// Another request on this connection; `None` where that is not known.
    pub(super) fn admit(&self, connection: Option<SocketAddr>) -> Result<(), Error> {
        let Some(connection) = connection else { return Ok(()) };
        let now = Instant::now();
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if connections.len() >= CONNECTIONS_KEPT && !connections.contains_key(&connection) {
            connections.retain(|_, bucket| !bucket.is_full(now));
        }
        let bucket =
            connections.entry(connection).or_insert_with(|| Bucket::full(RATE_OF_CONNECTION, now));
        if bucket.take(now) {
            return Ok(());
        }
        Err(Error::TooMuch(format!(
            "this connection asks clusters for more than {} things a second: ask less often",
            RATE_OF_CONNECTION.per_second
        )))
    }

    /// Another question to a cluster.
    pub(super) fn ask(&self, cluster: &ClusterName) -> Result<Permit, Error> {
        let mut clusters = self.clusters();
        let of_cluster = of(&mut clusters, cluster)?;
        let permit = Arc::clone(&of_cluster.asks).try_acquire_owned().map_err(|_| {
            Error::TooMuch(format!(
                "cluster {cluster} is asked {ASKS_PER_CLUSTER} things already, which is the most: try again"
            ))
        })?;
        Ok(Permit { _of_cluster: permit, _of_all: None })
    }

    /// Another open log of a cluster.
    pub(super) fn open_log(&self, cluster: &ClusterName) -> Result<Permit, Error> {
        let of_all = Arc::clone(&self.logs).try_acquire_owned().map_err(|_| {
            Error::TooMuch(format!(
                "this hub reads {LOGS_MAX} logs already, which is the most: try another replica"
            ))
        })?;
        let mut clusters = self.clusters();
        let of_cluster = of(&mut clusters, cluster)?;
        let permit = Arc::clone(&of_cluster.logs).try_acquire_owned().map_err(|_| {
            Error::TooMuch(format!(
                "{LOGS_PER_CLUSTER} logs of cluster {cluster} are read already, which is the most: end some"
            ))
        })?;
        Ok(Permit { _of_cluster: permit, _of_all: Some(of_all) })
    }

    fn clusters(&self) -> MutexGuard<'_, BTreeMap<ClusterName, OfCluster>> {
        self.clusters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes one of its tokens. Only clusters that the hub knows come here: there are few.
fn of<'a>(
    clusters: &'a mut BTreeMap<ClusterName, OfCluster>,
    cluster: &ClusterName,
) -> Result<&'a mut OfCluster, Error> {
    let now = Instant::now();
    let of_cluster = clusters.entry(cluster.clone()).or_insert_with(|| OfCluster {
        rate: Bucket::full(RATE_OF_CLUSTER, now),
        asks: Arc::new(Semaphore::new(ASKS_PER_CLUSTER)),
        logs: Arc::new(Semaphore::new(LOGS_PER_CLUSTER)),
    });
    if of_cluster.rate.take(now) {
        return Ok(of_cluster);
    }
    Err(Error::TooMuch(format!("cluster {cluster} is asked too often: try again in a second")))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_connection_and_each_cluster_has_its_own() {
        let limits = Limits::default();
        let from = |port| Some(SocketAddr::from(([127, 0, 0, 1], port)));
        let admitted = |port| (0..1_000).filter(|_| limits.admit(from(port)).is_ok()).count();
        assert_eq!((admitted(1), admitted(1), admitted(2)), (200, 0, 200));
        assert!(limits.admit(None).is_ok());

        let (east, west) = ("east".parse().unwrap(), "west".parse().unwrap());
        let held: Vec<_> = (0..100).map_while(|_| limits.ask(&east).ok()).collect();
        assert_eq!(held.len(), ASKS_PER_CLUSTER);
        assert!(limits.ask(&west).is_ok());
        drop(held);
        assert!(limits.ask(&east).is_ok());
        let asked = (0..1_000).filter(|_| limits.ask(&east).is_ok()).count();
        assert!(asked < 45, "{asked}");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!((0..1_000).filter(|_| limits.ask(&east).is_ok()).count(), 15);
        tokio::time::advance(Duration::from_secs(60)).await;
        let logs: Vec<_> = (0..100).map_while(|_| limits.open_log(&east).ok()).collect();
        assert_eq!(logs.len(), LOGS_PER_CLUSTER);
        assert!(limits.ask(&east).is_ok(), "logs take no place of questions");
    }

    #[tokio::test(start_paused = true)]
    async fn connections_that_are_gone_are_forgotten() {
        let limits = Limits::default();
        for port in 1..2_000 {
            limits.admit(Some(SocketAddr::from(([127, 0, 0, 1], port)))).unwrap();
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let kept = limits.connections.lock().unwrap().len();
        assert!(kept <= CONNECTIONS_KEPT, "{kept}");
    }
}
