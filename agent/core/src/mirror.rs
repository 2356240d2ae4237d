//! What exists of one kind: names and digests, not objects. 64 bytes and a name each.
//!
//! Indices are stable while an object is in it, and are used again after: flat under churn. Order of iteration is that of
//! the indices, never that of a hash.

use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher as _;

use crate::{input::ObjectName, outbox::SlotId};

/// One object.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Namespace and name, one after the other.
    text: Box<str>,
    /// Of what was handed over last.
    pub(crate) digest: [u8; 16],
    /// Of the facts that were seen last, so that a change that changes no fact is not sent.
    pub(crate) facts_hash: u64,
    /// `resourceVersion` as a number; 0 where it is none.
    pub(crate) version: u64,
    /// While it has something to say or in flight.
    pub(crate) slot: Option<SlotId>,
    namespace_bytes: u8,
    /// Of its subject; set when it is first handed over.
    pub(crate) bucket: u8,
    pub(crate) existence: Existence,
    pub(crate) handed: Handed,
    pub(crate) refused: Option<Refused>,
    pub(crate) reading: Reading,
    /// Named by the list that runs, or that ran last.
    pub(crate) listed: bool,
    /// To be sent when it is seen next, even if nothing changed.
    pub(crate) wanted: bool,
    /// A list named it, and it was not handed over since.
    pub(crate) list_pending: bool,
}

/// Whether the object exists, as far as this agent knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Existence {
    Exists,
    /// It does not: it is kept until its tombstone arrived.
    Gone,
    /// A hub holds it, and no list since then told whether it exists.
    Unconfirmed,
}

/// What was handed to the connection last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handed {
    Nothing,
    Facts,
    /// Also what only others handed over, and must be buried by us: it counts for nothing.
    NoFacts,
}

/// Why the stream does not have the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Refused {
    TooLarge,
    StreamFull,
    Permission,
}

/// Whether the object could be read when it was seen last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    Read,
    Unreadable,
}

impl Entry {
    fn new(name: &ObjectName) -> Self {
        let ObjectName { namespace, name } = name;
        Self {
            text: format!("{namespace}{name}").into(),
            digest: [0; 16],
            facts_hash: 0,
            version: 0,
            slot: None,
            // `Mirror::enter` takes no longer names.
            namespace_bytes: u8::try_from(namespace.len()).unwrap_or(u8::MAX),
            bucket: 0,
            existence: Existence::Unconfirmed,
            handed: Handed::Nothing,
            refused: None,
            reading: Reading::Read,
            listed: false,
            wanted: false,
            list_pending: false,
        }
    }

    pub(crate) fn namespace(&self) -> &str {
        self.text.get(..usize::from(self.namespace_bytes)).unwrap_or_default()
    }

    pub(crate) fn name(&self) -> &str {
        self.text.get(usize::from(self.namespace_bytes)..).unwrap_or_default()
    }
}

/// Entries that are allocated together. (A list that grew as a whole would leave its former places behind in the heap.)
const CHUNK: usize = 64;

