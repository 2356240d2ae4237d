//! The objects of one cluster: records in a list, found by an index that holds no keys of its own.

use std::hash::BuildHasher as _;

use hashbrown::{DefaultHashBuilder, HashTable, hash_table::Entry};
use vitals_proto::{
    digest::Digest,
    identity::{ClusterName, ObjectKey, Scope},
    kind::Kind,
};

use super::{
    StoreBytes,
    held::{Content, Name, NewHeld, Record},
};
use crate::chunks::Chunks;

/// Most kinds, and most scopes, of a cluster whose objects can be held.
pub(super) const KINDS_MAX: usize = 1_024;
pub(super) const SCOPES_MAX: usize = 1_024;

/// The objects of one cluster.
#[derive(Debug)]
pub(super) struct ClusterStore {
    cluster: ClusterName,
    /// A record's place is free (`None`) or never changes, so that the index can hold places.
    records: Chunks<Option<Record>>,
    free: Vec<u32>,
    /// Places of records. Hashed with a seed of this process; nothing is ever iterated in this order.
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
    kinds: Vec<KindObjects>,
    scopes: Vec<Scope>,
    /// Of all records. Kept with them: figures are asked for at every tick.
    held: HeldBytes,
}

/// What records take beside their own size.
#[derive(Clone, Copy, Debug, Default)]
struct HeldBytes {
    facts: usize,
    all: usize,
}

impl HeldBytes {
    fn replace(&mut self, before: Option<&Record>, after: Option<&Record>) {
        let of = |record: Option<&Record>| {
            let facts =
                record.map_or(0, |it| usize::try_from(it.facts_bytes).unwrap_or(usize::MAX));
            (facts, record.map_or(0, |it| it.bytes.len()))
        };
        let ((facts_before, all_before), (facts, all)) = (of(before), of(after));
        self.facts = (self.facts + facts).saturating_sub(facts_before);
        self.all = (self.all + all).saturating_sub(all_before);
    }
}

#[derive(Debug)]
struct KindObjects {
    kind: Kind,
    count: usize,
}

impl ClusterStore {
    pub(super) fn new(cluster: ClusterName) -> Self {
        Self {
            cluster,
            records: Chunks::default(),
            free: Vec::new(),
            index: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            kinds: Vec::new(),
            scopes: Vec::new(),
            held: HeldBytes::default(),
        }
    }

    pub(super) fn name(&self) -> &ClusterName {
        &self.cluster
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.iter().flatten()
    }

    pub(super) fn count_of_kind(&self, kind: &Kind) -> usize {
        self.kinds.iter().find(|objects| objects.kind == *kind).map_or(0, |objects| objects.count)
    }

    pub(super) fn kind(&self, index: u16) -> &Kind {
        #[expect(clippy::expect_used, reason = "indices come from this list, which never shrinks")]
        &self.kinds.get(usize::from(index)).expect("a record names a kind of its cluster").kind
    }

    pub(super) fn scope(&self, index: u16) -> &Scope {
        #[expect(clippy::expect_used, reason = "indices come from this list, which never shrinks")]
        self.scopes.get(usize::from(index)).expect("a record names a scope of its cluster")
    }

    pub(super) fn bytes(&self) -> StoreBytes {
        let HeldBytes { facts, all } = self.held;
        let memory = all
            + self.records.len() * size_of::<Option<Record>>()
            + self.free.len() * size_of::<u32>()
            // A place and a byte of control for each bucket.
            + self.index.allocation_size();
        StoreBytes { facts, memory }
    }

    pub(super) fn get(&self, key: &ObjectKey) -> Option<&Record> {
        let place = self.find(&self.name_of(key)?)?;
        self.at(place)
    }

    pub(super) fn put(&mut self, key: &ObjectKey, stream: u16, new: NewHeld<'_>) {
        let (kind, scope) = (self.kind_index(key.kind()), self.scope_index(new.scope));
        let name =
            Name { kind, namespace: key.namespace().as_bytes(), name: key.name().as_bytes() };
        let record = Record::new(name, Indices { stream, scope }, &new);
        let Self { records, free, index, hasher, kinds, held, .. } = self;
        let entry = index.entry(
            hasher.hash_one(name),
            |place| name_at(records, *place) == Some(name),
            |place| name_at(records, *place).map_or(0, |name| hasher.hash_one(name)),
        );
        match entry {
            Entry::Occupied(occupied) => set(records, held, *occupied.get(), Some(record)),
            Entry::Vacant(vacant) => {
                let place = free.pop().unwrap_or_else(|| {
                    // 2^32 objects do not fit into memory; the last place would be shared.
                    u32::try_from(records.len()).unwrap_or(u32::MAX)
                });
                vacant.insert(place);
                if usize::try_from(place) == Ok(records.len()) {
                    records.push(None);
                }
                set(records, held, place, Some(record));
                if let Some(objects) = kinds.get_mut(usize::from(kind)) {
                    objects.count += 1;
                }
            }
        }
    }

