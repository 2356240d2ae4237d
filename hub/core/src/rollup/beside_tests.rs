//! Tables of runs, and of what stands beside workloads: where it belongs, what counts of it and from when on.

use std::time::Duration;

use vitals_proto::{
    kind::Kind,
    v1::HealthStatus::{Degraded, Healthy, Missing, Progressing, Suspended, Unknown},
};

use super::*;
use crate::picture::testing::{
    self, Bench, NOW, TestObject, autoscaler, budget, claim, cron_job, deployment, endpoint_slice,
    ingress, job, pod, service, stateful_set, volume,
};

const SHOP: &str = "workload:pay/shop";
const NIGHTLY: &str = "workload:pay/nightly";

fn shop() -> TestObject {
    deployment("eu-1", "pay/shop", "app=shop")
}

fn nightly() -> TestObject {
    cron_job("eu-1", "pay/nightly", "app=nightly")
}

fn run(name: &str, holds: &str, made: i64) -> TestObject {
    job("eu-1", name, holds).under(&nightly()).made(made)
}

fn condition(r#type: &str, status: &str, reason: &str) -> v1::Condition {
    let [r#type, status, reason] = [r#type, status, reason].map(str::to_owned);
    let last_transition_at_unix_s = NOW.unix_ms() / 1_000;
    v1::Condition { r#type, status, reason, last_transition_at_unix_s, ..Default::default() }
}

fn blind() -> TestObject {
    autoscaler("eu-1", "pay/shop", "Deployment", "shop").of_autoscaler(|it| {
        it.conditions.push(condition("ScalingActive", "False", "FailedGetResourceMetric"));
    })
}

fn limited() -> TestObject {
    autoscaler("eu-1", "pay/shop", "Deployment", "shop").of_autoscaler(|it| {
        it.conditions.push(condition("ScalingLimited", "True", "TooManyReplicas"));
    })
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table, some lines a case")]
fn what_stands_beside_belongs_where_what_it_is_for_does() {
    let db = stateful_set("eu-1", "pay/db", "app=db");
    let db_0 = pod("eu-1", "pay/db-0").labelled("app=db").under(&db).mounting(&["data-db-0"]);
    let web = service("eu-1", "pay/web", "app=shop");
    for (case, mut objects, own, entity, message) in [
        (
            "an autoscaler",
            vec![shop()],
            autoscaler("eu-1", "pay/x", "Deployment", "shop"),
            SHOP,
            "it scales Deployment shop, which is a top-level Deployment that nothing claims, so that the entity is named after it",
        ),
        (
            "a budget",
            vec![shop()],
            budget("eu-1", "pay/x", "app=shop", 1),
            SHOP,
            "it selects Deployment shop, which is a top-level Deployment that nothing claims, so that the entity is named after it",
        ),
        (
            "an Ingress",
            vec![shop(), web.clone()],
            ingress("eu-1", "pay/x", &["web"]),
            SHOP,
            "it routes to Service web, and so to Deployment shop, which is a top-level Deployment that nothing claims, so that the entity is named after it",
        ),
        (
            "a slice that its Service owns",
            vec![shop(), web.clone()],
            endpoint_slice("eu-1", "pay/web-x", "other", &[]).under(&web),
            SHOP,
            "it is under Deployment shop, which is a top-level Deployment that nothing claims, so that the entity is named after it",
        ),
        (
            "a slice that names its Service",
            vec![shop(), web],
            endpoint_slice("eu-1", "pay/web-x", "web", &[]),
            SHOP,
            "it holds endpoints of Service web, and so of Deployment shop, which is a top-level Deployment that nothing claims, so that the entity is named after it",
        ),
        (
            "a claim of a template",
            vec![db.clone(), db_0.clone()],
            claim("eu-1", "pay/data-db-0", "Bound"),
            "workload:pay/db",
            "it holds data of Pod db-0, and so of StatefulSet db, which is a top-level StatefulSet that nothing claims, so that the entity is named after it",
        ),
        (
            "the volume of such a claim",
            vec![db, db_0, claim("eu-1", "pay/data-db-0", "Bound")],
            volume("eu-1", "pv-data-db-0", "Bound"),
            "workload:pay/db",
            "it holds data of PersistentVolumeClaim data-db-0, and so of StatefulSet db, which is a top-level StatefulSet that nothing claims, so that the entity is named after it",
        ),
        (
            "what was told of it",
            vec![shop()],
            testing::events("eu-1", "pay", ["apps/v1", "Deployment", "pay", "shop"]),
            SHOP,
            "it is about Deployment shop, which is a top-level Deployment that nothing claims, so that the entity is named after it",
        ),
        (
            "a run",
            vec![nightly()],
            run("pay/nightly-1", "", 0),
            NIGHTLY,
            "it is under CronJob nightly, which is a top-level CronJob that nothing claims, so that the entity is named after it",
        ),
    ] {
        // In either order, and it goes with what it is for.
        for _ in 0..2 {
            objects.reverse();
            let mut all = objects.clone();
            all.push(own.clone());
            let mut bench = Bench::of(&all);
            assert_eq!(bench.of_object(&own), [entity], "{case}");
            all.reverse();
            assert_eq!(Bench::of(&all).of_object(&own), [entity], "{case}");
            let said = bench.picture.explain(&bench.store, &own.key).unwrap();
            assert_eq!(said.claims[0].message, message, "{case}");
            objects.iter().for_each(|it| bench.remove(&it.key, None));
            assert_eq!(bench.of_object(&own), [""; 0], "{case}");
            assert_eq!(bench.picture.entities_of(&objects[0].key), [], "{case}");
        }
    }
}

#[test]
fn jobs_make_no_entity_and_cron_jobs_one() {
    let bench =
        Bench::of(&[nightly(), run("pay/nightly-1", "", 0), job("eu-1", "pay/once", "Failed")]);
    assert_eq!(bench.refs(), [NIGHTLY]);
    let claimed = job("eu-1", "pay/once", "Failed").labelled("app.kubernetes.io/name=x");
    let bench = Bench::of(&[claimed]);
    let verdict = bench.verdict("component:pay/x");
    assert_eq!(
        (verdict.status(), &*verdict.reason, verdict.severity()),
        (Degraded, "BackoffLimitExceeded", Severity::Warning)
    );
    for holds in ["", "Complete", "Suspended"] {
        let other = job("eu-1", "pay/once", holds).labelled("app.kubernetes.io/name=x");
        assert_eq!(Bench::of(&[other]).verdict("component:pay/x").status(), Healthy, "{holds}");
    }
}

#[test]
fn a_run_that_failed_counts_until_a_later_one_succeeded() {
    let succeeded = |at: i64| {
        nightly().of_cron_job(|it| it.last_succeeded_at_unix_s = NOW.unix_ms() / 1_000 + at)
    };
    let failed = run("pay/nightly-2", "Failed", 20);
    for (case, objects, want) in [
        ("it never succeeded", vec![nightly(), failed.clone()], "BackoffLimitExceeded"),
        ("an earlier one did", vec![succeeded(15), failed.clone()], "BackoffLimitExceeded"),
        ("a later one did", vec![succeeded(35), failed.clone()], ""),
        (
            "a later one runs",
            vec![succeeded(15), failed.clone(), run("pay/nightly-3", "", 30)],
            "BackoffLimitExceeded",
        ),
        (
            "a later one did, which its CronJob does not say yet",
            vec![succeeded(15), failed.clone(), run("pay/nightly-3", "Complete", 30)],
            "",
        ),
        (
            "an earlier one did, and is there",
            vec![nightly(), run("pay/nightly-1", "Complete", 10), failed.clone()],
            "BackoffLimitExceeded",
        ),
        (
            "the CronJob alone says so",
            vec![succeeded(15).of_cron_job(|it| it.last_scheduled_at_unix_s = i64::MAX)],
            "RunFailed",
        ),
        ("it runs", vec![nightly(), run("pay/nightly-1", "", 10)], ""),
        ("it has not run yet", vec![nightly().of_cron_job(|it| it.has_status = false)], ""),
    ] {
        let verdict = Bench::of(&objects).verdict(NIGHTLY);
        let status = if want.is_empty() { Healthy } else { Degraded };
        assert_eq!((verdict.status(), &*verdict.reason), (status, want), "{case}");
        assert_ne!(verdict.severity(), Severity::Critical, "{case}");
    }
    let verdict = Bench::of(&[nightly(), failed]).verdict(NIGHTLY);
    assert_eq!(
        verdict.message,
        "cronjob pay/nightly in eu-1: nightly-2: the job gave up after 1 try: BackoffLimitExceeded"
    );
    let cause: Vec<_> = verdict.cause.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(cause, ["nightly", "nightly-2"]);
    assert_eq!(verdict.next, "kubectl -n pay describe job nightly-2");
}

#[test]
fn a_run_whose_pod_crashes_is_no_outage() {
    let nightly_1 = run("pay/nightly-1", "", 0);
    let pod = pod("eu-1", "pay/p").under(&nightly_1).crashing();
    let verdict = Bench::of(&[nightly(), nightly_1, pod]).verdict(NIGHTLY);
    assert_eq!((verdict.status(), verdict.severity()), (Degraded, Severity::Warning));
    assert!(
        verdict.message.starts_with("1 of 1 pod of cronjob pay/nightly"),
        "{}",
        verdict.message
    );
}

#[test]
fn what_is_suspended_is_said_and_not_bad() {
    let verdict = Bench::of(&[nightly().of_cron_job(|it| it.suspend = true)]).verdict(NIGHTLY);
    assert_eq!(
        (verdict.status(), &*verdict.message),
        (Healthy, "cronjob pay/nightly in eu-1: suspended")
    );
    let paused = Bench::of(&[shop().of_deployment(|it| it.paused = true)]).verdict(SHOP);
    assert_eq!(paused.status(), Suspended, "unlike a Deployment");
}

#[test]
fn what_lasts_counts_and_is_a_warning_at_most() {
    let down = || shop().of_deployment(|it| (it.available, it.ready) = (0, 0));
    let unready = pod("eu-1", "pay/a").labelled("app=shop").under(&shop()).of_pod(|it| {
        it.conditions = vec![condition("Ready", "False", "")];
    });
    let blocked = |allowed| budget("eu-1", "pay/shop", "app=shop", allowed);
    let old_unready =
        unready.clone().of_pod(|it| it.conditions[0].last_transition_at_unix_s -= 100);
    let old = |object: TestObject| {
        object.of_autoscaler(|it| it.conditions[1].last_transition_at_unix_s = 0)
    };
    for (case, beside, counts_after, reason) in [
        (
            "an autoscaler that does its work",
            vec![autoscaler("eu-1", "pay/x", "Deployment", "shop")],
            None,
            "",
        ),
        ("it is blind", vec![blind()], Some(120), "AutoscalingFailed"),
        ("it has been for long", vec![old(blind())], Some(0), "AutoscalingFailed"),
        ("it is at its maximum", vec![limited()], Some(300), "AutoscalingLimited"),
        ("a budget", vec![blocked(1)], None, ""),
        ("it lets none go", vec![blocked(0)], Some(120), "DisruptionBlocked"),
        (
            "since a pod is not ready",
            vec![blocked(0), unready.clone()],
            Some(120),
            "DisruptionBlocked",
        ),
        ("for some time", vec![blocked(0), old_unready], Some(120), "DisruptionBlocked"),
        (
            "an Ingress to what is not there",
            vec![ingress("eu-1", "pay/shop", &["gone"]).labelled("vitals.dev/entity=x")],
            None,
            "",
        ),
    ] {
        let mut bench = Bench::of(&[vec![shop()], beside.clone()].concat());
        let due = bench.picture.recheck_at();
        if let Some(after @ 1..) = counts_after {
            assert_eq!(bench.verdict(SHOP).status(), Healthy, "{case}");
            assert_eq!(due, Some(NOW.after(Duration::from_secs(after))), "{case}");
            bench.now = due.unwrap();
            bench.settle();
        }
        let verdict = bench.verdict(SHOP);
        let status = if counts_after.is_some() { Degraded } else { Healthy };
        assert_eq!((verdict.status(), &*verdict.reason), (status, reason), "{case}");
        if status == Degraded {
            assert_eq!(verdict.severity(), Severity::Warning, "{case}");
            // Nor does it make another thing's outage worse or better: that has its own.
            let mut bench = Bench::of(&[vec![down()], beside].concat());
            bench.now = NOW.after(Duration::from_secs(1_000));
            bench.settle();
            assert_eq!(bench.verdict(SHOP).severity(), Severity::Warning, "{case}");
        }
    }
}

#[test]
fn a_budget_that_never_lets_go_counts_only_since_a_pod_is_not_ready() {
    let mut forever = budget("eu-1", "pay/shop", "app=shop", 0);
    let Some(v1::facts::Kind::PodDisruptionBudget(facts)) = &mut forever.facts.kind else {
        panic!("no budget")
    };
    facts.conditions[0].last_transition_at_unix_s = 1;
    let unready = pod("eu-1", "pay/a").labelled("app=shop").under(&shop()).of_pod(|it| {
        it.conditions = vec![condition("Ready", "False", "")];
    });
    let bench = Bench::of(&[shop(), forever, unready]);
    assert_eq!(bench.verdict(SHOP).status(), Healthy);
    assert_eq!(bench.picture.recheck_at(), Some(NOW.after(Duration::from_secs(120))));
}

#[test]
fn an_ingress_to_nothing_is_a_warning_until_it_leads_somewhere() {
    const FRONT: &str = "component:pay/front";
    let claimed = |object: TestObject| object.labelled("app.kubernetes.io/name=front");
    let route = claimed(ingress("eu-1", "pay/front", &["web", "api"]));
    let api = service("eu-1", "pay/api", "app=shop");
    let mut bench = Bench::of(&[route, api.clone()]);
    assert_eq!(bench.verdict(FRONT).status(), Healthy, "they may be created together");
    bench.now = bench.picture.recheck_at().unwrap();
    assert_eq!(bench.now, NOW.after(tally::beside::BACKEND_PATIENCE));
    bench.settle();
    let verdict = bench.verdict(FRONT);
    assert_eq!(
        (verdict.status(), &*verdict.reason, verdict.severity()),
        (Degraded, "BackendMissing", Severity::Warning)
    );
    assert_eq!(
        verdict.message,
        "ingress pay/front in eu-1: it routes to service web, which does not exist"
    );
    // Of another entity, and of none.
    bench.put(&service("eu-1", "pay/web", "app=none"));
    bench.settle();
    assert_eq!(bench.verdict(FRONT).status(), Healthy);
    bench.remove(&api.key, None);
    bench.settle();
    assert_eq!(bench.verdict(FRONT).reason, "BackendMissing");
}

#[test]
fn a_claim_that_waits_is_progress_for_a_while_and_a_lost_one_is_bad_at_once() {
    const DB: &str = "component:pay/db";
    let claimed = |phase| claim("eu-1", "pay/data", phase).labelled("app.kubernetes.io/name=db");
    let mut bench = Bench::of(&[claimed("Pending")]);
    assert_eq!(
        (bench.verdict(DB).status(), &*bench.verdict(DB).reason),
        (Progressing, "ClaimPending")
    );
    bench.now = bench.picture.recheck_at().unwrap();
    assert_eq!(bench.now, NOW.after(tally::beside::PATIENCE));
    bench.settle();
    assert_eq!((bench.verdict(DB).status(), bench.picture.recheck_at()), (Healthy, None));
    bench.put(&claimed("Lost"));
    bench.settle();
    assert_eq!((bench.verdict(DB).status(), &*bench.verdict(DB).reason), (Degraded, "ClaimLost"));
}

#[test]
fn a_volume_that_failed_is_a_warning_and_one_that_waits_or_goes_is_none() {
    let of = |object: TestObject| {
        let mut bench = Bench::of(&[shop(), object.annotated("vitals.dev/entity", SHOP)]);
        bench.now = NOW.after(Duration::from_secs(1_000));
        bench.settle();
        bench.verdict(SHOP)
    };
    for object in [
        volume("eu-1", "pv", "Bound"),
        volume("eu-1", "pv", "Released"),
        volume("eu-1", "pv", "Pending"),
        volume("eu-1", "pv", "Bound").deleting(),
    ] {
        let marked = shop().annotated("vitals.dev/entity", SHOP);
        let bench = Bench::of(&[marked, object.clone().annotated("vitals.dev/entity", SHOP)]);
        assert_eq!(bench.verdict(SHOP).status(), Healthy, "{object:?}");
    }
    let verdict = of(volume("eu-1", "pv", "Failed"));
    assert_eq!(
        (verdict.status(), &*verdict.reason, verdict.severity()),
        (Degraded, "VolumeFailed", Severity::Warning)
    );
    assert_eq!(verdict.next, "kubectl describe persistentvolume pv");
    assert_eq!(of(volume("eu-1", "pv", "Strange")).status(), Unknown);
}

#[test]
fn a_blind_spot_matters_to_what_has_such_objects_alone() {
    let scaled = vec![shop(), autoscaler("eu-1", "pay/shop", "Deployment", "shop")];
    let mounting = vec![shop(), pod("eu-1", "pay/a").under(&shop()).mounting(&["data"])];
    let of_a_job = vec![
        pod("eu-1", "pay/p")
            .labelled("app.kubernetes.io/name=x")
            .under_uid(b"0123456789abcdef".to_vec().into(), "Job"),
    ];
    let routed =
        vec![shop(), service("eu-1", "pay/web", "app=shop"), ingress("eu-1", "pay/r", &["web"])];
    let served = vec![
        shop(),
        service("eu-1", "pay/web", "app=shop"),
        endpoint_slice("eu-1", "pay/web-x", "web", &[]),
    ];
    let bound = vec![
        shop(),
        pod("eu-1", "pay/a").under(&shop()).mounting(&["data"]),
        claim("eu-1", "pay/data", "Bound"),
        volume("eu-1", "pv-data", "Bound"),
    ];
    let bounded =
        vec![shop(), testing::quota("eu-1", "pay/compute").annotated("vitals.dev/entity", SHOP)];
    let warned =
        vec![shop(), testing::events("eu-1", "pay", ["apps/v1", "Deployment", "pay", "shop"])];
    let new = [
        Kind::Event,
        Kind::ResourceQuota,
        Kind::EndpointSlice,
        Kind::PersistentVolume,
        Kind::CronJob,
        Kind::Job,
        Kind::PersistentVolumeClaim,
        Kind::Ingress,
        Kind::HorizontalPodAutoscaler,
        Kind::PodDisruptionBudget,
    ];
    for (case, objects, entity, unseen, want) in [
        ("none of them", vec![shop()], SHOP, new.to_vec(), Healthy),
        ("a pod mounts what is not seen", mounting, SHOP, new.to_vec(), Healthy),
        ("it has a volume", bound.clone(), SHOP, vec![Kind::PersistentVolume], Unknown),
        (
            "its volume was never seen",
            bound[..3].to_vec(),
            SHOP,
            vec![Kind::PersistentVolume],
            Healthy,
        ),
        ("it claims a quota", bounded, "workload:pay/shop", vec![Kind::ResourceQuota], Unknown),
        ("what was told of it", warned, SHOP, vec![Kind::Event], Healthy),
        ("it has endpoints", served.clone(), SHOP, vec![Kind::EndpointSlice], Unknown),
        ("those of its Service were never seen", served[..2].to_vec(), SHOP, new.to_vec(), Healthy),
        ("it has one", scaled.clone(), SHOP, vec![Kind::HorizontalPodAutoscaler], Unknown),
        ("it has another", scaled, SHOP, vec![Kind::PodDisruptionBudget], Healthy),
        ("its pods are of one", of_a_job, "component:pay/x", vec![Kind::Job], Unknown),
        ("runs are not seen", vec![nightly()], NIGHTLY, vec![Kind::Job], Unknown),
        ("their pods are not seen", vec![nightly()], NIGHTLY, vec![Kind::Pod], Unknown),
        ("where it routes to is not seen", routed, SHOP, vec![Kind::Service], Unknown),
    ] {
        let mut bench = Bench::of(&objects);
        bench.set_freshness("eu-1", FreshnessState::BlindSpot, &unseen);
        bench.settle();
        assert_eq!(bench.verdict(entity).status(), want, "{case}");
    }
}

#[test]
fn what_could_say_more_is_said_to_be_unseen_where_something_is_bad() {
    let refused =
        testing::replica_set("eu-1", "pay/shop-1", "app=shop").under(&shop()).of_replica_set(
            |it| it.conditions = vec![condition("ReplicaFailure", "True", "FailedCreate")],
        );
    let unseen = [Kind::ResourceQuota, Kind::PersistentVolume, Kind::Event];
    for (case, objects, want) in [
        ("well", vec![shop()], vec![]),
        (
            "refused",
            vec![shop(), refused],
            vec![
                "resourcequotas are not seen in eu-1: a cause may be missing",
                "events are not seen in eu-1: a cause may be missing",
            ],
        ),
        (
            "no node for it",
            vec![
                claim("eu-1", "pay/data", "Lost").annotated("vitals.dev/entity", SHOP),
                shop().annotated("vitals.dev/entity", SHOP),
            ],
            vec![
                "persistentvolumes are not seen in eu-1: a cause may be missing",
                "events are not seen in eu-1: a cause may be missing",
            ],
        ),
    ] {
        let mut bench = Bench::of(&objects);
        bench.set_freshness("eu-1", FreshnessState::BlindSpot, &unseen);
        bench.settle();
        let mut evidence = bench.verdict(SHOP).evidence;
        evidence.retain(|it| it.contains("not seen"));
        assert_eq!(evidence, want, "{case}");
        bench.freshen("eu-1");
        bench.settle();
        let evidence = bench.verdict(SHOP).evidence;
        assert!(evidence.iter().all(|it| !it.contains("not seen")), "{case}: {evidence:?}");
    }
}

#[test]
fn what_is_registered_and_nowhere_is_missing_though_its_volumes_would_not_be_seen() {
    let cart =
        v1::EntityDefinition { r#ref: "component:default/cart".into(), ..Default::default() };
    for (unseen, want) in [
        (Kind::HorizontalPodAutoscaler, Missing),
        (Kind::PersistentVolumeClaim, Missing),
        (Kind::Ingress, Missing),
        (Kind::EndpointSlice, Missing),
        (Kind::ResourceQuota, Missing),
        (Kind::Event, Missing),
        (Kind::PersistentVolume, Missing),
        (Kind::PodDisruptionBudget, Missing),
        (Kind::CronJob, Unknown),
        (Kind::ReplicationController, Unknown),
    ] {
        let mut bench = Bench::default();
        bench.set_freshness("eu-1", FreshnessState::BlindSpot, std::slice::from_ref(&unseen));
        bench.define(std::slice::from_ref(&cart), 1);
        bench.settle();
        assert_eq!(bench.verdict("component:default/cart").status(), want, "{unseen}");
    }
}

#[test]
fn a_service_that_an_ingress_makes_gives_it_nothing() {
    let route = ingress("eu-1", "pay/r", &["web"]);
    let web = testing::service("eu-1", "pay/web", "").under(&route);
    let named = route.clone().labelled("app.kubernetes.io/name=x");
    let mut bench = Bench::of(&[named, web.clone()]);
    assert_eq!(bench.of_object(&web), ["component:pay/x"]);
    bench.put(&route);
    bench.settle();
    assert_eq!((bench.of_object(&web), bench.of_object(&route)), (vec![], vec![]));
}

#[test]
fn a_replication_controller_is_a_workload_of_its_own() {
    const LEGACY: &str = "workload:pay/legacy";
    let of = |available| testing::replication_controller("eu-1", "pay/legacy", "app=x", available);
    let pod = pod("eu-1", "pay/a").labelled("app=x").under(&of(2));
    let mut bench = Bench::of(&[of(2), pod.clone(), service("eu-1", "pay/web", "app=x")]);
    assert_eq!((bench.refs(), bench.of_object(&pod)), (vec![LEGACY.into()], vec![LEGACY.into()]));
    let entity = bench.entity(LEGACY);
    assert_eq!(entity.verdict.unwrap().status(), Healthy);
    let workload = &entity.clusters[0].workloads[0];
    assert_eq!((workload.desired, workload.ready), (2, 2));
    bench.put(&of(1));
    bench.settle();
    let verdict = bench.verdict(LEGACY);
    assert_eq!((verdict.status(), &*verdict.reason), (Progressing, "ReplicasUnavailable"));
    assert_eq!(verdict.next, "kubectl -n pay describe replicationcontroller legacy");

    let scaled = autoscaler("eu-1", "pay/x", "ReplicationController", "legacy");
    let scaled = scaled.of_autoscaler(|it| it.target.as_mut().unwrap().api_version = "v1".into());
    bench.put(&scaled);
    assert_eq!(bench.of_object(&scaled), [LEGACY]);

    // Its pods name it where it is not seen; and where nothing that makes pods is seen, it could be what does.
    let alone = service("eu-1", "pay/web", "app=x").labelled("app.kubernetes.io/name=x");
    for (objects, entity) in [
        (vec![pod.labelled("app.kubernetes.io/name=x")], "component:pay/x"),
        (vec![alone], "component:pay/x"),
    ] {
        let mut bench = Bench::of(&objects);
        assert_eq!(bench.verdict(entity).status(), Healthy);
        bench.set_freshness("eu-1", FreshnessState::BlindSpot, &[Kind::ReplicationController]);
        bench.settle();
        assert_eq!(bench.verdict(entity).status(), Unknown);
    }
}
