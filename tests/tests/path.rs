//! The whole path, from a write at the API server to what a subscriber is told, on two real clusters.

use anyhow::{Result, ensure};
use async_nats::jetstream;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use prost::Message as _;
use serde_json::json;
use vitals_proto::{
    subject,
    v1::{EntityFilter, HealthStatus, HealthTransition, Verdict},
};
use vitals_tests::{
    Cluster, cluster_test,
    fleet::{Fleet, SOON, Told},
    objects, pod_status, wait_for,
};

#[test]
fn an_entity_over_two_clusters_is_followed_through_its_life() {
    cluster_test(async {
        let (east, west) = tokio::try_join!(
            Box::pin(Cluster::start_with_nodes("east", 2)),
            Box::pin(Cluster::start_with_nodes("west", 2)),
        )?;
        let fleet = Fleet::start(&[&east, &west]).await?;
        let subscriber = fleet.subscribe(EntityFilter {
            refs: vec!["component:default/shop".into()],
            ..EntityFilter::default()
        })?;
        subscriber.wait("synced", |told| matches!(told, Told::Synced)).await?;

        let mut homes = Vec::new();
        for cluster in [&east, &west] {
            let client = cluster.client().await?;
            let namespace = objects::namespace(&client, "shop").await?;
            let api: Api<Deployment> = Api::namespaced(client.clone(), &namespace);
            let mut shop = objects::deployment("shop", 3);
            for labels in ["/metadata/labels", "/spec/template/metadata/labels"] {
                shop.pointer_mut(labels).unwrap()["backstage.io/kubernetes-id"] = json!("shop");
            }
            objects::create(&api, shop).await?;
            homes.push((client, namespace, api));
        }
        let shop = "component:default/shop";
        fleet
            .wait_entity(shop, |entity| {
                entity.clusters.len() == 2
                    && entity.verdict.as_ref().unwrap().status() == HealthStatus::Healthy
            })
            .await?;

        let (client, namespace, api) = &homes[0];
        // Scaled.
        let scale = Patch::Merge(json!({ "spec": { "replicas": 5 } }));
        api.patch("shop", &PatchParams::default(), &scale).await?;
        objects::wait_available(client, namespace, "shop", SOON).await?;
        fleet
            .wait_entity(shop, |entity| {
                entity.clusters[0].workloads.iter().any(|workload| workload.available == 5)
            })
            .await?;
        // Broken, as a kubelet says it, and mended.
        let pods = objects::pods(client, namespace, "app=shop").await?;
        let broken = pods[0].metadata.name.clone().unwrap();
        let status = pod_status::crash_loop_back_off(7);
        objects::write_pod_status(client, namespace, &broken, status).await?;
        let degraded = fleet
            .wait_entity(shop, |entity| {
                entity.verdict.as_ref().unwrap().status() == HealthStatus::Degraded
            })
            .await?;
        let verdict = degraded.verdict.unwrap();
        ensure!(verdict.cause.last().is_some_and(|root| root.name == broken), "{verdict:?}");
        let restarts: i32 =
            degraded.clusters.iter().flat_map(|it| &it.workloads).map(|it| it.restarts).sum();
        ensure!(restarts == 7, "{restarts} restarts");
        objects::write_pod_status(client, namespace, &broken, pod_status::ready(7)).await?;
        fleet
            .wait_entity(shop, |entity| {
                entity.verdict.as_ref().unwrap().status() == HealthStatus::Healthy
            })
            .await?;
        for cluster in [&east, &west] {
            fleet.assert_true(cluster).await?;
        }
        // Gone.
        for (_, _, api) in &homes {
            api.delete("shop", &DeleteParams::default()).await?;
        }
        subscriber
            .wait("removed", |told| matches!(told, Told::Removed(gone) if gone == shop))
            .await?;

        let statuses: Vec<_> =
            subscriber.verdicts(shop).into_iter().map(|(status, _)| status).collect();
        let degraded_at = statuses.iter().position(|status| *status == HealthStatus::Degraded);
        ensure!(
            degraded_at.is_some_and(|at| statuses[at..].contains(&HealthStatus::Healthy)
                && statuses[..at].contains(&HealthStatus::Healthy)),
            "{statuses:?}"
        );
        ensure!(!statuses.contains(&HealthStatus::Unknown), "{statuses:?}");
        for cluster in [&east, &west] {
            fleet.assert_true(cluster).await?;
        }
        ensure_told_once(&fleet, shop).await
    });
}

/// What is told of an entity: each change of its health once, in order, each going on from the one before.
async fn ensure_told_once(fleet: &Fleet, reference: &str) -> Result<()> {
    let context = jetstream::new(async_nats::connect(fleet.nats.url()).await?);
    let told = wait_for("the last change to be told", SOON, async || {
        let told = told(&context, reference).await?;
        let is_degraded = |it: &HealthTransition| status(&it.after) == Some(HealthStatus::Degraded);
        let degraded_at = told.iter().position(is_degraded);
        Ok(degraded_at.is_some_and(|at| at + 1 < told.len()).then_some(told))
    })
    .await?;
    for (index, transition) in (0..).zip(&told) {
        ensure!(transition.generation == index + 1, "{told:#?}");
        ensure!(transition.position.is_some() && transition.at.is_some(), "{transition:?}");
    }
    for pair in told.windows(2) {
        ensure!(pair[0].after == pair[1].before, "{pair:#?}");
    }
    Ok(())
}

fn status(verdict: &Option<Verdict>) -> Option<HealthStatus> {
    verdict.as_ref().map(Verdict::status)
}

async fn told(context: &jetstream::Context, reference: &str) -> Result<Vec<HealthTransition>> {
    let stream = context.get_stream("VITALS_HEALTH").await?;
    let state = stream.cached_info().state.clone();
    let subject = subject::health(&reference.parse()?);
    let mut told = Vec::new();
    for sequence in state.first_sequence..=state.last_sequence {
        let message = stream.get_raw_message(sequence).await?;
        if message.subject.as_str() == subject {
            told.push(HealthTransition::decode(message.payload)?);
        }
    }
    Ok(told)
}
