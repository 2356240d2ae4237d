//! The watch against a scripted API server, in paused time.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};
use vitals_proto::kind::Kind;

use super::{
    Settings,
    script::{Bench, pod},
};

/// `actual` is `expected` seconds, less the jitter of a pause or of a watch's time-out, plus a moment.
fn about(begun: Instant, expected_s: f64, jitter: f64) {
    let actual = begun.elapsed().as_secs_f64();
    let range = expected_s * (1.0 - jitter) - 0.01..=expected_s + 0.01;
    assert!(range.contains(&actual), "{actual} s is not in {range:?}");
}

#[tokio::test(start_paused = true)]
async fn streams_a_list_and_follows_it() {
    let mut bench = Bench::new();
    bench.asked("/api/v1/pods?limit=1").await.page(10, &[("a", 5)], Some("more"));
    let asked = bench.asked("sendInitialEvents=true").await;
    assert!(asked.path.contains("resourceVersionMatch=NotOlderThan"), "{}", asked.path);
    assert!(!asked.path.contains("resourceVersion="), "a version may be stale: {}", asked.path);
    let mut stream = asked.stream();
    stream.event("ADDED", "a", 5).await;
    stream.event("ADDED", "b", 6).await;
    stream.event("MODIFIED", "b", 11).await;
    stream.end_of_list(12).await;
    bench
        .expect(&[
            "Listing",
            "list 10",
            "listed a@5",
            "listed b@6",
            "listed b@11",
            "end 12",
            "Live",
        ])
        .await;
    stream.event("MODIFIED", "a", 13).await;
    stream.event("DELETED", "b", 14).await;
    stream.bookmark(20).await;
    bench.expect(&["applied a@13", "deleted b {\"app\": \"b\"}", "alive 20"]).await;
    drop(stream);
    // One bookmark back: nothing happened between, and bookmarks must be newer than a watch's start.
    let mut stream = bench
        .asked("watch=true&allowWatchBookmarks=true&resourceVersion=14&timeoutSeconds=")
        .await
        .stream();
    stream.bookmark(20).await;
    stream.event("ADDED", "c", 21).await;
    bench.expect(&["alive 20", "applied c@21"]).await;
}

