//! Drill-down, with a real API server, real permissions at the broker, and a kubelet that counts: what is asked of a cluster once
//! is asked once, whoever reads; what must stay in it stays; and whoever cannot be answered is told why.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is a failed test"
)]

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::future::{join_all, try_join_all};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Event;
use kube::Client;
use kube::api::{Api, PostParams};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};
use tonic::{Code, Status, Streaming};
use vitals::hub::Hub;
use vitals_proto::kind::Kind;
use vitals_proto::v1::{
    Entity, GetObjectRequest, HealthStatus, ListEventsRequest, ObjectRef, StreamLogsRequest,
    StreamLogsResponse,
};
use vitals_tests::cluster::may_read;
use vitals_tests::fleet::{Fleet, SOON};
use vitals_tests::{
    Binary, Cluster, Folder, Kubelet, Nats, Output, cluster_test, http, kubelet, objects, wait_for,
};

/// How long an agent may answer on one subject, as the broker is told. Production has minutes.
const ANSWERS_EXPIRE: Duration = Duration::from_secs(2);

/// A configuration of NATS that we give people, but that agents may answer for a moment only, and with few messages: all may do
/// what they need and nothing else.
fn broker(file: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/nats").join(file);
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {file}"))?;
    let is_of_testbed =
        |line: &&str| ["listen:", "http:", "jetstream {"].iter().any(|it| line.starts_with(it));
    let mut text = text.lines().filter(|line| !is_of_testbed(line)).collect::<Vec<_>>().join("\n");
    let expires = ANSWERS_EXPIRE.as_secs();
    let (allowed, allows) =
        ("max: 100000, expires: \"10m\"", format!("max: 100, expires: \"{expires}s\""));
    let (is_stream, streams) =
        ("response_type: stream", format!("response_type: stream, threshold: \"{expires}s\""));
    ensure!(text.contains(allowed), "{text}");
    for (from, to) in [
        (allowed, allows.as_str()),
        (is_stream, &streams),
        ("$VITALS_HUB_PASSWORD", "hub"),
        ("$VITALS_EAST_PASSWORD", "agent-east"),
        ("$VITALS_WEST_PASSWORD", "agent-west"),
    ] {
        text = text.replace(from, to);
    }
    Ok(text)
}

/// Each cluster has an account of its own: requests come and answers go by an import, which too lasts for a time only.
const PER_CLUSTER: &str = "nats.conf";
const SINGLE_ACCOUNT: &str = "nats-single-account.conf";

const NODE: &str = "logs-node";
const ALLOW: [&str; 2] = ["--allow-logs", "--allow-raw-objects"];

/// A cluster with a node that has logs, and a fleet with permissions.
struct Scene {
    cluster: std::sync::Arc<Cluster>,
    client: Client,
    namespace: String,
    kubelet: Kubelet,
    fleet: Fleet,
}

impl Scene {
    async fn start(name: &str, flags: &[&str]) -> Result<Self> {
        Self::start_on(name, SINGLE_ACCOUNT, flags).await
    }

    /// With a broker of this configuration.
    async fn start_on(name: &str, file: &str, flags: &[&str]) -> Result<Self> {
        let cluster = Cluster::shared("east").await?;
        let client = cluster.client().await?;
        let namespace = objects::namespace(&client, name).await?;
        let kubelet = Kubelet::start().await?;
        let node = format!("{NODE}-{namespace}");
        kubelet.make_node(&client, &node).await?;
        kubelet::make_pod(&client, &namespace, "web", (&node, &["main"])).await?;
        kubelet::make_pod(&client, &namespace, "pair", (&node, &["main", "proxy"])).await?;
        let nats = Nats::start_with(&broker(file)?).await?;
        let of = |user: &str| nats.url().replace("nats://", &format!("nats://{user}:{user}@"));
        let (hub, agent) = (of("hub"), of("agent-east"));
        let mut fleet = Fleet::start_hub(nats, &["--nats", &hub]).await?;
        let own = ["--nats", &agent, "--lease-namespace", &namespace];
        fleet.start_agent("main", &cluster, &[&own[..], flags].concat()).await?;
        fleet.wait_fresh(cluster.name()).await?;
        Ok(Self { cluster, client, namespace, kubelet, fleet })
    }

