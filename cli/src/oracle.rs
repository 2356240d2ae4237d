//! The oracle: lists a cluster directly and compares it with what the hub says, object by object and entity by entity.
//!
//! It shares the projection and the rules with agent and hub, and nothing between the two: no watch, no stream, no store,
//! no graph. The numbers that kubectl shows are read from the API server's own JSON.
//!
//! The two are never asked at the same instant, so a difference counts only when it stands for [`Options::patience`] while
//! its object does not change; until then the whole is compared again. [`live`] is the shell; [`object`], [`entity`] and
//! [`verdict`] compare, and are pure; [`report`] says what came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use vitals_proto::identity::ClusterName;
use vitals_proto::v1::{EntityFilter, ObjectFilter};
use vitals_runtime::clock::SystemClock;

pub mod report;
mod held;
mod live;
mod object;
mod entity;
mod verdict;

pub use report::{Difference, Report, Unseen};

use crate::hub::Hub;
use held::Held;
use live::Live;
use report::{Found, Subject};

/// The first pause between two comparisons; it doubles up to the last.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// An object that keeps changing is given up after so many times the patience.
const PATIENCES_MAX: u32 = 3;

/// How to compare.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long a difference must stand while its object does not change.
    pub patience: Duration,
    /// Only objects of these namespaces, and none of the cluster; and only entities that have no others. All where empty.
    pub namespaces: Vec<String>,
}

impl Default for Options {
    /// A change takes milliseconds, a repair up to six heartbeats of 5 s.
    fn default() -> Self {
        Self { patience: Duration::from_secs(10), namespaces: Vec::new() }
    }
}

/// Why the comparison could not be made, or found something where it must not. Final.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refuses, or cannot be reached.
    #[error("cannot list {kind} of cluster {cluster}")]
    List {
        /// Slug of the cluster.
        cluster: ClusterName,
        /// What was listed.
        kind: String,
        /// Why not.
        source: Box<kube::Error>,
    },
    /// The answer of the API server is not what a list is.
    #[error("cannot read the list of {kind} of cluster {cluster}: {problem}")]
    Answer {
        /// Slug of the cluster.
        cluster: ClusterName,
        /// What was listed.
        kind: String,
        /// What is wrong.
        problem: String,
    },
    /// The hub does not answer.
    #[error(transparent)]
    Hub(Box<crate::Error>),
    /// The hub says nothing of the cluster.
    #[error("the hub does not know cluster {cluster}: it knows {}", slugs(.known))]
    UnknownCluster {
        /// Slug of the cluster.
        cluster: ClusterName,
        /// Slugs of those that it knows.
        known: Vec<String>,
    },
    /// [`assert_no_differences`] found some.
    #[error("hub and cluster differ:\n{0}")]
    Differs(Box<Report>),
}

fn slugs(known: &[String]) -> String {
    if known.is_empty() { "none".to_owned() } else { known.join(", ") }
}