#[tokio::test(start_paused = true)]
async fn pages_where_the_server_cannot_stream_and_remembers_it() {
    for refusal in [400, 422] {
        let mut bench = Bench::new();
        bench.asked("limit=1").await.page(10, &[], None);
        bench.asked("sendInitialEvents").await.refuse(refusal);
        bench.asked("/api/v1/pods?limit=500").await.page(11, &[("a", 5)], Some("to+ken"));
        bench.asked("/api/v1/pods?limit=500&continue=to%2Bken").await.page(11, &[("b", 6)], None);
        bench.expect(&["Listing", "list 11", "listed a@5", "listed b@6", "end 11", "Live"]).await;
        let _watch =
            bench.asked("watch=true&allowWatchBookmarks=true&resourceVersion=11").await.stream();
        bench.relist.ask();
        bench.asked("limit=500").await.page(12, &[], None);
        bench.expect(&["list 12", "end 12"]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn pages_once_where_streaming_fails() {
    let mut bench = Bench::new();
    bench.asked("limit=1").await.page(10, &[], None);
    bench.asked("sendInitialEvents").await.stream().error(500).await;
    bench.asked("limit=500").await.page(11, &[], None);
    bench.expect(&["Listing", "list 10", "discarded", "list 11", "end 11", "Live"]).await;
    let _watch = bench.asked("resourceVersion=11").await.stream();
    bench.relist.ask();
    bench.asked("limit=1").await.page(12, &[], None);
    let _asked = bench.asked("sendInitialEvents").await;
}

#[tokio::test(start_paused = true)]
async fn an_old_server_that_ignores_the_flag_is_paged() {
    let mut bench = Bench::new();
    bench.asked("limit=1").await.page(10, &[], None);
    let mut stream = bench.asked("sendInitialEvents").await.stream();
    stream.event("ADDED", "a", 5).await;
    stream.bookmark(10).await;
    bench.asked("limit=500").await.page(11, &[("a", 5)], None);
    bench
        .expect(&[
            "Listing",
            "list 10",
            "listed a@5",
            "discarded",
            "list 11",
            "listed a@5",
            "end 11",
            "Live",
        ])
        .await;
}

#[tokio::test(start_paused = true)]
async fn lists_again_when_the_version_is_gone() {
    let mut bench = Bench::new();
    drop(bench.listed(10, &[("a", 5)]).await);
    bench.asked("resourceVersion=10").await.refuse(410);
    bench.expect(&["Listing: 410 no: 410"]).await;
    bench.asked("limit=1").await.page(30, &[], None);
    let mut stream = bench.asked("sendInitialEvents").await.stream();
    stream.end_of_list(31).await;
    bench.expect(&["list 30", "end 31", "Live"]).await;
    stream.error(410).await;
    bench.expect(&["Listing: 410 no: 410"]).await;
    let _asked = bench.asked("limit=1").await;
}

#[tokio::test(start_paused = true)]
async fn a_page_that_is_gone_restarts_the_list() {
    let mut bench = Bench::new();
    bench.asked("limit=1").await.page(10, &[], None);
    bench.asked("sendInitialEvents").await.refuse(400);
    bench.asked("limit=500").await.page(10, &[("a", 5)], Some("t"));
    bench.asked("continue=t").await.refuse(410);
    bench.asked("limit=500").await.page(90, &[("b", 80)], None);
    bench
        .expect(&[
            "Listing",
            "list 10",
            "listed a@5",
            "discarded",
            "Listing: 410 no: 410",
            "list 90",
            "listed b@80",
            "end 90",
            "Live",
        ])
        .await;
}

#[tokio::test(start_paused = true)]
async fn expired_watches_after_good_lists_do_not_spin() {
    let mut bench = Bench::new();
    drop(bench.listed(10, &[]).await);
    let begun = Instant::now();
    for round in 0..8 {
        bench.asked("watch=true").await.refuse(410);
        bench.asked("limit=1").await.page(11 + round, &[], None);
        let mut stream = bench.asked("sendInitialEvents").await.stream();
        stream.end_of_list(11 + round).await;
        bench.expect(&["Listing: 410 no: 410"]).await;
        assert!(bench.item().await.starts_with("list "));
        assert!(bench.item().await.starts_with("end "));
        bench.expect(&["Live"]).await;
    }
    assert!(begun.elapsed() > Duration::from_secs(30), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_watch_cut_within_an_object_is_resumed_before_it() {
    let mut bench = Bench::new();
    let mut stream = bench.listed(10, &[]).await;
    stream.event("ADDED", "a", 11).await;
    let whole = json!({"type": "MODIFIED", "object": pod("a", 12)}).to_string();
    let (half, rest) = whole.split_at(whole.len() / 2);
    stream.bytes(half).await;
    stream.cut().await;
    let mut stream = bench.asked("resourceVersion=11").await.stream();
    // Whole, but in pieces.
    stream.bytes(half).await;
    stream.bytes(rest).await;
    stream.bytes("\n\n").await;
    bench.expect(&["applied a@11", "applied a@12"]).await;
    // A clean end within an object is the same.
    stream.bytes(half).await;
    drop(stream);
    let _asked = bench.asked("resourceVersion=12").await;
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_cut_is_discarded() {
    let mut bench = Bench::new();
    bench.asked("limit=1").await.page(10, &[], None);
    let mut stream = bench.asked("sendInitialEvents").await.stream();
    stream.event("ADDED", "a", 5).await;
    drop(stream);
    bench.expect(&["Listing", "list 10", "listed a@5", "discarded"]).await;
    let _asked = bench.asked("limit=1").await;
}

#[tokio::test(start_paused = true)]
async fn a_forbidden_kind_is_asked_for_slowly() {
    for status in [401, 403] {
        let mut bench = Bench::new();
        bench.asked("limit=1").await.refuse(status);
        bench.expect(&["Listing", &format!("Forbidden: {status} no: {status}")]).await;
        let begun = Instant::now();
        let asked = bench.asked("limit=1").await;
        about(begun, 30.0, 1.0 / 6.0);
        asked.page(10, &[], None);
        let mut stream = bench.asked("sendInitialEvents").await.stream();
        stream.end_of_list(10).await;
        bench.expect(&["list 10", "end 10", "Live"]).await;
        drop(stream);
        bench.asked("watch=true").await.refuse(status);
        bench.expect(&[&format!("Forbidden: {status} no: {status}")]).await;
        // Allowed again: proven by a bookmark, within seconds.
        bench.asked("limit=1").await.page(15, &[], None);
        let mut stream = bench.asked("resourceVersion=10&timeoutSeconds=8").await.stream();
        stream.bookmark(15).await;
        bench.expect(&["alive 15", "Live"]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_kind_is_absent_only_if_discovery_says_so() {
    let mut bench = Bench::new();
    bench.asked("limit=1").await.refuse(404);
    bench.asked("/apis").await.json(200, &json!({"groups": []}));
    bench.asked("/api/v1").await.json(200, &json!({"resources": [{"name": "nodes"}]}));
    bench.expect(&["Listing", "Absent: 404 no: 404"]).await;

    let mut bench = Bench::new();
    for discovery in [503, 404] {
        bench.asked("limit=1").await.refuse(404);
        bench.asked("/apis").await.refuse(discovery);
    }
    bench.asked("limit=1").await.refuse(404);
    bench.asked("/apis").await.json(200, &json!({"groups": []}));
    bench.asked("/api/v1").await.json(200, &json!({"resources": [{"name": "pods"}]}));
    bench.asked("limit=1").await.page(10, &[], None);
    let why = "404 no: 404, and discovery fails: Broken(\"503 no: 503\")";
    bench.expect(&["Listing", &format!("Listing: {why}")]).await;
    bench.asked("sendInitialEvents=true").await.stream().end_of_list(10).await;
    bench.expect(&["list 10", "end 10", "Live"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_is_served_in_another_version_alone_is_absent() {
    let of = |versions: &[&str]| {
        let versions: Vec<_> = versions.iter().map(|it| json!({ "groupVersion": it })).collect();
        json!({ "groups": [
            { "name": "apps", "versions": [{ "groupVersion": "apps/v1" }] },
            { "name": "autoscaling", "versions": versions },
        ] })
    };
    let mut bench = Bench::of(Kind::HorizontalPodAutoscaler, Settings::default(), 64);
    bench.asked("/apis/autoscaling/v2/horizontalpodautoscalers?limit=1").await.refuse(404);
    bench.asked("/apis").await.json(200, &of(&["autoscaling/v1", "autoscaling/v2beta2"]));
    let why = "its group is served as autoscaling/v1, autoscaling/v2beta2 alone";
    bench.expect(&["Listing", &format!("Absent: 404 no: 404: {why}")]).await;

    let mut bench = Bench::of(Kind::HorizontalPodAutoscaler, Settings::default(), 64);
    bench.asked("limit=1").await.refuse(404);
    bench.asked("/apis").await.json(200, &of(&["autoscaling/v1", "autoscaling/v2"]));
    let named = json!({"resources": [{"name": "horizontalpodautoscalers"}]});
    bench.asked("/apis/autoscaling/v2").await.json(200, &named);
    bench.asked("limit=1").await.page(10, &[], None);
    let why = "although discovery names it in /apis/autoscaling/v2";
    bench.expect(&["Listing", &format!("Listing: 404 no: 404, {why}")]).await;
}

#[tokio::test(start_paused = true)]
async fn a_list_older_than_what_was_seen_is_not_used() {
    let mut bench = Bench::new();
    let mut stream = bench.listed(10, &[("a", 5)]).await;
    stream.event("MODIFIED", "a", 50).await;
    bench.expect(&["applied a@50"]).await;
    bench.relist.ask();
    bench.asked("limit=1").await.page(49, &[("old", 1)], None);
    bench.expect(&["Listing: list 49 is older than 50"]).await;
    bench.asked("limit=1").await.page(50, &[], None);
    bench.asked("sendInitialEvents").await.refuse(400);
    bench.asked("limit=500").await.page(48, &[("old", 1)], None);
    bench.asked("limit=500").await.page(51, &[("a", 50)], None);
    bench.expect(&["list 51", "listed a@50", "end 51", "Live"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_restored_cluster_is_taken_as_it_is_at_last() {
    let mut bench = Bench::new();
    let mut stream = bench.listed(100, &[]).await;
    stream.event("ADDED", "a", 7).await; // out of order: a watch never goes back
    bench.expect(&["Listing: event 7 is older than 100"]).await;
    let begun = Instant::now();
    for _ in 0..6 {
        bench.asked("limit=1").await.page(8, &[], None);
    }
    bench.asked("limit=1").await.page(8, &[], None);
    assert!(begun.elapsed() > Duration::from_secs(10), "{:?}", begun.elapsed());
    let mut stream = bench.asked("sendInitialEvents").await.stream();
    stream.event("ADDED", "a", 7).await;
    stream.end_of_list(9).await;
    bench.expect(&["rewound 8", "listed a@7", "end 9", "Live"]).await;
    stream.event("MODIFIED", "a", 10).await;
    bench.expect(&["applied a@10"]).await;
}

/// Seen on a real API server whose etcd was wiped: a silent watch, then lists that are older for longer than the stall's bound.
#[tokio::test(start_paused = true)]
async fn a_restored_cluster_is_not_listed_in_a_tight_loop() {
    let mut bench = Bench::new();
    let _silent = bench.listed(100, &[]).await;
    bench.asked("limit=1").await.page(8, &[], None);
    bench.expect(&["Listing: newest 8 is older than 100"]).await;
    let begun = Instant::now();
    for _ in 0..7 {
        bench.asked("limit=1").await.page(8, &[], None);
    }
    bench.asked("sendInitialEvents=true").await.stream().end_of_list(9).await;
    assert!(begun.elapsed() > Duration::from_secs(15), "{:?}", begun.elapsed());
    bench.expect(&["Stalled: list 8 is older than 100", "rewound 8", "end 9", "Live"]).await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_ends_nothing() {
    let mut bench = Bench::new();
    bench.asked("limit=1").await.page(10, &[], None);
    let mut stream = bench.asked("sendInitialEvents").await.stream();
    let mut bad = pod("bad", 6);
    bad["spec"]["containers"] = json!("none");
    stream.object("ADDED", &bad).await;
    stream.object("ADDED", &json!({"metadata": {"name": 5}})).await;
    stream.event("ADDED", "good", 7).await;
    stream.end_of_list(10).await;
    bench.expect(&["Listing", "list 10", "unreadable bad", "unreadable ?", "listed good@7"]).await;
    bench.expect(&["end 10, 1 unnamed", "Live"]).await;
    bad["metadata"]["resourceVersion"] = json!("12");
    stream.object("MODIFIED", &bad).await;
    stream.object("DELETED", &bad).await;
    bench.expect(&["unreadable bad", "deleted bad {\"app\": \"bad\"}"]).await;
    drop(stream);
    let _asked = bench.asked("resourceVersion=12").await;
}

#[tokio::test(start_paused = true)]
async fn what_is_no_event_is_resumed_before() {
    for line in ["<html>\n", "{\"type\":\"NEW\",\"object\":{}}\n", "{\"type\":\"ADDED\"}\n"] {
        let mut bench = Bench::new();
        let mut stream = bench.listed(10, &[]).await;
        stream.event("ADDED", "a", 11).await;
        stream.bytes(line).await;
        let _asked = bench.asked("resourceVersion=11").await;
        bench.expect(&["applied a@11"]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_obeyed() {
    for status in [429, 503] {
        let mut bench = Bench::new();
        bench.asked("limit=1").await.throttle(status, 7);
        let begun = Instant::now();
        let asked = bench.asked("limit=1").await;
        about(begun, 7.0, 0.0);
        drop(asked);
    }
}

#[tokio::test(start_paused = true)]
async fn failures_are_retried_ever_more_slowly() {
    let mut bench = Bench::new();
    let mut asked = bench.asked("limit=1").await;
    for expected_s in [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0] {
        asked.refuse(503);
        let begun = Instant::now();
        asked = bench.asked("limit=1").await;
        about(begun, expected_s, 0.5);
    }
}

#[tokio::test(start_paused = true)]
async fn bookmarks_keep_a_quiet_watch_alive() {
    let mut bench = Bench::new();
    let mut stream = bench.listed(10, &[]).await;
    for minute in 0..10 {
        sleep(Duration::from_secs(61)).await;
        stream.bookmark(11 + minute).await;
        bench.expect(&[&format!("alive {}", 11 + minute)]).await;
    }
    assert!(bench.asks_nothing());
}

#[tokio::test(start_paused = true)]
async fn silence_is_no_stall_when_nothing_happened() {
    let mut bench = Bench::new();
    let _silent = bench.listed(10, &[]).await;
    let begun = Instant::now();
    let asked = bench.asked("limit=1").await;
    about(begun, 65.0, 0.0);
    asked.page(10, &[], None);
    bench.expect(&["alive 10"]).await;
    let _watch = bench.asked("resourceVersion=10&timeoutSeconds=2").await.stream();
}

#[tokio::test(start_paused = true)]
async fn silence_is_put_to_proof_when_something_happened() {
    let mut bench = Bench::new();
    let _silent = bench.listed(10, &[]).await;
    bench.asked("limit=1").await.page(40, &[], None);
    let mut stream = bench.asked("resourceVersion=10&timeoutSeconds=8").await.stream();
    stream.event("ADDED", "a", 39).await;
    stream.bookmark(40).await;
    drop(stream);
    bench.expect(&["applied a@39", "alive 40"]).await;
    let _watch = bench.asked("resourceVersion=39").await.stream();

    let mut bench = Bench::new();
    let _silent = bench.listed(10, &[]).await;
    bench.asked("limit=1").await.page(40, &[], None);
    drop(bench.asked("timeoutSeconds=8").await.stream());
    bench.expect(&["Listing: neither event nor bookmark although the cluster changed"]).await;
    let _asked = bench.asked("limit=1").await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_peer_is_a_stall_within_90_seconds() {
    let mut bench = Bench::new();
    let stream = bench.listed(10, &[]).await;
    let begun = Instant::now();
    let mut unanswered = Vec::new();
    let state = loop {
        tokio::select! {
            asked = bench.asked.recv() => unanswered.push(asked.unwrap()),
            item = bench.items.recv() => break super::script::text(item.unwrap().item),
        }
    };
    assert_eq!(state, "Stalled: no answer within 5 s");
    assert!(begun.elapsed() <= Duration::from_secs(90), "{:?}", begun.elapsed());
    drop((unanswered, stream));
    // It comes back: proven, and live.
    loop {
        let asked = bench.asked.recv().await.unwrap();
        if asked.is_awaited() {
            asked.page(10, &[], None);
            break;
        }
    }
    bench.expect(&["alive 10", "Live"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_holds_the_watch_and_loses_nothing() {
    let mut bench = Bench::with(Settings::default(), 1);
    bench.asked("limit=1").await.page(10, &[], None);
    let mut stream = bench.asked("sendInitialEvents").await.stream();
    for index in 0..50 {
        stream.event("ADDED", &format!("p{index}"), 5).await;
    }
    stream.end_of_list(10).await;
    sleep(Duration::from_secs(300)).await;
    assert!(bench.asks_nothing(), "a queue that is full is no silence");
    bench.expect(&["Listing", "list 10"]).await;
    for index in 0..50 {
        bench.expect(&[&format!("listed p{index}@5")]).await;
    }
    bench.expect(&["end 10", "Live"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_list_is_asked_for_while_it_is_live() {
    let mut bench = Bench::new();
    let _stream = bench.listed(10, &[("a", 5)]).await;
    bench.relist.ask();
    bench.relist.ask();
    bench.asked("limit=1").await.page(12, &[], None);
    let mut stream = bench.asked("sendInitialEvents").await.stream();
    stream.event("ADDED", "a", 5).await;
    stream.end_of_list(12).await;
    bench.expect(&["list 12", "listed a@5", "end 12"]).await;
    stream.event("MODIFIED", "a", 13).await;
    bench.expect(&["applied a@13"]).await;
    assert!(bench.asks_nothing(), "asked twice is asked once");
}

#[tokio::test(start_paused = true)]
async fn a_list_is_asked_for_while_there_is_always_more_to_read() {
    let mut bench = Bench::new();
    let mut stream = bench.listed(10, &[]).await;
    for version in 11..31 {
        stream.event("MODIFIED", "a", version).await;
    }
    bench.relist.ask();
    bench.asked("limit=1").await.page(31, &[], None);
    let mut stream = bench.asked("sendInitialEvents").await.stream();
    stream.event("ADDED", "a", 30).await;
    stream.end_of_list(31).await;
    bench.expect(&["list 31", "listed a@30", "end 31"]).await;
}

/// A Warning Event about a pod.
fn event(name: &str, pod: &str, reason: &str, version: u64) -> serde_json::Value {
    json!({
        "kind": "Event",
        "metadata": {"name": name, "namespace": "shop", "resourceVersion": version.to_string()},
        "involvedObject": {"apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": pod},
        "reason": reason, "message": reason, "type": "Warning",
    })
}

#[tokio::test(start_paused = true)]
async fn events_are_told_as_folds_of_those_about_one_object() {
    let mut bench = Bench::of(Kind::Event, Settings::default(), 64);
    bench.asked("/api/v1/events?limit=1&fieldSelector=type%3DWarning").await.page(10, &[], None);
    let asked = bench.asked("sendInitialEvents=true").await;
    assert!(asked.path.ends_with("&fieldSelector=type%3DWarning"), "{}", asked.path);
    let mut stream = asked.stream();
    for (name, pod, version) in [("a", "web", 5), ("b", "web", 6), ("c", "db", 7)] {
        stream.object("ADDED", &event(name, pod, name, version)).await;
    }
    stream.object("ADDED", &json!({"metadata": {"name": 7}})).await;
    stream.end_of_list(12).await;
    let listed = ["Listing", "list 10", "lost Unreadable", "listed pod_db@12", "listed pod_web@12"];
    bench.expect(&listed).await;
    bench.expect(&["end 12, 1 unnamed", "Live"]).await;
    stream.object("MODIFIED", &event("a", "web", "a", 13)).await;
    stream.object("DELETED", &event("c", "db", "c", 14)).await;
    stream.object("DELETED", &event("a", "web", "a", 15)).await;
    bench.expect(&["applied pod_web@13", "deleted pod_db {}", "applied pod_web@15"]).await;
    // What it has not heard of while it was away is forgotten with the next list.
    bench.relist.ask();
    bench.asked("limit=1").await.page(20, &[], None);
    let mut stream = bench.asked("sendInitialEvents").await.stream();
    stream.end_of_list(21).await;
    bench.expect(&["list 20", "end 21"]).await;
}

#[tokio::test(start_paused = true)]
async fn silence_without_bookmarks_is_proven_by_a_watch_that_ends_well_and_not_for_ever() {
    let mut bench = Bench::of(Kind::Event, Settings::default(), 64);
    let mut silent = bench.listed(10, &[]).await;
    for round in 0..10 {
        let (seen, newest) = (10 + round, 11 + round);
        // Held open: a watch that ends is no silence yet.
        bench.asked("limit=1").await.page(newest, &[], None);
        let proof = bench.asked(&format!("resourceVersion={seen}&timeoutSeconds=8")).await.stream();
        sleep(Duration::from_secs(8)).await;
        drop(proof);
        bench.expect(&[&*format!("alive {newest}")]).await;
        silent = bench.asked(&format!("resourceVersion={newest}&")).await.stream();
    }
    bench.asked("limit=1").await.page(50, &[], None);
    let proof = bench.asked("timeoutSeconds=8").await.stream();
    sleep(Duration::from_secs(8)).await;
    drop(proof);
    bench.asked("limit=1").await.page(51, &[], None);
    bench.asked("sendInitialEvents").await.stream().end_of_list(51).await;
    bench.expect(&["list 51", "end 51"]).await;
    drop(silent);
}

#[tokio::test(start_paused = true)]
async fn silence_that_was_cut_short_proves_nothing() {
    let mut bench = Bench::of(Kind::Event, Settings::default(), 64);
    let silent = bench.listed(10, &[]).await;
    bench.asked("limit=1").await.page(11, &[], None);
    drop(bench.asked("resourceVersion=10&timeoutSeconds=8").await.stream());
    let detail = "neither event nor bookmark although the cluster changed";
    bench.expect(&[&*format!("Listing: {detail}")]).await;
    drop(silent);
}
