//! A simulated JetStream stream: the last message of each subject, sequences, incarnations, rollback and loss.

use std::collections::BTreeMap;

use bytes::Bytes;
use vitals_proto::v1;

/// One stored message.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Sequence in the stream.
    pub sequence: u64,
    /// Subject.
    pub subject: String,
    /// Payload.
    pub payload: Bytes,
    /// When it was stored. Milliseconds of simulated time.
    pub published_at: i64,
}

/// The stream, and a copy of an earlier state that it may fall back to.
#[derive(Clone, Debug)]
pub struct Broker {
    by_sequence: BTreeMap<u64, Stored>,
    by_subject: BTreeMap<String, u64>,
    last_sequence: u64,
    /// Nanoseconds; another one for each creation.
    pub incarnation: i64,
    /// Counts rollbacks: readers must attach again.
    pub history: u64,
    /// It takes and delivers messages.
    pub up: bool,
    /// Its clock minus the true time. Milliseconds.
    pub clock_offset: i64,
    copy: Option<Box<Broker>>,
}

impl Default for Broker {
    fn default() -> Self {
        Self {
            by_sequence: BTreeMap::new(),
            by_subject: BTreeMap::new(),
            last_sequence: 0,
            incarnation: 1,
            history: 0,
            up: true,
            clock_offset: 0,
            copy: None,
        }
    }
}

impl Broker {
    /// Stores a message in place of the one before on its subject, dated by its own clock.
    pub fn publish(&mut self, subject: &str, payload: Bytes, now: i64) {
        let published_at = now + self.clock_offset;
        self.last_sequence += 1;
        let sequence = self.last_sequence;
        if let Some(before) = self.by_subject.insert(subject.to_owned(), sequence) {
            self.by_sequence.remove(&before);
        }
        let stored = Stored { sequence, subject: subject.to_owned(), payload, published_at };
        self.by_sequence.insert(sequence, stored);
    }

    /// The first message after `sequence`, and how many more come behind it.
    pub fn next_after(&self, sequence: u64) -> Option<(&Stored, u64)> {
        let mut rest = self.by_sequence.range(sequence + 1..);
        let (_, next) = rest.next()?;
        Some((next, rest.count() as u64))
    }

    /// What is stored now.
    pub fn stored(&self) -> impl Iterator<Item = &Stored> {
        self.by_sequence.values()
    }

    /// Sequence of the last message ever stored.
    pub fn last_sequence(&self) -> u64 {
        self.last_sequence
    }

    /// Keeps a copy of what is stored now.
    pub fn back_up(&mut self) {
        self.copy = None;
        self.copy = Some(Box::new(self.clone()));
    }

    /// Falls back to the copy, as after a loss of power. Without a copy nothing happens.
    pub fn roll_back(&mut self) {
        let history = self.history + 1;
        if let Some(copy) = self.copy.clone() {
            let Self { up, clock_offset, .. } = *self;
            *self = Self { history, copy: Some(copy.clone()), up, clock_offset, ..*copy };
        }
    }

    /// Deletes and creates it again, empty.
    pub fn recreate(&mut self) {
        *self = Self {
            incarnation: self.incarnation + 1,
            history: self.history + 1,
            up: self.up,
            clock_offset: self.clock_offset,
            ..Self::default()
        };
    }

    /// Removes all up to a position, where that is one of this incarnation.
    pub fn purge(&mut self, position: &v1::Position) {
        let purged = position
            .streams
            .iter()
            .filter(|stream| stream.incarnation_unix_ns == self.incarnation)
            .map(|stream| stream.sequence)
            .max();
        let Some(last) = purged else { return };
        self.by_sequence.retain(|sequence, _| *sequence > last);
        self.by_subject.retain(|_, sequence| *sequence > last);
    }

    /// Loses what is stored on the subjects that `choose` picks, silently.
    pub fn lose(&mut self, mut choose: impl FnMut(&str) -> bool) {
        let lost: Vec<String> =
            self.by_subject.keys().filter(|subject| choose(subject)).cloned().collect();
        for subject in lost {
            if let Some(sequence) = self.by_subject.remove(&subject) {
                self.by_sequence.remove(&sequence);
            }
        }
    }
}
