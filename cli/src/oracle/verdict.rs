//! The verdict on an entity in this cluster, held against its objects as they live. Pure.
//!
//! How findings make a verdict is the hub's to know, but two bounds hold whatever the rules are: it is at least as bad as its
//! worst workload is by itself, and where each of its objects is healthy by itself so is the whole, unless there are some of
//! which more is known than their own rule says: an autoscaler at its maximum, a budget that blocks, an Ingress to nothing.

use std::collections::BTreeMap;

use vitals_hub_core::Time;
use vitals_hub_core::assess::assess;
use vitals_proto::identity::ObjectKey;
use vitals_proto::kind::Kind;
use vitals_proto::v1::{ClusterVerdict, Entity, FreshnessState, HealthStatus};

use super::held::Held;
use super::live::{Live, LiveObject};
use super::report::{Difference, Found};
use crate::text;

/// One object of an entity, as it lives.
struct Member<'a> {
    key: &'a ObjectKey,
    object: &'a LiveObject,
}

pub(super) fn compare(live: &Live, held: &Held, now: Time) -> Vec<Found> {
    let mut members: BTreeMap<&str, Vec<Member<'_>>> = BTreeMap::new();
    for (key, said) in &held.objects {
        let Some(object) = live.objects.get(key) else { continue };
        for entity in &said.entities {
            members.entry(entity).or_default().push(Member { key, object });
        }
    }
    let mut found = Vec::new();
    for entity in &held.entities {
        for verdict in entity.clusters.iter().filter(|it| it.cluster == held.seen.name) {
            if is_fresh(verdict) {
                let members = members.get(entity.r#ref.as_str()).map_or(&[][..], Vec::as_slice);
                found.extend(compare_one(entity, verdict, members, now));
            }
        }
    }
    found
}

fn is_fresh(verdict: &ClusterVerdict) -> bool {
    let freshness = verdict.verdict.as_ref().and_then(|it| it.freshness.as_ref());
    freshness.is_some_and(|it| it.state() == FreshnessState::Fresh)
}

fn compare_one(
    entity: &Entity,
    verdict: &ClusterVerdict,
    members: &[Member<'_>],
    now: Time,
) -> Option<Found> {
    let said = text::status_of(verdict.verdict.as_ref());
    let versions: Vec<&str> = members.iter().map(|it| it.object.resource_version()).collect();
    let differs = |aspect: &str, cluster: String| {
        let difference = Difference {
            subject: format!("{} in {}", entity.r#ref, verdict.cluster),
            aspect: aspect.to_owned(),
            cluster,
            hub: format!("{said:?}"),
        };
        Some(Found::new(difference, &versions.join(" ")))
    };
    if members.is_empty() {
        return differs("presence", "none of its objects".to_owned());
    }
    let health = |it: &Member<'_>| Some((it.key.clone(), status(it, now)?));
    let healths: Vec<(ObjectKey, HealthStatus)> = members.iter().filter_map(health).collect();
    if healths.len() < members.len() {
        // What cannot be projected is found as an object.
        return None;
    }
    let workloads = healths.iter().filter(|(key, _)| is_workload(key));
    let worst = workloads.max_by_key(|(_, status)| *status);
    if let Some((key, status)) = worst.filter(|(_, status)| *status > said) {
        return differs("status", format!("{key}, which is {status:?}"));
    }
    let is_well = healths
        .iter()
        .all(|(key, status)| *status == HealthStatus::Healthy && !says_more_elsewhere(key));
    if is_well && said != HealthStatus::Healthy {
        return differs("status", format!("{} objects, each of them Healthy", healths.len()));
    }
    None
}

fn status(member: &Member<'_>, now: Time) -> Option<HealthStatus> {
    let facts = member.object.facts(member.key.kind()).ok()?;
    Some(assess(&facts, now).status)
}

/// What the hub never judges better than it is by itself.
fn is_workload(key: &ObjectKey) -> bool {
    matches!(key.kind(), Kind::Deployment | Kind::StatefulSet | Kind::DaemonSet)
}

/// The hub may judge it worse than its own rule does.
fn says_more_elsewhere(key: &ObjectKey) -> bool {
    matches!(key.kind(), Kind::HorizontalPodAutoscaler | Kind::PodDisruptionBudget | Kind::Ingress)
}
