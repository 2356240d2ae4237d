//! The agent as a process, between a real API server and a real nats-server: what it publishes is the cluster, whatever
//! breaks meanwhile, and what it cannot publish it names.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is a failed test"
)]

mod mirror;

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use async_nats::jetstream::stream::Config;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::json;
use vitals_hub::streams::Streams;
use vitals_proto::identity::Epoch;
use vitals_proto::kind::Kind;
use vitals_proto::v1;
use vitals_tests::cluster::{Cluster, Component, may_read};
use vitals_tests::objects::{self, Many};
use vitals_tests::port::Port;
use vitals_tests::{Binary, Folder, Nats, Process, cluster_test, http, wait_for};

use mirror::{Mirror, SOON, stream_args};

/// An agent's process, and its port for health.
struct Agent {
    process: Process,
    port: Port,
    _folder: Folder,
}

impl Agent {
    async fn start(nats_url: &str, kubeconfig: &Path, flags: &[&str]) -> Result<Self> {
        let (folder, port) = (Folder::new("agent")?, Port::claim()?);
        let program = Binary::VitalsAgent
            .program()?
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(["--nats", nats_url, "--cluster-name", "eu"])
            .args(["--listen", &port.address().to_string()])
            .args(flags);
        let process = program.start(folder.path()).await?;
        Ok(Self { process, port, _folder: folder })
    }

    async fn wait_ready(&self) -> Result<()> {
        let ready = wait_for("the agent to be ready", SOON, async || {
            let answer = http::get(self.port.address(), "/readyz").await?;
            ensure!(answer.status == 200, "{}", answer.body);
            Ok(Some(()))
        });
        self.process.while_running(ready).await
    }
}

/// NATS with its streams, and an agent that needs no Lease.
async fn watched(cluster: &Cluster) -> Result<(Nats, Mirror, Agent)> {
    let nats = Nats::start().await?;
    let mirror = Mirror::new(&nats, cluster.client().await?, "eu").await?;
    mirror.make_streams().await?;
    let agent = Agent::start(&nats.url(), &cluster.kubeconfig(), &["--lease", "off"]).await?;
    Ok((nats, mirror, agent))
}

async fn scale(client: &Client, namespace: &str, replicas: usize) -> Result<()> {
    let api: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let patch = Patch::Merge(json!({ "spec": { "replicas": replicas } }));
    api.patch("app-0", &PatchParams::default(), &patch).await?;
    Ok(())
}

async fn pods_are(client: &Client, namespace: &str, count: usize) -> Result<()> {
    wait_for(&format!("{count} pods"), SOON, async || {
        let pods = objects::pods(client, namespace, "app=app-0").await?;
        Ok((pods.len() == count).then_some(()))
    })
    .await
}

