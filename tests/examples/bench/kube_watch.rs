//! A bare watch of the API server: the lines as they come, nothing kept.

use anyhow::{Context as _, Result, bail};
use futures::{AsyncBufReadExt as _, Stream, StreamExt as _};
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

/// The path of all objects of a kind that an agent watches.
pub(crate) fn path(kind: &Kind) -> String {
    let version = kind.api_version().expect("only kinds that are known are watched");
    let root = if version.contains('/') { "apis" } else { "api" };
    let path = format!("/{root}/{version}/{}", kind.plural());
    match kind.field_selector() {
        Some(selector) => format!("{path}?fieldSelector={}", selector.replace('=', "%3D")),
        None => path,
    }
}

/// A path, which may have a query, with more of it.
fn with(path: &str, query: &str) -> String {
    let joint = if path.contains('?') { '&' } else { '?' };
    format!("{path}{joint}{query}")
}

/// Watches what changes from now on. Each item is the JSON of a watch event.
pub(crate) async fn open(
    client: &Client,
    path: &str,
) -> Result<impl Stream<Item = std::io::Result<String>> + use<>> {
    open_from(client, path, &now(client, path).await?).await
}

/// The version of the newest of what is there.
pub(crate) async fn now(client: &Client, path: &str) -> Result<String> {
    let request = http::Request::get(with(path, "limit=1")).body(Vec::new())?;
    let list: List = client.request(request).await.context("list before the watch")?;
    Ok(list.metadata.resource_version)
}

/// Watches what changed since a version, until the API server ends the watch: it does so when its reader does not keep up.
pub(crate) async fn open_from(
    client: &Client,
    path: &str,
    from: &str,
) -> Result<impl Stream<Item = std::io::Result<String>> + use<>> {
    let query = format!("watch=1&timeoutSeconds=3600&resourceVersion={from}");
    let request = http::Request::get(with(path, &query)).body(Vec::new())?;
    Ok(client.request_stream(request).await.context("open a watch")?.lines())
}

/// Streams a list, and gives how many objects it has.
pub(crate) async fn list(client: &Client, path: &str) -> Result<usize> {
    let query =
        "watch=1&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
    let request = http::Request::get(with(path, query)).body(Vec::new())?;
    let mut lines = client.request_stream(request).await.context("stream a list")?.lines();
    let mut count = 0;
    while let Some(line) = lines.next().await {
        if line?.starts_with(r#"{"type":"BOOKMARK""#) {
            return Ok(count);
        }
        count += 1;
    }
    bail!("a list of {path} ended early")
}

/// The version of the object of an event.
pub(crate) fn version(line: &str) -> Result<String> {
    #[derive(Deserialize)]
    struct Event {
        object: List,
    }
    let event: Event = serde_json::from_str(line).context("read a watch event")?;
    Ok(event.object.metadata.resource_version)
}
