//! The core of an agent: what it says of one scope of one cluster, and in which order. Pure.
//!
//! In the order of the path: [`input`] is all that it hears, `watched` (with `lists`) and `mirror` remember what exists (as
//! digests, not objects), `outbox` holds what waits to be said (the newest state of each object), `message` writes it,
//! `heartbeat` says how far it got, `repair` makes the stream true again; `agent` ties them together. [`epoch`] orders the
//! lives of agents.
//!
//! Invariant: no clock, no I/O, no log, no lock, no await. The shell (`vitals-agent`) feeds it and performs what it asks for;
//! the law tests drive the very same code through simulated faults.

#![cfg_attr(test, allow(clippy::indexing_slicing, reason = "a test may panic"))]

pub mod input;
mod config;
pub mod epoch;
mod jitter;
mod mirror;
mod watched;
mod lists;
mod report;
mod retry;
mod outbox;
mod message;
mod heartbeat;
mod repair;
mod status;
pub mod agent;

pub use agent::Agent;
pub use config::{Command, Config, Leadership};
pub use input::{Input, Now};
pub use message::{Content, Publication};
pub use outbox::{HELD_BYTES_MAX as OUTBOX_BYTES_MAX, Ticket};
pub use status::Status;