#[derive(Default)]
pub(crate) struct Mirror {
    /// Each of [`CHUNK`] places, of which only the last is not full.
    chunks: Vec<Vec<Option<Entry>>>,
    free: Vec<u32>,
    by_name: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl Mirror {
    pub(crate) fn find(&self, namespace: &str, name: &str) -> Option<u32> {
        let is_it = |index: &u32| {
            self.get(*index)
                .is_some_and(|entry| entry.namespace() == namespace && entry.name() == name)
        };
        self.by_name.find(self.hash(namespace, name), is_it).copied()
    }

    /// Finds or makes the entry of an object. `None` for a name that no object of Kubernetes has.
    pub(crate) fn enter(&mut self, name: &ObjectName) -> Option<u32> {
        let is_name = |text: &str| text.len() <= vitals_proto::identity::NAME_BYTES_MAX;
        if name.name.is_empty() || !is_name(&name.name) || !is_name(&name.namespace) {
            return None;
        }
        if let Some(index) = self.find(&name.namespace, &name.name) {
            return Some(index);
        }
        let entry = Entry::new(name);
        let index = if let Some(index) = self.free.pop() {
            *place_mut(&mut self.chunks, index)? = Some(entry);
            index
        } else {
            self.push(entry)?
        };
        let hash = self.hash(&name.namespace, &name.name);
        let Self { chunks, by_name, hasher, .. } = self;
        by_name.insert_unique(hash, index, |index| {
            let entry = place(chunks, *index);
            entry.map_or(0, |entry| hasher.hash_one((entry.namespace(), entry.name())))
        });
        Some(index)
    }

    fn push(&mut self, entry: Entry) -> Option<u32> {
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let before = (self.chunks.len() - 1) * CHUNK;
        let chunk = self.chunks.last_mut()?;
        let index = u32::try_from(before + chunk.len()).ok()?;
        chunk.push(Some(entry));
        Some(index)
    }

    pub(crate) fn remove(&mut self, index: u32) -> Option<Entry> {
        let entry = place_mut(&mut self.chunks, index)?.take()?;
        self.free.push(index);
        let hash = self.hash(entry.namespace(), entry.name());
        if let Ok(found) = self.by_name.find_entry(hash, |candidate| *candidate == index) {
            found.remove();
        }
        Some(entry)
    }

    pub(crate) fn get(&self, index: u32) -> Option<&Entry> {
        place(&self.chunks, index)
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut Entry> {
        place_mut(&mut self.chunks, index)?.as_mut()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Entry)> {
        let places = self.chunks.iter().flatten();
        (0_u32..).zip(places).filter_map(|(index, entry)| Some((index, entry.as_ref()?)))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.chunks.iter_mut().flatten().flatten()
    }

    fn hash(&self, namespace: &str, name: &str) -> u64 {
        self.hasher.hash_one((namespace, name))
    }
}

/// Which chunk, and where in it.
fn at(index: u32) -> (usize, usize) {
    let index = usize::try_from(index).unwrap_or(usize::MAX);
    (index / CHUNK, index % CHUNK)
}

fn place(chunks: &[Vec<Option<Entry>>], index: u32) -> Option<&Entry> {
    let (chunk, place) = at(index);
    chunks.get(chunk)?.get(place)?.as_ref()
}

fn place_mut(chunks: &mut [Vec<Option<Entry>>], index: u32) -> Option<&mut Option<Entry>> {
    let (chunk, place) = at(index);
    chunks.get_mut(chunk)?.get_mut(place)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn named(namespace: &str, name: &str) -> ObjectName {
        ObjectName { namespace: namespace.into(), name: name.into() }
    }

    #[test]
    fn an_entry_takes_64_bytes() {
        assert_eq!(size_of::<Option<Entry>>(), 64);
    }

    #[test]
    fn names_that_run_together_stay_apart_and_impossible_ones_are_refused() {
        let mut mirror = Mirror::default();
        assert_ne!(mirror.enter(&named("a", "bc")), mirror.enter(&named("ab", "c")));
        assert_eq!(mirror.enter(&named("a", "")), None);
        assert_eq!(mirror.enter(&named("a", &"x".repeat(254))), None);
        let longest = named(&"é".repeat(126), &"x".repeat(253));
        let index = mirror.enter(&longest).unwrap();
        let entry = mirror.get(index).unwrap();
        assert_eq!((entry.namespace(), entry.name()), (&*longest.namespace, &*longest.name));
    }

    #[test]
    fn indices_go_on_over_chunks() {
        let mut mirror = Mirror::default();
        let name = |number: u32| named("a", &number.to_string());
        for number in 0..300 {
            assert_eq!(mirror.enter(&name(number)), Some(number));
        }
        let removed = mirror.remove(130).unwrap();
        assert_eq!((removed.name(), mirror.get(130).is_none()), ("130", true));
        assert_eq!(mirror.enter(&name(300)), Some(130));
        let found: Vec<u32> = mirror.iter().map(|(index, _)| index).collect();
        assert_eq!(found, (0..300).collect::<Vec<u32>>());
        assert_eq!(mirror.iter_mut().count(), 300);
    }

    proptest! {
        #[test]
        fn behaves_like_a_map(steps in proptest::collection::vec(("[ab]{0,2}", "[ab]{1,2}", any::<bool>()), 0..200)) {
            let (mut mirror, mut model) = (Mirror::default(), BTreeMap::new());
            for (version, (namespace, name, enter)) in (1_u64..).zip(steps) {
                let name = named(&namespace, &name);
                if enter {
                    let index = mirror.enter(&name).unwrap();
                    mirror.get_mut(index).unwrap().version = version;
                    model.insert(name, version);
                } else {
                    let found = mirror.find(&name.namespace, &name.name).and_then(|index| mirror.remove(index));
                    prop_assert_eq!(found.map(|entry| entry.version), model.remove(&name));
                }
                let held: BTreeMap<ObjectName, u64> =
                    mirror.iter().map(|(_, entry)| (named(entry.namespace(), entry.name()), entry.version)).collect();
                prop_assert_eq!(&held, &model);
            }
            let places: usize = mirror.chunks.iter().map(Vec::len).sum();
            prop_assert!(places <= 42, "places are used again");
        }
    }
}