    fn object(&self, kind: &str, name: &str) -> ObjectRef {
        ObjectRef {
            cluster: self.cluster.name().to_owned(),
            kind: kind.to_owned(),
            namespace: self.namespace.clone(),
            name: name.to_owned(),
        }
    }

    fn log_of(&self, pod: &str) -> StreamLogsRequest {
        let pod = Some(self.object("pods", pod));
        StreamLogsRequest { pod, tail_lines: 10, ..StreamLogsRequest::default() }
    }

    fn follow(&self, pod: &str) -> StreamLogsRequest {
        StreamLogsRequest { follow: true, ..self.log_of(pod) }
    }

    async fn raw(&self, kind: &str, name: &str) -> Result<(Value, Vec<String>), Status> {
        let request = GetObjectRequest { object: Some(self.object(kind, name)) };
        let mut objects = self.fleet.hub().unwrap().objects();
        let answer = objects.get_object(request).await?.into_inner();
        Ok((serde_json::from_slice(&answer.json).unwrap(), answer.left_out))
    }

    /// Runs `vitals` against the hub of the scene.
    async fn vitals(&self, args: &[&str]) -> Result<Output> {
        let folder = Folder::new("vitals-cli")?;
        let program = Binary::Vitals.program()?.env("VITALS_HUB", self.fleet.hub_url());
        program.args(args).run(folder.path(), SOON).await
    }
}

/// Somebody who reads a log.
struct Reader {
    log: Streaming<StreamLogsResponse>,
    text: String,
}

impl Reader {
    async fn open(hub: &Hub, request: StreamLogsRequest) -> Result<Self, Status> {
        let log = hub.objects().stream_logs(request).await?.into_inner();
        Ok(Self { log, text: String::new() })
    }

    /// Reads until the text ends with this; all that is not new was there before.
    async fn until(&mut self, end: &str) -> Result<()> {
        let reading = async {
            while !self.text.ends_with(end) {
                let piece = self.log.message().await?.context("the log ended")?;
                ensure!(piece.skipped_bytes == 0, "{} bytes are skipped", piece.skipped_bytes);
                self.text.push_str(std::str::from_utf8(&piece.data)?);
            }
            Ok(())
        };
        let read = timeout(SOON, reading).await;
        read.with_context(|| format!("{end:?} does not come"))?
    }

    /// Reads to the end.
    async fn rest(mut self) -> Result<String> {
        while let Some(piece) = timeout(SOON, self.log.message()).await?? {
            ensure!(piece.skipped_bytes == 0, "{} bytes are skipped", piece.skipped_bytes);
            self.text.push_str(std::str::from_utf8(&piece.data)?);
        }
        Ok(self.text)
    }
}

