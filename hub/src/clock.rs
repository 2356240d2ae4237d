//! The broker's time, as near as a hub can know it: what the core is told by `tick`.
//!
//! Heartbeats are dated by the broker, so silence is measured by its clock; a hub whose own clock is wrong must
//! not mark anybody lost. Ours runs on the monotonic clock, so that a step of the wall clock does not show, and
//! is corrected by live messages: on receipt a message is at least as old as its way was long, so the smallest
//! difference seen lately is the offset, but for the shortest way.
//!
//! A broker whose clock steps forward is followed at once; one that steps back within two windows, in which
//! agents may be taken for lost: Unknown beats Healthy.

use std::time::Duration;

use tokio::time::Instant;
use vitals_hub_core::Time;

/// The smallest difference is taken over the current and the last window.
const WINDOW: Duration = Duration::from_secs(15);

/// Estimates the broker's time.
#[derive(Clone, Copy, Debug)]
pub struct BrokerClock {
    began: Instant,
    /// The wall clock at `began`.
    began_at: Time,
    /// Our time minus the broker's. Milliseconds.
    offset_ms: i64,
    window: Window,
    last: Option<i64>,
}

/// The smallest difference since a time. Milliseconds.
#[derive(Clone, Copy, Debug)]
struct Window {
    since: Instant,
    smallest_ms: Option<i64>,
}

impl BrokerClock {
    /// Trusts the wall clock until the first live message.
    pub fn new(now: Instant, wall: Time) -> Self {
        let window = Window { since: now, smallest_ms: None };
        Self { began: now, began_at: wall, offset_ms: 0, window, last: None }
    }

    /// The broker's time.
    pub fn now(&self, now: Instant) -> Time {
        Time::from_unix_ms(self.ours_ms(now).saturating_sub(self.offset_ms))
    }

    /// A message came that nothing was behind: it was sent as soon as it was stored.
    pub fn observe(&mut self, now: Instant, published_at: Time) {
        let difference_ms = self.ours_ms(now).saturating_sub(published_at.unix_ms());
        if now.duration_since(self.window.since) >= WINDOW {
            // A window without messages says nothing: the one before it stays.
            self.last = self.window.smallest_ms.or(self.last);
            self.window = Window { since: now, smallest_ms: None };
        }
        let smallest_ms = self.window.smallest_ms.map_or(difference_ms, |it| it.min(difference_ms));
        self.window.smallest_ms = Some(smallest_ms);
        self.offset_ms = self.last.map_or(smallest_ms, |last| last.min(smallest_ms));
    }

    /// Our time minus the broker's. Milliseconds.
    pub fn offset_ms(&self) -> i64 {
        self.offset_ms
    }

    fn ours_ms(&self, now: Instant) -> i64 {
        self.began_at.after(now.duration_since(self.began)).unix_ms()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SKEW_MS: i64 = 3_600_000;

    /// A hub whose clock is an hour ahead of a broker's that shows 0 when the test begins.
    struct Pair {
        began: Instant,
        clock: BrokerClock,
        step_ms: i64,
    }

    impl Pair {
        fn new() -> Self {
            let began = Instant::now();
            let clock = BrokerClock::new(began, Time::from_unix_ms(SKEW_MS));
            Self { began, clock, step_ms: 0 }
        }

        fn at(&self, ms: u64) -> Instant {
            self.began + Duration::from_millis(ms)
        }

        /// The broker stores a message at `ms`, which comes `way_ms` later.
        fn message(&mut self, ms: u64, way_ms: u64) {
            let stored = Time::from_unix_ms(i64::try_from(ms).unwrap() + self.step_ms);
            self.clock.observe(self.at(ms + way_ms), stored);
        }

        /// How far the estimate is from the broker's clock.
        fn error_ms(&self, ms: u64) -> i64 {
            let broker_ms = i64::try_from(ms).unwrap() + self.step_ms;
            self.clock.now(self.at(ms)).unix_ms() - broker_ms
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_wrong_clock_is_corrected_by_the_quickest_message() {
        let mut pair = Pair::new();
        assert_eq!(pair.error_ms(0), SKEW_MS);
        pair.message(1_000, 400);
        assert_eq!(pair.error_ms(2_000), -400);
        pair.message(2_000, 2);
        pair.message(3_000, 9_000);
        assert_eq!(pair.error_ms(13_000), -2, "one that came late is not believed");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_leaves_the_estimate_as_it_is() {
        let mut pair = Pair::new();
        pair.message(1_000, 1);
        assert_eq!(pair.error_ms(600_000), -1);
        pair.message(600_000, 3);
        assert_eq!(pair.error_ms(600_100), -1, "the window before the silence counts");
    }

    #[tokio::test(start_paused = true)]
    async fn steps_of_the_broker_are_followed() {
        let mut pair = Pair::new();
        for second in 0..60 {
            pair.message(second * 1_000, 1);
        }
        pair.step_ms = 60_000;
        pair.message(60_000, 1);
        assert_eq!(pair.error_ms(60_010), -1, "forward at once");
        pair.step_ms = 0;
        for second in 61..93 {
            pair.message(second * 1_000, 1);
        }
        assert_eq!(pair.error_ms(93_000), -1, "back within two windows");
    }
}
