use vitals_proto::digest::Digest;

use super::*;

fn at(unix_s: i64) -> Time {
    Time::from_unix_s(unix_s)
}

fn heartbeat(kinds: &[(Kind, KindState)], sums: &Sums) -> v1::Heartbeat {
    let kinds = kinds.iter().map(|(kind, state)| v1::KindReport {
        kind: kind.to_string(),
        state: (*state).into(),
        ..Default::default()
    });
    v1::Heartbeat {
        kinds: kinds.collect(),
        bucket_sums: sums.to_wire().into(),
        ..Default::default()
    }
}

/// What the hub holds, and the same as an agent would sum it.
fn pods(names: &[&str]) -> (HeldSums, Sums) {
    let mut held = HeldSums::default();
    for name in names {
        held.add(&Kind::Pod, name.len().try_into().unwrap(), Digest::of(name, b""));
    }
    let sums = held.over(&[Kind::Pod].into());
    (held, sums)
}

const PODS: [(Kind, KindState); 1] = [(Kind::Pod, KindState::Complete)];

#[test]
fn a_difference_is_repaired_when_it_is_certain() {
    let (held, _) = pods(&["a"]);
    let (_, said) = pods(&["a", "bc"]);
    for (case, readings, want) in [
        ("nothing skipped", &[Reading::Whole][..], vec![2]),
        ("something skipped", &[Reading::Holed], vec![]),
        ("twice", &[Reading::Holed, Reading::Holed], vec![2]),
        ("skipped, then not", &[Reading::Holed, Reading::Whole], vec![2]),
        ("in a snapshot", &[Reading::Snapshot, Reading::Snapshot], vec![]),
        ("a snapshot does not count", &[Reading::Snapshot, Reading::Holed], vec![]),
    ] {
        let mut comparison = Comparison::default();
        let repair = readings.iter().fold(vec![], |_, reading| {
            comparison.judge(&heartbeat(&PODS, &said), &held, at(5), *reading)
        });
        assert_eq!(repair, want, "{case}");
        assert_eq!(comparison.differing(), 1, "{case}");
        assert_eq!(comparison.verified_at(&Kind::Pod), None, "{case}");
    }
}

#[test]
fn the_agent_is_not_pressed() {
    let (held, _) = pods(&["a"]);
    let (_, said) = pods(&["a", "bc"]);
    let mut comparison = Comparison::default();
    let mut asked_at = Vec::new();
    for unix_s in (0..60).step_by(5) {
        let repair = comparison.judge(&heartbeat(&PODS, &said), &held, at(unix_s), Reading::Whole);
        if repair == [2] {
            comparison.asked(2, at(unix_s));
            asked_at.push(unix_s);
        }
    }
    assert_eq!(asked_at, [0, 10, 30, 50]);

    comparison.asked(2, at(60));
    comparison.not_answered(2, at(61));
    let repair = comparison.judge(&heartbeat(&PODS, &said), &held, at(65), Reading::Whole);
    assert_eq!(repair, [2], "nobody was there: asked again at the next heartbeat");
    comparison.asked(2, at(65));
    comparison.begin_epoch();
    let repair = comparison.judge(&heartbeat(&PODS, &said), &held, at(66), Reading::Whole);
    assert_eq!(repair, [2], "another agent is asked at once");
}

#[test]
fn verified_is_the_oldest_bucket() {
    let (held, equal) = pods(&["a", "bc"]);
    let (_, other) = pods(&["a"]);
    let mut comparison = Comparison::default();
    let mut verified_at = |sums, unix_s| {
        comparison.judge(&heartbeat(&PODS, sums), &held, at(unix_s), Reading::Holed);
        comparison.verified_at(&Kind::Pod)
    };
    assert_eq!(verified_at(&other, 5), None);
    assert_eq!(verified_at(&equal, 10), Some(at(10)));
    assert_eq!(verified_at(&other, 15), Some(at(10)));
    assert_eq!(verified_at(&other, 20), Some(at(10)));
    assert_eq!(verified_at(&equal, 25), Some(at(25)));
}