#[test]
fn fifty_readers_of_a_log_cause_one_request_and_none_remains_when_they_go() {
    cluster_test(Box::pin(async {
        let scene = Scene::start("fifty", &ALLOW).await?;
        let hub = scene.fleet.hub()?;
        let Scene { kubelet, .. } = &scene;
        (1..=20).for_each(|number| kubelet.write(&format!("line {number}\n")));
        let opening = (0..50).map(|_| Reader::open(&hub, scene.follow("web")));
        let mut readers = try_join_all(opening).await?;
        try_join_all(readers.iter_mut().map(|reader| reader.until("line 20\n"))).await?;
        kubelet.write("all\n");
        try_join_all(readers.iter_mut().map(|reader| reader.until("line 20\nall\n"))).await?;
        for reader in &readers {
            ensure!(reader.text.starts_with("line 11\nline 12\n"), "{}", reader.text);
        }
        // Who comes late gets the last lines that are held, of what is read already.
        let mut late = Reader::open(&hub, scene.follow("web")).await?;
        late.until("all\n").await?;
        ensure!(late.text.starts_with("line 12\n"), "{}", late.text);
        let requests = kubelet.requests();
        ensure!(requests.len() == 1, "{requests:?}");
        let options = "/main?follow=true&tailLines=10";
        ensure!(requests[0].ends_with(options), "{requests:?}");
        kubelet.wait_open(1).await?;
        let metrics = http::get(scene.fleet.hub_http(), "/metrics").await?.body;
        for line in [
            "vitals_hub_drill_down_asked_total{verb=\"Logs\"} 1",
            "vitals_hub_drill_down_answered_total{verb=\"Logs\",outcome=\"Given\"} 51",
            "vitals_hub_drill_down_log_readers 51",
        ] {
            ensure!(metrics.lines().any(|it| it == line), "{line} is not in {metrics}");
        }
        readers.truncate(1);
        drop(late);
        kubelet.write("one\n");
        readers[0].until("one\n").await?;
        drop(readers);
        kubelet.wait_open(0).await?;
        wait_for("the agent to read no log", SOON, async || {
            let metrics = http::get(scene.fleet.agent_http("main")?, "/metrics").await?.body;
            let open = metrics.lines().find(|line| line.starts_with("vitals_agent_logs_open"));
            ensure!(open.is_some_and(|line| line.ends_with(" 0")), "{open:?}");
            Ok(Some(()))
        })
        .await
    }));
}

#[test]
fn a_log_is_followed_for_longer_than_the_broker_lets_an_agent_answer() {
    cluster_test(Box::pin(async {
        is_followed_for_long(&Scene::start("long", &ALLOW).await?).await
    }));
}

#[test]
fn a_log_is_followed_across_accounts_and_none_remains_when_its_reader_goes() {
    cluster_test(Box::pin(async {
        let scene = Scene::start_on("accounts", PER_CLUSTER, &ALLOW).await?;
        is_followed_for_long(&scene).await?;
        let scene = Scene::start_on("accounts", PER_CLUSTER, &ALLOW).await?;
        let Scene { kubelet, fleet, .. } = &scene;
        let (pod, _) = scene.raw("pods", "web").await?;
        ensure!(pod["kind"] == "Pod", "{pod}");
        let mut reader = Reader::open(&fleet.hub()?, scene.follow("web")).await?;
        kubelet.write("begin\n");
        reader.until("begin\n").await?;
        drop(reader);
        kubelet.wait_open(0).await?;
        let mut reader = Reader::open(&fleet.hub()?, scene.follow("web")).await?;
        reader.until("begin\n").await?;
        fleet.hub_process().kill().await?;
        kubelet.wait_open(0).await
    }));
}

async fn is_followed_for_long(scene: &Scene) -> Result<()> {
    let Scene { kubelet, .. } = scene;
    kubelet.write("begin\n");
    let mut reader = Reader::open(&scene.fleet.hub()?, scene.follow("web")).await?;
    reader.until("begin\n").await?;
    let end = Instant::now() + 4 * ANSWERS_EXPIRE;
    let mut pulse = tokio::time::interval(ANSWERS_EXPIRE / 8);
    let mut number = 0;
    while Instant::now() < end {
        pulse.tick().await;
        number += 1;
        kubelet.write(&format!("{number}\n"));
        reader.until(&format!("\n{number}\n")).await?;
    }
    // More messages too than it may send on one subject: in the silence between them alone the agent says that it lives.
    for number in 1..=300 {
        kubelet.write(&format!("more {number}\n"));
        reader.until(&format!("more {number}\n")).await?;
    }
    let requests = kubelet.requests();
    ensure!(requests.len() == 1, "{requests:?}");
    kubelet.end();
    reader.rest().await?;
    kubelet.wait_open(0).await
}

