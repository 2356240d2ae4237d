//! How well a cluster is seen now.
//!
//! Last in `ingest`: from what its agents said, when, and what of it was proven, to one state with its reason. Judged at every
//! heartbeat and every tick, so that each cause is seen within 30 s: agents speak every 5 s, 20 s of silence is a loss, and a
//! verification holds for 30 s.
//!
//! What concerns the whole cluster stands before what concerns some kinds: a cluster with a blind spot whose other kinds are
//! not verified either is *unverified*, or what is stale would be shown as healthy where the blind spot does not matter.

use std::collections::{BTreeMap, BTreeSet};

use vitals_proto::{
    kind::Kind,
    limits::VERIFIED_AGE_MAX,
    v1::{FreshnessState, KindReport, KindState},
};

use super::{
    cluster::ClusterState,
    epochs::Listening,
    scope::{ScopeState, Verified},
};
use crate::time::Time;

/// How the stream of a cluster is seen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen<'a> {
    /// Since when and why not at all.
    pub(crate) blind: Option<(Time, &'a str)>,
    pub(crate) listening: Listening,
}

/// How well a cluster or a scope is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Judged {
    pub(crate) state: FreshnessState,
    /// Since when, where it was not so before.
    pub(crate) since: Time,
    /// One plain sentence; empty while fresh.
    pub(crate) message: String,
}

impl Judged {
    /// The same state goes on since it began.
    pub(crate) fn continuing(self, before: Option<&Self>) -> Self {
        match before {
            Some(before) if before.state == self.state => Self { since: before.since, ..self },
            Some(_) | None => self,
        }
    }

    fn blind_spot(unseen: &Unseen, now: Time) -> Option<Self> {
        if unseen.is_empty() {
            return None;
        }
        let kinds: Vec<_> = unseen.iter().map(|(kind, why)| format!("{kind} ({why})")).collect();
        let message = format!("Not seen: {}.", kinds.join(", "));
        Some(Self { state: FreshnessState::BlindSpot, since: now, message })
    }

    fn fresh(now: Time) -> Self {
        Self { state: FreshnessState::Fresh, since: now, message: String::new() }
    }
}

/// Kinds that are not seen, and why.
type Unseen = BTreeMap<Kind, String>;

/// Judges a cluster whose scopes have been judged.
pub(crate) fn judge(cluster: &ClusterState, seen: Seen<'_>, now: Time) -> (Judged, BTreeSet<Kind>) {
    let unseen = unseen_kinds(cluster);
    let judged = whole(cluster, seen, now)
        .or_else(|| Judged::blind_spot(&unseen, now))
        .unwrap_or_else(|| Judged::fresh(now));
    (judged, unseen.into_keys().collect())
}

/// What concerns everything of the cluster: the worst, in the order of [`FreshnessState`].
fn whole(cluster: &ClusterState, seen: Seen<'_>, now: Time) -> Option<Judged> {
    if let Some((since, reason)) = seen.blind {
        let message = format!("This hub is cut from NATS: {reason}.");
        return Some(Judged { state: FreshnessState::HubBlind, since, message });
    }
    let others: Vec<_> = cluster.identity.conflicting(now).map(ToString::to_string).collect();
    if !others.is_empty() {
        let (name, others) = (cluster.name(), others.join(", "));
        let ours = cluster.identity.uid().map(ToString::to_string).unwrap_or_default();
        let message =
            format!("Several clusters use the name {name}: {ours} is held, not {others}.");
        return Some(Judged { state: FreshnessState::Conflict, since: now, message });
    }
    let scopes = cluster.scopes().filter_map(|(name, scope)| Some((name, scope.judged()?)));
    let concerning = scopes.filter(|(_, judged)| match judged.state {
        FreshnessState::Fresh | FreshnessState::BlindSpot => false,
        FreshnessState::Unspecified
        | FreshnessState::Unverified
        | FreshnessState::ApiServerUnreachable
        | FreshnessState::AgentLost
        | FreshnessState::Conflict
        | FreshnessState::HubBlind => true,
    });
    // Of equals the first scope by name is said.
    let worst =
        concerning.reduce(|worst, next| if next.1.state > worst.1.state { next } else { worst });
    worst.map(|(name, judged)| Judged {
        message: format!("Scope {name}: {}", judged.message),
        ..judged.clone()
    })
}

