//! A cluster that is labelled, goes, is forgotten, and comes back: alike at two hubs, for who watches and for who resumes.

use anyhow::{Context as _, Result, ensure};
use async_nats::jetstream;
use vitals::follow::{Applied, Follower, Said, View};
use vitals::hub::Hub;
use vitals_proto::v1::watch_entities_response::Event;
use vitals_proto::v1::{Entity, EntityFilter, ForgetClusterRequest, FreshnessState, HealthStatus};
use vitals_tests::fleet::{Fleet, RunningHub, SOON, Told};
use vitals_tests::{Nats, cluster_test, wait_for};

use crate::shop::{Sees as _, Shop};

/// In each cluster of the test.
const SHOP: &str = "component:default/forgotten-shop";
const ID: &str = "forgotten-shop";

#[test]
fn a_cluster_is_labelled_forgotten_and_comes_back_at_every_hub() {
    cluster_test(Box::pin(async {
        let mut fleet = Fleet::start_hub(Nats::start().await?, &[]).await?;
        let replica = fleet.start_replica("replica").await?;
        let (east, west) = tokio::try_join!(
            Box::pin(Shop::called(ID, "east")),
            Box::pin(Shop::called(ID, "west"))
        )?;
        for shop in [&east, &west] {
            let flags = ["--lease-namespace", &shop.namespace];
            fleet.start_agent(shop.cluster.name(), &shop.cluster, &flags).await?;
        }
        for shop in [&east, &west] {
            fleet.wait_fresh(shop.cluster.name()).await?;
            shop.open().await?;
            shop.all_ready().await?;
        }
        fleet.is(HealthStatus::Healthy, &[&east, &west]).await?;

        is_labelled(&fleet, &replica).await?;
        let labelled = EntityFilter {
            cluster_labels: vec!["environment=prod".to_owned()],
            ..EntityFilter::default()
        };
        let all = fleet.subscribe(EntityFilter::default())?;
        let of_prod = fleet.subscribe(labelled)?;
        for subscriber in [&all, &of_prod] {
            subscriber.wait("synced", |told| matches!(told, Told::Synced)).await?;
        }
        let only_west = west_only(&fleet, &west).await?;
        of_prod.wait("an entity of prod", |told| is_of(told, &only_west)).await?;

        // It lives: nobody forgets it by mistake.
        let refused = fleet.vitals("clusters forget west").await?;
        ensure!(refused.stderr.contains("may be alive"), "{}", refused.stderr);
        ensure!(refused.status.code() == Some(1), "{:?}", refused.status);
        fleet.agent("west")?.kill().await?;
        for hub in [fleet.hub()?, replica.client()?] {
            is_seen_as(&hub, FreshnessState::AgentLost).await?;
        }
        let before = Left::at(fleet.hub()?).await?;
        let forgotten = fleet.vitals("clusters forget west").await?;
        ensure!(forgotten.status.success(), "{}", forgotten.stderr);

        for hub in [fleet.hub()?, replica.client()?] {
            is_gone(&hub, &only_west).await?;
        }
        for subscriber in [&all, &of_prod] {
            let removed = |told: &Told| matches!(told, Told::Removed(it) if *it == only_west);
            subscriber.wait("removed", removed).await?;
        }
        of_prod.wait("left", |told| matches!(told, Told::Removed(it) if it == SHOP)).await?;
        nothing_is_left(&fleet).await?;
        before.resumes_as_fresh(replica.client()?, Some("resumed")).await?;
        // A hub that starts now has never held it, and says so to who resumes from before.
        fleet.hub_process().kill().await?;
        fleet.hub_process().restart().await?;
        fleet.wait_fresh("east").await?;
        is_gone(&fleet.hub()?, &only_west).await?;
        before.resumes_as_fresh(fleet.hub()?, None).await?;
        fleet.assert_true_in(&east.cluster, &[&east.namespace]).await?;

        // Its agent comes back, and with it all that it had.
        fleet.agent("west")?.restart().await?;
        for hub in [fleet.hub()?, replica.client()?] {
            is_seen_as(&hub, FreshnessState::Fresh).await?;
        }
        fleet.is(HealthStatus::Healthy, &[&east, &west]).await?;
        of_prod.wait("back", |told| is_of(told, SHOP)).await?;
        let west_now = fleet.cluster("west").await?.context("west is unknown")?;
        ensure!(west_now.labels["environment"] == "prod", "{west_now:?}");
        fleet.assert_true_in(&west.cluster, &[&west.namespace]).await?;

        comes_back_by_itself(&fleet, &replica).await?;
        fleet.is(HealthStatus::Healthy, &[&east, &west]).await?;
        fleet.assert_true_in(&west.cluster, &[&west.namespace]).await
    }));
}