#[test]
fn a_hub_that_vanishes_ends_the_reading_and_a_broker_that_does_ends_nothing() {
    cluster_test(Box::pin(async {
        let scene = Scene::start("vanish", &ALLOW).await?;
        let Scene { kubelet, fleet, .. } = &scene;
        let mut reader = Reader::open(&fleet.hub()?, scene.follow("web")).await?;
        kubelet.write("begin\n");
        reader.until("begin\n").await?;
        fleet.nats.restart().await?;
        // What is written while the permission to answer is gone with the connection may be lost, and is then said to be.
        let back = wait_for("the log to go on", SOON, async || {
            kubelet.write("back\n");
            let piece = timeout(Duration::from_secs(1), reader.log.message()).await;
            Ok(piece.ok().transpose()?.flatten())
        })
        .await?;
        ensure!(std::str::from_utf8(&back.data)?.contains("back"), "{back:?}");
        ensure!(kubelet.requests().len() == 1, "{:?}", kubelet.requests());
        fleet.hub_process().kill().await?;
        kubelet.wait_open(0).await
    }));
}

#[test]
fn a_log_is_given_as_it_is_and_what_is_asked_of_it_counts() {
    cluster_test(Box::pin(async {
        let scene = Scene::start("logs", &ALLOW).await?;
        let (hub, kubelet) = (scene.fleet.hub()?, &scene.kubelet);
        kubelet.write_previous("before\n");
        let lines: String =
            (0..60_000).map(|number| format!("{number} {}\n", "x".repeat(80))).collect();
        kubelet.write(&lines);
        let all = StreamLogsRequest { tail_lines: u32::MAX, ..scene.log_of("web") };
        let read = Reader::open(&hub, all).await?.rest().await?;
        ensure!(read == lines, "{} of {} bytes", read.len(), lines.len());
        let previous = StreamLogsRequest { previous: true, ..scene.log_of("web") };
        ensure!(Reader::open(&hub, previous).await?.rest().await? == "before\n");
        // A second read at once is the same answer; a moment later it is another one.
        let count = kubelet.requests().len();
        let twice = [(); 2].map(|()| Reader::open(&hub, scene.log_of("web")));
        for reader in try_join_all(twice).await? {
            let read = reader.rest().await?;
            ensure!(read.lines().count() == 10 && lines.ends_with(&read), "{read}");
        }
        ensure!(kubelet.requests().len() == count + 1, "{:?}", kubelet.requests());

        let refused = async |request: StreamLogsRequest| {
            Reader::open(&hub, request).await.err().context("an error")
        };
        let several = refused(scene.log_of("pair")).await?;
        ensure!(several.code() == Code::InvalidArgument, "{several}");
        ensure!(
            several.message().contains("main") && several.message().contains("proxy"),
            "{several}"
        );
        let proxy = StreamLogsRequest { container: "proxy".into(), ..scene.log_of("pair") };
        ensure!(Reader::open(&hub, proxy).await?.rest().await?.lines().count() == 10);
        let absent = refused(scene.log_of("absent")).await?;
        ensure!(absent.code() == Code::NotFound, "{absent}");
        let escape = refused(scene.log_of("web/../../../secrets/x")).await?;
        ensure!(escape.code() == Code::InvalidArgument, "{escape}");

        let ran = scene.vitals(&["logs", "web", "-n", &scene.namespace, "--tail", "2"]).await?;
        ensure!(
            ran.status.success() && lines.ends_with(&ran.stdout),
            "{}{}",
            ran.stdout,
            ran.stderr
        );
        ensure!(ran.stdout.lines().count() == 2, "{}", ran.stdout);
        let ran = scene.vitals(&["logs", "pod/pair", "-n", &scene.namespace]).await?;
        ensure!(!ran.status.success() && ran.stderr.contains("proxy"), "{}", ran.stderr);
        Ok(())
    }));
}