/// Compares until nothing differs, or what differs has stood for the patience.
///
/// # Errors
/// When the cluster cannot be listed, or the hub cannot be asked.
pub async fn compare(
    client: &kube::Client,
    cluster: &ClusterName,
    hub: &Hub,
    options: &Options,
) -> Result<Report, Error> {
    let begin = Instant::now();
    let mut first = None;
    let mut pending: BTreeMap<Subject, Standing> = BTreeMap::new();
    let mut pause = PAUSE_MIN;
    loop {
        let (mut report, found) = round(client, cluster, hub, options).await?;
        let is_first = first.is_none();
        let counts = *first.get_or_insert((report.objects, report.entities));
        pending = standing(&pending, found, is_first);
        let is_settled = |it: &Standing| it.since.elapsed() >= options.patience;
        let given_up = begin.elapsed() >= options.patience * PATIENCES_MAX;
        if given_up || pending.values().all(is_settled) {
            (report.objects, report.entities) = counts;
            for standing in pending.into_values() {
                if is_settled(&standing) {
                    report.differences.push(standing.difference);
                } else {
                    report.unsettled.push(standing.difference);
                }
            }
            return Ok(report);
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Compares until nothing differs, for the patience at most: the last step of end-to-end tests.
///
/// # Errors
/// As [`compare`]; and [`Error::Differs`] when something still differs, or still changes, or a kind is not seen. What fails to
/// answer is asked again until the patience is over.
pub async fn assert_no_differences(
    client: &kube::Client,
    cluster: &ClusterName,
    hub: &Hub,
    options: &Options,
) -> Result<Report, Error> {
    let end = Instant::now() + options.patience;
    loop {
        let patience = end.saturating_duration_since(Instant::now());
        let options = Options { patience, ..options.clone() };
        let problem = match compare(client, cluster, hub, &options).await {
            Ok(report) if report.is_clean() => return Ok(report),
            Ok(report) => Error::Differs(Box::new(report)),
            Err(error) => error,
        };
        if Instant::now() >= end {
            return Err(problem);
        }
        sleep(PAUSE_MIN).await;
    }
}

/// A difference and since when it stands so.
struct Standing {
    since: Instant,
    /// Of the live object: a change of it begins anew.
    fingerprint: String,
    difference: Difference,
}

/// What differed before and still does. An object in which nothing differed in the round before was equal then, and has
/// changed since; one in which something else differed was not.
fn standing(
    before: &BTreeMap<Subject, Standing>,
    found: Vec<Found>,
    is_first: bool,
) -> BTreeMap<Subject, Standing> {
    let now = Instant::now();
    let differed: BTreeSet<&str> = before.keys().map(|(of, _)| of.as_str()).collect();
    let mut standing = BTreeMap::new();
    for Found { subject, fingerprint, difference } in found {
        let since = match before.get(&subject) {
            Some(earlier) if earlier.fingerprint == fingerprint => earlier.since,
            None if !is_first && !differed.contains(subject.0.as_str()) => continue,
            Some(_) | None => now,
        };
        standing.insert(subject, Standing { since, fingerprint, difference });
    }
    standing
}

/// One comparison of the whole.
async fn round(
    client: &kube::Client,
    cluster: &ClusterName,
    hub: &Hub,
    options: &Options,
) -> Result<(Report, Vec<Found>), Error> {
    let ask = |error| Error::Hub(Box::new(error));
    let clusters = hub.list_clusters().await.map_err(ask)?;
    let Some(seen) = clusters.iter().find(|it| it.name == cluster.as_str()).cloned() else {
        let known = clusters.into_iter().map(|it| it.name).collect();
        return Err(Error::UnknownCluster { cluster: cluster.clone(), known });
    };
    let (kinds, unseen) = held::kinds(&seen);
    let live = Live::list(client, cluster, &kinds, &options.namespaces).await?;
    let filter = ObjectFilter { clusters: vec![cluster.to_string()], ..ObjectFilter::default() };
    let objects = hub.list_objects(filter).await.map_err(ask)?;
    let filter = EntityFilter { clusters: vec![cluster.to_string()], ..EntityFilter::default() };
    let entities = hub.list_entities(filter).await.map_err(ask)?;
    let is_catalog_empty = hub.list_definitions().await.map_err(ask)?.is_empty();
    let mut held = Held::new(seen, objects, entities, is_catalog_empty);
    held.retain(&kinds, &options.namespaces);
    let now = vitals_hub_core::Time::from_unix_ms(SystemClock.unix_ms());
    let mut found = object::compare(&live, &held, now);
    found.extend(entity::compare(&live, &held));
    found.extend(verdict::compare(&live, &held, now));
    let (objects, entities) = (live.objects.len(), held.entities.len());
    Ok((Report { objects, entities, unseen, ..Report::default() }, found))
}

#[cfg(test)]
mod tests;
