use proptest::prelude::*;
use vitals_proto::{
    identity::Uid,
    kind::Kind,
    v1::{FreshnessState, KindState},
};

use super::{rig::*, *};

#[test]
fn what_agents_say_is_held_and_verified() {
    let (mut rig, mut agent) = (Rig::new(), Agent::new("main", 1));
    rig.send(agent.put(&pod("a"), "1"));
    assert_eq!(rig.state(), FreshnessState::Unverified);
    rig.send(agent.put(&pod("a"), "2"));
    rig.send(agent.put(&object(Kind::Node, "n"), "1"));
    rig.beat(&mut agent);
    assert_eq!(rig.held(), Rig::exists(&agent));
    let cluster = rig.cluster();
    assert_eq!(rig.state(), FreshnessState::Fresh);
    assert_eq!(cluster.verified_at, Some(rig.now.to_wire()));
    assert_eq!(
        (cluster.objects, cluster.uid.as_str()),
        (2, "1b4e28ba-2fa1-11d2-883f-0016d3cca427")
    );
    rig.send(agent.delete(&pod("a")));
    rig.beat(&mut agent);
    assert_eq!((rig.held(), rig.asked()), (Rig::exists(&agent), vec![]));
    assert_eq!(rig.hub.position().to_wire().streams[0].sequence, rig.stream.last);
    rig.assert_sums_are_true();
}

#[test]
fn what_does_not_count_is_counted() {
    let mut agent = Agent::new("main", 5);
    let mut other = Agent { uid: Uid::from_text("other"), ..Agent::new("main", 9) };
    let mut old = Agent::new("main", 4);
    let mut beside = Agent::new("beside", 7);
    let first = agent.put(&pod("a"), "1");
    let second = agent.put(&pod("a"), "2");
    let foreign = Sent { payload: b"{\"stream\":\"S\",\"seq\":1}".to_vec(), ..first.clone() };
    let elsewhere = Sent { subject: "vitals.v1.object.eu-1.pods.pay.b".into(), ..first.clone() };
    let cut = Sent { payload: first.payload[..30].to_vec(), ..first.clone() };
    let nameless = Sent { subject: "vitals.v1.object.eu-1.pods".into(), ..first.clone() };
    for (case, sent, want) in [
        ("a broker's answer in place of an object", foreign, Refusal::Foreign),
        ("another object's", elsewhere, Refusal::Foreign),
        ("no object's", nameless, Refusal::Foreign),
        ("cut", cut, Refusal::Unreadable),
        ("older", first, Refusal::Older),
        ("the same", second.clone(), Refusal::Repeated),
        ("of a lower epoch", old.put(&pod("a"), "0"), Refusal::LowerEpoch),
        ("of another cluster", other.put(&pod("a"), "x"), Refusal::OtherCluster),
        ("another scope's burial", beside.delete(&pod("a")), Refusal::OtherScope),
        ("a heartbeat of a lower epoch", old.heartbeat(), Refusal::LowerEpoch),
    ] {
        let mut rig = Rig::new();
        rig.send(second.clone());
        let counters = *rig.hub.counters();
        rig.send(sent);
        assert_eq!(rig.hub.counters().refused(want), counters.refused(want) + 1, "{case}");
        assert_eq!(rig.hub.counters().applied, counters.applied, "{case}");
        assert_eq!(rig.held(), [(pod("a"), "2".to_owned())].into(), "{case}");
        rig.assert_sums_are_true();
    }
}

#[test]
fn what_is_not_understood_is_held_and_counts() {
    let (mut rig, mut agent) = (Rig::new(), Agent::new("main", 1));
    let custom = object(Kind::from_resource("certificates.cert-manager.io"), "c");
    let newer = agent.change(&pod("a"), None);
    agent.sent.insert(pod("a"), newer.payload.clone());
    rig.send(newer);
    agent.kinds.insert(custom.kind().clone(), KindState::Complete);
    rig.send(agent.put(&custom, "1"));
    // Facts that cannot be decoded: a label's value is not UTF-8.
    let mut damaged = agent.put(&pod("b"), "XX");
    let text = damaged.payload.iter().position(|byte| *byte == b'X').unwrap();
    damaged.payload[text] = 0xff;
    agent.sent.insert(pod("b"), damaged.payload.clone());
    rig.send(damaged);
    rig.beat(&mut agent);
    assert_eq!(rig.asked(), []);
    assert_eq!(rig.state(), FreshnessState::Fresh);
    assert_eq!((rig.hub.counters().opaque, rig.hub.store().len()), (2, 3));
    assert_eq!(rig.hub.store().facts(&pod("b")), None);
    rig.send(agent.delete(&pod("b")));
    assert_eq!(rig.hub.store().get(&pod("b")).map(|held| held.key()), None);
}

