//! The laws of the picture, over random changes: the order of inputs, and their batches, do not matter; what is kept up to
//! date is what would be made anew.

use proptest::prelude::*;
use vitals_proto::{identity::Uid, kind::Kind, v1::FreshnessState};

use super::{
    testing::{self, Bench, TestObject, outcomes},
    *,
};

#[derive(Clone, Debug)]
enum Step {
    Put(Box<TestObject>),
    NotUnderstood(ObjectKey),
    Remove(ObjectKey),
    Freshness(&'static str, FreshnessState, Vec<Kind>),
    Define(Vec<v1::EntityDefinition>),
    Settle,
}

const UIDS: [&str; 5] = ["u1", "u2", "u3", "u4", "u5"];
const LABELS: [&str; 8] = [
    "",
    "app=a",
    "app=b",
    "backstage.io/kubernetes-id=shop",
    "backstage.io/kubernetes-id=cart,app=a",
    "app.kubernetes.io/instance=x",
    "vitals.dev/entity=shop",
    "app.kubernetes.io/name=x,app=b,app.kubernetes.io/part-of=y",
];

/// A small world, in which names, UIDs and labels meet often, also as they never should.
#[expect(clippy::too_many_lines, reason = "an arm for each kind")]
fn object() -> impl Strategy<Value = TestObject> {
    let one_of = |all: &'static [&'static str]| proptest::sample::select(all);
    (
        (0..17_u8, one_of(&["c1", "c2"]), one_of(&["n/a", "n/b", "m/a"])),
        (
            one_of(&UIDS),
            proptest::collection::vec(one_of(&UIDS), 0..=2),
            one_of(&LABELS),
            one_of(&LABELS),
        ),
        (0..4_i32, 0..6_u8),
    )
        .prop_map(|((kind, cluster, name), (uid, owners, own, pods), (available, state))| {
            let object = match kind {
                0 => testing::deployment(cluster, name, pods)
                    .of_deployment(|it| it.available = available),
                1 => testing::replica_set(cluster, name, pods).of_replica_set(|it| {
                    it.available = available;
                    it.replicas = available;
                    it.desired = if state == 0 { 0 } else { 3 };
                }),
                2 => testing::stateful_set(cluster, name, pods),
                3 => {
                    let nodes = ["", "x", "y", "none"];
                    let pod =
                        testing::pod(cluster, name).on(nodes[usize::try_from(available).unwrap()]);
                    match state {
                        0 => pod.crashing(),
                        1 => pod.phase("Failed"),
                        2 => pod.phase("Pending"),
                        3 => pod.deleting(),
                        _ => pod,
                    }
                }
                4 => testing::cron_job(cluster, name, pods),
                5 => {
                    let holds = ["", "Failed", "Complete", "Suspended", "Failed", "Complete"];
                    testing::job(cluster, name, holds[usize::from(state)]).made(available.into())
                }
                6 => testing::autoscaler(
                    cluster,
                    name,
                    if state < 3 { "Deployment" } else { "StatefulSet" },
                    if available < 2 { "a" } else { "b" },
                ),
                7 => testing::claim(cluster, name, if state == 0 { "Lost" } else { "Pending" }),
                8 => testing::budget(cluster, name, pods, available.min(1)),
                9 => {
                    let services = ["a", "b", "none"];
                    let of = |number: i32| services[usize::try_from(number).unwrap() % 3];
                    testing::ingress(cluster, name, &[of(available), of(i32::from(state))])
                }
                10 => testing::service(cluster, name, pods),
                16 => testing::node(cluster, if state < 3 { "x" } else { "y" }),
                15 => {
                    let [namespace, of] = if state < 3 { ["n", "n"] } else { ["m", ""] };
                    let kind = ["Pod", "Deployment", "Namespace"][usize::from(state % 3)];
                    testing::events(cluster, namespace, ["", kind, of, "a"])
                }
                14 => testing::replication_controller(cluster, name, pods, available.min(2)),
                13 => testing::quota(cluster, name),
                12 => testing::volume(cluster, if state < 3 { "pv-a" } else { "pv-b" }, "Failed"),
                _ => testing::endpoint_slice(cluster, name, "a", &["a", "b"]),
            };
            // That of a slice names its Service.
            let own =
                if kind == 11 && available < 3 { "kubernetes.io/service-name=a" } else { own };
            let object = if kind == 3 && available > 1 {
                object.mounting(&[if available == 2 { "a" } else { "b" }, "none"])
            } else {
                object
            };
            let object = object.labelled(own).uid(uid);
            owners.into_iter().fold(object, |object, owner| {
                let makes = if kind % 2 == 0 { "ReplicaSet" } else { "CronJob" };
                object.under_uid(Uid::from_text(owner).to_wire().into(), makes)
            })
        })
}

