//! The UIDs that objects name as owners. Who holds such a UID, and who names it, is found by number from either end: it is
//! asked for at every judgement, and changes seldom.

use std::{hash::BuildHasher as _, num::NonZeroU32};

use hashbrown::{DefaultHashBuilder, HashTable};
use vitals_proto::identity::{ClusterName, Uid};

use super::{ObjectId, ids::IdSet};
use crate::chunks::Chunks;

/// A UID of a cluster, as long as an object names it as an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OwnerId(NonZeroU32); // counts from 1, so that an absent one takes no memory

/// What is known of such a UID.
#[derive(Debug)]
pub(super) struct Owning {
    pub(super) cluster: ClusterName,
    pub(super) uid: Uid,
    /// What names it.
    pub(super) owned: IdSet,
    /// The object of it: of several the first by key.
    pub(super) holder: Option<ObjectId>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Owners {
    all: Chunks<Option<Owning>>,
    free: Vec<OwnerId>,
    // Never iterated, so that its order cannot show.
    index: HashTable<OwnerId>,
    hasher: DefaultHashBuilder,
}

impl OwnerId {
    fn slot(self) -> usize {
        usize::try_from(self.0.get()).map_or(usize::MAX, |number| number - 1)
    }
}

impl Owners {
    pub(super) fn get(&self, id: OwnerId) -> Option<&Owning> {
        at(&self.all, id)
    }

    pub(super) fn get_mut(&mut self, id: OwnerId) -> Option<&mut Owning> {
        self.all.get_mut(id.slot())?.as_mut()
    }

    pub(super) fn find(&self, cluster: &ClusterName, uid: &Uid) -> Option<OwnerId> {
        let hash = self.hasher.hash_one((cluster, uid));
        self.index.find(hash, |id| is(at(&self.all, *id), cluster, uid)).copied()
    }

    /// One that is not in yet.
    pub(super) fn insert(
        &mut self,
        cluster: &ClusterName,
        uid: &Uid,
        holder: Option<ObjectId>,
    ) -> OwnerId {
        let owning =
            Owning { cluster: cluster.clone(), uid: uid.clone(), owned: IdSet::default(), holder };
        let id = self.free.pop().unwrap_or_else(|| {
            self.all.push(None);
            // 2^32 owners do not fit into memory; the last number would be shared.
            let number = u32::try_from(self.all.len()).ok().and_then(NonZeroU32::new);
            OwnerId(number.unwrap_or(NonZeroU32::MAX))
        });
        if let Some(slot) = self.all.get_mut(id.slot()) {
            *slot = Some(owning);
        }
        let Self { all, index, hasher, .. } = self;
        let hash =
            |id: &OwnerId| at(all, *id).map_or(0, |it| hasher.hash_one((&it.cluster, &it.uid)));
        index.insert_unique(hash(&id), id, hash);
        id
    }

    pub(super) fn remove(&mut self, id: OwnerId) -> Option<Owning> {
        let owning = self.all.get_mut(id.slot())?.take()?;
        let hash = self.hasher.hash_one((&owning.cluster, &owning.uid));
        if let Ok(entry) = self.index.find_entry(hash, |held| *held == id) {
            entry.remove();
        }
        self.free.push(id);
        Some(owning)
    }
}

fn at(all: &Chunks<Option<Owning>>, id: OwnerId) -> Option<&Owning> {
    all.get(id.slot())?.as_ref()
}

fn is(owning: Option<&Owning>, cluster: &ClusterName, uid: &Uid) -> bool {
    owning.is_some_and(|it| it.uid == *uid && it.cluster == *cluster)
}
