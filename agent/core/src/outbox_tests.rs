//! The outbox against its laws, over random sequences.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::{slot::SLOT_BYTES, *};
use crate::message::State;

fn at(monotonic_ms: u64) -> Now {
    Now { unix_ms: i64::try_from(monotonic_ms).unwrap(), monotonic_ms }
}

fn value(version: u64, now: Now) -> Value {
    Value {
        state: State::Facts(Bytes::from(vec![0; 100])),
        resource_version: version.to_string().into(),
        seen_at_unix_ms: now.unix_ms,
        waits_since_unix_ms: now.unix_ms,
    }
}

fn object(index: u32) -> ObjectId {
    ObjectId { kind: 0, index }
}

/// Takes and hands over the next: its slot, version and ticket.
fn hand_over(outbox: &mut Outbox, now: Now) -> Option<(SlotId, String, Ticket)> {
    let (slot, _, value) = outbox.take(now)?;
    let version = value.resource_version.to_string();
    Some((slot, version, outbox.hand_over(slot, value)))
}

#[test]
fn newer_state_replaces_what_is_pending_and_waits_for_what_is_in_flight() {
    let (mut outbox, mut jitter) = (Outbox::new(HELD_BYTES_MAX), Jitter::new(0));
    let slot = outbox.put(object(1), None, value(1, at(1)));
    assert_eq!(outbox.put(object(1), Some(slot), value(2, at(2))), slot);
    let (_, version, first) = hand_over(&mut outbox, at(2)).unwrap();
    assert_eq!(version, "2", "coalesced");
    outbox.put(object(1), Some(slot), value(3, at(3)));
    assert!(hand_over(&mut outbox, at(3)).is_none(), "single flight");
    assert_eq!(outbox.behind_since_unix_ms(), Some(1), "waits since the first that was not sent");
    let settled = outbox.settle(first, Fate::Final, at(4), &mut jitter).unwrap();
    assert!(settled.more);
    let (_, version, second) = hand_over(&mut outbox, at(4)).unwrap();
    assert_eq!(version, "3");
    assert!(outbox.settle(first, Fate::Final, at(4), &mut jitter).is_none(), "settled before");
    assert!(!outbox.settle(second, Fate::Final, at(5), &mut jitter).unwrap().more);
    assert_eq!((outbox.len(), outbox.in_flight(), outbox.held_bytes()), (0, 0, 0));
}

#[test]
fn a_retry_carries_the_newest_and_backs_off() {
    let (mut outbox, mut jitter) = (Outbox::new(HELD_BYTES_MAX), Jitter::new(0));
    let slot = outbox.put(object(1), None, value(1, at(0)));
    let mut now = at(0);
    for (attempt, version) in (0..8_u32).zip(1_u64..) {
        let (_, sent, ticket) = hand_over(&mut outbox, now).unwrap();
        assert_eq!(sent, version.to_string());
        outbox.put(object(1), Some(slot), value(version + 1, now));
        assert!(outbox.settle(ticket, Fate::Again, now, &mut jitter).unwrap().more);
        assert!(hand_over(&mut outbox, now).is_none(), "backs off");
        let due = outbox.due_at().unwrap();
        let delay = (100 << attempt).min(5_000);
        let waited = due - now.monotonic_ms;
        assert!((delay / 2..=delay * 3 / 2).contains(&waited), "{waited} for attempt {attempt}");
        assert!(hand_over(&mut outbox, at(due - 1)).is_none());
        now = at(due);
    }
    outbox.put(object(1), Some(slot), value(99, now));
    let (_, sent, ticket) = hand_over(&mut outbox, now).unwrap();
    assert_eq!(sent, "99");
    outbox.settle(ticket, Fate::Again, now, &mut jitter).unwrap();
    outbox.retry_now();
    assert_eq!(hand_over(&mut outbox, now).unwrap().1, "99", "NATS came back");
}

#[test]
fn the_window_and_the_bytes_are_bounded() {
    let mut outbox = Outbox::new(HELD_BYTES_MAX);
    let objects = u32::try_from(HELD_BYTES_MAX / (SLOT_BYTES + 100)).unwrap() + 1;
    for index in 0..objects {
        assert!(outbox.has_room());
        outbox.put(object(index), None, value(1, at(0)));
    }
    assert!(!outbox.has_room());
    let handed: Vec<_> = std::iter::from_fn(|| hand_over(&mut outbox, at(0))).collect();
    assert_eq!(handed.len(), IN_FLIGHT_MAX);
    assert!(!outbox.has_room(), "what is in flight is held too");
    for (_, _, ticket) in handed {
        outbox.settle(ticket, Fate::Final, at(0), &mut Jitter::new(0)).unwrap();
    }
    assert!(outbox.has_room());
}