fn definitions() -> impl Strategy<Value = Vec<v1::EntityDefinition>> {
    let all = vec![
        v1::EntityDefinition { r#ref: "component:default/shop".into(), ..Default::default() },
        v1::EntityDefinition {
            r#ref: "component:default/cart".into(),
            kubernetes_namespace: "n".into(),
            owner: "group:default/a".into(),
            ..Default::default()
        },
        v1::EntityDefinition {
            r#ref: "component:n/x".into(),
            kubernetes_label_selector: "app=a".into(),
            ..Default::default()
        },
        v1::EntityDefinition {
            r#ref: "component:default/not-b".into(),
            kubernetes_label_selector: "app!=b,app".into(),
            kubernetes_cluster: "c1".into(),
            ..Default::default()
        },
        v1::EntityDefinition { r#ref: "system:default/y".into(), ..Default::default() },
    ];
    proptest::sample::subsequence(all.clone(), 0..=all.len())
}

fn step() -> impl Strategy<Value = Step> {
    let states = [FreshnessState::Fresh, FreshnessState::AgentLost, FreshnessState::BlindSpot];
    let unseen =
        proptest::sample::subsequence(vec![Kind::Pod, Kind::StatefulSet, Kind::Job], 0..=3);
    let cluster = proptest::sample::select(&["c1", "c2"][..]);
    prop_oneof![
        12 => object().prop_map(|object| Step::Put(Box::new(object))),
        1 => object().prop_map(|object| Step::NotUnderstood(object.key)),
        5 => object().prop_map(|object| Step::Remove(object.key)),
        1 => (cluster, proptest::sample::select(states.to_vec()), unseen).prop_map(|(cluster, state, unseen)| Step::Freshness(cluster, state, unseen)),
        1 => definitions().prop_map(Step::Define),
        4 => Just(Step::Settle),
    ]
}

/// What there is after all steps: the world, without its history.
#[derive(Clone, Debug, Default)]
struct World {
    objects: BTreeMap<ObjectKey, Option<TestObject>>,
    freshness: BTreeMap<&'static str, (FreshnessState, Vec<Kind>)>,
    definitions: Vec<v1::EntityDefinition>,
}

fn apply(bench: &mut Bench, world: &mut World, step: &Step) {
    match step {
        Step::Put(object) => {
            bench.put(object);
            world.objects.insert(object.key.clone(), Some((**object).clone()));
        }
        Step::NotUnderstood(key) => {
            bench.put_not_understood(key);
            world.objects.insert(key.clone(), None);
        }
        Step::Remove(key) => {
            bench.remove(key, Some(""));
            world.objects.remove(key);
        }
        Step::Freshness(cluster, state, unseen) => {
            bench.set_freshness(cluster, *state, unseen);
            world.freshness.insert(cluster, (*state, unseen.clone()));
        }
        Step::Define(definitions) => {
            bench.sequence += 1;
            bench.define(definitions, bench.sequence);
            world.definitions.clone_from(definitions);
        }
        Step::Settle => drop(bench.settle()),
    }
}

/// The same world, made anew, its objects in this order.
fn anew<'a>(world: &'a World, keys: impl Iterator<Item = &'a ObjectKey>) -> Bench {
    let mut bench = Bench::default();
    for key in keys {
        match &world.objects[key] {
            Some(object) => bench.put(object),
            None => bench.put_not_understood(key),
        }
    }
    for (cluster, (state, unseen)) in &world.freshness {
        bench.set_freshness(cluster, *state, unseen);
    }
    bench.define(&world.definitions, 1);
    bench.settle();
    bench
}

/// All entities, without what rests on history.
fn timeless(bench: &Bench) -> Vec<v1::Entity> {
    let entities = bench.picture.entities().map(|(_, mut entity)| {
        entity.revision = None;
        let clusters = entity.clusters.iter_mut().filter_map(|it| it.verdict.as_mut());
        clusters.chain(entity.verdict.as_mut()).for_each(|verdict| verdict.since = None);
        entity
    });
    entities.collect()
}

/// The first entity in which two differ.
fn first_difference(ours: &[v1::Entity], theirs: &[v1::Entity]) -> Option<String> {
    let all: BTreeSet<_> = ours.iter().chain(theirs).map(|it| it.r#ref.clone()).collect();
    all.iter().find_map(|entity| {
        let of = |all: &[v1::Entity]| all.iter().find(|it| it.r#ref == *entity).cloned();
        let (ours, theirs) = (of(ours), of(theirs));
        (ours != theirs).then(|| format!("{ours:#?} differs from {theirs:#?}"))
    })
}

/// Why each object belongs where it does.
fn explained(bench: &Bench, world: &World) -> Vec<(String, Option<v1::ExplainObjectResponse>)> {
    let explain = |key: &ObjectKey| {
        let mut said = bench.picture.explain(&bench.store, key);
        said.iter_mut().for_each(|it| it.held = None);
        (key.to_string(), said)
    };
    world.objects.keys().map(explain).collect()
}

fn trees(bench: &Bench) -> Vec<Vec<v1::TreeNode>> {
    let entities = bench.picture.entities().map(|(entity, _)| entity.clone());
    entities.filter_map(|entity| Some(bench.picture.tree(&bench.store, &entity)?.roots)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn what_is_kept_up_to_date_is_what_would_be_made_anew(steps in proptest::collection::vec(step(), 1..40)) {
        let (mut bench, mut world) = (Bench::default(), World::default());
        for step in &steps {
            apply(&mut bench, &mut world, step);
        }
        bench.settle();
        let forward = anew(&world, world.objects.keys());
        prop_assert_eq!(first_difference(&timeless(&bench), &timeless(&forward)), None);
        prop_assert_eq!(explained(&bench, &world), explained(&forward, &world));
        prop_assert_eq!(trees(&bench), trees(&forward));
        let backward = anew(&world, world.objects.keys().rev());
        prop_assert_eq!(first_difference(&timeless(&backward), &timeless(&forward)), None);
    }

    #[test]
    fn what_explains_a_claim_is_what_claims(steps in proptest::collection::vec(step(), 1..30)) {
        let (mut bench, mut world) = (Bench::default(), World::default());
        for step in &steps {
            apply(&mut bench, &mut world, step);
        }
        for key in world.objects.keys() {
            let said = bench.picture.explain(&bench.store, key).unwrap();
            let explained: Vec<_> = said.claims.iter().map(|claim| claim.r#ref.clone()).collect();
            let held: Vec<_> = bench.picture.entities_of(key).iter().map(ToString::to_string).collect();
            prop_assert_eq!(explained, held);
            prop_assert_eq!(said.unclaimed.is_empty(), !said.claims.is_empty());
        }
    }

    #[test]
    fn batches_do_not_matter(steps in proptest::collection::vec(step(), 1..30)) {
        let steps: Vec<_> = steps.into_iter().filter(|step| !matches!(step, Step::Settle)).collect();
        let (mut at_once, mut one_by_one) = (Bench::default(), Bench::default());
        let mut view = BTreeMap::new();
        for step in &steps {
            apply(&mut at_once, &mut World::default(), step);
            apply(&mut one_by_one, &mut World::default(), step);
            for EntityChange { entity, touched, outcome } in one_by_one.settle() {
                match outcome {
                    Outcome::Changed { state, .. } => {
                        prop_assert_eq!(state.revision.clone(), Some(touched.to_wire()));
                        view.insert(entity, (*state).clone());
                    }
                    Outcome::Touched => {
                        view.get_mut(&entity).unwrap().revision = Some(touched.to_wire());
                    }
                    Outcome::Removed => {
                        view.remove(&entity);
                    }
                }
            }
        }
        at_once.settle();
        prop_assert_eq!(first_difference(&timeless(&at_once), &timeless(&one_by_one)), None);
        for (entity, state) in one_by_one.picture.entities() {
            // Who follows the changes sees what there is.
            prop_assert_eq!(view.remove(entity), Some(state));
            prop_assert_eq!(at_once.picture.touched(entity), one_by_one.picture.touched(entity));
        }
        prop_assert_eq!(view, BTreeMap::new());
    }

    #[test]
    fn what_differs_was_touched(before in proptest::collection::vec(step(), 1..20), step in step()) {
        let (mut bench, mut world) = (Bench::default(), World::default());
        for step in &before {
            apply(&mut bench, &mut world, step);
        }
        bench.settle();
        let old = timeless(&bench);
        apply(&mut bench, &mut world, &step);
        bench.settle();
        // Sequences begin anew with each definition, so that these count as the stream does.
        let at = if bench.sequence == 0 { Position::default() } else { Position::at(&testing::point(bench.sequence)) };
        for entity in timeless(&bench) {
            if !old.contains(&entity) {
                let touched = bench.picture.touched(&entity.r#ref.parse().unwrap()).unwrap();
                prop_assert!(touched.is_touched_since(&at), "{touched:?} {at:?}");
            }
        }
    }

    #[test]
    fn nothing_stale_is_healthy(steps in proptest::collection::vec(step(), 1..30)) {
        let (mut bench, mut world) = (Bench::default(), World::default());
        for step in &steps {
            apply(&mut bench, &mut world, step);
        }
        bench.settle();
        for entity in timeless(&bench) {
            for cluster in &entity.clusters {
                let verdict = cluster.verdict.as_ref().unwrap();
                let fresh = world.freshness.get(cluster.cluster.as_str());
                let blind = fresh.is_none_or(|(state, _)| *state == FreshnessState::AgentLost);
                if blind {
                    prop_assert_eq!(verdict.status(), v1::HealthStatus::Unknown);
                    prop_assert_ne!(entity.verdict.as_ref().unwrap().status(), v1::HealthStatus::Healthy);
                }
            }
        }
    }
}

#[test]
fn an_input_touches_though_nothing_differs_and_says_so() {
    let shop = testing::deployment("c1", "pay/shop", "app=shop");
    let mut bench = Bench::of(std::slice::from_ref(&shop));
    let before = bench.entity("workload:pay/shop");
    bench.put(&shop);
    let changes = bench.settle();
    assert_eq!(outcomes(&changes), [("workload:pay/shop".to_owned(), "touched")]);
    assert_eq!(changes[0].touched, Position::at(&testing::point(2)));
    let after = bench.entity("workload:pay/shop");
    assert_eq!(after.digest, before.digest);
    assert_ne!(after.revision, before.revision);
    assert!(bench.settle().is_empty());
}

#[test]
fn without_the_rule_only_what_differs_is_touched() {
    let shop = testing::deployment("c1", "pay/shop", "app=shop");
    let rules = Rules::without(Rule::TouchedByInput);
    let mut bench = Bench::with(rules, PictureConfig::default());
    bench.put(&shop);
    bench.settle();
    bench.put(&shop);
    assert!(bench.settle().is_empty());
    bench.remove(&testing::deployment("c1", "pay/never", "").key, Some(""));
    assert!(bench.settle().is_empty());
    bench.put(&shop.clone().of_deployment(|it| it.available = 1));
    assert_eq!(bench.settle()[0].touched, Position::at(&testing::point(4)));
}

#[test]
fn a_tombstone_touches_what_was_never_held() {
    let mut bench = Bench::of(&[testing::deployment("c1", "pay/shop", "app=shop")]);
    let deletions = [
        (
            "by id",
            testing::pod("c1", "pay/x"),
            "backstage.io/kubernetes-id=cart",
            vec![("component:default/cart", "removed")],
        ),
        (
            "by template",
            testing::pod("c1", "pay/x"),
            "app=shop,hash=1",
            vec![("workload:pay/shop", "touched")],
        ),
        (
            "derived",
            testing::stateful_set("c1", "pay/db", ""),
            "",
            vec![("workload:pay/db", "removed"), ("workload:pay/db_statefulset", "removed")],
        ),
        ("nothing", testing::pod("c1", "pay/x"), "app=other", vec![]),
    ];
    for (case, object, labels, want) in deletions {
        bench.remove(&object.key, Some(labels));
        let want: Vec<_> =
            want.into_iter().map(|(entity, outcome)| (entity.to_owned(), outcome)).collect();
        assert_eq!(outcomes(&bench.settle()), want, "{case}");
    }
}

#[test]
fn since_is_kept_while_status_and_reason_stay() {
    let shop = testing::deployment("c1", "pay/shop", "");
    let mut bench = Bench::of(std::slice::from_ref(&shop));
    let since =
        |bench: &Bench| bench.verdict("workload:pay/shop").since.map(|at| Time::from_wire(&at));
    let ms = |ms| Time::from_unix_ms(testing::NOW.unix_ms() + ms);
    for (at, available, want) in
        [(1_000, 3, 0), (2_000, 2, 2_000), (3_000, 1, 2_000), (4_000, 3, 4_000)]
    {
        bench.now = ms(at);
        bench.put(&shop.clone().of_deployment(|it| it.available = available));
        bench.settle();
        assert_eq!(since(&bench), Some(ms(want)), "at {at}");
    }
}

/// A pod that no node takes since then.
fn unscheduled(since_unix_s: i64) -> TestObject {
    let lasting = testing::pod("c1", "pay/x").labelled("app.kubernetes.io/name=shop");
    lasting.phase("Pending").of_pod(|pod| {
        pod.conditions = vec![v1::Condition {
            r#type: "PodScheduled".into(),
            status: "False".into(),
            reason: "Unschedulable".into(),
            message: "0/5 nodes are available".into(),
            last_transition_at_unix_s: since_unix_s,
            ..Default::default()
        }];
    })
}

#[test]
fn ages_are_by_the_clock_of_the_cluster() {
    for ahead_s in [-60, 0, 60] {
        let mut bench = Bench { clock_ahead_ms: ahead_s * 1_000, ..Bench::default() };
        bench.freshen("c1");
        bench.put(&unscheduled(testing::NOW.unix_ms() / 1_000 + ahead_s));
        bench.settle();
        let due = bench.picture.recheck_at().unwrap();
        assert_eq!(due, Time::from_unix_ms(testing::NOW.unix_ms() + 15_000), "{ahead_s}");
        bench.now = due;
        bench.settle();
        assert_eq!(bench.verdict("component:pay/shop").reason, "Unschedulable", "{ahead_s}");
    }
}

#[test]
fn time_alone_changes_a_verdict_and_touches_it_then() {
    let mut bench = Bench::of(&[unscheduled(testing::NOW.unix_ms() / 1_000)]);
    let entity = "component:pay/shop";
    assert_eq!(
        (bench.verdict(entity).status(), bench.verdict(entity).reason),
        (v1::HealthStatus::Progressing, "PodPending".to_owned())
    );
    let due = bench.picture.recheck_at().unwrap();
    assert_eq!(due, Time::from_unix_ms(testing::NOW.unix_ms() + 15_000));
    bench.now = Time::from_unix_ms(due.unix_ms() - 1);
    assert!(bench.settle().is_empty());
    bench.now = due;
    bench.sequence = 9;
    let changes = bench.settle();
    assert_eq!(outcomes(&changes), [(entity.to_owned(), "changed")]);
    assert_eq!(changes[0].touched, Position::at(&testing::point(9)));
    assert_eq!(
        (bench.verdict(entity).status(), bench.verdict(entity).reason),
        (v1::HealthStatus::Degraded, "Unschedulable".to_owned())
    );
    assert_eq!(bench.picture.recheck_at(), None);
}

#[test]
fn a_forgotten_cluster_leaves_nothing() {
    let mut bench = Bench::of(&[
        testing::deployment("c1", "pay/shop", ""),
        testing::deployment("c2", "pay/shop", ""),
        testing::deployment("c2", "pay/cart", ""),
    ]);
    for name in ["pay/shop", "pay/cart"] {
        bench.picture.forget_object(&testing::deployment("c2", name, "").key, 7);
    }
    bench.picture.forget_cluster(&"c2".parse().unwrap(), 7);
    let changes = bench.settle();
    let gone =
        [("workload:pay/cart".to_owned(), "removed"), ("workload:pay/shop".into(), "changed")];
    assert_eq!(outcomes(&changes), gone);
    assert!(changes.iter().all(|change| change.touched.clusters_revision == 7), "{changes:?}");
    assert_eq!(bench.refs(), ["workload:pay/shop"]);
    assert_eq!(bench.entity("workload:pay/shop").clusters.len(), 1);
    assert_eq!(bench.picture.objects(), 1);
}
