//! Frozen, cut off, and silently stalled: each is said within 30 s for what it is, what was known stays and is marked stale,
//! and what happened meanwhile is seen afterwards.
//!
//! A fault lasts until it was told and, where that is not enough, until a time the test's own reasons name.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::time::Instant;
use vitals_proto::v1::{Cluster, Entity, FreshnessState, HealthStatus};
use vitals_tests::fleet::{Fleet, SOON, Told};
use vitals_tests::{Nats, TcpProxy, cluster_test, objects, pod_status, wait_for};

use crate::scene::{AGENT, Home, Scene, millis, pinned, took, unix_ms};
use crate::truth::{BROKEN, CRASHES, STEADY};

/// Whatever is not seen any more is said to be so within this. Milliseconds.
const TOLD_WITHIN_MS: i64 = 30_000;

/// A fault that is to be outlived lasts so long: longer than the 20 s after which an agent counts as lost, and than the
/// 30 s for which a verification holds.
const FAULT: Duration = Duration::from_secs(31);

/// A watch that stalls silently is found within 90 s; a busy machine may take longer to do what comes then.
const STALL_FOUND: Duration = Duration::from_secs(150);

#[test]
fn a_frozen_agent_is_lost_and_found() {
    cluster_test(Box::pin(async {
        let scene = Scene::start("frozen").await?;
        let victim = Victim::deploy(&scene.home, &scene.fleet).await?;
        let agent = scene.fleet.agent(AGENT)?;
        let fault = Fault::begins(&scene);
        agent.freeze().await?;
        victim.happen(&scene.home).await?;
        fault.is_told(FreshnessState::AgentLost, "AgentLost").await?;
        // The fault's duration, no wait: it has to be longer than what was verified before holds.
        tokio::time::sleep_until(fault.since + FAULT).await;
        victim.is_not_seen_yet(&scene).await?;

        agent.thaw().await?;
        let thawed = Instant::now();
        victim.is_seen(&scene).await?;
        took("the agent thawed; what happened meanwhile was seen", thawed);
        scene.end().await
    }));
}

#[test]
fn an_agent_that_restarts_while_its_api_server_is_away_empties_nothing() {
    cluster_test(Box::pin(async {
        let (scene, proxy) = behind_a_proxy("unreachable").await?;
        let victim = Victim::deploy(&scene.home, &scene.fleet).await?;

        // Nobody answers.
        let fault = Fault::begins(&scene);
        proxy.stall();
        fault.is_told(FreshnessState::ApiServerUnreachable, "ApiServerUnreachable").await?;
        proxy.heal();
        scene.fleet.wait_fresh(scene.cluster_name()).await?;

        // There is nobody.
        let fault = Fault::begins(&scene);
        proxy.cut();
        fault.is_told(FreshnessState::ApiServerUnreachable, "ApiServerUnreachable").await?;
        let before = seen(&scene).await?;
        victim.happen(&scene.home).await?;
        scene.fleet.agent(AGENT)?.restart().await?;
        speaks_again(&scene).await?;
        let held = seen(&scene).await?;
        ensure!(held.objects == before.objects, "{} of {}", held.objects, before.objects);
        let state = held.freshness.unwrap_or_default().state();
        ensure!(state == FreshnessState::ApiServerUnreachable, "{state:?}");
        victim.is_not_seen_yet(&scene).await?;

        proxy.heal();
        victim.is_seen(&scene).await?;
        scene.end().await
    }));
}

#[test]
fn a_watch_that_stalls_silently_is_found() {
    cluster_test(Box::pin(async {
        let (scene, proxy) = behind_a_proxy("stalled").await?;
        let victim = Victim::deploy(&scene.home, &scene.fleet).await?;
        // The connections of the watches stay open, and nothing comes; new ones, as of the probe, pass.
        proxy.stall_open();
        let begin = Instant::now();
        victim.happen(&scene.home).await?;
        wait_for("the stall to be found", STALL_FOUND, async || {
            Ok(victim.is_seen_now(&scene).await?.then_some(()))
        })
        .await?;
        took("the watches stalled; what happened meanwhile was seen", begin);
        scene.end().await
    }));
}

#[test]
fn a_hub_that_is_cut_from_nats_says_that_it_is_blind() {
    cluster_test(Box::pin(async {
        let home = Home::build("hub-blind").await?;
        let nats = Nats::start().await?;
        let proxy = TcpProxy::start(nats.address()).await?;
        let by_proxy = format!("nats://{}", proxy.address());
        let mut fleet = Fleet::start_hub(nats, &["--nats", &by_proxy]).await?;
        home.start_agent(&mut fleet, AGENT, &[]).await?;
        let scene = Scene::begin(home, fleet).await?;
        let victim = Victim::deploy(&scene.home, &scene.fleet).await?;

        for fault in [TcpProxy::stall, TcpProxy::cut] {
            let begun = Fault::begins(&scene);
            fault(&proxy);
            begun.is_told(FreshnessState::HubBlind, "HubBlind").await?;
            victim.happen(&scene.home).await?;
            victim.is_not_seen_yet(&scene).await?;
            proxy.heal();
            let healed = Instant::now();
            victim.is_seen(&scene).await?;
            took("the hub sees NATS again; what happened meanwhile was seen", healed);
            victim.recover(&scene).await?;
        }
        scene.end().await
    }));
}

/// A scene whose agent reaches its API server through a proxy.
async fn behind_a_proxy(prefix: &str) -> Result<(Scene, TcpProxy)> {
    let home = Home::build(prefix).await?;
    let proxy = TcpProxy::start(home.cluster.api_server_address()).await?;
    let kubeconfig = home.cluster.kubeconfig_by_way_of(proxy.address())?;
    let kubeconfig = kubeconfig.to_str().context("a path in UTF-8")?.to_owned();
    let mut fleet = Fleet::start_hub(Nats::start().await?, &[]).await?;
    home.start_agent(&mut fleet, AGENT, &["--kubeconfig", &kubeconfig]).await?;
    Ok((Scene::begin(home, fleet).await?, proxy))
}

