//! The commands against a hub of set answers: what is printed, and how it ends.

use clap::Parser as _;
use expect_test::{Expect, expect};
use prost::bytes::Bytes;
use prost_types::Timestamp;
use vitals_proto::v1::watch_entities_response::Event;
use vitals_proto::v1::*;

use super::Outcome;
use super::fake_hub::FakeHub;
use crate::args::{Args, Format, HubArgs};
use crate::output::Size;
use crate::output::testing::{self, NOW_UNIX_MS};

/// What a run of `vitals …` wrote, and how it ended.
pub(super) struct Ran {
    pub(super) data: String,
    pub(super) notes: String,
    pub(super) ended: String,
}

impl Ran {
    pub(super) fn is(&self, outcome: Outcome) -> &Self {
        assert_eq!(self.ended, format!("{outcome:?}"), "{}", self.notes);
        self
    }

    pub(super) fn wrote(&self, data: Expect) {
        data.assert_eq(&self.data);
    }
}

pub(super) async fn run(hub: &HubArgs, line: &str) -> Ran {
    run_at(100, hub, line).await
}

/// On a terminal of so many columns.
pub(super) async fn run_at(columns: usize, hub: &HubArgs, line: &str) -> Ran {
    let args = Args::try_parse_from(std::iter::once("vitals").chain(line.split(' '))).unwrap();
    let (mut output, data, notes) = testing::output(args.global.output.unwrap_or_default());
    output.terminal = Some(Size { columns, lines: 40 });
    if args.global.output.unwrap_or_default() == Format::Table && line.starts_with("watch") {
        output.terminal = None;
    }
    let ended = match args.command.run(hub, &mut output).await {
        Ok(outcome) => format!("{outcome:?}"),
        Err(error) => format!("{error}\n"),
    };
    Ran { data: data.text(), notes: notes.text(), ended }
}

pub(super) fn ago(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds: NOW_UNIX_MS / 1_000 - seconds, nanos: 0 })
}

pub(super) fn object(kind: &str, name: &str) -> ObjectRef {
    ObjectRef {
        cluster: "eu-1".into(),
        kind: kind.into(),
        namespace: "pay".into(),
        name: name.into(),
    }
}

fn health(status: HealthStatus) -> Option<ObjectHealth> {
    Some(ObjectHealth { status: status.into(), settled: true, ..ObjectHealth::default() })
}

fn healthy(name: &str) -> Entity {
    let verdict = Verdict {
        status: HealthStatus::Healthy.into(),
        severity: Severity::None.into(),
        since: ago(86_400 * 3),
        freshness: Some(Freshness {
            state: FreshnessState::Fresh.into(),
            since: ago(90_000),
            message: String::new(),
        }),
        ..Verdict::default()
    };
    let workload = WorkloadSummary {
        object: Some(object("deployments.apps", name)),
        desired: 3,
        updated: 3,
        ready: 3,
        available: 3,
        health: health(HealthStatus::Healthy),
        images: vec!["registry.example/app:1.4.9".into()],
        ..WorkloadSummary::default()
    };
    Entity {
        r#ref: format!("component:default/{name}"),
        origin: EntityOrigin::Labelled.into(),
        clusters: vec![ClusterVerdict {
            cluster: "eu-1".into(),
            verdict: Some(verdict.clone()),
            workloads: vec![workload],
            labels: std::collections::BTreeMap::new(),
        }],
        verdict: Some(verdict),
        digest: 7,
        ..Entity::default()
    }
}

