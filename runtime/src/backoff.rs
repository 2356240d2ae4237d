//! Delays between attempts: they double, and they are spread, so that many that lost the same server do not
//! come back in one instant. (OpenObserve #13594: reconnects in step left 587 consumers behind.)

use std::time::Duration;

/// Delays from a least one to a greatest one.
#[derive(Clone, Debug)]
pub struct Backoff {
    least: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    /// Begins at `least`, doubles up to `most`.
    pub fn new(least: Duration, most: Duration) -> Self {
        Self { least, most, next: least }
    }

    /// How long to wait before the next attempt: half of the step at least, the whole step at most.
    pub fn next_delay(&mut self) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(self.most);
        step.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// An attempt succeeded: begins at the least delay again.
    pub fn reset(&mut self) {
        self.next = self.least;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_most_and_begins_again() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(100), ms(350));
        for step in [100, 200, 350, 350] {
            let delay = backoff.next_delay();
            assert!((ms(step) / 2..=ms(step)).contains(&delay), "{step} {delay:?}");
        }
        backoff.reset();
        assert!(backoff.next_delay() <= ms(100));
    }
}
