//! Compares what the hub holds of a scope with what its agent says exists, bucket by bucket, at each heartbeat.
//!
//! Behind the epochs: only heartbeats of the current epoch come here. A bucket whose sums are equal holds what the cluster has
//! as of that heartbeat. From that follows up to when each *kind* is verified: the oldest of its 256 buckets, where only
//! equalities count that the kind took part in, so those since it has been complete. Before and after is the order of the
//! heartbeats themselves: two of them may have been stored at one time, and the broker's clock may be set back.
//!
//! A bucket that differs is repaired only when the difference is no artefact of reading: a hub a few milliseconds behind sees a
//! heartbeat that counts a value which its successor has already replaced in the stream. Either nothing was skipped, or the
//! bucket has differed at two successive heartbeats.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use vitals_proto::{
    digest::{BUCKETS, Sums},
    kind::Kind,
    v1::{self, KindState},
};

use super::sums::HeldSums;
use crate::time::Time;

/// A bucket that was asked for is not asked for again so soon: the repair comes in-band, before the next heartbeats.
pub(crate) const REPAIR_WAIT_MIN: Duration = Duration::from_secs(8);

/// Nor later than that, however often it was asked for: what ends a fault must not wait long for its repair.
pub(crate) const REPAIR_WAIT_MAX: Duration = Duration::from_secs(16);

/// When nobody answered, or whoever did would not: at the next heartbeat.
pub(crate) const REPAIR_WAIT_UNANSWERED: Duration = Duration::from_secs(3);

/// Most kinds of a scope that can be verified, as many as are held of a cluster. Their names come from whoever may publish; more
/// are compared, and count as never verified.
const KINDS_MAX: usize = 1_024;

/// What is known of one scope's buckets and kinds.
#[derive(Clone, Debug)]
pub(crate) struct Comparison {
    buckets: Vec<Bucket>,
    kinds: BTreeMap<Kind, KindCover>,
    differing: u32,
    /// Heartbeats that were judged.
    judged: u64,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// The last heartbeat at which the sums were equal: the how manieth it was, from 1; 0 for never.
    matched: u64,
    /// When that was.
    matched_at: Time,
    differed: bool,
    ask_after: Time,
    asks: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct KindCover {
    /// The how manieth heartbeat it was from which on its objects count in every comparison.
    covered_since: Option<u64>,
    verified_at: Option<Time>,
}

/// How certain a difference is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// All that was said before the heartbeat has been read.
    Whole,
    /// Something was skipped: it has been replaced in the stream, and its successor is not read yet.
    Holed,
    /// A snapshot is being read: a difference says nothing yet.
    Snapshot,
}

impl Default for Comparison {
    fn default() -> Self {
        let never = Bucket {
            matched: 0,
            matched_at: Time::MIN,
            differed: false,
            ask_after: Time::MIN,
            asks: 0,
        };
        Self { buckets: vec![never; BUCKETS], kinds: BTreeMap::new(), differing: 0, judged: 0 }
    }
}

impl Comparison {
    /// Compares at a heartbeat. Gives the buckets to be repaired; the caller says for which it did ask ([`Self::asked`]).
    pub(crate) fn judge(
        &mut self,
        heartbeat: &v1::Heartbeat,
        held: &HeldSums,
        at: Time,
        reading: Reading,
    ) -> Vec<u8> {
        let covered = covered_kinds(heartbeat);
        self.judged += 1;
        self.cover(&covered);
        let Some(theirs) = Sums::from_wire(&heartbeat.bucket_sums) else { return Vec::new() };
        if covered.is_empty() {
            return Vec::new();
        }
        let ours = held.over(&covered);
        let mut differing = ours.differing(&theirs).peekable();
        let mut repair = Vec::new();
        self.differing = 0;
        for (index, bucket) in (0..=u8::MAX).zip(&mut self.buckets) {
            if differing.next_if_eq(&index).is_none() {
                *bucket = Bucket {
                    matched: self.judged,
                    matched_at: bucket.matched_at.max(at),
                    differed: false,
                    ask_after: Time::MIN,
                    asks: 0,
                };
                continue;
            }
            self.differing += 1;
            let certain = match reading {
                Reading::Whole => true,
                Reading::Holed => bucket.differed,
                Reading::Snapshot => false,
            };
            bucket.differed |= reading != Reading::Snapshot;
            if certain && at >= bucket.ask_after {
                repair.push(index);
            }
        }
        self.verify(&covered);
        repair
    }

