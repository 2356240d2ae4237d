//! A small cluster against a hub that is right, then wrong in one thing at a time: each is found, and named.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use vitals_hub_core::Time;
use vitals_hub_core::assess::assess;
use vitals_proto::identity::{KeyParts, ObjectKey};
use vitals_proto::kind::Kind;
use vitals_proto::v1::{
    Cluster, ClusterVerdict, Entity, EntityOrigin, Freshness, FreshnessState, HealthStatus,
    HeldObjectState, KindFreshness, KindState, ScopeReport, Verdict, WorkloadSummary,
};

use super::held::{self, Held};
use super::live::{Live, LiveObject};
use super::report::{Difference, Found};
use super::{entity, object, standing, verdict};

const NOW: Time = Time::from_unix_ms(1_800_000_000_000);

fn key(kind: Kind, name: &str) -> ObjectKey {
    let namespace = if kind.is_namespaced() == Some(false) { "" } else { "pay" };
    ObjectKey::new(KeyParts { cluster: "eu-1".parse().unwrap(), kind, namespace, name }).unwrap()
}

fn json_of(key: &ObjectKey, owner: Option<&str>, rest: Value) -> LiveObject {
    let mut metadata = json!({
        "namespace": key.namespace(), "name": key.name(), "uid": format!("uid-{}", key.name()),
        "resourceVersion": "7", "generation": 2, "labels": {"app": "shop"},
    });
    if let Some(owner) = owner {
        let uid = format!("uid-{owner}");
        metadata["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "X", "name": owner, "uid": uid, "controller": true}]);
    }
    let mut object = rest;
    object["metadata"] = metadata;
    LiveObject::new(object)
}

/// Deployment `shop` with a ReplicaSet and a pod that restarted twice.
fn live() -> Live {
    let template = json!({"spec": {"containers": [{"name": "app", "image": "app:1"}]}});
    let status = json!({
        "observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1,
    });
    let spec = json!({"replicas": 1, "template": template});
    let pod = json!({
        "spec": {"containers": [{"name": "app", "image": "app:1"}]},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "app", "restartCount": 2, "ready": true}],
        },
    });
    let (deployment, set, one) = (
        key(Kind::Deployment, "shop"),
        key(Kind::ReplicaSet, "shop-a"),
        key(Kind::Pod, "shop-a-1"),
    );
    let workload = || json!({"spec": spec, "status": status});
    let objects = BTreeMap::from([
        (deployment.clone(), json_of(&deployment, None, workload())),
        (set.clone(), json_of(&set, Some("shop"), workload())),
        (one.clone(), json_of(&one, Some("shop-a"), pod)),
    ]);
    Live { objects }
}

