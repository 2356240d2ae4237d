//! What can be read of a picture between two batches.

use prost::Message as _;
use vitals_proto::{
    identity::{EntityRef, ObjectKey},
    v1,
};

use super::{Judged, Picture};
use crate::position::Position;

impl Picture {
    /// An entity as it was judged last.
    #[must_use]
    pub fn entity(&self, entity: &EntityRef) -> Option<v1::Entity> {
        self.judged.get(entity).map(Judged::to_wire)
    }

    /// All entities as they were judged last, ordered by reference.
    pub fn entities(&self) -> impl Iterator<Item = (&EntityRef, v1::Entity)> {
        let mut judged: Vec<_> = self.judged.iter().collect();
        judged.sort_unstable_by_key(|(entity, _)| *entity);
        judged.into_iter().map(|(entity, judged)| (entity, judged.to_wire()))
    }

    /// What touched an entity last.
    #[must_use]
    pub fn touched(&self, entity: &EntityRef) -> Option<&Position> {
        self.judged.get(entity).map(|judged| &judged.touched)
    }

    /// How many entities there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.judged.len()
    }

    /// There is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.judged.is_empty()
    }

    /// How many objects there are.
    #[must_use]
    pub fn objects(&self) -> usize {
        self.graph.len()
    }

    /// The entities that an object belongs to, ordered.
    #[must_use]
    pub fn entities_of(&self, key: &ObjectKey) -> &[EntityRef] {
        self.graph.find(key).map(|id| self.membership.claims(id)).unwrap_or_default()
    }

    /// What an object's own fields say of it; `None` where it is not held.
    #[must_use]
    pub fn object_health(&self, key: &ObjectKey) -> Option<v1::ObjectHealth> {
        let object = self.graph.get(self.graph.find(key)?)?;
        Some(object.assessment.to_health())
    }
}

impl Judged {
    pub(super) fn to_wire(&self) -> v1::Entity {
        #[expect(
            clippy::expect_used,
            reason = "these bytes were encoded here, from the same message"
        )]
        let state = v1::Entity::decode(&*self.state).expect("what was encoded can be decoded");
        v1::Entity { revision: Some(self.touched.to_wire()), ..state }
    }
}
