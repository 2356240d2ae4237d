//! The stream is deleted, made anew by hand, and put back to an older copy: nothing that exists vanishes, and within six
//! heartbeats both the hub and the stream hold what the cluster has.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use async_nats::jetstream::{self, stream::Config};
use futures::TryStreamExt as _;
use tokio::time::Instant;
use vitals_proto::v1::{FreshnessState, ObjectFilter};
use vitals_tests::{cluster_test, objects, wait_for};

use crate::scene::{Scene, millis, took, unix_ms};

const STREAM: &str = "VITALS_OBJECTS";

/// Heartbeats after which a repair is over, whatever was lost.
const HEARTBEATS_MAX: usize = 6;

/// So many of 5 s, three times over for a machine that is busy.
const REPAIRED: Duration = Duration::from_secs(3 * 6 * 5);

const WRITES: u64 = 40;

#[test]
fn a_stream_is_deleted_and_made_anew() {
    cluster_test(Box::pin(async {
        let scene = Scene::start("stream-deleted").await?;
        let stream = Stream::of(&scene).await?;
        let writer = scene.home.writer().await?;
        writer.more(WRITES).await?;

        stream.delete().await?;
        stream.is_repaired(&scene, "deleted").await?;
        writer.more(WRITES).await?;

        // By hand, before the hub can.
        stream.delete().await?;
        stream.make().await?;
        stream.is_repaired(&scene, "deleted and made anew by hand").await?;
        writer.stop().await?;
        scene.end().await?;

        is_all_in_the_stream(&scene).await
    }));
}

#[test]
fn a_stream_is_rolled_back() {
    cluster_test(Box::pin(async {
        let scene = Scene::start("stream-back").await?;
        let stream = Stream::of(&scene).await?;
        scene.home.deploy(objects::deployment("gone-later", 1)).await?;
        let gone = scene.home.entity("gone-later");
        scene.fleet.wait_entity(&gone, |_| true).await?;
        let nats = &scene.fleet.nats;
        nats.process().kill().await?;
        let copy = nats.copy_store()?;
        nats.restart().await?;

        // What the copy does not know: one that came, one that went, and many that changed.
        let writer = scene.home.writer().await?;
        scene.home.deploy(objects::deployment("came-later", 1)).await?;
        scene.home.deployments().delete("gone-later", &Default::default()).await?;
        let came = scene.home.entity("came-later");
        scene.fleet.wait_entity(&came, |_| true).await?;
        writer.more(WRITES).await?;
        wait_for("the hub to see that one is gone", REPAIRED, async || {
            Ok(scene.fleet.entity(&gone).await?.is_none().then_some(()))
        })
        .await?;
        let told = scene.witness.count();

        nats.process().kill().await?;
        nats.put_store_back(&copy)?;
        nats.restart().await?;
        stream.is_repaired(&scene, "rolled back").await?;
        writer.more(WRITES).await?;
        writer.stop().await?;
        scene.end().await?;
        for told in scene.witness.told().iter().skip(told) {
            use vitals_tests::fleet::Told;
            let (Told::Removed(vanished) | Told::Vanished(vanished)) = told else { continue };
            ensure!(*vanished != came, "{came}, which the copy does not know, vanished");
        }
        ensure!(scene.fleet.entity(&gone).await?.is_none(), "{gone} is back");
        is_all_in_the_stream(&scene).await
    }));
}

/// A hub that has just started has nothing but the stream, and sees the cluster as it is.
async fn is_all_in_the_stream(scene: &Scene) -> Result<()> {
    scene.fleet.hub_process().restart().await?;
    scene.fleet.wait_fresh(scene.cluster_name()).await?;
    scene.end().await
}

/// The stream, as another client sees it.
struct Stream {
    context: jetstream::Context,
    config: Config,
}

impl Stream {
    async fn of(scene: &Scene) -> Result<Self> {
        let client = async_nats::ConnectOptions::new()
            .reconnect_delay_callback(|_| Duration::from_millis(20))
            .connect(scene.fleet.nats.url())
            .await?;
        let context = jetstream::new(client);
        let config = context.get_stream(STREAM).await?.cached_info().config.clone();
        Ok(Self { context, config })
    }

    async fn delete(&self) -> Result<()> {
        self.context.delete_stream(STREAM).await?;
        Ok(())
    }

    /// The hub may have been faster: the same settings are no error.
    async fn make(&self) -> Result<()> {
        self.context.create_stream(self.config.clone()).await?;
        Ok(())
    }

    /// Waits until the hub has proven what it holds, and the stream holds a message of each object that the hub holds: in no
    /// more heartbeats than a repair may take.
    async fn is_repaired(&self, scene: &Scene, what: &str) -> Result<()> {
        let (begin, began) = (Instant::now(), unix_ms());
        let heard = Mutex::new(BTreeSet::new());
        wait_for(&format!("the stream that was {what} to be repaired"), REPAIRED, async || {
            let seen = scene.fleet.cluster(scene.cluster_name()).await?.context("it is unknown")?;
            let last = seen.scopes.iter().filter_map(|it| it.last_heartbeat_at).map(millis).max();
            heard.lock().unwrap().extend(last.filter(|at| *at > began));
            let state = seen.freshness.unwrap_or_default().state();
            ensure!(state == FreshnessState::Fresh, "{state:?}");
            ensure!(seen.verified_at.map_or(0, millis) > began, "not verified since");
            self.holds_what_the_hub_holds(scene).await?;
            Ok(Some(()))
        })
        .await?;
        let heartbeats = heard.lock().unwrap().len();
        took(
            &format!("the stream was {what}; whole and verified after {heartbeats} heartbeats"),
            begin,
        );
        ensure!(heartbeats <= HEARTBEATS_MAX, "{heartbeats} heartbeats");
        Ok(())
    }

    async fn holds_what_the_hub_holds(&self, scene: &Scene) -> Result<()> {
        let held = scene.fleet.hub()?.list_objects(ObjectFilter::default()).await?;
        let streamed = self.subjects().await?;
        let mut missing = Vec::new();
        for object in held.iter().filter_map(|held| held.object.clone()) {
            let key = vitals_proto::identity::ObjectKey::try_from(&object)?;
            if !streamed.contains(vitals_proto::subject::object(&key).as_str()) {
                missing.push(object.name);
            }
        }
        ensure!(missing.is_empty(), "{} of {} are missing", missing.len(), held.len());
        Ok(())
    }

    async fn subjects(&self) -> Result<BTreeSet<String>> {
        let stream = self.context.get_stream(STREAM).await?;
        let subjects = stream.info_with_subjects(">").await?;
        Ok(subjects.map_ok(|(subject, _)| subject).try_collect().await?)
    }
}
