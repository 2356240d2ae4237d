//! Tells an absent kind from a path that is merely not found: 404 counts only while discovery succeeds, and names the kind in
//! no version (PROTOCOL.md, "Heartbeat").

use std::time::Duration;

use http_body_util::{BodyExt as _, Limited};
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    answer::{self, Failure},
    resource::Resource,
};

const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Largest discovery document that is read.
const DOCUMENT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// `metav1.APIGroupList`, of `/apis`.
#[derive(Deserialize)]
struct Groups {
    groups: Vec<Group>,
}

/// `metav1.APIGroup`.
#[derive(Deserialize)]
struct Group {
    name: String,
    versions: Vec<GroupVersion>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GroupVersion {
    group_version: String,
}

/// `metav1.APIResourceList`.
#[derive(Deserialize)]
struct Resources {
    resources: Vec<ApiResource>,
}

#[derive(Deserialize)]
struct ApiResource {
    name: String,
}

/// What a 404 means: [`Failure::Absent`], or [`Failure::Broken`] where discovery fails or names the kind all the same.
pub(super) async fn absent(client: &kube::Client, resource: &Resource, detail: String) -> Failure {
    match served(client, resource).await {
        Ok(None) => Failure::Absent(detail),
        Ok(Some(version)) => {
            Failure::Broken(format!("{detail}, although discovery names it in {version}"))
        }
        Err(Failure::Forbidden(detail)) => Failure::Forbidden(detail),
        Err(failure) => Failure::Broken(format!("{detail}, and discovery fails: {failure:?}")),
    }
}

/// The version in which the kind is served, if any.
async fn served(client: &kube::Client, resource: &Resource) -> Result<Option<String>, Failure> {
    let Groups { groups } = document(client, "/apis").await?;
    let mut paths = vec![];
    if resource.group.is_empty() {
        paths.push("/api/v1".to_owned());
    }
    let versions = groups.into_iter().filter(|group| group.name == resource.group);
    let versions = versions.flat_map(|group| group.versions);
    paths.extend(versions.map(|version| format!("/apis/{}", version.group_version)));
    for path in paths {
        let Resources { resources } = document(client, &path).await?;
        if resources.iter().any(|served| served.name == resource.plural) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

async fn document<T: DeserializeOwned>(client: &kube::Client, path: &str) -> Result<T, Failure> {
    let answer = answer::get(client, path, ANSWER_TIMEOUT).await?;
    let body = Limited::new(answer.into_body(), DOCUMENT_BYTES_MAX).collect();
    let body = tokio::time::timeout(ANSWER_TIMEOUT, body).await;
    let body = body.map_err(|_| Failure::Broken(format!("{path} does not go on")))?;
    let body = body.map_err(|error| answer::broken(&kube::Error::Service(error)))?.to_bytes();
    serde_json::from_slice(&body).map_err(|error| Failure::Broken(format!("{path}: {error}")))
}
