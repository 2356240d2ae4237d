//! kube-rs: the rules of versions, conflicts, subresources and graceful ends, as a client meets them.

use anyhow::{Result, anyhow, ensure};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::api::{
    Api, DeleteParams, ListParams, LogParams, Patch, PatchParams, PostParams, WatchParams,
};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, ResourceExt as _};
use serde_json::json;
use vitals_tests::{SimulatedCluster, Watched as _, objects, test, wait_for};

use crate::SOON;

fn code<T>(result: kube::Result<T>) -> u16 {
    match result {
        Err(kube::Error::Api(status)) => status.code,
        Err(error) => panic!("{error}"),
        Ok(_) => 200,
    }
}

async fn maps(client: &Client, count: usize) -> Result<Api<ConfigMap>> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    for number in 0..count {
        let map = json!({ "metadata": { "name": format!("m-{number}"), "labels": { "odd": (number % 2 == 1).to_string() } } });
        objects::create(&maps, map).await?;
    }
    Ok(maps)
}

#[test]
fn lists_come_in_pages_of_one_version() {
    test(async {
        let cluster = SimulatedCluster::start("pages").await?;
        let client = cluster.client().await?;
        let maps = maps(&client, 7).await?;
        let mut params = ListParams::default().limit(3).labels("odd");
        let mut names = Vec::new();
        let mut versions = Vec::new();
        loop {
            let page = maps.list(&params).await?;
            names.extend(page.iter().map(kube::ResourceExt::name_any));
            versions.push(page.metadata.resource_version.clone());
            maps.delete("m-6", &DeleteParams::default()).await.ok();
            let Some(token) = page.metadata.continue_.filter(|it| !it.is_empty()) else { break };
            params = params.continue_token(&token);
        }
        ensure!(names == ["m-0", "m-1", "m-2", "m-3", "m-4", "m-5", "m-6"], "{names:?}");
        ensure!(
            versions.len() == 3 && versions.iter().all(|it| *it == versions[0]),
            "{versions:?}"
        );
        let first = maps.list(&ListParams::default().limit(2)).await?;
        maps.delete("m-5", &DeleteParams::default()).await?;
        cluster.simulator().compact();
        let token = first.metadata.continue_.unwrap_or_default();
        let late = maps.list(&ListParams::default().limit(2).continue_token(&token)).await;
        ensure!(code(late) == 410);
        let future =
            ListParams::default().at("99999999").matching(kube::api::VersionMatch::NotOlderThan);
        ensure!(code(maps.list(&future).await) == 504);
        Ok(())
    });
}

#[test]
fn a_watch_goes_on_from_a_version_or_is_told_that_it_is_too_old() {
    test(async {
        let cluster = SimulatedCluster::start("watch").await?;
        let client = cluster.client().await?;
        let maps = maps(&client, 2).await?;
        let from =
            maps.list(&ListParams::default()).await?.metadata.resource_version.unwrap_or_default();
        let label = |value| Patch::Merge(json!({ "metadata": { "labels": { "odd": value } } }));
        maps.patch("m-0", &PatchParams::default(), &label("true")).await?;
        maps.patch("m-1", &PatchParams::default(), &label("false")).await?;
        maps.delete("m-0", &DeleteParams::default()).await?;
        let params = WatchParams::default().labels("odd=true").timeout(1);
        let events: Vec<_> = maps.watch(&params, &from).await?.try_collect().await?;
        let said: Vec<String> = events
            .iter()
            .map(|event| match event {
                kube::core::WatchEvent::Added(map) => format!("added {}", map.name_any()),
                kube::core::WatchEvent::Deleted(map) => format!("deleted {}", map.name_any()),
                kube::core::WatchEvent::Modified(map) => format!("modified {}", map.name_any()),
                kube::core::WatchEvent::Bookmark(_) => "a bookmark".to_owned(),
                kube::core::WatchEvent::Error(status) => format!("{status:?}"),
            })
            .collect();
        ensure!(said == ["added m-0", "deleted m-1", "deleted m-0"], "{said:?}");
        cluster.simulator().compact();
        let mut late = maps.watch(&params, &from).await?.boxed();
        let Some(kube::core::WatchEvent::Error(status)) = late.try_next().await? else {
            return Err(anyhow!("no error"));
        };
        ensure!(status.code == 410 && status.reason == "Expired", "{status:?}");
        Ok(())
    });
}

