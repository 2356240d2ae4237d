//! One scope of a cluster: what one agent deployment watches, says, and is asked.
//!
//! Joins what is per scope: epochs, sums, comparison, and the last heartbeat. Two agents of one cluster share nothing of it, or
//! one would bury what the other watches.

use std::collections::BTreeSet;

use vitals_proto::{
    kind::Kind,
    v1::{self, KindState},
};

use super::{
    comparison::Comparison,
    epochs::{Epochs, Listening},
    freshness::{self, Judged},
    sums::HeldSums,
    unstreamed::Unstreamed,
};
use crate::{position::StreamPoint, time::Time};

/// One scope.
#[derive(Clone, Debug)]
pub(crate) struct ScopeState {
    pub(crate) epochs: Epochs,
    pub(crate) sums: HeldSums,
    pub(crate) comparison: Comparison,
    pub(crate) unstreamed: Unstreamed,
    /// Requests for repair that were made.
    pub(crate) repairs: u64,
    heartbeat: Option<LastHeartbeat>,
    /// When it was first heard of, by the broker's clock.
    first_heard_at: Time,
    /// Where it was heard last.
    last_point: StreamPoint,
    /// How well it is seen; `None` before it was judged.
    judged: Option<Judged>,
}

/// The last heartbeat of the current epoch.
#[derive(Clone, Debug)]
pub(crate) struct LastHeartbeat {
    /// When it came, by the broker's clock.
    pub(crate) at: Time,
    /// Without its sums.
    pub(crate) said: v1::Heartbeat,
}

impl ScopeState {
    pub(crate) fn new(point: &StreamPoint, first_heard_at: Time) -> Self {
        Self {
            epochs: Epochs::default(),
            sums: HeldSums::default(),
            comparison: Comparison::default(),
            unstreamed: Unstreamed::default(),
            repairs: 0,
            heartbeat: None,
            first_heard_at,
            last_point: point.clone(),
            judged: None,
        }
    }

    /// A message of it stands there.
    pub(crate) fn hear_at(&mut self, point: &StreamPoint) {
        self.last_point.clone_from(point);
    }

    /// Where it was heard last.
    pub(crate) fn last_point(&self) -> &StreamPoint {
        &self.last_point
    }

    /// What is held is not what was proven.
    pub(crate) fn prove_anew(&mut self) {
        self.comparison = Comparison::default();
    }

    /// Another agent speaks for it.
    pub(crate) fn begin_epoch(&mut self) {
        self.comparison.begin_epoch();
        self.unstreamed.begin_epoch();
    }

    /// A heartbeat of the current epoch came, and was compared.
    pub(crate) fn take(&mut self, heartbeat: v1::Heartbeat, at: Time) {
        let said = v1::Heartbeat { bucket_sums: Default::default(), ..heartbeat };
        self.heartbeat = Some(LastHeartbeat { at, said });
    }

    pub(crate) fn heartbeat(&self) -> Option<&LastHeartbeat> {
        self.heartbeat.as_ref()
    }

    /// Judges how well it is seen.
    pub(crate) fn judge(&mut self, listening: Listening, now: Time) {
        let judged = freshness::judge_scope(self, listening, now);
        self.judged = Some(judged.continuing(self.judged.as_ref()));
    }

    pub(crate) fn judged(&self) -> Option<&Judged> {
        self.judged.as_ref()
    }

    /// When it last said that it lives; when it was first heard of, where it never did.
    pub(crate) fn heard_at(&self) -> Time {
        self.heartbeat.as_ref().map_or(self.first_heard_at, |heartbeat| heartbeat.at)
    }

    /// When it was first heard of, by the broker's clock.
    pub(crate) fn first_heard_at(&self) -> Time {
        self.first_heard_at
    }

    /// What the agent said of each kind.
    pub(crate) fn reports(&self) -> impl Iterator<Item = (Kind, &v1::KindReport)> {
        let kinds = self.heartbeat.iter().flat_map(|heartbeat| &heartbeat.said.kinds);
        kinds.map(|report| (Kind::from_resource(&report.kind), report))
    }

    /// Kinds of which its objects are held although its agent, which was heard, does not name them.
    pub(crate) fn left_behind(&self) -> impl Iterator<Item = &Kind> {
        let named: BTreeSet<Kind> = self.reports().map(|(kind, _)| kind).collect();
        let is_heard = self.heartbeat.is_some();
        self.sums.kinds().filter(move |kind| is_heard && !named.contains(kind))
    }

    /// Up to when all of it that can be seen was proven equal: the oldest of its kinds. What cannot be seen is a blind spot
    /// and says so itself; where nothing can be seen there is nothing to prove.
    pub(crate) fn verified(&self) -> Verified {
        let mut verified = Verified::NothingSeen;
        if self.heartbeat.is_none() {
            return Verified::Never;
        }
        for (kind, report) in self.reports() {
            match report.state() {
                KindState::Complete | KindState::Absent | KindState::Listing => {
                    let at = self.comparison.verified_at(&kind);
                    verified = verified.min(at.map_or(Verified::Never, Verified::At));
                }
                KindState::Forbidden | KindState::Stalled | KindState::Unspecified => {}
            }
        }
        verified
    }

    /// The broker's clock was set back: nothing happened later than now.
    pub(crate) fn not_after(&mut self, now: Time) {
        self.epochs.not_after(now);
        self.comparison.not_after(now);
        self.unstreamed.not_after(now);
        self.first_heard_at = self.first_heard_at.min(now);
        if let Some(heartbeat) = &mut self.heartbeat {
            heartbeat.at = heartbeat.at.min(now);
        }
    }
}

/// Up to when something was proven equal to the cluster. The worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verified {
    /// Never yet.
    Never,
    /// As of then.
    At(Time),
    /// There is nothing to prove.
    NothingSeen,
}

impl Verified {
    /// The time, where there is one.
    pub(crate) fn at(self) -> Option<Time> {
        match self {
            Self::At(at) => Some(at),
            Self::Never | Self::NothingSeen => None,
        }
    }
}
