//! The hub's own bucket sums of one scope, per kind, over the messages that it holds.
//!
//! Kept beside the store at every change of it. Invariant: each sum is that of the digests of what is held, whether it is
//! understood or not; what was refused is not in it. (Were it, a cluster could be called verified while the hub holds the old.)

use std::collections::{BTreeMap, BTreeSet};

use vitals_proto::{
    digest::{Digest, Sums},
    kind::Kind,
};

/// Sums and counts of one scope.
#[derive(Clone, Debug, Default)]
pub(crate) struct HeldSums {
    kinds: BTreeMap<Kind, KindSums>,
}

#[derive(Clone, Debug, Default)]
struct KindSums {
    sums: Sums,
    count: u64,
}

impl HeldSums {
    /// Counts a message that is held from now on.
    pub(crate) fn add(&mut self, kind: &Kind, bucket: u8, digest: Digest) {
        let held = match self.kinds.get_mut(kind) {
            Some(held) => held,
            None => self.kinds.entry(kind.clone()).or_default(),
        };
        held.sums.add(bucket, digest);
        held.count += 1;
    }

    /// Counts no more a message that was held. A kind of which nothing is held takes no memory.
    pub(crate) fn remove(&mut self, kind: &Kind, bucket: u8, digest: Digest) {
        let Some(held) = self.kinds.get_mut(kind) else { return };
        held.sums.remove(bucket, digest);
        held.count = held.count.saturating_sub(1);
        if held.count == 0 {
            self.kinds.remove(kind);
        }
    }

    /// The sums over some kinds.
    pub(crate) fn over(&self, kinds: &BTreeSet<Kind>) -> Sums {
        let mut sums = Sums::default();
        for held in kinds.iter().filter_map(|kind| self.kinds.get(kind)) {
            sums.merge(&held.sums);
        }
        sums
    }

    /// Objects held of a kind.
    pub(crate) fn count(&self, kind: &Kind) -> u64 {
        self.kinds.get(kind).map_or(0, |held| held.count)
    }

    /// Kinds of which something is held, in order.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = &Kind> {
        self.kinds.keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_summed_apart_and_forgotten_when_empty() {
        let digests = [Digest::of("a", b"1"), Digest::of("b", b"1")];
        let mut sums = HeldSums::default();
        sums.add(&Kind::Pod, 3, digests[0]);
        sums.add(&Kind::Node, 3, digests[1]);
        let both = sums.over(&[Kind::Pod, Kind::Node].into());
        let pods = sums.over(&[Kind::Pod].into());
        assert_eq!(both.differing(&pods).collect::<Vec<_>>(), [3]);
        sums.remove(&Kind::Node, 3, digests[1]);
        assert_eq!(sums.over(&[Kind::Pod, Kind::Node].into()), pods);
        assert_eq!((sums.count(&Kind::Pod), sums.count(&Kind::Node)), (1, 0));
        assert_eq!(sums.kinds().collect::<Vec<_>>(), [&Kind::Pod]);
    }
}