#[test]
fn a_late_message_does_not_bring_back_what_was_buried() {
    let (mut rig, mut agent) = (Rig::new(), Agent::new("main", 1));
    let late = agent.put(&pod("a"), "1");
    rig.send(agent.put(&pod("a"), "2"));
    rig.send(agent.delete(&pod("a")));
    rig.send(late.clone());
    assert_eq!(rig.held(), [].into());
    assert_eq!(rig.hub.counters().refused(Refusal::Older), 1);
    rig.send(agent.put(&pod("a"), "3"));
    assert_eq!(rig.held(), [(pod("a"), "3".to_owned())].into());
    // When tombstones have expired nobody remembers; then the sums find it.
    rig.send(agent.delete(&pod("a")));
    for _ in 0..=3_600 / 5 {
        rig.beat(&mut agent);
    }
    rig.send(late);
    assert_eq!(rig.held(), [(pod("a"), "1".to_owned())].into());
    rig.beat(&mut agent);
    assert_eq!(rig.held(), [].into());
}

#[test]
fn a_lost_message_is_repaired_in_the_stream() {
    let (mut rig, mut agent) = (Rig::new(), Agent::new("main", 1));
    rig.send(agent.put(&pod("a"), "1"));
    rig.send(agent.put(&pod("b"), "1"));
    rig.beat(&mut agent);
    agent.put(&pod("a"), "2");
    agent.delete(&pod("b"));
    agent.put(&pod("c"), "1");
    rig.beat(&mut agent);
    assert_eq!(rig.held(), Rig::exists(&agent), "repaired");
    assert_eq!(rig.hub.counters().repairs_asked, 3);
    assert_ne!(rig.cluster().verified_at, Some(rig.now.to_wire()), "but not proven yet");
    rig.beat(&mut agent);
    assert_eq!(rig.cluster().verified_at, Some(rig.now.to_wire()));
    assert_eq!((rig.hub.counters().repairs_asked, rig.cluster().scopes[0].repairs), (3, 3));
}

#[test]
fn an_agent_that_was_frozen_does_not_win_until_the_other_is_silent() {
    let (mut rig, mut old) = (Rig::new(), Agent::new("main", 1));
    rig.send(old.put(&pod("a"), "1"));
    rig.send(old.put(&pod("b"), "1"));
    let mut new = old.restarted(2);
    rig.send(new.put(&pod("a"), "2"));
    rig.beat(&mut new);
    assert_eq!(rig.held(), Rig::exists(&new), "nothing goes for being of an older epoch");
    rig.send(old.put(&pod("a"), "stale"));
    rig.send(old.delete(&pod("b")));
    rig.send(old.heartbeat());
    rig.beat(&mut new);
    assert_eq!(rig.held(), Rig::exists(&new));
    // The new one dies, and the old one is all that there is.
    for _ in 0..6 {
        rig.beat(&mut old);
    }
    assert_eq!(rig.held(), Rig::exists(&old));
    assert_eq!(rig.state(), FreshnessState::Fresh);
}

#[test]
fn scopes_do_not_touch_each_other() {
    let (mut rig, mut east, mut west) = (Rig::new(), Agent::new("east", 9), Agent::new("west", 1));
    rig.send(east.put(&pod("a"), "1"));
    rig.send(west.put(&pod("b"), "1"));
    for _ in 0..2 {
        rig.beat(&mut east);
        assert_eq!(rig.asked(), []);
        rig.beat(&mut west);
        assert_eq!(rig.asked(), []);
    }
    assert_eq!(rig.state(), FreshnessState::Fresh);
    // What moves from one to the other is held once, and counts once; and is said once.
    rig.effects.clear();
    rig.send(west.put(&pod("a"), "2"));
    rig.send(east.put(&pod("a"), "3"));
    rig.send(west.put(&pod("a"), "4"));
    let [Effect::ScopesOverlap { scopes, object, .. }] = &rig
        .effects
        .iter()
        .filter(|effect| matches!(effect, Effect::ScopesOverlap { .. }))
        .collect::<Vec<_>>()[..]
    else {
        panic!("not said once: {:?}", rig.effects)
    };
    assert_eq!((scopes.each_ref().map(Scope::as_str), object), (["east", "west"], &pod("a")));
    assert_eq!(rig.hub.counters().objects_taken_over, 3);
    rig.assert_sums_are_true();
    rig.send(east.delete(&pod("a")));
    assert_eq!(rig.held(), Rig::exists(&west));
    // In the stream the tombstone took the place of what west said: it is said again, once.
    rig.beat(&mut west);
    assert_eq!(rig.asked().len(), 1);
    for agent in [&mut east, &mut west] {
        rig.beat(agent);
        assert_eq!((rig.asked(), rig.state()), (vec![], FreshnessState::Fresh));
    }
    assert_eq!(rig.held(), Rig::exists(&west));
}

