//! Questions to the agents of a cluster. With several scopes each has an agent of its own, with other rights: they are asked one
//! after the other, until one answers or knows that there is nothing.

use std::time::Duration;

use async_nats::{Request, RequestErrorKind};
use prost::Message;
use vitals_proto::identity::ClusterName;
use vitals_proto::subject::{self, Verb};
use vitals_proto::v1::{self, FreshnessState};

use super::Error;

/// How long an agent may take: it gives the API server 8 s.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Most scopes of a cluster that are asked, those first that are heard of.
const SCOPES_MAX: usize = 16;

/// The agents of one cluster, and how to ask them.
#[derive(Clone, Debug)]
pub(super) struct Agents {
    pub(super) client: async_nats::Client,
    pub(super) cluster: ClusterName,
    pub(super) verb: Verb,
    pub(super) scopes: Vec<String>,
    seen: String,
}

impl Agents {
    pub(super) fn of(
        client: async_nats::Client,
        cluster: ClusterName,
        known: &v1::Cluster,
        verb: Verb,
    ) -> Self {
        let state = |scope: &v1::ScopeReport| {
            scope.freshness.as_ref().map_or_else(Default::default, v1::Freshness::state)
        };
        let is_lost = |scope: &&v1::ScopeReport| state(scope) == FreshnessState::AgentLost;
        let mut scopes: Vec<&v1::ScopeReport> = known.scopes.iter().collect();
        scopes.sort_by_key(is_lost);
        let scopes = scopes.into_iter().take(SCOPES_MAX).map(|scope| scope.scope.clone());
        Self { client, cluster, verb, scopes: scopes.collect(), seen: seen(known) }
    }

    /// Where they listen.
    pub(super) fn subject(&self) -> String {
        subject::request(&self.cluster, self.verb)
    }

    /// Asks them. `payload` writes the question for a scope, `read` takes an answer apart.
    pub(super) async fn ask<A, V>(
        &self,
        payload: impl Fn(&str) -> Vec<u8>,
        read: impl Fn(A) -> Option<Result<V, v1::RequestError>>,
    ) -> Result<V, Error>
    where
        A: Message + Default,
    {
        let mut first = None;
        for scope in &self.scopes {
            let error = match self.ask_one(payload(scope)).await.and_then(|answer| {
                let answer = A::decode(answer).ok().and_then(&read);
                let answer = answer.ok_or_else(|| Error::Unreadable(self.cluster.clone()))?;
                answer.map_err(Error::refused)
            }) {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if !error.may_differ_elsewhere() {
                return Err(error);
            }
            first.get_or_insert(error);
        }
        Err(first.unwrap_or_else(|| self.absent()))
    }

    async fn ask_one(&self, payload: Vec<u8>) -> Result<bytes::Bytes, Error> {
        let request = Request::new().payload(payload.into()).timeout(Some(ANSWER_TIMEOUT));
        match self.client.send_request(self.subject(), request).await {
            Ok(message) => Ok(message.payload),
            Err(error) => Err(match error.kind() {
                RequestErrorKind::NoResponders => self.absent(),
                RequestErrorKind::TimedOut => self.silent(),
                RequestErrorKind::InvalidSubject
                | RequestErrorKind::MaxPayloadExceeded
                | RequestErrorKind::Other => self.not_sent(&error),
            }),
        }
    }

    pub(super) fn absent(&self) -> Error {
        Error::NoAgent { cluster: self.cluster.clone(), seen: self.seen.clone() }
    }

    pub(super) fn silent(&self) -> Error {
        Error::Silent { cluster: self.cluster.clone(), seen: self.seen.clone() }
    }

    pub(super) fn not_sent(&self, error: &dyn std::error::Error) -> Error {
        Error::NotSent { cluster: self.cluster.clone(), reason: error.to_string() }
    }
}

/// How well the hub sees a cluster, in words.
fn seen(cluster: &v1::Cluster) -> String {
    let freshness = cluster.freshness.clone().unwrap_or_default();
    let state = match freshness.state() {
        FreshnessState::Unspecified => "the hub has not heard of it",
        FreshnessState::Fresh => "the hub saw it fresh until now",
        FreshnessState::Unverified => "what the hub holds of it is not verified",
        FreshnessState::BlindSpot => "its agent was there, and does not see all of it",
        FreshnessState::ApiServerUnreachable => "its agent does not reach its API server",
        FreshnessState::AgentLost => "its agent is lost",
        FreshnessState::Conflict => "two clusters use this name",
        FreshnessState::HubBlind => "the hub itself is cut from NATS",
    };
    match freshness.message.as_str() {
        "" => state.to_owned(),
        message => format!("{state} ({message})"),
    }
}