#[test]
fn a_late_answer_spares_the_retry_and_frees_what_is_newer() {
    for (case, newer, wait_ms) in [
        ("backing off", false, 0),
        ("about to be sent again", false, 1_000),
        ("replaced", true, 0),
        ("replaced, about to be sent", true, 1_000),
    ] {
        let (mut outbox, mut jitter) = (Outbox::new(HELD_BYTES_MAX), Jitter::new(0));
        let slot = outbox.put(object(1), None, value(1, at(0)));
        let (_, _, ticket) = hand_over(&mut outbox, at(0)).unwrap();
        assert!(outbox.settle(ticket, Fate::Again, at(0), &mut jitter).unwrap().more);
        outbox.wake(wait_ms);
        if newer {
            outbox.put(object(1), Some(slot), value(2, at(0)));
        }
        assert!(outbox.settle(ticket, Fate::Again, at(0), &mut jitter).is_none(), "{case}");
        let settled = outbox.settle(ticket, Fate::Final, at(0), &mut jitter).unwrap();
        assert_eq!((settled.object, settled.more), (object(1), newer), "{case}");
        assert!(outbox.settle(ticket, Fate::Final, at(0), &mut jitter).is_none(), "{case}: once");
        let next = hand_over(&mut outbox, at(5_000)).map(|(_, version, _)| version);
        assert_eq!(next, newer.then(|| "2".to_owned()), "{case}");
        assert!(hand_over(&mut outbox, at(5_000)).is_none(), "{case}: single flight");
    }
}

#[test]
fn a_late_answer_comes_too_late_once_the_retry_is_sent() {
    let (mut outbox, mut jitter) = (Outbox::new(HELD_BYTES_MAX), Jitter::new(0));
    outbox.put(object(1), None, value(1, at(0)));
    let (_, _, first) = hand_over(&mut outbox, at(0)).unwrap();
    outbox.settle(first, Fate::Again, at(0), &mut jitter).unwrap();
    let (_, _, second) = hand_over(&mut outbox, at(1_000)).unwrap();
    assert!(outbox.settle(first, Fate::Final, at(1_000), &mut jitter).is_none());
    assert!(!outbox.settle(second, Fate::Final, at(1_000), &mut jitter).unwrap().more);
}

#[test]
fn the_window_shrinks_on_a_slow_link_and_grows_with_answers() {
    let (mut outbox, mut jitter) = (Outbox::new(HELD_BYTES_MAX), Jitter::new(0));
    for index in 0..2_000 {
        outbox.put(object(index), None, value(1, at(0)));
    }
    let fill = |outbox: &mut Outbox| -> Vec<Ticket> {
        std::iter::from_fn(|| hand_over(outbox, at(0))).map(|(_, _, ticket)| ticket).collect()
    };
    let handed = fill(&mut outbox);
    assert_eq!(handed.len(), 2_000);
    for ticket in &handed {
        outbox.settle(*ticket, Fate::Again, at(0), &mut jitter).unwrap();
    }
    // The link is slow, and brings them all late: none is sent again.
    for ticket in &handed[..1_000] {
        outbox.settle(*ticket, Fate::Final, at(0), &mut jitter).unwrap();
    }
    outbox.retry_now();
    let again = fill(&mut outbox);
    assert_eq!(again.len(), IN_FLIGHT_MIN, "late answers do not widen it");
    assert_eq!(outbox.due_at(), None, "it is full");
    for ticket in again {
        outbox.settle(ticket, Fate::Final, at(0), &mut jitter).unwrap();
    }
    assert_eq!(fill(&mut outbox).len(), 2 * IN_FLIGHT_MIN);
}

#[test]
fn an_epoch_forgets_what_is_pending_and_sends_nothing_of_it_again() {
    let (mut outbox, mut jitter) = (Outbox::new(HELD_BYTES_MAX), Jitter::new(0));
    let slot = outbox.put(object(1), None, value(1, at(0)));
    let (_, _, ticket) = hand_over(&mut outbox, at(0)).unwrap();
    outbox.put(object(1), Some(slot), value(2, at(0)));
    outbox.put(object(2), None, value(1, at(0)));
    assert_eq!(outbox.forget_pending(), [object(2)]);
    assert!(hand_over(&mut outbox, at(0)).is_none());
    outbox.put(object(1), Some(slot), value(3, at(0)));
    assert!(hand_over(&mut outbox, at(0)).is_none(), "still in flight");
    assert!(outbox.settle(ticket, Fate::Again, at(0), &mut jitter).unwrap().more);
    assert_eq!(hand_over(&mut outbox, at(1_000)).unwrap().1, "3");
}

