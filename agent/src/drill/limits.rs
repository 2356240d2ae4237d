//! How much is answered: so many requests at once, and so many a second. Beyond, the answer is BUSY, at once.

use vitals_runtime::bucket::Rate;

/// Most objects and lists of events that are asked of the API server at once. An object takes up to about 20 MB while it is read.
pub(super) const ASKS_MAX: usize = 8;

/// Most logs that are read at once. Each holds a connection to the API server.
pub(super) const LOGS_MAX: usize = 32;

/// Requests of all hubs together.
pub(super) const RATE: Rate = Rate { per_second: 20.0, burst: 50.0 };
