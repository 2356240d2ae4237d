//! A stream that lost what the hub still holds is repaired, though the hub itself has nothing to repair.

use vitals_proto::{rule::Rules, subject::Published};

use super::rig::*;
use crate::Input;
use crate::ingest::envelope::{Envelope, State};

/// The last message of each object in the stream is what its agent sent last; of what is gone there is at most a tombstone.
fn assert_streamed(rig: &Rig, agent: &Agent) {
    let mut left = agent.sent.clone();
    for (sent, _) in rig.stream.messages.values() {
        let Ok(Published::Object(key)) = Published::parse(&sent.subject) else { continue };
        let envelope = Envelope::parse(&sent.payload).unwrap();
        match left.remove(&key) {
            Some(payload) => assert_eq!(payload, sent.payload, "{key}"),
            None => assert!(matches!(envelope.state, State::Tombstone(_)), "{key} does not exist"),
        }
    }
    assert!(left.is_empty(), "not in the stream: {left:?}");
}

/// A hub that has read some pods, and their agent.
fn begin() -> (Rig, Agent) {
    let (mut rig, mut agent) = (Rig::new(), Agent::new("main", 10));
    for name in ["a", "b", "c", "d"] {
        rig.send(agent.put(&pod(name), "1"));
    }
    rig.beat(&mut agent);
    assert_streamed(&rig, &agent);
    (rig, agent)
}

fn repaired(mut rig: Rig, mut agent: Agent) {
    let held = rig.held();
    for _ in 0..3 {
        rig.beat(&mut agent);
    }
    assert_streamed(&rig, &agent);
    assert_eq!(rig.held(), held, "nothing vanishes or changes meanwhile");
    rig.beat(&mut agent);
    assert_eq!(rig.asked(), [], "and then nobody is asked any more");
    rig.assert_sums_are_true();
}

#[test]
fn a_stream_that_was_made_anew_is_filled() {
    let (mut rig, agent) = begin();
    rig.stream = Stream::default();
    rig.incarnation = 2;
    rig.snapshot();
    repaired(rig, agent);
}

#[test]
fn a_stream_that_was_made_anew_while_it_was_first_read_is_filled() {
    let (rig, agent) = begin();
    let mut fresh = Rig::unread(Rules::ALL, rig.stream.clone(), rig.now);
    fresh.apply(Input::SnapshotBegin { stream: &name(), incarnation_unix_ns: 1 });
    for (sequence, (sent, at)) in fresh.stream.messages.clone() {
        fresh.read(sequence, &sent, 1, at);
    }
    fresh.stream = Stream::default();
    fresh.incarnation = 2;
    fresh.snapshot();
    repaired(fresh, agent);
}

#[test]
fn a_stream_that_was_put_back_is_brought_forward() {
    let (mut rig, mut agent) = begin();
    let copy = rig.stream.clone();
    rig.send(agent.put(&pod("a"), "2"));
    rig.send(agent.put(&pod("new"), "1"));
    rig.send(agent.delete(&pod("b")));
    rig.beat(&mut agent);
    rig.stream = copy;
    rig.snapshot();
    repaired(rig, agent);
}

#[test]
fn a_late_message_is_replaced_in_the_stream() {
    let (mut rig, mut agent) = begin();
    let late = [agent.put(&pod("a"), "2"), agent.put(&pod("b"), "2"), agent.delete(&pod("c"))];
    for sent in late.clone() {
        rig.send(sent);
    }
    rig.send(agent.put(&pod("a"), "3"));
    rig.send(agent.delete(&pod("b")));
    rig.send(agent.put(&pod("c"), "3"));
    rig.beat(&mut agent);
    for sent in late {
        rig.send(sent);
    }
    repaired(rig, agent);
}

#[test]
fn what_an_agent_says_that_was_frozen_is_replaced_in_the_stream() {
    let (mut rig, mut frozen) = begin();
    let mut agent = frozen.restarted(20);
    rig.send(agent.put(&pod("a"), "2"));
    rig.send(agent.delete(&pod("b")));
    rig.beat(&mut agent);
    rig.send(frozen.put(&pod("a"), "old"));
    rig.send(frozen.put(&pod("b"), "old"));
    rig.send(frozen.put(&pod("never"), "old"));
    repaired(rig, agent);
}
