//! `kill -9`, each during changes.

use anyhow::Result;
use tokio::time::Instant;
use vitals_tests::{Process, cluster_test};

use crate::scene::{AGENT, Scene, took, unix_ms};

/// Writes before, during and after a fault.
const WRITES: u64 = 50;

#[test]
fn an_agent_is_killed() {
    cluster_test(Box::pin(async {
        let scene = Scene::start("agent-killed").await?;
        killed_twice(&scene, scene.fleet.agent(AGENT)?).await
    }));
}

#[test]
fn a_hub_is_killed() {
    cluster_test(Box::pin(async {
        let scene = Scene::start("hub-killed").await?;
        killed_twice(&scene, scene.fleet.hub_process()).await
    }));
}

#[test]
fn a_nats_server_is_killed() {
    cluster_test(Box::pin(async {
        let scene = Scene::start("nats-killed").await?;
        killed_twice(&scene, scene.fleet.nats.process()).await
    }));
}

#[test]
fn all_three_are_killed_at_once() {
    cluster_test(Box::pin(async {
        let scene = Scene::start("all-killed").await?;
        let writer = scene.home.writer().await?;
        writer.more(WRITES).await?;
        let all =
            [scene.fleet.nats.process(), scene.fleet.hub_process(), scene.fleet.agent(AGENT)?];
        for process in all {
            process.kill().await?;
        }
        writer.more(WRITES).await?;
        // The first that is needed comes last: each waits for the others.
        for process in all.into_iter().rev() {
            process.restart().await?;
        }
        let back = Instant::now();
        scene.fleet.wait_verified_after(scene.cluster_name(), unix_ms()).await?;
        took("all were killed; verified again after their start", back);
        writer.more(WRITES).await?;
        writer.stop().await?;
        scene.end().await
    }));
}

/// Once for a while, and once only for as long as it takes to start it again.
async fn killed_twice(scene: &Scene, process: &Process) -> Result<()> {
    let writer = scene.home.writer().await?;
    for writes_meanwhile in [WRITES, 0] {
        writer.more(WRITES).await?;
        process.kill().await?;
        writer.more(writes_meanwhile).await?;
        process.restart().await?;
        let back = Instant::now();
        scene.fleet.wait_verified_after(scene.cluster_name(), unix_ms()).await?;
        took(&format!("{} was killed; verified again after its start", process.name()), back);
    }
    writer.more(WRITES).await?;
    writer.stop().await?;
    scene.end().await
}
