//! CPU that the agent spends on a change, beside deserialising the same JSON into full types.

use std::{hint::black_box, time::Duration};

use anyhow::{Result, ensure};
use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet},
    autoscaling::v2::HorizontalPodAutoscaler,
    batch::v1::{CronJob, Job},
    core::v1::{
        Event, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod,
        ReplicationController, ResourceQuota, Service,
    },
    discovery::v1::EndpointSlice,
    networking::v1::Ingress,
    policy::v1::PodDisruptionBudget,
};
use kube::core::WatchEvent;
use serde::de::DeserializeOwned;
use vitals_agent::project::{fit::fit, project};
use vitals_proto::{kind::Kind, limits::FACTS_BYTES_MAX};

use crate::{
    table::{Budget, Row, Table},
    wire::Samples,
};

/// Each event is read so often.
const ROUNDS: usize = 20;

/// What comes before the object in an event.
const HEADS: [&str; 2] = [r#"{"type":"ADDED","object":"#, r#"{"type":"MODIFIED","object":"#];

/// Projects and encodes `samples`, and reads them into full types.
pub(crate) fn measure(table: &mut Table, samples: &Samples) -> Result<()> {
    let changed: Vec<(&Kind, &str, &str)> = samples
        .iter()
        .filter_map(|(kind, line)| {
            let object = HEADS.iter().find_map(|head| line.strip_prefix(head))?;
            Some((kind, line.as_str(), object.trim_end().strip_suffix('}')?))
        })
        .collect();
    ensure!(!changed.is_empty(), "no events");
    let (mut full, mut ours) = (Duration::ZERO, Duration::ZERO);
    // In turns, so that what else the machine does hits both.
    for _ in 0..ROUNDS {
        let began = cpu_time();
        for (kind, line, _) in &changed {
            read_full(kind, line)?;
        }
        full += cpu_time() - began;
        let began = cpu_time();
        for (kind, _, object) in &changed {
            let mut projected = project(kind, object.as_bytes())?;
            fit(&mut projected.facts, FACTS_BYTES_MAX);
            black_box(vitals_proto::facts::encode(projected.facts));
        }
        ours += cpu_time() - began;
    }
    let each = |all: Duration| all.as_secs_f64() * 1e6 / (changed.len() * ROUNDS) as f64;
    table.add(Row {
        what: format!("agent CPU per change: project, cut, encode; {} events", changed.len()),
        baseline: format!("{:.1} µs into k8s-openapi types", each(full)),
        ours: format!("{:.1} µs", each(ours)),
        ratio: each(ours) / each(full),
        budget: Budget::Most(0.5),
    });
    Ok(())
}

fn read_full(kind: &Kind, line: &str) -> Result<()> {
    match kind {
        Kind::Namespace => read::<Namespace>(line),
        Kind::Node => read::<Node>(line),
        Kind::Deployment => read::<Deployment>(line),
        Kind::StatefulSet => read::<StatefulSet>(line),
        Kind::DaemonSet => read::<DaemonSet>(line),
        Kind::ReplicaSet => read::<ReplicaSet>(line),
        Kind::Pod => read::<Pod>(line),
        Kind::Service => read::<Service>(line),
        Kind::EndpointSlice => read::<EndpointSlice>(line),
        Kind::CronJob => read::<CronJob>(line),
        Kind::Job => read::<Job>(line),
        Kind::PersistentVolumeClaim => read::<PersistentVolumeClaim>(line),
        Kind::PersistentVolume => read::<PersistentVolume>(line),
        Kind::ResourceQuota => read::<ResourceQuota>(line),
        Kind::ReplicationController => read::<ReplicationController>(line),
        Kind::Event => read::<Event>(line),
        Kind::Ingress => read::<Ingress>(line),
        Kind::HorizontalPodAutoscaler => read::<HorizontalPodAutoscaler>(line),
        Kind::PodDisruptionBudget => read::<PodDisruptionBudget>(line),
        Kind::Other(_) => Ok(()),
    }
}

fn read<K: DeserializeOwned>(line: &str) -> Result<()> {
    let event: WatchEvent<K> = serde_json::from_str(line)?;
    black_box(event);
    Ok(())
}

/// Of this thread. From Linux: the first field of `schedstat`, in nanoseconds.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(stat.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0))
}