#[test]
fn two_clusters_under_one_name() {
    let (mut rig, mut first) = (Rig::new(), Agent::new("main", 9));
    rig.send(first.put(&pod("a"), "1"));
    rig.beat(&mut first);
    let mut second = Agent { uid: Uid::from_text("second"), ..Agent::new("main", 1) };
    rig.send(second.put(&pod("a"), "x"));
    rig.send(second.heartbeat());
    assert_eq!((rig.state(), rig.held()), (FreshnessState::Conflict, Rig::exists(&first)));
    assert_eq!(rig.cluster().conflicting_uids, ["second"]);
    let message = rig.cluster().freshness.unwrap().message;
    assert!(message.contains("second") && message.contains("1b4e28ba"), "{message}");
    // The second falls silent.
    for _ in 0..5 {
        rig.beat(&mut first);
    }
    assert_eq!(rig.state(), FreshnessState::Fresh);
    // The first is gone, and the second takes the name.
    rig.send(second.put(&pod("b"), "x"));
    for _ in 0..7 {
        rig.beat(&mut second);
    }
    assert_eq!((rig.state(), rig.held()), (FreshnessState::Fresh, Rig::exists(&second)));
    assert_eq!((rig.cluster().uid.as_str(), rig.hub.counters().names_taken), ("second", 1));
    rig.assert_sums_are_true();
}

#[test]
fn a_hub_that_starts_after_a_cluster_was_built_anew_holds_the_new_one() {
    let (mut rig, mut first) = (Rig::new(), Agent::new("main", 9));
    rig.send(first.put(&pod("a"), "1"));
    rig.send(first.put(&pod("b"), "1"));
    rig.pass(60);
    let mut second = Agent { uid: Uid::from_text("second"), ..Agent::new("main", 1) };
    rig.send(second.put(&pod("a"), "2"));
    rig.send(second.heartbeat());
    let mut fresh = Rig::unread(Rules::ALL, rig.stream.clone(), rig.now);
    fresh.snapshot();
    assert_eq!(fresh.held(), Rig::exists(&second));
    assert_eq!(fresh.cluster().conflicting_uids, [""; 0]);
    fresh.beat(&mut second);
    assert_eq!(fresh.state(), FreshnessState::Fresh);
}

#[test]
fn a_hub_that_starts_drops_nothing_for_what_another_cluster_left_between() {
    for (case, scope) in [("in the same scope", "main"), ("in a scope of its own", "beside")] {
        let (mut rig, mut agent) = (Rig::new(), Agent::new("main", 9));
        let mut gone = Agent { uid: Uid::from_text("gone"), ..Agent::new(scope, 99) };
        rig.send(gone.put(&pod("before"), "1"));
        rig.pass(30);
        rig.send(agent.put(&pod("a"), "1"));
        rig.beat(&mut agent);
        // The cluster that has the name speaks on, so that these are refused by who listens; they stay in the stream.
        for name in ["x", "y"] {
            for _ in 0..6 {
                rig.beat(&mut agent);
            }
            rig.send(gone.put(&pod(name), "1"));
            rig.send(gone.delete(&pod("z")));
            rig.send(gone.heartbeat());
            rig.send(agent.put(&pod(&format!("beside-{name}")), "1"));
        }
        for _ in 0..6 {
            rig.beat(&mut agent);
        }
        assert_eq!(rig.held(), Rig::exists(&agent), "{case}");
        let mut fresh = Rig::unread(Rules::ALL, rig.stream.clone(), rig.now);
        fresh.snapshot();
        assert_eq!(fresh.held(), Rig::exists(&agent), "{case}");
        assert_eq!(fresh.cluster().conflicting_uids, [""; 0], "{case}");
        fresh.assert_sums_are_true();
        fresh.beat(&mut agent);
        assert_eq!((fresh.state(), fresh.asked()), (FreshnessState::Fresh, vec![]), "{case}");
        let scopes: Vec<_> = fresh.cluster().scopes.into_iter().map(|it| it.scope).collect();
        assert_eq!(scopes, ["main"], "{case}");
    }
}

#[test]
fn what_another_cluster_says_while_a_hub_begins_to_read_takes_nobodys_place() {
    let (mut rig, mut agent) = (Rig::new(), Agent::new("main", 9));
    rig.send(agent.put(&pod("a"), "1"));
    rig.send(agent.heartbeat());
    let mut fresh = Rig::unread(Rules::ALL, rig.stream.clone(), rig.now);
    let stream = &name();
    fresh.apply(Input::SnapshotBegin { stream, incarnation_unix_ns: 1 });
    for (sequence, (sent, at)) in fresh.stream.messages.clone() {
        fresh.read(sequence, &sent, 1, at);
    }
    // On the same subject, when the other message of it was read already.
    let mut rival = Agent { uid: Uid::from_text("rival"), ..Agent::new("main", 1) };
    let rivals = rival.put(&pod("a"), "x");
    let sequence = fresh.stream.append(&rivals, fresh.now);
    fresh.read(sequence, &rivals, 0, fresh.now);
    fresh.apply(Input::SnapshotEnd { stream, sequence });
    fresh.settle();
    assert_eq!(fresh.held(), Rig::exists(&agent));
    fresh.assert_sums_are_true();
}

