//! The simulation at size, over HTTP.

use std::time::Duration;

use anyhow::{Result, ensure};
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use vitals_simulator::{Clock, Named, Options};
use vitals_tests::objects::{self, Many};
use vitals_tests::{SimulatedCluster, Watched as _, test, wait_for};

use crate::SOON;

/// Enough that a list has many pages and a watch many events; a hundred times fewer than the simulation can hold.
const MANY: Many = Many { deployments: 50, pods_each: 20 };

#[test]
fn thousands_of_pods_run_and_are_listed() {
    test(async {
        let options = Options { nodes: 20, normal_events: false, ..Options::default() };
        let cluster = SimulatedCluster::start_with("many", options, Clock::system()).await?;
        let client = cluster.client().await?;
        objects::create_deployments(&client, "default", MANY).await?;
        let pods: Api<Pod> = Api::all(client.clone());
        wait_for("all pods to run", SOON, async || {
            let running = ListParams::default().fields("status.phase=Running");
            let count = pods.list(&running).await?.items.len();
            ensure!(count == MANY.deployments * MANY.pods_each, "{count} run");
            Ok(Some(()))
        })
        .await?;
        let page = pods.list(&ListParams::default().limit(10)).await?;
        ensure!(page.metadata.remaining_item_count == Some(990), "{:?}", page.metadata);
        Ok(())
    });
}

#[test]
fn the_clock_is_moved_by_hand() {
    test(async {
        let start = "2026-01-01T00:00:00Z".parse()?;
        let clock = Clock::manual(start);
        let cluster = SimulatedCluster::start_with("manual", Options::default(), clock).await?;
        let client = cluster.client().await?;
        let simulator = cluster.simulator();
        objects::create_deployments(&client, "default", Many { deployments: 1, pods_each: 2 })
            .await?;
        let named = Named {
            api_version: "apps/v1",
            kind: "Deployment",
            namespace: "default",
            name: "app-0",
        };
        let available = || -> Result<Option<i64>> {
            let deployment = simulator.get(named).unwrap_or_default();
            Ok(deployment["status"]["availableReplicas"].as_i64())
        };
        ensure!(available()?.is_none(), "nothing starts while time stands still");
        simulator.advance(Duration::from_secs(5));
        ensure!(available()? == Some(2), "{:?}", available()?);
        ensure!(simulator.clock().now().duration_since(start) == SignedDuration::from_secs(5));
        Ok(())
    });
}