/// Forgotten by force while it lives: it goes, and is repaired.
async fn comes_back_by_itself(fleet: &Fleet, replica: &RunningHub) -> Result<()> {
    let request = ForgetClusterRequest { name: "west".to_owned(), force: true };
    fleet.hub()?.clusters().forget_cluster(request).await?;
    for hub in [fleet.hub()?, replica.client()?] {
        is_seen_as(&hub, FreshnessState::Fresh).await?;
    }
    Ok(())
}

/// `vitals clusters label`, as both hubs show it.
async fn is_labelled(fleet: &Fleet, replica: &RunningHub) -> Result<()> {
    let labelled = fleet.vitals("clusters label west environment=prod team=a region=eu").await?;
    ensure!(labelled.status.success(), "{}", labelled.stderr);
    let labelled = fleet.vitals("clusters label west team- title=West").await?;
    ensure!(labelled.stdout == "west has environment=prod,region=eu,title=West\n", "{labelled:?}");
    let mistyped = fleet.vitals("clusters label wset environment=prod").await?;
    ensure!(mistyped.status.code() == Some(1), "{mistyped:?}");
    for hub in [fleet.hub()?, replica.client()?] {
        wait_for("the labels to be shown", SOON, async || {
            let clusters = hub.list_clusters().await?;
            let west = clusters.iter().find(|it| it.name == "west").context("no west")?;
            let entity = shop(&hub).await?.context("no shop")?;
            let labels = entity.clusters.iter().find(|it| it.cluster == "west");
            let is_shown =
                west.title == "West" && labels.map(|it| &it.labels) == Some(&west.labels);
            Ok((is_shown && west.labels.len() == 3).then_some(()))
        })
        .await?;
    }
    let table = fleet.vitals("clusters").await?.stdout;
    ensure!(table.contains("ENVIRONMENT") && table.contains("prod"), "{table}");
    let filtered = fleet.vitals("get --environment prod --cluster-label region=eu").await?.stdout;
    ensure!(filtered.contains(SHOP), "{filtered}");
    let none = fleet.vitals("get --environment test").await?;
    ensure!(none.stdout.is_empty() && none.stderr.contains("no entities"), "{none:?}");
    Ok(())
}

/// An entity that is in `west` alone.
async fn west_only(fleet: &Fleet, west: &Shop) -> Result<String> {
    let deployment = vitals_tests::objects::deployment("only", 1);
    vitals_tests::objects::create(&west.deployments(), deployment).await?;
    let reference = format!("workload:{}/only", west.namespace);
    fleet.wait_entity(&reference, |entity| entity.clusters.len() == 1).await?;
    Ok(reference)
}

