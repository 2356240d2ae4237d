//! The laws hold over random interleavings; and without any one of the rules that a simulation showed to be needed, one of
//! them breaks.

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
        12 => (which(), any::<u32>()).prop_map(|(which, content)| Step::Write(which, content)),
        5 => which().prop_map(Step::Delete),
        2 => processes.clone().prop_map(Step::Restart),
        2 => processes.clone().prop_map(Step::Freeze),
        3 => processes.clone().prop_map(Step::Thaw),
        2 => processes.clone().prop_map(Step::Disconnect),
        3 => processes.clone().prop_map(Step::Connect),
        1 => (processes.clone(), -600..600_i16).prop_map(|(process, seconds)| Step::SetClock(process, seconds)),
        1 => processes.prop_map(Step::Duplicate),
        1 => any::<bool>().prop_map(Step::ApiServer),
        1 => Just(Step::ApiServer(true)),
        1 => any::<bool>().prop_map(Step::Broker),
        1 => Just(Step::Broker(true)),
        1 => Just(Step::BackUp),
        1 => Just(Step::RollBack),
        1 => Just(Step::Recreate),
        1 => (0..100_u8).prop_map(Step::Lose),
        2 => hubs.clone().prop_map(Step::RestartHub),
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
    std::env::var("VITALS_LAWS_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(default)
}

proptest! {
    #![proptest_config(Config { cases: cases(300), max_shrink_iters: 2_000, failure_persistence: None, ..Config::default() })]

    #[test]
    fn the_laws_hold((seed, steps) in case()) {
        check(Rules::ALL, seed, &steps)?;
    }
}

#[test]
fn without_any_one_rule_a_law_breaks() {
    for rule in Rule::ALL {
        let config = Config { cases: cases(3_000), failure_persistence: None, ..Config::default() };
        let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        let mut runner = TestRunner::new_with_rng(Config { max_shrink_iters: 0, ..config }, rng);
        let outcome =
            runner.run(&case(), |(seed, steps)| check(Rules::without(rule), seed, &steps));
        match outcome {
            Err(TestError::Fail(violation, _)) => println!("without {rule:?}: {violation}"),
            other => panic!("without {rule:?} no law breaks: {other:?}"),
        }
    }
}
