//! `logs`, `events` and `get` of an object against a hub of set answers.

use expect_test::expect;
use vitals_proto::v1::*;

use super::Outcome;
use super::fake_hub::FakeHub;
use super::tests::{ago, hub, object, run};

/// A hub that knows one cluster.
fn one() -> FakeHub {
    let cluster = Cluster { name: "eu-1".into(), ..Cluster::default() };
    FakeHub { clusters: vec![cluster], ..hub() }
}

fn pieces(pieces: &[&'static str]) -> Vec<StreamLogsResponse> {
    let piece =
        |text: &&'static str| StreamLogsResponse { data: text.as_bytes().into(), skipped_bytes: 0 };
    pieces.iter().map(piece).collect()
}

/// A Deployment with two pods.
fn tree() -> GetEntityTreeResponse {
    let node = |kind: &str, name: &str, children| TreeNode {
        object: Some(object(kind, name)),
        children,
        ..TreeNode::default()
    };
    let pods = vec![node("pods", "shop-1", vec![]), node("pods", "shop-2", vec![])];
    let other = node("pods", "other-1", vec![]);
    let roots = vec![
        node("deployments.apps", "shop", pods),
        node("deployments.apps", "other", vec![other]),
    ];
    GetEntityTreeResponse { entity: None, roots }
}

#[tokio::test]
async fn the_logs_of_several_pods_are_lines_with_their_pod() {
    let logs = [
        ("shop-1".to_owned(), pieces(&["one\ntw", "o\x07\n", "no end"])),
        ("shop-2".to_owned(), pieces(&["\x1b[31mred\n"])),
    ];
    let hub = FakeHub { tree: tree(), logs: logs.into(), ..one() };
    let requests = std::sync::Arc::clone(&hub.log_requests);
    let hub = hub.serve().await;
    let ran = run(&hub, "logs deploy/shop -n pay --tail 7 --since 2m -c main --timestamps").await;
    ran.is(Outcome::Fine);
    let mut lines: Vec<&str> = ran.data.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        ["shop-1 no end", "shop-1 one", "shop-1 two\u{fffd}", "shop-2 \x1b[31mred\x1b[0m"]
    );
    let request = requests.lock().unwrap()[0].clone();
    let want = StreamLogsRequest {
        pod: Some(object("pods", "shop-1")),
        container: "main".into(),
        tail_lines: 7,
        since_seconds: 120,
        timestamps: true,
        ..StreamLogsRequest::default()
    };
    assert_eq!(request, want);
    let ran = run(&hub, "logs deploy/shop -n pay -o json").await;
    ran.is(Outcome::Fine);
    let line = r#"{"cluster":"eu-1","namespace":"pay","pod":"shop-2","container":"","line":"\u001b[31mred"}"#;
    assert!(ran.data.lines().any(|it| it == line), "{}", ran.data);
    let ran = run(&hub, "logs shop").await;
    assert!(ran.notes.contains("other-1: no agent of cluster eu-1 can be asked"), "{}", ran.notes);
    assert_eq!(ran.data.lines().count(), 4, "the others are shown: {}", ran.data);
}

