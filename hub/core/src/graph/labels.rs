//! Labels, shared: the pods of one template carry the same set, which is held once.

use std::{collections::BTreeMap, hash::BuildHasher, sync::Arc};

use hashbrown::{DefaultHashBuilder, HashTable};

/// A set of labels (or annotations), ordered by key. Cloning shares it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Labels(Option<Arc<Pairs>>); // `None` is the empty set, which needs no memory

type Pairs = [(Box<str>, Box<str>)];

impl From<&BTreeMap<String, String>> for Labels {
    fn from(map: &BTreeMap<String, String>) -> Self {
        let pairs = map.iter().map(|(key, value)| (key.as_str().into(), value.as_str().into()));
        Self((!map.is_empty()).then(|| pairs.collect()))
    }
}

impl Labels {
    /// The value of a key.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        let pairs = self.pairs();
        let index = pairs.binary_search_by(|(held, _)| (**held).cmp(key)).ok()?;
        pairs.get(index).map(|(_, value)| &**value)
    }

    /// The value of a key, unless it is empty: Kubernetes allows that, and no name is.
    pub(crate) fn name(&self, key: &str) -> Option<&str> {
        self.get(key).filter(|value| !value.is_empty())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    fn pairs(&self) -> &Pairs {
        self.0.as_deref().unwrap_or_default()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs().iter().map(|(key, value)| (&**key, &**value))
    }

    /// All of `wanted` are among these. An empty selector selects nothing, as that of a Service.
    pub(crate) fn are_selected_by(&self, wanted: &Self) -> bool {
        !wanted.is_empty() && wanted.iter().all(|(key, value)| self.get(key) == Some(value))
    }

    fn equals(&self, map: &BTreeMap<String, String>) -> bool {
        self.pairs().len() == map.len()
            && self.iter().eq(map.iter().map(|(key, value)| (key.as_str(), value.as_str())))
    }
}

/// Holds each distinct set once, as long as somebody else holds it too.
#[derive(Debug, Default)]
pub(crate) struct LabelPool {
    // Never iterated, so that its order cannot show.
    sets: HashTable<Labels>,
    hasher: DefaultHashBuilder,
}

impl LabelPool {
    /// The shared set equal to `map`.
    pub(crate) fn share(&mut self, map: &BTreeMap<String, String>) -> Labels {
        if map.is_empty() {
            return Labels::default();
        }
        let pairs = map.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let hash = hash(&self.hasher, pairs);
        if let Some(shared) = self.sets.find(hash, |held| held.equals(map)) {
            return shared.clone();
        }
        let labels = Labels::from(map);
        let hasher = &self.hasher;
        self.sets.insert_unique(hash, labels.clone(), |held| self::hash(hasher, held.iter()));
        labels
    }

    /// Gives a set back; the last one to do so frees it.
    pub(crate) fn release(&mut self, labels: Labels) {
        // The pool's own, and the one that is given back.
        let is_last = labels.0.as_ref().is_some_and(|pairs| Arc::strong_count(pairs) <= 2);
        if is_last {
            let hash = hash(&self.hasher, labels.iter());
            if let Ok(entry) = self.sets.find_entry(hash, |held| *held == labels) {
                entry.remove();
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.sets.len()
    }
}

fn hash<'a>(hasher: &DefaultHashBuilder, pairs: impl Iterator<Item = (&'a str, &'a str)>) -> u64 {
    use std::hash::{Hash as _, Hasher as _};
    let mut state = hasher.build_hasher();
    pairs.for_each(|pair| pair.hash(&mut state));
    state.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn equal_sets_are_held_once_and_freed_with_the_last() {
        let mut pool = LabelPool::default();
        let one = pool.share(&map(&[("a", "1"), ("b", "2")]));
        let other = pool.share(&map(&[("a", "1"), ("b", "2")]));
        let third = pool.share(&map(&[("a", "1")]));
        let address = |labels: &Labels| labels.0.as_ref().map(Arc::as_ptr);
        assert!(address(&one) == address(&other) && address(&one) != address(&third));
        assert_eq!(pool.len(), 2);
        pool.release(one);
        assert_eq!(pool.len(), 2);
        pool.release(other);
        assert_eq!(pool.len(), 1);
    }

    #[test]
    fn selection_is_by_equality_and_an_empty_selector_selects_nothing() {
        let labels = Labels::from(&map(&[("a", "1"), ("b", "2")]));
        for (selector, want) in [
            (map(&[("a", "1")]), true),
            (map(&[("a", "1"), ("b", "2")]), true),
            (map(&[("a", "2")]), false),
            (map(&[("c", "")]), false),
            (map(&[]), false),
        ] {
            assert_eq!(labels.are_selected_by(&Labels::from(&selector)), want, "{selector:?}");
        }
    }
}