#[test]
fn a_hub_that_lags_gives_no_name_away() {
    let (mut rig, mut agent) = (Rig::new(), Agent::new("main", 9));
    rig.send(agent.put(&pod("a"), "1"));
    rig.beat(&mut agent);
    let mut rival = Agent { uid: Uid::from_text("rival"), ..Agent::new("main", 1) };
    // The agent speaks on, and this hub reads nothing of it but the last.
    for _ in 0..5 {
        rig.pass(5);
        rig.stream.append(&agent.heartbeat(), rig.now);
    }
    let rivals = rival.put(&pod("x"), "1");
    let (sequence, at) = (rig.stream.append(&rivals, rig.now), rig.now);
    rig.pass(1);
    let heartbeat = agent.heartbeat();
    let last = rig.stream.append(&heartbeat, rig.now);
    rig.read(sequence, &rivals, 1, at);
    rig.read(last, &heartbeat, 0, rig.now);
    rig.settle();
    assert_eq!((rig.held(), rig.hub.counters().names_taken), (Rig::exists(&agent), 0));
    assert_eq!(rig.state(), FreshnessState::Conflict);
}

#[test]
fn every_loss_of_sight_shows_within_30_s_and_ends() {
    type Break = fn(&mut Rig, &mut Agent);
    let cases: [(&str, Break, FreshnessState); 6] = [
        ("silent", |rig, _| rig.pass(25), FreshnessState::AgentLost),
        (
            "API server",
            |rig, agent| {
                agent.reachable = false;
                rig.beat(agent);
            },
            FreshnessState::ApiServerUnreachable,
        ),
        (
            "forbidden",
            |rig, agent| {
                agent.kinds.insert(Kind::Node, KindState::Forbidden);
                rig.beat(agent);
            },
            FreshnessState::BlindSpot,
        ),
        (
            "not named",
            |rig, agent| {
                agent.kinds.remove(&Kind::Service);
                rig.beat(agent);
            },
            FreshnessState::BlindSpot,
        ),
        (
            "cut from NATS",
            |rig, _| {
                rig.apply(Input::Lost { stream: &name(), reason: "cut".into() });
                rig.settle();
            },
            FreshnessState::HubBlind,
        ),
        (
            "not verified",
            |rig, agent| {
                for _ in 0..7 {
                    agent.put(&pod("a"), "lost");
                    rig.pass(5);
                    rig.send(agent.heartbeat());
                }
            },
            FreshnessState::Unverified,
        ),
    ];
    for (case, break_it, want) in cases {
        let (mut rig, mut agent) = (Rig::new(), Agent::new("main", 1));
        rig.send(agent.put(&pod("a"), "1"));
        rig.beat(&mut agent);
        assert_eq!(rig.state(), FreshnessState::Fresh, "{case}");
        break_it(&mut rig, &mut agent);
        assert_eq!(rig.state(), want, "{case}");
        let since = rig.cluster().freshness.unwrap().since;
        rig.pass(3);
        assert_eq!(rig.cluster().freshness.unwrap().since, since, "{case}");

        agent.reachable = true;
        agent.kinds = Kind::KNOWN.into_iter().map(|kind| (kind, KindState::Complete)).collect();
        let sequence = rig.stream.last;
        rig.apply(Input::Resumed { stream: &name(), incarnation_unix_ns: 1, sequence });
        for _ in 0..4 {
            rig.beat(&mut agent);
        }
        assert_eq!(rig.state(), FreshnessState::Fresh, "{case} is over");
    }
}

#[test]
fn what_was_not_verified_does_not_hide_behind_a_blind_spot() {
    let (mut rig, mut agent) = (Rig::new(), Agent::new("main", 1));
    rig.send(agent.put(&pod("a"), "1"));
    agent.kinds.insert(Kind::Node, KindState::Stalled);
    rig.beat(&mut agent);
    assert_eq!(rig.state(), FreshnessState::BlindSpot);
    for _ in 0..7 {
        agent.put(&pod("a"), "lost");
        rig.pass(5);
        rig.send(agent.heartbeat());
    }
    assert_eq!(rig.state(), FreshnessState::Unverified);
    assert_eq!(
        rig.cluster().scopes[0].freshness.as_ref().unwrap().state(),
        FreshnessState::Unverified
    );
}

#[test]
fn what_a_scope_watches_no_more_is_a_blind_spot_though_another_scope_names_the_kind() {
    let (mut rig, mut east, mut west) = (Rig::new(), Agent::new("east", 1), Agent::new("west", 1));
    rig.send(east.put(&pod("a"), "1"));
    rig.send(west.put(&pod("b"), "1"));
    rig.beat(&mut east);
    rig.beat(&mut west);
    assert_eq!(rig.state(), FreshnessState::Fresh);
    // It begins anew without pods: what it said of them before is held, and compared by nobody.
    let mut west = west.restarted(2);
    west.kinds.remove(&Kind::Pod);
    for _ in 0..2 {
        rig.beat(&mut east);
        rig.beat(&mut west);
    }
    assert_eq!(rig.state(), FreshnessState::BlindSpot);
    let freshness = rig.cluster().freshness.unwrap();
    assert_eq!(freshness.message, "Not seen: pods (held, and not watched any more in scope west).");
    let west_is = rig.cluster().scopes[1].freshness.as_ref().unwrap().state();
    assert_eq!(west_is, FreshnessState::BlindSpot);
    // East takes over what is left of it.
    rig.send(east.put(&pod("b"), "2"));
    rig.beat(&mut east);
    rig.beat(&mut west);
    assert_eq!(rig.state(), FreshnessState::Fresh);
}

