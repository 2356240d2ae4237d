//! The command line client `vitals`, and what tests share with it.
//!
//! In the order of a command's life: [`args`] says what is wanted, [`hub`] asks a hub for it, [`follow`] keeps a view of
//! its watch, [`reference`](mod@reference) names entities and objects, [`command`] has one file per command, which writes through
//! [`output`], as [`table`], [`text`] or [`json`]. [`oracle`] compares a hub with a cluster: `vitals verify`, and the last
//! step of every end-to-end test. [`check`] judges manifests, offline. [`contexts`], [`demo`], [`nats_child`] and [`logs`] are
//! what `vitals up` is made of.
//!
//! Invariant: data goes to standard output, everything else to standard error. What is shown is what
//! the hub said; only [`check`] judges, by the hub's own rules.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is a failed test")
)]

pub mod args;
pub mod error;
pub mod hub;
pub mod follow;
pub mod reference;
pub mod output;
pub mod progress;
pub mod table;
pub mod text;
pub mod json;
pub mod check;
pub mod oracle;
pub mod logs;
pub mod contexts;
pub mod demo;
pub mod nats_child;
pub mod command;

pub use error::Error;
