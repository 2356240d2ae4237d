//! What is told of a service that breaks and is mended: once, and nothing of it is lost, though the hub that tells is killed in
//! between; and `vitals history` shows it, at whichever hub is asked.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::time::Instant;
use vitals::hub::Hub;
use vitals_proto::v1::{
    Entity, EntityFilter, HealthStatus, HealthTransition, ListTransitionsRequest, Verdict,
};
use vitals_tests::fleet::{Fleet, SOON};
use vitals_tests::{Nats, cluster_test, http, pod_status, wait_for};

use crate::scene::took;
use crate::shop::{Sees as _, Shop};

/// In each cluster of the test.
const SHOP: &str = "component:default/told-shop";
const ID: &str = "told-shop";

/// A lease that nobody renewed is taken after 5 s, looked at every second; and whoever begins has to find out what was told.
const TAKEN_OVER: Duration = Duration::from_secs(20);

#[test]
fn what_happens_while_nobody_tells_is_told_once_by_the_next_hub() {
    cluster_test(Box::pin(async {
        let mut fleet = Fleet::start_hub(Nats::start().await?, &[]).await?;
        wait_for("the first hub to tell", SOON, async || tells(fleet.hub_http()).await).await?;
        let replica = fleet.start_replica("replica").await?;
        let east = Shop::called(ID, "east").await?;
        let flags = ["--lease-namespace", &east.namespace];
        fleet.start_agent(east.cluster.name(), &east.cluster, &flags).await?;
        fleet.wait_fresh(east.cluster.name()).await?;
        let unknown = transitions(&fleet.hub()?, ListTransitionsRequest::default()).await;
        ensure!(unknown.is_err_and(|it| it.code() == tonic::Code::NotFound), "it never was");

        east.open().await?;
        east.all_ready().await?;
        fleet.is(HealthStatus::Healthy, &[&east]).await?;
        east.first_pod(pod_status::crash_loop_back_off(4)).await?;
        fleet.is(HealthStatus::Degraded, &[&east]).await?;
        told(&replica.client()?, &[HealthStatus::Healthy, HealthStatus::Degraded]).await?;
        ensure!(tells(replica.http()).await?.is_none(), "two hubs tell");

        // Nobody tells for some seconds, in which it is mended, breaks otherwise, and is mended again.
        fleet.hub_process().kill().await?;
        let killed_at = Instant::now();
        let witness = replica.client()?;
        sees(&witness, HealthStatus::Degraded).await?;
        east.first_pod(pod_status::ready(4)).await?;
        sees(&witness, HealthStatus::Healthy).await?;
        east.first_pod(pod_status::image_pull_back_off()).await?;
        sees(&witness, HealthStatus::Degraded).await?;
        let is_before = killed_at.elapsed() < Duration::from_secs(4);
        east.first_pod(pod_status::ready(5)).await?;
        sees(&witness, HealthStatus::Healthy).await?;
        wait_for("the replica to tell", TAKEN_OVER, async || tells(replica.http()).await).await?;
        took("taking over, from the kill", killed_at);
        if is_before {
            vitals_tests::progress::say("two changes came while nobody told");
        }
        let wanted = [
            HealthStatus::Healthy,
            HealthStatus::Degraded,
            HealthStatus::Healthy,
            HealthStatus::Degraded,
            HealthStatus::Healthy,
        ];
        let at_replica = told(&witness, &wanted).await?;

        // The one that was killed comes back, follows, and says the same.
        fleet.hub_process().restart().await?;
        fleet.wait_fresh(east.cluster.name()).await?;
        fleet.is(HealthStatus::Healthy, &[&east]).await?;
        let at_hub = told(&fleet.hub()?, &wanted).await?;
        ensure!(at_hub == at_replica, "{at_hub:#?}\nbut at the replica\n{at_replica:#?}");
        ensure!(tells(fleet.hub_http()).await?.is_none(), "two hubs tell");

        // One that stops gives the lease back.
        let stopped_at = Instant::now();
        replica.process.terminate(SOON).await?;
        wait_for("the hub to tell", TAKEN_OVER, async || tells(fleet.hub_http()).await).await?;
        took("taking over, from an orderly end", stopped_at);
        east.first_pod(pod_status::crash_loop_back_off(6)).await?;
        let last = [&wanted[..], &[HealthStatus::Degraded]].concat();
        let all = told(&fleet.hub()?, &last).await?;
        pages_are_whole(&fleet, &all).await?;
        is_printed(&fleet, &all).await
    }));
}

/// Whether a hub tells, by its metrics.
async fn tells(address: std::net::SocketAddr) -> Result<Option<()>> {
    let metrics = http::get(address, "/metrics").await?.body;
    let line = metrics.lines().find(|line| line.starts_with("vitals_hub_tells "));
    let line = line.with_context(|| format!("no such metric: {metrics}"))?;
    Ok(line.ends_with(" 1").then_some(()))
}