#[test]
fn the_stream_is_the_cluster() {
    cluster_test(async {
        let cluster = Cluster::shared("agent").await?;
        let client = cluster.client().await?;
        let (_nats, mirror, agent) = watched(&cluster).await?;
        let namespace = objects::namespace(&client, "shop").await?;
        objects::create_deployments(&client, &namespace, Many { deployments: 3, pods_each: 3 })
            .await?;
        let services: Api<Service> = Api::namespaced(client.clone(), &namespace);
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": "web" },
            "spec": { "selector": { "app": "app-0" }, "ports": [{ "port": 80 }] },
        });
        objects::create(&services, service).await?;
        // The longest name that there is, with the characters that NATS gives a meaning.
        let long = format!("{}.x", "a".repeat(251));
        let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": long },
            "spec": { "containers": [{ "name": "main", "image": "registry.test/app:1" }] },
        });
        objects::create(&pods, pod).await?;
        objects::wait_available(&client, &namespace, "app-0", SOON).await?;
        let snapshot = mirror.wait_true().await?;
        agent.wait_ready().await?;
        let subject = format!("vitals.v1.object.eu.pods.{namespace}.{}_x", "a".repeat(251));
        ensure!(snapshot.changes.contains_key(&subject), "{subject}");
        let heartbeat = snapshot.heartbeat.context("a heartbeat")?;
        ensure!(!heartbeat.provisional && !heartbeat.cluster_uid.is_empty(), "{heartbeat:?}");
        let api_server = heartbeat.api_server.context("a report")?;
        ensure!(api_server.reachable && api_server.version.starts_with("v1."), "{api_server:?}");
        ensure!(heartbeat.clock_offset_ms.is_some_and(|offset| offset.abs() < 5_000));

        pods.delete(&long, &DeleteParams::default().grace_period(0)).await?;
        scale(&client, &namespace, 5).await?;
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), &namespace);
        deployments.delete("app-1", &DeleteParams::default()).await?;
        objects::wait_available(&client, &namespace, "app-0", SOON).await?;
        let snapshot = mirror.wait_true().await?;
        let gone = &snapshot.changes[&subject].0;
        ensure!(matches!(gone.state, Some(v1::object_change::State::Tombstone(_))), "{gone:?}");

        let metrics = http::get(agent.port.address(), "/metrics").await?.body;
        for metric in [
            "vitals_agent_published_messages_total{cluster=\"eu\",scope=\"main\",content=\"Facts\"}",
            "vitals_agent_kind_complete{cluster=\"eu\",scope=\"main\",kind=\"pods\"} 1",
        ] {
            ensure!(metrics.contains(metric), "{metric} is not in\n{metrics}");
        }
        agent.process.terminate(SOON).await?;
        Ok(())
    });
}

#[test]
fn kills_during_changes_leave_no_difference() {
    cluster_test(async {
        let cluster = Cluster::shared("agent").await?;
        let client = cluster.client().await?;
        let (nats, mirror, agent) = watched(&cluster).await?;
        let namespace = objects::namespace(&client, "kill").await?;
        objects::create_deployments(&client, &namespace, Many { deployments: 2, pods_each: 5 })
            .await?;
        for (round, replicas) in (0..4).zip([9, 2, 7, 3]) {
            scale(&client, &namespace, replicas).await?;
            if round % 2 == 0 {
                nats.process().kill().await?;
                scale(&client, &namespace, replicas + 1).await?;
                nats.restart().await?;
            } else {
                agent.process.restart().await?;
            }
        }
        mirror.wait_repaired().await?;
        Ok(())
    });
}

#[test]
fn a_stream_that_lost_everything_is_repaired() {
    cluster_test(async {
        let cluster = Cluster::shared("agent").await?;
        let (_nats, mirror, _agent) = watched(&cluster).await?;
        mirror.wait_true().await?;
        mirror.context.delete_stream("VITALS_OBJECTS").await?;
        mirror.make_streams().await?;
        mirror.wait_heartbeat("a heartbeat on the new stream", |_| true).await?;
        wait_for("the repair", SOON, async || {
            mirror.repair().await?;
            mirror.snapshot().await.map(|snapshot| (!snapshot.changes.is_empty()).then_some(()))
        })
        .await?;
        wait_for("the rest of the repair", SOON, async || {
            Ok((mirror.repair().await? == 0).then_some(()))
        })
        .await?;
        mirror.wait_true().await?;
        Ok(())
    });
}

