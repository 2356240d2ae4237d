//! The programs of `docs/clients.md`, in Go, Python and TypeScript: built from nothing but what `deploy/examples/clients` holds
//! and the .proto files, each run against a hub that plays tricks, and against a real one that is cut off and restarted while a
//! cluster changes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is a failed test"
)]

mod program;
mod scripted;
mod tricks;
mod real;
