//! Plumbing that agent and hub share: clock, tasks, logs, the small HTTP server, the connection to NATS,
//! how a YAML text falls into documents.
//!
//! Knows nothing of Kubernetes, of entities or of what is on the wire. One file per thing; none depends on
//! another but through its public face.

pub mod clock;
pub mod duration;
pub mod backoff;
pub mod bucket;
pub mod logging;
pub mod tasks;
pub mod http;
pub mod nats;
pub mod nats_server;
pub mod yaml;