#[test]
fn a_standby_that_sees_no_api_server_does_not_silence_the_leader() {
    let (mut rig, mut leader) = (Rig::new(), Agent::new("main", 1));
    rig.send(leader.put(&pod("a"), "1"));
    let mut standby = Agent { provisional: true, reachable: false, ..Agent::new("main", 99) };
    standby.uid = Uid::from_text("");
    for _ in 0..8 {
        rig.send(standby.heartbeat());
        rig.beat(&mut leader);
    }
    assert_eq!(rig.state(), FreshnessState::Fresh);
    // Where nobody leads, its heartbeats say why.
    rig.pass(21);
    rig.send(standby.heartbeat());
    assert_eq!(rig.state(), FreshnessState::AgentLost);
    rig.beat(&mut standby);
    assert_eq!(rig.state(), FreshnessState::ApiServerUnreachable);
    rig.beat(&mut leader);
    assert_eq!(rig.state(), FreshnessState::Fresh);
}

#[test]
fn a_snapshot_merges() {
    for (rules, kept) in [(Rules::ALL, true), (Rules::without(Rule::SnapshotMerges), false)] {
        let (mut rig, mut agent) = (Rig::with(rules), Agent::new("main", 1));
        rig.send(agent.put(&pod("a"), "1"));
        rig.beat(&mut agent);
        // The stream is made anew and is empty.
        rig.apply(Input::Lost { stream: &name(), reason: "gone".into() });
        rig.settle();
        (rig.stream, rig.incarnation) = (Stream::default(), 2);
        rig.snapshot();
        assert_eq!(!rig.held().is_empty(), kept);
        assert_eq!(rig.hub.position().to_wire().streams[0].incarnation_unix_ns, 2);
        rig.beat(&mut agent);
        assert_eq!(rig.held(), Rig::exists(&agent), "repair brings it back");
        rig.assert_sums_are_true();
    }
}

#[test]
fn a_hub_that_was_cut_off_calls_nobody_lost_before_it_listened() {
    let (mut rig, mut agent) = (Rig::new(), Agent::new("main", 1));
    rig.send(agent.put(&pod("a"), "1"));
    rig.beat(&mut agent);
    rig.apply(Input::Lost { stream: &name(), reason: "cut".into() });
    rig.pass(60);
    assert_eq!(rig.state(), FreshnessState::HubBlind);
    let sequence = rig.stream.last;
    rig.apply(Input::Resumed { stream: &name(), incarnation_unix_ns: 1, sequence });
    rig.settle();
    assert_eq!(rig.state(), FreshnessState::HubBlind, "not all is read");
    rig.apply(Input::Idle { stream: &name() });
    rig.settle();
    assert_eq!(rig.state(), FreshnessState::Unverified, "the agent may have been cut off too");
    rig.pass(21);
    assert_eq!(rig.state(), FreshnessState::AgentLost);
    let seen = rig.effects.iter().filter(|effect| matches!(effect, Effect::HubSees { .. })).count();
    assert_eq!(seen, 1);
}

#[test]
fn a_clock_that_was_set_back_leaves_nothing_in_the_future() {
    let (mut rig, mut agent) = (Rig::new(), Agent::new("main", 1));
    rig.send(agent.put(&pod("a"), "1"));
    rig.beat(&mut agent);
    rig.now = at(500);
    rig.pass(1);
    assert_eq!(rig.cluster().verified_at, Some(rig.now.to_wire()));
    rig.pass(21);
    assert_eq!(rig.state(), FreshnessState::AgentLost);
    rig.beat(&mut agent);
    assert_eq!(rig.state(), FreshnessState::Fresh);
}

#[test]
fn a_hub_that_was_frozen_is_blind_and_calls_nobody_lost() {
    let (mut rig, mut agent) = (Rig::new(), Agent::new("main", 1));
    rig.send(agent.put(&pod("a"), "1"));
    rig.beat(&mut agent);
    rig.now = rig.now.after(std::time::Duration::from_secs(60));
    rig.hub.tick(rig.now);
    assert_eq!(rig.state(), FreshnessState::HubBlind);
    rig.send(agent.heartbeat());
    assert_eq!(rig.state(), FreshnessState::Fresh);
}

#[test]
fn a_clock_that_was_wrong_at_the_start_refuses_no_resume_later() {
    let mut agent = Agent::new("main", 1);
    let mut rig = Rig::unread(Rules::ALL, Stream::default(), at(5_000));
    rig.snapshot();
    rig.now = at(1_000);
    rig.send(agent.put(&pod("a"), "1"));
    rig.beat(&mut agent);
    rig.pass(1);
    let from = rig.hub.position().clone();
    assert_eq!(rig.hub.may_resume(&from, rig.hub.as_of(), rig.now), MayResume::Serve);
}