#[test]
fn a_forbidden_kind_is_named_and_comes_back() {
    cluster_test(async {
        let cluster = Cluster::shared("agent").await?;
        let nats = Nats::start().await?;
        let mirror = Mirror::new(&nats, cluster.client().await?, "eu").await?;
        mirror.make_streams().await?;
        let others: Vec<Kind> = Kind::KNOWN.into_iter().filter(|kind| *kind != Kind::Pod).collect();
        let user = cluster.user("agent-without-pods", &may_read(&others)).await?;
        let _agent = Agent::start(&nats.url(), user.kubeconfig(), &["--lease", "off"]).await?;
        let pods = |heartbeat: &v1::Heartbeat, state| {
            heartbeat.kinds.iter().any(|report| report.kind == "pods" && report.state() == state)
        };
        mirror.wait_true_of(&others).await?;
        mirror
            .wait_heartbeat("pods to be forbidden", |heartbeat| {
                pods(heartbeat, v1::KindState::Forbidden)
            })
            .await?;
        cluster.set_rules("agent-without-pods", &may_read(&Kind::KNOWN)).await?;
        mirror.wait_true().await?;
        Ok(())
    });
}

#[test]
fn what_the_server_does_not_let_it_publish_is_named() {
    cluster_test(async {
        let cluster = Cluster::shared("agent").await?;
        let users = r#"authorization { users: [
            { user: hub, password: hub }
            { user: agent, password: agent, permissions: {
                publish: { allow: ["vitals.v1.heartbeat.eu.>", "vitals.v1.object.eu.nodes.>"] }
                subscribe: { allow: ["_INBOX_eu.>", "vitals.v1.request.eu.>"] } } }
        ] }"#;
        let nats = Nats::start_with(users).await?;
        let of_user = |user: &str| nats.url().replace("nats://", &format!("nats://{user}:{user}@"));
        let options =
            async_nats::ConnectOptions::with_user_and_password("hub".into(), "hub".into());
        let connection = options.connect(nats.url()).await?;
        let context = async_nats::jetstream::new(connection);
        Streams::new(&stream_args()).ensure(&context).await?;
        let flags = ["--lease", "off", "--kinds", "nodes,namespaces"];
        let agent = Agent::start(&of_user("agent"), &cluster.kubeconfig(), &flags).await?;
        let stream = context.get_stream("VITALS_OBJECTS").await?;
        let refusal = wait_for("a refusal", SOON, async || {
            let message =
                stream.get_last_raw_message_by_subject("vitals.v1.heartbeat.eu.main").await?;
            let heartbeat = <v1::Heartbeat as prost::Message>::decode(message.payload)?;
            Ok(heartbeat.refused.into_iter().next())
        })
        .await?;
        ensure!(
            refusal.reason() == v1::RefusalReason::Permission && refusal.count >= 4,
            "{refusal:?}"
        );
        ensure!(refusal.example.starts_with("vitals.v1.object.eu.namespaces.="), "{refusal:?}");
        ensure!(agent.process.is_running());
        Ok(())
    });
}

#[test]
fn a_full_stream_is_named() {
    cluster_test(async {
        let cluster = Cluster::shared("agent").await?;
        let nats = Nats::start().await?;
        let mirror = Mirror::new(&nats, cluster.client().await?, "eu").await?;
        let config = Streams::new(&stream_args()).objects.into_iter().next().context("a stream")?;
        mirror.context.create_stream(Config { max_bytes: 50_000, ..config }).await?;
        let client = cluster.client().await?;
        let namespace = objects::namespace(&client, "full").await?;
        // Large ones, so that what is left when they do not fit is enough for heartbeats to grow: the server refuses also an
        // update that is larger than what it replaces and what is left.
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), &namespace);
        for number in 0..10 {
            let mut deployment = objects::deployment(&format!("app-{number}"), 0);
            let image = format!("registry.test/{}:1", "a".repeat(6_000));
            deployment["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
            objects::create(&deployments, deployment).await?;
        }
        let _agent = Agent::start(&nats.url(), &cluster.kubeconfig(), &["--lease", "off"]).await?;
        let full = |heartbeat: &v1::Heartbeat| {
            heartbeat
                .refused
                .iter()
                .any(|refusal| refusal.reason() == v1::RefusalReason::StreamFull)
        };
        mirror.wait_heartbeat("the stream to be full", full).await?;
        Ok(())
    });
}