#[test]
fn who_reads_too_slowly_is_told_what_he_missed() {
    cluster_test(Box::pin(async {
        let scene = Scene::start("slow", &ALLOW).await?;
        let Scene { kubelet, fleet, .. } = &scene;
        // Each has a connection, so that one does not hold up the other.
        let mut fast = Reader::open(&fleet.hub()?, scene.follow("web")).await?;
        let mut slow = Reader::open(&fleet.hub()?, scene.follow("web")).await?;
        kubelet.write("begin\n");
        fast.until("begin\n").await?;
        slow.until("begin\n").await?;
        let mut written = String::from("begin\n");
        for number in 0..100 {
            let lines: String =
                (0..1_000).map(|line| format!("{number}/{line} {}\n", "x".repeat(90))).collect();
            kubelet.write(&lines);
            written.push_str(&lines);
            fast.until(&lines[lines.len() - 100..]).await?;
        }
        ensure!(fast.text == written, "who keeps up misses nothing");
        kubelet.end();
        let mut missed = 0;
        while let Some(piece) = timeout(SOON, slow.log.message()).await?? {
            missed += usize::try_from(piece.skipped_bytes)?;
            slow.text.push_str(std::str::from_utf8(&piece.data)?);
        }
        let (got, all) = (slow.text.len(), written.len());
        ensure!(missed > 0 && got + missed == all, "{got} came, {missed} were missed, of {all}");
        ensure!(kubelet.requests().len() == 1, "{:?}", kubelet.requests());
        Ok(())
    }));
}

#[test]
fn of_several_agents_one_answers_that_may_and_can() {
    cluster_test(Box::pin(async {
        // A second agent of the same scope stands by; one of another scope comes first by its name, and gives nothing.
        let mut scene = Scene::start("several", &ALLOW).await?;
        let agent = scene.fleet.nats.url().replace("nats://", "nats://agent-east:agent-east@");
        let cluster = std::sync::Arc::clone(&scene.cluster);
        let own = ["--nats", &agent, "--lease-namespace", &scene.namespace];
        scene.fleet.start_agent("second", &cluster, &[&own[..], &ALLOW].concat()).await?;
        let other = ["--scope", "a", "--kinds", "nodes", "--nats", &agent, "--lease", "off"];
        let kinds = Kind::KNOWN.iter().filter(|kind| **kind != Kind::Node).map(Kind::resource);
        let kinds = kinds.collect::<Vec<_>>().join(",");
        scene.fleet.agent("main")?.kill().await?;
        let few = ["--kinds", &kinds];
        scene.fleet.start_agent("main", &cluster, &[&own[..], &few, &ALLOW].concat()).await?;
        scene.fleet.start_agent("other", &cluster, &other).await?;
        wait_for("both scopes to be known", SOON, async || {
            let cluster = scene.fleet.cluster("east").await?.context("it is unknown")?;
            let scopes: Vec<_> = cluster.scopes.iter().map(|it| it.scope.as_str()).collect();
            ensure!(scopes == ["a", "main"], "{scopes:?}");
            Ok(Some(()))
        })
        .await?;
        let hub = scene.fleet.hub()?;
        scene.kubelet.write("one\n");
        let read = wait_for("an agent to hold the Lease", SOON, async || {
            Ok(Some(Reader::open(&hub, scene.log_of("web")).await?.rest().await?))
        })
        .await?;
        ensure!(read == "one\n", "{read}");
        let (pod, _) = scene.raw("pods", "web").await?;
        ensure!(pod["metadata"]["name"] == "web", "{pod}");
        ensure!(scene.kubelet.requests().len() == 1, "{:?}", scene.kubelet.requests());
        Ok(())
    }));
}

#[test]
fn pods_of_the_testbed_have_a_log_and_a_workload_has_those_of_its_pods() {
    cluster_test(Box::pin(async {
        let scene = Scene::start("workload", &ALLOW).await?;
        let Scene { client, namespace, fleet, .. } = &scene;
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
        objects::create(&deployments, objects::deployment("shop", 2)).await?;
        objects::wait_available(client, namespace, "shop", SOON).await?;
        let is_seen = |entity: &Entity| {
            entity.verdict.as_ref().is_some_and(|it| it.status() == HealthStatus::Healthy)
        };
        fleet.wait_entity(&format!("workload:{namespace}/shop"), is_seen).await?;
        for target in [format!("workload:{namespace}/shop"), "deploy/shop".to_owned()] {
            let ran = scene.vitals(&["logs", &target, "-n", namespace, "--tail", "2"]).await?;
            ensure!(ran.status.success(), "{target}: {}", ran.stderr);
            let lines: Vec<&str> = ran.stdout.lines().collect();
            ensure!(
                lines.len() == 4 && lines.iter().all(|line| line.starts_with("shop-")),
                "{lines:?}"
            );
            ensure!(ran.stdout.matches("listening on :8080").count() == 2, "{}", ran.stdout);
        }
        let ran =
            scene.vitals(&["events", &format!("workload:{namespace}/shop"), "-o", "json"]).await?;
        ensure!(ran.status.success(), "{}", ran.stderr);
        ensure!(ran.stdout.contains("ScalingReplicaSet"), "{}", ran.stdout);
        Ok(())
    }));
}

