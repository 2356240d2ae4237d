//! The hub's figures: `vitals_hub_…`.
//!
//! Labels come from closed sets (statuses, reasons, outcomes), and from the names of clusters and streams, which
//! are configured, few, and what an operator asks by.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

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
