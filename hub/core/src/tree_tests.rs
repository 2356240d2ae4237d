//! Trees of entities and around objects.

use super::*;
use crate::picture::testing::{
    Bench, TestObject, autoscaler, budget, claim, cron_job, deployment, endpoint_slice, events,
    ingress, job, namespace, node, pod, quota, replica_set, service, stateful_set, volume,
};

/// One line for each node.
fn drawn(nodes: &[v1::TreeNode], indent: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for node in nodes {
        let object = node.object.as_ref().unwrap();
        let line = format!(
            "{}{} {} {} [{}]",
            " ".repeat(indent),
            node.edge,
            object.kind,
            object.name,
            node.summary
        );
        lines.push(line.trim_end().to_owned());
        lines.extend(drawn(&node.children, indent + 1));
    }
    lines
}

fn shop() -> [TestObject; 5] {
    let shop = deployment("eu-1", "pay/shop", "app=shop");
    let set = replica_set("eu-1", "pay/shop-1", "app=shop").under(&shop);
    let one = pod("eu-1", "pay/one").labelled("app=shop").under(&set);
    let two = pod("eu-1", "pay/two").labelled("app=shop").under(&set).crashing();
    [shop, set, one, two, service("eu-1", "pay/front", "app=shop")]
}

const WHOLE: [&str; 6] = [
    " deployments.apps shop [3/3 ready]",
    " owns replicasets.apps shop-1 [3/3 ready]",
    "  owns pods one [ready]",
    "  owns pods two [not ready, 6 restarts]",
    " services front [1 ready]",
    " selects deployments.apps shop [3/3 ready]",
];

#[test]
fn of_an_entity() {
    let objects = shop();
    let bench = Bench::of(&objects);
    let tree = bench.picture.tree(&bench.store, &"workload:pay/shop".parse().unwrap()).unwrap();
    assert_eq!(tree.entity, Some(bench.entity("workload:pay/shop")));
    assert_eq!(drawn(&tree.roots, 0), WHOLE);
    assert_eq!(bench.picture.tree(&bench.store, &"workload:pay/none".parse().unwrap()), None);
}

#[test]
fn around_an_object() {
    let objects = shop();
    let bench = Bench::of(&objects);
    for object in &objects[..4] {
        let tree = bench.picture.tree_around(&bench.store, &object.key).unwrap();
        assert_eq!(drawn(&tree.roots, 0), WHOLE, "{object:?}");
    }
    assert_eq!(bench.picture.tree_around(&bench.store, &pod("eu-1", "pay/none").key), None);
}

#[test]
fn owners_that_come_round_are_drawn_once() {
    let round = deployment("eu-1", "pay/a", "");
    let other = replica_set("eu-1", "pay/b", "").under(&round);
    let round = round.under(&other);
    let bench = Bench::of(&[round.clone(), other]);
    let tree = bench.picture.tree_around(&bench.store, &round.key).unwrap();
    assert_eq!(drawn(&tree.roots, 0).len(), 3);
    assert!(bench.picture.tree(&bench.store, &"workload:pay/a".parse().unwrap()).is_some());
}

#[test]
fn owners_without_end_are_cut() {
    fn depth(nodes: &[v1::TreeNode]) -> usize {
        nodes.iter().map(|node| 1 + depth(&node.children)).max().unwrap_or_default()
    }
    let mut bench = Bench::default();
    bench.freshen("eu-1");
    let top = deployment("eu-1", "pay/top", "");
    bench.put(&top);
    let mut owner = top.clone();
    for level in 0..10_000 {
        let next = replica_set("eu-1", &format!("pay/{level}"), "").under(&owner);
        bench.put(&next);
        owner = next;
    }
    bench.settle();
    let tree = bench.picture.tree_around(&bench.store, &top.key).unwrap();
    assert_eq!((tree.roots.len(), depth(&tree.roots)), (1, LEVELS_MAX));
    let tree = bench.picture.tree(&bench.store, &"workload:pay/top".parse().unwrap()).unwrap();
    assert_eq!(depth(&tree.roots), LEVELS_MAX);
    assert!(bench.picture.tree_around(&bench.store, &owner.key).is_some());
}