/// A secret word, in all places where it must not be given.
fn secretive() -> Value {
    let env = json!([
        { "name": "PASSWORD", "value": "hunter2" },
        { "name": "KEY", "valueFrom": { "secretKeyRef": { "name": "s", "key": "k" } } },
    ]);
    let container = json!({ "name": "main", "image": "registry.test/app:1", "env": env });
    json!({
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {
            "name": "nightly",
            "annotations": { "kubectl.kubernetes.io/last-applied-configuration": "{\"env\":\"hunter2\"}" },
        },
        "spec": { "schedule": "0 0 29 2 *", "jobTemplate": { "spec": { "template": { "spec": {
            "restartPolicy": "Never", "containers": [container], "initContainers": [
                { "name": "first", "image": "registry.test/app:1", "env": env },
            ],
        } } } } },
    })
}

const WIDGETS: &str = r"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: NAME.example.org}
spec:
  group: example.org
  scope: Namespaced
  names: {plural: NAME, singular: SINGULAR, kind: KIND}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
";

#[test]
fn an_object_comes_without_what_stays_in_its_cluster_and_secrets_never_do() {
    cluster_test(Box::pin(async {
        let scene = Scene::start("raw", &ALLOW).await?;
        let Scene { client, namespace, .. } = &scene;
        objects::apply(client, namespace, &serde_json::to_string(&secretive())?).await?;
        let (object, left_out) = scene.raw("cronjobs.batch", "nightly").await?;
        let text = object.to_string();
        ensure!(!text.contains("hunter2") && !text.contains("managedFields"), "{text}");
        ensure!(text.contains("secretKeyRef") && text.contains("29 2"), "{text}");
        ensure!(object["metadata"]["resourceVersion"].is_string(), "{text}");
        let want = [
            "annotation kubectl.kubernetes.io/last-applied-configuration",
            "metadata.managedFields",
            "values of environment variables",
        ];
        ensure!(left_out == want, "{left_out:?}");

        // A kind that nobody compiled in, by its several names; and kinds that are a Secret by another name.
        for (plural, singular, kind) in
            [("widgets", "widget", "Widget"), ("passwords", "password", "Secret")]
        {
            let crd =
                WIDGETS.replace("NAME", plural).replace("SINGULAR", singular).replace("KIND", kind);
            objects::apply(client, namespace, &crd).await?;
            let one = json!({ "apiVersion": "example.org/v1", "kind": kind, "metadata": { "name": "w" },
                "spec": { "size": 7, "env": { "PASSWORD": "hunter2" } } });
            wait_for("the kind to be served", SOON, async || {
                objects::apply(client, namespace, &one.to_string()).await.map(Some)
            })
            .await?;
        }
        for kind in ["widgets.example.org", "widget.example.org", "Widget.example.org"] {
            let (object, _) = scene.raw(kind, "w").await?;
            ensure!(
                object["spec"] == json!({ "size": 7, "env": { "PASSWORD": null } }),
                "{object}"
            );
        }
        objects::apply(
            client,
            namespace,
            "{apiVersion: v1, kind: Secret, metadata: {name: s}, stringData: {p: hunter2}}\n---\n\
             {apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {p: hunter2}}",
        )
        .await?;
        for (kind, name, code) in [
            ("secrets", "s", Code::PermissionDenied),
            ("secret", "s", Code::PermissionDenied),
            ("Secret", "s", Code::PermissionDenied),
            ("configmaps", "c", Code::PermissionDenied),
            ("cm", "c", Code::PermissionDenied),
            ("passwords.example.org", "w", Code::PermissionDenied),
            ("pods", "../secrets/s", Code::InvalidArgument),
            ("pods", "absent", Code::NotFound),
            ("gadgets.example.org", "g", Code::NotFound),
            ("gadgets.absent.example.org", "g", Code::NotFound),
        ] {
            let status = scene.raw(kind, name).await.err().context(kind.to_owned())?;
            ensure!(status.code() == code, "{kind} {name}: {status}");
            ensure!(!status.message().contains("hunter2"), "{status}");
        }
        let get = ["get", "-o", "yaml", "cronjobs.batch/nightly", "-n", namespace];
        let ran = scene.vitals(&get).await?;
        ensure!(
            ran.status.success() && ran.stdout.contains("kind: CronJob"),
            "{}{}",
            ran.stdout,
            ran.stderr
        );
        ensure!(!ran.stdout.contains("hunter2"), "{}", ran.stdout);
        ensure!(ran.stderr.contains("values of environment variables"), "{}", ran.stderr);
        is_asked_once_or_not_at_all(&scene).await
    }));
}

