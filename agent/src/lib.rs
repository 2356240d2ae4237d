//! The agent of a cluster: watches workloads and pushes what changes to NATS.
//!
//! In the order of the path: [`kubernetes`] connects to a cluster, [`watch`] lists and follows a kind, [`project`] reduces
//! its objects to facts.

pub mod kubernetes;
pub mod watch;
pub mod project;