#[test]
fn streams_of_a_set_are_read_and_lost_one_by_one() {
    let (a, b) = (name(), StreamName::from("T"));
    let hub = Hub::new(Settings { rules: Rules::ALL, streams: vec![a.clone(), b.clone()] });
    let mut rig = Rig::new();
    rig.hub = hub;
    rig.snapshot();
    assert!(!rig.hub.is_ready());
    rig.apply(Input::SnapshotBegin { stream: &b, incarnation_unix_ns: 5 });
    let mut agent = Agent::new("main", 1);
    let other = |sent: Sent| Sent { subject: sent.subject.replace("eu-1", "us-1"), ..sent };
    let Sent { subject, payload } = &other(agent.heartbeat());
    let message = Message { sequence: 1, subject, payload, pending: 0 };
    rig.apply(Input::Message { stream: &b, message });
    rig.apply(Input::SnapshotEnd { stream: &b, sequence: 2 });
    assert!(rig.hub.is_ready());
    rig.send(agent.put(&pod("a"), "1"));
    rig.send(agent.heartbeat());
    rig.settle();
    assert_eq!(rig.hub.position().to_wire().streams.len(), 2);
    let states = |rig: &Rig| {
        let clusters = rig.hub.clusters(rig.now);
        clusters.into_iter().map(|cluster| cluster.freshness.unwrap().state()).collect::<Vec<_>>()
    };
    assert_eq!(states(&rig), [FreshnessState::Fresh; 2]);
    rig.hub.apply(Input::Lost { stream: &b, reason: "gone".into() }, rig.now);
    rig.settle();
    assert_eq!(states(&rig), [FreshnessState::Fresh, FreshnessState::HubBlind]);
    // Another life of one stream leaves the other's positions as they are.
    rig.apply(Input::SnapshotBegin { stream: &b, incarnation_unix_ns: 6 });
    let place = |name: &StreamName| rig.hub.position().point(name).unwrap();
    assert_eq!((place(&a).incarnation_unix_ns, place(&a).sequence), (1, rig.stream.last));
    assert_eq!((place(&b).incarnation_unix_ns, place(&b).sequence), (6, 0));
}

#[test]
fn names_do_not_fill_the_memory() {
    let (mut rig, mut agent) = (Rig::new(), Agent::new("main", 1));
    let sent = agent.put(&pod("a"), "1");
    for cluster in 0..=CLUSTERS_MAX {
        let subject = sent.subject.replace("eu-1", &format!("c{cluster}"));
        let sequence = rig.stream.append(&sent, rig.now);
        rig.read(sequence, &Sent { subject, ..sent.clone() }, 0, rig.now);
    }
    assert_eq!(rig.hub.clusters(rig.now).len(), CLUSTERS_MAX);
    assert_eq!(rig.hub.counters().refused(Refusal::TooMany), 1);

    let mut rig = Rig::new();
    for kind in 0..=1_024 {
        let sent =
            agent.put(&object(Kind::from_resource(&format!("k{kind}.example.org")), "a"), "1");
        let sequence = rig.stream.append(&sent, rig.now);
        rig.read(sequence, &sent, 0, rig.now);
    }
    for scope in 0..300 {
        let sent = Agent::new(&format!("s{scope}"), 1).heartbeat();
        let sequence = rig.stream.append(&sent, rig.now);
        rig.read(sequence, &sent, 0, rig.now);
    }
    assert_eq!((rig.hub.store().len(), rig.cluster().scopes.len()), (1_024, 256));
    assert_eq!(rig.hub.counters().refused(Refusal::TooMany), 1 + 300 - 255);
}

#[test]
fn only_what_changed_in_more_than_times_is_said() {
    let (mut rig, mut agent) = (Rig::new(), Agent::new("main", 1));
    rig.send(agent.put(&pod("a"), "1"));
    rig.beat(&mut agent);
    rig.beat(&mut agent);
    let clusters = |rig: &Rig| {
        let is_cluster = |effect: &&Effect| matches!(effect, Effect::Cluster(_));
        rig.effects.iter().filter(is_cluster).count()
    };
    assert_eq!(clusters(&rig), 0);
    rig.send(agent.put(&pod("b"), "1"));
    rig.pass(4);
    assert_eq!(clusters(&rig), 1);
}

