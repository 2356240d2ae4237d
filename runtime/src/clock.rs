//! The only place that reads a clock.
//!
//! Everything else takes `now`, so that it can be tested and replayed. Timers are not here: they are
//! `tokio::time`, which tests pause.

use jiff::Timestamp;

/// The clock of the machine, in UTC. It can step, in both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SystemClock;

impl SystemClock {
    /// The time now.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    pub fn now(self) -> Timestamp {
        Timestamp::now()
    }

    /// The time now, in milliseconds since the Unix epoch.
    pub fn unix_ms(self) -> i64 {
        self.now().as_millisecond()
    }
}
