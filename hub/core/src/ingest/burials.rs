//! What was buried lately, so that a late message does not bring it back.
//!
//! A tombstone takes an object out of the store, and with it the counter that would tell a late message. It is remembered here
//! for as long as the tombstone stands in the stream ([`TOMBSTONE_TTL`]). The memory is bounded: when it is full the oldest
//! is forgotten, and what a late message then brings back is found by the sums, and repaired.

use std::collections::VecDeque;

use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher as _;
use vitals_proto::{identity::Scope, limits::TOMBSTONE_TTL};

use super::epochs::Rank;
use crate::time::Time;

/// Most burials remembered: a storm of deletions of a quarter of a million objects an hour, in about 20 MB.
pub(crate) const BURIALS_MAX: usize = 262_144;

/// What was buried lately, of all clusters.
#[derive(Debug, Default)]
pub(crate) struct Burials {
    /// By hash of subject and scope; looked up, never iterated. Two subjects of one hash (2^-64) would only cost a repair.
    buried: HashTable<Burial>,
    hasher: DefaultHashBuilder,
    /// When each was made, the oldest first. Holds those that were made again since more than once.
    order: VecDeque<(Time, u64)>,
}

#[derive(Clone, Copy, Debug)]
struct Burial {
    hash: u64,
    rank: Rank,
    at: Time,
}

impl Burials {
    /// Where the tombstone of a subject stands, if one is remembered.
    pub(crate) fn get(&self, subject: &str, scope: &Scope) -> Option<Rank> {
        let hash = self.hasher.hash_one((subject, scope));
        self.buried.find(hash, |burial| burial.hash == hash).map(|burial| burial.rank)
    }

    /// Remembers a tombstone.
    pub(crate) fn bury(&mut self, subject: &str, scope: &Scope, rank: Rank, at: Time) {
        let hash = self.hasher.hash_one((subject, scope));
        let burial = Burial { hash, rank, at };
        match self.buried.find_mut(hash, |burial| burial.hash == hash) {
            Some(known) => *known = burial,
            None => {
                self.buried.insert_unique(hash, burial, |burial| burial.hash);
            }
        }
        self.order.push_back((at, hash));
        while self.order.len() > BURIALS_MAX {
            self.forget_oldest();
        }
    }

    /// The object is there again.
    pub(crate) fn unbury(&mut self, subject: &str, scope: &Scope) {
        if self.buried.is_empty() {
            return;
        }
        let hash = self.hasher.hash_one((subject, scope));
        if let Ok(entry) = self.buried.find_entry(hash, |burial| burial.hash == hash) {
            entry.remove();
        }
    }

    /// Forgets those whose tombstones have expired.
    pub(crate) fn expire(&mut self, now: Time) {
        while self.order.front().is_some_and(|(at, _)| now.since(*at) > TOMBSTONE_TTL) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((at, hash)) = self.order.pop_front() else { return };
        // One that was made again since stays until its own turn.
        let same = |burial: &Burial| burial.hash == hash && burial.at <= at;
        if let Ok(entry) = self.buried.find_entry(hash, same) {
            entry.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use vitals_proto::identity::Epoch;

    use super::*;

    fn rank(counter: u64) -> Rank {
        Rank { epoch: Epoch::default(), counter }
    }

    #[test]
    fn they_are_remembered_for_as_long_as_tombstones_stand() {
        let (main, other) = (Scope::default(), "other".parse().unwrap());
        let start = Time::from_unix_s(1_000);
        let mut burials = Burials::default();
        burials.bury("a", &main, rank(1), start);
        burials.bury("b", &main, rank(2), start);
        burials.bury("b", &main, rank(5), start.after(TOMBSTONE_TTL));
        burials.bury("c", &main, rank(3), start.after(TOMBSTONE_TTL));
        burials.unbury("c", &main);
        assert_eq!(burials.get("a", &main), Some(rank(1)));
        assert_eq!(burials.get("a", &other), None);
        assert_eq!(burials.get("c", &main), None);
        burials.expire(start.after(TOMBSTONE_TTL).after(std::time::Duration::from_millis(1)));
        assert_eq!(burials.get("a", &main), None);
        assert_eq!(burials.get("b", &main), Some(rank(5)), "it was buried again");
    }

    #[test]
    fn when_full_the_oldest_is_forgotten() {
        let main = Scope::default();
        let mut burials = Burials::default();
        for index in 0..=BURIALS_MAX {
            burials.bury(&index.to_string(), &main, rank(1), Time::from_unix_s(0));
        }
        assert_eq!(burials.get("0", &main), None);
        assert_eq!(burials.get("1", &main), Some(rank(1)));
        assert_eq!(burials.order.len(), BURIALS_MAX);
    }
}
