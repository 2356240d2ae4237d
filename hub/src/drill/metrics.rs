//! Figures of the drill-down: `vitals_hub_drill_down_…`.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use vitals_proto::v1::RequestRefusal;

use super::Error;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Verb {
    /// An object as its API server has it.
    Get,
    /// The events of one.
    Events,
    /// The log of a container.
    Logs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
enum Outcome {
    Given,
    Invalid,
    NotFound,
    Off,
    Forbidden,
    TooMuch,
    Unavailable,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    verb: Verb,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    verb: Verb,
    outcome: Outcome,
}

/// Figures of the drill-down. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    asked: Family<Asked, Counter>,
    answered: Family<Answered, Counter>,
    /// Clients that read a log now.
    pub log_readers: Gauge,
    /// What readers of logs were too slow for.
    pub log_skipped_bytes: Counter,
}

impl Metrics {
    /// A cluster is asked, once for all who ask the same.
    pub fn asked(&self, verb: Verb) {
        self.asked.get_or_create(&Asked { verb }).inc();
    }

    /// A client is answered.
    pub fn answered(&self, verb: Verb, error: Option<&Error>) {
        let outcome = error.map_or(Outcome::Given, outcome);
        self.answered.get_or_create(&Answered { verb, outcome }).inc();
    }

    /// Shows them.
    pub fn register(&self, registry: &mut Registry) {
        let Self { asked, answered, log_readers, log_skipped_bytes } = self;
        let hub = registry.sub_registry_with_prefix("vitals_hub_drill_down");
        hub.register(
            "asked",
            "Questions to agents, each for all who asked the same",
            asked.clone(),
        );
        hub.register("answered", "Answers to clients, by what they were", answered.clone());
        hub.register("log_readers", "Clients that read a log", log_readers.clone());
        hub.register_with_unit(
            "log_skipped",
            "Bytes of logs that were not given to clients because they were too slow",
            Unit::Bytes,
            log_skipped_bytes.clone(),
        );
    }
}

fn outcome(error: &Error) -> Outcome {
    match error {
        Error::Invalid(_) => Outcome::Invalid,
        Error::UnknownCluster(_) => Outcome::NotFound,
        Error::TooMuch(_) => Outcome::TooMuch,
        Error::Refused { reason, .. } => match reason {
            RequestRefusal::Off => Outcome::Off,
            RequestRefusal::Forbidden | RequestRefusal::Secret => Outcome::Forbidden,
            RequestRefusal::NotFound => Outcome::NotFound,
            RequestRefusal::Busy => Outcome::TooMuch,
            RequestRefusal::Unreachable => Outcome::Unavailable,
            RequestRefusal::Unspecified | RequestRefusal::Invalid | RequestRefusal::TooLarge => {
                Outcome::Invalid
            }
        },
        Error::Unread
        | Error::NoAgent { .. }
        | Error::Silent { .. }
        | Error::Unreadable(_)
        | Error::NotSent { .. }
        | Error::Broken { .. }
        | Error::Stopping => Outcome::Unavailable,
    }
}
