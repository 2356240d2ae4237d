//! Resident memory of an agent that watches many more pods than a real API server of this machine holds: a simulated one.
//!
//! The simulation is in this process; hub, agent and nats-server are real, and the agent begins when all pods are there, as it
//! does after a restart.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use tokio::time::Instant;
use vitals_runtime::clock::SystemClock;
use vitals_simulator::{Clock, Options};
use vitals_tests::{Nats, Process, SimulatedCluster, fleet::Fleet, wait_for};

use crate::{
    landscape::PODS_EACH,
    memory,
    table::{Budget, Row, Table},
};

const NAME: &str = "crowd";

/// Of DESIGN.md, section 6, for 100,000 pods. MB.
const BUDGET_MB: f64 = 40.0;

/// Nodes of the simulation.
const NODES: usize = 250;

/// A hundred thousand pods are there within two minutes on an idle machine of two cores.
const GROWN_WITHIN: Duration = Duration::from_secs(20 * 60);

/// How long the agent goes on before the last look.
const SETTLED: Duration = Duration::from_secs(60);

/// How many pods there are while it runs, and what the agent takes.
pub(crate) async fn measure(table: &mut Table, pods: usize) -> Result<()> {
    let options = Options { nodes: NODES, normal_events: false, ..Options::default() };
    let crowd = SimulatedCluster::start_with(NAME, options, Clock::system()).await?;
    let begun = Instant::now();
    for number in 0..pods / PODS_EACH {
        crowd.simulator().apply(&application(number))?;
    }
    wait_for("the pods to run", GROWN_WITHIN, async || {
        Ok((crowd.simulator().ready_pods() >= pods).then_some(()))
    })
    .await?;
    eprintln!("{pods} simulated pods ready after {:?}", begun.elapsed());

    let mut fleet = Fleet::start_hub(Nats::start().await?, &[]).await?;
    fleet.start_agent(NAME, &crowd, &[]).await?;
    fleet.wait_fresh(NAME).await?;
    let agent = fleet.agent(NAME)?;
    add(table, pods, "verified after its start", agent)?;
    tokio::time::sleep(SETTLED).await;
    fleet.wait_verified_after(NAME, SystemClock.unix_ms()).await?;
    ensure!(agent.is_running(), "the agent ended");
    add(table, pods, "a minute later", agent)
}

fn add(table: &mut Table, pods: usize, when: &str, agent: &Process) -> Result<()> {
    let memory = memory::of(agent)?;
    table.add(Row {
        what: format!("agent memory, {pods} simulated pods, {when}"),
        baseline: "—".to_owned(),
        ours: memory.to_string(),
        ratio: memory.resident,
        budget: Budget::Most(BUDGET_MB),
    });
    Ok(())
}

fn application(number: usize) -> serde_json::Value {
    let name = format!("app-{number}");
    let labels = json!({ "app.kubernetes.io/name": name });
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": name, "namespace": "default", "labels": labels },
        "spec": {
            "replicas": PODS_EACH,
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": { "containers": [{ "name": "main", "image": "registry.test/app:1" }] },
            },
        },
    })
}
