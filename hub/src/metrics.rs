//! The hub's figures: `vitals_hub_…`.
//!
//! Labels come from closed sets (statuses, reasons, outcomes), and from the names of clusters and streams, which
//! are configured, few, and what an operator asks by.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use vitals_hub_core::{Counters, Hub, Refusal, Time};
use vitals_proto::v1::{self, HealthStatus};

/// Upper bounds of the fan-out latency. Seconds; the budget is 0.05.
const FAN_OUT_SECONDS: [f64; 10] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0];

/// How a watch began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Begun {
    /// Without a token.
    Fresh,
    /// With a token that was taken.
    Resumed,
    /// With a token that was not taken: a new snapshot.
    Refused,
    /// It fell behind what is known of what is gone: a new snapshot.
    Lost,
}

/// Why a watch was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum LimitKind {
    /// Too many on its connection.
    Connection,
    /// Too many in all.
    Total,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BegunLabel {
    how: Begun,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabel {
    limit: LimitKind,
}

/// Figures of serving. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct ServeMetrics {
    /// Open watches.
    pub watches: Gauge,
    /// Frames handed to watches.
    pub frames: Counter,
    /// From the moment a change could be seen to the moment a watch took it.
    pub fan_out: Histogram,
    /// Times that a watch fell behind the journal.
    pub behind: Counter,
    /// Requests refused for want of a token.
    pub unauthenticated: Counter,
    begun: Family<BegunLabel, Counter>,
    refused: Family<LimitLabel, Counter>,
}

impl Default for ServeMetrics {
    fn default() -> Self {
        Self {
            watches: Gauge::default(),
            frames: Counter::default(),
            fan_out: Histogram::new(FAN_OUT_SECONDS),
            behind: Counter::default(),
            unauthenticated: Counter::default(),
            begun: Family::default(),
            refused: Family::default(),
        }
    }
}

impl ServeMetrics {
    /// A watch began.
    pub fn begin(&self, how: Begun) {
        self.begun.get_or_create(&BegunLabel { how }).inc();
    }

    /// A watch was refused.
    pub fn refuse(&self, limit: LimitKind) {
        self.refused.get_or_create(&LimitLabel { limit }).inc();
    }

    /// Shows them.
    pub fn register(&self, registry: &mut Registry) {
        let Self { watches, frames, fan_out, behind, unauthenticated, begun, refused } = self;
        let hub = registry.sub_registry_with_prefix("vitals_hub");
        hub.register("watches", "Open watches of entities", watches.clone());
        hub.register("watch_frames", "Messages handed to watches of entities", frames.clone());
        hub.register_with_unit(
            "fan_out",
            "From the moment a change could be seen to the moment a watch took it",
            Unit::Seconds,
            fan_out.clone(),
        );
        hub.register(
            "watch_behind",
            "Times that a watch fell behind the journal and got the latest states instead",
            behind.clone(),
        );
        hub.register("watches_begun", "Watches by how they began", begun.clone());
        hub.register("watches_refused", "Watches refused by a limit", refused.clone());
        hub.register(
            "unauthenticated",
            "Requests refused because their bearer token was absent or wrong",
            unauthenticated.clone(),
        );
    }
}

/// Figures of telling. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct TellMetrics {
    /// 1 while this replica tells.
    pub leads: Gauge,
    /// Transitions that it told.
    pub told: Counter,
}

