//! The connection against a server of a few lines, over real TCP: what only shows there.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
};
use vitals_proto::kind::Kind;

use super::*;
use crate::watch::{Settings, WatchItem, Watcher};

/// Long enough for any machine; nothing here waits for it to pass.
const PATIENCE: Duration = Duration::from_secs(60);

/// Answers each request with the bytes that `answer` gives for its path, and closes the connection.
async fn serve(answer: impl Fn(&str) -> String + Send + 'static) -> (Cluster, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let Some(path) = requested(&mut stream).await else { continue };
            // Ends without the rest of the last chunk, where the answer lacks it: a cut.
            stream.write_all(answer(&path).as_bytes()).await.unwrap();
        }
    });
    let config = Config::new(format!("http://{address}").parse().unwrap());
    (Cluster::from_config(config, "test".to_owned()).unwrap(), serving)
}

/// The path of a request, when its head is whole.
async fn requested(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap().split(' ').nth(1)?.to_owned())
}

fn answer(status: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nDate: Fri, 02 Jan 2026 03:04:05 GMT\r\nConnection: close\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
}

#[tokio::test]
async fn a_cluster_says_who_it_is() {
    let (cluster, _serving) = serve(|path| match path {
        "/api/v1/namespaces/kube-system" => answer(
            "200 OK",
            r#"{"metadata":{"name":"kube-system","uid":"0d9f3f0e-1111-4222-8333-444455556666"}}"#,
        ),
        "/version" => answer("200 OK", r#"{"major":"1","gitVersion":"v1.36.3"}"#),
        other => panic!("asked for {other}"),
    })
    .await;
    let uid = cluster.uid(PATIENCE).await.unwrap();
    assert_eq!(uid, Uid::from_text("0d9f3f0e-1111-4222-8333-444455556666"));
    assert_eq!(cluster.version(PATIENCE).await.unwrap(), "v1.36.3");
}

#[tokio::test]
async fn a_probe_tells_an_answer_from_readiness() {
    for (status, ready) in [
        ("200 OK", true),
        ("403 Forbidden", true),
        ("500 Internal Server Error", false),
        ("429 Too Many Requests", false),
    ] {
        let (cluster, _serving) = serve(move |_| answer(status, "ok")).await;
        let Probe { outcome, date } = cluster.probe(PATIENCE).await;
        assert_eq!(outcome.is_ok(), ready, "{status}: {outcome:?}");
        assert_eq!(date, Some("2026-01-02T03:04:05Z".parse().unwrap()), "{status}");
    }
    let (cluster, serving) = serve(|_| String::new()).await;
    drop(serving);
    let unreachable = cluster.probe(PATIENCE).await.outcome.unwrap_err();
    assert!(matches!(unreachable, Unanswered::Unreachable(_)), "{unreachable:?}");
}

#[tokio::test]
async fn what_is_no_answer_is_said() {
    let (cluster, _serving) = serve(|_| answer("200 OK", "<html>")).await;
    let error = cluster.version(PATIENCE).await.unwrap_err();
    assert!(matches!(error, Unanswered::Unreadable { path: "/version", .. }), "{error:?}");
    let (cluster, _serving) = serve(|_| answer("401 Unauthorized", "")).await;
    let error = cluster.uid(PATIENCE).await.unwrap_err();
    assert!(matches!(error, Unanswered::Status { status: 401, .. }), "{error:?}");
}

#[test]
fn the_clock_offset_is_the_agents_minus_the_servers() {
    let date = "2026-01-02T03:04:05Z".parse().unwrap();
    let answered_at = "2026-01-02T03:04:07.5Z".parse().unwrap();
    assert_eq!(clock_offset_ms(date, answered_at), 2_000);
}

#[tokio::test]
async fn contexts_are_named_and_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config");
    let kubeconfig = "
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]
users: [{name: u, user: {token: t}}]
contexts: [{name: east, context: {cluster: c, user: u}}, {name: west, context: {cluster: c, user: u}}]
current-context: west";
    std::fs::write(&path, kubeconfig).unwrap();
    let found = contexts(Some(&path)).unwrap();
    assert_eq!(found.names, ["east", "west"]);
    assert_eq!(found.current.as_deref(), Some("west"));
    for (context, title) in
        [(None, Ok("west")), (Some("east"), Ok("east")), (Some("north"), Err(()))]
    {
        let context = context.map(str::to_owned);
        let credentials = Credentials::Kubeconfig { path: Some(path.clone()), context };
        let cluster = Cluster::connect(&credentials).await;
        let got = cluster.as_ref().map(Cluster::title).map_err(|_| ());
        assert_eq!(got, title, "{credentials:?}");
    }
    assert!(contexts(Some(&folder.path().join("none"))).is_err());
}

#[tokio::test]
async fn a_connection_cut_within_an_object_loses_nothing() {
    let pod = |version: u64| {
        let metadata = format!(r#"{{"name":"a","namespace":"n","resourceVersion":"{version}"}}"#);
        format!("{{\"type\":\"MODIFIED\",\"object\":{{\"metadata\":{metadata}}}}}\n")
    };
    let chunk = |data: &str| format!("{:x}\r\n{data}\r\n", data.len());
    let (cluster, _serving) = serve(move |path| {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        if path.contains("limit=1") {
            answer("200 OK", r#"{"metadata":{"resourceVersion":"10"},"items":[]}"#)
        } else if path.contains("sendInitialEvents") {
            let annotations = r#"{"k8s.io/initial-events-end":"true"}"#;
            let metadata = format!(r#"{{"resourceVersion":"10","annotations":{annotations}}}"#);
            let end = format!("{{\"type\":\"BOOKMARK\",\"object\":{{\"metadata\":{metadata}}}}}\n");
            let half = &pod(12)[..30];
            format!("{head}{}{}{}", chunk(&end), chunk(&pod(11)), chunk(half))
        } else if path.contains("resourceVersion=11") {
            // Cut within a chunk too.
            format!("{head}{}{:x}\r\n{{\"type\":", chunk(&pod(12)), 4_000)
        } else {
            assert!(path.contains("resourceVersion=12"), "asked for {path}");
            format!("{head}{}", chunk(&pod(13)))
        }
    })
    .await;
    let settings = Settings { backoff_min: Duration::from_millis(1), ..Settings::default() };
    let watcher = Watcher::new(cluster.client().clone(), Kind::Pod, settings).unwrap();
    let (send, mut items) = mpsc::channel(8);
    let mut watch = JoinSet::new();
    watch.spawn(watcher.run(send));
    let mut versions = Vec::new();
    while versions.len() < 3 {
        let watched = tokio::time::timeout(PATIENCE, items.recv()).await.unwrap().unwrap();
        if let WatchItem::Applied(pod) = watched.item {
            versions.push(pod.resource_version);
        }
    }
    assert_eq!(versions, ["11", "12", "13"]);
}