/// Judges one scope.
pub(crate) fn judge_scope(scope: &ScopeState, listening: Listening, now: Time) -> Judged {
    let heard_at = scope.heard_at();
    let judged = |state, since, message: String| Judged { state, since, message };
    if listening.proves_silence(heard_at, now) {
        let message = "its agent has been silent for more than 20 s.".to_owned();
        return judged(FreshnessState::AgentLost, heard_at, message);
    }
    if let Some(heartbeat) = scope.heartbeat()
        && let Some(api_server) = &heartbeat.said.api_server
        && !api_server.reachable
    {
        let error = if api_server.error.is_empty() { "no reason given" } else { &api_server.error };
        let message = format!("its agent cannot reach the API server: {error}.");
        return judged(FreshnessState::ApiServerUnreachable, heartbeat.at, message);
    }
    match scope.verified() {
        Verified::Never => {
            judged(FreshnessState::Unverified, heard_at, "not verified yet.".to_owned())
        }
        Verified::At(at) if now.since(at) > VERIFIED_AGE_MAX => {
            let message = "what is held was not proven equal to the cluster for more than 30 s.";
            judged(FreshnessState::Unverified, at, message.to_owned())
        }
        Verified::At(_) | Verified::NothingSeen => {
            let unseen =
                scope.reports().filter_map(|(kind, report)| Some((kind, why_unseen(report)?)));
            let left = scope.left_behind().map(|kind| (kind.clone(), LEFT_BEHIND));
            let unseen = unseen.chain(left).map(|(kind, why)| (kind, why.to_owned())).collect();
            Judged::blind_spot(&unseen, now).unwrap_or_else(|| Judged::fresh(now))
        }
    }
}

/// Why a kind is not seen of which a scope's objects are held that its agent names no more: nobody compares them.
const LEFT_BEHIND: &str = "held, and not watched any more";

/// Why the agent cannot see a kind. One that is being listed is not a blind spot: what was verified of it ages. Of an absent one
/// there is nothing to see.
fn why_unseen(report: &KindReport) -> Option<&'static str> {
    match report.state() {
        KindState::Complete | KindState::Listing | KindState::Absent => None,
        KindState::Forbidden => Some("forbidden"),
        KindState::Stalled => Some("stalled"),
        KindState::Unspecified => Some("in a state that this hub does not know"),
    }
}

/// What the agents of a cluster say they cannot read; and what Vitals reads and none of them names.
fn unseen_kinds(cluster: &ClusterState) -> Unseen {
    let mut unseen = Unseen::new();
    let mut named = BTreeSet::new();
    let mut complete = BTreeSet::new();
    for (name, scope) in cluster.scopes() {
        for (kind, report) in scope.reports() {
            if let Some(why) = why_unseen(report) {
                unseen.entry(kind.clone()).or_insert_with(|| format!("{why} in scope {name}"));
            }
            if report.state() == KindState::Complete {
                complete.insert(kind.clone());
            }
            named.insert(kind);
        }
    }
    // Objects of the cluster itself are seen whole by any agent that sees them.
    unseen.retain(|kind, _| kind.is_namespaced() != Some(false) || !complete.contains(kind));
    // That another scope names the kind proves nothing of what this one left: no sums but its own speak of it.
    for (name, scope) in cluster.scopes() {
        for kind in scope.left_behind() {
            let why = || format!("{LEFT_BEHIND} in scope {name}");
            unseen.entry(kind.clone()).or_insert_with(why);
        }
    }
    // Who was never heard has named nothing: that is not a blind spot, but not verified at all.
    if cluster.scopes().any(|(_, scope)| scope.heartbeat().is_some()) {
        let unnamed = Kind::KNOWN.into_iter().filter(|kind| !named.contains(kind));
        unseen.extend(unnamed.map(|kind| (kind, "not watched".to_owned())));
    }
    unseen
}
