//! How much later a subscriber of the hub hears of a change than a bare watch of the same API server.
//!
//! A write puts a number into a Deployment's status; the watch and the subscriber see that number. The controllers are
//! frozen meanwhile, so that nobody else writes. A write's time is that at which its request is sent. What is added is the
//! difference between the two arrivals of one number, in one process, by one clock.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context as _, Result};
use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Client,
    api::{Api, Patch, PatchParams},
};
use serde::Deserialize;
use serde_json::json;
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};
use vitals_proto::v1::{EntityFilter, WatchEntitiesRequest, watch_entities_response::Event};
use vitals_tests::{Component, objects, wait_for};

use crate::{
    first_sync::cpu_seconds,
    kube_watch,
    landscape::Landscape,
    table::{Budget, Row, Table, load, percentile},
};

/// Deployments that are written in turn.
const DEPLOYMENTS: usize = 500;

/// How long is written.
const SECONDS: usize = 20;

/// Writes at once.
const WRITES_MAX: usize = 64;

/// After the last write, what is still on its way.
const LAST_WITHIN: Duration = Duration::from_secs(20);

/// When each number was sent and seen. An index is a number less [`BASE`].
#[derive(Clone)]
struct Log(Arc<Mutex<Vec<[Option<Instant>; 3]>>>);

/// Numbers begin here, far from what Deployments have.
const BASE: usize = 1_000;

const SENT: usize = 0;
const WATCHED: usize = 1;
const TOLD: usize = 2;

impl Log {
    fn note(&self, number: usize, what: usize) {
        let Some(index) = number.checked_sub(BASE) else { return };
        if let Some(times) = self.0.lock().unwrap().get_mut(index) {
            times[what].get_or_insert_with(Instant::now);
        }
    }
}

/// As much of a watch event as is needed.
#[derive(Deserialize)]
struct Watched {
    object: WatchedObject,
}

