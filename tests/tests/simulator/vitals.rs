//! Vitals over the simulation: whatever pods are told to do is judged as what it is, and hub and cluster are equal.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use vitals_proto::kind::Kind;
use vitals_proto::v1::HealthStatus;
use vitals_simulator::behaviour::ANNOTATION;
use vitals_tests::fleet::Fleet;
use vitals_tests::{SimulatedCluster, Watched as _, objects, test};

/// What a pod is told, and what is said of its workload then.
const CASES: [(&str, &str, HealthStatus, &str); 8] = [
    ("well", "run", HealthStatus::Healthy, ""),
    ("crashing", "crash after=1s", HealthStatus::Degraded, "ContainerCrashLooping"),
    ("hungry", "oom after=1s", HealthStatus::Degraded, "ContainerCrashLooping"),
    ("imageless", "image-pull-error", HealthStatus::Degraded, "ImagePullFailed"),
    ("keyless", "config-error missing=secret/key", HealthStatus::Degraded, "ContainerConfigError"),
    ("homeless", "unschedulable", HealthStatus::Degraded, "Unschedulable"),
    ("slow", "never-ready", HealthStatus::Progressing, "ReplicasUnavailable"),
    ("recovered", "crash after=1s restarts=1", HealthStatus::Healthy, ""),
];

fn told(name: &str, behaviour: &str) -> Value {
    let mut deployment = objects::deployment(name, 1);
    deployment["metadata"]["namespace"] = json!("shop");
    deployment["spec"]["template"]["metadata"]["annotations"] = json!({ ANNOTATION: behaviour });
    deployment
}

#[test]
fn every_kind_that_is_watched_is_served() {
    test(async {
        let cluster = SimulatedCluster::start("kinds").await?;
        let client = cluster.client().await?;
        for kind in Kind::KNOWN {
            let version = kind.api_version().context("a version")?;
            let root = if version.contains('/') { "apis" } else { "api" };
            let path = format!("/{root}/{version}/{}", kind.plural());
            let list = client.request_text(http::Request::get(&path).body(Vec::new())?).await;
            let list: Value = serde_json::from_str(&list.with_context(|| path.clone())?)?;
            ensure!(list["kind"] == format!("{}List", kind.title()), "{path}: {list}");
        }
        Ok(())
    });
}

#[test]
fn what_pods_do_is_judged_as_what_it_is() {
    test(async {
        let cluster = SimulatedCluster::start("judged").await?;
        let simulator = cluster.simulator();
        simulator.apply(
            &json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "shop" } }),
        )?;
        for (name, behaviour, _, _) in CASES {
            simulator.apply(&told(name, behaviour))?;
        }
        let fleet = Fleet::start(&[&cluster]).await?;
        for (name, _, status, reason) in CASES {
            let is_so = |entity: &vitals_proto::v1::Entity| {
                let verdict = entity.verdict.clone().unwrap_or_default();
                (verdict.status(), verdict.reason.as_str()) == (status, reason)
            };
            fleet.wait_entity(&format!("workload:shop/{name}"), is_so).await?;
        }
        fleet.assert_true(&cluster).await?;
        for (name, _, _, _) in CASES {
            simulator.apply(&told(name, "run"))?;
        }
        for (name, _, _, _) in CASES {
            let is_well = |entity: &vitals_proto::v1::Entity| {
                let verdict = entity.verdict.clone().unwrap_or_default();
                verdict.status() == HealthStatus::Healthy
            };
            fleet.wait_entity(&format!("workload:shop/{name}"), is_well).await?;
        }
        fleet.assert_true(&cluster).await?;
        ensure!(simulator.count("apps/v1", "Deployment") == CASES.len());
        Ok(())
    });
}
