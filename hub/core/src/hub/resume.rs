//! Whether a watch may go on from a position that another replica, or this one before, said.
//!
//! A resume sends all that was touched at or after the position. That is the whole truth only where this replica knows all that
//! happened since: it read that far, in the same history, with nothing skipped, and what it held from before its own snapshot
//! has been proven. Otherwise the reader waits a little, or begins anew, and is told why.

use vitals_proto::limits::{TOMBSTONE_TTL, VERIFIED_AGE_MAX};

use crate::{
    ingest::{
        cluster,
        comparison::Reading,
        scope::{ScopeState, Verified},
        stream::{OwnSnapshot, StreamState},
    },
    position::{Position, StreamPoint},
    time::Time,
};

use super::Hub;

/// What to do with a reader that would resume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MayResume {
    /// Serve it.
    Serve,
    /// Ask again soon; after 30 s give it a new snapshot.
    Wait(String),
    /// Give it a new snapshot.
    Snapshot(String),
}

impl Hub {
    /// Whether a reader may go on from `from`, which was said when all was read up to `as_of`.
    #[must_use]
    pub fn may_resume(&self, from: &Position, as_of: Time, now: Time) -> MayResume {
        if now.since(as_of) > TOMBSTONE_TTL {
            return MayResume::Snapshot("the token is older than tombstones are kept".to_owned());
        }
        let streams = from.points().map(|point| self.may_resume_stream(&point, as_of));
        let mut wait = None;
        for verdict in streams {
            match verdict {
                MayResume::Serve => {}
                MayResume::Wait(_) => wait = wait.or(Some(verdict)),
                MayResume::Snapshot(_) => return verdict,
            }
        }
        let lacking = self.streams.keys().find(|stream| from.point(stream).is_none());
        if let Some(stream) = lacking {
            return MayResume::Snapshot(format!("the token does not know stream {stream}"));
        }
        // What was forgotten before this replica read anything was never here, so that nobody would say that it is gone.
        if self.first_records.is_some_and(|first| from.clusters_revision < first) {
            return MayResume::Snapshot(
                "this replica has not seen what was forgotten since".into(),
            );
        }
        if self.position.clusters_revision < from.clusters_revision {
            wait = wait.or_else(|| {
                Some(MayResume::Wait("the records of clusters are not read yet".to_owned()))
            });
        }
        if self.position.definitions_revision < from.definitions_revision {
            wait =
                wait.or_else(|| Some(MayResume::Wait("definitions are not read yet".to_owned())));
        }
        wait.unwrap_or_else(|| self.are_clusters_proven(now))
    }

    /// From where a reader may go on that has been sent all that is settled here. Empty, so that every hub answers with a new
    /// snapshot, while this hub has not proven what it shows: what it lacks would be sent by nobody, neither here, where it
    /// comes by repair but was touched before, nor at a hub that had it all the time.
    #[must_use]
    pub fn token_position(&self, now: Time) -> Position {
        let is_whole = self
            .streams
            .values()
            .all(|stream| stream.own_snapshot().is_some() && stream.reading() != Reading::Snapshot);
        match self.are_clusters_proven(now) {
            MayResume::Serve if is_whole => self.position.clone(),
            MayResume::Serve | MayResume::Wait(_) | MayResume::Snapshot(_) => Position::default(),
        }
    }

    fn may_resume_stream(&self, point: &StreamPoint, as_of: Time) -> MayResume {
        let StreamPoint { stream: name, incarnation_unix_ns, sequence } = point;
        let Some(stream) = self.streams.get(name) else {
            return MayResume::Snapshot(format!("stream {name} is not read here"));
        };
        let Some(own) = stream.own_snapshot() else {
            return MayResume::Wait(format!("stream {name} is not read yet"));
        };
        if stream.incarnation_unix_ns() != *incarnation_unix_ns {
            return MayResume::Snapshot(format!("stream {name} was made anew"));
        }
        if stream.reading() == Reading::Snapshot {
            return MayResume::Wait(format!("stream {name} is being read anew"));
        }
        // At that very sequence another message may stand since, if the stream was set back before this replica attached.
        if *sequence < own.sequence || (*sequence == own.sequence && as_of < own.began_at) {
            return MayResume::Snapshot("this replica has not seen what happened since".to_owned());
        }
        if as_of < own.began_at {
            return MayResume::Snapshot(format!("stream {name} was set back since"));
        }
        if is_behind(stream, *sequence) {
            return MayResume::Wait(format!("stream {name} is not read that far yet"));
        }
        MayResume::Serve
    }

    /// What was held before this replica's own snapshot may have gone unseen, until the sums say otherwise.
    fn are_clusters_proven(&self, now: Time) -> MayResume {
        for state in self.clusters.values().filter(|it| cluster::is_live(it.freshness().state)) {
            let own = self.streams.get(&state.stream).and_then(StreamState::own_snapshot);
            let is_waited_for = |scope: &ScopeState| own.is_none_or(|own| waits(scope, own, now));
            if state.scopes().any(|(_, scope)| is_waited_for(scope)) {
                return MayResume::Wait(format!("cluster {} is not verified yet", state.name()));
            }
        }
        MayResume::Serve
    }
}

/// Whether a scope is to be verified before anybody resumes. One that never was is not waited for for ever, or a single agent
/// that cannot be verified would take the resume tokens from all readers: its entities are Unknown here, and touched when that
/// changes.
fn waits(scope: &ScopeState, own: OwnSnapshot, now: Time) -> bool {
    match scope.verified() {
        Verified::NothingSeen => false,
        Verified::At(at) => at < own.ended_at,
        Verified::Never => now.since(own.ended_at.max(scope.first_heard_at())) <= VERIFIED_AGE_MAX,
    }
}

fn is_behind(stream: &StreamState, sequence: u64) -> bool {
    stream.sequence() < sequence || stream.reading() != Reading::Whole || stream.blind().is_some()
}