async fn transitions(
    hub: &Hub,
    request: ListTransitionsRequest,
) -> Result<(Vec<HealthTransition>, String), tonic::Status> {
    let request = ListTransitionsRequest { r#ref: SHOP.to_owned(), ..request };
    let answer = hub.entities().list_transitions(request).await?.into_inner();
    Ok((answer.transitions, answer.next_page_token))
}

fn status(verdict: &Option<Verdict>) -> HealthStatus {
    verdict.as_ref().map_or(HealthStatus::Unspecified, Verdict::status)
}

/// Waits until these were told in this order, from the first time that it was Healthy on: before, it was not there or not
/// verified. Between them it may be Progressing, for as long as the Deployment's controller takes. Gives all, the newest
/// first: each was told once, and goes on from the one before.
async fn told(hub: &Hub, wanted: &[HealthStatus]) -> Result<Vec<HealthTransition>> {
    let all = wait_for("the changes to be told", SOON, async || {
        let (all, _) = transitions(hub, ListTransitionsRequest::default()).await?;
        let statuses: Vec<_> = all.iter().rev().map(|it| status(&it.after)).collect();
        let first = statuses.iter().position(|it| *it == HealthStatus::Healthy);
        let since = statuses.iter().skip(first.unwrap_or(statuses.len()));
        let mut lasting: Vec<_> = since.filter(|it| **it != HealthStatus::Progressing).collect();
        lasting.dedup();
        ensure!(lasting == wanted.iter().collect::<Vec<_>>(), "told: {statuses:?}");
        Ok(Some(all))
    })
    .await?;
    for (generation, transition) in (1..).zip(all.iter().rev()) {
        ensure!(transition.generation == generation, "{all:#?}");
        let is_missing = transition.clusters.is_empty();
        ensure!(is_missing || transition.clusters == ["east"], "{transition:#?}");
    }
    for pair in all.windows(2) {
        ensure!(pair[1].after == pair[0].before, "{pair:#?}");
        let gist = |it: &Option<Verdict>| it.clone().map(|it| (it.status, it.reason));
        ensure!(gist(&pair[0].before) != gist(&pair[0].after), "told twice: {pair:#?}");
    }
    Ok(all)
}

async fn sees(hub: &Hub, status: HealthStatus) -> Result<Entity> {
    wait_for(&format!("the shop to be {status:?}"), SOON, async || {
        let filter = EntityFilter { refs: vec![SHOP.to_owned()], ..EntityFilter::default() };
        let entity = hub.list_entities(filter).await?.pop().context("it is unknown")?;
        Ok((self::status(&entity.verdict) == status).then_some(entity))
    })
    .await
}

/// In pages, and between times.
async fn pages_are_whole(fleet: &Fleet, all: &[HealthTransition]) -> Result<()> {
    let hub = fleet.hub()?;
    let (mut paged, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListTransitionsRequest { page_size: 2, page_token, ..Default::default() };
        let (page, next) = transitions(&hub, request).await?;
        ensure!((1..=2).contains(&page.len()), "{page:#?}");
        paged.extend(page);
        page_token = next;
        if page_token.is_empty() {
            break;
        }
    }
    ensure!(paged == all, "{paged:#?}");
    let (since, until) = (all[2].at, all[0].at);
    let request = ListTransitionsRequest { since, until, ..Default::default() };
    let (between, _) = transitions(&hub, request).await?;
    ensure!(between == all[1..3], "{between:#?}");
    Ok(())
}

/// `vitals history`, for people and for programs.
async fn is_printed(fleet: &Fleet, all: &[HealthTransition]) -> Result<()> {
    let printed = fleet.vitals(&format!("history {SHOP} --limit 3")).await?;
    ensure!(printed.status.success(), "{}", printed.stderr);
    let lines: Vec<&str> = printed.stdout.lines().collect();
    let [headings, newest, ..] = lines.as_slice() else { anyhow::bail!("{lines:?}") };
    ensure!(headings.starts_with("WHEN") && lines.len() == 4, "{lines:#?}");
    for word in ["Healthy", "Degraded", "still", "east", "ContainerCrashLooping"] {
        ensure!(newest.contains(word), "{newest:?} lacks {word}");
    }
    let json = fleet.vitals(&format!("history {SHOP} --since 1h -o json")).await?;
    let document: serde_json::Value = serde_json::from_str(&json.stdout)?;
    let printed = document["transitions"].as_array().context("no transitions")?;
    ensure!(printed.len() == all.len(), "{}", json.stdout);
    ensure!(printed[0]["after"]["status"] == "HEALTH_STATUS_DEGRADED", "{}", json.stdout);
    let unknown = fleet.vitals("history component:default/never").await?;
    ensure!(unknown.stderr.contains("not known to the hub"), "{}", unknown.stderr);
    ensure!(unknown.status.code() == Some(1), "{:?}", unknown.status);
    Ok(())
}
