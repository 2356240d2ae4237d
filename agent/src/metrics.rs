//! What an agent counts: `vitals_agent_…`.

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use vitals_agent_core::{Content, Status, input::Outcome};
use vitals_proto::v1;

/// Figures of one agent. Cloning is cheap.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    published: Family<Published, Counter>,
    settled: Family<Settled, Counter>,
    items: Family<ItemOf, Counter>,
    repairs: Family<Repair, Counter>,
    objects: Family<OfKind, Gauge>,
    complete: Family<OfKind, Gauge>,
    refused: Family<Refused, Gauge>,
    outdated: Gauge,
    in_flight: Gauge,
    outbox_objects: Gauge,
    outbox_bytes: Gauge,
    behind_since: Gauge,
    epoch: Gauge,
    api_server_reachable: Gauge,
    freezes: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Published {
    content: ContentLabel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
enum ContentLabel {
    Facts,
    Tombstone,
    Heartbeat,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Settled {
    outcome: OutcomeLabel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
enum OutcomeLabel {
    Acked,
    Transient,
    TooLarge,
    StreamFull,
    Permission,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ItemOf {
    kind: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKind {
    kind: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Repair {
    answer: RepairAnswer,
}

/// What became of a repair request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum RepairAnswer {
    /// Something will be sent.
    Repairing,
    /// Nothing will, and the answer says why.
    Refused,
    /// It is for another agent.
    NotOurs,
    /// It cannot be read.
    Unreadable,
    /// More came than are taken: the hub asks again.
    Dropped,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refused {
    reason: ReasonLabel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
enum ReasonLabel {
    TooLarge,
    StreamFull,
    Permission,
    Unreadable,
}

const REASONS: [(v1::RefusalReason, ReasonLabel); 4] = [
    (v1::RefusalReason::TooLarge, ReasonLabel::TooLarge),
    (v1::RefusalReason::StreamFull, ReasonLabel::StreamFull),
    (v1::RefusalReason::Permission, ReasonLabel::Permission),
    (v1::RefusalReason::Unreadable, ReasonLabel::Unreadable),
];

impl Metrics {
    /// Shows them. The agents of one process have a sub-registry each, with their cluster and scope as labels.
    pub fn register(&self, registry: &mut Registry) {
        let Self {
            published,
            settled,
            items,
            repairs,
            objects,
            complete,
            refused,
            outdated,
            in_flight,
            outbox_objects,
            outbox_bytes,
            behind_since,
            epoch,
            api_server_reachable,
            freezes,
        } = self;
        let agent = registry.sub_registry_with_prefix("vitals_agent");
        agent.register("published_messages", "Messages handed to NATS", published.clone());
        agent.register("settled_messages", "What became of them", settled.clone());
        agent.register("watch_items", "Items that the watches gave", items.clone());
        agent.register("repair_requests", "Repair requests of hubs", repairs.clone());
        agent.register("objects", "Objects that exist, by kind", objects.clone());
        agent.register("kind_complete", "1 where a kind is listed and published", complete.clone());
        agent.register(
            "refused_objects",
            "Objects of which the newest is not on the stream",
            refused.clone(),
        );
        agent.register(
            "outdated_items",
            "Items not used because newer ones were",
            outdated.clone(),
        );
        agent.register("in_flight_messages", "Messages without an answer yet", in_flight.clone());
        agent.register(
            "outbox_objects",
            "Objects that wait, or are in flight",
            outbox_objects.clone(),
        );
        agent.register("outbox_bytes", "What they take", outbox_bytes.clone());
        agent.register(
            "behind_since_timestamp_seconds",
            "Since when something waits; 0 when nothing does",
            behind_since.clone(),
        );
        agent.register(
            "epoch_timestamp_seconds",
            "When the current epoch began; 0 without one",
            epoch.clone(),
        );
        agent.register(
            "api_server_reachable",
            "1 while the API server answers its probe",
            api_server_reachable.clone(),
        );
        agent.register(
            "freezes",
            "Times that the process was found to have been frozen",
            freezes.clone(),
        );
    }

    pub(crate) fn published(&self, content: Content) {
        let content = match content {
            Content::Facts => ContentLabel::Facts,
            Content::Tombstone => ContentLabel::Tombstone,
            Content::Heartbeat => ContentLabel::Heartbeat,
        };
        self.published.get_or_create(&Published { content }).inc();
    }

    pub(crate) fn settled(&self, outcome: Outcome) {
        let outcome = match outcome {
            Outcome::Acked => OutcomeLabel::Acked,
            Outcome::Transient => OutcomeLabel::Transient,
            Outcome::TooLarge => OutcomeLabel::TooLarge,
            Outcome::StreamFull => OutcomeLabel::StreamFull,
            Outcome::Permission => OutcomeLabel::Permission,
        };
        self.settled.get_or_create(&Settled { outcome }).inc();
    }

    pub(crate) fn item(&self, kind: &vitals_proto::kind::Kind) {
        self.items.get_or_create(&ItemOf { kind: kind.to_string() }).inc();
    }

    pub(crate) fn repair(&self, answer: RepairAnswer) {
        self.repairs.get_or_create(&Repair { answer }).inc();
    }

    pub(crate) fn frozen(&self) {
        self.freezes.inc();
    }

    pub(crate) fn show(&self, status: &Status) {
        for report in &status.kinds {
            let kind = OfKind { kind: report.kind.clone() };
            self.objects.get_or_create(&kind).set(signed(report.count));
            let complete = report.state() == v1::KindState::Complete;
            self.complete.get_or_create(&kind).set(i64::from(complete));
        }
        for (reason, label) in REASONS {
            let of_reason = status.refused.iter().find(|refusal| refusal.reason() == reason);
            let count = of_reason.map_or(0, |refusal| signed(refusal.count));
            self.refused.get_or_create(&Refused { reason: label }).set(count);
        }
        self.outdated.set(signed(status.outdated));
        self.in_flight.set(i64::try_from(status.in_flight).unwrap_or(i64::MAX));
        self.outbox_objects.set(i64::try_from(status.outbox_objects).unwrap_or(i64::MAX));
        self.outbox_bytes.set(i64::try_from(status.outbox_bytes).unwrap_or(i64::MAX));
        self.behind_since.set(status.behind_since_unix_ms.map_or(0, |since| since / 1_000));
        self.epoch.set(status.epoch.map_or(0, |epoch| epoch.started_at_unix_ms / 1_000));
        self.api_server_reachable.set(i64::from(status.reachable));
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
