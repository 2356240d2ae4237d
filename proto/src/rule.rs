//! The rules of the protocol that a simulation showed to be needed: without any one of them, a law breaks.
//!
//! Agent and hub hold all of them, always. The set can be made smaller only so that the law tests can show that each rule
//! earns its place: they take one away and must find a violation.

/// One rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Epochs, sums, comparison and repair are per cluster *and scope*. Without it one agent buries another's objects.
    PerScope,
    /// An epoch is higher than the one in the Lease. Without it a standby that started earlier loses to a thawed holder.
    EpochFromLease,
    /// A refused message does not count in the hub's sums, a held one does even if it is not understood. Without it a cluster
    /// is called verified while the hub holds the old.
    SumsOverHeld,
    /// A snapshot merges: what it does not name stays. Without it existing objects vanish after a rollback of the stream.
    SnapshotMerges,
    /// An entity is touched by every input that made it dirty. Without it a resume at another replica misses changes.
    TouchedByInput,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::PerScope,
        Self::EpochFromLease,
        Self::SumsOverHeld,
        Self::SnapshotMerges,
        Self::TouchedByInput,
    ];
}

/// The rules that hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    without: Option<Rule>,
}

impl Rules {
    /// All: what agents and hubs run with.
    pub const ALL: Self = Self { without: None };

    /// All but one, for the law tests alone.
    #[must_use]
    pub const fn without(rule: Rule) -> Self {
        Self { without: Some(rule) }
    }

    /// Whether it holds.
    #[must_use]
    pub fn hold(self, rule: Rule) -> bool {
        self.without != Some(rule)
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self::ALL
    }
}
