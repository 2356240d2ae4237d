//! What nobody should do and somebody will: two clusters under one name, garbage in the stream, objects and names without
//! end, an agent that may not see everything. And what is merely large: a set of two streams.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use async_nats::jetstream;
use k8s_openapi::api::apps::v1::ReplicaSet;
use kube::api::Api;
use serde_json::{Value, json};
use vitals_proto::identity::{ClusterName, KeyParts, ObjectKey};
use vitals_proto::kind::Kind;
use vitals_proto::subject;
use vitals_proto::v1::{FreshnessState, HealthStatus, HeldObjectState, ObjectFilter};
use vitals_tests::cluster::may_read;
use vitals_tests::fleet::{Fleet, SOON, Told};
use vitals_tests::{Cluster, Nats, cluster_test, objects, wait_for};

use crate::resumed;
use crate::scene::{AGENT, Home, Scene, unix_ms};
use crate::truth::STEADY;

/// More bytes of labels than a message may have.
const HUGE: usize = 2_000;

/// Longest name of most objects.
const LONGEST: usize = 253;

#[test]
fn two_clusters_under_one_name_are_a_conflict_until_one_is_gone() {
    cluster_test(Box::pin(async {
        let mut scene = Scene::start("conflict").await?;
        let told = scene.witness.count();
        let twin = Cluster::shared("west").await?;
        let namespace = objects::namespace(&twin.client().await?, "conflict").await?;
        let name = scene.cluster_name().to_owned();
        let flags = ["--cluster-name", &name, "--lease-namespace", &namespace];
        scene.fleet.start_agent("twin", &twin, &flags).await?;

        let seen = scene.fleet.wait_seen(&name, FreshnessState::Conflict).await?;
        let message = seen.freshness.unwrap_or_default().message;
        for cluster in [&scene.home.cluster, &twin] {
            let uid = uid(cluster).await?;
            ensure!(message.contains(&uid), "{uid} is not named in: {message}");
        }
        let steady = scene.home.entity(STEADY);
        let is_told = |told: &Told| {
            let Told::Entity(entity) = told else { return false };
            let verdict = entity.verdict.clone().unwrap_or_default();
            entity.r#ref == steady
                && verdict.status() == HealthStatus::Unknown
                && verdict.reason == "ClusterConflict"
                && verdict.last_known() == HealthStatus::Healthy
        };
        scene.witness.wait_behind(told, "a conflict", is_told).await?;

        scene.fleet.agent("twin")?.kill().await?;
        scene.fleet.wait_fresh(&name).await?;
        scene.end().await?;
        // Nor does the twin haunt a hub that has nothing but the stream.
        scene.fleet.hub_process().restart().await?;
        scene.fleet.wait_verified_after(&name, unix_ms()).await?;
        scene.end().await
    }));
}

async fn uid(cluster: &Cluster) -> Result<String> {
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(cluster.client().await?);
    namespaces.get("kube-system").await?.metadata.uid.context("a UID")
}

#[test]
fn a_set_of_two_streams_is_read_as_one() {
    cluster_test(Box::pin(async {
        let (east, west) = (Home::build("set-east").await?, Cluster::shared("west").await?);
        let namespace = objects::namespace(&west.client().await?, "set-west").await?;
        let subjects =
            |name: &str| format!("vitals.v1.object.{name}.>,vitals.v1.heartbeat.{name}.>");
        let streams = format!("EAST={};WEST={}", subjects("east"), subjects("west"));
        let flags = ["--objects-stream", &streams];
        let mut fleet = Fleet::start_hub(Nats::start().await?, &flags).await?;
        east.start_agent(&mut fleet, AGENT, &[]).await?;
        fleet.start_agent("west", &west, &["--lease-namespace", &namespace]).await?;
        fleet.wait_fresh("west").await?;
        let scene = Scene::begin(east, fleet).await?;
        let writer = scene.home.writer().await?;
        writer.more(30).await?;

        // Each stream holds its own cluster, and a token speaks of both.
        let context = jetstream::new(async_nats::connect(scene.fleet.nats.url()).await?);
        for stream in ["EAST", "WEST"] {
            let mut stream = context.get_stream(stream).await?;
            ensure!(stream.info().await?.state.messages > 0, "nothing is in {stream:?}");
        }
        writer.stop().await?;
        scene.fleet.wait_verified_after("west", unix_ms()).await?;
        let token = resumed::view(&scene, scene.fleet.hub()?).await?;
        scene.home.deploy(objects::deployment("later", 1)).await?;
        let later = scene.home.entity("later");
        scene.fleet.wait_entity(&later, is_healthy).await?;
        resumed::is_resumed(&scene, scene.fleet.hub()?, &token, &[later].into()).await?;

        // One of them is lost; the other is not concerned.
        context.delete_stream("WEST").await?;
        scene.fleet.wait_verified_after("west", unix_ms()).await?;
        scene.fleet.assert_true_in(&west, &[&namespace]).await?;
        scene.end().await
    }));
}

