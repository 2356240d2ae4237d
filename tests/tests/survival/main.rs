//! Parts of the path are killed, frozen, cut off and robbed of their memory while a real cluster changes: afterwards the
//! oracle finds no difference, and nobody was told a wrong verdict meanwhile, only that it is stale.
//!
//! All tests share the clusters `east` and `west` and disturb none of their components: each has a [`scene`] of its own, with
//! a namespace, a nats-server, a hub and agents. What cuts an agent from its API server is a proxy between the two.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is a failed test"
)]

mod scene;
mod truth;
mod writer;
mod killed;
mod blind;
mod stream;
mod scopes;
mod shop;
mod verdicts;
mod history;
mod forgotten;
mod resumed;
mod hostile;
