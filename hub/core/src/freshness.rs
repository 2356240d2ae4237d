//! How well a cluster is seen, as the ingest judges it and the picture needs it.

use std::collections::BTreeSet;

use vitals_proto::{kind::Kind, v1};

use crate::time::Time;

/// How well one cluster is seen: the worst of its scopes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterFreshness {
    /// State. `Fresh` or `BlindSpot` let the cluster's objects be judged; under any other all of it is Unknown.
    pub state: v1::FreshnessState,
    /// Since when it is so, by the broker's clock.
    pub since: Time,
    /// One plain sentence; empty while fresh.
    pub message: String,
    /// Kinds that cannot be read: forbidden, stalled, listing or not watched.
    pub unseen: BTreeSet<Kind>,
    /// The clock of the API server, which dates what objects say, minus the broker's. Milliseconds; 0 while it is not known.
    pub clock_ahead_ms: i64,
}

impl ClusterFreshness {
    /// Of a cluster of which only objects have been read.
    #[must_use]
    pub fn never_verified(since: Time) -> Self {
        Self {
            state: v1::FreshnessState::Unverified,
            since,
            message: "not verified yet since this hub began to read".to_owned(),
            unseen: BTreeSet::new(),
            clock_ahead_ms: 0,
        }
    }
}
