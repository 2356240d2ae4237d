//! One cluster: who it is, its scopes, and how well it is seen; and all of that as the API says it.

use std::collections::{BTreeMap, BTreeSet};

use vitals_proto::{
    digest::Digest,
    identity::{ClusterName, ObjectKey, Scope, Uid},
    kind::Kind,
    v1::{self, FreshnessState},
};

use super::{
    clock::ClusterClock,
    freshness::{self, Judged, Seen},
    identity::Identity,
    scope::{ScopeState, Verified},
    unstreamed::Unstreamed,
};
use crate::{
    cluster_record::{ClusterLabels, TITLE},
    freshness::ClusterFreshness,
    position::{Position, StreamName, StreamPoint},
    time::Time,
};

/// Most scopes of a cluster. Messages of more are refused and counted.
pub(crate) const SCOPES_MAX: usize = 256;

/// Most pairs of scopes of a cluster that are said to overlap. Of more nobody needs to hear.
const OVERLAPS_MAX: usize = 256;

/// One cluster.
#[derive(Clone, Debug)]
pub(crate) struct ClusterState {
    name: ClusterName,
    pub(crate) identity: Identity,
    pub(crate) clock: ClusterClock,
    scopes: BTreeMap<Scope, ScopeState>,
    /// What the stream has of scopes that were not heard of since: of another cluster that had the name, or of this one.
    left: BTreeMap<Scope, Unstreamed>,
    /// What others said under its name, until all was read once and it is decided whose the name is.
    beside: BTreeMap<Uid, Beside>,
    /// Scopes of which one took over an object of the other.
    overlaps: BTreeSet<[Scope; 2]>,
    /// The stream in which its agents speak; before they did, that of its first object.
    pub(crate) stream: StreamName,
    freshness: ClusterFreshness,
    /// As it was last said, without its times.
    said: Option<v1::Cluster>,
}

/// What another cluster said under a name that may be its own.
#[derive(Clone, Debug, Default)]
struct Beside {
    scopes: BTreeMap<Scope, ScopeState>,
    /// Its objects that are held.
    keys: BTreeSet<ObjectKey>,
}

/// What of a cluster is not of the one that has its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Foreign {
    /// These objects.
    These(BTreeSet<ObjectKey>),
    /// All objects but these.
    AllBut(BTreeSet<ObjectKey>),
}

impl ClusterState {
    pub(crate) fn new(name: ClusterName, stream: StreamName, now: Time) -> Self {
        Self {
            name,
            identity: Identity::default(),
            clock: ClusterClock::default(),
            scopes: BTreeMap::new(),
            left: BTreeMap::new(),
            beside: BTreeMap::new(),
            overlaps: BTreeSet::new(),
            stream,
            freshness: ClusterFreshness::never_verified(now),
            said: None,
        }
    }

    pub(crate) fn name(&self) -> &ClusterName {
        &self.name
    }

    /// All scopes, in order.
    pub(crate) fn scopes(&self) -> impl Iterator<Item = (&Scope, &ScopeState)> {
        self.scopes.iter()
    }

    pub(crate) fn scope_mut(&mut self, scope: &Scope) -> Option<&mut ScopeState> {
        self.scopes.get_mut(scope)
    }

    /// A scope that is heard; `None` where there are too many.
    pub(crate) fn hear_scope(
        &mut self,
        scope: &Scope,
        point: &StreamPoint,
        at: Time,
    ) -> Option<&mut ScopeState> {
        if !self.scopes.contains_key(scope) {
            if self.scopes.len() >= SCOPES_MAX {
                return None;
            }
            let mut state = ScopeState::new(point, at);
            state.unstreamed = self.left.remove(scope).unwrap_or_default();
            self.scopes.insert(scope.clone(), state);
        }
        let state = self.scopes.get_mut(scope)?;
        state.hear_at(point);
        Some(state)
    }

    /// What was said up to there counts as never said: scopes that said nothing since go, and where something was dropped, what
    /// is held of the others is to be proven anew.
    pub(crate) fn forget(&mut self, position: &Position, has_dropped: bool) {
        self.scopes.retain(|_, scope| !position.reaches(scope.last_point()));
        if has_dropped {
            self.scopes.values_mut().for_each(ScopeState::prove_anew);
        }
        self.left.clear();
    }

    /// Another cluster took the name: nothing that was said before is of it. The stream still has it.
    pub(crate) fn begin_anew(&mut self) {
        for (scope, state) in std::mem::take(&mut self.scopes) {
            self.left.insert(scope, state.unstreamed);
        }
        self.clock = ClusterClock::default();
    }

