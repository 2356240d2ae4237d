//! Finds objects by something that they hold themselves: 5 bytes for each, instead of a second copy of the key.

use std::hash::{BuildHasher as _, Hash};

use hashbrown::{DefaultHashBuilder, HashTable};

use super::ObjectId;

/// Objects by a hash. Whoever asks compares: several can have one hash.
#[derive(Debug, Default)]
pub(super) struct Index {
    // Never iterated as a whole, so that its order cannot show.
    ids: HashTable<ObjectId>,
    hasher: DefaultHashBuilder,
}

impl Index {
    pub(super) fn hash(&self, of: &impl Hash) -> u64 {
        self.hasher.hash_one(of)
    }

    pub(super) fn candidates(&self, hash: u64) -> impl Iterator<Item = ObjectId> + '_ {
        self.ids.iter_hash(hash).copied()
    }

    /// `rehash` gives the hash of what is in already.
    pub(super) fn insert(
        &mut self,
        hash: u64,
        id: ObjectId,
        rehash: impl Fn(&Self, ObjectId) -> u64,
    ) {
        // The table grows before it takes the new one, so that `rehash` can ask for our hasher.
        if self.ids.len() == self.ids.capacity() {
            let hasher = Self { ids: HashTable::new(), hasher: self.hasher.clone() };
            self.ids.reserve(1, |id| rehash(&hasher, *id));
        }
        self.ids.insert_unique(hash, id, |_| hash);
    }

    pub(super) fn remove(&mut self, hash: u64, id: ObjectId) {
        if let Ok(entry) = self.ids.find_entry(hash, |held| *held == id) {
            entry.remove();
        }
    }
}
