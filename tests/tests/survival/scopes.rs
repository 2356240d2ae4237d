//! Several agents of one cluster: two of one scope, of which a Lease lets one publish; and one for each of two namespaces,
//! beside one for what has no namespace.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::Api;
use tokio::time::Instant;
use vitals_proto::v1::{FreshnessState, HealthStatus};
use vitals_tests::fleet::{Fleet, SOON};
use vitals_tests::{Nats, cluster_test, wait_for};

use crate::scene::{AGENT, Home, Scene, took, unix_ms};
use crate::truth::{self, BROKEN, STEADY};

const STANDBY: &str = "standby";

/// Writes before, during and after a fault.
const WRITES: u64 = 30;

#[test]
fn a_standby_takes_over_from_a_leader_that_is_killed_or_frozen() {
    cluster_test(Box::pin(async {
        let mut scene = Scene::start("standby").await?;
        let leader = holder(&scene).await?.context("nobody holds the Lease")?;
        scene.home.start_agent(&mut scene.fleet, STANDBY, &[]).await?;
        stands_by(&scene, STANDBY).await?;
        let writer = scene.home.writer().await?;
        writer.more(WRITES).await?;

        scene.fleet.agent(AGENT)?.kill().await?;
        let killed = Instant::now();
        let second = other_holder(&scene, &leader).await?;
        scene.fleet.wait_verified_after(scene.cluster_name(), unix_ms()).await?;
        took("the leader was killed; its standby has verified all", killed);
        scene.fleet.agent(AGENT)?.restart().await?;
        stands_by(&scene, AGENT).await?;
        writer.more(WRITES).await?;

        // The other way round, and the old leader does not know that it is not the leader any more.
        scene.fleet.agent(STANDBY)?.freeze().await?;
        let frozen = Instant::now();
        let third = other_holder(&scene, &second).await?;
        scene.fleet.wait_verified_after(scene.cluster_name(), unix_ms()).await?;
        took("the leader was frozen; its standby has verified all", frozen);
        writer.more(WRITES).await?;
        scene.fleet.agent(STANDBY)?.thaw().await?;
        stands_by(&scene, STANDBY).await?;
        writer.more(WRITES).await?;
        writer.stop().await?;
        scene.end().await?;
        ensure!(holder(&scene).await? == Some(third), "the thawed one took the Lease back");
        Ok(())
    }));
}

#[test]
fn each_of_two_namespaces_has_an_agent() {
    cluster_test(Box::pin(async {
        let (one, other) = (Home::build("scope-one").await?, Home::build("scope-other").await?);
        let mut fleet = Fleet::start_hub(Nats::start().await?, &[]).await?;
        for (scope, home) in [("one", &one), ("other", &other)] {
            let flags = ["--scope", scope, "--namespace", &home.namespace];
            home.start_agent(&mut fleet, scope, &flags).await?;
        }
        // What has no namespace is a scope of its own.
        let flags = ["--scope", "cluster", "--kinds", "nodes,namespaces,persistentvolumes"];
        one.start_agent(&mut fleet, "cluster", &flags).await?;
        let cluster = one.cluster.name();
        wait_for("all scopes to be heard", SOON, async || {
            let seen = fleet.cluster(cluster).await?.context("unknown")?;
            Ok((seen.scopes.len() == 3).then_some(()))
        })
        .await?;
        fleet.wait_fresh(cluster).await?;
        for home in [&one, &other] {
            for name in [STEADY, BROKEN] {
                fleet
                    .wait_entity(&home.entity(name), |entity| truth::is_true(name, entity))
                    .await?;
            }
        }
        let writers = [one.writer().await?, other.writer().await?];
        for writer in &writers {
            writer.more(WRITES).await?;
        }

        // Neither empties the other, nor hides it; the cluster says what its worst scope is.
        fleet.agent("one")?.kill().await?;
        let seen = fleet.wait_seen(cluster, FreshnessState::AgentLost).await?;
        let fresh = seen.scopes.iter().filter(|scope| {
            scope.freshness.as_ref().is_some_and(|it| it.state() == FreshnessState::Fresh)
        });
        ensure!(fresh.map(|scope| &scope.scope).eq(["cluster", "other"]), "{:?}", seen.scopes);
        let steady = fleet.entity(&one.entity(STEADY)).await?.context("it vanished")?;
        let verdict = steady.verdict.unwrap_or_default();
        ensure!(verdict.status() == HealthStatus::Unknown, "{verdict:?}");
        ensure!(verdict.last_known() == HealthStatus::Healthy, "{verdict:?}");
        fleet.agent("one")?.restart().await?;
        fleet.wait_verified_after(cluster, unix_ms()).await?;
        for writer in writers {
            writer.more(WRITES).await?;
            writer.stop().await?;
        }
        let namespaces = [one.namespace.as_str(), other.namespace.as_str()];
        fleet.assert_true_in(&one.cluster, &namespaces).await?;
        repairs_end(&fleet, cluster).await
    }));
}

/// Nothing is left to repair: no scope finds anything of another's wrong, for three heartbeats of each.
async fn repairs_end(fleet: &Fleet, cluster: &str) -> Result<()> {
    let state = async || {
        let seen = fleet.cluster(cluster).await?.context("unknown")?;
        let repairs: u64 = seen.scopes.iter().map(|scope| scope.repairs).sum();
        let at = seen.scopes.iter().map(|scope| scope.last_heartbeat_at.map_or(0, |at| at.seconds));
        anyhow::Ok((repairs, at.min().unwrap_or_default()))
    };
    // Heartbeats come every 5 s.
    const THREE_HEARTBEATS: i64 = 16;
    let (mut repairs, mut since) = state().await?;
    wait_for("repairs to end", SOON, async || {
        let (now, at) = state().await?;
        if now != repairs {
            (repairs, since) = (now, at);
        }
        ensure!(at - since >= THREE_HEARTBEATS, "{repairs} repairs, the last at {since} of {at}");
        Ok(Some(()))
    })
    .await
}

async fn holder(scene: &Scene) -> Result<Option<String>> {
    let leases: Api<Lease> = Api::namespaced(scene.home.client.clone(), &scene.home.namespace);
    let lease = leases.get_opt("vitals-agent-main").await?;
    Ok(lease.and_then(|lease| lease.spec?.holder_identity))
}

async fn other_holder(scene: &Scene, than: &str) -> Result<String> {
    wait_for("another agent to take the Lease", SOON, async || {
        Ok(holder(scene).await?.filter(|holder| holder != than && !holder.is_empty()))
    })
    .await
}

/// It says so itself, later than before.
async fn stands_by(scene: &Scene, agent: &str) -> Result<()> {
    let process = scene.fleet.agent(agent)?;
    wait_for(&format!("{agent} to stand by"), SOON, async || {
        let log = process.stderr();
        let (begun, standing_by) = (log.rfind("epoch begun"), log.rfind("standing by"));
        Ok((standing_by > begun).then_some(()))
    })
    .await
}