fn degraded(name: &str) -> Entity {
    let mut entity = healthy(name);
    let verdict = Verdict {
        status: HealthStatus::Degraded.into(),
        severity: Severity::Critical.into(),
        reason: "ContainerCrashLooping".into(),
        message: "Container app of 2 pods crashes again and again with exit code 1".into(),
        since: ago(184),
        cause: vec![object("deployments.apps", name), object("pods", &format!("{name}-1"))],
        evidence: vec!["restarted 7 times".into(), "last exit code 1\x1b[2J".into()],
        next: format!("kubectl --context eu-1 -n pay logs {name}-1 --previous"),
        last_change: Some(LastChange {
            at: ago(200),
            message: "image 1.4.8 → 1.4.9".into(),
            object: Some(object("deployments.apps", name)),
        }),
        dimensions: vec![Dimension {
            name: "workload".into(),
            status: HealthStatus::Degraded.into(),
            reason: "ContainerCrashLooping".into(),
        }],
        ..entity.verdict.clone().unwrap()
    };
    let cluster = &mut entity.clusters[0];
    cluster.verdict = Some(verdict.clone());
    cluster.workloads[0].ready = 1;
    cluster.workloads[0].available = 1;
    cluster.workloads[0].restarts = 7;
    cluster.workloads[0].health = health(HealthStatus::Degraded);
    entity.owner = "group:default/payments".into();
    entity.verdict = Some(verdict);
    entity
}

