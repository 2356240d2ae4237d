//! Tables of the roll-up: what counts against an entity, what does not, and how it is said.

use vitals_proto::{
    kind::Kind,
    v1::HealthStatus::{Degraded, Healthy, Missing, Progressing, Suspended, Unknown},
};

use super::*;
use crate::picture::testing::{self, Bench, TestObject, pod};

const SHOP: &str = "workload:pay/shop";

/// Deployment, ReplicaSet and three pods, all well.
fn shop(cluster: &str) -> [TestObject; 5] {
    let deployment = testing::deployment(cluster, "pay/shop", "app=shop");
    let set = testing::replica_set(cluster, "pay/shop-1", "app=shop").under(&deployment);
    let [a, b, c] =
        ["pay/a", "pay/b", "pay/c"].map(|name| pod(cluster, name).labelled("app=shop").under(&set));
    [deployment, set, a, b, c]
}

fn bench(change: impl FnOnce(&mut [TestObject; 5])) -> Bench {
    let mut objects = shop("eu-1");
    change(&mut objects);
    Bench::of(&objects)
}

/// Puts another in place.
fn put(at: &mut TestObject, change: impl FnOnce(TestObject) -> TestObject) {
    *at = change(at.clone());
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table, some lines a case")]
fn what_counts_and_what_does_not() {
    type Change = fn(&mut [TestObject; 5]);
    let cases: [(&str, Change, v1::HealthStatus, &str, Severity); 16] = [
        ("all well", |_| {}, Healthy, "", Severity::None),
        (
            "one pod crash-loops",
            |all| put(&mut all[3], TestObject::crashing),
            Degraded,
            "ContainerCrashLooping",
            Severity::Warning,
        ),
        (
            "all is down",
            |all| {
                put(&mut all[0], |it| it.of_deployment(|it| it.available = 0));
                put(&mut all[3], TestObject::crashing);
            },
            Degraded,
            "ContainerCrashLooping",
            Severity::Critical,
        ),
        (
            "a pod says more than the deadline",
            |all| {
                put(&mut all[0], |it| {
                    it.of_deployment(|it| {
                        it.conditions = vec![v1::Condition {
                            r#type: "Progressing".into(),
                            reason: "ProgressDeadlineExceeded".into(),
                            ..Default::default()
                        }]
                    })
                });
                put(&mut all[3], TestObject::crashing);
            },
            Degraded,
            "ContainerCrashLooping",
            Severity::Warning,
        ),
        (
            "a pod that is being deleted",
            |all| put(&mut all[3], |it| it.crashing().deleting()),
            Healthy,
            "",
            Severity::None,
        ),
        (
            "a pod that starts",
            |all| put(&mut all[3], |it| it.phase("Pending")),
            Healthy,
            "",
            Severity::None,
        ),
        (
            "a failed pod that was replaced",
            |all| put(&mut all[3], |it| it.phase("Failed")),
            Healthy,
            "",
            Severity::None,
        ),
        (
            "a failed pod during a rollout",
            |all| {
                put(&mut all[0], |it| it.of_deployment(|it| it.updated = 2));
                put(&mut all[3], |it| it.phase("Failed"));
            },
            Progressing,
            "RolloutInProgress",
            Severity::None,
        ),
        (
            "a failed pod that was not replaced",
            |all| {
                put(&mut all[1], |it| {
                    it.of_replica_set(|it| {
                        it.replicas = 2;
                        it.available = 2;
                    })
                });
                put(&mut all[3], |it| it.phase("Failed"));
            },
            Degraded,
            "PodFailed",
            Severity::Warning,
        ),
        (
            "one short",
            |all| put(&mut all[0], |it| it.of_deployment(|it| it.available = 2)),
            Progressing,
            "ReplicasUnavailable",
            Severity::None,
        ),
        (
            "an old ReplicaSet",
            |all| {
                put(&mut all[1], |it| {
                    it.of_replica_set(|it| {
                        it.desired = 0;
                        it.available = 0;
                    })
                })
            },
            Healthy,
            "",
            Severity::None,
        ),
        (
            "a ReplicaSet that is short",
            |all| put(&mut all[1], |it| it.of_replica_set(|it| it.available = 2)),
            Healthy,
            "",
            Severity::None,
        ),
        (
            "refused pods",
            |all| {
                put(&mut all[1], |it| {
                    it.of_replica_set(|it| {
                        it.conditions = vec![v1::Condition {
                            r#type: "ReplicaFailure".into(),
                            status: "True".into(),
                            message: "exceeded quota".into(),
                            ..Default::default()
                        }]
                    })
                })
            },
            Degraded,
            "ReplicaFailure",
            Severity::Warning,
        ),
        (
            "paused",
            |all| put(&mut all[0], |it| it.of_deployment(|it| it.paused = true)),
            Suspended,
            "Paused",
            Severity::Info,
        ),
        (
            "paused, and a pod crash-loops",
            |all| {
                put(&mut all[0], |it| it.of_deployment(|it| it.paused = true));
                put(&mut all[3], TestObject::crashing);
            },
            Degraded,
            "ContainerCrashLooping",
            Severity::Warning,
        ),
        (
            "cut facts",
            |all| all[3].facts.truncated = vec!["container_statuses".into()],
            Unknown,
            "FactsTruncated",
            Severity::Warning,
        ),
    ];
    for (case, change, status, reason, severity) in cases {
        let verdict = bench(change).verdict(SHOP);
        assert_eq!(
            (verdict.status(), verdict.reason.as_str(), verdict.severity()),
            (status, reason, severity),
            "{case}: {}",
            verdict.message
        );
        assert_eq!(verdict.last_known(), v1::HealthStatus::Unspecified, "{case}");
    }
}

#[test]
fn a_crash_loop_is_told_with_place_cause_evidence_and_command() {
    let bench = bench(|all| {
        put(&mut all[3], TestObject::crashing);
        put(&mut all[4], TestObject::crashing);
        put(&mut all[0], |it| it.of_deployment(|it| it.available = 1));
    });
    let verdict = bench.verdict(SHOP);
    assert_eq!(
        verdict.message,
        "2 of 3 pods of deployment pay/shop in eu-1: container app ended with exit code 1 again and again"
    );
    let cause: Vec<_> = verdict.cause.iter().map(|it| format!("{}/{}", it.kind, it.name)).collect();
    assert_eq!(cause, ["deployments.apps/shop", "pods/b"]);
    assert_eq!(
        verdict.evidence,
        [
            "container app waits with CrashLoopBackOff, 6 restarts",
            "container app ended with exit code 1"
        ]
    );
    assert_eq!(verdict.next, "kubectl -n pay logs b -c app --previous");
    let dimensions: Vec<_> = verdict
        .dimensions
        .iter()
        .map(|it| (it.name.as_str(), it.status(), it.reason.as_str()))
        .collect();
    assert_eq!(
        dimensions,
        [
            ("workload", Degraded, "ContainerCrashLooping"),
            ("rollout", Healthy, ""),
            ("freshness", Healthy, "")
        ]
    );
}

#[test]
fn numbers_are_those_of_kubectl() {
    let bench = bench(|all| {
        put(&mut all[0], |it| {
            it.of_deployment(|it| {
                it.updated = 2;
                it.ready = 1;
                it.available = 1;
            })
        });
        put(&mut all[2], TestObject::crashing);
        put(&mut all[3], |it| it.of_pod(|it| it.container_statuses[0].restarts = 2));
    });
    let clusters = bench.entity(SHOP).clusters;
    let [workload] = clusters[0].workloads.as_slice() else {
        panic!("one workload: the ReplicaSet is not shown")
    };
    let numbers =
        (workload.desired, workload.updated, workload.ready, workload.available, workload.restarts);
    assert_eq!(
        (numbers, workload.images.as_slice()),
        ((3, 2, 1, 1, 8), &["shop:1".to_owned()][..])
    );
}

#[test]
fn pods_without_a_workload() {
    let named = |it: TestObject| it.labelled("app.kubernetes.io/name=x");
    let job = |it: TestObject| {
        it.under_uid("job".into(), "Job").of_pod(|pod| pod.restart_policy = "Never".into())
    };
    for (case, object, status, reason) in [
        ("ready", pod("eu-1", "pay/p"), Healthy, ""),
        ("crash-looping", pod("eu-1", "pay/p").crashing(), Degraded, "ContainerCrashLooping"),
        ("failed", pod("eu-1", "pay/p").phase("Failed"), Degraded, "PodFailed"),
        ("pending", pod("eu-1", "pay/p").phase("Pending"), Progressing, "PodPending"),
        ("of a Job, running", job(pod("eu-1", "pay/p")), Healthy, ""),
        ("of a Job, failed", job(pod("eu-1", "pay/p").phase("Failed")), Healthy, ""),
        (
            "running to its end",
            pod("eu-1", "pay/p").of_pod(|it| it.restart_policy = "Never".into()),
            Healthy,
            "",
        ),
        ("succeeded", pod("eu-1", "pay/p").phase("Succeeded"), Healthy, ""),
    ] {
        let verdict = Bench::of(&[named(object)]).verdict("component:pay/x");
        assert_eq!((verdict.status(), verdict.reason.as_str()), (status, reason), "{case}");
    }
}

#[test]
fn a_load_balancer_that_never_comes_is_not_progress_for_ever() {
    let [deployment, ..] = shop("eu-1");
    let mut service = testing::service("eu-1", "pay/shop", "app=shop");
    let Some(v1::facts::Kind::Service(facts)) = &mut service.facts.kind else {
        panic!("no Service")
    };
    facts.r#type = "LoadBalancer".into();
    let mut bench = Bench::of(&[deployment, service]);
    assert_eq!(
        (bench.verdict(SHOP).status(), bench.verdict(SHOP).reason.as_str()),
        (Progressing, "LoadBalancerPending")
    );
    bench.now = bench.picture.recheck_at().unwrap();
    assert_eq!(bench.now, testing::NOW.after(tally::beside::PATIENCE));
    bench.settle();
    assert_eq!((bench.verdict(SHOP).status(), bench.picture.recheck_at()), (Healthy, None));
    let traffic =
        bench.verdict(SHOP).dimensions.into_iter().find(|it| it.name == "traffic").unwrap();
    assert_eq!((traffic.status(), traffic.reason.as_str()), (Progressing, "LoadBalancerPending"));
}

#[test]
fn what_is_stale_is_unknown_and_keeps_what_was_known() {
    for (case, state, unseen, reason) in [
        ("agent lost", FreshnessState::AgentLost, vec![], Some("AgentLost")),
        ("API server", FreshnessState::ApiServerUnreachable, vec![], Some("ApiServerUnreachable")),
        ("unverified", FreshnessState::Unverified, vec![], Some("Unverified")),
        ("conflict", FreshnessState::Conflict, vec![], Some("ClusterConflict")),
        ("hub blind", FreshnessState::HubBlind, vec![], Some("HubBlind")),
        ("own kind unseen", FreshnessState::BlindSpot, vec![Kind::Deployment], Some("BlindSpot")),
        ("kind below unseen", FreshnessState::BlindSpot, vec![Kind::Pod], Some("BlindSpot")),
        (
            "another kind unseen",
            FreshnessState::BlindSpot,
            vec![Kind::StatefulSet, Kind::Node],
            None,
        ),
        (
            "fresh, and a kind unseen",
            FreshnessState::Fresh,
            vec![Kind::ReplicaSet],
            Some("BlindSpot"),
        ),
    ] {
        let [deployment, ..] = shop("eu-1");
        let mut bench = Bench::of(&[deployment]);
        let fresh = bench.entity(SHOP);
        bench.set_freshness("eu-1", state, &unseen);
        bench.settle();
        let entity = bench.entity(SHOP);
        let verdict = entity.verdict.clone().unwrap();
        let Some(reason) = reason else {
            assert_eq!(
                (verdict.status(), verdict.freshness.unwrap().state()),
                (Healthy, FreshnessState::Fresh),
                "{case}"
            );
            continue;
        };
        assert_eq!(
            (verdict.status(), verdict.reason.as_str(), verdict.last_known()),
            (Unknown, reason, Healthy),
            "{case}"
        );
        assert_eq!(
            (verdict.severity(), verdict.next.as_str()),
            (Severity::Warning, "vitals clusters"),
            "{case}"
        );
        assert_eq!(entity.clusters[0].workloads, fresh.clusters[0].workloads, "{case}");
        assert!(verdict.dimensions.iter().all(|it| it.status() == Unknown), "{case}");
        assert_ne!(entity.digest, fresh.digest, "{case}");
    }
}

#[test]
fn a_service_alone_is_not_healthy_where_what_it_serves_is_not_seen() {
    const FRONT: &str = "component:pay/front";
    let service =
        testing::service("eu-1", "pay/front", "app=front").labelled("app.kubernetes.io/name=front");
    let deployment = testing::deployment("eu-1", "pay/front", "app=front")
        .labelled("app.kubernetes.io/name=front");
    let alone = vec![service.clone()];
    let with_workload = vec![service, deployment];
    for (case, objects, unseen, want) in [
        ("all is seen", &alone, vec![Kind::Node], Healthy),
        ("no pods", &alone, vec![Kind::Pod], Unknown),
        ("no workloads of one kind", &alone, vec![Kind::StatefulSet], Unknown),
        ("its workload is seen", &with_workload, vec![Kind::StatefulSet], Healthy),
        ("its workload's pods are not", &with_workload, vec![Kind::Pod], Unknown),
    ] {
        let mut bench = Bench::of(objects);
        bench.set_freshness("eu-1", FreshnessState::BlindSpot, &unseen);
        bench.settle();
        assert_eq!(bench.verdict(FRONT).status(), want, "{case}");
    }
}

#[test]
fn the_worst_cluster_stands_for_all() {
    let all: Vec<_> = [shop("eu-1"), shop("eu-2")].concat();
    let mut bench = Bench::of(&all);
    assert_eq!(bench.verdict(SHOP).message, "healthy in all 2 clusters");
    bench.set_freshness("eu-2", FreshnessState::AgentLost, &[]);
    bench.settle();
    let verdict = bench.verdict(SHOP);
    assert_eq!(
        (verdict.status(), verdict.reason.as_str(), verdict.last_known()),
        (Unknown, "AgentLost", Healthy)
    );
    assert_eq!(verdict.freshness.unwrap().state(), FreshnessState::AgentLost);
    assert_eq!(verdict.message, "not known in eu-2: no heartbeat for 20 s; last known Healthy");
    bench.put(&all[3].clone().crashing());
    bench.settle();
    let verdict = bench.verdict(SHOP);
    assert_eq!((verdict.status(), verdict.reason.as_str()), (Degraded, "ContainerCrashLooping"));
    let [eu_1, eu_2] = &bench.entity(SHOP).clusters[..] else { panic!("two clusters") };
    assert_eq!([eu_1, eu_2].map(|it| it.verdict.clone().unwrap().status()), [Degraded, Unknown]);
}

#[test]
fn registered_and_nowhere() {
    let cart =
        v1::EntityDefinition { r#ref: "component:default/cart".into(), ..Default::default() };
    let only =
        |cluster: &str| v1::EntityDefinition { kubernetes_cluster: cluster.into(), ..cart.clone() };
    for (case, definition, clusters, status, reason, message) in [
        ("no cluster", cart.clone(), vec![], Unknown, "ClusterNotSeen", "no cluster is seen yet"),
        (
            "seen",
            cart.clone(),
            vec![("eu-1", FreshnessState::Fresh), ("eu-2", FreshnessState::Fresh)],
            Missing,
            "NoObjects",
            "it is registered, and has no object in any of 2 clusters",
        ),
        (
            "one not seen",
            cart.clone(),
            vec![("eu-1", FreshnessState::Fresh), ("eu-2", FreshnessState::AgentLost)],
            Unknown,
            "ClusterNotSeen",
            "no object of it where it can be seen, and eu-2 is not seen: no heartbeat for 20 s",
        ),
        (
            "its cluster seen",
            only("eu-1"),
            vec![("eu-1", FreshnessState::Fresh), ("eu-2", FreshnessState::AgentLost)],
            Missing,
            "NoObjects",
            "it is registered, and has no object in eu-1",
        ),
        (
            "its cluster not there",
            only("us-1"),
            vec![("eu-1", FreshnessState::Fresh)],
            Unknown,
            "ClusterNotSeen",
            "cluster us-1, where it should be, is not seen",
        ),
    ] {
        let mut bench = Bench::default();
        bench.define(std::slice::from_ref(&definition), 1);
        for (cluster, state) in clusters {
            bench.set_freshness(cluster, state, &[]);
        }
        bench.settle();
        let entity = bench.entity("component:default/cart");
        let verdict = entity.verdict.clone().unwrap();
        assert_eq!(
            (verdict.status(), verdict.reason.as_str(), verdict.message.as_str()),
            (status, reason, message),
            "{case}"
        );
        assert_eq!(
            entity.clusters.len(),
            usize::from(!definition.kubernetes_cluster.is_empty()),
            "{case}"
        );
        assert_eq!(verdict.severity(), Severity::Warning);
    }
}

#[test]
fn what_is_missing_is_so_though_nodes_are_not_seen() {
    let cart =
        v1::EntityDefinition { r#ref: "component:default/cart".into(), ..Default::default() };
    for (case, unseen, want) in [
        ("nodes and namespaces", vec![Kind::Node, Kind::Namespace], Missing),
        ("pods", vec![Kind::Node, Kind::Pod], Unknown),
    ] {
        let mut bench = Bench::default();
        bench.define(std::slice::from_ref(&cart), 1);
        bench.set_freshness("eu-1", FreshnessState::BlindSpot, &unseen);
        bench.settle();
        assert_eq!(bench.verdict("component:default/cart").status(), want, "{case}");
    }
}

#[test]
fn commands_can_be_pasted_whatever_an_object_is_called() {
    for (name, want) in
        [("a-b.c", "a-b.c"), ("-rf", "'-rf'"), ("a b", "'a b'"), ("a';x", r"'a'\'';x'"), ("", "''")]
    {
        assert_eq!(sentence::quoted(name), want);
    }
}