/// What a hub that is right says of [`live`].
fn held() -> Held {
    let live = live();
    let entity = "workload:pay/shop".to_owned();
    let objects = live.objects.iter().map(|(key, object)| HeldObjectState {
        object: Some(key.to_ref()),
        resource_version: "6".to_owned(),
        facts: Some(object.facts(key.kind()).unwrap()),
        health: Some(assess(&object.facts(key.kind()).unwrap(), NOW).to_health()),
        entities: vec![entity.clone()],
        ..HeldObjectState::default()
    });
    let workload = WorkloadSummary {
        object: Some(key(Kind::Deployment, "shop").to_ref()),
        desired: 1,
        updated: 1,
        ready: 1,
        available: 1,
        restarts: 2,
        images: vec!["app:1".to_owned()],
        ..WorkloadSummary::default()
    };
    let fresh = Freshness { state: FreshnessState::Fresh.into(), ..Freshness::default() };
    let status = HealthStatus::Healthy.into();
    let verdict = Some(Verdict { status, freshness: Some(fresh), ..Verdict::default() });
    let clusters = vec![ClusterVerdict {
        cluster: "eu-1".into(),
        verdict,
        workloads: vec![workload],
        ..ClusterVerdict::default()
    }];
    let origin = EntityOrigin::Derived.into();
    let entities = vec![Entity { r#ref: entity.clone(), origin, clusters, ..Entity::default() }];
    Held::new(seen(FreshnessState::Fresh), objects.collect(), entities, true)
}

fn seen(state: FreshnessState) -> Cluster {
    let kind = |kind: Kind| KindFreshness {
        kind: kind.to_string(),
        state: KindState::Complete.into(),
        ..KindFreshness::default()
    };
    let kinds = Kind::KNOWN.into_iter().map(kind).collect();
    Cluster {
        name: "eu-1".to_owned(),
        freshness: Some(Freshness { state: state.into(), ..Freshness::default() }),
        scopes: vec![ScopeReport { scope: "main".into(), kinds, ..ScopeReport::default() }],
        ..Cluster::default()
    }
}

/// `subject: aspect` of all that is found.
fn found(live: &Live, held: &Held) -> Vec<String> {
    let mut found = object::compare(live, held, NOW);
    found.extend(entity::compare(live, held));
    found.extend(verdict::compare(live, held, NOW));
    let name = |found: Found| format!("{}: {}", found.subject.0, found.subject.1);
    found.into_iter().map(name).collect()
}

fn change(held: &mut Held, kind: Kind, name: &str, change: impl FnOnce(&mut HeldObjectState)) {
    change(held.objects.get_mut(&key(kind, name)).unwrap());
}

#[test]
fn a_hub_that_is_right_differs_in_nothing_but_the_resource_version() {
    assert_eq!(found(&live(), &held()), [""; 0]);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table, some lines a case")]
fn each_thing_that_is_wrong_is_found() {
    type Wrong = fn(&mut Live, &mut Held);
    let shop = "eu-1/deployments.apps/pay/shop";
    let entity = "workload:pay/shop in eu-1";
    let cases: [(&str, Wrong, Vec<String>); 13] = [
        (
            "an object that the hub lacks",
            |_, held| drop(held.objects.remove(&key(Kind::Pod, "shop-a-1"))),
            vec!["eu-1/pods/pay/shop-a-1: presence".into()],
        ),
        (
            "an object that the hub invented",
            |live, _| drop(live.objects.remove(&key(Kind::ReplicaSet, "shop-a"))),
            vec!["eu-1/replicasets.apps/pay/shop-a: presence".into(), format!("{shop}: RESTARTS")],
        ),
        (
            "facts",
            |_, held| {
                change(held, Kind::Pod, "shop-a-1", |pod| {
                    pod.facts.as_mut().unwrap().meta.as_mut().unwrap().generation = 9;
                });
            },
            vec!["eu-1/pods/pay/shop-a-1: facts".into()],
        ),
        (
            "health",
            |_, held| change(held, Kind::Pod, "shop-a-1", |pod| pod.health = None),
            vec!["eu-1/pods/pay/shop-a-1: health".into()],
        ),
        (
            "a number",
            |_, held| held.entities[0].clusters[0].workloads[0].restarts = 3,
            vec![format!("{shop}: RESTARTS")],
        ),
        (
            "an image",
            |_, held| held.entities[0].clusters[0].workloads[0].images.clear(),
            vec![format!("{shop}: IMAGES")],
        ),
        (
            "no entity",
            |_, held| {
                held.entities.clear();
                change(held, Kind::Deployment, "shop", |it| it.entities.clear());
            },
            vec![format!("{shop}: entity")],
        ),
        (
            "another entity",
            |_, held| held.entities[0].r#ref = "component:default/shop".into(),
            vec![
                format!("{shop}: entities"),
                format!("{shop}: entity"),
                "component:default/shop in eu-1: presence".into(),
            ],
        ),
        (
            "a workload that is not there",
            |_, held| {
                let mut ghost = held.entities[0].clusters[0].workloads[0].clone();
                ghost.object = Some(key(Kind::Deployment, "ghost").to_ref());
                held.entities[0].clusters[0].workloads.push(ghost);
            },
            vec!["eu-1/deployments.apps/pay/ghost: presence as a workload".into()],
        ),
        (
            "green while nobody sees it",
            |_, held| held.seen = seen(FreshnessState::AgentLost),
            vec![format!("{entity}: freshness")],
        ),
        (
            "green over a workload that is not",
            |live, held| {
                let deployment = key(Kind::Deployment, "shop");
                let object = live.objects.get_mut(&deployment).unwrap();
                object.set("/status/updatedReplicas", json!(0));
                let facts = object.facts(&Kind::Deployment).unwrap();
                held.entities[0].clusters[0].workloads[0].updated = 0;
                change(held, Kind::Deployment, "shop", |it| {
                    it.health = Some(assess(&facts, NOW).to_health());
                    it.facts = Some(facts);
                });
            },
            vec![format!("{entity}: status")],
        ),
        (
            "red over objects that are all well",
            |_, held| {
                let verdict = held.entities[0].clusters[0].verdict.as_mut().unwrap();
                verdict.status = HealthStatus::Degraded.into();
            },
            vec![format!("{entity}: status")],
        ),
        (
            "an entity of which there is nothing",
            |_, held| {
                let mut ghost = held.entities[0].clone();
                ghost.r#ref = "workload:pay/ghost".to_owned();
                ghost.clusters[0].workloads.clear();
                held.entities.push(ghost);
            },
            vec!["workload:pay/ghost in eu-1: presence".into()],
        ),
    ];
    for (case, wrong, want) in cases {
        let (mut live, mut held) = (live(), held());
        wrong(&mut live, &mut held);
        assert_eq!(found(&live, &held), want, "{case}");
    }
}

#[test]
fn the_fields_of_facts_that_differ_are_shown_from_both_sides() {
    let (live, mut held) = (live(), held());
    change(&mut held, Kind::Pod, "shop-a-1", |pod| {
        pod.facts.as_mut().unwrap().meta.as_mut().unwrap().generation = 9;
    });
    let found = object::compare(&live, &held, NOW);
    let Difference { cluster, hub, .. } = &found[0].difference;
    assert_eq!(
        (cluster.as_str(), hub.as_str()),
        (r#"meta.generation="2""#, r#"meta.generation="9""#)
    );
}

#[test]
fn a_kind_that_the_hub_says_it_does_not_see_is_not_compared() {
    let mut seen = seen(FreshnessState::BlindSpot);
    seen.scopes[0].kinds[1].state = KindState::Forbidden.into();
    seen.scopes[0].kinds.pop();
    let (kinds, unseen) = held::kinds(&seen);
    let unseen: Vec<&str> = unseen.iter().map(|it| it.kind.as_str()).collect();
    let last = Kind::KNOWN.last().unwrap().resource();
    assert_eq!((kinds.len(), unseen), (Kind::KNOWN.len() - 2, vec!["nodes", last]));
}

#[tokio::test(start_paused = true)]
async fn a_difference_stands_while_its_object_does_not_change() {
    let difference = |subject: &str| Difference {
        subject: subject.to_owned(),
        aspect: "facts".to_owned(),
        cluster: "a".to_owned(),
        hub: "b".to_owned(),
    };
    let round = |of: &[(&str, &str)]| -> Vec<Found> {
        of.iter().map(|(subject, version)| Found::new(difference(subject), version)).collect()
    };
    let second = std::time::Duration::from_secs(1);
    let first = standing(&BTreeMap::new(), round(&[("a", "1"), ("b", "1"), ("c", "1")]), true);
    tokio::time::advance(second).await;
    let next = standing(&first, round(&[("a", "1"), ("b", "2"), ("new", "1")]), false);
    let ages: Vec<_> =
        next.iter().map(|(subject, it)| (subject.0.as_str(), it.since.elapsed())).collect();
    let zero = std::time::Duration::ZERO;
    assert_eq!(ages, [("a", second), ("b", zero)], "c was repaired; new was equal before");

    // What was absent and came back wrong was never equal.
    let other = Difference { aspect: "presence".to_owned(), ..difference("b") };
    let first = standing(&BTreeMap::new(), vec![Found::new(other, "1")], true);
    let next = standing(&first, round(&[("b", "1")]), false);
    assert_eq!(next.len(), 1);
}

#[test]
fn what_has_no_namespace_takes_no_entity_out_of_one() {
    let volume = key(Kind::PersistentVolume, "pv-1");
    let kinds = Kind::KNOWN.into();
    for (other, is_kept) in [(volume, true), (key(Kind::Pod, "x"), false)] {
        let mut held = held();
        let elsewhere = KeyParts {
            cluster: other.cluster().clone(),
            kind: other.kind().clone(),
            namespace: if is_kept { "" } else { "elsewhere" },
            name: other.name(),
        };
        let entities = vec!["workload:pay/shop".to_owned()];
        let object = HeldObjectState { entities, ..HeldObjectState::default() };
        held.objects.insert(ObjectKey::new(elsewhere).unwrap(), object);
        held.retain(&kinds, &["pay".to_owned()]);
        assert_eq!((held.entities.len(), held.objects.len()), (usize::from(is_kept), 3));
    }
}

#[test]
fn events_about_one_object_are_one() {
    let event = |name: &str, version: u32, count: u32| {
        LiveObject::new(json!({
            "metadata": {"namespace": "pay", "name": name, "resourceVersion": version.to_string()},
            "involvedObject": {"kind": "Pod", "namespace": "pay", "name": "shop-a-1"},
            "reason": "BackOff", "count": count,
        }))
    };
    for (first, second) in [((3, 1), (5, 2)), ((5, 1), (3, 2))] {
        let mut both = event("a", first.0, first.1);
        assert_eq!(both.fold_name().as_deref(), Some("pod_shop-a-1"));
        both.join(event("b", second.0, second.1));
        assert_eq!(both.resource_version(), "5");
        let facts = both.facts(&Kind::Event).unwrap();
        let Some(vitals_proto::v1::facts::Kind::Event(facts)) = facts.kind else { panic!() };
        assert_eq!((facts.reasons.len(), facts.reasons[0].count), (1, 3));
    }
}
