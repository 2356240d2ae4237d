//! A namespace with workloads whose health is known, the fleet that watches it, and a witness of all that is told.

use std::sync::Arc;

use anyhow::{Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Client;
use kube::api::Api;
use prost_types::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;
use vitals_proto::v1::{Entity, EntityFilter};
use vitals_runtime::clock::SystemClock;
use vitals_tests::fleet::{Fleet, SOON, Subscriber, Told};
use vitals_tests::kwok::PINNED;
use vitals_tests::progress::say;
use vitals_tests::{Cluster, Nats, objects, pod_status, wait_for};

use crate::truth::{self, BROKEN, FLIPPING, STEADY};
use crate::writer::Writer;

/// The agent of a scene.
pub(crate) const AGENT: &str = "main";

/// Where the workloads are.
pub(crate) struct Home {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) client: Client,
    pub(crate) namespace: String,
}

/// A home, the fleet that watches it, and a witness.
pub(crate) struct Scene {
    pub(crate) home: Home,
    pub(crate) fleet: Fleet,
    pub(crate) witness: Subscriber,
}

impl Home {
    /// On the shared cluster `east`, with all workloads as [`truth`] has them.
    pub(crate) async fn build(prefix: &str) -> Result<Self> {
        let cluster = Cluster::shared("east").await?;
        let client = cluster.client().await?;
        let namespace = objects::namespace(&client, prefix).await?;
        let home = Self { cluster, client, namespace };
        home.deploy(objects::deployment(STEADY, 2)).await?;
        for name in [BROKEN].into_iter().chain(FLIPPING) {
            home.deploy(pinned(objects::deployment(name, 1))).await?;
        }
        home.status_of_pod(BROKEN, pod_status::crash_loop_back_off(3)).await?;
        for name in FLIPPING {
            home.status_of_pod(name, pod_status::ready(0)).await?;
        }
        for name in [STEADY].into_iter().chain(FLIPPING) {
            objects::wait_available(&home.client, &home.namespace, name, SOON).await?;
        }
        Ok(home)
    }

    pub(crate) async fn deploy(&self, deployment: Value) -> Result<Deployment> {
        objects::create(&self.deployments(), deployment).await
    }

    pub(crate) fn deployments(&self) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Writes the status of the only pod of a Deployment, once there is one that has a node.
    pub(crate) async fn status_of_pod(&self, deployment: &str, status: Value) -> Result<()> {
        let pod = self.pod_of(deployment).await?;
        objects::write_pod_status(&self.client, &self.namespace, &pod, status).await?;
        Ok(())
    }

    /// The only pod of a Deployment, once there is one that has a node.
    pub(crate) async fn pod_of(&self, deployment: &str) -> Result<String> {
        wait_for(&format!("a pod of {deployment}"), SOON, async || {
            let selector = format!("app={deployment}");
            let mut pods = objects::pods(&self.client, &self.namespace, &selector).await?;
            pods.retain(|pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()));
            Ok(pods.pop().and_then(|pod| pod.metadata.name))
        })
        .await
    }

    /// The reference of the entity derived from a Deployment.
    pub(crate) fn entity(&self, deployment: &str) -> String {
        format!("workload:{}/{deployment}", self.namespace)
    }

    /// Begins to change things, until it is stopped.
    pub(crate) async fn writer(&self) -> Result<Writer> {
        Writer::start(self).await
    }

    /// The flags of an agent beside those of other tests: their Leases are not ours.
    pub(crate) fn agent_flags(&self) -> Vec<String> {
        vec!["--lease-namespace".to_owned(), self.namespace.clone()]
    }

    pub(crate) async fn start_agent(
        &self,
        fleet: &mut Fleet,
        name: &str,
        flags: &[&str],
    ) -> Result<()> {
        let mut all = self.agent_flags();
        all.extend(flags.iter().map(|&flag| flag.to_owned()));
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        fleet.start_agent(name, &self.cluster, &all).await
    }
}

impl Scene {
    /// Nothing stands between the parts.
    pub(crate) async fn start(prefix: &str) -> Result<Self> {
        let home = Home::build(prefix).await?;
        let mut fleet = Fleet::start_hub(Nats::start().await?, &[]).await?;
        home.start_agent(&mut fleet, AGENT, &[]).await?;
        Self::begin(home, fleet).await
    }

    /// Waits until all is verified, and the witness has seen it.
    pub(crate) async fn begin(home: Home, fleet: Fleet) -> Result<Self> {
        fleet.wait_fresh(home.cluster.name()).await?;
        for name in [STEADY, BROKEN].into_iter().chain(FLIPPING) {
            fleet.wait_entity(&home.entity(name), |entity| truth::is_true(name, entity)).await?;
        }
        let namespaces = vec![home.namespace.clone()];
        let filter = EntityFilter { namespaces, ..EntityFilter::default() };
        let witness = fleet.subscribe(filter)?;
        witness.wait("synced", |told| matches!(told, Told::Synced)).await?;
        Ok(Self { home, fleet, witness })
    }

    pub(crate) fn cluster_name(&self) -> &str {
        self.home.cluster.name()
    }

    /// Waits until what was written last was seen and proven, compares hub and cluster, and asks the witness.
    pub(crate) async fn end(&self) -> Result<()> {
        let now = unix_ms();
        self.fleet.wait_verified_after(self.cluster_name(), now).await?;
        self.fleet.assert_true_in(&self.home.cluster, &[&self.home.namespace]).await?;
        let now = self.witness.count();
        self.witness_sees_the_end(now).await?;
        truth::check(&self.home, &self.witness.told())
    }

    /// What the witness was told last of each known entity is what is true at the end.
    async fn witness_sees_the_end(&self, told: usize) -> Result<()> {
        for name in [STEADY, BROKEN].into_iter().chain(FLIPPING) {
            let reference = self.home.entity(name);
            let held = self.fleet.entity(&reference).await?;
            wait_for(&format!("the witness to see {name} as it is"), SOON, async || {
                let last = last_told(&self.witness, &reference);
                Ok((last.as_ref().map(|it| it.digest) == held.as_ref().map(|it| it.digest))
                    .then_some(()))
            })
            .await?;
        }
        ensure!(self.witness.count() >= told, "the witness forgets");
        Ok(())
    }
}

/// What was told last of an entity.
pub(crate) fn last_told(witness: &Subscriber, reference: &str) -> Option<Entity> {
    witness.told().into_iter().rev().find_map(|told| {
        let Told::Entity(entity) = told else { return None };
        (entity.r#ref == reference).then_some(*entity)
    })
}

/// The pods of this Deployment do only what a test writes: kwok leaves them alone.
pub(crate) fn pinned(mut deployment: Value) -> Value {
    deployment["spec"]["template"]["metadata"]["annotations"] = json!({ PINNED: "" });
    deployment
}

/// The time by the clock of this machine, which is the broker's too. Milliseconds since the Unix epoch.
pub(crate) fn unix_ms() -> i64 {
    SystemClock.unix_ms()
}

/// Milliseconds since the Unix epoch.
pub(crate) fn millis(at: Timestamp) -> i64 {
    at.seconds * 1_000 + i64::from(at.nanos) / 1_000_000
}

/// Says how long something took, for people: no test depends on it.
pub(crate) fn took(what: &str, since: Instant) {
    say(&format!("{what}: {:.1} s", since.elapsed().as_secs_f32()));
}