#[test]
fn an_agent_that_restarts_while_its_api_server_is_down_empties_nothing() {
    cluster_test(async {
        let cluster = Box::pin(Cluster::start("down")).await?;
        let (_nats, mirror, agent) = watched(&cluster).await?;
        let before = mirror.wait_true().await?;
        agent.process.kill().await?;
        cluster.component(Component::ApiServer)?.kill().await?;
        agent.process.restart().await?;
        let unreachable = |heartbeat: &v1::Heartbeat| {
            heartbeat.provisional
                && heartbeat.api_server.as_ref().is_some_and(|server| !server.reachable)
        };
        mirror.wait_heartbeat("the API server to be unreachable", unreachable).await?;
        let meanwhile = mirror.snapshot().await?;
        ensure!(meanwhile.changes == before.changes, "objects were touched");
        wait_for("the agent to say why it is not ready", SOON, async || {
            let answer = http::get(agent.port.address(), "/readyz").await?;
            let said = answer.status == 503 && answer.body.contains("cannot identify the cluster");
            ensure!(said, "{answer:?}");
            Ok(Some(()))
        })
        .await?;
        cluster.restart(Component::ApiServer).await?;
        let after = mirror.wait_true().await?;
        ensure!(!after.heartbeat.context("a heartbeat")?.provisional);
        Ok(())
    });
}

#[test]
fn another_takes_over_from_a_holder_that_is_killed_or_frozen() {
    cluster_test(async {
        let cluster = Cluster::shared("agent").await?;
        let client = cluster.client().await?;
        let nats = Nats::start().await?;
        let mirror = Mirror::new(&nats, client.clone(), "eu").await?;
        mirror.make_streams().await?;
        let namespace = objects::namespace(&client, "lease").await?;
        objects::create_deployments(&client, &namespace, Many { deployments: 1, pods_each: 2 })
            .await?;
        let flags = ["--lease-namespace", &namespace];
        let start = async || Agent::start(&nats.url(), &cluster.kubeconfig(), &flags).await;
        let epoch_of = |heartbeat: &v1::Heartbeat| heartbeat.epoch.map(Epoch::from);
        let first = start().await?;
        let beginning = epoch_of(&mirror.wait_true().await?.heartbeat.context("a heartbeat")?);
        let second = start().await?;
        second.wait_ready().await?;

        first.process.kill().await?;
        let taken =
            |after: Option<Epoch>| move |beat: &v1::Heartbeat| beat.epoch.map(Epoch::from) > after;
        let heartbeat = mirror.wait_heartbeat("the second to take over", taken(beginning)).await?;
        mirror.wait_repaired().await?;

        let third = start().await?;
        third.wait_ready().await?;
        second.process.freeze().await?;
        scale(&client, &namespace, 4).await?;
        let after = epoch_of(&heartbeat);
        let heartbeat = mirror.wait_heartbeat("the third to take over", taken(after)).await?;
        // What goes before the third has listed it is buried only when a hub asks for it; so for what other tests delete.
        mirror.wait_repaired().await?;
        second.process.thaw().await?;
        scale(&client, &namespace, 1).await?;
        second.wait_ready().await?;
        pods_are(&client, &namespace, 1).await?;
        let snapshot = mirror.wait_repaired().await?;
        let last = snapshot.heartbeat.as_ref().and_then(epoch_of);
        ensure!(last >= epoch_of(&heartbeat), "the thawed one is silent");
        let objects = snapshot.facts().len();
        let of_last =
            snapshot.changes.values().filter(|(change, _)| change.epoch.map(Epoch::from) == last);
        ensure!(of_last.count() >= objects, "everything is of the holder's epoch");

        third.process.terminate(SOON).await?;
        let given_back =
            mirror.wait_heartbeat("the second to take what was given back", taken(last)).await?;
        ensure!(epoch_of(&given_back) > last);
        mirror.wait_repaired().await?;
        Ok(())
    });
}
