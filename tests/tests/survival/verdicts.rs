//! What a subscriber is promised: every verdict that lasted, in order, with reason and revision, and numbers as kubectl's.
//! And what the stream of transitions is: each told once, going on from the one before.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use async_nats::jetstream;
use prost::Message as _;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use vitals::hub::Hub;
use vitals_proto::subject;
use vitals_proto::v1::{
    Entity, EntityFilter, GetEntityRequest, HealthStatus, HealthTransition, Position, Verdict,
};
use vitals_tests::fleet::{Fleet, SOON, Told};
use vitals_tests::{Nats, cluster_test, pod_status, wait_for};

use crate::shop::{SHOP, Sees as _, Shop};

/// A verdict that lasts longer is told.
const LASTING: Duration = Duration::from_millis(100);

/// Between two looks of somebody who asks again and again.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

#[test]
fn every_verdict_that_lasts_is_told_and_the_numbers_are_kubectls() {
    cluster_test(Box::pin(async {
        let mut fleet = Fleet::start_hub(Nats::start().await?, &[]).await?;
        let (east, west) =
            tokio::try_join!(Box::pin(Shop::found("east")), Box::pin(Shop::found("west")))?;
        for shop in [&east, &west] {
            let flags = ["--lease-namespace", &shop.namespace];
            fleet.start_agent(shop.cluster.name(), &shop.cluster, &flags).await?;
        }
        for shop in [&east, &west] {
            fleet.wait_fresh(shop.cluster.name()).await?;
        }
        let filter = EntityFilter { refs: vec![SHOP.to_owned()], ..EntityFilter::default() };
        let subscriber = fleet.subscribe(filter)?;
        subscriber.wait("synced", |told| matches!(told, Told::Synced)).await?;
        let onlooker = Onlooker::start(fleet.hub()?);

        // Each state is held until the test moves its pods on.
        for shop in [&east, &west] {
            shop.open().await?;
        }
        fleet.is(HealthStatus::Progressing, &[&east, &west]).await?;
        for shop in [&east, &west] {
            shop.all_ready().await?;
        }
        fleet.is(HealthStatus::Healthy, &[&east, &west]).await?;
        east.image("registry.test/app:2").await?;
        fleet.is(HealthStatus::Progressing, &[&east, &west]).await?;
        east.all_ready().await?;
        fleet.is(HealthStatus::Healthy, &[&east, &west]).await?;
        west.scale(3).await?;
        fleet.is(HealthStatus::Progressing, &[&east, &west]).await?;
        west.all_ready().await?;
        fleet.is(HealthStatus::Healthy, &[&east, &west]).await?;
        let broken = east.first_pod(pod_status::crash_loop_back_off(4)).await?;
        let degraded = fleet.is(HealthStatus::Degraded, &[&east, &west]).await?;
        let verdict = degraded.verdict.unwrap_or_default();
        ensure!(verdict.reason == "ContainerCrashLooping", "{verdict:?}");
        ensure!(verdict.cause.last().is_some_and(|root| root.name == broken), "{verdict:?}");
        east.first_pod(pod_status::ready(4)).await?;
        fleet.is(HealthStatus::Healthy, &[&east, &west]).await?;
        for shop in [&east, &west] {
            fleet.assert_true_in(&shop.cluster, &[&shop.namespace]).await?;
        }
        for shop in [&east, &west] {
            shop.deployments().delete(Shop::NAME, &Default::default()).await?;
        }
        subscriber.wait("removed", |told| matches!(told, Told::Removed(it) if it == SHOP)).await?;

        let told = subscriber.told();
        let states: Vec<State> = told.iter().filter_map(State::told).collect();
        are_in(&onlooker.stop().await?, &states).context("what lasted was not told in order")?;
        are_in(&MOVES, &states.iter().map(|it| it.status).collect::<Vec<_>>())?;
        has_reasons_and_revisions(&told)?;
        for shop in [&east, &west] {
            fleet.assert_true_in(&shop.cluster, &[&shop.namespace]).await?;
        }
        is_told_once(&fleet, SHOP).await
    }));
}

/// What the test does to the shop, as an owner sees it.
const MOVES: [HealthStatus; 8] = [
    HealthStatus::Progressing,
    HealthStatus::Healthy,
    HealthStatus::Progressing,
    HealthStatus::Healthy,
    HealthStatus::Progressing,
    HealthStatus::Healthy,
    HealthStatus::Degraded,
    HealthStatus::Healthy,
];

/// The shop at one time. Two with the same digest are the same in all that is judged.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    status: HealthStatus,
    reason: String,
    digest: u64,
}

impl State {
    fn of(entity: &Entity) -> Self {
        let verdict = entity.verdict.clone().unwrap_or_default();
        Self { status: verdict.status(), reason: verdict.reason, digest: entity.digest }
    }

