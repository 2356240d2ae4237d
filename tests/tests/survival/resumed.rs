//! What a subscriber that resumes from a token is promised: the view of a fresh snapshot in the end, and nothing on the way
//! that was not touched since; at the hub that gave the token and at its replica.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail, ensure};
use prost::bytes::Bytes;
use vitals::follow::{Applied, Follower, Said, View};
use vitals::hub::Hub;
use vitals_proto::v1::watch_entities_response::Event;
use vitals_proto::v1::{Entity, EntityFilter, HealthStatus};
use vitals_tests::fleet::{RunningHub, SOON};
use vitals_tests::{cluster_test, objects, pod_status, wait_for};

use crate::scene::{Scene, pinned, unix_ms};

#[test]
fn a_resumed_watch_is_sent_what_was_touched_and_ends_with_the_whole_view() {
    cluster_test(Box::pin(async {
        let scene = Scene::start("resumed").await?;
        let replica = scene.fleet.start_replica("replica").await?;
        let mut moves = Moves::begin(&scene).await?;
        both_have_proven(&scene, &replica).await?;

        // At the hub that made the token, and at its replica.
        let token = view(&scene, scene.fleet.hub()?).await?;
        let touched = moves.make().await?;
        is_resumed(&scene, scene.fleet.hub()?, &token, &touched).await?;
        let token = view(&scene, scene.fleet.hub()?).await?;
        let touched = moves.make().await?;
        is_resumed(&scene, replica.client()?, &token, &touched).await?;

        // At a hub that was restarted since: it knows nothing of before, and says so.
        let token = view(&scene, scene.fleet.hub()?).await?;
        scene.fleet.hub_process().kill().await?;
        let touched = moves.make_at(&replica).await?;
        scene.fleet.hub_process().restart().await?;
        ends_whole(&scene, scene.fleet.hub()?, &token, &touched).await?;

        // At the restarted one, with a token that its replica made since.
        both_have_proven(&scene, &replica).await?;
        let token = view(&scene, replica.client()?).await?;
        let touched = moves.make().await?;
        is_resumed(&scene, scene.fleet.hub()?, &token, &touched).await?;
        scene.end().await
    }));
}

/// Waits until hub and replica are verified, and then once more: that a cluster becomes fresh touches every entity there, and
/// a token is beyond that only if it was proven later.
async fn both_have_proven(scene: &Scene, replica: &RunningHub) -> Result<()> {
    for _ in 0..2 {
        scene.fleet.wait_verified_after(scene.cluster_name(), unix_ms()).await?;
        proven_after(scene, replica, unix_ms()).await?;
    }
    Ok(())
}

/// Waits until a hub has proven what it holds later than `since_unix_ms`.
async fn proven_after(scene: &Scene, hub: &RunningHub, since_unix_ms: i64) -> Result<()> {
    wait_for("the replica to verify anew", SOON, async || {
        let clusters = hub.client()?.list_clusters().await?;
        let cluster = clusters.into_iter().find(|it| it.name == scene.cluster_name());
        let verified_at = cluster.and_then(|it| it.verified_at).map_or(0, |at| at.seconds * 1_000);
        Ok((verified_at > since_unix_ms).then_some(()))
    })
    .await
}

/// Changes to a few of many workloads.
struct Moves<'a> {
    scene: &'a Scene,
    made: usize,
}

impl<'a> Moves<'a> {
    const MOVED: &'static str = "moved";

    async fn begin(scene: &'a Scene) -> Result<Self> {
        scene.home.deploy(pinned(objects::deployment(Self::MOVED, 1))).await?;
        let moves = Self { scene, made: 0 };
        scene.home.deploy(objects::deployment(&moves.came(), 1)).await?;
        objects::wait_available(&scene.home.client, &scene.home.namespace, &moves.came(), SOON)
            .await?;
        scene.fleet.assert_true_in(&scene.home.cluster, &[&scene.home.namespace]).await?;
        Ok(moves)
    }

    /// One that came with the last move, and goes with the next.
    fn came(&self) -> String {
        format!("came-{}", self.made)
    }

    /// Makes them, and waits until the hub has seen them. Gives what they touch.
    async fn make(&mut self) -> Result<BTreeSet<String>> {
        self.made_as_seen_by(self.scene.fleet.hub()?).await
    }

    async fn make_at(&mut self, hub: &RunningHub) -> Result<BTreeSet<String>> {
        self.made_as_seen_by(hub.client()?).await
    }

