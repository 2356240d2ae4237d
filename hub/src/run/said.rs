//! What the core says of an entity, as the teller and the view take it.

use vitals_hub_core::Time;
use vitals_hub_core::picture::{self, EntityChange};
use vitals_hub_core::telling::Judged;
use vitals_proto::identity::EntityRef;
use vitals_proto::v1;

use crate::tell;
use crate::view::{Change, Outcome};

/// What is to be told of a change: the verdict over all clusters, or `None` where that holds no more and nothing is to be told.
/// Handed over also where it is the same as before, since the one before may not have been told: the teller knows.
pub(super) fn verdict(
    change: &EntityChange,
    position: &v1::Position,
    now: Time,
) -> Option<(EntityRef, Option<Box<Judged>>)> {
    let judged = match &change.outcome {
        picture::Outcome::Changed { state, verdict: _ } => {
            let verdict = state.verdict.clone().filter(|_| tell::is_told(state));
            verdict.map(|verdict| {
                let at = verdict.since.as_ref().map_or(now, Time::from_wire);
                let clusters = clusters_of(state, &verdict);
                Box::new(Judged { verdict, clusters, at, position: position.clone() })
            })
        }
        picture::Outcome::Removed => None,
        picture::Outcome::Touched => return None,
    };
    Some((change.entity.clone(), judged))
}

/// The clusters in which an entity has the status that it has over all.
fn clusters_of(state: &v1::Entity, verdict: &v1::Verdict) -> Vec<String> {
    let has_it = |cluster: &&v1::ClusterVerdict| {
        cluster.verdict.as_ref().is_some_and(|own| own.status == verdict.status)
    };
    state.clusters.iter().filter(has_it).map(|cluster| cluster.cluster.clone()).collect()
}

/// A change as the view takes it.
pub(super) fn seen(change: EntityChange) -> Change {
    let EntityChange { entity, touched, outcome } = change;
    let outcome = match outcome {
        picture::Outcome::Changed { state, verdict: _ } => Outcome::Changed(state),
        picture::Outcome::Touched => Outcome::Touched,
        picture::Outcome::Removed => Outcome::Removed,
    };
    Change { entity, touched, outcome }
}
