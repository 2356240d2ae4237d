//! The laws of the protocol (docs/protocol.md), as properties of the real cores of agents and hubs in a simulated world.
//!
//! [`api`] is the cluster, [`process`] an agent, [`broker`] the stream, [`replica`] a hub that checks the laws after each of
//! its steps, and [`world`] all that can happen to them. Law 6 is checked beside the code (`hub/core/src/telling_tests.rs`).

pub mod chance;
pub mod api;
pub mod broker;
pub mod process;
pub mod replica;
pub mod world;