#[test]
fn what_stands_beside_points_to_what_it_is_for() {
    let db = stateful_set("eu-1", "pay/db", "app=db");
    let pod = pod("eu-1", "pay/db-0").labelled("app=db").under(&db).mounting(&["data-db-0", "no"]);
    let objects = [
        db,
        pod,
        claim("eu-1", "pay/data-db-0", "Bound"),
        volume("eu-1", "pv-data-db-0", "Bound"),
        service("eu-1", "pay/db", "app=db"),
        ingress("eu-1", "pay/db", &["db", "none"]),
        autoscaler("eu-1", "pay/db", "StatefulSet", "db"),
        budget("eu-1", "pay/db", "app=db", 1),
    ];
    let want = [
        " horizontalpodautoscalers.autoscaling db []",
        " scales statefulsets.apps db [1/1 ready]",
        " ingresses.networking.k8s.io db []",
        " routes to services db [1 ready]",
        " persistentvolumeclaims data-db-0 []",
        " is bound to persistentvolumes pv-data-db-0 []",
        " persistentvolumes pv-data-db-0 []",
        " poddisruptionbudgets.policy db []",
        " selects statefulsets.apps db [1/1 ready]",
        " services db [1 ready]",
        " selects statefulsets.apps db [1/1 ready]",
        " statefulsets.apps db [1/1 ready]",
        " owns pods db-0 [ready]",
        "  mounts persistentvolumeclaims data-db-0 []",
    ];
    let bench = Bench::of(&objects);
    let tree = bench.picture.tree(&bench.store, &"workload:pay/db".parse().unwrap()).unwrap();
    assert_eq!(drawn(&tree.roots, 0), want);
    for object in &objects[..4] {
        let tree = bench.picture.tree_around(&bench.store, &object.key).unwrap();
        assert_eq!(drawn(&tree.roots, 0), want, "{object:?}");
    }
    let alone = Bench::of(&objects[2..4]);
    for object in &objects[2..4] {
        let tree = alone.picture.tree_around(&alone.store, &object.key).unwrap();
        assert_eq!(drawn(&tree.roots, 0), want[4..7], "{object:?}");
    }
}

#[test]
fn runs_hang_under_their_schedule() {
    let nightly = cron_job("eu-1", "pay/nightly", "app=nightly");
    let run = job("eu-1", "pay/nightly-1", "").under(&nightly);
    let pod = pod("eu-1", "pay/p").under(&run);
    let bench = Bench::of(&[nightly, run, pod]);
    let tree = bench.picture.tree(&bench.store, &"workload:pay/nightly".parse().unwrap()).unwrap();
    let want =
        [" cronjobs.batch nightly []", " owns jobs.batch nightly-1 []", "  owns pods p [ready]"];
    assert_eq!(drawn(&tree.roots, 0), want);
}

#[test]
fn the_way_of_traffic_ends_at_pods() {
    let shop = deployment("eu-1", "pay/shop", "app=shop");
    let [one, two] = ["one", "two"]
        .map(|name| pod("eu-1", &format!("pay/{name}")).labelled("app=shop").under(&shop));
    let web = service("eu-1", "pay/web", "app=shop");
    let slice = endpoint_slice("eu-1", "pay/web-x", "web", &["two", "one", "gone"]).under(&web);
    let by_hand = endpoint_slice("eu-1", "pay/web-y", "web", &["one"]);
    let objects = [shop, one, two, web, slice, by_hand, ingress("eu-1", "pay/in", &["web"])];
    let bench = Bench::of(&objects);
    let want = [
        " deployments.apps shop [3/3 ready]",
        " owns pods one [ready]",
        " owns pods two [ready]",
        " endpointslices.discovery.k8s.io web-y [1/1 ready]",
        " routes to pods one [ready]",
        " serves services web [2 ready]",
        " ingresses.networking.k8s.io in []",
        " routes to services web [2 ready]",
        " services web [2 ready]",
        " selects deployments.apps shop [3/3 ready]",
        " owns endpointslices.discovery.k8s.io web-x [3/3 ready]",
        "  routes to pods one [ready]",
        "  routes to pods two [ready]",
    ];
    let tree = bench.picture.tree(&bench.store, &"workload:pay/shop".parse().unwrap()).unwrap();
    assert_eq!(drawn(&tree.roots, 0), want);
    let tree = bench.picture.tree_around(&bench.store, &objects[1].key).unwrap();
    assert_eq!(drawn(&tree.roots, 0), want);
    let tree = bench.picture.tree_around(&bench.store, &objects[4].key).unwrap();
    let of_service = [&want[3..5], &[" serves services web [2 ready]"], &want[6..]].concat();
    assert_eq!(drawn(&tree.roots, 0), of_service, "around the top of what was asked for");
}