#[test]
fn who_may_resume() {
    let (mut rig, mut agent) = (Rig::new(), Agent::new("main", 1));
    let may = |rig: &Rig, sequence: u64, as_of: i64| {
        let incarnation_unix_ns = rig.incarnation;
        let from = Position::at(&StreamPoint { stream: name(), incarnation_unix_ns, sequence });
        match rig.hub.may_resume(&from, at(as_of), rig.now) {
            MayResume::Serve => "serve".to_owned(),
            MayResume::Wait(why) => format!("wait: {why}"),
            MayResume::Snapshot(why) => format!("snapshot: {why}"),
        }
    };
    rig.send(agent.put(&pod("a"), "1"));
    rig.send(agent.put(&pod("b"), "1"));
    assert_eq!(may(&rig, 2, 1_000), "wait: cluster eu-1 is not verified yet");
    rig.beat(&mut agent);
    assert_eq!(may(&rig, 2, 1_000), "serve");
    assert_eq!(may(&rig, 4, 1_005), "wait: stream S is not read that far yet");
    assert_eq!(may(&rig, 4, 990), "snapshot: stream S was set back since");
    let from = Position::default();
    let unknown = MayResume::Snapshot("the token does not know stream S".into());
    assert_eq!(rig.hub.may_resume(&from, at(1_000), rig.now), unknown);
    assert_eq!(
        rig.hub.may_resume(&from, at(1_000), at(1_000 + 3_601)),
        MayResume::Snapshot("the token is older than tombstones are kept".into())
    );
    // Something was skipped.
    let sent = agent.put(&pod("c"), "1");
    rig.read(9, &sent, 3, rig.now);
    assert_eq!(may(&rig, 2, 1_000), "wait: stream S is not read that far yet");
    // Another replica that begins here.
    rig.pass(1);
    let mut fresh = Rig::unread(Rules::ALL, rig.stream.clone(), rig.now);
    assert_eq!(may(&fresh, 3, 1_005), "wait: stream S is not read yet");
    fresh.snapshot();
    assert_eq!(may(&fresh, 2, 1_000), "snapshot: this replica has not seen what happened since");
    let unseen = "snapshot: this replica has not seen what happened since";
    assert_eq!(may(&fresh, 3, 1_005), unseen, "another message may have stood there then");
    assert_eq!(may(&fresh, 3, 1_006), "wait: cluster eu-1 is not verified yet");
    fresh.incarnation = 7;
    assert_eq!(may(&fresh, 3, 1_006), "snapshot: stream S was made anew");
    fresh.pass(60);
    fresh.incarnation = 1;
    assert_eq!(may(&fresh, 3, 1_006), "serve", "an agent that is lost is not waited for");
}

#[test]
fn a_cluster_that_is_never_verified_takes_no_tokens_for_ever() {
    let (mut rig, mut agent) = (Rig::new(), Agent::new("main", 1));
    rig.send(agent.put(&pod("a"), "1"));
    rig.beat(&mut agent);
    assert_ne!(rig.hub.token_position(rig.now), Position::default());
    // An agent whose sums never fit: what it says exists is refused by the stream again and again.
    let mut never = Agent::new("never", 1);
    never.put(&pod("b"), "refused");
    for (seconds, is_given) in [(0, false), (30, false), (35, true), (90, true)] {
        while rig.now < at(1_005 + 5 + seconds) {
            rig.pass(5);
            rig.send(agent.heartbeat());
            rig.send(never.heartbeat());
        }
        let token = rig.hub.token_position(rig.now);
        assert_eq!(token != Position::default(), is_given, "after {seconds} s");
    }
    assert_eq!(rig.state(), FreshnessState::Unverified);
}

/// What two agents of one scope say, in any order, with losses and repeats.
#[derive(Clone, Debug)]
enum Step {
    Put { newer: bool, name: u8 },
    Delete { newer: bool, name: u8 },
    Heartbeat { newer: bool },
    Pass { seconds: u32 },
    Lose,
    Repeat { back: usize },
    Skip,
    Snapshot,
    Reconnect,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (newer, name) = (any::<bool>, || 0..6_u8);
    let step = prop_oneof![
        6 => (newer(), name()).prop_map(|(newer, name)| Step::Put { newer, name }),
        3 => (newer(), name()).prop_map(|(newer, name)| Step::Delete { newer, name }),
        3 => newer().prop_map(|newer| Step::Heartbeat { newer }),
        2 => (1..25_u32).prop_map(|seconds| Step::Pass { seconds }),
        1 => Just(Step::Lose),
        2 => (0..20_usize).prop_map(|back| Step::Repeat { back }),
        1 => Just(Step::Skip),
        1 => Just(Step::Snapshot),
        1 => Just(Step::Reconnect),
    ];
    proptest::collection::vec(step, 0..60)
}

