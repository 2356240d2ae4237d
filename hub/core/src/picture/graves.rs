//! What touched the entities that are gone: one that comes back goes on from there, so that a reader who resumes from
//! before hears of all that happened to it.

use std::collections::{BTreeMap, VecDeque};

use vitals_proto::identity::EntityRef;

use crate::position::Position;

/// Most entities remembered: then the oldest is forgotten, and a reader who resumes from before it was removed, after it has
/// come back otherwise, finds that by the digest.
const GRAVES_MAX: usize = 65_536;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Graves {
    /// With the number of the burial.
    touched: BTreeMap<EntityRef, (Position, u64)>,
    /// The oldest first. Holds those that came back, too, until they are passed.
    order: VecDeque<(EntityRef, u64)>,
    burials: u64,
}

impl Graves {
    /// Remembers one, and adds what was remembered of it to `touched`.
    pub(super) fn put(&mut self, entity: &EntityRef, touched: &mut Position) {
        if let Some((before, _)) = self.touched.get_mut(entity) {
            touched.merge(before);
            before.clone_from(touched);
            return;
        }
        self.burials += 1;
        self.touched.insert(entity.clone(), (touched.clone(), self.burials));
        self.order.push_back((entity.clone(), self.burials));
        while self.order.len() > GRAVES_MAX {
            if let Some((oldest, burial)) = self.order.pop_front()
                && self.touched.get(&oldest).is_some_and(|(_, held)| *held == burial)
            {
                self.touched.remove(&oldest);
            }
        }
    }

    /// One came back: what touched it before it went, or nothing.
    pub(super) fn take(&mut self, entity: &EntityRef) -> Position {
        self.touched.remove(entity).map(|(touched, _)| touched).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::StreamPoint;

    fn at(sequence: u64) -> Position {
        Position::at(&StreamPoint { stream: "A".into(), incarnation_unix_ns: 1, sequence })
    }

    #[test]
    fn the_oldest_is_forgotten_when_full() {
        let mut graves = Graves::default();
        let entity = |n: usize| EntityRef::new("component", "default", &n.to_string()).unwrap();
        for n in 0..=GRAVES_MAX {
            graves.put(&entity(n), &mut at(n as u64));
        }
        assert_eq!(graves.take(&entity(0)), Position::default());
        assert_eq!(graves.take(&entity(1)), at(1));
        assert_eq!((graves.touched.len(), graves.order.len()), (GRAVES_MAX - 1, GRAVES_MAX));
    }

    #[test]
    fn what_went_twice_remembers_both() {
        let mut graves = Graves::default();
        let entity = EntityRef::new("component", "default", "shop").unwrap();
        graves.put(&entity, &mut at(7));
        let mut touched = Position::default();
        touched.definitions_revision = 3;
        graves.put(&entity, &mut touched);
        let mut both = at(7);
        both.definitions_revision = 3;
        assert_eq!(touched, both);
        assert_eq!(graves.take(&entity), touched);
    }
}