    async fn made_as_seen_by(&mut self, hub: Hub) -> Result<BTreeSet<String>> {
        let (home, gone) = (&self.scene.home, self.came());
        self.made += 1;
        let came = self.came();
        home.deploy(objects::deployment(&came, 1)).await?;
        home.deployments().delete(&gone, &Default::default()).await?;
        let restarts = 2 * u32::try_from(self.made)?;
        home.status_of_pod(Self::MOVED, pod_status::ready(restarts)).await?;
        let touched = [Self::MOVED, &came, &gone].map(|name| home.entity(name));
        wait_for("the moves to be seen", SOON, async || {
            let filter = EntityFilter { refs: touched.to_vec(), ..EntityFilter::default() };
            let seen = hub.list_entities(filter).await?;
            let is = |name: &str, is: &dyn Fn(&Entity) -> bool| {
                seen.iter().any(|it| it.r#ref == home.entity(name) && is(it))
            };
            let is_well = |it: &Entity| {
                it.verdict.as_ref().is_some_and(|it| it.status() == HealthStatus::Healthy)
            };
            let restarted = i32::try_from(restarts)?;
            let has_restarts =
                |it: &Entity| is_well(it) && it.clusters[0].workloads[0].restarts == restarted;
            let are =
                is(Self::MOVED, &has_restarts) && is(&came, &is_well) && !is(&gone, &|_| true);
            Ok(are.then_some(()))
        })
        .await?;
        Ok(touched.into())
    }
}

/// A view that was whole, and the token behind it.
pub(crate) struct Token {
    view: View,
    token: Bytes,
}

fn filter(scene: &Scene) -> EntityFilter {
    let namespaces = vec![scene.home.namespace.clone()];
    EntityFilter { namespaces, ..EntityFilter::default() }
}

pub(crate) async fn view(scene: &Scene, hub: Hub) -> Result<Token> {
    let mut follower = Follower::new(hub, filter(scene));
    let mut view = View::default();
    until_synced(&mut follower, &mut view).await?;
    Ok(Token { view, token: follower.token().clone() })
}

/// What a watch said up to `synced`, which must find the view whole.
#[derive(Debug, Default)]
struct Begun {
    is_resumed: bool,
    reason: String,
    sent: BTreeSet<String>,
}

async fn until_synced(follower: &mut Follower, view: &mut View) -> Result<Begun> {
    let mut begun = Begun::default();
    let following = async {
        loop {
            let step = match follower.next().await? {
                Said::Step(step) => step,
                Said::Interrupted { pause, .. } => {
                    vitals::follow::rest(pause).await;
                    continue;
                }
            };
            match step.event.as_ref() {
                Some(Event::Resumed(_)) => begun = Begun { is_resumed: true, ..Begun::default() },
                Some(Event::Snapshot(it)) => {
                    begun = Begun { reason: it.reason.clone(), ..Begun::default() };
                }
                Some(Event::Upsert(it)) => drop(begun.sent.insert(it.r#ref.clone())),
                Some(Event::Removed(it)) => drop(begun.sent.insert(it.r#ref.clone())),
                Some(Event::Synced(_) | Event::Progress(_)) | None => {}
            }
            let applied = view.apply(*step);
            if let Applied::Differs(difference) = applied {
                bail!("not the hub's view: {difference:?}");
            }
            if matches!(applied, Applied::Synced { .. }) {
                return Ok(());
            }
        }
    };
    tokio::time::timeout(SOON, following).await.context("no synced in time")??;
    Ok(begun)
}

/// The token is taken, and nothing is sent that was not touched.
pub(crate) async fn is_resumed(
    scene: &Scene,
    hub: Hub,
    token: &Token,
    touched: &BTreeSet<String>,
) -> Result<()> {
    let begun = ends_whole(scene, hub, token, touched).await?;
    ensure!(begun.is_resumed, "a snapshot, for: {}", begun.reason);
    Ok(())
}

/// Whether or not the token is taken, the view is that of a fresh snapshot in the end.
async fn ends_whole(
    scene: &Scene,
    hub: Hub,
    token: &Token,
    touched: &BTreeSet<String>,
) -> Result<Begun> {
    let mut view = token.view.clone();
    let mut follower = Follower::new(hub.clone(), filter(scene)).resumed(token.token.clone());
    // A hub that starts is waited for.
    wait_for("the hub to answer", SOON, async || Ok(hub.list_clusters().await.map(drop).ok()))
        .await?;
    let begun = until_synced(&mut follower, &mut view).await?;
    if begun.is_resumed {
        ensure!(begun.sent.is_subset(touched), "sent {:?}, touched {touched:?}", begun.sent);
    } else {
        ensure!(!begun.reason.is_empty(), "a snapshot without a reason");
    }
    let mut fresh = View::default();
    until_synced(&mut Follower::new(hub, filter(scene)), &mut fresh).await?;
    ensure!(view.sum() == fresh.sum(), "{:?} is not {:?}", view.sum(), fresh.sum());
    let references = |view: &View| view.entities().keys().cloned().collect::<BTreeSet<_>>();
    ensure!(references(&view) == references(&fresh), "other entities than in a fresh snapshot");
    Ok(begun)
}
