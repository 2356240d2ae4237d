//! Numbers that spread retries, from a seed: the core stays a function of its inputs.

/// splitmix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators").
#[derive(Clone, Debug)]
pub(crate) struct Jitter(u64);

impl Jitter {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Between half of `delay_ms` and one and a half.
    pub(crate) fn around(&mut self, delay_ms: u64) -> u64 {
        let spread = self.next().checked_rem(delay_ms.saturating_add(1)).unwrap_or_default();
        (delay_ms / 2).saturating_add(spread)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_around_the_delay_and_varies() {
        let mut jitter = Jitter::new(1);
        let drawn: Vec<u64> = (0..100).map(|_| jitter.around(100)).collect();
        assert!(drawn.iter().all(|delay| (50..=150).contains(delay)), "{drawn:?}");
        assert!(drawn.iter().any(|delay| *delay != drawn[0]));
    }
}
