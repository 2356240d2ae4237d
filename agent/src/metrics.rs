//! What an agent counts: `vitals_agent_…`.

use std::{fmt, sync::Arc};

use prometheus_client::{
    encoding::{EncodeLabel as _, EncodeLabelSet, EncodeLabelValue, LabelSetEncoder},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use vitals_agent_core::{Content, Status, input::Outcome};
use vitals_proto::{
    identity::{ClusterName, Scope},
    kind::Kind,
    v1,
};
use vitals_runtime::nats::{Connection, Connections};

use crate::watch::Loss;

mod requests;

use requests::Requests;
pub(crate) use requests::{RequestAnswer, RequestVerb};

/// Figures of all agents of a process: each family is registered once, whatever the number of agents (OpenMetrics allows no
/// family twice). Cloning is cheap.
#[derive(Clone, Debug, Default)]
pub struct Families {
    published: Family<(Agent, Published), Counter>,
    settled: Family<(Agent, Settled), Counter>,
    items: Family<(Agent, ItemOf), Counter>,
    repairs: Family<(Agent, Repair), Counter>,
    objects: Family<(Agent, OfKind), Gauge>,
    complete: Family<(Agent, OfKind), Gauge>,
    refused: Family<(Agent, Refused), Gauge>,
    outdated: Family<Agent, Gauge>,
    in_flight: Family<Agent, Gauge>,
    outbox_objects: Family<Agent, Gauge>,
    outbox_bytes: Family<Agent, Gauge>,
    behind_since: Family<Agent, Gauge>,
    epoch: Family<Agent, Gauge>,
    api_server_reachable: Family<Agent, Gauge>,
    freezes: Family<Agent, Counter>,
    requests: Requests,
    events_lost: Family<(Agent, Lost), Counter>,
    connections: Connections,
}

/// Figures of one agent.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    agent: Agent,
    families: Families,
    /// Those that count each message and item: looked up once.
    often: Often,
}

#[derive(Clone, Debug)]
struct Often {
    facts: Counter,
    tombstones: Counter,
    heartbeats: Counter,
    acked: Counter,
    items: Vec<(Kind, Counter)>,
}

/// Labels of an agent. They are written with each figure, hence shared.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Agent(Arc<(String, String)>);

impl EncodeLabelSet for Agent {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), fmt::Error> {
        let (cluster, scope) = &*self.0;
        ("cluster", cluster.as_str()).encode(encoder.encode_label())?;
        ("scope", scope.as_str()).encode(encoder.encode_label())
    }
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
struct Lost {
    reason: LossLabel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
enum LossLabel {
    Unreadable,
    TooMany,
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

impl Families {
    /// Shows them.
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
            requests,
            events_lost,
            connections,
        } = self;
        connections.register(registry);
        requests.register(registry);
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
        let help = "Events of type Warning that are left out of what is told of an object";
        agent.register("events_lost", help, events_lost.clone());
    }

    /// Shows the figures of an agent's connection too.
    pub(crate) fn show(&self, connection: &Connection, cluster: &ClusterName, scope: &Scope) {
        let labels = vec![("cluster", cluster.to_string()), ("scope", scope.to_string())];
        self.connections.add(labels, connection.metrics());
    }

    /// Those of one agent.
    pub(crate) fn of(&self, cluster: &ClusterName, scope: &Scope, kinds: &[Kind]) -> Metrics {
        let agent = Agent(Arc::new((cluster.to_string(), scope.to_string())));
        // Shown from the start: what does not happen is 0, not absent.
        drop(self.freezes.get_or_create(&agent));
        let published =
            |content| self.published.get_or_create(&(agent.clone(), Published { content })).clone();
        let items = kinds.iter().map(|kind| {
            let item = ItemOf { kind: kind.to_string() };
            (kind.clone(), self.items.get_or_create(&(agent.clone(), item)).clone())
        });
        let acked = Settled { outcome: OutcomeLabel::Acked };
        let often = Often {
            facts: published(ContentLabel::Facts),
            tombstones: published(ContentLabel::Tombstone),
            heartbeats: published(ContentLabel::Heartbeat),
            acked: self.settled.get_or_create(&(agent.clone(), acked)).clone(),
            items: items.collect(),
        };
        Metrics { agent, families: self.clone(), often }
    }
}

