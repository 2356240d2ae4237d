//! The oracle.

/// Why the comparison could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {}
