//! What `deploy/` holds, as somebody would use it: charts and manifests on a real API server, NATS configuration on a real
//! nats-server, the binaries of the images in a folder that has nothing else.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is a failed test"
)]

mod helm;
mod charts;
mod installed;
mod rights;
mod nats;
mod image;
