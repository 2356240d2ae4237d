//! The hub's shell: reads the streams, hands them to the pure core ([`vitals_hub_core`]), and serves what it says.
//!
//! In the order of the path: [`streams`] are made and [`read`]; [`definitions`] and [`cluster_records`] are read beside them;
//! [`run`] is the loop that owns the core, [`clock`] its time, [`repair`] and [`query`] what it asks and is asked, [`drill`]
//! what agents are asked beside it; [`tell`] and [`history`] are what is told of changes; [`view`] is what readers see;
//! [`watch`] and [`serve`] are gRPC; [`start()`] puts it together.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::wildcard_enum_match_arm,
        reason = "a test that fails should stop there"
    )
)]

pub mod streams;
pub mod read;
pub mod definitions;
pub mod kv_definitions;
pub mod cluster_records;
pub mod kv_clusters;
pub mod clock;
pub mod query;
mod answer;
pub mod repair;
pub mod drill;
pub mod tell;
pub mod history;
pub mod run;
pub mod view;
mod token;
pub mod watch;
pub mod metrics;
pub mod serve;
pub mod args;
mod start;

pub use args::{Args, Local};
pub use start::{Error, Started, start};