#[tokio::test]
async fn one_pod_is_named_as_kubectl_names_it_and_what_it_lacks_is_said() {
    let mut log = pieces(&["one\n", "three\n"]);
    log[1].skipped_bytes = 4;
    let hub = FakeHub { logs: [("shop-1".to_owned(), log)].into(), ..one() }.serve().await;
    for line in ["logs shop-1 -n pay", "logs pod/shop-1 -n pay", "logs eu-1/pods/pay/shop-1"] {
        let ran = run(&hub, line).await;
        ran.is(Outcome::Fine).wrote(expect![[r#"
            one
            three
        "#]]);
        assert!(ran.notes.contains("shop-1: 4 bytes are left out here"), "{}", ran.notes);
    }
    let ran = run(&hub, "logs pod/absent -n pay").await;
    assert_eq!(ran.ended, "no agent of cluster eu-1 can be asked\n");
    let ran = run(&hub, "logs deploy/absent -n pay").await;
    assert!(
        ran.ended.contains("Deployment pay/absent in cluster eu-1 is not known"),
        "{}",
        ran.ended
    );
}

#[tokio::test]
async fn events_of_all_objects_stand_newest_first() {
    let event = |reason: &str, seconds, count| Event {
        r#type: if reason == "BackOff" { "Warning".into() } else { "Normal".into() },
        reason: reason.into(),
        message: format!("{reason} it"),
        count,
        last_at: ago(seconds),
        ..Event::default()
    };
    let of = |events: Vec<Event>, truncated| ListEventsResponse { events, truncated };
    let events = [
        ("shop".to_owned(), of(vec![event("Scaled", 90, 1)], false)),
        ("shop-1".to_owned(), of(vec![event("BackOff", 5, 7), event("Pulled", 600, 1)], true)),
    ];
    let hub = FakeHub { tree: tree(), events: events.into(), ..one() }.serve().await;
    let ran = run(&hub, "events shop").await;
    ran.is(Outcome::Fine).wrote(expect![[r#"
        LAST  TYPE     REASON   OBJECT               COUNT  MESSAGE
          5s  Warning  BackOff  Pod pay/shop-1           7  BackOff it
         90s  Normal   Scaled   Deployment pay/shop      1  Scaled it
         10m  Normal   Pulled   Pod pay/shop-1           1  Pulled it
    "#]]);
    assert_eq!(ran.notes, "there are more, older ones\n");
    let ran = run(&hub, "events deploy/shop -n pay -o json").await;
    ran.is(Outcome::Fine).wrote(expect![[r#"
        {
          "objects": [
            {
              "events": [
                {
                  "count": 1,
                  "lastAt": "2025-12-31T23:58:30Z",
                  "message": "Scaled it",
                  "reason": "Scaled",
                  "source": "",
                  "type": "Normal"
                }
              ],
              "object": {
                "cluster": "eu-1",
                "kind": "deployments.apps",
                "name": "shop",
                "namespace": "pay"
              },
              "truncated": false
            }
          ]
        }
    "#]]);
    let ran = run(&hub, "events pod/shop-2 -n pay").await;
    assert_eq!(ran.data, "");
    assert!(ran.notes.starts_with("no events of Pod pay/shop-2 in cluster eu-1"), "{}", ran.notes);
}

#[tokio::test]
async fn where_there_are_several_clusters_they_are_named() {
    let elsewhere = |object: ObjectRef| ObjectRef { cluster: "us-1".into(), ..object };
    let pod = |object| TreeNode { object: Some(object), ..TreeNode::default() };
    let roots = vec![pod(object("pods", "db-0")), pod(elsewhere(object("pods", "db-0")))];
    let event = Event { reason: "Pulled".into(), ..Event::default() };
    let events = ListEventsResponse { events: vec![event], truncated: false };
    let hub = FakeHub {
        tree: GetEntityTreeResponse { entity: None, roots },
        logs: [("db-0".to_owned(), pieces(&["up\n"]))].into(),
        events: [("db-0".to_owned(), events)].into(),
        ..one()
    };
    let hub = hub.serve().await;
    let ran = run(&hub, "logs db").await;
    let mut lines: Vec<&str> = ran.data.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["eu-1/db-0 up", "us-1/db-0 up"]);
    assert_eq!(run(&hub, "logs db --cluster us-1").await.data, "up\n");
    let ran = run(&hub, "events db").await;
    for cluster in ["eu-1", "us-1"] {
        assert!(ran.data.contains(&format!("Pod pay/db-0 in {cluster}")), "{}", ran.data);
    }
}

#[tokio::test]
async fn an_object_is_written_as_its_api_server_has_it() {
    let raw = GetObjectResponse {
        json: r#"{"kind":"Widget","spec":{"on":"yes"}}"#.into(),
        left_out: vec!["metadata.managedFields".into()],
    };
    let given = FakeHub { raw, ..one() }.serve().await;
    let ran = run(&given, "get -o yaml widgets.example.org/w -n pay").await;
    ran.is(Outcome::Fine).wrote(expect![[r#"
        kind: Widget
        spec:
          "on": "yes"
    "#]]);
    assert_eq!(ran.notes, "left out by the agent: metadata.managedFields\n");
    for (line, want) in [
        ("get deploy/shop", "say -o yaml or -o json"),
        ("get -o yaml secret/shop", "never leave their cluster"),
        ("get -o json eu-1/configmaps/pay/shop", "never leave their cluster"),
    ] {
        let ran = run(&given, line).await;
        assert!(ran.ended.contains(want), "{line}: {}", ran.ended);
    }
    let refused = one().serve().await;
    let ran = run(&refused, "get -o json deploy/shop -n pay").await;
    assert_eq!(ran.ended, "start it with\u{fffd} --allow-raw-objects\n");
}
