//! Digests: how a hub proves that it holds what a cluster has.
//!
//! Each message has a [`Digest`] over its subject and payload as sent. Each subject falls into one of 256 buckets; the sum of
//! the digests in a bucket does not depend on their order, and is kept up to date by adding and taking away. Equal sums of an
//! agent and a hub mean that both hold the same messages; a bucket that differs is repaired.

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// Number of buckets of a scope.
pub const BUCKETS: usize = 256;

/// xxh3-128 of subject and payload as sent, with a NUL between them (no subject holds one).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Digest(u128);

impl Digest {
    /// Of one message.
    #[must_use]
    pub fn of(subject: &str, payload: &[u8]) -> Self {
        let mut hasher = Xxh3::new();
        hasher.update(subject.as_bytes());
        hasher.update(&[0]);
        hasher.update(payload);
        Self(hasher.digest128())
    }

    /// 16 bytes, little endian.
    #[must_use]
    pub fn to_wire(self) -> [u8; 16] {
        self.0.to_le_bytes()
    }

    /// From 16 bytes, little endian; `None` for any other number.
    #[must_use]
    pub fn from_wire(bytes: &[u8]) -> Option<Self> {
        <[u8; 16]>::try_from(bytes).ok().map(|bytes| Self(u128::from_le_bytes(bytes)))
    }
}

/// Where a subject falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(u64);

impl Place {
    /// Of a subject.
    #[must_use]
    pub fn of(subject: &str) -> Self {
        Self(xxh3_64(subject.as_bytes()))
    }

    /// Its bucket: the first eight bits.
    #[must_use]
    pub fn bucket(self) -> u8 {
        let [first, ..] = self.0.to_be_bytes();
        first
    }

    /// Its part of the bucket when that is split into 2^`bits` parts (at most 24 bits): the bits that follow.
    #[must_use]
    pub fn part(self, bits: u32) -> u32 {
        let following = self.0 << 8;
        let part = following.checked_shr(64 - bits.min(24)).unwrap_or_default();
        u32::try_from(part).unwrap_or_default()
    }
}

/// The sums of the 256 buckets of one kind or scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sums(Box<[u128; BUCKETS]>);

impl Default for Sums {
    fn default() -> Self {
        Self(Box::new([0; BUCKETS]))
    }
}

impl Sums {
    /// Counts a message that is held now.
    pub fn add(&mut self, bucket: u8, digest: Digest) {
        if let Some(sum) = self.0.get_mut(usize::from(bucket)) {
            *sum = sum.wrapping_add(digest.0);
        }
    }

    /// Counts a message no more.
    pub fn remove(&mut self, bucket: u8, digest: Digest) {
        if let Some(sum) = self.0.get_mut(usize::from(bucket)) {
            *sum = sum.wrapping_sub(digest.0);
        }
    }

    /// Adds all sums of another kind.
    pub fn merge(&mut self, other: &Self) {
        for (sum, other) in self.0.iter_mut().zip(other.0.iter()) {
            *sum = sum.wrapping_add(*other);
        }
    }

    /// The buckets in which the two differ, in order.
    pub fn differing<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = u8> + 'a {
        (0..=u8::MAX)
            .zip(self.0.iter().zip(other.0.iter()))
            .filter(|(_, (ours, theirs))| ours != theirs)
            .map(|(bucket, _)| bucket)
    }

    /// `Heartbeat.bucket_sums`: 16 bytes each, little endian.
    #[must_use]
    pub fn to_wire(&self) -> Vec<u8> {
        self.0.iter().flat_map(|sum| sum.to_le_bytes()).collect()
    }

    /// From `Heartbeat.bucket_sums`; `None` unless it is 256 sums.
    #[must_use]
    pub fn from_wire(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != BUCKETS * 16 {
            return None;
        }
        let mut sums = Self::default();
        for (sum, bytes) in sums.0.iter_mut().zip(bytes.chunks_exact(16)) {
            *sum = u128::from_le_bytes(bytes.try_into().ok()?);
        }
        Some(sums)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_digest_covers_subject_and_payload_and_their_border() {
        let digest = Digest::of("a.b", b"c");
        assert_ne!(digest, Digest::of("a.bc", b""));
        assert_ne!(digest, Digest::of("a.b", b"d"));
        assert_eq!(Digest::from_wire(&digest.to_wire()), Some(digest));
        assert_eq!(Digest::from_wire(b"short"), None);
    }

    #[test]
    fn parts_follow_the_bucket() {
        let place = Place(0xAB_C0_00_00_00_00_00_01);
        assert_eq!((place.bucket(), place.part(0), place.part(4)), (0xAB, 0, 0xC));
    }

    proptest! {
        #[test]
        fn sums_do_not_depend_on_order(messages in proptest::collection::vec((any::<String>(), any::<Vec<u8>>()), 0..20)) {
            let sum = |messages: &mut dyn Iterator<Item = &(String, Vec<u8>)>| {
                let mut sums = Sums::default();
                for (subject, payload) in messages {
                    sums.add(Place::of(subject).bucket(), Digest::of(subject, payload));
                }
                sums
            };
            let mut forward = sum(&mut messages.iter());
            let backward = sum(&mut messages.iter().rev());
            prop_assert_eq!(&forward, &backward);
            prop_assert_eq!(Sums::from_wire(&forward.to_wire()), Some(backward));
            for (subject, payload) in &messages {
                forward.remove(Place::of(subject).bucket(), Digest::of(subject, payload));
            }
            prop_assert_eq!(forward, Sums::default());
        }
    }
}