fn labels(pairs: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

pub(super) fn hub() -> FakeHub {
    let entities = vec![healthy("cart"), degraded("pay"), healthy("shop")];
    FakeHub { entities, ..FakeHub::default() }
}

#[tokio::test]
async fn get_lists_entities_over_all_pages() {
    let hub = hub().serve().await;
    run(&hub, "get").await.is(Outcome::Fine).wrote(expect![[r#"
        ENTITY                  STATUS    READY  CLUSTERS  SINCE  REASON                MESSAGE
        component:default/cart  Healthy     3/3  eu-1         3d
        component:default/pay   Degraded    1/3  eu-1       3m4s  ContainerCrashLoopi…  Container app of 2 …
        component:default/shop  Healthy     3/3  eu-1         3d
    "#]]);
    run(&hub, "get --exit-code").await.is(Outcome::Unhealthy);
    run(&hub, "get cart --exit-code").await.is(Outcome::Fine);
}

#[tokio::test]
async fn what_is_not_there_is_an_error_that_says_what_to_do() {
    let hub = hub().serve().await;
    let ran = run(&hub, "get cart nope").await;
    assert!(ran.data.contains("component:default/cart"), "the others are shown: {}", ran.data);
    expect![[r#"
        component:default/nope is not known to the hub. It is neither registered nor seen: `vitals get` lists what there is
    "#]].assert_eq(&ran.ended);
    expect![[r#"
        component:default/nope is not known to the hub. It is neither registered nor seen: `vitals get` lists what there is
    "#]].assert_eq(&run(&hub, "explain nope").await.ended);
    expect![[r#"
        Pod default/nothing in cluster eu-1 is not known to the hub. `vitals clusters` says which clusters and kinds it sees
    "#]].assert_eq(&run(&hub, "why pod nothing --cluster eu-1").await.ended);
    expect![[r#"
        the hub knows no cluster yet: is an agent running?
    "#]]
    .assert_eq(&run(&hub, "why pod p").await.ended);
}

#[tokio::test]
async fn a_hub_that_is_not_there_or_wants_a_token_is_told_of() {
    let nobody = HubArgs { hub: "http://127.0.0.1:1".into(), ..HubArgs::default() };
    expect![[r#"
        cannot reach the hub at http://127.0.0.1:1: is it running? Start one with `vitals up`, or name another with --hub or VITALS_HUB
    "#]].assert_eq(&run(&nobody, "get").await.ended);
    let mut strict = FakeHub { authorization: Some("Bearer secret"), ..hub() }.serve().await;
    let ended = run(&strict, "get").await.ended;
    assert!(ended.contains("give the right one by --token-file or VITALS_TOKEN"), "{ended}");
    strict.token = Some("secret\n".into());
    run(&strict, "get").await.is(Outcome::Fine);
}

#[tokio::test]
async fn a_cluster_that_the_hub_calls_otherwise_can_be_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config");
    let config = "apiVersion: v1\nkind: Config\ncurrent-context: dev\n\
                  clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]\n\
                  contexts: [{name: dev, context: {cluster: c, user: u}}]\nusers: [{name: u}]\n";
    std::fs::write(&file, config).unwrap();
    let line = format!("verify --kubeconfig {}", file.display());
    expect![[r#"
        cluster dev is not known to the hub. It knows no cluster yet: is an agent running?
    "#]]
    .assert_eq(&run(&hub().serve().await, &line).await.ended);
    let clusters = vec![Cluster { name: "eu-1".into(), ..Cluster::default() }];
    let hub = FakeHub { clusters, ..hub() }.serve().await;
    expect![[r#"
        cluster dev is not known to the hub. It knows eu-1: say which of them this is by `vitals verify --cluster`
    "#]].assert_eq(&run(&hub, &line).await.ended);
    let nobody = HubArgs { hub: "http://127.0.0.1:1".into(), ..HubArgs::default() };
    let ended = run(&nobody, &line).await.ended;
    assert!(ended.starts_with("cannot reach the hub"), "{ended}");
}

#[tokio::test]
async fn json_is_one_document_of_the_api() {
    let hub = hub().serve().await;
    let ran = run(&hub, "get -o json").await;
    let document: serde_json::Value = serde_json::from_str(&ran.data).unwrap();
    let statuses: Vec<&str> = document["entities"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entity| entity["verdict"]["status"].as_str().unwrap())
        .collect();
    let (healthy, degraded) = ("HEALTH_STATUS_HEALTHY", "HEALTH_STATUS_DEGRADED");
    assert_eq!(statuses, [healthy, degraded, healthy]);
    let yaml = run(&hub, "get -o yaml").await.data;
    assert_eq!(serde_saphyr::from_str::<serde_json::Value>(&yaml).unwrap(), document);
}

#[tokio::test]
async fn explain_says_all() {
    let hub = hub().serve().await;
    run(&hub, "explain pay").await.is(Outcome::Fine).wrote(expect![[r#"
        component:default/pay is Degraded (critical): ContainerCrashLooping
          Container app of 2 pods crashes again and again with exit code 1
          since        3m4s ago, 2025-12-31T23:56:56.000Z
          origin       labelled
          owner        group:default/payments
          freshness    fresh
          cause        Deployment pay/pay → Pod pay/pay-1 (eu-1)
          evidence     restarted 7 times
          evidence     last exit code 1�[2J
          last change  3m20s ago: image 1.4.8 → 1.4.9 (Deployment pay/pay)
          next         kubectl --context eu-1 -n pay logs pay-1 --previous

        Clusters
        CLUSTER  STATUS    SINCE  FRESHNESS  REASON                 MESSAGE
        eu-1     Degraded   3m4s  fresh      ContainerCrashLooping  Container app of 2 pods crashes again a…

        Workloads
        CLUSTER  WORKLOAD            STATUS    READY  UP-TO-DATE  AVAILABLE  RESTARTS  IMAGES
        eu-1     Deployment pay/pay  Degraded    1/3           3          1         7  registry.example/app…

        Dimensions
        DIMENSION  STATUS    REASON
        workload   Degraded  ContainerCrashLooping
    "#]]);
    run(&hub, "explain pay --exit-code").await.is(Outcome::Unhealthy);
    run(&hub, "explain cart").await.is(Outcome::Fine).wrote(expect![[r#"
        component:default/cart is Healthy
          since        3d ago, 2025-12-29T00:00:00.000Z
          origin       labelled
          freshness    fresh

        Clusters
        CLUSTER  STATUS   SINCE  FRESHNESS  REASON  MESSAGE
        eu-1     Healthy     3d  fresh

        Workloads
        CLUSTER  WORKLOAD             STATUS   READY  UP-TO-DATE  AVAILABLE  RESTARTS  IMAGES
        eu-1     Deployment pay/cart  Healthy    3/3           3          3         0  registry.example/app…
    "#]]);
}

#[tokio::test]
async fn tree_shows_objects_with_their_health() {
    let node = |kind: &str, name: &str, edge: &str, children: Vec<TreeNode>| TreeNode {
        object: Some(object(kind, name)),
        health: health(HealthStatus::Healthy),
        edge: edge.into(),
        summary: "3/3 ready".into(),
        created_at: ago(7_300),
        children,
    };
    let told = TreeNode {
        health: None,
        summary: "BackOff, 3 times".into(),
        ..node("events", "pod_shop-a-1", "warned by", vec![])
    };
    let on = node("nodes", "worker-1", "runs on", vec![]);
    let pods = vec![
        node("pods", "shop-a-1", "owns", vec![told, on]),
        node("pods", "shop-a-2", "owns", vec![]),
    ];
    let sets = vec![
        node("replicasets.apps", "shop-a", "owns", pods),
        node("replicasets.apps", "shop-b", "owns", vec![]),
    ];
    let roots = vec![
        node("deployments.apps", "shop", "", sets),
        node("services", "shop", "", vec![node("pods", "shop-a-1", "selects", vec![])]),
    ];
    let tree = GetEntityTreeResponse { entity: Some(healthy("shop")), roots };
    let hub = FakeHub { tree, ..hub() }.serve().await;
    run(&hub, "tree shop").await.is(Outcome::Fine).wrote(expect![[r#"
        component:default/shop is Healthy
        OBJECT                             CLUSTER  STATUS   SUMMARY                  AGE  MESSAGE
        Deployment pay/shop                eu-1     Healthy  3/3 ready               2h1m
        ├─ ReplicaSet pay/shop-a           eu-1     Healthy  3/3 ready               2h1m
        │  ├─ Pod pay/shop-a-1             eu-1     Healthy  3/3 ready, on worker-1  2h1m
        │  │  └─ → Event pay/pod_shop-a-1  eu-1     -        BackOff, 3 times        2h1m
        │  └─ Pod pay/shop-a-2             eu-1     Healthy  3/3 ready               2h1m
        └─ ReplicaSet pay/shop-b           eu-1     Healthy  3/3 ready               2h1m
        Service pay/shop                   eu-1     Healthy  3/3 ready               2h1m
        └─ → Pod pay/shop-a-1              eu-1     Healthy  3/3 ready               2h1m
    "#]]);
}

#[tokio::test]
async fn why_gives_each_claim() {
    let claims = vec![Claim {
        r#ref: "component:default/shop".into(),
        rule: "kubernetes-id".into(),
        message: "Deployment pay/shop has the label backstage.io/kubernetes-id=shop".into(),
        via: vec![object("replicasets.apps", "shop-a"), object("deployments.apps", "shop")],
    }];
    let held = HeldFacts {
        resource_version: "4711".into(),
        observed_at: ago(5),
        message_bytes: 812,
        ..HeldFacts::default()
    };
    let explanation = ExplainObjectResponse {
        health: health(HealthStatus::Healthy),
        claims,
        unclaimed: String::new(),
        held: Some(held),
    };
    let clusters = vec![Cluster { name: "eu-1".into(), ..Cluster::default() }];
    let hub = FakeHub { explanation, clusters, ..hub() }.serve().await;
    run(&hub, "why pod shop-a-1 -n pay").await.is(Outcome::Fine).wrote(expect![[r#"
        Pod pay/shop-a-1 in eu-1 is Healthy
        It belongs to component:default/shop by kubernetes-id
          Deployment pay/shop has the label backstage.io/kubernetes-id=shop
          through ReplicaSet pay/shop-a, then Deployment pay/shop
        The hub holds resourceVersion 4711, seen 5s ago, 812 bytes
    "#]]);
}

#[tokio::test]
async fn clusters_say_how_well_they_are_seen() {
    let freshness = |state: FreshnessState, message: &str| {
        Some(Freshness { state: state.into(), since: ago(40), message: message.into() })
    };
    let kind = |kind: &str, state: KindState, detail: &str| KindFreshness {
        kind: kind.into(),
        state: state.into(),
        count: 12,
        held: 12,
        verified_at: ago(2),
        detail: detail.into(),
    };
    let forbidden = "nodes is forbidden: User \"vitals-agent\" cannot list resource \"nodes\" at the cluster scope";
    let scope = ScopeReport {
        scope: "main".into(),
        agent_version: "0.1.0".into(),
        last_heartbeat_at: ago(3),
        api_server_version: "v1.36.3".into(),
        freshness: freshness(FreshnessState::BlindSpot, "kind nodes is forbidden"),
        kinds: vec![
            kind("pods", KindState::Complete, ""),
            kind("nodes", KindState::Forbidden, forbidden),
        ],
        refused: vec![Refusal {
            reason: RefusalReason::TooLarge.into(),
            count: 2,
            example: "vitals.v1.object.eu-1.pods.pay.big".into(),
        }],
        ..ScopeReport::default()
    };
    let seen = Cluster {
        name: "eu-1".into(),
        freshness: scope.freshness.clone(),
        verified_at: ago(2),
        objects: 24,
        scopes: vec![scope],
        labels: labels(&[("environment", "prod"), ("region", "eu")]),
        ..Cluster::default()
    };
    let lost = Cluster {
        name: "us-1".into(),
        freshness: freshness(FreshnessState::AgentLost, "no heartbeat for 40 s"),
        ..Cluster::default()
    };
    let hub = FakeHub { clusters: vec![seen, lost], ..FakeHub::default() }.serve().await;
    let ran = run_at(80, &hub, "clusters").await;
    ran.is(Outcome::Fine).wrote(expect![[r#"
        CLUSTER  ENVIRONMENT  SCOPE  FRESHNESS   VERIFIED  OBJECTS  KINDS  HEARTBEAT  A…
        eu-1     prod         main   blind spot        2s       24    1/2         3s  0…
          kind nodes is forbidden
        us-1     -            -      agent lost         -        0      -          -  - 
          no heartbeat for 40 s
    "#]]);
    expect![[r#"
        eu-1/main: 2 objects do not get through (too large), such as vitals.v1.object.eu-1.pods.pay.big
    "#]].assert_eq(&ran.notes);
    run_at(80, &hub, "clusters eu-1").await.is(Outcome::Fine).wrote(expect![[r#"
        CLUSTER  ENVIRONMENT  SCOPE  FRESHNESS   VERIFIED  OBJECTS  KINDS  HEARTBEAT  A…
        eu-1     prod         main   blind spot        2s       24    1/2         3s  0…
          kind nodes is forbidden

        Labels of eu-1: environment=prod,region=eu

        CLUSTER  SCOPE  KIND   STATE      EXIST  HELD  VERIFIED
        eu-1     main   pods   complete      12    12        2s
        eu-1     main   nodes  forbidden     12    12        2s
          nodes is forbidden: User "vitals-agent" cannot list resource "nodes" at the cluster scope
    "#]]);
    expect![[r#"
        say which cluster by --cluster: the hub knows eu-1, us-1
    "#]]
    .assert_eq(&run(&hub, "why pod p").await.ended);
}

#[tokio::test]
async fn history_says_when_how_long_where_and_why() {
    let told = |at: i64, before: Option<Verdict>, after: Option<Verdict>| HealthTransition {
        entity: "component:default/pay".into(),
        at: ago(at),
        before,
        after,
        clusters: vec!["eu-1".into()],
        ..HealthTransition::default()
    };
    let (good, bad) = (healthy("pay").verdict, degraded("pay").verdict);
    let history = vec![
        told(60, bad.clone(), good.clone()),
        told(184, good.clone(), bad),
        told(86_400, None, good),
    ];
    let hub = FakeHub { history, ..hub() }.serve().await;
    run(&hub, "history pay").await.is(Outcome::Fine).wrote(expect![[r#"
        WHEN                  FROM      TO            LASTED  CLUSTERS  REASON             MESSAGE
        2025-12-31T23:59:00Z  Degraded  Healthy   60s, still  eu-1
        2025-12-31T23:56:56Z  Healthy   Degraded        2m4s  eu-1      ContainerCrashLo…  Container app of…
        2025-12-31T00:00:00Z  -         Healthy          23h  eu-1
    "#]]);
    run(&hub, "history pay --limit 1").await.is(Outcome::Fine).wrote(expect![[r#"
        WHEN                  FROM      TO           LASTED  CLUSTERS  REASON  MESSAGE
        2025-12-31T23:59:00Z  Degraded  Healthy  60s, still  eu-1
    "#]]);
    let ran = run(&hub, "history pay --since 3m -o json").await;
    let document: serde_json::Value = serde_json::from_str(&ran.data).unwrap();
    assert_eq!(document["transitions"].as_array().unwrap().len(), 1, "{document}");
    expect![[r#"
        nothing was told of component:default/pay since then
    "#]]
    .assert_eq(&run(&hub, "history pay --since 10s").await.notes);
    expect![[r#"
        component:default/nope is not known to the hub. It is neither registered nor seen: `vitals get` lists what there is
    "#]].assert_eq(&run(&hub, "history nope").await.ended);
    let wrong = Args::try_parse_from(["vitals", "history", "pay", "--since", "soon"]).unwrap_err();
    assert!(wrong.to_string().contains("30s, 15m, 2h or 7d"), "{wrong}");
}

#[tokio::test]
async fn clusters_are_labelled_and_forgotten() {
    let clusters = vec![Cluster { name: "eu-1".into(), ..Cluster::default() }];
    let hub = FakeHub { clusters, ..FakeHub::default() }.serve().await;
    run(&hub, "clusters label eu-1 environment=prod team- region=eu")
        .await
        .is(Outcome::Fine)
        .wrote(expect![[r#"
            eu-1 has environment=prod,region=eu
        "#]]);
    expect![[r#"
        cluster eu-2 is not known to the hub. `vitals clusters` lists those that are; --allow-unseen labels it before its agent comes
    "#]].assert_eq(&run(&hub, "clusters label eu-2 a=b").await.ended);
    expect![[r#"
        label a is both set and removed
    "#]]
    .assert_eq(&run(&hub, "clusters label eu-1 a=b a-").await.ended);
    expect![[r#"
        it may be alive; by force it is forgotten (--force)
    "#]]
    .assert_eq(&run(&hub, "clusters forget eu-1").await.ended);
    expect![[r#"
        cluster eu-2 is not known to the hub. `vitals clusters` lists those that are
    "#]]
    .assert_eq(&run(&hub, "clusters forget eu-2").await.ended);
    run(&hub, "clusters forget eu-1 --force").await.is(Outcome::Fine).wrote(expect![[r#"
        eu-1 is forgotten, with 42 objects
    "#]]);
    for line in [
        &["vitals", "clusters", "label", "eu-1"][..],
        &["vitals", "clusters", "label", "EU", "a=b"],
        &["vitals", "get", "--cluster-label", "prod"],
    ] {
        assert!(Args::try_parse_from(line).is_err(), "{line:?}");
    }
}

#[tokio::test]
async fn entities_are_asked_for_by_labels_of_clusters() {
    let fake = hub();
    let hub = fake.clone().serve().await;
    run(&hub, "get --environment prod --environment test --cluster-label team=a --cluster eu-1")
        .await;
    let asked = fake.filters.lock().unwrap().pop().unwrap();
    assert_eq!(asked.cluster_labels, ["environment=prod", "environment=test", "team=a"]);
    assert_eq!(asked.clusters, ["eu-1"]);
}

fn watched() -> FakeHub {
    let snapshot = || Event::Snapshot(SnapshotBegin { reason: String::new() });
    let synced = |token: &'static str, count, digest| {
        Event::Synced(Synced { token: Bytes::from_static(token.as_bytes()), count, digest })
    };
    let removed = |name: &str| {
        Event::Removed(EntityRemoved { r#ref: format!("component:default/{name}"), revision: None })
    };
    let hub = FakeHub::default();
    hub.watches.lock().unwrap().extend([
        vec![
            snapshot(),
            Event::Upsert(healthy("cart")),
            Event::Upsert(healthy("pay")),
            synced("one", 2, 14),
            Event::Upsert(degraded("pay")),
            Event::Upsert(degraded("pay")),
        ],
        vec![Event::Resumed(Resumed {}), removed("cart"), synced("two", 1, 8)],
        vec![snapshot(), Event::Upsert(healthy("pay")), synced("three", 1, 7)],
    ]);
    hub
}

#[tokio::test]
async fn watch_tells_changes_resumes_and_asks_anew_for_a_view_that_differs() {
    let fake = watched();
    let hub = fake.clone().serve().await;
    let ran = run(&hub, "watch").await;
    ran.wrote(expect![[r#"
        2025-12-29T00:00:00.000Z component:default/cart Healthy
        2025-12-29T00:00:00.000Z component:default/pay Healthy
        2025-12-31T23:56:56.000Z component:default/pay Healthy → Degraded ContainerCrashLooping: Container app of 2 pods crashes again and again with exit code 1
        2026-01-01T00:00:00.000Z component:default/cart gone
        2025-12-29T00:00:00.000Z component:default/pay Degraded → Healthy
    "#]]);
    expect![[r#"
        the hub is not ready (gone): trying again
        the view differs from the hub's in content: asking for it anew
        the hub is not ready (gone): trying again
    "#]]
    .assert_eq(&ran.notes);
    assert!(ran.ended.contains("end of the test"), "{}", ran.ended);
    let tokens = fake.tokens.lock().unwrap().clone();
    assert_eq!(tokens, ["", "one", "", "three"]);
}

#[tokio::test]
async fn watch_as_json_is_a_line_per_step() {
    let hub = watched().serve().await;
    let ran = run(&hub, "watch -o json").await;
    let steps: Vec<String> = ran
        .data
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|step| step.as_object().unwrap().keys().next().unwrap().clone())
        .collect();
    let first = ["snapshot", "upsert", "upsert", "synced", "upsert", "upsert"];
    let second = ["resumed", "removed", "synced"];
    let third = ["snapshot", "upsert", "synced"];
    assert_eq!(steps, [&first[..], &second, &third].concat());
}

#[tokio::test]
async fn watch_can_end_when_all_is_healthy() {
    let hub = watched().serve().await;
    run(&hub, "watch --until-healthy").await.is(Outcome::Fine);
    let both = ["vitals", "watch", "--until-healthy", "--status", "degraded"];
    let refused = Args::try_parse_from(both).unwrap_err();
    assert_eq!(refused.kind(), clap::error::ErrorKind::ArgumentConflict);
}

#[tokio::test]
async fn a_watch_for_health_waits_for_all_that_is_named() {
    let snapshot = || Event::Snapshot(SnapshotBegin { reason: String::new() });
    let synced = |count, digest| Event::Synced(Synced { token: Bytes::new(), count, digest });
    let first = || vec![snapshot(), Event::Upsert(healthy("cart")), synced(1, 7)];
    let hub = async |watches: Vec<Vec<Event>>| {
        let hub = FakeHub::default();
        hub.watches.lock().unwrap().extend(watches);
        hub.serve().await
    };

    let unknown = hub(vec![first()]).await;
    let ran = run(&unknown, "watch cart nope --until-healthy -o json").await;
    assert!(ran.ended.contains("end of the test"), "nope is not healthy: {}", ran.ended);
    expect![[r#"
        waiting for component:default/nope, which is not there
        the hub is not ready (gone): trying again
    "#]]
    .assert_eq(&ran.notes);

    let sick = [first(), vec![Event::Upsert(degraded("pay")), Event::Upsert(degraded("pay"))]];
    let well = vec![
        snapshot(),
        Event::Upsert(healthy("cart")),
        Event::Upsert(healthy("pay")),
        synced(2, 14),
    ];
    let ran = run(&hub(vec![sick.concat(), well]).await, "watch cart pay --until-healthy").await;
    ran.is(Outcome::Fine).wrote(expect![[r#"
        2025-12-29T00:00:00.000Z component:default/cart Healthy
        2025-12-31T23:56:56.000Z component:default/pay Degraded ContainerCrashLooping: Container app of 2 pods crashes again and again with exit code 1
        2025-12-29T00:00:00.000Z component:default/pay Degraded → Healthy
    "#]]);
    expect![[r#"
        waiting for component:default/pay, which is not there
        the hub is not ready (gone): trying again
    "#]]
    .assert_eq(&ran.notes);

    let nothing = hub(vec![vec![snapshot(), synced(0, 0)]]).await;
    expect![[r#"
        waiting for an entity that passes the filter
        the hub is not ready (gone): trying again
    "#]]
    .assert_eq(&run(&nothing, "watch --until-healthy").await.notes);
}

#[tokio::test]
async fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = run(&HubArgs::default(), &format!("completions {shell}")).await;
        assert!(ran.is(Outcome::Fine).data.contains("clusters"), "{shell}");
    }
}