/// Plays the steps. Gives the rig, the agents, and all that was sent.
fn play(steps: &[Step]) -> (Rig, [Agent; 2]) {
    let mut rig = Rig::new();
    let mut agents = [Agent::new("main", 1), Agent::new("main", 2)];
    let mut sent: Vec<Sent> = Vec::new();
    let mut lose = false;
    for step in steps {
        let message = match step {
            Step::Put { newer, name } => {
                let agent = &mut agents[usize::from(*newer)];
                let version = agent.counter.to_string();
                Some(agent.put(&pod(&name.to_string()), &version))
            }
            Step::Delete { newer, name } => {
                Some(agents[usize::from(*newer)].delete(&pod(&name.to_string())))
            }
            Step::Heartbeat { newer } => Some(agents[usize::from(*newer)].heartbeat()),
            Step::Repeat { back } => sent.iter().rev().nth(*back).cloned(),
            Step::Pass { seconds } => {
                rig.pass(*seconds);
                None
            }
            Step::Lose => {
                lose = true;
                None
            }
            Step::Skip => {
                rig.stream.last += 1;
                None
            }
            Step::Snapshot => {
                rig.snapshot();
                None
            }
            Step::Reconnect => {
                rig.apply(Input::Lost { stream: &name(), reason: "cut".into() });
                rig.settle();
                let sequence = rig.stream.last;
                rig.apply(Input::Resumed { stream: &name(), incarnation_unix_ns: 1, sequence });
                None
            }
        };
        let Some(message) = message else { continue };
        sent.push(message.clone());
        if std::mem::take(&mut lose) {
            rig.stream.append(&message, rig.now);
        } else {
            rig.send(message);
        }
        rig.assert_sums_are_true();
    }
    (rig, agents)
}

/// Faults are over; one agent lives. Within 20 s and six heartbeats the hub holds what it says.
fn converges(mut rig: Rig, survivor: &mut Agent) {
    rig.pass(20);
    for _ in 0..6 {
        rig.beat(survivor);
    }
    assert_eq!(rig.held(), Rig::exists(survivor));
    assert_eq!(rig.state(), FreshnessState::Fresh);
    rig.assert_sums_are_true();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_two_epochs_converges(steps in steps(), newer in any::<bool>()) {
        let (rig, mut agents) = play(&steps);
        converges(rig, &mut agents[usize::from(newer)]);
    }

    #[test]
    fn a_hub_that_starts_later_comes_to_the_same(steps in steps(), newer in any::<bool>()) {
        let (rig, mut agents) = play(&steps);
        let mut fresh = Rig::unread(Rules::ALL, rig.stream, rig.now);
        fresh.snapshot();
        fresh.assert_sums_are_true();
        converges(fresh, &mut agents[usize::from(newer)]);
    }

    #[test]
    fn what_was_read_and_is_read_again_changes_nothing(steps in steps(), again in 0..60_usize) {
        let (mut rig, _) = play(&steps);
        rig.settle();
        let before = rig.fingerprint();
        let read = rig.hub.position().point(&name()).unwrap().sequence;
        let messages: Vec<_> = rig.stream.messages.clone().into_iter().take(again).collect();
        for (sequence, (sent, at)) in messages.iter().filter(|(sequence, _)| *sequence <= read) {
            rig.read(*sequence, sent, 0, *at);
        }
        rig.settle();
        prop_assert_eq!(rig.fingerprint(), before);
    }

    #[test]
    fn a_whole_snapshot_read_twice_changes_nothing(steps in steps()) {
        let (mut rig, _) = play(&steps);
        rig.snapshot();
        let before = rig.fingerprint();
        rig.snapshot();
        prop_assert_eq!(rig.fingerprint(), before);
    }

    #[test]
    fn nothing_is_held_that_was_never_said(steps in steps()) {
        let (rig, _) = play(&steps);
        for (key, version) in rig.held() {
            let state = rig.hub.store().get(&key).unwrap();
            prop_assert!(state.counter() > 0 && !version.is_empty());
        }
    }
}

#[test]
fn without_sums_over_what_is_held_a_refused_message_counts() {
    let (mut rig, mut old) = (Rig::with(Rules::without(Rule::SumsOverHeld)), Agent::new("main", 1));
    rig.send(old.put(&pod("a"), "1"));
    let mut new = old.restarted(2);
    rig.send(new.put(&pod("a"), "2"));
    rig.send(old.put(&pod("a"), "3"));
    rig.pass(21);
    rig.send(old.heartbeat());
    rig.pass(5);
    rig.send(old.heartbeat());
    assert_ne!(rig.held(), Rig::exists(&old), "it holds another");
    assert_eq!(rig.state(), FreshnessState::Fresh, "and calls it verified");
}

#[test]
fn without_scopes_one_agent_is_asked_to_bury_what_the_other_watches() {
    let (mut rig, mut east, mut west) =
        (Rig::with(Rules::without(Rule::PerScope)), Agent::new("east", 9), Agent::new("west", 1));
    rig.send(west.put(&pod("b"), "1"));
    rig.send(east.put(&pod("a"), "1"));
    rig.beat(&mut east);
    assert_eq!(rig.held(), Rig::exists(&east), "it was buried");
}

#[test]
fn a_tombstone_that_cannot_be_read_still_buries() {
    let (mut rig, mut agent) = (Rig::new(), Agent::new("main", 1));
    rig.send(agent.put(&pod("a"), "1"));
    let mut buried = agent.delete(&pod("a"));
    // The last field is the tombstone, empty; now with a field in it that is cut.
    assert_eq!(buried.payload.pop(), Some(0));
    buried.payload.extend([2, 0x12, 0x7f]);
    rig.send(buried);
    assert_eq!(rig.held(), [].into());
}
