//! What an agent counts of the requests that it answers beside the stream: objects, events, logs.

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};
use vitals_proto::v1;

use super::{Agent, Metrics};

/// Figures of all agents of a process.
#[derive(Clone, Debug, Default)]
pub(super) struct Requests {
    answered: Family<(Agent, Request), Counter>,
    logs_open: Family<Agent, Gauge>,
    log_bytes: Family<Agent, Counter>,
}

impl Requests {
    pub(super) fn register(&self, registry: &mut Registry) {
        let Self { answered, logs_open, log_bytes } = self;
        let agent = registry.sub_registry_with_prefix("vitals_agent");
        agent.register(
            "requests",
            "Requests of hubs for objects, events and logs, by what became of them",
            answered.clone(),
        );
        agent.register("logs_open", "Logs that are being read", logs_open.clone());
        agent.register_with_unit("log", "Bytes of logs sent", Unit::Bytes, log_bytes.clone());
    }
}

impl Metrics {
    pub(crate) fn request(&self, verb: RequestVerb, answer: RequestAnswer) {
        let request = self.with(Request { verb, answer });
        self.families.requests.answered.get_or_create(&request).inc();
    }

    pub(crate) fn log_opened(&self) {
        self.families.requests.logs_open.get_or_create(&self.agent).inc();
    }

    pub(crate) fn log_closed(&self) {
        self.families.requests.logs_open.get_or_create(&self.agent).dec();
    }

    pub(crate) fn log_sent(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.families.requests.log_bytes.get_or_create(&self.agent).inc_by(bytes);
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    verb: RequestVerb,
    answer: RequestAnswer,
}

/// What is asked beyond what is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum RequestVerb {
    /// An object as the API server has it.
    Get,
    /// The events of one.
    Events,
    /// The log of a container.
    Logs,
}

/// What became of such a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum RequestAnswer {
    /// What was asked for.
    Given,
    /// It makes no sense.
    Invalid,
    /// Nobody allowed it here.
    Off,
    /// The API server does not let us.
    Forbidden,
    /// There is no such thing.
    NotFound,
    /// It is for a Secret or ConfigMap.
    Secret,
    /// Too much is asked at once.
    Busy,
    /// It does not fit into a message.
    TooLarge,
    /// The API server does not answer.
    Unreachable,
    /// It is for another agent.
    NotOurs,
    /// It cannot be read, or not be answered.
    Unreadable,
}

impl RequestAnswer {
    pub(crate) fn of(refusal: v1::RequestRefusal) -> Self {
        match refusal {
            v1::RequestRefusal::Unspecified | v1::RequestRefusal::Invalid => Self::Invalid,
            v1::RequestRefusal::Off => Self::Off,
            v1::RequestRefusal::Forbidden => Self::Forbidden,
            v1::RequestRefusal::NotFound => Self::NotFound,
            v1::RequestRefusal::Secret => Self::Secret,
            v1::RequestRefusal::Busy => Self::Busy,
            v1::RequestRefusal::TooLarge => Self::TooLarge,
            v1::RequestRefusal::Unreachable => Self::Unreachable,
        }
    }
}
