//! A set of objects in one piece of memory: most sets hold a handful, and there is one for every object or two.

use super::ObjectId;

/// Ordered by id. To put one in, or to take one out, costs the moving of those behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct IdSet(Vec<ObjectId>);

impl IdSet {
    /// Whether it was not in before.
    pub(crate) fn insert(&mut self, id: ObjectId) -> bool {
        let Err(at) = self.0.binary_search(&id) else { return false };
        if self.0.capacity() == 0 {
            self.0.reserve_exact(1);
        }
        self.0.insert(at, id);
        true
    }

    pub(crate) fn remove(&mut self, id: ObjectId) {
        if let Ok(at) = self.0.binary_search(&id) {
            self.0.remove(at);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> std::iter::Copied<std::slice::Iter<'_, ObjectId>> {
        self.0.iter().copied()
    }
}

impl<'a> IntoIterator for &'a IdSet {
    type Item = ObjectId;
    type IntoIter = std::iter::Copied<std::slice::Iter<'a, ObjectId>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl FromIterator<ObjectId> for IdSet {
    fn from_iter<I: IntoIterator<Item = ObjectId>>(ids: I) -> Self {
        let mut ids: Vec<_> = ids.into_iter().collect();
        ids.sort_unstable();
        ids.dedup();
        Self(ids)
    }
}
