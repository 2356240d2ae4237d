//! A simulated Kubernetes cluster in one process: an API server on plain HTTP that kubectl, client-go and kube-rs use unchanged,
//! with controllers just real enough that rollouts roll, pods crash and Jobs end.
//!
//! For the demo (`vitals up --demo`) and for tests that need what no real cluster gives: a hundred thousand pods, a clock that is
//! moved by hand, and faults by command ([`Faults`]). It knows nothing of Vitals.
//!
//! The functional core is [`world`] over [`store`]: given the same seed, times and requests, it has the same objects, byte for
//! byte. The shell is [`serve`] and [`Simulator`]. **Invariant:** only [`Clock`] and the shell know what time it is.
//!
//! Deliberately not here: authentication and authorization (a fault forbids a kind), admission, validation beyond names and
//! versions, managed fields, dry runs, `exec`, and everything that a container really does.

pub mod clock;
pub mod faults;
pub mod refusal;
pub mod resource;
pub mod simulator;
mod value;
mod selector;
mod serve;
mod patch;
mod store;
mod world;
mod controllers;
pub mod behaviour;
mod kubelet;
mod logs;

pub use clock::Clock;
pub use faults::{Fault, FaultId, Faults, Matching, Verb};
pub use refusal::Refusal;
pub use simulator::{Error, Named, Simulator};
pub use world::Options;

/// The version of Kubernetes that is simulated.
pub const VERSION: &str = "v1.36.3";
