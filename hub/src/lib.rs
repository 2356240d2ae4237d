//! The hub's shell: reads the streams, hands them to the pure core ([`vitals_hub_core`]), and serves what it says.
//!
//! In the order of the path: `run` is the loop that owns the core; [`view`] is what readers see; `watch` and
//! `serve` are gRPC; [`query`] is how requests reach the core.

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

pub mod streams;
pub mod read;
pub mod definitions;
pub mod query;
pub mod view;
mod token;
pub mod watch;
pub mod metrics;
pub mod serve;
