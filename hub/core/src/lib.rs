//! The hub's core: what a hub decides, as pure functions of what it has read and of the time it is told.
//!
//! In the order of the path: [`position`] is where it stands; `store` holds what agents said; `ingest` decides what of a
//! message counts, and whether what is held is true; `hub` puts it together: apply, settle, tick.
//!
//! No clock, no I/O, no await, no log, no lock: `Cargo.toml` names nothing that could.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        reason = "a test that fails should stop there"
    )
)]

pub mod time;
pub mod position;
pub mod freshness;
mod chunks;
pub mod store;
mod ingest;
pub mod catalog;
pub mod cluster_record;
mod graph;
mod entity;
pub mod assess;
mod rollup;
pub mod picture;
mod tree;
mod explain;
pub mod hub;
pub mod telling;

pub use cluster_record::{ClusterRecord, Forgotten};
pub use hub::{
    Counters, Effect, Forgetting, Hub, Input, MayResume, Message, NotForgettable, Refusal, Settings,
};
pub use position::{Position, StreamName, StreamPoint};
pub use store::{Held, Store};
pub use time::Time;