/// What begins now, and is to be told.
struct Fault<'a> {
    scene: &'a Scene,
    since: Instant,
    since_unix_ms: i64,
    /// What the witness was told before.
    told: usize,
}

impl<'a> Fault<'a> {
    fn begins(scene: &'a Scene) -> Self {
        let told = scene.witness.count();
        Self { scene, since: Instant::now(), since_unix_ms: unix_ms(), told }
    }

    /// The hub says so of the cluster in time, and the witness is told so of each entity, with what was last known.
    async fn is_told(&self, state: FreshnessState, reason: &str) -> Result<()> {
        let Self { scene, since, since_unix_ms, told } = self;
        let seen = scene.fleet.wait_seen(scene.cluster_name(), state).await?;
        took(&format!("{reason} was told after"), *since);
        // By the hub's own clock, so that how busy the machine is counts less.
        let said_at = seen.freshness.and_then(|it| it.since).context("since when")?;
        let later_ms = millis(said_at) - since_unix_ms;
        ensure!(later_ms <= TOLD_WITHIN_MS, "{reason} was told only after {later_ms} ms");
        for (name, known) in [(STEADY, HealthStatus::Healthy), (BROKEN, HealthStatus::Degraded)] {
            let reference = scene.home.entity(name);
            let as_wanted = |entity: &Entity| {
                let verdict = entity.verdict.clone().unwrap_or_default();
                entity.r#ref == reference
                    && verdict.status() == HealthStatus::Unknown
                    && verdict.reason == reason
                    && verdict.last_known() == known
            };
            let wanted = |told: &Told| matches!(told, Told::Entity(entity) if as_wanted(entity));
            let what = format!("{name} is unknown: {reason}");
            scene.witness.wait_behind(*told, &what, wanted).await?;
        }
        Ok(())
    }
}

async fn seen(scene: &Scene) -> Result<Cluster> {
    scene.fleet.cluster(scene.cluster_name()).await?.context("the cluster is unknown")
}

/// Waits for three heartbeats that are later than now.
async fn speaks_again(scene: &Scene) -> Result<()> {
    let mut last = heartbeat(&seen(scene).await?);
    for _ in 0..3 {
        last = wait_for("a heartbeat", SOON, async || {
            let next = heartbeat(&seen(scene).await?);
            Ok((next > last).then_some(next))
        })
        .await?;
    }
    Ok(())
}

fn heartbeat(cluster: &Cluster) -> Option<(i64, i32)> {
    let scope = cluster.scopes.first()?;
    scope.last_heartbeat_at.as_ref().map(|at| (at.seconds, at.nanos))
}

/// Something happens to these during a fault: one breaks, one goes.
struct Victim {
    breaking: String,
    going: String,
}

impl Victim {
    const BREAKING: &str = "breaking";
    const GOING: &str = "going";

    async fn deploy(home: &Home, fleet: &Fleet) -> Result<Self> {
        home.deploy(pinned(objects::deployment(Self::BREAKING, 1))).await?;
        home.status_of_pod(Self::BREAKING, pod_status::ready(0)).await?;
        home.deploy(objects::deployment(Self::GOING, 1)).await?;
        let victim =
            Self { breaking: home.entity(Self::BREAKING), going: home.entity(Self::GOING) };
        for reference in [&victim.breaking, &victim.going] {
            fleet.wait_entity(reference, |it| status(it) == HealthStatus::Healthy).await?;
        }
        Ok(victim)
    }

    async fn happen(&self, home: &Home) -> Result<()> {
        home.status_of_pod(Self::BREAKING, pod_status::crash_loop_back_off(1)).await?;
        if home.deployments().get_opt(Self::GOING).await?.is_some() {
            home.deployments().delete(Self::GOING, &Default::default()).await?;
        }
        Ok(())
    }

    async fn recover(&self, scene: &Scene) -> Result<()> {
        scene.home.status_of_pod(Self::BREAKING, pod_status::ready(1)).await?;
        let is_well = |it: &Entity| status(it) == HealthStatus::Healthy;
        scene.fleet.wait_entity(&self.breaking, is_well).await?;
        Ok(())
    }

    /// Both are as they were, as far as anybody can know.
    async fn is_not_seen_yet(&self, scene: &Scene) -> Result<()> {
        let breaking = scene.fleet.entity(&self.breaking).await?.context("it vanished")?;
        let verdict = breaking.verdict.unwrap_or_default();
        let (status, last_known) = (verdict.status(), verdict.last_known());
        let is_stale = status == HealthStatus::Unknown && last_known == HealthStatus::Healthy;
        ensure!(is_stale, "{status:?}, last known {last_known:?}");
        Ok(())
    }

    async fn is_seen(&self, scene: &Scene) -> Result<()> {
        wait_for("what happened to be seen", SOON, async || {
            Ok(self.is_seen_now(scene).await?.then_some(()))
        })
        .await
    }

    async fn is_seen_now(&self, scene: &Scene) -> Result<bool> {
        let breaking = scene.fleet.entity(&self.breaking).await?.context("it vanished")?;
        let is_broken = breaking.verdict.is_some_and(|it| it.reason == CRASHES);
        let is_gone = scene.fleet.entity(&self.going).await?.is_none();
        Ok(is_broken && is_gone)
    }
}

fn status(entity: &Entity) -> HealthStatus {
    entity.verdict.as_ref().map(|verdict| verdict.status()).unwrap_or_default()
}