#[test]
fn before_and_after_is_the_order_of_the_heartbeats() {
    let (mut held, sums) = pods(&["a"]);
    held.add(&Kind::Node, 7, Digest::of("n", b""));
    let with_nodes = |state| heartbeat(&[PODS[0].clone(), (Kind::Node, state)], &sums);
    for (case, next_at) in [("both stored at one time", at(5)), ("the clock was set back", at(3))] {
        let mut comparison = Comparison::default();
        comparison.judge(&with_nodes(KindState::Listing), &held, at(5), Reading::Whole);
        comparison.judge(&with_nodes(KindState::Complete), &held, next_at, Reading::Whole);
        assert_eq!(comparison.differing(), 1, "{case}");
        assert_eq!(comparison.verified_at(&Kind::Node), None, "{case}");
    }
}

#[test]
fn a_kind_is_verified_only_by_what_it_took_part_in() {
    let (mut held, sums) = pods(&["a"]);
    held.add(&Kind::Node, 7, Digest::of("n", b""));
    let mut comparison = Comparison::default();
    let with_nodes = |state| [PODS[0].clone(), (Kind::Node, state)];
    comparison.judge(
        &heartbeat(&with_nodes(KindState::Listing), &sums),
        &held,
        at(5),
        Reading::Whole,
    );
    assert_eq!(comparison.verified_at(&Kind::Pod), Some(at(5)));
    assert_eq!(comparison.verified_at(&Kind::Node), None);

    // Complete, but what is held of it is not what the agent counts: no bucket of nodes was equal since.
    let complete = with_nodes(KindState::Complete);
    let repair = comparison.judge(&heartbeat(&complete, &sums), &held, at(10), Reading::Whole);
    assert_eq!(repair, [7]);
    assert_eq!(comparison.verified_at(&Kind::Pod), Some(at(5)));
    assert_eq!(comparison.verified_at(&Kind::Node), None);

    let all = held.over(&[Kind::Pod, Kind::Node].into());
    comparison.judge(&heartbeat(&complete, &all), &held, at(15), Reading::Whole);
    assert_eq!(comparison.verified_at(&Kind::Node), Some(at(15)));

    // It stalls, and what was verified stays as old as it is.
    comparison.judge(
        &heartbeat(&with_nodes(KindState::Stalled), &sums),
        &held,
        at(20),
        Reading::Whole,
    );
    assert_eq!(comparison.verified_at(&Kind::Node), Some(at(15)));
    assert_eq!(comparison.verified_at(&Kind::Pod), Some(at(20)));
}

#[test]
fn what_is_held_of_an_absent_kind_differs() {
    let (held, _) = pods(&["a"]);
    let absent = [(Kind::Pod, KindState::Absent)];
    let mut comparison = Comparison::default();
    let repair =
        comparison.judge(&heartbeat(&absent, &Sums::default()), &held, at(5), Reading::Whole);
    assert_eq!(repair, [1]);
}

#[test]
fn a_heartbeat_without_complete_kinds_or_sums_proves_nothing() {
    let (held, sums) = pods(&["a"]);
    let mut comparison = Comparison::default();
    comparison.judge(&heartbeat(&[], &sums), &held, at(5), Reading::Whole);
    let cut = v1::Heartbeat { bucket_sums: vec![1].into(), ..heartbeat(&PODS, &sums) };
    comparison.judge(&cut, &held, at(10), Reading::Whole);
    assert_eq!((comparison.verified_at(&Kind::Pod), comparison.differing()), (None, 0));
}

#[test]
fn names_of_kinds_do_not_fill_the_memory() {
    let (held, said) = pods(&["a"]);
    let mut comparison = Comparison::default();
    for round in 0..5 {
        let other = |n| Kind::from_resource(&format!("k{n}.r{round}.example.org"));
        let others = (0..1_000).map(|n| (other(n), KindState::Complete));
        let kinds: Vec<_> = PODS.into_iter().chain(others).collect();
        comparison.judge(&heartbeat(&kinds, &said), &held, at(round), Reading::Whole);
        assert!(comparison.kinds.len() <= KINDS_MAX, "{}", comparison.kinds.len());
        assert_eq!(comparison.verified_at(&Kind::Pod), Some(at(round)));
    }
    let too_many: Vec<_> = (0..2_000)
        .map(|n| (Kind::from_resource(&format!("k{n}.example.org")), KindState::Complete))
        .collect();
    comparison.judge(&heartbeat(&too_many, &said), &held, at(9), Reading::Whole);
    assert_eq!(comparison.kinds.len(), KINDS_MAX);
}
