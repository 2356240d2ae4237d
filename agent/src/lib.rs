//! The agent of a cluster: watches workloads and pushes what changes to NATS.
//!
//! In the order of the path: [`kubernetes`] connects to a cluster, [`watch`] lists and follows a kind, [`project`] reduces
//! its objects to facts, `items` hands them to the core (`vitals-agent-core`), `engine` owns that and performs what it
//! decides, [`publish`] hands messages to NATS. Beside it: [`lease`] says who publishes, `probe` whether the API server is
//! there, [`requests`] takes hubs' repair requests, and [`drill`] what they ask beyond what is watched. [`run`] puts an agent together.

pub mod kubernetes;
pub mod watch;
pub mod project;
mod items;
pub mod engine;
pub mod publish;
pub mod lease;
mod probe;
pub mod requests;
pub mod drill;
pub mod metrics;
pub mod run;
pub mod args;

pub use vitals_agent_core::OUTBOX_BYTES_MAX;