#[derive(Deserialize)]
struct WatchedObject {
    #[serde(default)]
    status: WatchedStatus,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WatchedStatus {
    available_replicas: Option<usize>,
}

/// Writes `rate` changes a second.
pub(crate) async fn measure(table: &mut Table, landscape: &Landscape, rate: usize) -> Result<()> {
    let controllers = [Component::ControllerManager, Component::Scheduler, Component::Kwok];
    for component in controllers {
        landscape.cluster.component(component)?.freeze().await?;
    }
    let measured = Box::pin(with_frozen_controllers(table, landscape, rate)).await;
    for component in controllers {
        landscape.cluster.component(component)?.thaw().await?;
    }
    measured
}

async fn with_frozen_controllers(
    table: &mut Table,
    landscape: &Landscape,
    rate: usize,
) -> Result<()> {
    let namespace = &objects::namespace(&landscape.client, "propagation").await?;
    create(landscape, namespace).await?;
    let log = Log(Arc::new(Mutex::new(vec![[None; 3]; rate * SECONDS])));
    let mut observers = JoinSet::new();
    let synced = Arc::new(Semaphore::new(0));
    observers
        .spawn(watch(landscape.cluster.client().await?, namespace.clone(), log.clone()).await?);
    observers.spawn(subscribe(landscape, namespace, log.clone(), Arc::clone(&synced))?);
    timeout(LAST_WITHIN, synced.acquire())
        .await
        .context("the subscriber has no snapshot")??
        .forget();

    let cpu = cpu_seconds(landscape.agent()?)?;
    let begun = Instant::now();
    write(landscape.cluster.client().await?, namespace, rate, &log).await?;
    let reached = (rate * SECONDS) as f64 / begun.elapsed().as_secs_f64();
    let load = load();
    let seen = |what: usize| log.0.lock().unwrap().iter().filter(|it| it[what].is_some()).count();
    // What is replaced on its way is never seen, so that the last of each object is waited for.
    let last = || log.0.lock().unwrap().iter().rev().take(DEPLOYMENTS).all(|it| it[TOLD].is_some());
    let waited = wait_for("the last changes", LAST_WITHIN, async || Ok(last().then_some(()))).await;
    let cpu = (cpu_seconds(landscape.agent()?)? - cpu) * 1e6 / (rate * SECONDS) as f64;
    let count = (seen(SENT), seen(WATCHED), seen(TOLD));
    eprintln!(
        "{rate}/s wanted, {reached:.0}/s reached, load {load}; written {}, watched {}, told {}; agent {cpu:.0} µs CPU each; {waited:?}",
        count.0, count.1, count.2
    );
    report(table, &log, &format!("{reached:.0} changes/s"), count);
    Ok(())
}

/// Deployments that nobody rolls out.
async fn create(landscape: &Landscape, namespace: &str) -> Result<()> {
    let many = objects::Many { deployments: DEPLOYMENTS, pods_each: 1 };
    objects::create_deployments(&landscape.client, namespace, many).await?;
    let written: Api<Deployment> = Api::namespaced(landscape.client.clone(), namespace);
    // Who set which field is half of what a write costs the API server, until it is told to forget it.
    let untracked = Patch::Merge(json!({ "metadata": { "managedFields": [{}] } }));
    for number in 0..DEPLOYMENTS {
        let name = format!("app-{number}");
        written.patch(&name, &PatchParams::default(), &untracked).await?;
    }
    wait_for("the hub to know all Deployments", LAST_WITHIN, async || {
        let filter = filter(namespace);
        let known = landscape.fleet.hub()?.list_entities(filter).await?.len();
        Ok((known >= DEPLOYMENTS).then_some(()))
    })
    .await
}

fn filter(namespace: &str) -> EntityFilter {
    EntityFilter { namespaces: vec![namespace.to_owned()], ..EntityFilter::default() }
}

/// The baseline.
async fn watch(client: Client, namespace: String, log: Log) -> Result<impl Future<Output = ()>> {
    let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments");
    let lines = kube_watch::open(&client, &path).await?;
    Ok(async move {
        let mut lines = std::pin::pin!(lines);
        while let Some(Ok(line)) = lines.next().await {
            let Ok(event) = serde_json::from_str::<Watched>(&line) else { continue };
            log.note(event.object.status.available_replicas.unwrap_or_default(), WATCHED);
        }
    })
}

/// Ours.
fn subscribe(
    landscape: &Landscape,
    namespace: &str,
    log: Log,
    synced: Arc<Semaphore>,
) -> Result<impl Future<Output = ()> + use<>> {
    let mut entities = landscape.fleet.hub()?.entities();
    let filter = Some(filter(namespace));
    Ok(async move {
        let request = WatchEntitiesRequest { filter, ..WatchEntitiesRequest::default() };
        let mut steps = entities.watch_entities(request).await.unwrap().into_inner();
        while let Ok(Some(step)) = steps.message().await {
            match step.event {
                Some(Event::Synced(_)) => synced.add_permits(1),
                Some(Event::Upsert(entity)) => {
                    let workloads = entity.clusters.iter().flat_map(|it| &it.workloads);
                    for workload in workloads {
                        log.note(usize::try_from(workload.available).unwrap_or_default(), TOLD);
                    }
                }
                _ => {}
            }
        }
    })
}

/// One number after the other, each at its time; later where the API server does not keep up.
async fn write(client: Client, namespace: &str, rate: usize, log: &Log) -> Result<()> {
    let limit = Arc::new(Semaphore::new(WRITES_MAX));
    let mut writes = JoinSet::new();
    let begun = Instant::now();
    for index in 0..rate * SECONDS {
        sleep_until(begun + Duration::from_secs_f64(index as f64 / rate as f64)).await;
        let permit = Arc::clone(&limit).acquire_owned().await?;
        let (client, log) = (client.clone(), log.clone());
        let (number, name) = (BASE + index, format!("app-{}", index % DEPLOYMENTS));
        let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments/{name}/status");
        let body = format!(
            r#"{{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"name":"{name}","namespace":"{namespace}"}},"status":{{"replicas":{number},"updatedReplicas":{number},"readyReplicas":{number},"availableReplicas":{number}}}}}"#
        );
        let request = http::Request::put(path).header("content-type", "application/json");
        let request = request.body(body.into_bytes())?;
        while let Some(written) = writes.try_join_next() {
            written??;
        }
        writes.spawn(async move {
            let _permit = permit;
            log.note(number, SENT);
            client.request_text(request).await.map(drop)
        });
    }
    while let Some(written) = writes.join_next().await {
        written??;
    }
    Ok(())
}

fn report(table: &mut Table, log: &Log, at: &str, (sent, watched, told): (usize, usize, usize)) {
    let times = log.0.lock().unwrap().clone();
    let spans = |from: usize, to: usize| {
        let mut spans: Vec<f64> = times
            .iter()
            .filter_map(|it| Some((it[from]?, it[to]?)))
            .map(|(from, to)| {
                let later = to.saturating_duration_since(from).as_secs_f64();
                (later - from.saturating_duration_since(to).as_secs_f64()) * 1e3
            })
            .collect();
        spans.sort_unstable_by(f64::total_cmp);
        spans
    };
    let (watch, ours, added) = (spans(SENT, WATCHED), spans(SENT, TOLD), spans(WATCHED, TOLD));
    for (per_cent, budget) in [(50, 2.0), (99, 10.0)] {
        let of = |sorted: &[f64]| percentile(sorted, per_cent);
        table.add(Row {
            what: format!(
                "propagation added to a bare watch, p{per_cent} in ms, {at} (of {sent}: {watched} watched, {told} told)"
            ),
            baseline: format!("{:.1} ms after the write", of(&watch)),
            ours: format!("{:.1} ms after the write", of(&ours)),
            ratio: of(&added),
            budget: Budget::Most(budget),
        });
    }
}
