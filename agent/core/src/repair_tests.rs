//! Decisions on repair requests.

use bytes::Bytes;
use vitals_proto::{identity::Scope, rule::Rules};

use super::*;
use crate::{
    agent::tests::World,
    config::Leadership,
    input::{Input, WatchItem, WatchState},
    message::Content,
};

const POD: &str = "vitals.v1.object.eu.pods.shop.o1";
const STRANGER: &str = "vitals.v1.object.eu.pods.shop.o5";

/// A hub's request for the bucket of `subject`, holding what the stream has and more.
fn request(world: &World, subject: &str, more: &[&str]) -> v1::RepairRequest {
    let mut request = world.wish(subject);
    request.held.extend(more.iter().map(|subject| v1::HeldObject {
        subject: (*subject).to_owned(),
        digest: Bytes::from_static(&[7; 16]),
    }));
    request
}

fn counts(answer: Option<v1::RepairResponse>) -> (u64, u64, String) {
    let v1::RepairResponse { resent, buried, refused } = answer.unwrap();
    (resent, buried, refused)
}

#[test]
fn what_is_the_same_is_left_alone() {
    let mut world = World::begun(&[(1, 1)]);
    assert_eq!(counts(world.repair(POD)), (0, 0, "nothing differs".into()));
}

#[test]
fn what_the_hub_lacks_or_holds_otherwise_is_sent_again_through_the_watch() {
    for case in ["lacks", "differs"] {
        let mut world = World::begun(&[(1, 1)]);
        let before = world.stream.remove(POD).unwrap();
        let mut request = request(&world, POD, if case == "differs" { &[POD] } else { &[] });
        request.held.dedup();
        assert_eq!(
            counts(world.agent.repair(&request, world.now)),
            (1, 0, String::new()),
            "{case}"
        );
        assert!(!world.hand_over(), "not before it was listed");
        world.pass(6_000);
        world.settle_down();
        assert_eq!(world.stream[POD].content, Content::Facts, "{case}");
        assert_ne!(world.stream[POD].payload, before.payload, "under a counter of its own");
    }
}

#[test]
fn what_is_about_to_be_sent_is_not_listed_for() {
    let mut world = World::begun(&[(1, 1)]);
    world.change((1, 1));
    world.watch_says_next(1);
    world.commands.clear();
    assert!(world.hand_over());
    world.stream.clear();
    assert_eq!(counts(world.repair(POD)), (1, 0, String::new()));
    world.pass(6_000);
    assert_eq!(world.commands, []);
}

#[test]
fn what_does_not_exist_is_buried_once_a_list_confirmed_it() {
    let mut world = World::begun(&[(1, 1)]);
    let request = request(&world, STRANGER, &[STRANGER]);
    assert_eq!(counts(world.agent.repair(&request, world.now)), (0, 1, String::new()));
    assert!(!world.hand_over());
    world.pass(6_000);
    world.settle_down();
    assert_eq!(world.stream[STRANGER].content, Content::Tombstone);
}

#[test]
fn what_only_the_hub_knew_and_exists_is_published() {
    let mut world = World::begun(&[(1, 1)]);
    let request = request(&world, STRANGER, &[STRANGER]);
    assert_eq!(counts(world.agent.repair(&request, world.now)), (0, 1, String::new()));
    // The watch is behind: the object exists.
    world.change((1, 5));
    world.pass(6_000);
    world.settle_down();
    assert_eq!(world.stream[STRANGER].content, Content::Facts);
}

#[test]
fn what_is_named_of_an_absent_kind_is_buried_at_once() {
    let mut world = World::begun(&[]);
    world.item(1, WatchItem::State(WatchState::Absent("404".into())));
    let request = request(&world, STRANGER, &[STRANGER]);
    assert_eq!(counts(world.agent.repair(&request, world.now)), (0, 1, String::new()));
    world.settle_down();
    assert_eq!(world.stream[STRANGER].content, Content::Tombstone);
}

#[test]
fn what_was_absent_in_another_life_is_not_believed() {
    for case in ["epoch", "freeze"] {
        let mut world = World::begun(&[]);
        world.item(1, WatchItem::State(WatchState::Absent("404".into())));
        if case == "epoch" {
            world.input(Input::LeaseLost);
            world.begin_epoch();
        } else {
            world.agent.config.leadership = Leadership::Alone;
            world.pass(500);
            world.now.monotonic_ms += 20_000;
            world.input(Input::Tick);
        }
        let request = request(&world, STRANGER, &[STRANGER]);
        let want = (0, 0, "not complete: pods".to_owned());
        assert_eq!(counts(world.agent.repair(&request, world.now)), want, "{case}");
        world.hand_over();
        assert!(world.flying.iter().all(|it| it.content == Content::Heartbeat), "{case}");
    }
}

