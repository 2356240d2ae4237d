//! Tables of claims: to whom an object belongs, and how that is said.

use super::*;
use crate::picture::{
    Clusters, PictureConfig,
    testing::{Bench, TestObject, deployment, pod, replica_set, service, stateful_set},
};
use vitals_proto::rule::Rules;

fn definition(entity: &str) -> v1::EntityDefinition {
    v1::EntityDefinition { r#ref: entity.into(), ..v1::EntityDefinition::default() }
}

fn bench(definitions: &[v1::EntityDefinition], objects: &[TestObject]) -> Bench {
    let mut bench = Bench::of(objects);
    bench.define(definitions, 1);
    bench.settle();
    bench
}

/// Entities, rule and sentence of an object.
fn explained(bench: &Bench, object: &TestObject) -> (Vec<String>, String) {
    let said = bench.picture.explain(&bench.store, &object.key).unwrap();
    let claims = said.claims.iter().map(|it| format!("{} by {}", it.r#ref, it.rule));
    (claims.collect(), said.claims.first().map(|it| it.message.clone()).unwrap_or(said.unclaimed))
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table, some lines a case")]
fn what_an_object_says_by_itself() {
    let definitions = [
        definition("component:default/shop"),
        v1::EntityDefinition {
            kubernetes_id: "basket".into(),
            ..definition("component:default/cart")
        },
        v1::EntityDefinition {
            kubernetes_id: "basket".into(),
            kubernetes_namespace: "pay".into(),
            ..definition("api:default/cart")
        },
        v1::EntityDefinition {
            kubernetes_label_selector: "app in (web, site),!canary".into(),
            ..definition("component:default/web")
        },
        v1::EntityDefinition {
            kubernetes_cluster: "EU 2".into(),
            ..definition("component:default/far")
        },
        definition("system:default/pay"),
    ];
    let x = |labels: &str| deployment("eu-1", "pay/x", "").labelled(labels);
    for (case, object, want, message) in [
        (
            "by name",
            x("backstage.io/kubernetes-id=Shop"),
            vec!["component:default/shop by kubernetes-id"],
            "it carries the label backstage.io/kubernetes-id: Shop",
        ),
        (
            "by id, several",
            x("backstage.io/kubernetes-id=basket"),
            vec!["api:default/cart by kubernetes-id", "component:default/cart by kubernetes-id"],
            "it carries the label backstage.io/kubernetes-id: basket",
        ),
        (
            "namespace narrows",
            deployment("eu-1", "other/x", "").labelled("backstage.io/kubernetes-id=basket"),
            vec!["component:default/cart by kubernetes-id"],
            "it carries the label backstage.io/kubernetes-id: basket",
        ),
        (
            "the name of one with an id is no claim",
            x("backstage.io/kubernetes-id=cart"),
            vec!["workload:pay/x by derived"],
            "it is a top-level Deployment that nothing claims, so that the entity is named after it",
        ),
        (
            "by selector",
            x("app=site"),
            vec!["component:default/web by label-selector"],
            "it carries labels that match `app in (web, site),!canary` of component:default/web",
        ),
        (
            "selector wins over the id",
            x("backstage.io/kubernetes-id=web"),
            vec!["workload:pay/x by derived"],
            "it is a top-level Deployment that nothing claims, so that the entity is named after it",
        ),
        (
            "cluster narrows",
            x("backstage.io/kubernetes-id=far"),
            vec!["workload:pay/x by derived"],
            "it is a top-level Deployment that nothing claims, so that the entity is named after it",
        ),
        (
            "cluster by its title",
            deployment("eu-2", "pay/x", "").labelled("backstage.io/kubernetes-id=far"),
            vec!["component:default/far by kubernetes-id"],
            "it carries the label backstage.io/kubernetes-id: far",
        ),
        (
            "no definition",
            x("backstage.io/kubernetes-id=new"),
            vec!["component:default/new by kubernetes-id"],
            "it carries the label backstage.io/kubernetes-id: new, which no definition knows",
        ),
        (
            "a system runs nowhere",
            x("backstage.io/kubernetes-id=pay"),
            vec!["component:default/pay by kubernetes-id"],
            "it carries the label backstage.io/kubernetes-id: pay, which no definition knows",
        ),
        (
            "two claims",
            x("backstage.io/kubernetes-id=shop,app=web"),
            vec![
                "component:default/shop by kubernetes-id",
                "component:default/web by label-selector",
            ],
            "it carries the label backstage.io/kubernetes-id: shop",
        ),
        (
            "annotation",
            x("app.kubernetes.io/name=n").annotated("vitals.dev/entity", "api:pay/X"),
            vec!["api:pay/x by vitals.dev/entity"],
            "it carries the annotation vitals.dev/entity: api:pay/X",
        ),
        (
            "pod template",
            deployment("eu-1", "pay/x", "backstage.io/kubernetes-id=shop"),
            vec!["component:default/shop by kubernetes-id"],
            "its pod template carries the label backstage.io/kubernetes-id: shop",
        ),
        (
            "own labels before the template's",
            deployment("eu-1", "pay/x", "app=web").labelled("backstage.io/kubernetes-id=shop"),
            vec!["component:default/shop by kubernetes-id"],
            "it carries the label backstage.io/kubernetes-id: shop",
        ),
        (
            "Argo CD",
            x("app.kubernetes.io/instance=i")
                .annotated("argocd.argoproj.io/tracking-id", "argo_app:apps/Deployment:pay/x"),
            vec!["component:pay/app by argocd"],
            "it carries the annotation argocd.argoproj.io/tracking-id for app",
        ),
        (
            "Argo CD's label",
            x("argocd.argoproj.io/instance=a,kustomize.toolkit.fluxcd.io/name=k"),
            vec!["component:pay/a by argocd"],
            "it carries the label argocd.argoproj.io/instance for a",
        ),
        (
            "Flux",
            x("helm.toolkit.fluxcd.io/name=h,app.kubernetes.io/instance=i"),
            vec!["component:pay/h by flux"],
            "it carries the label helm.toolkit.fluxcd.io/name for h",
        ),
        (
            "instance before name",
            x("app.kubernetes.io/instance=i,app.kubernetes.io/name=n"),
            vec!["component:pay/i by app.kubernetes.io"],
            "it carries the label app.kubernetes.io/instance for i",
        ),
        (
            "name",
            x("app.kubernetes.io/name=n"),
            vec!["component:pay/n by app.kubernetes.io"],
            "it carries the label app.kubernetes.io/name for n",
        ),
        (
            "nothing",
            x(""),
            vec!["workload:pay/x by derived"],
            "it is a top-level Deployment that nothing claims, so that the entity is named after it",
        ),
        (
            "a bare pod",
            pod("eu-1", "pay/p"),
            vec![],
            "it carries no label or annotation that names an entity, and a pod without a controller gets no entity of its own",
        ),
        (
            "a pod of a Job",
            pod("eu-1", "pay/p").under_uid("j".into(), "Job"),
            vec![],
            "it carries no label or annotation that names an entity, and the Job that controls it is not held",
        ),
        (
            "a pod of a custom resource",
            pod("eu-1", "pay/p").under_uid("w".into(), "Workflow"),
            vec![],
            "it carries no label or annotation that names an entity, and the object that controls it is not held",
        ),
        (
            "a ReplicaSet of what is not held",
            replica_set("eu-1", "pay/r", "").under_uid("r".into(), "Rollout"),
            vec![],
            "it carries no label or annotation that names an entity, and the object that controls it is not held",
        ),
        (
            "a ReplicaSet of its own",
            replica_set("eu-1", "pay/r", ""),
            vec!["workload:pay/r by derived"],
            "it is a top-level ReplicaSet that nothing claims, so that the entity is named after it",
        ),
        (
            "a Service that selects nothing",
            service("eu-1", "pay/s", "app=no"),
            vec![],
            "it carries no label or annotation that names an entity, and selects nothing that belongs to one",
        ),
    ] {
        let bench = bench(&definitions, std::slice::from_ref(&object));
        let (claims, said) = explained(&bench, &object);
        assert_eq!(
            (claims, said.as_str()),
            (want.iter().map(|it| (*it).to_owned()).collect(), message),
            "{case}"
        );
    }
}

#[test]
fn claims_are_inherited_in_any_order() {
    let shop =
        deployment("eu-1", "pay/shop", "app=shop").labelled("backstage.io/kubernetes-id=shop");
    let set = replica_set("eu-1", "pay/shop-1", "app=shop").under(&shop);
    let one = pod("eu-1", "pay/one").labelled("app=shop,app.kubernetes.io/name=other").under(&set);
    let own = pod("eu-1", "pay/own").labelled("app=shop,vitals.dev/entity=own").under(&set);
    let front = service("eu-1", "pay/front", "app=shop");
    let named = service("eu-1", "pay/named", "app=shop").labelled("app.kubernetes.io/name=other");
    let objects = [shop, set.clone(), one.clone(), own.clone(), front.clone(), named.clone()];
    let backward: Vec<_> = objects.iter().rev().cloned().collect();
    for objects in [objects.to_vec(), backward] {
        let bench = bench(&[], &objects);
        let shop = "component:default/shop";
        let under = "it is under Deployment shop, which carries the label backstage.io/kubernetes-id: shop, which no definition knows";
        for (object, want, message) in [
            (&set, vec![format!("{shop} by owner")], under),
            // The owner's explicit claim comes before the pod's own implicit one.
            (&one, vec![format!("{shop} by owner")], under),
            (
                &own,
                vec!["component:default/own by vitals.dev/entity".to_owned()],
                "it carries the label vitals.dev/entity: own",
            ),
            (
                &front,
                vec!["component:default/own by selector".to_owned(), format!("{shop} by selector")],
                "it selects Pod own, which carries the label vitals.dev/entity: own",
            ),
            // What a Service says itself comes before what it selects.
            (
                &named,
                vec!["component:pay/other by app.kubernetes.io".to_owned()],
                "it carries the label app.kubernetes.io/name for other",
            ),
        ] {
            assert_eq!(explained(&bench, object), (want, message.to_owned()));
        }
        let via = bench.picture.explain(&bench.store, &one.key).unwrap().claims[0].via.clone();
        let via: Vec<_> = via.into_iter().map(|it| it.name).collect();
        assert_eq!(via, ["shop-1", "shop"]);
    }
}

#[test]
fn derived_entities_agree_in_namespace_name_and_kind() {
    let objects = [
        deployment("eu-1", "pay/db", ""),
        stateful_set("eu-2", "pay/db", ""),
        stateful_set("eu-3", "pay/db", ""),
        stateful_set("eu-1", "other/db", ""),
    ];
    let mut combined = bench(&[], &objects);
    let of = |bench: &Bench| objects.each_ref().map(|object| bench.of_object(object).join(" "));
    assert_eq!(
        of(&combined),
        [
            "workload:pay/db",
            "workload:pay/db_statefulset",
            "workload:pay/db_statefulset",
            "workload:other/db"
        ]
    );
    assert_eq!(combined.entity("workload:pay/db_statefulset").clusters.len(), 2);
    // With the Deployment gone the plain name is free.
    combined.remove(&objects[0].key, None);
    combined.settle();
    assert_eq!(combined.refs(), ["workload:other/db", "workload:pay/db"]);

    let mut apart = Bench::with(Rules::ALL, PictureConfig { derived: Clusters::Apart });
    objects.iter().for_each(|object| apart.put(object));
    assert_eq!(
        of(&apart),
        [
            "workload:pay/db_eu-1",
            "workload:pay/db_eu-2",
            "workload:pay/db_eu-3",
            "workload:other/db_eu-1"
        ]
    );
}

#[test]
fn the_longest_and_strangest_names() {
    let long = "x".repeat(253);
    let one = deployment("eu-1", &format!("pay/{long}"), "");
    let other = stateful_set("eu-1", &format!("pay/{long}"), "");
    let strange = deployment("eu-1", "pay/a b:c", "");
    let bench = bench(&[], &[one.clone(), other.clone(), strange.clone()]);
    assert_eq!(bench.of_object(&one), [format!("workload:pay/{long}")]);
    assert_eq!(
        bench.of_object(&other),
        [format!("workload:pay/{}_statefulset", &long[..253 - 12])]
    );
    let (claims, said) = explained(&bench, &strange);
    assert_eq!(
        (claims.len(), said.as_str()),
        (
            0,
            "it carries no label or annotation that names an entity, and its name cannot be part of a reference"
        )
    );
}

#[test]
fn names_of_an_entity_come_from_its_definition_or_its_labels() {
    let object = deployment("eu-1", "pay/x", "")
        .labelled("app.kubernetes.io/name=shop,app.kubernetes.io/part-of=store");
    let labelled = bench(&[], std::slice::from_ref(&object));
    let entity = labelled.entity("component:pay/shop");
    assert_eq!(
        (entity.origin(), entity.system.as_str()),
        (v1::EntityOrigin::Labelled, "system:pay/store")
    );
    let defined = v1::EntityDefinition {
        title: "Shop".into(),
        owner: "group:default/a".into(),
        ..definition("component:pay/shop")
    };
    let registered = bench(&[defined], std::slice::from_ref(&object));
    let entity = registered.entity("component:pay/shop");
    assert_eq!(
        (entity.origin(), entity.title.as_str(), entity.owner.as_str(), entity.system.as_str()),
        (v1::EntityOrigin::Registered, "Shop", "group:default/a", "")
    );
    assert_eq!(entity.clusters.len(), 1);
    // A definition that says otherwise is not joined by a name alone.
    let elsewhere = v1::EntityDefinition {
        kubernetes_namespace: "other".into(),
        ..definition("component:pay/shop")
    };
    assert_eq!(
        bench(&[elsewhere], std::slice::from_ref(&object)).of_object(&object),
        ["workload:pay/x"]
    );
}

#[test]
fn definitions_come_and_go() {
    let object = deployment("eu-1", "pay/x", "").labelled("app=web");
    let web = v1::EntityDefinition {
        kubernetes_label_selector: "app=web".into(),
        ..definition("component:default/web")
    };
    let mut bench = bench(&[], std::slice::from_ref(&object));
    for (revision, definitions, want) in [
        (1, vec![web.clone()], "component:default/web"),
        (
            2,
            vec![v1::EntityDefinition {
                kubernetes_label_selector: "app=no".into(),
                ..web.clone()
            }],
            "workload:pay/x",
        ),
        (3, vec![web.clone(), definition("component:default/other")], "component:default/web"),
        (4, vec![], "workload:pay/x"),
    ] {
        bench.define(&definitions, revision);
        bench.settle();
        assert_eq!(bench.of_object(&object), [want], "revision {revision}");
        assert_eq!(
            bench.picture.touched(&want.parse().unwrap()).unwrap().definitions_revision,
            revision
        );
    }
    assert_eq!(bench.refs(), ["workload:pay/x"]);
}

#[test]
fn what_cannot_be_taken_is_refused_with_what_is_wrong() {
    let bad = v1::EntityDefinition {
        kubernetes_label_selector: "app in shop".into(),
        ..definition("component:default/shop")
    };
    let error = check(bad.clone()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "annotation backstage.io/kubernetes-label-selector of component:default/shop"
    );
    let source = std::error::Error::source(&error).unwrap();
    assert_eq!(source.to_string(), "label selector \"app in shop\": expected '(' at character 8");
    assert!(matches!(check(definition("a:b:c")), Err(Error::Reference { field: "ref", .. })));
    let owner =
        v1::EntityDefinition { owner: "a b".into(), ..definition("component:default/shop") };
    assert!(matches!(check(owner), Err(Error::Reference { field: "owner", .. })));

    let whole = v1::EntityDefinition {
        owner: "team-a".into(),
        system: "system:Store".into(),
        ..definition("Component:pay/Shop")
    };
    let whole = check(whole).unwrap();
    assert_eq!(
        [whole.r#ref, whole.owner, whole.system, whole.domain],
        ["component:pay/shop", "group:pay/team-a", "system:pay/store", ""].map(str::to_owned)
    );

    let (catalog, problems) = Catalog::new(vec![bad, definition("component:default/cart")]);
    assert_eq!((problems.len(), catalog.running().count()), (1, 1));
}
