//! Faults by command: each is seen by the agent as what it is, and when it is taken back hub and cluster are equal again.

use std::time::Duration;

use anyhow::{Result, ensure};
use jiff::SignedDuration;
use kube::Client;
use serde_json::json;
use vitals_proto::v1::FreshnessState;
use vitals_simulator::{Fault, Faults, Matching, Named, Verb};
use vitals_tests::fleet::Fleet;
use vitals_tests::objects::{self, Many};
use vitals_tests::{SimulatedCluster, Watched as _, test};

use crate::SOON;

struct Scene {
    cluster: SimulatedCluster,
    client: Client,
    fleet: Fleet,
}

impl Scene {
    async fn start(name: &str) -> Result<Self> {
        let cluster = SimulatedCluster::start(name).await?;
        let client = cluster.client().await?;
        objects::create_deployments(&client, "default", Many { deployments: 4, pods_each: 3 })
            .await?;
        objects::wait_available(&client, "default", "app-3", SOON).await?;
        let fleet = Fleet::start(&[&cluster]).await?;
        fleet.assert_true(&cluster).await?;
        Ok(Self { cluster, client, fleet })
    }

    fn faults(&self) -> &Faults {
        self.cluster.simulator().faults()
    }

    /// Something changes, and watches begin anew.
    async fn disturb(&self, replicas: u32) -> Result<()> {
        let simulator = self.cluster.simulator();
        simulator.cut_connections();
        let named = Named {
            api_version: "apps/v1",
            kind: "Deployment",
            namespace: "default",
            name: "app-0",
        };
        simulator.merge(named, &json!({ "spec": { "replicas": replicas } }))?;
        objects::wait_available(&self.client, "default", "app-0", SOON).await?;
        Ok(())
    }
}

fn watches() -> Matching {
    Matching { verb: Some(Verb::Watch), ..Matching::default() }
}

#[test]
fn broken_watches_and_refusals_leave_no_difference() {
    test(async {
        let scene = Scene::start("broken").await?;
        let all = Matching::default;
        let lists = || Matching { verb: Some(Verb::List), ..Matching::default() };
        let after = Some(Duration::from_secs(1));
        for (round, (matching, fault, times)) in (0_u32..).zip([
            (watches(), Fault::Cut { after: 2 }, Some(8)),
            (watches(), Fault::Expire { after: 0 }, Some(8)),
            (all(), Fault::Answer { code: 500, retry_after: None }, Some(20)),
            (all(), Fault::Answer { code: 503, retry_after: None }, Some(20)),
            (watches(), Fault::Answer { code: 429, retry_after: after }, Some(20)),
            (lists(), Fault::Answer { code: 410, retry_after: None }, Some(5)),
            (watches(), Fault::Repeat { events: 9 }, Some(14)),
            (watches(), Fault::Reorder, Some(14)),
            (all(), Fault::Slow(Duration::from_millis(300)), Some(40)),
            (lists(), Fault::Lie { by: -50 }, Some(3)),
        ]) {
            let id = scene.faults().add(matching, fault.clone(), times);
            scene.disturb(2 + round % 3).await?;
            scene.fleet.assert_true(&scene.cluster).await?;
            ensure!(scene.faults().struck(id) > 0, "{fault:?} was not met");
            scene.faults().clear();
            scene.fleet.assert_true(&scene.cluster).await?;
        }
        Ok(())
    });
}

#[test]
fn a_kind_that_is_forbidden_is_a_blind_spot_until_it_is_not() {
    test(async {
        let scene = Scene::start("forbidden").await?;
        let id = scene.faults().forbid("pods");
        scene.cluster.simulator().cut_connections();
        let name = scene.cluster.name();
        scene.fleet.wait_seen(name, FreshnessState::BlindSpot).await?;
        scene.faults().remove(id);
        scene.fleet.wait_fresh(name).await?;
        scene.fleet.assert_true(&scene.cluster).await
    });
}

#[test]
fn an_api_server_that_hangs_is_unreachable() {
    test(async {
        let scene = Scene::start("hanging").await?;
        scene.faults().add(Matching::default(), Fault::Hang, None);
        let name = scene.cluster.name();
        let unreachable = FreshnessState::ApiServerUnreachable;
        scene.fleet.wait_seen(name, unreachable).await?;
        scene.faults().clear();
        scene.cluster.simulator().cut_connections();
        scene.fleet.wait_fresh(name).await
    });
}

#[test]
fn a_clock_that_is_wrong_is_seen() {
    test(async {
        let cluster = SimulatedCluster::start("skewed").await?;
        cluster.simulator().clock().skew(SignedDuration::from_mins(-7));
        let fleet = Fleet::start(&[&cluster]).await?;
        fleet.assert_true(&cluster).await?;
        let said = fleet.cluster(cluster.name()).await?.unwrap_or_default();
        let offset = said.scopes.first().and_then(|it| it.clock_offset_ms).unwrap_or_default();
        ensure!((415_000..425_000).contains(&offset), "{offset} ms");
        Ok(())
    });
}
