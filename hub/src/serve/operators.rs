//! What operators do to clusters: label them, and forget those that are gone for good.
//!
//! Both are written to KV, and answered when this hub shows what was written: who asks it next sees what he did. Whether a
//! cluster may be forgotten, and up to where, the core says.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use vitals_hub_core::{Forgetting, NotForgettable};
use vitals_proto::identity::ClusterName;
use vitals_proto::v1;

use super::cluster::Clusters;
use super::entity::check_ready;
use super::error::Error;
use crate::cluster_records::{LabelPatch, Labelled, Store};
use crate::query::Query;
use crate::watch::Shared;

/// How long a hub may take to show what was written.
const SHOWN_MAX: Duration = Duration::from_secs(10);

/// How long it may not see all that was published before that is said: in a storm it never has for an instant.
const SEEN_MAX: Duration = Duration::from_secs(5);

/// Between two questions whether it has.
const ASK_INTERVAL: Duration = Duration::from_millis(50);

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Operators {
    pub(super) shared: Arc<Shared>,
    pub(super) clusters: watch::Receiver<Clusters>,
    pub(super) records: Arc<dyn Store>,
}

impl Operators {
    /// Sets and removes labels.
    pub(super) async fn label(
        &self,
        request: v1::SetClusterLabelsRequest,
    ) -> Result<v1::SetClusterLabelsResponse, Error> {
        let v1::SetClusterLabelsRequest { name, set, remove, allow_unseen } = request;
        let cluster: ClusterName = name.parse()?;
        let patch = LabelPatch { set, remove: remove.into_iter().collect() };
        patch.check().map_err(crate::cluster_records::Error::from)?;
        check_ready(&self.shared)?;
        let said = self.clusters.borrow().all()?;
        if !allow_unseen && said.clusters.iter().all(|it| it.name != cluster.as_str()) {
            return Err(Error::NotFound(format!(
                "there is no cluster {cluster}: see ListClusters, or say allow_unseen to label it before its agent comes"
            )));
        }
        let Labelled { labels, revision } = self.records.label(&cluster, &patch).await?;
        self.until_shown(revision).await?;
        tracing::info!(%cluster, ?labels, "labels of a cluster set");
        Ok(v1::SetClusterLabelsResponse { labels })
    }

    /// Forgets a cluster.
    pub(super) async fn forget(
        &self,
        request: v1::ForgetClusterRequest,
    ) -> Result<v1::ForgetClusterResponse, Error> {
        let v1::ForgetClusterRequest { name, force } = request;
        let cluster: ClusterName = name.parse()?;
        check_ready(&self.shared)?;
        let Forgetting { forgotten, objects, alive } = self.forgetting(&cluster).await?;
        if let Some(heard) = alive.filter(|_| !force) {
            return Err(Error::Precondition(format!(
                "cluster {cluster} may be alive: an agent of it was heard {} s ago, and it counts as silent after 20 s. \
                 Stop its agents and try again; by force it is forgotten, and comes back with the next repairs",
                heard.as_secs()
            )));
        }
        let revision = self.records.forget(&cluster, &forgotten).await?;
        self.until_shown(revision).await?;
        tracing::info!(%cluster, objects, force, "cluster forgotten");
        if let Err(error) = self.records.purge(&cluster, &forgotten).await {
            // It is forgotten all the same, and a hub will purge what is left: see `kv_clusters`.
            tracing::warn!(%cluster, %error, "messages of a forgotten cluster not purged yet");
        }
        let objects = u64::try_from(objects).unwrap_or(u64::MAX);
        Ok(v1::ForgetClusterResponse { objects })
    }

    async fn forgetting(&self, cluster: &ClusterName) -> Result<Forgetting, Error> {
        let deadline = Instant::now() + SEEN_MAX;
        loop {
            let ask = |answer| Query::Forgetting { cluster: cluster.clone(), answer };
            match self.shared.desk.ask(ask).await? {
                Ok(forgetting) => return Ok(forgetting),
                Err(unknown @ NotForgettable::Unknown(_)) => {
                    return Err(Error::NotFound(format!("{unknown}: see ListClusters")));
                }
                Err(unseen @ NotForgettable::Unseen(_)) if Instant::now() >= deadline => {
                    return Err(Error::Unavailable(format!("{unseen}; try again")));
                }
                Err(NotForgettable::Unseen(_)) => tokio::time::sleep(ASK_INTERVAL).await,
            }
        }
    }

    /// Waits until this hub shows the records of that revision.
    async fn until_shown(&self, revision: u64) -> Result<(), Error> {
        let mut clusters = self.clusters.clone();
        let is_shown =
            |clusters: &Clusters| clusters.all().is_ok_and(|said| said.revision >= revision);
        let shown = tokio::time::timeout(SHOWN_MAX, clusters.wait_for(is_shown)).await;
        if matches!(shown, Ok(Ok(_))) {
            return Ok(());
        }
        Err(Error::Unavailable(
            "it is written, and this hub has not read it yet: look again in a few seconds"
                .to_owned(),
        ))
    }
}

#[cfg(test)]
#[path = "operators_tests.rs"]
pub(super) mod tests;