#[test]
fn a_kind_that_is_not_complete_is_skipped() {
    for state in [
        WatchState::Listing(String::new()),
        WatchState::Forbidden("403".into()),
        WatchState::Stalled("silent".into()),
    ] {
        let mut world = World::begun(&[(1, 1)]);
        world.item(1, WatchItem::State(state.clone()));
        let request = request(&world, STRANGER, &[STRANGER]);
        let want = (0, 0, "not complete: pods".to_owned());
        assert_eq!(counts(world.agent.repair(&request, world.now)), want, "{state:?}");
    }
}

#[test]
fn requests_of_others_are_not_answered() {
    let mut world = World::begun(&[(1, 1)]);
    let ours = request(&world, POD, &[]);
    let other_scope = v1::RepairRequest { scope: "other".into(), ..ours.clone() };
    let epoch = Some(v1::Epoch { started_at_unix_ms: 99, random: 0 });
    let other_epoch = v1::RepairRequest { epoch, ..ours.clone() };
    let no_epoch = v1::RepairRequest { epoch: None, ..ours.clone() };
    for request in [other_scope.clone(), other_epoch, no_epoch] {
        assert_eq!(world.agent.repair(&request, world.now), None);
    }
    world.agent.config.scope = Scope::default();
    world.agent.config.rules = Rules::without(Rule::PerScope);
    assert!(world.agent.repair(&other_scope, world.now).is_some(), "the rule is what forbids it");
    world.input(Input::LeaseLost);
    assert_eq!(world.agent.repair(&ours, world.now), None, "nor without the Lease");
}

#[test]
fn nonsense_is_refused_with_a_reason() {
    let mut world = World::begun(&[(1, 1)]);
    let ours = request(&world, POD, &[]);
    let held = |subject: &str, digest: &'static [u8]| v1::RepairRequest {
        held: vec![v1::HeldObject { subject: subject.into(), digest: Bytes::from_static(digest) }],
        ..ours.clone()
    };
    for (request, want) in [
        (v1::RepairRequest { bucket: 256, ..ours.clone() }, "there is no bucket 256"),
        (v1::RepairRequest { part_bits: 2, part: 4, ..ours.clone() }, "there is no part 4 of 2^2"),
        (v1::RepairRequest { part_bits: 99, ..ours.clone() }, "there is no part 0 of 2^99"),
        (held("vitals.v1.object.us.pods.shop.o1", &[0; 16]), "is not an object in bucket"),
        (held("vitals.v1.heartbeat.eu.main", &[0; 16]), "is not an object in bucket"),
        (held(POD, &[0; 3]), "is not 16 bytes"),
    ] {
        let (resent, buried, refused) = counts(world.agent.repair(&request, world.now));
        assert_eq!((resent, buried), (0, 0));
        assert!(refused.contains(want), "{refused}");
    }
}

#[test]
fn a_burst_of_requests_is_served_by_one_list() {
    let mut world = World::begun(&[(1, 0), (1, 1), (1, 2), (1, 3)]);
    world.pass(6_000);
    world.settle_down();
    world.stream.retain(|_, publication| publication.content == Content::Heartbeat);
    world.commands.clear();
    for name in 0..4 {
        world.repair(&format!("vitals.v1.object.eu.pods.shop.o{name}"));
    }
    world.pass(20_000);
    assert_eq!(world.commands, [crate::Command::Relist(Kind::Pod)]);
    world.settle_down();
    world.pass(1_000);
    world.settle_down();
    world.assert_true();
}

#[test]
fn parts_of_a_bucket_are_repaired_apart() {
    let mut world = World::begun(&[(1, 1)]);
    world.stream.remove(POD);
    let mut request = request(&world, POD, &[]);
    request.part_bits = 3;
    let part = Place::of(POD).part(3);
    for (of, want) in [((part + 1) % 8, 0), (part, 1)] {
        request.part = of;
        assert_eq!(counts(world.agent.repair(&request, world.now)).0, want);
    }
}
