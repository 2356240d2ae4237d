//! What the contract allows and rarely happens: digests that overflow, a view that differs, a snapshot that is cut, one in the
//! middle of a watch, a step that nobody knows, a refusal for good.

use anyhow::{Result, ensure};
use tonic::Status;
use vitals_proto::v1::HealthStatus::{Degraded, Healthy, Progressing};
use vitals_proto::v1::watch_entities_response::Event;
use vitals_tests::cluster_test;

use crate::program::{Language, SOON};
use crate::scripted::{ScriptedHub, Watch, progress, removed, snapshot, synced, upsert};

// Needs no cluster, but Go, as all that `vitals-testbed build` builds.
#[test]
fn go_holds_the_contract() {
    cluster_test(Box::pin(holds_the_contract(Language::Go)));
}

#[test]
fn python_holds_the_contract() {
    cluster_test(Box::pin(holds_the_contract(Language::Python)));
}

#[test]
fn type_script_holds_the_contract() {
    cluster_test(Box::pin(holds_the_contract(Language::TypeScript)));
}

fn cut() -> Status {
    Status::unavailable("the hub is stopping")
}

fn script() -> Vec<Watch> {
    let watch = |events: Vec<Event>, end: Status| Watch { events, end };
    vec![
        watch(
            vec![
                snapshot(""),
                upsert("a", Healthy, 5),
                upsert("b", Healthy, u64::MAX),
                // Modulo 2^64.
                synced("first", 2, 4),
                upsert("b", Degraded, 7),
                // Same word, other digest.
                upsert("b", Degraded, 8),
            ],
            cut(),
        ),
        // The first is resumed; the hub means a digest that the view has not.
        watch(
            vec![
                Event::Resumed(vitals_proto::v1::Resumed {}),
                removed("a"),
                synced("second", 1, 9),
            ],
            cut(),
        ),
        // So nothing is known. A snapshot that is cut is no view, and no token.
        watch(vec![snapshot(""), upsert("c", Healthy, 1)], cut()),
        watch(
            vec![
                snapshot(""),
                upsert("d", Progressing, u64::MAX / 2 + 1),
                synced("third", 1, u64::MAX / 2 + 1),
                progress("fourth"),
            ],
            cut(),
        ),
        // One that goes on, and then begins anew by itself.
        watch(
            vec![
                Event::Resumed(vitals_proto::v1::Resumed {}),
                synced("fifth", 1, u64::MAX / 2 + 1),
                snapshot("this watch was read too slowly"),
                upsert("e", Healthy, 1),
                upsert("f", Healthy, 2),
                removed("e"),
                synced("sixth", 1, 2),
            ],
            cut(),
        ),
        // A snapshot that is cut, with a token from before: the view of before is resumed, without what came of the snapshot.
        watch(
            vec![
                Event::Resumed(vitals_proto::v1::Resumed {}),
                synced("seventh", 1, 2),
                snapshot("again too slowly"),
                upsert("g", Healthy, 4),
            ],
            cut(),
        ),
        watch(
            vec![
                Event::Resumed(vitals_proto::v1::Resumed {}),
                upsert("h", Healthy, 8),
                synced("eighth", 2, 10),
            ],
            cut(),
        ),
        watch(vec![], Status::unauthenticated("the token was withdrawn")),
    ]
}

async fn holds_the_contract(language: Language) -> Result<()> {
    let Some(built) = language.build().await? else { return Ok(()) };
    let hub = ScriptedHub::start(script())?;
    let client = built.start(&["--hub", &hub.address(), "--namespaces", "default,shop"]).await?;
    let ended = client.process.exited(SOON).await?;
    let said = client.lines();
    let log = client.process.stderr();
    ensure!(ended.code() == Some(1), "{ended}: {said:#?}\n{log}");
    let about = |name: &str, what: &str| format!("component:default/{name} {what}");
    // The reason of a snapshot, and the time of progress, are for people.
    let said: Vec<&str> = said
        .iter()
        .map(|line| if line.starts_with("progress 2026-11-18T") { "progress" } else { line })
        .collect();
    ensure!(
        said == [
            "snapshot",
            &about("a", "Healthy"),
            &about("b", "Healthy"),
            "synced 2 entities, digest 0000000000000004",
            &about("b", "Degraded"),
            "resumed",
            &about("a", "gone"),
            "snapshot",
            &about("c", "Healthy"),
            "snapshot",
            &about("d", "Progressing"),
            &about("b", "gone"),
            "synced 1 entities, digest 8000000000000000",
            "progress",
            "resumed",
            "synced 1 entities, digest 8000000000000000",
            "snapshot this watch was read too slowly",
            &about("e", "Healthy"),
            &about("f", "Healthy"),
            &about("d", "gone"),
            "synced 1 entities, digest 0000000000000002",
            "resumed",
            "synced 1 entities, digest 0000000000000002",
            "snapshot again too slowly",
            &about("g", "Healthy"),
            "resumed",
            &about("h", "Healthy"),
            "synced 2 entities, digest 000000000000000a",
        ],
        "{said:#?}\n{log}"
    );
    let differs = "1 entities, digest 0000000000000008 here; 1, 0000000000000009 at the hub";
    ensure!(log.contains(differs) && log.contains("the token was withdrawn"), "{log}");
    let asked = hub.asked();
    let tokens: Vec<String> =
        asked.iter().map(|it| String::from_utf8_lossy(&it.resume_token).into_owned()).collect();
    ensure!(tokens == ["", "first", "", "", "fourth", "sixth", "seventh", "eighth"], "{tokens:?}");
    for request in asked {
        let filter = request.filter.unwrap_or_default();
        ensure!(filter.namespaces == ["default", "shop"], "{filter:?}");
    }
    Ok(())
}