    /// The stream has something that does not exist as far as is known: that scope's agent is to be asked, once it speaks.
    pub(crate) fn haunt(&mut self, scope: &Scope, subject: &str, digest: Digest) {
        if let Some(state) = self.scopes.get_mut(scope) {
            state.unstreamed.haunt(subject, digest);
        } else if self.left.contains_key(scope) || self.left.len() < SCOPES_MAX {
            self.left.entry(scope.clone()).or_default().haunt(subject, digest);
        }
    }

    /// One scope took over an object of the other. Gives the two where that is news.
    pub(crate) fn overlap(&mut self, one: &Scope, other: &Scope) -> Option<[Scope; 2]> {
        let mut scopes = [one.clone(), other.clone()];
        scopes.sort_unstable();
        let is_news = self.overlaps.len() < OVERLAPS_MAX && self.overlaps.insert(scopes.clone());
        is_news.then_some(scopes)
    }

    /// Changes places with what `uid` said: its scopes are this cluster's, until it is called again.
    pub(crate) fn swap(&mut self, uid: &Uid) {
        let beside = self.beside.entry(uid.clone()).or_default();
        std::mem::swap(&mut self.scopes, &mut beside.scopes);
    }

    /// An object of `uid` is held from now on, or no more.
    pub(crate) fn keep_beside(&mut self, uid: &Uid, key: &ObjectKey, is_held: bool) {
        let beside = self.beside.entry(uid.clone()).or_default();
        if is_held {
            beside.keys.insert(key.clone());
        } else {
            beside.keys.remove(key);
        }
    }

    /// Who said an object that is held; `None` for the one that has the name.
    pub(crate) fn holder(&self, key: &ObjectKey) -> Option<&Uid> {
        let found = self.beside.iter().find(|(_, beside)| beside.keys.contains(key));
        found.map(|(uid, _)| uid)
    }

    /// Whether it is to be decided whose the name is.
    pub(crate) fn is_doubted(&self) -> bool {
        !self.beside.is_empty()
    }

    /// Decides whose the name is. Gives what is held and not of that one.
    pub(crate) fn decide(&mut self) -> Foreign {
        let mut beside = std::mem::take(&mut self.beside);
        match self.identity.decide() {
            Some(uid) => {
                let Beside { scopes, keys } = beside.remove(&uid).unwrap_or_default();
                self.scopes = scopes;
                self.clock = ClusterClock::default();
                Foreign::AllBut(keys)
            }
            None => Foreign::These(beside.into_values().flat_map(|it| it.keys).collect()),
        }
    }

    /// Judges how well it is seen. Gives it where it is not what it was.
    pub(crate) fn judge(&mut self, seen: Seen<'_>, now: Time) -> Option<&ClusterFreshness> {
        for scope in self.scopes.values_mut() {
            scope.judge(seen.listening, now);
        }
        let (judged, unseen) = freshness::judge(self, seen, now);
        let ClusterFreshness { state, since, .. } = self.freshness;
        let since = if judged.state == state { since } else { judged.since };
        let Judged { state, message, .. } = judged;
        let clock_ahead_ms = self.clock.ahead_ms();
        let freshness = ClusterFreshness { state, since, message, unseen, clock_ahead_ms };
        if self.freshness == freshness {
            return None;
        }
        self.freshness = freshness;
        Some(&self.freshness)
    }

    pub(crate) fn freshness(&self) -> &ClusterFreshness {
        &self.freshness
    }

    /// Up to when all of it was proven: the oldest of its scopes.
    pub(crate) fn verified(&self) -> Verified {
        self.scopes.values().map(ScopeState::verified).min().unwrap_or(Verified::Never)
    }

    /// The broker's clock was set back: nothing happened later than now.
    pub(crate) fn not_after(&mut self, now: Time) {
        self.identity.not_after(now);
        for scope in self.scopes.values_mut() {
            scope.not_after(now);
        }
        self.freshness.since = self.freshness.since.min(now);
    }

    /// As the API says it, where that is not what was said last in more than times.
    pub(crate) fn say(
        &mut self,
        objects: usize,
        labels: Option<&ClusterLabels>,
        now: Time,
    ) -> Option<v1::Cluster> {
        let cluster = self.to_wire(objects, labels, now);
        let timeless = without_times(cluster.clone());
        if self.said.as_ref() == Some(&timeless) {
            return None;
        }
        self.said = Some(timeless);
        Some(cluster)
    }

