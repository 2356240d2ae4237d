//! `ClusterService`: the clusters, and how well each is seen.
//!
//! Served from what the core's loop last published: all clusters at once, behind one pointer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{BoxStream, StreamExt as _};
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::{Request, Response, Status};
use vitals_proto::v1::{self, cluster_service_server::ClusterService};

use super::error::Error;
use super::limits::{Gate, Permit};
use super::operators::Operators;

/// Between two times that a watch says all clusters again.
const ALL_INTERVAL: Duration = Duration::from_secs(15);

/// What is known of the clusters.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Clusters {
    /// The streams are being read for the first time: what is known is a part, and is not given as the whole.
    #[default]
    Unread,
    /// All of them.
    Read(Arc<Said>),
}

/// What is said of the clusters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    /// All clusters, ordered by slug.
    pub clusters: Vec<v1::Cluster>,
    /// Revision of the cluster records that they show.
    pub revision: u64,
}

impl Clusters {
    pub(super) fn all(&self) -> Result<Arc<Said>, Error> {
        match self {
            Self::Read(said) => Ok(Arc::clone(said)),
            Self::Unread => {
                Err(Error::NotReady("it is reading the objects for the first time".to_owned()))
            }
        }
    }
}

/// Serves clusters.
#[derive(Clone, Debug)]
pub(super) struct ClusterReader {
    pub(super) clusters: watch::Receiver<Clusters>,
    pub(super) gate: Arc<Gate>,
    pub(super) operators: Operators,
}

#[tonic::async_trait]
impl ClusterService for ClusterReader {
    async fn list_clusters(
        &self,
        _: Request<v1::ListClustersRequest>,
    ) -> Result<Response<v1::ListClustersResponse>, Status> {
        let said = self.clusters.borrow().all()?;
        Ok(Response::new(v1::ListClustersResponse { clusters: said.clusters.clone() }))
    }

    async fn set_cluster_labels(
        &self,
        request: Request<v1::SetClusterLabelsRequest>,
    ) -> Result<Response<v1::SetClusterLabelsResponse>, Status> {
        Ok(Response::new(self.operators.label(request.into_inner()).await?))
    }

    async fn forget_cluster(
        &self,
        request: Request<v1::ForgetClusterRequest>,
    ) -> Result<Response<v1::ForgetClusterResponse>, Status> {
        Ok(Response::new(self.operators.forget(request.into_inner()).await?))
    }

    type WatchClustersStream = BoxStream<'static, Result<v1::WatchClustersResponse, Status>>;

    async fn watch_clusters(
        &self,
        request: Request<v1::WatchClustersRequest>,
    ) -> Result<Response<Self::WatchClustersStream>, Status> {
        self.clusters.borrow().all()?;
        let permit = self.gate.open(request.remote_addr()).map_err(Error::from)?;
        let watch = ClusterWatch {
            clusters: self.clusters.clone(),
            said: BTreeMap::new(),
            all_at: Instant::now(),
            _permit: permit,
        };
        let steps = futures::stream::unfold(Some(watch), async |watch| {
            let mut watch = watch?;
            match watch.next().await {
                Some(step) => Some((Ok(step), Some(watch))),
                None => Some((Err(Status::unavailable("the hub is stopping: watch again")), None)),
            }
        });
        Ok(Response::new(steps.boxed()))
    }
}

/// One watch of the clusters.
struct ClusterWatch {
    clusters: watch::Receiver<Clusters>,
    /// What was said of each, without its times.
    said: BTreeMap<String, v1::Cluster>,
    /// When all are said again.
    all_at: Instant,
    _permit: Permit,
}

impl ClusterWatch {
    /// What is to be said next; `None` at the end of the hub.
    async fn next(&mut self) -> Option<v1::WatchClustersResponse> {
        loop {
            // What was read once stays read.
            let said = self.clusters.borrow_and_update().all().ok()?;
            let is_all = Instant::now() >= self.all_at;
            if is_all {
                self.all_at = Instant::now() + ALL_INTERVAL;
            }
            let step = self.compare(&said.clusters, is_all);
            if is_all || !step.clusters.is_empty() || !step.removed.is_empty() {
                return Some(step);
            }
            tokio::select! {
                changed = self.clusters.changed() => changed.ok()?,
                () = tokio::time::sleep_until(self.all_at) => {}
            }
        }
    }

