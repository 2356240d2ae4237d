//! A bucket of tokens: how often something may be done, in the long run and in one instant. Told the time, it reads no clock.

use std::time::Duration;

use tokio::time::Instant;

/// How often.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// In the long run.
    pub per_second: f64,
    /// In one instant, after a long pause.
    pub burst: f64,
}

/// A bucket: each thing that is done takes a token, and they come back with time.
#[derive(Clone, Debug)]
pub struct Bucket {
    rate: Rate,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    /// With all its tokens.
    pub fn full(rate: Rate, now: Instant) -> Self {
        Self { rate, tokens: rate.burst, at: now }
    }

    /// Takes one. Whether there was one.
    pub fn take(&mut self, now: Instant) -> bool {
        self.fill(now);
        let is_there = self.tokens >= 1.0;
        if is_there {
            self.tokens -= 1.0;
        }
        is_there
    }

    /// Whether it has all its tokens, so that a new one would be the same.
    pub fn is_full(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.tokens >= self.rate.burst
    }

    fn fill(&mut self, now: Instant) {
        let passed: Duration = now.saturating_duration_since(self.at);
        self.at = self.at.max(now);
        let Rate { per_second, burst } = self.rate;
        self.tokens = (self.tokens + passed.as_secs_f64() * per_second).min(burst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_with_time_and_never_more_than_fit() {
        let start = Instant::now();
        let mut bucket = Bucket::full(Rate { per_second: 20.0, burst: 50.0 }, start);
        let taken = |bucket: &mut Bucket, now| (0..1_000).filter(|_| bucket.take(now)).count();
        assert!(bucket.is_full(start));
        assert_eq!(taken(&mut bucket, start), 50);
        assert!(!bucket.is_full(start));
        assert_eq!(taken(&mut bucket, start + Duration::from_millis(500)), 10);
        assert_eq!(taken(&mut bucket, start + Duration::from_secs(3_600)), 50);
        assert!(bucket.is_full(start + Duration::from_secs(7_200)));
    }
}
