//! The arithmetic of a rolling update: how many pods each ReplicaSet of a Deployment may have next. Pure.
//!
//! The rules are those of Kubernetes' deployment controller (`pkg/controller/deployment/rolling.go`): never more pods than
//! desired and surge, never fewer available than desired less unavailable; what is not available is taken away first.

use serde_json::Value;

use crate::value::{at, scaled, text};

/// What a rollout reads of a ReplicaSet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Replicas {
    /// How many it shall have.
    pub(crate) wanted: i64,
    /// How many are available.
    pub(crate) available: i64,
}

/// How a Deployment rolls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) desired: i64,
    pub(crate) surge: i64,
    pub(crate) unavailable: i64,
}

impl Limits {
    pub(crate) fn of(deployment: &Value, desired: i64) -> Self {
        if text(deployment, "/spec/strategy/type") == "Recreate" {
            return Self { desired, surge: 0, unavailable: desired };
        }
        let rolling = at(deployment, "/spec/strategy/rollingUpdate");
        let surge = scaled(at(rolling, "/maxSurge"), desired, true).unwrap_or_default();
        let unavailable =
            scaled(at(rolling, "/maxUnavailable"), desired, false).unwrap_or_default();
        // Else nothing could ever move.
        let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
        Self { desired, surge, unavailable: unavailable.min(desired) }
    }

    /// How many have to be available.
    pub(crate) fn available_min(&self) -> i64 {
        self.desired - self.unavailable
    }
}

/// How many the new ReplicaSet shall have.
pub(crate) fn new_wanted(limits: Limits, new: Replicas, old: &[Replicas]) -> i64 {
    if new.wanted >= limits.desired {
        return limits.desired;
    }
    let all = new.wanted + old.iter().map(|it| it.wanted).sum::<i64>();
    let room = (limits.desired + limits.surge - all).max(0);
    new.wanted + room.min(limits.desired - new.wanted)
}

/// How many each old ReplicaSet shall have; they come oldest first.
pub(crate) fn old_wanted(limits: Limits, new: Replicas, old: &[Replicas]) -> Vec<i64> {
    let mut wanted: Vec<i64> = old.iter().map(|it| it.wanted).collect();
    let all: i64 = new.wanted + wanted.iter().sum::<i64>();
    let new_unavailable = new.wanted - new.available;
    let mut spare = (all - limits.available_min() - new_unavailable).max(0);
    for (wanted, old) in wanted.iter_mut().zip(old) {
        let unhealthy = (old.wanted - old.available).clamp(0, spare);
        *wanted -= unhealthy;
        spare -= unhealthy;
    }
    let available: i64 = new.available + old.iter().map(|it| it.available).sum::<i64>();
    let mut spare = (available - limits.available_min()).max(0);
    for (wanted, old) in wanted.iter_mut().zip(old) {
        let healthy = (*wanted).min(old.available).clamp(0, spare);
        *wanted -= healthy;
        spare -= healthy;
    }
    wanted
}

/// How ReplicaSets share a change of the number of replicas in the middle of a rollout: in proportion to their size, the
/// rest to the first. They come largest first.
pub(crate) fn proportions(allowed: i64, sizes: &[i64]) -> Vec<i64> {
    let all: i64 = sizes.iter().sum();
    if all == 0 {
        return sizes.to_vec();
    }
    let mut shares: Vec<i64> = sizes.iter().map(|size| size * allowed / all).collect();
    let rest = allowed - shares.iter().sum::<i64>();
    if let Some(first) = shares.first_mut() {
        *first += rest;
    }
    shares
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn replicas(wanted: i64, available: i64) -> Replicas {
        Replicas { wanted, available }
    }

    #[test]
    fn limits_round_as_kubernetes_does() {
        let deployment = |surge: Value, unavailable: Value| {
            json!({ "spec": { "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": { "maxSurge": surge, "maxUnavailable": unavailable },
            } } })
        };
        for (surge, unavailable, want) in [
            (json!("25%"), json!("25%"), (1, 0)),
            (json!(0), json!(0), (0, 1)),
            (json!("50%"), json!(2), (2, 2)),
        ] {
            let limits = Limits::of(&deployment(surge, unavailable), 3);
            assert_eq!((limits.surge, limits.unavailable), want);
        }
    }

    #[test]
    fn a_rollout_keeps_within_its_limits_and_ends() {
        for desired in 1..12 {
            for surge in 0..4 {
                for unavailable in 0..4 {
                    if surge + unavailable > 0 {
                        roll(Limits { desired, surge, unavailable: unavailable.min(desired) });
                    }
                }
            }
        }
    }

    /// Pods become available one at a time, old ones go at once.
    fn roll(limits: Limits) {
        let mut new = replicas(0, 0);
        let mut old = replicas(limits.desired, limits.desired);
        for _ in 0..200 {
            new.wanted = new_wanted(limits, new, &[old]);
            assert!(new.wanted + old.wanted <= limits.desired + limits.surge, "{limits:?}");
            old.wanted = old_wanted(limits, new, &[old])[0];
            old.available = old.available.min(old.wanted);
            assert!(new.available + old.available >= limits.available_min(), "{limits:?}");
            new.available = (new.available + 1).min(new.wanted);
            if new == replicas(limits.desired, limits.desired) && old.wanted == 0 {
                return;
            }
        }
        panic!("{limits:?} does not end: {new:?} {old:?}");
    }

    #[test]
    fn a_rollout_that_fails_stops_where_it_has_to() {
        let limits = Limits { desired: 4, surge: 1, unavailable: 1 };
        let (mut new, mut old) = (replicas(0, 0), replicas(4, 4));
        for _ in 0..20 {
            new.wanted = new_wanted(limits, new, &[old]);
            old.wanted = old_wanted(limits, new, &[old])[0];
            old.available = old.wanted;
        }
        assert_eq!((new.wanted, old.wanted), (2, 3));
    }

    #[test]
    fn what_is_broken_goes_first() {
        let limits = Limits { desired: 4, surge: 1, unavailable: 1 };
        let old = [replicas(2, 0), replicas(3, 3)];
        assert_eq!(old_wanted(limits, replicas(0, 0), &old), [0, 3]);
    }

    #[test]
    fn shares_are_whole() {
        assert_eq!(proportions(11, &[6, 3]), [8, 3]);
        assert_eq!(proportions(5, &[0]), [0]);
    }
}
