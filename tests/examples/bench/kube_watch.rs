//! A bare watch of the API server: the lines as they come, nothing kept.

use anyhow::{Context as _, Result};
use futures::{AsyncBufReadExt as _, Stream};
use kube::Client;
use serde::Deserialize;
use vitals_proto::kind::Kind;

#[derive(Deserialize)]
struct List {
    metadata: ListMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMetadata {
    resource_version: String,
}

/// The path of all objects of a kind.
pub(crate) fn path(kind: &Kind) -> String {
    let resource = kind.resource();
    match resource.strip_suffix(".apps") {
        Some(resource) => format!("/apis/apps/v1/{resource}"),
        None => format!("/api/v1/{resource}"),
    }
}

/// Watches what changes from now on. Each item is the JSON of a watch event.
pub(crate) async fn open(
    client: &Client,
    path: &str,
) -> Result<impl Stream<Item = std::io::Result<String>> + use<>> {
    let get = |query: &str| http::Request::get(format!("{path}?{query}")).body(Vec::new());
    let list: List = client.request(get("limit=1")?).await.context("list before the watch")?;
    let from = list.metadata.resource_version;
    let query = format!("watch=1&timeoutSeconds=3600&resourceVersion={from}");
    Ok(client.request_stream(get(&query)?).await.context("open a watch")?.lines())
}
