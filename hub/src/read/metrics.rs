//! Figures of the readers.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// Figures of all readers of a process.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    pub(super) messages: Counter,
    pub(super) bytes: Counter,
    pub(super) foreign: Counter,
    pub(super) resumes: Counter,
    pub(super) snapshots: Family<ReasonLabels, Counter>,
    pub(super) losses: Family<ReasonLabels, Counter>,
}

/// A reason, of a closed set.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabels {
    /// As [`super::SnapshotReason`] or [`super::LostReason`] names it.
    pub reason: &'static str,
}

impl Metrics {
    /// Shows them.
    pub fn register(&self, registry: &mut Registry) {
        let Self { messages, bytes, foreign, resumes, snapshots, losses } = self;
        let read = registry.sub_registry_with_prefix("vitals_read");
        read.register("messages", "Messages read from streams", messages.clone());
        read.register("payload_bytes", "Bytes of payload read from streams", bytes.clone());
        read.register(
            "foreign_messages",
            "Messages that no consumer of ours sent",
            foreign.clone(),
        );
        read.register("resumes", "Times that reading went on where it had ended", resumes.clone());
        read.register(
            "snapshots",
            "Times that a stream was read from its beginning",
            snapshots.clone(),
        );
        read.register("losses", "Times that a stream could not be seen any more", losses.clone());
    }
}
