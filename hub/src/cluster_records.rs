//! What operators say of clusters: their labels, and which are forgotten.
//!
//! They come by gRPC or from a file, are put into KV `vitals_clusters`, and reach the core from there, so that all replicas
//! show, filter and forget alike.

pub mod file;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use vitals_hub_core::cluster_record::{self, ClusterLabels};
use vitals_hub_core::{ClusterRecord, Forgotten};
use vitals_proto::identity::ClusterName;

/// All records at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Records {
    /// Of the records as a whole.
    pub revision: u64,
    /// By the cluster.
    pub kept: BTreeMap<ClusterName, Kept>,
}

/// One record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kept {
    /// What the core needs of it.
    pub record: ClusterRecord,
    /// The messages up to where the cluster is forgotten are gone from the streams.
    pub purged: bool,
}

impl Records {
    /// For the core.
    pub fn for_core(&self) -> BTreeMap<ClusterName, ClusterRecord> {
        self.kept.iter().map(|(name, kept)| (name.clone(), kept.record.clone())).collect()
    }

    /// Clusters that are forgotten, and whose messages are still in the streams as far as is known.
    pub fn unpurged(&self) -> impl Iterator<Item = (&ClusterName, &Forgotten)> {
        let unpurged = self.kept.iter().filter(|(_, kept)| !kept.purged);
        unpurged.filter_map(|(name, kept)| Some((name, kept.record.forgotten.as_ref()?)))
    }
}

/// How the labels of a cluster change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelPatch {
    /// To set.
    pub set: ClusterLabels,
    /// Keys to remove.
    pub remove: BTreeSet<String>,
}

impl LabelPatch {
    /// Checks what can be checked of it alone.
    pub fn check(&self) -> Result<(), cluster_record::Error> {
        self.remove.iter().try_for_each(|key| cluster_record::check_key(key))?;
        cluster_record::check(&self.set)
    }

    /// The labels with it: the removals first, so that what is set is there.
    pub fn apply(&self, labels: &ClusterLabels) -> Result<ClusterLabels, cluster_record::Error> {
        let Self { set, remove } = self;
        let kept = labels.iter().filter(|(key, _)| !remove.contains(*key));
        let all = kept.chain(set).map(|(key, value)| (key.clone(), value.clone())).collect();
        cluster_record::check(&all)?;
        Ok(all)
    }
}

/// Labels as they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labelled {
    /// All of the cluster.
    pub labels: ClusterLabels,
    /// Of the records as a whole, after it.
    pub revision: u64,
}

/// Where records are kept.
#[tonic::async_trait]
pub trait Store: Debug + Send + Sync {
    /// Changes the labels of a cluster.
    async fn label(&self, cluster: &ClusterName, patch: &LabelPatch) -> Result<Labelled, Error>;
    /// Writes that a cluster is forgotten. Gives the revision after it.
    async fn forget(&self, cluster: &ClusterName, forgotten: &Forgotten) -> Result<u64, Error>;
    /// Removes the messages of a forgotten cluster from the streams, and writes that it did. Gives how many there were.
    async fn purge(&self, cluster: &ClusterName, forgotten: &Forgotten) -> Result<u64, Error>;
}

/// Why a record could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// NATS does not answer, or refuses. May be tried again.
    #[error("cannot {doing} in NATS: {reason}")]
    Unavailable {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        reason: String,
    },
    /// Somebody else wrote the same record at the same time, again and again. May be tried again.
    #[error("the record of cluster {0} was changed by somebody else at the same time: try again")]
    Conflict(ClusterName),
    /// The labels cannot be taken. Final.
    #[error(transparent)]
    Labels(#[from] cluster_record::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> ClusterLabels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_patch_removes_first_and_then_sets() {
        let before = labels(&[("environment", "prod"), ("region", "eu"), ("team", "a")]);
        let patch = LabelPatch {
            set: labels(&[("region", "us"), ("team", "b")]),
            remove: ["environment".to_owned(), "team".to_owned(), "absent".to_owned()].into(),
        };
        assert_eq!(patch.apply(&before), Ok(labels(&[("region", "us"), ("team", "b")])));
        let full = (0..cluster_record::LABELS_MAX).map(|n| (n.to_string(), "x".into())).collect();
        let one_more = LabelPatch { set: labels(&[("more", "x")]), ..LabelPatch::default() };
        let count = cluster_record::LABELS_MAX + 1;
        assert_eq!(one_more.apply(&full), Err(cluster_record::Error::TooMany(count)));
        let wrong = LabelPatch { remove: ["a b".to_owned()].into(), ..LabelPatch::default() };
        assert_eq!(wrong.check(), Err(cluster_record::Error::Key("a b".into())));
    }
}
