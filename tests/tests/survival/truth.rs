//! What is true of the workloads of a scene, whatever else happens; and whether that is what a witness was told.
//!
//! Sound, whenever it is looked at: *steady* is healthy from before the witness looks until the end, *broken* is broken.
//! A *flipping* one carries its version in the restarts of its pod, written together with its state: even is well, odd is
//! broken, so each verdict can be held against the very state that it speaks of. A verdict may also say that it is not known
//! now, if it says why, and what was last known. It may never say anything else, nor that the workload is gone.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use vitals_proto::v1::{Entity, FreshnessState, HealthStatus, Verdict};
use vitals_tests::fleet::Told;
use vitals_tests::pod_status;

use crate::scene::Home;

/// Rolled out, and never touched.
pub(crate) const STEADY: &str = "steady";
/// Its pod crashes, and is never mended.
pub(crate) const BROKEN: &str = "broken";
/// Their pods break and mend again and again.
pub(crate) const FLIPPING: [&str; 3] = ["flipping-0", "flipping-1", "flipping-2"];

/// What a pod that crashes makes of its entity.
pub(crate) const CRASHES: &str = "ContainerCrashLooping";

/// The status of a flipping pod at a version.
pub(crate) fn at_version(version: u32) -> Value {
    if version.is_multiple_of(2) {
        pod_status::ready(version)
    } else {
        pod_status::crash_loop_back_off(version)
    }
}

/// Whether an entity is told, not as stale, as it is before anything is done.
pub(crate) fn is_true(name: &str, entity: &Entity) -> bool {
    let verdict = entity.verdict.clone().unwrap_or_default();
    match name {
        BROKEN => verdict.status() == HealthStatus::Degraded && verdict.reason == CRASHES,
        _ => verdict.status() == HealthStatus::Healthy,
    }
}

/// Whether all that was told of the workloads was true, or said to be stale.
pub(crate) fn check(home: &Home, told: &[Told]) -> Result<()> {
    let known: BTreeMap<String, &str> = [STEADY, BROKEN]
        .into_iter()
        .chain(FLIPPING)
        .map(|name| (home.entity(name), name))
        .collect();
    let mut versions: BTreeMap<&str, i32> = BTreeMap::new();
    for (number, told) in told.iter().enumerate() {
        match told {
            Told::Entity(entity) => {
                let Some(name) = known.get(&entity.r#ref) else { continue };
                let checked = check_one(name, entity, &mut versions);
                checked.with_context(|| format!("told as number {number}: {entity:#?}"))?;
            }
            Told::Removed(gone) | Told::Vanished(gone) if known.contains_key(gone) => {
                bail!("told as number {number}: {gone} is gone, which it never was")
            }
            Told::Differs => bail!("told as number {number}: the view is not what the hub's is"),
            Told::Removed(_)
            | Told::Vanished(_)
            | Told::Snapshot(_)
            | Told::Resumed
            | Told::Synced
            | Told::Progress
            | Told::Interrupted => {}
        }
    }
    Ok(())
}

fn check_one<'a>(
    name: &'a str,
    entity: &Entity,
    versions: &mut BTreeMap<&'a str, i32>,
) -> Result<()> {
    let verdict = entity.verdict.as_ref().context("no verdict")?;
    let version: i32 =
        entity.clusters.iter().flat_map(|it| &it.workloads).map(|it| it.restarts).sum();
    let before = versions.insert(name, version).unwrap_or_default();
    ensure!(version >= before, "{name} goes back from {before} to {version}");
    let status = if is_stale(verdict)? { verdict.last_known() } else { verdict.status() };
    match name {
        STEADY => ensure!(status == HealthStatus::Healthy, "{name} is healthy"),
        BROKEN => ensure!(status == HealthStatus::Degraded, "{name} is broken"),
        _ if version % 2 == 1 => {
            ensure!(status == HealthStatus::Degraded, "{name} crashes at {version}");
        }
        _ => ensure!(
            matches!(status, HealthStatus::Healthy | HealthStatus::Progressing),
            "{name} is well at {version}, or about to be"
        ),
    }
    Ok(())
}

/// Whether it is said not to be known now, and why.
fn is_stale(verdict: &Verdict) -> Result<bool> {
    let freshness = verdict.freshness.as_ref().context("no freshness")?;
    let is_unknown = verdict.status() == HealthStatus::Unknown;
    let is_fresh = freshness.state() == FreshnessState::Fresh;
    ensure!(is_unknown != is_fresh, "fresh or unknown, one of both");
    Ok(is_unknown)
}
