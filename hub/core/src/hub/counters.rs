//! What the core counts, for metrics: nothing is left out without a count and a reason.

/// Why a message does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// No agent of ours sent it: its subject, its first bytes, or its key say so.
    Foreign,
    /// It begins as ours do, and cannot be read. What was held before stays; the sums show that it is not what the agent sent.
    Unreadable,
    /// It is of an epoch that is not current.
    LowerEpoch,
    /// What is held of the object is newer, or it was buried since.
    Older,
    /// It is what is held, again.
    Repeated,
    /// It was delivered before.
    Redelivered,
    /// It is of another cluster than the one that has the name.
    OtherCluster,
    /// It buries what another scope's agent said.
    OtherScope,
    /// The cluster has too many kinds or scopes.
    TooMany,
    /// Its cluster was forgotten since.
    Forgotten,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Foreign,
        Self::Unreadable,
        Self::LowerEpoch,
        Self::Older,
        Self::Repeated,
        Self::Redelivered,
        Self::OtherCluster,
        Self::OtherScope,
        Self::TooMany,
        Self::Forgotten,
    ];

    /// For metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Foreign => "foreign",
            Self::Unreadable => "unreadable",
            Self::LowerEpoch => "lower_epoch",
            Self::Older => "older",
            Self::Repeated => "repeated",
            Self::Redelivered => "redelivered",
            Self::OtherCluster => "other_cluster",
            Self::OtherScope => "other_scope",
            Self::TooMany => "too_many",
            Self::Forgotten => "forgotten",
        }
    }
}

/// Counts since the hub began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages that came.
    pub messages: u64,
    /// Messages that were held or buried.
    pub applied: u64,
    /// Heartbeats that were taken.
    pub heartbeats: u64,
    /// Messages that are held although their content is not understood.
    pub opaque: u64,
    /// Comparisons of a bucket that came out unequal.
    pub differing_buckets: u64,
    /// Requests for repair that were made.
    pub repairs_asked: u64,
    /// Of these, nobody answered.
    pub repairs_unanswered: u64,
    /// Of these, the agent would not.
    pub repairs_refused: u64,
    /// Clusters whose name another one took.
    pub names_taken: u64,
    /// Objects that one scope took over from another. Now and then where a namespace moves; again and again where scopes overlap.
    pub objects_taken_over: u64,
    refused: [u64; Refusal::ALL.len()],
}

impl Counters {
    /// Messages that did not count, for this reason.
    #[must_use]
    pub fn refused(&self, refusal: Refusal) -> u64 {
        let index = Refusal::ALL.iter().position(|known| *known == refusal);
        index.and_then(|index| self.refused.get(index)).copied().unwrap_or_default()
    }

    pub(crate) fn refuse(&mut self, refusal: Refusal) {
        let index = Refusal::ALL.iter().position(|known| *known == refusal);
        if let Some(count) = index.and_then(|index| self.refused.get_mut(index)) {
            *count += 1;
        }
    }
}