#[test]
fn both_kinds_of_watchers_see_all() {
    test(async {
        let cluster = SimulatedCluster::start("watchers").await?;
        let client = cluster.client().await?;
        let maps = maps(&client, 30).await?;
        for config in
            [watcher::Config::default().streaming_lists(), watcher::Config::default().page_size(7)]
        {
            let config = config.labels("odd");
            let mut seen = std::pin::pin!(watcher(maps.clone(), config).applied_objects().take(30));
            let mut names = std::collections::BTreeSet::new();
            while let Some(map) = seen.try_next().await? {
                names.insert(map.name_any());
            }
            ensure!(names.len() == 30, "{names:?}");
        }
        Ok(())
    });
}

#[test]
fn writes_keep_the_rules() {
    test(async {
        let cluster = SimulatedCluster::start("writes").await?;
        let client = cluster.client().await?;
        let maps = maps(&client, 1).await?;
        let map = json!({ "metadata": { "name": "m-0" } });
        let again: ConfigMap = serde_json::from_value(map)?;
        ensure!(code(maps.create(&PostParams::default(), &again).await) == 409, "exists");
        let mut held = maps.get("m-0").await?;
        let change = |value| Patch::Merge(json!({ "data": { "a": value } }));
        let changed = maps.patch("m-0", &PatchParams::default(), &change("1")).await?;
        ensure!(changed.resource_version() != held.resource_version());
        let same = maps.patch("m-0", &PatchParams::default(), &change("1")).await?;
        ensure!(changed.resource_version() == same.resource_version(), "nothing changed");
        ensure!(code(maps.replace("m-0", &PostParams::default(), &held).await) == 409, "conflict");
        held.metadata.resource_version = None;
        maps.replace("m-0", &PostParams::default(), &held).await?;
        ensure!(maps.get("m-0").await?.data.is_none(), "replaced as a whole");
        ensure!(code(maps.get("m-9").await) == 404);
        let nowhere: Api<ConfigMap> = Api::namespaced(client.clone(), "nowhere");
        ensure!(code(nowhere.create(&PostParams::default(), &again).await) == 404, "no namespace");

        let deployments: Api<Deployment> = Api::namespaced(client.clone(), "default");
        objects::create(&deployments, objects::deployment("web", 2)).await?;
        let deployment = objects::wait_available(&client, "default", "web", SOON).await?;
        ensure!(deployment.metadata.generation == Some(1), "status changes no generation");
        let mut scale = deployments.get_scale("web").await?;
        ensure!(scale.status.as_ref().is_some_and(|it| it.replicas == 2), "{scale:?}");
        scale.spec.as_mut().unwrap().replicas = Some(3);
        deployments.replace_scale("web", &PostParams::default(), &scale).await?;
        let deployment = objects::wait_available(&client, "default", "web", SOON).await?;
        ensure!(deployment.metadata.generation == Some(2), "{:?}", deployment.metadata);
        let forged =
            json!({ "status": { "replicas": 99 }, "metadata": { "labels": { "x": "y" } } });
        deployments.patch("web", &PatchParams::default(), &Patch::Merge(forged)).await?;
        let deployment = deployments.get("web").await?;
        ensure!(
            deployment.status.as_ref().unwrap().replicas == Some(3),
            "status is written by itself"
        );
        ensure!(deployment.labels().contains_key("x"));
        Ok(())
    });
}

