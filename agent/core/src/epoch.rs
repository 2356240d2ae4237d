//! Epochs: the lives of agents as publishers of a scope, in an order on which all agree.

use vitals_proto::{
    identity::Epoch,
    rule::{Rule, Rules},
};

/// What the next epoch is made from.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// By the agent's clock. Milliseconds since the Unix epoch.
    pub now_unix_ms: i64,
    /// What the Lease holds, or this process' last epoch, whichever is higher.
    pub last: Option<Epoch>,
    /// Tells two epochs of one millisecond apart.
    pub random: u64,
}

/// The next epoch: max(clock, epoch in the Lease + 1).
///
/// Without the second part ([`Rule::EpochFromLease`]) an agent whose clock is behind would lose to the one it took over from.
#[must_use]
pub fn next(origin: Origin, rules: Rules) -> Epoch {
    let Origin { now_unix_ms, last, random } = origin;
    let above = last.map_or(i64::MIN, |last| last.started_at_unix_ms.saturating_add(1));
    let started_at_unix_ms =
        if rules.hold(Rule::EpochFromLease) { now_unix_ms.max(above) } else { now_unix_ms };
    Epoch { started_at_unix_ms, random }
}

/// A provisional epoch, while the API server was never reached: below every real one.
///
/// It must not outrank a holder that lives: an agent that is cut from the API server alone would silence it. So a hub takes
/// it up only where there is no other, or after [`vitals_proto::limits::SILENCE_MAX`] of silence.
#[must_use]
pub fn provisional(random: u64) -> Epoch {
    Epoch { started_at_unix_ms: 0, random }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(now_unix_ms: i64, last: Option<i64>, rules: Rules) -> i64 {
        let last = last.map(|started_at_unix_ms| Epoch { started_at_unix_ms, random: 9 });
        next(Origin { now_unix_ms, last, random: 1 }, rules).started_at_unix_ms
    }

    #[test]
    fn an_epoch_is_above_the_clock_and_above_the_lease() {
        for (case, now, last, want) in [
            ("first", 100, None, 100),
            ("clock ahead", 100, Some(50), 100),
            ("clock equal", 100, Some(100), 101),
            ("clock behind", 100, Some(500), 501),
            ("end of time", 100, Some(i64::MAX), i64::MAX),
        ] {
            assert_eq!(from(now, last, Rules::ALL), want, "{case}");
        }
        assert_eq!(from(100, Some(500), Rules::without(Rule::EpochFromLease)), 100);
    }

    #[test]
    fn a_provisional_epoch_is_below_every_real_one() {
        let real = next(Origin { now_unix_ms: 1, last: None, random: 0 }, Rules::ALL);
        assert!(provisional(u64::MAX) < real);
    }
}