fn is_of(told: &Told, reference: &str) -> bool {
    matches!(told, Told::Entity(entity) if entity.r#ref == reference)
}

async fn shop(hub: &Hub) -> Result<Option<Entity>> {
    let filter = EntityFilter { refs: vec![SHOP.to_owned()], ..EntityFilter::default() };
    Ok(hub.list_entities(filter).await?.pop())
}

async fn is_seen_as(hub: &Hub, state: FreshnessState) -> Result<()> {
    wait_for(&format!("west to be seen as {state:?}"), SOON, async || {
        let clusters = hub.list_clusters().await?;
        let west = clusters.into_iter().find(|it| it.name == "west").context("it is unknown")?;
        let freshness = west.freshness.unwrap_or_default();
        ensure!(freshness.state() == state, "it is {freshness:?}");
        Ok(Some(()))
    })
    .await
}

/// Waits until a hub shows nothing of `west`, and all else.
async fn is_gone(hub: &Hub, only_west: &str) -> Result<()> {
    wait_for("west to be gone", SOON, async || {
        let clusters = hub.list_clusters().await?;
        let names: Vec<&str> = clusters.iter().map(|it| it.name.as_str()).collect();
        ensure!(names == ["east"], "{names:?}");
        let entities = hub.list_entities(EntityFilter::default()).await?;
        let of_west = entities.iter().find(|it| it.clusters.iter().any(|it| it.cluster == "west"));
        ensure!(
            of_west.is_none() && entities.iter().all(|it| it.r#ref != only_west),
            "{of_west:?}"
        );
        let shop = entities.iter().find(|it| it.r#ref == SHOP).context("no shop")?;
        let verdict = shop.verdict.clone().unwrap_or_default();
        Ok((verdict.status() == HealthStatus::Healthy).then_some(()))
    })
    .await
}

/// The stream has no message of `west`.
async fn nothing_is_left(fleet: &Fleet) -> Result<()> {
    let context = jetstream::new(async_nats::connect(fleet.nats.url()).await?);
    let stream = context.get_stream("VITALS_OBJECTS").await?;
    for filter in ["vitals.v1.object.west.>", "vitals.v1.heartbeat.west.>"] {
        use futures::TryStreamExt as _;
        let subjects: Vec<_> = stream.info_with_subjects(filter).await?.try_collect().await?;
        ensure!(subjects.is_empty(), "{subjects:?}");
    }
    Ok(())
}

/// Somebody who watched all, and left.
struct Left {
    view: View,
    token: prost::bytes::Bytes,
}

impl Left {
    async fn at(hub: Hub) -> Result<Self> {
        let mut follower = Follower::new(hub, EntityFilter::default());
        let mut view = View::default();
        loop {
            let Said::Step(step) = follower.next().await? else { continue };
            let is_synced = matches!(&step.event, Some(Event::Synced(_)));
            view.apply(*step);
            if is_synced {
                return Ok(Self { view, token: follower.token().clone() });
            }
        }
    }

    /// Who resumes ends with the view of a fresh snapshot, and by the way that is wanted, where one is.
    async fn resumes_as_fresh(&self, hub: Hub, way: Option<&str>) -> Result<()> {
        wait_for("the view to be whole", SOON, async || {
            let filter = EntityFilter::default();
            let mut follower = Follower::new(hub.clone(), filter).resumed(self.token.clone());
            let (mut view, mut came) = (self.view.clone(), "nothing");
            loop {
                let Said::Step(step) = follower.next().await? else { continue };
                match view.apply(*step) {
                    Applied::Resumed => came = "resumed",
                    Applied::SnapshotBegun(_) => came = "snapshot",
                    // Times alone may differ while a cluster is being verified: the digest says so.
                    Applied::Differs(_) => anyhow::bail!("the view differs after {came}"),
                    Applied::Synced { .. } => break,
                    Applied::Changed { .. }
                    | Applied::Removed(_)
                    | Applied::Progress(_)
                    | Applied::Unknown => {}
                }
            }
            ensure!(way.is_none_or(|way| way == came), "it was {came}");
            let of_west = view
                .entities()
                .values()
                .any(|it| it.clusters.iter().any(|it| it.cluster == "west"));
            ensure!(!of_west, "west is still seen");
            Ok(Some(()))
        })
        .await
    }
}