#[test]
fn tickets_are_numbers() {
    for ticket in [Ticket { slot: 7, serial: u32::MAX }, Ticket::heartbeat(9)] {
        assert_eq!(Ticket::from_number(ticket.to_number()), ticket);
    }
    assert_eq!(Ticket::heartbeat(9).heartbeat_serial(), Some(9));
}

#[derive(Clone, Debug)]
enum Step {
    Put(u32),
    HandOver,
    Settle(usize, bool),
    AnswerLate(usize),
    Wait(u64),
    RetryNow,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..6_u32).prop_map(Step::Put),
        4 => Just(Step::HandOver),
        4 => (any::<usize>(), any::<bool>()).prop_map(|(which, arrived)| Step::Settle(which, arrived)),
        2 => any::<usize>().prop_map(Step::AnswerLate),
        2 => (0..8_000_u64).prop_map(Step::Wait),
        1 => Just(Step::RetryNow),
    ]
}

proptest! {
    /// Single flight; every hand-over carries the newest state; in the end everything arrived, and nothing is held.
    #[test]
    fn laws(steps in proptest::collection::vec(step(), 0..120), seed: u64) {
        let (mut outbox, mut jitter, mut now) = (Outbox::new(HELD_BYTES_MAX), Jitter::new(seed), 0);
        let mut slots: BTreeMap<u32, SlotId> = BTreeMap::new();
        let (mut newest, mut arrived) = (BTreeMap::new(), BTreeMap::new());
        let mut flying: Vec<(u32, String, Ticket)> = Vec::new();
        let mut unanswered: Vec<(u32, String, Ticket)> = Vec::new();
        let mut versions = 0;
        let ending = [Step::Wait(8_000), Step::HandOver, Step::Settle(0, true)].into_iter().cycle().take(60);
        for step in steps.into_iter().chain(ending) {
            match step {
                Step::Put(index) => {
                    versions += 1;
                    newest.insert(index, versions.to_string());
                    let slot = outbox.put(object(index), slots.get(&index).copied(), value(versions, at(now)));
                    slots.insert(index, slot);
                }
                Step::HandOver => {
                    if let Some((slot, version, ticket)) = hand_over(&mut outbox, at(now)) {
                        let index = *slots.iter().find(|(_, of)| **of == slot).unwrap().0;
                        prop_assert!(flying.iter().all(|(other, ..)| *other != index), "single flight");
                        prop_assert_eq!(&version, &newest[&index], "the newest");
                        flying.push((index, version, ticket));
                    }
                }
                Step::Settle(which, yes) if !flying.is_empty() => {
                    let (index, version, ticket) = flying.swap_remove(which % flying.len());
                    let fate = if yes { Fate::Final } else { Fate::Again };
                    let settled = outbox.settle(ticket, fate, at(now), &mut jitter).unwrap();
                    if yes {
                        arrived.insert(index, version);
                    } else {
                        unanswered.push((index, version, ticket));
                    }
                    if !settled.more {
                        slots.remove(&index);
                    }
                }
                Step::Settle(..) => {}
                Step::AnswerLate(which) if !unanswered.is_empty() => {
                    let (index, version, ticket) = unanswered.swap_remove(which % unanswered.len());
                    if let Some(settled) = outbox.settle(ticket, Fate::Final, at(now), &mut jitter) {
                        prop_assert!(flying.iter().all(|(other, ..)| *other != index));
                        prop_assert_eq!(settled.object, object(index));
                        prop_assert_eq!(settled.more, version != newest[&index]);
                        arrived.insert(index, version);
                        if !settled.more {
                            slots.remove(&index);
                        }
                    }
                }
                Step::AnswerLate(_) => {}
                Step::Wait(ms) => now += ms,
                Step::RetryNow => outbox.retry_now(),
            }
            prop_assert_eq!(outbox.in_flight(), flying.len());
            prop_assert_eq!(outbox.len(), slots.len());
        }
        prop_assert_eq!(arrived, newest);
        prop_assert_eq!((outbox.len(), outbox.held_bytes()), (0, 0));
    }
}