    /// As the API says it.
    pub(crate) fn to_wire(
        &self,
        objects: usize,
        labels: Option<&ClusterLabels>,
        now: Time,
    ) -> v1::Cluster {
        let mut titles = self.scopes.values().filter_map(|scope| {
            let title = &scope.heartbeat()?.said.cluster_title;
            (!title.is_empty()).then(|| title.clone())
        });
        let labels = labels.cloned().unwrap_or_default();
        let title = labels.get(TITLE).cloned().or_else(|| titles.next());
        let uid = self.identity.uid().map(ToString::to_string);
        v1::Cluster {
            name: self.name.to_string(),
            title: title.unwrap_or_default(),
            freshness: Some(freshness_to_wire(
                self.freshness.state,
                self.freshness.since,
                &self.freshness.message,
            )),
            verified_at: self.verified().at().map(Time::to_wire),
            uid: uid.unwrap_or_default(),
            conflicting_uids: self.identity.conflicting(now).map(ToString::to_string).collect(),
            scopes: self.scopes.iter().map(|(name, scope)| scope_to_wire(name, scope)).collect(),
            objects: u64::try_from(objects).unwrap_or(u64::MAX),
            labels,
        }
    }
}

fn freshness_to_wire(state: FreshnessState, since: Time, message: &str) -> v1::Freshness {
    v1::Freshness { state: state.into(), since: Some(since.to_wire()), message: message.to_owned() }
}

fn scope_to_wire(name: &Scope, scope: &ScopeState) -> v1::ScopeReport {
    let heartbeat = scope.heartbeat();
    let said = heartbeat.map(|heartbeat| &heartbeat.said);
    let api_server = said.and_then(|said| said.api_server.as_ref());
    let ms = |unix_ms| Time::from_unix_ms(unix_ms).to_wire();
    v1::ScopeReport {
        scope: name.to_string(),
        agent_version: said.map(|said| said.agent_version.clone()).unwrap_or_default(),
        last_heartbeat_at: heartbeat.map(|heartbeat| heartbeat.at.to_wire()),
        api_server_version: api_server.map(|api| api.version.clone()).unwrap_or_default(),
        freshness: scope
            .judged()
            .map(|Judged { state, since, message }| freshness_to_wire(*state, *since, message)),
        kinds: kinds_to_wire(scope),
        clock_offset_ms: said.and_then(|said| said.clock_offset_ms),
        refused: said.map(|said| said.refused.clone()).unwrap_or_default(),
        differing_buckets: scope.comparison.differing(),
        repairs: scope.repairs,
        behind_since: said.and_then(|said| said.behind_since_unix_ms).map(ms),
    }
}

/// The kinds that the agent names; and those of which something is held although it does not.
fn kinds_to_wire(scope: &ScopeState) -> Vec<v1::KindFreshness> {
    let mut kinds: BTreeMap<Kind, v1::KindFreshness> = BTreeMap::new();
    for (kind, report) in scope.reports() {
        let said = v1::KindFreshness {
            state: report.state,
            count: report.count,
            detail: report.detail.clone(),
            ..Default::default()
        };
        kinds.insert(kind, said);
    }
    for kind in scope.sums.kinds() {
        let detail = || "not watched by this scope's agent any more".to_owned();
        let unnamed = || v1::KindFreshness { detail: detail(), ..Default::default() };
        kinds.entry(kind.clone()).or_insert_with(unnamed);
    }
    let held = |(kind, said): (Kind, v1::KindFreshness)| v1::KindFreshness {
        held: scope.sums.count(&kind),
        verified_at: scope.comparison.verified_at(&kind).map(Time::to_wire),
        kind: kind.to_string(),
        ..said
    };
    kinds.into_iter().map(held).collect()
}

/// What of it changes without anything having happened.
fn without_times(mut cluster: v1::Cluster) -> v1::Cluster {
    cluster.verified_at = None;
    for scope in &mut cluster.scopes {
        scope.last_heartbeat_at = None;
        scope.clock_offset_ms = None;
        scope.behind_since = scope.behind_since.take().map(|_| Time::default().to_wire());
        for kind in &mut scope.kinds {
            kind.verified_at = None;
        }
    }
    cluster
}

/// Whether a cluster in this state should be verified by now: its agents live, and see.
pub(crate) fn is_live(state: FreshnessState) -> bool {
    match state {
        FreshnessState::Fresh | FreshnessState::Unverified | FreshnessState::BlindSpot => true,
        FreshnessState::Unspecified
        | FreshnessState::ApiServerUnreachable
        | FreshnessState::AgentLost
        | FreshnessState::Conflict
        | FreshnessState::HubBlind => false,
    }
}