    pub(super) fn remove(&mut self, key: &ObjectKey) {
        let Some(name) = self.name_of(key) else { return };
        let Self { records, free, index, hasher, kinds, held, .. } = self;
        let same = |place: &u32| name_at(records, *place) == Some(name);
        let Ok(entry) = index.find_entry(hasher.hash_one(name), same) else { return };
        let (place, _) = entry.remove();
        set(records, held, place, None);
        free.push(place);
        if let Some(objects) = kinds.get_mut(usize::from(name.kind)) {
            objects.count -= 1;
        }
    }

    pub(super) fn read_again(&mut self, key: &ObjectKey, stream: u16, sequence: u64) {
        if let Some(record) = self.get_mut(key) {
            (record.stream, record.sequence, record.displaced) = (stream, sequence, false);
        }
    }

    pub(super) fn displace(&mut self, key: &ObjectKey) {
        if let Some(record) = self.get_mut(key) {
            record.displaced = true;
        }
    }

    pub(super) fn count_instead(&mut self, key: &ObjectKey, digest: Digest) {
        if let Some(record) = self.get_mut(key) {
            record.digest = digest;
        }
    }

    fn get_mut(&mut self, key: &ObjectKey) -> Option<&mut Record> {
        let place = self.find(&self.name_of(key)?)?;
        self.records.get_mut(usize::try_from(place).ok()?)?.as_mut()
    }

    pub(super) fn admits(&self, kind: &Kind, scope: &Scope) -> bool {
        (self.kinds.len() < KINDS_MAX || self.kinds.iter().any(|objects| objects.kind == *kind))
            && (self.scopes.len() < SCOPES_MAX || self.scopes.contains(scope))
    }

    fn name_of<'k>(&self, key: &'k ObjectKey) -> Option<Name<'k>> {
        let kind = self.kinds.iter().position(|objects| objects.kind == *key.kind())?;
        let kind = u16::try_from(kind).ok()?;
        Some(Name { kind, namespace: key.namespace().as_bytes(), name: key.name().as_bytes() })
    }

    fn find(&self, name: &Name<'_>) -> Option<u32> {
        let same = |place: &u32| name_at(&self.records, *place) == Some(*name);
        self.index.find(self.hasher.hash_one(name), same).copied()
    }

    fn at(&self, place: u32) -> Option<&Record> {
        self.records.get(usize::try_from(place).ok()?)?.as_ref()
    }

    /// At most [`KINDS_MAX`], far below 65,536: see `admits`.
    fn kind_index(&mut self, kind: &Kind) -> u16 {
        let index = self.kinds.iter().position(|objects| objects.kind == *kind);
        let index = index.unwrap_or_else(|| {
            self.kinds.push(KindObjects { kind: kind.clone(), count: 0 });
            self.kinds.len() - 1
        });
        u16::try_from(index).unwrap_or(u16::MAX)
    }

    fn scope_index(&mut self, scope: &Scope) -> u16 {
        let index = self.scopes.iter().position(|known| known == scope).unwrap_or_else(|| {
            self.scopes.push(scope.clone());
            self.scopes.len() - 1
        });
        u16::try_from(index).unwrap_or(u16::MAX)
    }
}

fn name_at(records: &Chunks<Option<Record>>, place: u32) -> Option<Name<'_>> {
    Some(records.get(usize::try_from(place).ok()?)?.as_ref()?.name())
}

fn set(
    records: &mut Chunks<Option<Record>>,
    held: &mut HeldBytes,
    place: u32,
    record: Option<Record>,
) {
    if let Some(slot) = usize::try_from(place).ok().and_then(|place| records.get_mut(place)) {
        held.replace(slot.as_ref(), record.as_ref());
        *slot = record;
    }
}

struct Indices {
    stream: u16,
    scope: u16,
}

impl Record {
    fn new(name: Name<'_>, indices: Indices, new: &NewHeld<'_>) -> Self {
        let (facts, understood) = match new.content {
            Content::Facts(facts) => (facts, true),
            Content::Opaque => (&[][..], false),
        };
        let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        let version = new.resource_version.as_bytes();
        Self {
            bytes: [facts, name.namespace, name.name, version].concat().into_boxed_slice(),
            digest: new.digest,
            epoch: new.epoch,
            counter: new.counter,
            sequence: new.at.sequence,
            observed_at_unix_ms: new.observed_at_unix_ms,
            message_bytes: length(new.message_bytes),
            facts_bytes: length(facts.len()),
            stream: indices.stream,
            scope: indices.scope,
            kind: name.kind,
            // An ObjectKey has at most 253 bytes of each.
            namespace_bytes: u8::try_from(name.namespace.len()).unwrap_or(u8::MAX),
            name_bytes: u8::try_from(name.name.len()).unwrap_or(u8::MAX),
            bucket: new.bucket,
            understood,
            displaced: false,
        }
    }
}
