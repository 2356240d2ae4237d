//! What somebody may do, asked of the API server for everything that it serves.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::authorization::v1::SelfSubjectAccessReview;
use kube::Client;
use kube::api::{Api, PostParams};
use serde_json::json;

/// What can be done with a resource.
pub(crate) const VERBS: [&str; 8] =
    ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];

/// Questions that are asked at once.
const AT_ONCE: usize = 16;

/// Something that can be asked for: `get pods/log.` in a namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Right {
    pub(crate) verb: String,
    pub(crate) group: String,
    /// Resource, with its subresource.
    pub(crate) resource: String,
    /// Empty: everywhere.
    pub(crate) namespace: String,
    /// Empty: of any name.
    pub(crate) name: String,
}

/// Every verb on every resource and subresource that the API server serves, in `namespace`; and on those of no API.
pub(crate) async fn all(client: &Client, namespace: &str) -> Result<BTreeSet<Right>> {
    let mut lists = vec![("".to_owned(), client.list_core_api_resources("v1").await?)];
    for group in client.list_api_groups().await?.groups {
        let version = group.preferred_version.context("a version")?.group_version;
        lists.push((group.name, client.list_api_group_resources(&version).await?));
    }
    let mut rights = BTreeSet::new();
    for (group, list) in lists {
        for resource in list.resources {
            let namespace = if resource.namespaced { namespace } else { "" };
            rights.extend(VERBS.iter().map(|verb| Right {
                verb: (*verb).to_owned(),
                group: group.clone(),
                resource: resource.name.clone(),
                namespace: namespace.to_owned(),
                name: String::new(),
            }));
        }
    }
    for (verb, group, resource) in [
        ("impersonate", "", "users"),
        ("impersonate", "", "groups"),
        ("impersonate", "", "serviceaccounts"),
        ("bind", "rbac.authorization.k8s.io", "clusterroles"),
        ("escalate", "rbac.authorization.k8s.io", "clusterroles"),
        ("*", "*", "*"),
    ] {
        let (verb, group, resource) = (verb.to_owned(), group.to_owned(), resource.to_owned());
        rights.insert(Right {
            verb,
            group,
            resource,
            namespace: String::new(),
            name: String::new(),
        });
    }
    Ok(rights)
}

/// Those of `asked` that the client's user has.
pub(crate) async fn granted(client: &Client, asked: BTreeSet<Right>) -> Result<BTreeSet<Right>> {
    let granted: BTreeSet<Option<Right>> = stream::iter(asked)
        .map(|right| is_granted(client, right))
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    Ok(granted.into_iter().flatten().collect())
}

async fn is_granted(client: &Client, right: Right) -> Result<Option<Right>> {
    let (resource, subresource) = right.resource.split_once('/').unwrap_or((&right.resource, ""));
    let review: SelfSubjectAccessReview = serde_json::from_value(json!({ "spec": {
        "resourceAttributes": {
            "verb": right.verb, "group": right.group, "resource": resource,
            "subresource": subresource, "namespace": right.namespace, "name": right.name,
        },
    }}))?;
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let answer = reviews.create(&PostParams::default(), &review).await?;
    Ok(answer.status.is_some_and(|it| it.allowed).then_some(right))
}
