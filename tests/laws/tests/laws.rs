//! The laws hold over random interleavings; and without any one of the rules that a simulation showed to be needed, one of
//! them breaks.

use std::cell::Cell;

use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner},
};
use vitals_laws::{
    api::KINDS,
    world::{NAMES, NAMESPACES, PROCESSES, REPLICAS, Step, Which, World},
};
use vitals_proto::rule::{Rule, Rules};

fn which() -> impl Strategy<Value = Which> {
    (0..NAMESPACES.len(), 0..KINDS.len(), 0..NAMES).prop_map(|(namespace, kind, name)| Which {
        namespace,
        kind,
        name,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let (processes, hubs) = (0..PROCESSES.len(), 0..REPLICAS);
    prop_oneof![
        12 => (1..12_u8).prop_map(Step::Pass),
        3 => (20..60_u8).prop_map(Step::Pass),
        12 => (which(), 0..4_u32).prop_map(|(which, content)| Step::Write(which, content)),
        5 => which().prop_map(Step::Delete),
        2 => processes.clone().prop_map(Step::Restart),
        2 => processes.clone().prop_map(Step::Freeze),
        3 => processes.clone().prop_map(Step::Thaw),
        2 => processes.clone().prop_map(Step::Disconnect),
        3 => processes.clone().prop_map(Step::Connect),
        1 => (processes.clone(), -600..600_i16).prop_map(|(process, seconds)| Step::SetClock(process, seconds)),
        1 => processes.prop_map(Step::Duplicate),
        1 => (-600..600_i16).prop_map(Step::SetBrokerClock),
        1 => any::<bool>().prop_map(Step::Rival),
        1 => (which(), 0..4_u32).prop_map(|(which, content)| Step::WriteRival(which, content)),
        1 => any::<bool>().prop_map(Step::ApiServer),
        1 => Just(Step::ApiServer(true)),
        1 => any::<bool>().prop_map(Step::Broker),
        1 => Just(Step::Broker(true)),
        1 => Just(Step::BackUp),
        1 => Just(Step::RollBack),
        1 => Just(Step::Recreate),
        1 => (0..100_u8).prop_map(Step::Lose),
        2 => hubs.clone().prop_map(Step::RestartHub),
        2 => hubs.clone().prop_map(Step::Lag),
        3 => hubs.clone().prop_map(Step::CatchUp),
        1 => hubs.clone().prop_map(Step::Forget),
        2 => hubs.clone().prop_map(Step::Describe),
        3 => hubs.clone().prop_map(Step::Leave),
        3 => hubs.prop_map(Step::Resume),
    ]
}

fn case() -> impl Strategy<Value = (u64, Vec<Step>)> {
    (any::<u64>(), proptest::collection::vec(step(), 1..60))
}

fn check(rules: Rules, seed: u64, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut world = World::new(rules, seed);
    let mut run = || {
        steps.iter().try_for_each(|step| world.take(step))?;
        world.heal()
    };
    run().map_err(|violation| TestCaseError::fail(format!("{violation:?}")))
}

/// So many cases; `VITALS_LAWS_CASES` asks for another number.
fn cases(default: u32) -> u32 {
    let cases = std::env::var_os("VITALS_LAWS_CASES");
    cases.and_then(|cases| cases.to_str()?.parse().ok()).unwrap_or(default)
}

proptest! {
    #![proptest_config(Config { cases: cases(300), max_shrink_iters: 2_000, failure_persistence: None, ..Config::default() })]

    #[test]
    fn the_laws_hold((seed, steps) in case()) {
        check(Rules::ALL, seed, &steps)?;
    }
}

/// The case that breaks a law without `rule`. Always the same cases, so that it is found or not whoever runs it.
fn find_violation(rule: Rule) {
    let config = Config {
        cases: cases(20_000),
        max_shrink_iters: 0,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let tried = Cell::new(0);
    let outcome = runner.run(&case(), |(seed, steps)| {
        tried.set(tried.get() + 1);
        check(Rules::without(rule), seed, &steps)
    });
    match outcome {
        Err(TestError::Fail(seen, _)) => println!("{rule:?}, case {}: {seen}", tried.get()),
        other => panic!("without {rule:?} no law breaks: {other:?}"),
    }
}

#[test]
fn without_scopes_of_their_own_a_law_breaks() {
    find_violation(Rule::PerScope);
}

#[test]
fn without_the_epoch_in_the_lease_a_law_breaks() {
    find_violation(Rule::EpochFromLease);
}

#[test]
fn without_sums_over_what_is_held_a_law_breaks() {
    find_violation(Rule::SumsOverHeld);
}

#[test]
fn without_snapshots_that_merge_a_law_breaks() {
    find_violation(Rule::SnapshotMerges);
}

#[test]
fn without_touching_by_every_input_a_law_breaks() {
    find_violation(Rule::TouchedByInput);
}