    fn told(told: &Told) -> Option<Self> {
        let Told::Entity(entity) = told else { return None };
        Some(Self::of(entity))
    }
}

/// Asks for the shop again and again, and notes what stayed so.
struct Onlooker {
    task: JoinHandle<Result<Vec<State>>>,
    stop: watch::Sender<bool>,
}

impl Onlooker {
    #[expect(clippy::disallowed_methods, reason = "a task of a test ends with the test")]
    fn start(hub: Hub) -> Self {
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(async move {
            let (mut lasted, mut held): (Vec<State>, Option<(State, Instant)>) = (Vec::new(), None);
            let mut looks = tokio::time::interval(LOOK_INTERVAL);
            while !*stopped.borrow() {
                looks.tick().await;
                let asked_at = Instant::now();
                let request = GetEntityRequest { r#ref: SHOP.to_owned() };
                let state = match hub.entities().get_entity(request).await {
                    Ok(answer) => answer.into_inner().entity.map(|entity| State::of(&entity)),
                    Err(status) if status.code() == tonic::Code::NotFound => None,
                    Err(status) => return Err(status.into()),
                };
                held = match (held, state) {
                    (Some((before, since)), Some(state)) if before == state => {
                        // From its first answer to this question, it was so all the while.
                        if asked_at.saturating_duration_since(since) > LASTING
                            && lasted.last() != Some(&state)
                        {
                            lasted.push(state.clone());
                        }
                        Some((state, since))
                    }
                    (_, Some(state)) => Some((state, Instant::now())),
                    (_, None) => None,
                };
            }
            Ok(lasted)
        });
        Self { task, stop }
    }

    async fn stop(self) -> Result<Vec<State>> {
        self.stop.send_replace(true);
        self.task.await?
    }
}

/// Whether all of `wanted` are in `told`, in this order.
fn are_in<T: PartialEq + std::fmt::Debug>(wanted: &[T], told: &[T]) -> Result<()> {
    ensure!(!wanted.is_empty(), "nothing was seen to last");
    let mut rest = told.iter();
    for wanted in wanted {
        ensure!(rest.any(|told| told == wanted), "{wanted:?} is not in its place in {told:#?}");
    }
    Ok(())
}

/// Whatever is not well has a reason; and revisions never go back.
fn has_reasons_and_revisions(told: &[Told]) -> Result<()> {
    let mut before: Option<Position> = None;
    for told in told {
        let Told::Entity(entity) = told else { continue };
        let verdict = entity.verdict.clone().context("no verdict")?;
        let is_healthy = verdict.status() == HealthStatus::Healthy;
        ensure!(verdict.reason.is_empty() == is_healthy, "{verdict:?}");
        ensure!(!verdict.message.is_empty() && verdict.since.is_some(), "{verdict:?}");
        let revision = entity.revision.clone().context("no revision")?;
        let sequences = |it: &Position| -> Vec<u64> {
            it.streams.iter().map(|stream| stream.sequence).collect()
        };
        ensure!(sequences(&revision).iter().any(|sequence| *sequence > 0), "{revision:?}");
        if let Some(before) = before {
            ensure!(sequences(&before) <= sequences(&revision), "{before:?}, then {revision:?}");
        }
        before = Some(revision);
    }
    Ok(())
}

/// What is told of an entity: each change of its health once, in order, each going on from the one before.
async fn is_told_once(fleet: &Fleet, reference: &str) -> Result<()> {
    let context = jetstream::new(async_nats::connect(fleet.nats.url()).await?);
    let told = wait_for("the last change to be told", SOON, async || {
        let told = told(&context, reference).await?;
        let is_degraded = |it: &HealthTransition| status(&it.after) == Some(HealthStatus::Degraded);
        let degraded_at = told.iter().position(is_degraded);
        Ok(degraded_at.is_some_and(|at| at + 1 < told.len()).then_some(told))
    })
    .await?;
    for (index, transition) in (0..).zip(&told) {
        ensure!(transition.generation == index + 1, "{told:#?}");
        ensure!(transition.position.is_some() && transition.at.is_some(), "{transition:?}");
    }
    for pair in told.windows(2) {
        ensure!(pair[0].after == pair[1].before, "{pair:#?}");
    }
    Ok(())
}

fn status(verdict: &Option<Verdict>) -> Option<HealthStatus> {
    verdict.as_ref().map(Verdict::status)
}

async fn told(context: &jetstream::Context, reference: &str) -> Result<Vec<HealthTransition>> {
    let stream = context.get_stream("VITALS_HEALTH").await?;
    let state = stream.cached_info().state.clone();
    let subject = subject::health(&reference.parse()?);
    let mut told = Vec::new();
    for sequence in state.first_sequence..=state.last_sequence {
        let message = stream.get_raw_message(sequence).await?;
        if message.subject.as_str() == subject {
            told.push(HealthTransition::decode(message.payload)?);
        }
    }
    Ok(told)
}
