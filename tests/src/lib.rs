//! The testbed: real Kubernetes control planes, nats-server and our own binaries, started by tests on free
//! ports and gone with them, however they end.
//!
//! A test is the body given to [`cluster_test`] (or [`test()`] without a cluster). It starts
//! what it needs ([`Cluster`], [`Nats`], a [`Binary`]'s [`Program`]), makes [`objects`], breaks things
//! ([`Process`], [`TcpProxy`]) and awaits what should come of it ([`wait_for`]). If it fails, the ends of
//! its servers' logs are printed; `VITALS_TESTBED_KEEP=1` keeps all files.
//!
//! The programs of others are built from pinned source once ([`tools`]); `vitals-testbed build` does that
//! ahead of the tests, and `vitals-testbed up` starts a cluster to play with.
//!
//! **Invariant:** no process and no file outlives the test process, also if it is killed ([`janitor`]).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in tests a panic is a failed test, which is what they are for"
)]

pub mod harness;
pub mod skip;
pub mod settings;
pub mod janitor;
pub mod folder;
pub mod port;
mod logs;
mod supervisor;
pub mod process;
pub mod progress;
pub mod tools;
pub mod languages;
pub mod binary;
pub mod certificates;
pub mod wait;
pub mod http;
pub mod cluster;
pub mod simulated;
pub mod kwok;
pub mod kubelet;
pub mod objects;
pub mod pod_status;
pub mod nats;
pub mod proxy;
pub mod fleet;

pub use binary::Binary;
pub use certificates::Authority;
pub use cluster::{Cluster, Component, merged_kubeconfig};
pub use folder::Folder;
pub use harness::{cluster_test, test};
pub use kubelet::Kubelet;
pub use nats::Nats;
pub use process::{Output, Process, Program};
pub use proxy::TcpProxy;
pub use simulated::{SimulatedCluster, Watched};
pub use wait::wait_for;
