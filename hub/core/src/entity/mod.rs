//! Entities: which objects belong to which, and why.
//!
//! [`selector`] is the language of label selectors, [`rule`] what an object says by itself, [`membership`] what it inherits
//! and the members of each entity, [`derived`] the names of workloads that nothing claims.

pub(crate) mod selector;
pub(crate) mod rule;
pub(crate) mod derived;
pub(crate) mod membership;
