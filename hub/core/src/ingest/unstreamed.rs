//! What the stream lacks of what is held: a hub that held it already sees it, a hub that starts would not.
//!
//! Beside the comparison. A stream that was put back to an older copy, or made anew, is read as a snapshot that merges: what it
//! does not name stays held, the sums are equal, and there is nothing to repair in the hub. There is in the stream; and so
//! there is where a message that is refused (a late duplicate, an agent that was frozen) took the place of what is held. So
//! each bucket is noted in which the stream has something else than the hub, and repair is asked for as if the hub held what
//! the stream does.
//!
//! Bounded: buckets are 256, and what is buried but in the stream again is noted so many times at most.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use vitals_proto::{
    digest::{Digest, Place},
    identity::ObjectKey,
    subject::Published,
};

use crate::time::Time;

/// Most objects of a scope that are noted as in the stream again. What is beyond is found by a hub that starts.
const GHOSTS_MAX: usize = 16_384;

/// A bucket that was asked for is not asked for again so soon.
const WAIT: Duration = Duration::from_secs(8);

/// Of one scope.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unstreamed {
    /// When each bucket may be asked for.
    buckets: BTreeMap<u8, Time>,
    /// Buried, and in the stream again: its message there, by subject.
    ghosts: BTreeMap<String, Digest>,
}

impl Unstreamed {
    /// Nothing is lacking.
    pub(crate) fn is_empty(&self) -> bool {
        self.buckets.is_empty() && self.ghosts.is_empty()
    }

    /// In this bucket something is held that the stream does not have.
    pub(crate) fn lack(&mut self, bucket: u8) {
        self.buckets.entry(bucket).or_insert(Time::MIN);
    }

    /// In these buckets, and in no others.
    pub(crate) fn set_buckets(&mut self, lacking: &BTreeSet<u8>) {
        self.buckets.retain(|bucket, _| lacking.contains(bucket));
        lacking.iter().for_each(|bucket| self.lack(*bucket));
    }

    /// A message was read of something that is buried.
    pub(crate) fn haunt(&mut self, subject: &str, digest: Digest) {
        if self.ghosts.len() < GHOSTS_MAX {
            self.ghosts.insert(subject.to_owned(), digest);
        }
    }

    /// The stream has another message of it now.
    pub(crate) fn lay(&mut self, subject: &str) {
        self.ghosts.remove(subject);
    }

    /// The same for all objects that are held.
    pub(crate) fn lay_all(&mut self, is_held: impl Fn(&ObjectKey) -> bool) {
        self.ghosts.retain(|subject, _| match Published::parse(subject) {
            Ok(Published::Object(key)) => !is_held(&key),
            Ok(Published::Heartbeat(..)) | Err(_) => false,
        });
    }

    /// The buckets to be asked for.
    pub(crate) fn due(&self, at: Time) -> BTreeSet<u8> {
        let haunted = self.ghosts.keys().map(|subject| Place::of(subject).bucket());
        let is_due = |bucket: &u8| self.buckets.get(bucket).is_none_or(|after| *after <= at);
        self.buckets.keys().copied().chain(haunted).filter(is_due).collect()
    }

    /// What the stream has in a bucket of what is buried.
    pub(crate) fn ghosts(&self, bucket: u8) -> impl Iterator<Item = (&str, Digest)> {
        let ghosts = self.ghosts.iter().map(|(subject, digest)| (subject.as_str(), *digest));
        ghosts.filter(move |(subject, _)| Place::of(subject).bucket() == bucket)
    }

    /// The agent was asked for a bucket.
    pub(crate) fn asked(&mut self, bucket: u8, at: Time) {
        self.buckets.insert(bucket, at.after(WAIT));
    }

    /// Another agent speaks for the scope.
    pub(crate) fn begin_epoch(&mut self) {
        self.buckets.values_mut().for_each(|after| *after = Time::MIN);
    }

    /// The broker's clock was set back.
    pub(crate) fn not_after(&mut self, now: Time) {
        self.buckets.values_mut().for_each(|after| *after = (*after).min(now));
    }
}