#[test]
fn garbage_in_the_stream_is_counted_and_harms_nobody() {
    cluster_test(Box::pin(async {
        let scene = Scene::start("garbage").await?;
        let writer = scene.home.writer().await?;
        writer.more(20).await?;
        let context = jetstream::new(async_nats::connect(scene.fleet.nats.url()).await?);
        let victim = key(&scene, Kind::Deployment, STEADY)?;
        for (subject, payload) in [
            (subject::object(&victim), &b"no protobuf at all"[..]),
            (subject::object(&victim), b"\x0d\x01\x00\x00\x00\xff\xff\xff\xff"),
            (subject::object(&victim), b""),
            ("vitals.v1.heartbeat.east.main".to_owned(), b"\x0d\x01\x00\x00\x00\xff"),
            ("vitals.v1.heartbeat.east.a.b.c".to_owned(), b"?"),
            ("vitals.v1.object.east".to_owned() + ".=ZZ.x", b"?"),
            ("vitals.v1.object.nobody.pods.a.b".to_owned(), b"?"),
        ] {
            context.publish(subject, payload.to_vec().into()).await?.await?;
        }
        writer.more(20).await?;
        writer.stop().await?;
        scene.end().await?;
        let known = scene.fleet.hub()?.list_clusters().await?;
        ensure!(known.len() == 1, "garbage makes clusters: {known:?}");
        let refused = refused(&scene).await?;
        ensure!(refused > 6, "only {refused} messages were counted as refused");
        // A hub that has nothing but the stream needs the agent for what garbage replaced, and gets it.
        scene.fleet.hub_process().restart().await?;
        scene.fleet.wait_verified_after(scene.cluster_name(), unix_ms()).await?;
        scene.end().await
    }));
}

#[test]
fn objects_and_names_without_end_are_held_and_what_was_cut_is_said() {
    cluster_test(Box::pin(async {
        let scene = Scene::start("huge").await?;
        let mut huge = objects::deployment("huge", 1);
        let labels: BTreeMap<String, Value> =
            (0..HUGE).map(|number| (format!("label-{number:04}"), json!("x".repeat(60)))).collect();
        huge["metadata"]["labels"] = json!(labels);
        scene.home.deploy(huge).await?;
        let sets: Api<ReplicaSet> =
            Api::namespaced(scene.home.client.clone(), &scene.home.namespace);
        let long = longest_name();
        objects::create(&sets, replica_set(&long)).await?;

        for (kind, name, is_cut) in
            [(Kind::Deployment, "huge", true), (Kind::ReplicaSet, long.as_str(), false)]
        {
            let held = held(&scene, &key(&scene, kind, name)?).await?;
            let truncated = held.facts.unwrap_or_default().truncated;
            ensure!(truncated.is_empty() != is_cut, "{name}: cut are {truncated:?}");
        }
        let entity = scene.home.entity(&long);
        scene.fleet.wait_entity(&entity, is_healthy).await?;
        scene.fleet.wait_verified_after(scene.cluster_name(), unix_ms()).await?;
        scene.end().await
    }));
}

#[test]
fn what_an_agent_may_not_see_is_unknown() {
    cluster_test(Box::pin(async {
        let home = Home::build("forbidden").await?;
        let others: Vec<Kind> = Kind::KNOWN.into_iter().filter(|kind| *kind != Kind::Pod).collect();
        let name = format!("{}-no-pods", home.namespace);
        let user = home.cluster.user(&name, &may_read(&others)).await?;
        let kubeconfig = user.kubeconfig().to_str().context("a path in UTF-8")?.to_owned();
        let mut fleet = Fleet::start_hub(Nats::start().await?, &[]).await?;
        // Without the right to a Lease there is none.
        fleet
            .start_agent(AGENT, &home.cluster, &["--kubeconfig", &kubeconfig, "--lease", "off"])
            .await?;
        fleet.wait_seen(home.cluster.name(), FreshnessState::BlindSpot).await?;
        let steady = home.entity(STEADY);
        let blind = fleet
            .wait_entity(&steady, |entity| {
                let verdict = entity.verdict.clone().unwrap_or_default();
                verdict.status() == HealthStatus::Unknown && verdict.reason == "BlindSpot"
            })
            .await?;
        let message = blind.verdict.unwrap_or_default().message;
        ensure!(message.contains("pods"), "it does not say what is not seen: {message}");

        home.cluster.set_rules(&name, &may_read(&Kind::KNOWN)).await?;
        fleet.wait_entity(&steady, is_healthy).await?;
        Scene::begin(home, fleet).await?.end().await
    }));
}

fn is_healthy(entity: &vitals_proto::v1::Entity) -> bool {
    entity.verdict.as_ref().is_some_and(|it| it.status() == HealthStatus::Healthy)
}

fn key(scene: &Scene, kind: Kind, name: &str) -> Result<ObjectKey> {
    let cluster: ClusterName = scene.cluster_name().parse()?;
    Ok(ObjectKey::new(KeyParts { cluster, kind, namespace: &scene.home.namespace, name })?)
}

async fn held(scene: &Scene, key: &ObjectKey) -> Result<HeldObjectState> {
    wait_for(&format!("the hub to hold {key}"), SOON, async || {
        let namespaces = vec![key.namespace().to_owned()];
        let filter = ObjectFilter { namespaces, ..ObjectFilter::default() };
        let held = scene.fleet.hub()?.list_objects(filter).await?;
        Ok(held.into_iter().find(|it| it.object == Some(key.to_ref())))
    })
    .await
}

/// As the hub's metrics count them, whatever the reason.
async fn refused(scene: &Scene) -> Result<u64> {
    let metrics = vitals_tests::http::get(scene.fleet.hub_http(), "/metrics").await?.body;
    let lines = metrics.lines().filter(|line| line.starts_with("vitals_hub_refused"));
    let counts = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    let counts: Vec<u64> = counts.collect();
    if counts.is_empty() {
        bail!("no such metric: {metrics}");
    }
    Ok(counts.into_iter().sum())
}

/// A name of labels of 63 characters, as long as names may be.
fn longest_name() -> String {
    let mut name = vec!["n".repeat(63); 4].join(".");
    name.truncate(LONGEST);
    name
}

/// With a selector that matches nothing of others', and no pods.
fn replica_set(name: &str) -> Value {
    let labels = json!({ "app": "longest" });
    json!({
        "metadata": { "name": name },
        "spec": {
            "replicas": 0,
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": { "containers": [{ "name": "main", "image": "registry.test/app:1" }] },
            },
        },
    })
}