impl TellMetrics {
    /// Shows them.
    pub fn register(&self, registry: &mut Registry) {
        let Self { leads, told } = self;
        let hub = registry.sub_registry_with_prefix("vitals_hub");
        hub.register("tells", "1 while this replica tells transitions, else 0", leads.clone());
        hub.register("told", "Transitions that this replica told", told.clone());
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabel {
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClusterLabel {
    cluster: String,
}

/// Figures of the core, taken at each tick. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct CoreMetrics {
    messages: Counter,
    applied: Counter,
    heartbeats: Counter,
    opaque: Counter,
    refused: Family<ReasonLabel, Counter>,
    differing_buckets: Counter,
    repairs_asked: Counter,
    repairs_unanswered: Counter,
    repairs_refused: Counter,
    names_taken: Counter,
    objects_taken_over: Counter,
    /// Requests for repair for which there was no room.
    pub repairs_not_sent: Counter,
    objects: Gauge,
    facts_bytes: Gauge,
    memory_bytes: Gauge,
    entities: Family<StatusLabel, Gauge>,
    clusters: Family<StateLabel, Gauge>,
    verified_at: Family<ClusterLabel, Gauge<f64, AtomicU64>>,
    as_of: Gauge<f64, AtomicU64>,
    clock_offset: Gauge<f64, AtomicU64>,
}

impl CoreMetrics {
    /// Takes what the core counts now.
    pub fn take(
        &self,
        hub: &Hub,
        statuses: &BTreeMap<HealthStatus, u64>,
        now: Time,
        clock_offset_ms: i64,
    ) {
        self.take_counters(hub.counters());
        let bytes = hub.store().bytes();
        self.objects.set(signed(hub.store().len()));
        self.facts_bytes.set(signed(bytes.facts));
        self.memory_bytes.set(signed(bytes.memory));
        for (status, count) in statuses {
            let label = StatusLabel { status: status.as_str_name() };
            self.entities.get_or_create(&label).set(i64::try_from(*count).unwrap_or(i64::MAX));
        }
        self.take_clusters(&hub.clusters(now));
        self.as_of.set(seconds(hub.as_of().unix_ms()));
        self.clock_offset.set(seconds(clock_offset_ms));
    }

    fn take_counters(&self, counters: &Counters) {
        for (metric, count) in [
            (&self.messages, counters.messages),
            (&self.applied, counters.applied),
            (&self.heartbeats, counters.heartbeats),
            (&self.opaque, counters.opaque),
            (&self.differing_buckets, counters.differing_buckets),
            (&self.repairs_asked, counters.repairs_asked),
            (&self.repairs_unanswered, counters.repairs_unanswered),
            (&self.repairs_refused, counters.repairs_refused),
            (&self.names_taken, counters.names_taken),
            (&self.objects_taken_over, counters.objects_taken_over),
        ] {
            raise(metric, count);
        }
        for refusal in Refusal::ALL {
            let label = ReasonLabel { reason: refusal.as_str() };
            raise(&self.refused.get_or_create(&label), counters.refused(refusal));
        }
    }

    fn take_clusters(&self, clusters: &[v1::Cluster]) {
        // What is gone must not stay as it was last: both are written anew.
        self.clusters.clear();
        self.verified_at.clear();
        for cluster in clusters {
            let state =
                cluster.freshness.as_ref().map_or_else(Default::default, v1::Freshness::state);
            self.clusters.get_or_create(&StateLabel { state: state.as_str_name() }).inc();
            let verified_at =
                cluster.verified_at.as_ref().map_or(0, |at| Time::from_wire(at).unix_ms());
            let label = ClusterLabel { cluster: cluster.name.clone() };
            self.verified_at.get_or_create(&label).set(seconds(verified_at));
        }
    }

    /// Shows them.
    pub fn register(&self, registry: &mut Registry) {
        let hub = registry.sub_registry_with_prefix("vitals_hub");
        self.register_counters(hub);
        hub.register("objects", "Objects held", self.objects.clone());
        hub.register_with_unit(
            "facts",
            "Facts held, encoded",
            Unit::Bytes,
            self.facts_bytes.clone(),
        );
        hub.register_with_unit(
            "held",
            "Memory for the objects that are held, without the allocator's own",
            Unit::Bytes,
            self.memory_bytes.clone(),
        );
        hub.register("entities", "Entities by status over all clusters", self.entities.clone());
        hub.register("clusters", "Clusters by how well they are seen", self.clusters.clone());
        hub.register_with_unit(
            "cluster_verified_at",
            "Up to when the picture of a cluster was proven, since the Unix epoch; 0 for never",
            Unit::Seconds,
            self.verified_at.clone(),
        );
        hub.register_with_unit(
            "as_of",
            "Up to when all was read, by the broker's clock, since the Unix epoch",
            Unit::Seconds,
            self.as_of.clone(),
        );
        hub.register_with_unit(
            "clock_offset",
            "This machine's clock minus the broker's, but for the way of a message",
            Unit::Seconds,
            self.clock_offset.clone(),
        );
    }

    fn register_counters(&self, hub: &mut Registry) {
        for (name, help, metric) in [
            ("messages", "Messages read of the streams of objects", &self.messages),
            ("applied", "Messages that were held or buried", &self.applied),
            ("heartbeats", "Heartbeats that were taken", &self.heartbeats),
            ("opaque", "Messages held although their content is not understood", &self.opaque),
            (
                "differing_buckets",
                "Comparisons of a bucket that came out unequal",
                &self.differing_buckets,
            ),
            ("repairs_asked", "Requests for repair", &self.repairs_asked),
            (
                "repairs_unanswered",
                "Requests for repair that nobody answered",
                &self.repairs_unanswered,
            ),
            (
                "repairs_refused",
                "Requests for repair that the agent refused",
                &self.repairs_refused,
            ),
            (
                "repairs_not_sent",
                "Requests for repair for which there was no room",
                &self.repairs_not_sent,
            ),
            ("names_taken", "Clusters whose name another one took", &self.names_taken),
            (
                "objects_taken_over",
                "Objects that one scope took over from another: many where scopes overlap",
                &self.objects_taken_over,
            ),
        ] {
            hub.register(name, help, metric.clone());
        }
        hub.register("refused", "Messages that did not count, by reason", self.refused.clone());
    }
}

/// The core counts from its beginning, as the metric does.
fn raise(metric: &Counter, count: u64) {
    metric.inc_by(count.saturating_sub(metric.get()));
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn seconds(ms: i64) -> f64 {
    Duration::from_millis(ms.unsigned_abs()).as_secs_f64() * if ms < 0 { -1.0 } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_names_begin_alike_and_each_is_registered_once() {
        let mut registry = Registry::default();
        ServeMetrics::default().register(&mut registry);
        CoreMetrics::default().register(&mut registry);
        TellMetrics::default().register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let mut names: Vec<_> =
            text.lines().filter_map(|line| line.strip_prefix("# HELP ")).collect();
        assert!(names.iter().all(|name| name.starts_with("vitals_hub_")), "{text}");
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(text.contains("# TYPE vitals_hub_fan_out_seconds histogram"), "{text}");
    }

    #[test]
    fn seconds_keep_their_sign() {
        assert_eq!((seconds(1_500), seconds(-1_500), seconds(0)), (1.5, -1.5, 0.0));
    }
}