    fn compare(&mut self, clusters: &[v1::Cluster], is_all: bool) -> v1::WatchClustersResponse {
        let names: BTreeSet<&str> = clusters.iter().map(|cluster| cluster.name.as_str()).collect();
        let is_gone = |name: &String| !names.contains(name.as_str());
        let removed: Vec<String> = self.said.keys().filter(|name| is_gone(name)).cloned().collect();
        self.said.retain(|name, _| !is_gone(name));
        let mut changed = Vec::new();
        for cluster in clusters {
            let lasting = without_times(cluster.clone());
            if is_all || self.said.get(&cluster.name) != Some(&lasting) {
                self.said.insert(cluster.name.clone(), lasting);
                changed.push(cluster.clone());
            }
        }
        v1::WatchClustersResponse { clusters: changed, removed }
    }
}

/// What of a cluster lasts from one heartbeat to the next.
fn without_times(mut cluster: v1::Cluster) -> v1::Cluster {
    cluster.verified_at = None;
    for scope in &mut cluster.scopes {
        scope.last_heartbeat_at = None;
        scope.clock_offset_ms = None;
        for kind in &mut scope.kinds {
            kind.verified_at = None;
        }
    }
    cluster
}

#[cfg(test)]
mod tests {
    use super::super::limits::Limits;
    use super::*;
    use crate::metrics::ServeMetrics;

    fn cluster(name: &str, objects: u64, verified_s: i64) -> v1::Cluster {
        let verified_at = Some(vitals_hub_core::Time::from_unix_s(verified_s).to_wire());
        v1::Cluster { name: name.into(), objects, verified_at, ..Default::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn all_first_then_what_changed_in_more_than_times_then_all_again() {
        let read = |clusters| Clusters::Read(Arc::new(Said { clusters, revision: 0 }));
        let (sender, clusters) = watch::channel(Clusters::default());
        let gate = Gate::new(Limits::default(), ServeMetrics::default());
        let operators = Operators::for_tests(clusters.clone());
        let reader = ClusterReader { clusters, gate, operators };
        let request = Request::new(v1::WatchClustersRequest {});
        let refused = reader.watch_clusters(request).await.err().unwrap();
        assert_eq!(refused.code(), tonic::Code::Unavailable, "not all is read");
        let request = Request::new(v1::ListClustersRequest {});
        let refused = reader.list_clusters(request).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::Unavailable, "not all is read");
        sender.send_replace(read(vec![cluster("a", 1, 1), cluster("b", 1, 1)]));
        let request = Request::new(v1::WatchClustersRequest {});
        let mut steps = reader.watch_clusters(request).await.unwrap().into_inner();
        let mut next = async || {
            let step = steps.next().await.unwrap()?;
            let named = |clusters: Vec<v1::Cluster>| {
                let named = clusters.into_iter().map(|it| format!("{}:{}", it.name, it.objects));
                named.collect::<Vec<_>>().join(" ")
            };
            Ok::<_, Status>((named(step.clusters), step.removed.join(" ")))
        };
        assert_eq!(next().await.unwrap(), ("a:1 b:1".into(), String::new()));
        sender.send_replace(read(vec![cluster("a", 1, 2), cluster("b", 2, 2)]));
        assert_eq!(
            next().await.unwrap(),
            ("b:2".into(), String::new()),
            "times alone are not said"
        );
        sender.send_replace(read(vec![cluster("b", 2, 3)]));
        assert_eq!(next().await.unwrap(), (String::new(), "a".into()));
        let began = Instant::now();
        assert_eq!(next().await.unwrap(), ("b:2".into(), String::new()));
        assert_eq!(began.elapsed(), ALL_INTERVAL);
        drop((sender, reader));
        assert_eq!(next().await.unwrap_err().code(), tonic::Code::Unavailable);
    }
}