/// However many ask for the same at once, the cluster is asked once; for too much it is not asked at all.
async fn is_asked_once_or_not_at_all(scene: &Scene) -> Result<()> {
    let asked = async || {
        let metrics = http::get(scene.fleet.hub_http(), "/metrics").await?.body;
        let name = "vitals_hub_drill_down_asked_total{verb=\"Get\"} ";
        let count = metrics.lines().find_map(|line| line.strip_prefix(name));
        Ok::<u64, anyhow::Error>(count.context("a count")?.parse()?)
    };
    let before = asked().await?;
    try_join_all((0..50).map(|_| scene.raw("pods", "pair"))).await?;
    ensure!(asked().await? == before + 1, "{} for {before}", asked().await?);
    let names: Vec<String> = (0..100).map(|number| format!("absent-{number}")).collect();
    let many = join_all(names.iter().map(|name| scene.raw("pods", name))).await;
    let codes: Vec<Code> =
        many.into_iter().map(|it| it.err().map_or(Code::Ok, |it| it.code())).collect();
    let count = |code| codes.iter().filter(|it| **it == code).count();
    let (absent, refused) = (count(Code::NotFound), count(Code::ResourceExhausted));
    ensure!(absent > 0 && refused > 0 && absent + refused == 100, "{absent} and {refused}");
    Ok(())
}

