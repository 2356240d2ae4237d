//! What stands in a Lease, and whether it can be taken.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api,
    api::{ObjectMeta, PostParams},
};
use tokio::time::Instant;
use tracing::{info, warn};
use vitals_proto::identity::{Epoch, Scope};

use crate::watch::one_line;

/// Holds the highest epoch begun under the Lease.
const EPOCH_ANNOTATION: &str = "vitals.dev/epoch";

/// How long the API server may take to answer.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// How long giving it back may take.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);

/// What came of reaching for a Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// It is ours, with this epoch in it.
    Taken(Epoch),
    /// It is this one's.
    HeldBy(String),
}

/// One that wants a Lease.
pub(super) struct Claimant {
    name: String,
    /// Of this process alone: one that starts again is another.
    identity: String,
    duration: Duration,
    /// As we wrote it last.
    ours: Option<Lease>,
    observed: Option<Observed>,
}

/// The Lease of another, as seen last.
struct Observed {
    resource_version: Option<String>,
    /// Since when it did not change.
    since: Instant,
}

impl Claimant {
    pub(super) fn new(scope: &Scope, duration: Duration, random: u64) -> Self {
        Self {
            name: format!("vitals-agent-{scope}"),
            identity: format!("vitals-agent-{random:016x}"),
            duration,
            ours: None,
            observed: None,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn is_holder(&self, lease: &Lease) -> bool {
        holder(lease) == Some(&self.identity)
    }

    /// Who holds it, if that is another and it did not expire.
    pub(super) fn held_by(&mut self, lease: &Lease, now: Instant) -> Option<String> {
        let other = holder(lease).filter(|holder| **holder != self.identity)?.clone();
        let resource_version = lease.metadata.resource_version.clone();
        let since = match &self.observed {
            Some(observed) if observed.resource_version == resource_version => observed.since,
            Some(_) | None => now,
        };
        self.observed = Some(Observed { resource_version, since });
        let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
        let seconds = seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let duration = seconds.map_or(self.duration, Duration::from_secs);
        (now.saturating_duration_since(since) < duration).then_some(other)
    }

    /// The Lease as we want it; fenced by the `resourceVersion` of what was found.
    pub(super) fn claim(&self, found: Option<Lease>, epoch: Epoch, now: Timestamp) -> Lease {
        let mut lease = found.unwrap_or_else(|| Lease {
            metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
            spec: None,
        });
        let annotations = lease.metadata.annotations.get_or_insert_default();
        annotations.insert(EPOCH_ANNOTATION.to_owned(), epoch.to_string());
        let LeaseSpec { lease_transitions, .. } = lease.spec.take().unwrap_or_default();
        lease.spec = Some(LeaseSpec {
            acquire_time: Some(MicroTime(now)),
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(self.duration.as_secs()).ok(),
            lease_transitions: Some(lease_transitions.unwrap_or_default().saturating_add(1)),
            renew_time: Some(MicroTime(now)),
            ..LeaseSpec::default()
        });
        lease
    }

    pub(super) fn wrote(&mut self, lease: Lease) {
        self.ours = Some(lease);
        self.observed = None;
    }

    /// Ours, renewed; `None` where it never was.
    pub(super) fn renewed(&self, now: Timestamp) -> Option<Lease> {
        let mut lease = self.ours.clone()?;
        lease.spec.get_or_insert_default().renew_time = Some(MicroTime(now));
        Some(lease)
    }

    /// Gives it back, so that the next one need not wait until it expires.
    pub(super) async fn release(&self, api: &Api<Lease>) {
        let Some(mut lease) = self.ours.clone() else { return };
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        let parameters = PostParams::default();
        let releasing = api.replace(&self.name, &parameters, &lease);
        match tokio::time::timeout(RELEASE_TIMEOUT, releasing).await {
            Ok(Ok(_)) => info!("Lease given back"),
            Ok(Err(error)) => warn!(%error, "Lease not given back: it expires"),
            Err(_) => warn!("Lease not given back in time: it expires"),
        }
    }
}

fn holder(lease: &Lease) -> Option<&String> {
    lease.spec.as_ref()?.holder_identity.as_ref().filter(|holder| !holder.is_empty())
}

/// The highest epoch begun under it.
pub(super) fn epoch_in(lease: &Lease) -> Option<Epoch> {
    lease.metadata.annotations.as_ref()?.get(EPOCH_ANNOTATION)?.parse().ok()
}

/// The answer, in time, or why not, in one line.
pub(super) async fn answered<T>(
    asking: impl Future<Output = kube::Result<T>>,
) -> Result<T, String> {
    match tokio::time::timeout(ANSWER_TIMEOUT, asking).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(one_line(&error)),
        Err(_) => Err(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DURATION: Duration = Duration::from_secs(10);

    fn claimant(random: u64) -> Claimant {
        Claimant::new(&Scope::default(), DURATION, random)
    }

    fn claimed(by: &Claimant, resource_version: &str) -> Lease {
        let epoch = Epoch { started_at_unix_ms: 5, random: 6 };
        let mut lease = by.claim(None, epoch, Timestamp::UNIX_EPOCH);
        lease.metadata.resource_version = Some(resource_version.to_owned());
        lease
    }

    #[test]
    fn a_lease_is_free_once_it_did_not_change_for_its_duration() {
        let (us, them) = (&mut claimant(1), claimant(2));
        let start = Instant::now();
        let held = Some(them.identity.clone());
        for (case, resource_version, after_s, want) in [
            ("first seen", "1", 0, &held),
            ("not renewed", "1", 9, &held),
            ("renewed", "2", 9, &held),
            ("not renewed since", "2", 18, &held),
            ("expired", "2", 19, &None),
        ] {
            let now = start + Duration::from_secs(after_s);
            assert_eq!(us.held_by(&claimed(&them, resource_version), now), *want, "{case}");
        }
    }

    #[test]
    fn ours_and_a_released_one_are_free() {
        let us = &mut claimant(1);
        let ours = claimed(us, "1");
        assert!(us.is_holder(&ours));
        assert_eq!(us.held_by(&ours, Instant::now()), None);
        let mut released = claimed(&claimant(2), "1");
        released.spec.as_mut().unwrap().holder_identity = Some(String::new());
        assert_eq!(us.held_by(&released, Instant::now()), None);
    }

    #[test]
    fn the_epoch_and_what_others_wrote_is_kept() {
        let us = claimant(1);
        let mut found = claimed(&claimant(2), "7");
        assert_eq!(epoch_in(&found), Some(Epoch { started_at_unix_ms: 5, random: 6 }));
        found.metadata.annotations.as_mut().unwrap().insert("a".into(), "b".into());
        let epoch = Epoch { started_at_unix_ms: 9, random: 1 };
        let lease = us.claim(Some(found), epoch, Timestamp::UNIX_EPOCH);
        assert_eq!(epoch_in(&lease), Some(epoch));
        assert_eq!(lease.metadata.resource_version.as_deref(), Some("7"), "the fence");
        assert_eq!(lease.metadata.annotations.unwrap()["a"], "b");
        assert_eq!(lease.spec.unwrap().lease_transitions, Some(2));
    }
}