    /// A bucket was equal at the last heartbeat.
    pub(crate) fn is_equal(&self, bucket: u8) -> bool {
        let bucket = self.buckets.get(usize::from(bucket));
        bucket.is_some_and(|bucket| !bucket.differed && bucket.matched != 0)
    }

    /// The agent was asked to repair a bucket.
    pub(crate) fn asked(&mut self, bucket: u8, at: Time) {
        if let Some(bucket) = self.buckets.get_mut(usize::from(bucket)) {
            let wait = REPAIR_WAIT_MIN.saturating_mul(1 << bucket.asks.min(8));
            bucket.ask_after = at.after(wait.min(REPAIR_WAIT_MAX));
            bucket.asks += 1;
        }
    }

    /// Nobody answered, or whoever did would not repair it.
    pub(crate) fn not_answered(&mut self, bucket: u8, at: Time) {
        if let Some(bucket) = self.buckets.get_mut(usize::from(bucket)) {
            bucket.ask_after = bucket.ask_after.min(at.after(REPAIR_WAIT_UNANSWERED));
        }
    }

    /// Another agent speaks for the scope: what the one before did not answer is no reason to wait.
    pub(crate) fn begin_epoch(&mut self) {
        for bucket in &mut self.buckets {
            *bucket = Bucket { differed: false, ask_after: Time::MIN, asks: 0, ..*bucket };
        }
    }

    /// Up to when a kind was proven equal.
    pub(crate) fn verified_at(&self, kind: &Kind) -> Option<Time> {
        self.kinds.get(kind)?.verified_at
    }

    /// Buckets that differed at the last heartbeat.
    pub(crate) fn differing(&self) -> u32 {
        self.differing
    }

    /// The broker's clock was set back: nothing was verified later than now.
    pub(crate) fn not_after(&mut self, now: Time) {
        for bucket in &mut self.buckets {
            bucket.matched_at = bucket.matched_at.min(now);
            bucket.ask_after = bucket.ask_after.min(now);
        }
        for kind in self.kinds.values_mut() {
            kind.verified_at = kind.verified_at.map(|at| at.min(now));
        }
    }

    fn cover(&mut self, covered: &BTreeSet<Kind>) {
        for (kind, cover) in &mut self.kinds {
            if !covered.contains(kind) {
                cover.covered_since = None;
            }
        }
        // What is neither said nor was ever verified needs no memory; nor, where it is short, what is not said.
        self.kinds.retain(|_, cover| cover.covered_since.is_some() || cover.verified_at.is_some());
        if self.kinds.len() + covered.len() > KINDS_MAX {
            self.kinds.retain(|_, cover| cover.covered_since.is_some());
        }
        for kind in covered {
            let is_full = self.kinds.len() >= KINDS_MAX;
            let cover = match self.kinds.get_mut(kind) {
                Some(cover) => cover,
                None if is_full => continue,
                None => self.kinds.entry(kind.clone()).or_default(),
            };
            cover.covered_since.get_or_insert(self.judged);
        }
    }

    fn verify(&mut self, covered: &BTreeSet<Kind>) {
        let Some(oldest) = self.buckets.iter().min_by_key(|bucket| bucket.matched) else { return };
        for (kind, cover) in &mut self.kinds {
            if covered.contains(kind)
                && let Some(since) = cover.covered_since
                && oldest.matched >= since
            {
                cover.verified_at = cover.verified_at.max(Some(oldest.matched_at));
            }
        }
    }
}

/// The kinds whose objects count in the sums of a heartbeat: the complete ones; and the absent ones, of which nothing exists,
/// so that whatever is held of them is found and buried.
fn covered_kinds(heartbeat: &v1::Heartbeat) -> BTreeSet<Kind> {
    let covered = heartbeat.kinds.iter().filter(|kind| match kind.state() {
        KindState::Complete | KindState::Absent => true,
        KindState::Unspecified | KindState::Listing | KindState::Forbidden | KindState::Stalled => {
            false
        }
    });
    covered.map(|report| Kind::from_resource(&report.kind)).collect()
}

#[cfg(test)]
#[path = "comparison_tests.rs"]
mod tests;
