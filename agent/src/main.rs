//! `vitals-agent`: watches clusters until it is asked to stop.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use clap::Parser as _;
use prometheus_client::registry::Registry;
use vitals_agent::{
    args::Args,
    metrics::Families,
    run::{self, AgentHandle},
};
use vitals_runtime::{
    http::{Endpoints, Readiness, Server},
    logging,
    tasks::{Supervisor, stop_signal},
};

/// How long ending may take: what is in flight, the Lease, the connection.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

// One thread is enough for thousands of changes a second, and needs least memory and no waking of others.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    logging::init(&args.log)?;
    let configs = args.agents().await?;
    let supervisor = Supervisor::new();
    let tasks = supervisor.tasks();
    let mut registry = Registry::default();
    let (mut agents, families) = (Vec::new(), Families::default());
    families.register(&mut registry);
    for config in configs {
        let cluster = config.cluster.clone();
        let agent = run::start_beside(config, &tasks, &families).await;
        agents.push(agent.with_context(|| format!("cannot start the agent of {cluster}"))?);
    }
    let server = Server::listen(args.listen).await?;
    tracing::info!(address = %server.address(), agents = agents.len(), "metrics and health");
    let endpoints =
        Endpoints { registry: Arc::new(registry), readiness: Arc::new(move || readiness(&agents)) };
    tasks.spawn("metrics and health", server.serve(endpoints, tasks.stopping()));
    let stop = async {
        if let Err(error) = stop_signal().await {
            tracing::error!(%error, "cannot wait for signals");
        }
    };
    supervisor.run(stop, SHUTDOWN_TIMEOUT).await?;
    Ok(())
}

/// Ready when all are; else the reasons of all that are not.
fn readiness(agents: &[AgentHandle]) -> Readiness {
    let reasons = agents.iter().filter_map(|agent| match agent.readiness() {
        Readiness::Ready => None,
        Readiness::NotReady(reason) => Some(reason),
    });
    let reasons: Vec<String> = reasons.collect();
    if reasons.is_empty() { Readiness::Ready } else { Readiness::NotReady(reasons.join("; ")) }
}
