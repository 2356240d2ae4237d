//! How many pods fit: starts a hundred thousand, or as many as are asked for, and says how long that took and what it costs.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};
use vitals_runtime::tasks::Supervisor;
use vitals_simulator::{Clock, Options, Simulator};

/// Of each Deployment.
const PODS_EACH: usize = 10;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pods: usize = std::env::args().nth(1).map_or(Ok(100_000), |it| it.parse())?;
    let supervisor = Supervisor::new();
    let tasks = supervisor.tasks();
    let options = Options { nodes: 250, normal_events: false, ..Options::default() };
    let simulator = Simulator::start(options, Clock::system(), &tasks).await?;
    let begin = Instant::now();
    for number in 0..pods / PODS_EACH {
        let name = format!("app-{number}");
        let labels = json!({ "app": name });
        simulator.apply(&json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": { "name": name, "namespace": "default", "labels": labels },
            "spec": {
                "replicas": PODS_EACH, "selector": { "matchLabels": labels },
                "template": {
                    "metadata": { "labels": labels },
                    "spec": { "containers": [{ "name": "main", "image": "registry.test/app:1" }] },
                },
            },
        }))?;
    }
    while simulator.ready_pods() < pods {
        sleep(Duration::from_millis(500)).await;
    }
    let seconds = begin.elapsed().as_secs_f32();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let memory = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
    println!("{pods} pods run after {seconds:.1} s; {memory}");
    Ok(())
}
