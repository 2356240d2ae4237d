//! The demo of `vitals up`: two simulated clusters in which the services of a shop ([`services`]) roll out, break and recover, on
//! a loop ([`script`]).
//!
//! Agents, NATS, hub and command line are the real ones; only the API servers, and all that they say, are simulated. Nothing of
//! the demo is reachable from another machine, and nothing of it is kept.

mod services;
mod script;

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use vitals_agent::kubernetes::Cluster;
use vitals_runtime::tasks::Tasks;
use vitals_simulator::{Clock, Options, Simulator};

use crate::Error;
use crate::contexts::Chosen;
use script::{Change, Region, Step};
use services::{SERVICES, SYSTEMS};

/// Said above the table, and at the start.
pub const NOTICE: &str =
    "DEMO: two simulated clusters, of this process alone; no real cluster is watched";

/// In the folder: how kubectl reaches both clusters.
pub const KUBECONFIG: &str = "kubeconfig.yaml";

/// Of each cluster.
const NODES: usize = 3;

/// A demo that runs.
pub struct Demo {
    /// Its clusters, to be watched as real ones are.
    pub chosen: Vec<Chosen>,
    /// Definitions of its services, as a catalog has them.
    pub definitions: PathBuf,
}

/// Starts both clusters with all services, and the script.
///
/// # Errors
/// When there is no port, or the definitions cannot be written.
pub async fn start(folder: &Path, tasks: &Tasks) -> Result<Demo, Error> {
    let definitions = folder.join("catalog-info.yaml");
    let written = std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&definitions, services::definitions()));
    written.map_err(|error| failed(error.into()))?;
    let (mut chosen, mut urls) = (Vec::new(), Vec::new());
    for region in Region::ALL {
        let simulator = cluster(region, tasks).await?;
        urls.push((region.cluster(), simulator.url()));
        chosen.push(choose(region, &simulator)?);
        let stopping = tasks.stopping();
        tasks.spawn(format!("script of {}", region.cluster()), async move {
            play(region, simulator, stopping).await;
            Ok::<_, Infallible>(())
        });
    }
    std::fs::write(folder.join(KUBECONFIG), kubeconfig(&urls))
        .map_err(|error| failed(error.into()))?;
    Ok(Demo { chosen, definitions })
}

/// With a context for each cluster. JSON, which is YAML.
fn kubeconfig(urls: &[(&str, String)]) -> String {
    let named = |what: &str, value: &dyn Fn(&str, &str) -> Value| -> Vec<Value> {
        urls.iter().map(|(name, url)| json!({ "name": name, what: value(name, url) })).collect()
    };
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": urls.first().map(|(name, _)| name),
        "clusters": named("cluster", &|_, url| json!({ "server": url })),
        "users": named("user", &|_, _| json!({})),
        "contexts": named("context", &|name, _| json!({ "cluster": name, "user": name })),
    });
    format!("{config:#}")
}

async fn cluster(region: Region, tasks: &Tasks) -> Result<Simulator, Error> {
    let options = Options {
        seed: region.seed(),
        nodes: NODES,
        start_delay: Duration::from_millis(1_500),
        stop_delay: Duration::from_secs(1),
        crash_backoff: Duration::from_secs(5),
        ..Options::default()
    };
    let started = Simulator::start(options, Clock::system(), tasks).await;
    let simulator = started.map_err(|error| failed(error.into()))?;
    for system in SYSTEMS {
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": system.name },
        });
        simulator.apply(&namespace).map_err(|refusal| failed(refusal.into()))?;
    }
    for object in SERVICES.iter().flat_map(services::objects) {
        simulator.apply(&object).map_err(|refusal| failed(refusal.into()))?;
    }
    Ok(simulator)
}

fn choose(region: Region, simulator: &Simulator) -> Result<Chosen, Error> {
    let name = region.cluster();
    let url = simulator.url().parse::<http::Uri>().map_err(|error| failed(error.into()))?;
    let config = kube::Config::new(url);
    let cluster = Cluster::from_config(config, name.to_owned());
    Ok(Chosen {
        name: name.parse().map_err(|error: vitals_proto::identity::Error| failed(error.into()))?,
        context: name.to_owned(),
        cluster: cluster.map_err(|error| failed(error.into()))?,
        answer: Ok(vitals_simulator::VERSION.to_owned()),
    })
}

/// Plays the script again and again.
async fn play(region: Region, simulator: Simulator, stopping: CancellationToken) {
    let begin = Instant::now();
    for round in 0_u32.. {
        let round_begin = begin + script::LENGTH.saturating_mul(round);
        for step in script::STEPS.iter().filter(|step| step.regions.contains(&region)) {
            tokio::select! {
                () = stopping.cancelled() => return,
                () = sleep_until(round_begin + step.at()) => {}
            }
            perform(&simulator, step, round);
        }
    }
}

/// A step that does not work out is passed over: the next round begins anew.
fn perform(simulator: &Simulator, step: &Step, round: u32) {
    let Some(service) = SERVICES.iter().find(|it| it.name == step.service) else { return };
    let patch = match step.change {
        Change::Release { minor, told } => {
            let version = format!("1.{}", round.saturating_mul(10).saturating_add(minor));
            json!({ "spec": { "template": services::template(service, &version, told) } })
        }
        Change::Scale(replicas) => json!({ "spec": { "replicas": replicas } }),
    };
    if let Err(refusal) = simulator.merge(service.named(), &patch) {
        tracing::warn!(service = service.name, %refusal, "a step of the demo is passed over");
    }
}

fn failed(source: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::Start { what: "the demo".to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_is_of_a_service_and_all_is_well_in_the_end() {
        for region in Region::ALL {
            let mut broken = std::collections::BTreeSet::new();
            let mut last = Duration::ZERO;
            for step in script::STEPS.iter().filter(|step| step.regions.contains(&region)) {
                assert!(SERVICES.iter().any(|it| it.name == step.service), "{step:?}");
                assert!(last <= step.at() && step.at() < script::LENGTH, "{step:?}");
                last = step.at();
                if let Change::Release { told, .. } = step.change {
                    broken.remove(step.service);
                    if !told.starts_with("run") {
                        broken.insert(step.service);
                    }
                }
            }
            assert!(broken.is_empty(), "{broken:?} stay broken in {region:?}");
        }
        for word in
            ["crash", "oom", "image-pull-error", "config-error", "unschedulable", "never-ready"]
        {
            let tells = |step: &Step| matches!(step.change, Change::Release { told, .. } if told.starts_with(word));
            assert!(script::STEPS.iter().any(tells), "{word} is not shown");
        }
    }

    #[test]
    fn every_service_has_an_owner_and_a_system() {
        let text = services::definitions();
        for service in SERVICES {
            assert!(text.contains(&format!("name: {}\n", service.name)), "{}", service.name);
            assert!(SYSTEMS.iter().any(|it| it.name == service.system), "{}", service.name);
            assert!(!services::objects(&service).is_empty());
        }
        assert!(SERVICES.len() >= 12);
    }
}
