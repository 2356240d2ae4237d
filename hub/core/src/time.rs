//! Time as the core knows it: the broker's, in whole milliseconds. The core reads no clock; every time is handed in.

use std::{fmt, time::Duration};

/// A time by the broker's clock. Milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(i64);

impl Time {
    /// Before all others.
    pub const MIN: Self = Self(i64::MIN);

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn from_unix_ms(unix_ms: i64) -> Self {
        Self(unix_ms)
    }

    /// Seconds since the Unix epoch.
    #[must_use]
    pub const fn from_unix_s(unix_s: i64) -> Self {
        Self(unix_s.saturating_mul(1_000))
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn unix_ms(self) -> i64 {
        self.0
    }

    /// How long `earlier` is ago; nothing where it is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or_default())
    }

    /// So much later.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// By a clock that is so far ahead. Milliseconds.
    #[must_use]
    pub const fn shifted(self, ahead_ms: i64) -> Self {
        Self(self.0.saturating_add(ahead_ms))
    }

    /// For the API.
    #[must_use]
    pub fn to_wire(self) -> prost_types::Timestamp {
        let nanos = i32::try_from(self.0.rem_euclid(1_000)).unwrap_or_default() * 1_000_000;
        prost_types::Timestamp { seconds: self.0.div_euclid(1_000), nanos }
    }

    /// From the API; parts of a millisecond are left out.
    #[must_use]
    pub fn from_wire(timestamp: &prost_types::Timestamp) -> Self {
        let ms = i64::from(timestamp.nanos) / 1_000_000;
        Self(timestamp.seconds.saturating_mul(1_000).saturating_add(ms))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}ms", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for unix_ms in [0, 1, 999, 1_000, 1_764_000_000_123, -1, -1_001] {
            let time = Time::from_unix_ms(unix_ms);
            assert_eq!(Time::from_wire(&time.to_wire()), time);
            assert!((0..1_000_000_000).contains(&time.to_wire().nanos));
        }
    }

    #[test]
    fn arithmetic_saturates() {
        let (early, late) = (Time::from_unix_ms(5), Time::from_unix_ms(12));
        assert_eq!(late.since(early), Duration::from_millis(7));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(late.since(Time::MIN).as_millis(), u128::from(i64::MAX.unsigned_abs()));
        assert_eq!(early.after(Duration::from_millis(7)), late);
        assert_eq!(early.after(Duration::MAX), Time::from_unix_ms(i64::MAX));
    }
}