#[test]
fn a_quota_and_its_namespace_point_to_each_other() {
    let objects = [namespace("eu-1", "pay"), quota("eu-1", "pay/compute"), quota("eu-1", "x/y")];
    let bench = Bench::of(&objects);
    let around = |object: &TestObject| {
        let tree = bench.picture.tree_around(&bench.store, &object.key).unwrap();
        drawn(&tree.roots, 0)
    };
    assert_eq!(
        around(&objects[0]),
        [" namespaces pay []", " is limited by resourcequotas compute []"]
    );
    assert_eq!(around(&objects[1]), [" resourcequotas compute []", " limits namespaces pay []"]);
    assert_eq!(around(&objects[2]), [" resourcequotas y []"]);
}

#[test]
fn events_hang_on_what_they_are_about() {
    let shop = deployment("eu-1", "pay/shop", "app=shop");
    let one = pod("eu-1", "pay/one").under(&shop);
    let told = events("eu-1", "pay", ["v1", "Pod", "pay", "one"]);
    let objects = [shop, one, told, events("eu-1", "pay", ["v1", "Widget", "pay", "one"])];
    let bench = Bench::of(&objects);
    let want = [
        " deployments.apps shop [3/3 ready]",
        " owns pods one [ready]",
        "  warned by events pod_one [BackOff, 3 times]",
    ];
    let tree = bench.picture.tree(&bench.store, &"workload:pay/shop".parse().unwrap()).unwrap();
    assert_eq!(drawn(&tree.roots, 0), want);
    assert_eq!(tree.roots[0].children[0].children[0].health, None);
    for (of, want) in [
        (&objects[0], want.to_vec()),
        (&objects[1], want.to_vec()),
        (&objects[2], vec![" events pod_one [BackOff, 3 times]", " is about pods one [ready]"]),
        (&objects[3], vec![" events widget_one [BackOff, 3 times]"]),
    ] {
        let tree = bench.picture.tree_around(&bench.store, &of.key).unwrap();
        assert_eq!(drawn(&tree.roots, 0), want, "{of:?}");
    }
}

#[test]
fn pods_lead_to_their_nodes_and_back() {
    let shop = deployment("eu-1", "pay/shop", "app=shop");
    let pod = |name: &str| pod("eu-1", &format!("pay/{name}")).under(&shop);
    let (one, two) = (pod("one").on("n1"), pod("two").on("gone"));
    let n1 = node("eu-1", "n1");
    let mut bench =
        Bench::of(&[shop.clone(), one.clone(), two.clone(), n1.clone(), node("eu-2", "n1")]);
    let tree = bench.picture.tree(&bench.store, &"workload:pay/shop".parse().unwrap()).unwrap();
    assert_eq!(
        drawn(&tree.roots, 0),
        [
            " deployments.apps shop [3/3 ready]",
            " owns pods one [ready]",
            "  runs on nodes n1 []",
            " owns pods two [ready]",
        ]
    );
    let on = |bench: &Bench| {
        let tree = bench.picture.tree_around(&bench.store, &n1.key).unwrap();
        drawn(&tree.roots, 0)
    };
    assert_eq!(on(&bench), [" nodes n1 []", " runs pods one [ready]"]);
    bench.put(&two.on("n1"));
    bench.put(&one.clone().on(""));
    assert_eq!(on(&bench), [" nodes n1 []", " runs pods two [ready]"]);
    bench.put(&one);
    for object in [&one, &pod("two")] {
        bench.remove(&object.key, None);
    }
    assert_eq!(on(&bench), [" nodes n1 []"]);
    assert_eq!(bench.picture.graph.nodes_named(), 0, "nothing is left of what is named no more");
}