#[test]
fn what_is_deleted_goes_as_it_should() {
    test(async {
        let cluster = SimulatedCluster::start("deletes").await?;
        let client = cluster.client().await?;
        let maps = maps(&client, 1).await?;
        let finalize = |all: &[&str]| Patch::Merge(json!({ "metadata": { "finalizers": all } }));
        maps.patch("m-0", &PatchParams::default(), &finalize(&["test/hold"])).await?;
        let left = maps.delete("m-0", &DeleteParams::default()).await?.left();
        ensure!(left.is_some_and(|it| it.metadata.deletion_timestamp.is_some()), "it stays");
        maps.patch("m-0", &PatchParams::default(), &finalize(&[])).await?;
        ensure!(code(maps.get("m-0").await) == 404, "it goes with its last finalizer");

        objects::create_deployments(
            &client,
            "default",
            objects::Many { deployments: 1, pods_each: 2 },
        )
        .await?;
        objects::wait_available(&client, "default", "app-0", SOON).await?;
        let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
        let pod = objects::pods(&client, "default", "app=app-0").await?.remove(0);
        let ending = pods.delete(&pod.name_any(), &DeleteParams::default()).await?.left();
        ensure!(ending.is_some_and(|it| it.metadata.deletion_grace_period_seconds == Some(30)));
        wait_for("the pod to be replaced", SOON, async || {
            let all = objects::pods(&client, "default", "app=app-0").await?;
            Ok((all.len() == 2 && all.iter().all(|it| it.uid() != pod.uid())).then_some(()))
        })
        .await?;

        let name = objects::namespace(&client, "going").await?;
        objects::create_deployments(&client, &name, objects::Many { deployments: 2, pods_each: 2 })
            .await?;
        objects::wait_available(&client, &name, "app-1", SOON).await?;
        let namespaces: Api<Namespace> = Api::all(client.clone());
        namespaces.delete(&name, &DeleteParams::default()).await?;
        wait_for("the namespace to go with all that it has", SOON, async || {
            let pods: Api<Pod> = Api::namespaced(client.clone(), &name);
            let empty = pods.list(&ListParams::default()).await?.items.is_empty();
            Ok((empty && namespaces.get_opt(&name).await?.is_none()).then_some(()))
        })
        .await
    });
}

#[test]
fn leases_and_logs_are_served() {
    test(async {
        let cluster = SimulatedCluster::start("leases").await?;
        let client = cluster.client().await?;
        let leases: Api<Lease> = Api::namespaced(client.clone(), "kube-system");
        let lease = json!({ "metadata": { "name": "l" }, "spec": { "holderIdentity": "a" } });
        let mut lease = objects::create(&leases, lease).await?;
        lease.spec.as_mut().unwrap().holder_identity = Some("b".to_owned());
        let taken = leases.replace("l", &PostParams::default(), &lease).await?;
        ensure!(
            code(leases.replace("l", &PostParams::default(), &lease).await) == 409,
            "one takes it"
        );
        ensure!(taken.spec.unwrap().holder_identity.as_deref() == Some("b"));

        let mut crashing = objects::deployment("crashing", 1);
        crashing["spec"]["template"]["metadata"]["annotations"] =
            json!({ "simulator.vitals.dev/behaviour": "crash after=1s exit-code=3 restarts=1" });
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), "default");
        objects::create(&deployments, crashing).await?;
        let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
        let name = wait_for("a restart", SOON, async || {
            let pods = objects::pods(&client, "default", "app=crashing").await?;
            let restarted = |pod: &Pod| {
                let status = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
                (status.restart_count == 1).then(|| pod.name_any())
            };
            Ok(pods.first().and_then(restarted))
        })
        .await?;
        let previous = LogParams { previous: true, ..LogParams::default() };
        let said = pods.logs(&name, &previous).await?;
        ensure!(said.ends_with("giving up (exit code 3)\n"), "{said}");
        let follow = LogParams { follow: true, tail_lines: Some(1), ..LogParams::default() };
        let mut lines = futures::AsyncBufReadExt::lines(pods.log_stream(&name, &follow).await?);
        for _ in 0..2 {
            ensure!(lines.try_next().await?.is_some(), "a followed log goes on");
        }
        pods.delete(&name, &DeleteParams::default().grace_period(0)).await?;
        while lines.try_next().await?.is_some() {}
        Ok(())
    });
}
