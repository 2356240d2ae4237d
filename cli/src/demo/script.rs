//! What happens in the demo, and when. Each round begins and ends with all services well.

use std::time::Duration;

/// A cluster of the demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Region {
    Europe,
    America,
}

impl Region {
    pub(super) const ALL: [Self; 2] = [Self::Europe, Self::America];

    /// Its name.
    pub(super) fn cluster(self) -> &'static str {
        match self {
            Self::Europe => "demo-eu",
            Self::America => "demo-us",
        }
    }

    /// Two clusters with one seed would have one UID, and be taken for one.
    pub(super) fn seed(self) -> u64 {
        match self {
            Self::Europe => 1,
            Self::America => 2,
        }
    }
}

/// What is done to a service.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    /// Another version, whose pods behave so.
    Release { minor: u32, told: &'static str },
    /// So many replicas.
    Scale(u32),
}

/// Something that happens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    at_s: u64,
    pub(super) service: &'static str,
    pub(super) regions: &'static [Region],
    pub(super) change: Change,
}

impl Step {
    /// How long after the round began.
    pub(super) fn at(&self) -> Duration {
        Duration::from_secs(self.at_s)
    }
}

/// How long a round is.
pub(super) const LENGTH: Duration = Duration::from_secs(200);

const BOTH: &[Region] = &Region::ALL;
const EUROPE: &[Region] = &[Region::Europe];
const AMERICA: &[Region] = &[Region::America];

const fn release(
    at_s: u64,
    service: &'static str,
    regions: &'static [Region],
    minor: u32,
    told: &'static str,
) -> Step {
    Step { at_s, service, regions, change: Change::Release { minor, told } }
}

const fn scale(at_s: u64, service: &'static str, replicas: u32) -> Step {
    Step { at_s, service, regions: BOTH, change: Change::Scale(replicas) }
}

pub(super) const STEPS: [Step; 19] = [
    release(12, "website", BOTH, 1, "run ready-after=3s"),
    release(20, "payment-gateway", EUROPE, 1, "crash after=2s ready-after=30s"),
    release(35, "search", AMERICA, 1, "oom after=3s"),
    release(50, "recommendations", BOTH, 1, "image-pull-error"),
    // Taken back.
    release(60, "payment-gateway", EUROPE, 0, "run ready-after=1s"),
    scale(65, "cart", 6),
    release(75, "search", AMERICA, 2, "run ready-after=2s"),
    release(85, "fraud-check", EUROPE, 1, "config-error missing=secret/fraud-model-key"),
    release(95, "recommendations", BOTH, 2, "run ready-after=2s"),
    release(100, "ledger", BOTH, 1, "run ready-after=3s"),
    release(105, "inventory", AMERICA, 1, "unschedulable"),
    release(120, "fraud-check", EUROPE, 2, "run ready-after=1s"),
    scale(125, "cart", 3),
    release(130, "shipping", EUROPE, 1, "never-ready"),
    release(145, "inventory", AMERICA, 2, "run ready-after=1s"),
    // Crashes twice, and then finds what it waits for.
    release(150, "orders", BOTH, 1, "crash after=2s restarts=2"),
    release(165, "shipping", EUROPE, 2, "run ready-after=2s"),
    release(175, "checkout", BOTH, 1, "run ready-after=2s"),
    release(190, "orders", BOTH, 2, "run ready-after=1s"),
];