#[test]
fn events_are_given_newest_first_whatever_is_allowed() {
    cluster_test(Box::pin(async {
        let scene = Scene::start("events", &[]).await?;
        let Scene { client, namespace, .. } = &scene;
        let events: Api<Event> = Api::namespaced(client.clone(), namespace);
        for (number, reason) in ["Pulled", "BackOff", "Killing"].into_iter().enumerate() {
            let event = json!({
                "metadata": { "name": format!("web.{number}") },
                "involvedObject": { "kind": "Pod", "name": "web", "namespace": namespace },
                "type": if reason == "BackOff" { "Warning" } else { "Normal" },
                "reason": reason, "message": format!("{reason} it"), "count": number + 1,
                "source": { "component": "test" },
                "firstTimestamp": "2026-01-01T00:00:00Z",
                "lastTimestamp": format!("2026-01-01T00:00:0{}Z", (number * 2) % 5),
            });
            events.create(&PostParams::default(), &serde_json::from_value(event)?).await?;
        }
        let request = ListEventsRequest { object: Some(scene.object("pods", "web")) };
        let mut hub = scene.fleet.hub()?.objects();
        let answer = hub.list_events(request).await?.into_inner();
        let said: Vec<_> = answer.events.iter().map(|it| (it.reason.as_str(), it.count)).collect();
        ensure!(said == [("Killing", 3), ("BackOff", 2), ("Pulled", 1)], "{said:?}");
        ensure!(answer.events[1].source == "test" && answer.events[1].r#type == "Warning");
        ensure!(!answer.truncated);
        let ran = scene.vitals(&["events", "pod/web", "-n", namespace]).await?;
        ensure!(ran.status.success(), "{}", ran.stderr);
        let lines: Vec<&str> = ran.stdout.lines().collect();
        ensure!(lines.len() == 4 && lines[2].contains("BackOff it"), "{}", ran.stdout);

        // Nothing else was allowed: the answer says who can allow it.
        let status = scene.raw("pods", "web").await.err().context("an error")?;
        ensure!(status.code() == Code::FailedPrecondition, "{status}");
        ensure!(status.message().contains("--allow-raw-objects"), "{status}");
        let status = Reader::open(&scene.fleet.hub()?, scene.follow("web")).await.err();
        let status = status.context("an error")?;
        ensure!(status.code() == Code::FailedPrecondition, "{status}");
        ensure!(status.message().contains("--allow-logs (VITALS_ALLOW_LOGS=true)"), "{status}");
        ensure!(scene.kubelet.requests().is_empty());
        Ok(())
    }));
}

#[test]
fn who_may_not_or_is_not_there_is_named() {
    cluster_test(Box::pin(async {
        let scene = Scene::start("refused", &ALLOW).await?;
        let Scene { cluster, namespace, fleet, .. } = &scene;
        let hub = fleet.hub()?;
        fleet.agent("main")?.kill().await?;
        let pod = scene.object("pods", "web");
        let status = scene.raw("pods", "web").await.err().context("an error")?;
        ensure!(status.code() == Code::Unavailable, "{status}");
        ensure!(status.message().contains("no agent of cluster east can be asked"), "{status}");
        let status = Reader::open(&hub, scene.follow("web")).await.err().context("an error")?;
        ensure!(status.code() == Code::Unavailable, "{status}");
        let nowhere = ObjectRef { cluster: "nowhere".into(), ..pod.clone() };
        let request = ListEventsRequest { object: Some(nowhere) };
        let status = hub.objects().list_events(request).await.err().context("an error")?;
        ensure!(
            status.code() == Code::NotFound && status.message().contains("nowhere"),
            "{status}"
        );

        // An agent that may read what it watches, but for Events, and nothing else.
        let name = format!("{namespace}-few");
        let readable = Kind::KNOWN.iter().filter(|kind| **kind != Kind::Event);
        let user = cluster.user(&name, &may_read(readable)).await?;
        let kubeconfig = user.kubeconfig().to_str().context("a path in UTF-8")?.to_owned();
        let Scene { mut fleet, cluster, namespace, .. } = scene;
        let agent = fleet.nats.url().replace("nats://", "nats://agent-east:agent-east@");
        let flags = ["--nats", &agent, "--kubeconfig", &kubeconfig, "--lease", "off"];
        fleet.start_agent("few", &cluster, &[&flags[..], &ALLOW].concat()).await?;
        let of = |kind: &str| ObjectRef {
            cluster: "east".into(),
            kind: kind.into(),
            namespace: namespace.clone(),
            name: "web".into(),
        };
        let mut objects = hub.objects();
        wait_for("the agent to answer", SOON, async || {
            let request = GetObjectRequest { object: Some(of("pods")) };
            Ok(Some(objects.get_object(request).await?))
        })
        .await?;
        let request = ListEventsRequest { object: Some(of("pods")) };
        let events = objects.list_events(request).await.err().context("an error")?;
        let request = StreamLogsRequest { pod: Some(of("pods")), ..StreamLogsRequest::default() };
        let log = objects.stream_logs(request).await.err().context("an error")?;
        let request = GetObjectRequest { object: Some(of("serviceaccounts")) };
        let raw = objects.get_object(request).await.err().context("an error")?;
        for (status, words) in [
            (events, "cannot list resource \"events\""),
            (log, "cannot get resource \"pods/log\""),
            (raw, "cannot get resource \"serviceaccounts\""),
        ] {
            ensure!(status.code() == Code::PermissionDenied, "{status}");
            ensure!(status.message().contains(words), "{words}: {status}");
        }
        Ok(())
    }));
}
