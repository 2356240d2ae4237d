//! A set of objects in little memory: most sets hold one or a handful, and every object has some.

use super::ObjectId;

/// Ordered by id. To put one in, or to take one out, costs the moving of those behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct IdSet(Ids);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Ids {
    #[default]
    None,
    One(ObjectId),
    /// Boxed, since it is the rarest.
    #[expect(clippy::box_collection, reason = "a third less for every set that holds one or none")]
    Many(Box<Vec<ObjectId>>),
}

impl IdSet {
    /// Whether it was not in before.
    pub(crate) fn insert(&mut self, id: ObjectId) -> bool {
        match &mut self.0 {
            Ids::None => self.0 = Ids::One(id),
            Ids::One(held) if *held == id => return false,
            Ids::One(held) => {
                self.0 = Ids::Many(Box::new(vec![id.min(*held), id.max(*held)]));
            }
            Ids::Many(ids) => {
                let Err(at) = ids.binary_search(&id) else { return false };
                ids.insert(at, id);
            }
        }
        true
    }

    pub(crate) fn remove(&mut self, id: ObjectId) {
        match &mut self.0 {
            Ids::One(held) if *held == id => self.0 = Ids::None,
            Ids::None | Ids::One(_) => {}
            Ids::Many(ids) => {
                if let Ok(at) = ids.binary_search(&id) {
                    ids.remove(at);
                }
                match ids.as_slice() {
                    [] => self.0 = Ids::None,
                    [one] => self.0 = Ids::One(*one),
                    _ => {}
                }
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        matches!(self.0, Ids::None)
    }

    pub(crate) fn iter(&self) -> std::iter::Copied<std::slice::Iter<'_, ObjectId>> {
        let ids = match &self.0 {
            Ids::None => &[],
            Ids::One(id) => std::slice::from_ref(id),
            Ids::Many(ids) => ids.as_slice(),
        };
        ids.iter().copied()
    }
}

impl<'a> IntoIterator for &'a IdSet {
    type Item = ObjectId;
    type IntoIter = std::iter::Copied<std::slice::Iter<'a, ObjectId>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn is_a_set(changes in vec((0..6_u32, any::<bool>()), 0..40)) {
            let (mut set, mut model) = (IdSet::default(), BTreeSet::new());
            for (id, comes) in changes {
                if comes {
                    prop_assert_eq!(set.insert(ObjectId(id)), model.insert(ObjectId(id)));
                } else {
                    set.remove(ObjectId(id));
                    model.remove(&ObjectId(id));
                }
                prop_assert!(set.iter().eq(model.iter().copied()));
                prop_assert_eq!(set.is_empty(), model.is_empty());
            }
        }
    }

    #[test]
    fn is_small() {
        assert_eq!(size_of::<IdSet>(), 16);
    }
}