impl Metrics {
    fn with<Labels>(&self, labels: Labels) -> (Agent, Labels) {
        (self.agent.clone(), labels)
    }

    pub(crate) fn published(&self, content: Content) {
        let counter = match content {
            Content::Facts => &self.often.facts,
            Content::Tombstone => &self.often.tombstones,
            Content::Heartbeat => &self.often.heartbeats,
        };
        counter.inc();
    }

    pub(crate) fn settled(&self, outcome: Outcome) {
        let outcome = match outcome {
            Outcome::Acked => {
                self.often.acked.inc();
                return;
            }
            Outcome::Transient => OutcomeLabel::Transient,
            Outcome::TooLarge => OutcomeLabel::TooLarge,
            Outcome::StreamFull => OutcomeLabel::StreamFull,
            Outcome::Permission => OutcomeLabel::Permission,
        };
        self.families.settled.get_or_create(&self.with(Settled { outcome })).inc();
    }

    pub(crate) fn item(&self, kind: &Kind) {
        if let Some((_, counter)) = self.often.items.iter().find(|(of, _)| of == kind) {
            counter.inc();
        }
    }

    pub(crate) fn repair(&self, answer: RepairAnswer) {
        self.families.repairs.get_or_create(&self.with(Repair { answer })).inc();
    }

    pub(crate) fn event_lost(&self, loss: Loss) {
        let reason = match loss {
            Loss::Unreadable => LossLabel::Unreadable,
            Loss::TooMany => LossLabel::TooMany,
        };
        self.families.events_lost.get_or_create(&self.with(Lost { reason })).inc();
    }

    pub(crate) fn frozen(&self) {
        self.families.freezes.get_or_create(&self.agent).inc();
    }

    pub(crate) fn show(&self, status: &Status) {
        let Self { agent, families, .. } = self;
        for report in &status.kinds {
            let kind = self.with(OfKind { kind: report.kind.clone() });
            families.objects.get_or_create(&kind).set(signed(report.count));
            let complete = report.state() == v1::KindState::Complete;
            families.complete.get_or_create(&kind).set(i64::from(complete));
        }
        for (reason, label) in REASONS {
            let of_reason = status.refused.iter().find(|refusal| refusal.reason() == reason);
            let count = of_reason.map_or(0, |refusal| signed(refusal.count));
            families.refused.get_or_create(&self.with(Refused { reason: label })).set(count);
        }
        let size = |size: usize| i64::try_from(size).unwrap_or(i64::MAX);
        let behind_since_ms = status.behind_since_unix_ms.unwrap_or_default();
        let epoch_ms = status.epoch.map_or(0, |epoch| epoch.started_at_unix_ms);
        for (gauge, value) in [
            (&families.outdated, signed(status.outdated)),
            (&families.in_flight, size(status.in_flight)),
            (&families.outbox_objects, size(status.outbox_objects)),
            (&families.outbox_bytes, size(status.outbox_bytes)),
            (&families.behind_since, behind_since_ms / 1_000),
            (&families.epoch, epoch_ms / 1_000),
            (&families.api_server_reachable, i64::from(status.reachable)),
        ] {
            gauge.get_or_create(agent).set(value);
        }
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn several_agents_share_each_family() {
        let (mut registry, families) = (Registry::default(), Families::default());
        families.register(&mut registry);
        for cluster in ["east", "west"] {
            let metrics = families.of(&cluster.parse().unwrap(), &Scope::default(), &Kind::KNOWN);
            metrics.published(Content::Heartbeat);
            metrics.repair(RepairAnswer::NotOurs);
            metrics.event_lost(Loss::TooMany);
        }
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let types: Vec<&str> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
        let distinct: BTreeSet<&str> = types.iter().copied().collect();
        assert_eq!(types.len(), distinct.len(), "{text}");
        for cluster in ["east", "west"] {
            for (name, label) in [
                ("published_messages_total", ",content=\"Heartbeat\"} 1"),
                ("repair_requests_total", ",answer=\"NotOurs\"} 1"),
                ("freezes_total", "} 0"),
                ("events_lost_total", ",reason=\"TooMany\"} 1"),
            ] {
                let line =
                    format!("vitals_agent_{name}{{cluster=\"{cluster}\",scope=\"main\"{label}");
                assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
            }
        }
    }
}
