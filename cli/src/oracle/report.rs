//! What came of a comparison.

use std::fmt;

/// What came of a comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Objects of the cluster that were compared.
    pub objects: usize,
    /// Entities of the hub that were compared.
    pub entities: usize,
    /// What differs and stands.
    pub differences: Vec<Difference>,
    /// What differed each time, of objects that changed each time.
    pub unsettled: Vec<Difference>,
    /// Kinds that were not compared, since the hub says itself that it does not see them.
    pub unseen: Vec<Unseen>,
}

/// Something on which cluster and hub do not agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// An object or an entity.
    pub subject: String,
    /// What of it: `presence`, `facts`, `READY`.
    pub aspect: String,
    /// As the cluster has it.
    pub cluster: String,
    /// As the hub has it.
    pub hub: String,
}

/// A kind that the hub does not see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unseen {
    /// Resource and group.
    pub kind: String,
    /// What the hub says of it.
    pub state: String,
}

/// A difference of one round. Subject and aspect name it.
pub(super) struct Found {
    pub(super) subject: Subject,
    /// Equal while the live object does not change.
    pub(super) fingerprint: String,
    pub(super) difference: Difference,
}

/// Names a difference over the rounds.
pub(super) type Subject = (String, String);

impl Found {
    /// Of an object or entity whose live side is `fingerprint`.
    pub(super) fn new(difference: Difference, fingerprint: &str) -> Self {
        let subject = (difference.subject.clone(), difference.aspect.clone());
        Self { subject, fingerprint: fingerprint.to_owned(), difference }
    }
}

impl Report {
    /// All was seen, and nothing differs.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.differences.is_empty() && self.unsettled.is_empty() && self.unseen.is_empty()
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, aspect, cluster, hub } = self;
        write!(formatter, "{subject}: {aspect}: the cluster has {cluster}, the hub {hub}")
    }
}

impl fmt::Display for Unseen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, state } = self;
        write!(formatter, "{kind}: not compared, the hub does not see it: {state}")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { objects, entities, differences, unsettled, unseen } = self;
        for difference in differences {
            writeln!(formatter, "{difference}")?;
        }
        for difference in unsettled {
            writeln!(formatter, "{difference} (it keeps changing)")?;
        }
        for kind in unseen {
            writeln!(formatter, "{kind}")?;
        }
        write!(
            formatter,
            "{objects} objects and {entities} entities compared: {} differences, {} unsettled, {} kinds not seen",
            differences.len(),
            unsettled.len(),
            unseen.len()
        )
    }
}
