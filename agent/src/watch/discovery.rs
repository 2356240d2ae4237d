//! Tells an absent kind from a path that is merely not found: 404 counts only while discovery succeeds, and does not name the
//! kind in the version that is read (PROTOCOL.md, "Heartbeat"). An API server that has it in older versions alone has nothing
//! that could be read: it says so beside the 404.

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
        Ok(Served::Not) => Failure::Absent(detail),
        Ok(Served::Otherwise(versions)) => Failure::Absent(format!(
            "{detail}: its group is served as {} alone",
            versions.join(", ")
        )),
        Ok(Served::AsRead) => {
            let api = &resource.api;
            Failure::Broken(format!("{detail}, although discovery names it in {api}"))
        }
        Err(Failure::Forbidden(detail)) => Failure::Forbidden(detail),
        Err(failure) => Failure::Broken(format!("{detail}, and discovery fails: {failure:?}")),
    }
}

/// What discovery says of a kind.
enum Served {
    /// It names it in the version that is read.
    AsRead,
    /// It names its group in these versions, and not in the one that is read.
    Otherwise(Vec<String>),
    /// Neither.
    Not,
}

async fn served(client: &kube::Client, resource: &Resource) -> Result<Served, Failure> {
    let Groups { groups } = document(client, "/apis").await?;
    // The core group is in no list of groups.
    if let Some(version) = resource.api.strip_prefix("/apis/") {
        let group = version.split('/').next().unwrap_or_default();
        let found = groups.into_iter().find(|it| it.name == group);
        let versions = found.map(|it| it.versions).unwrap_or_default();
        let versions: Vec<String> = versions.into_iter().map(|it| it.group_version).collect();
        if versions.is_empty() {
            return Ok(Served::Not);
        }
        if versions.iter().all(|it| it != version) {
            return Ok(Served::Otherwise(versions));
        }
    }
    let Resources { resources } = document(client, &resource.api).await?;
    let is_named = resources.iter().any(|served| served.name == resource.plural);
    Ok(if is_named { Served::AsRead } else { Served::Not })
}

async fn document<T: DeserializeOwned>(client: &kube::Client, path: &str) -> Result<T, Failure> {
    let answer = answer::get(client, path, ANSWER_TIMEOUT).await?;
    let body = Limited::new(answer.into_body(), DOCUMENT_BYTES_MAX).collect();
    let body = tokio::time::timeout(ANSWER_TIMEOUT, body).await;
    let body = body.map_err(|_| Failure::Broken(format!("{path} does not go on")))?;
    let body = body.map_err(|error| answer::broken(&kube::Error::Service(error)))?.to_bytes();
    serde_json::from_slice(&body).map_err(|error| Failure::Broken(format!("{path}: {error}")))
}
