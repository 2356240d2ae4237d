//! Stands in for the picture until it is written.
use vitals_proto::{identity::{ClusterName, EntityRef, ObjectKey}, rule::Rules, v1};
use crate::{Position, Store, StreamPoint, Time, freshness::ClusterFreshness};
/// One entity that changed.
#[derive(Clone, Debug, PartialEq)]
pub struct EntityChange { /// Which.
 pub entity: EntityRef, /// As it is now.
 pub state: Option<v1::Entity>, /// By what.
 pub touched: Position }
/// Stub.
#[derive(Debug, Default)]
pub struct Picture ;
#[allow(missing_docs, reason = "stub")]
impl Picture {
    pub fn new(_rules: Rules) -> Self { Self }
    pub fn upsert(&mut self, _key: &ObjectKey, _facts: Option<&v1::Facts>, _at: &StreamPoint, _now: Time) {}
    pub fn remove(&mut self, _key: &ObjectKey, _t: Option<&v1::Tombstone>, _at: &StreamPoint) {}
    pub fn set_freshness(&mut self, _c: &ClusterName, _f: ClusterFreshness, _at: &Position, _now: Time) {}
    pub fn set_definitions(&mut self, _d: Vec<v1::EntityDefinition>, _r: u64, _at: &Position) {}
    pub fn settle(&mut self, _s: &Store, _p: &Position, _now: Time) -> Vec<EntityChange> { Vec::new() }
    pub fn recheck_at(&self) -> Option<Time> { None }
}
