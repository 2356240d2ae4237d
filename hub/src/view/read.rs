//! How a reader reads the view: all of it at one moment, then what changed.
//!
//! A [`Selection`] is the view (or what was touched since an earlier moment) at one serial, with the count and digest
//! of that moment; a [`Cursor`] goes on from that serial. A cursor that the journal still covers gets every
//! change, in order. One that fell behind goes through the entities by their last change, and so gets the
//! latest state of each; afterwards it does not know of some entities whether it holds them, and says
//! `removed` of them rather once too often than not.

use std::collections::btree_map;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use vitals_proto::identity::EntityRef;

use super::filter::Filter;
use super::record::{Delta, Record};
use super::{Moment, State, Totals, View};

/// The view of one filter at one moment.
#[derive(Debug)]
pub(crate) struct Selection {
    /// Goes on from here.
    pub(crate) cursor: Cursor,
    /// Which moment.
    pub(crate) moment: Moment,
    /// What to send, in order of reference.
    pub(crate) records: Vec<Arc<Record>>,
    /// Of all that passes the filter, whatever is sent.
    pub(crate) totals: Totals,
}

/// Something was forgotten that may have gone after the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Forgotten;

/// Where a reader is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor {
    /// All changes up to this serial were taken.
    serial: u64,
    /// It fell behind, and goes through the entities up to this serial.
    behind_until: Option<u64>,
    /// Changes after the first and up to the second may have been left out.
    in_doubt: Option<(u64, u64)>,
}

/// What a reader got.
#[derive(Debug)]
pub(crate) enum Advance {
    /// These, and there may be more.
    Frames(Taken),
    /// All is taken, up to this moment.
    CaughtUp(Moment),
    /// It fell so far behind that what is gone is not known any more.
    Lost,
}

/// Frames, and how long the oldest change waited.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// In order.
    pub(crate) frames: Vec<Bytes>,
    /// Of the oldest change; `None` for a reader that fell behind.
    pub(crate) waited: Option<Duration>,
    /// The reader has just fallen behind, and gets the latest states.
    pub(crate) fell_behind: bool,
}

impl View {
    /// What was touched at or after `since`, and what is gone or does not pass any more; the totals are of all
    /// that passes.
    pub(crate) fn select_since(
        &self,
        filter: &Filter,
        since: &Moment,
    ) -> Result<Selection, Forgotten> {
        let state = self.read();
        if state.forgotten.at.is_some_and(|forgotten| since.as_of <= forgotten) {
            return Err(Forgotten);
        }
        Ok(state.select(filter, |record| {
            record.touched.is_touched_since(&since.position) && filter.could_pass(&record.entity)
        }))
    }

    /// All that passes now.
    pub(crate) fn select_all(&self, filter: &Filter) -> Selection {
        let wanted = |record: &Record| record.passes(filter);
        self.read().select(filter, wanted)
    }

    /// What passes after `after`, in order of reference, at most `count`.
    pub(super) fn passing_after(
        &self,
        filter: &Filter,
        after: Option<&EntityRef>,
        count: usize,
    ) -> Vec<Arc<Record>> {
        let state = self.read();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let records = state.entities.range::<EntityRef, _>((from, Bound::Unbounded));
        let passing = records.map(|(_, record)| record).filter(|record| record.passes(filter));
        passing.take(count).cloned().collect()
    }

    /// What comes next for a reader.
    pub(crate) fn advance(&self, cursor: &mut Cursor, filter: &Filter) -> Advance {
        let state = self.read();
        if cursor.serial == state.serial {
            cursor.behind_until = None;
            return Advance::CaughtUp(state.moment.clone());
        }
        let journal_begins = state.journal.front().map_or(u64::MAX, |delta| delta.record.serial);
        if cursor.behind_until.is_none() && cursor.serial + 1 >= journal_begins {
            return Advance::Frames(state.next_in_journal(cursor, filter));
        }
        if cursor.serial < state.forgotten.serial {
            return Advance::Lost;
        }
        Advance::Frames(state.next_by_last_change(cursor, filter))
    }
}

impl State {
    fn select(&self, filter: &Filter, is_wanted: impl Fn(&Record) -> bool) -> Selection {
        let mut records = Vec::new();
        let mut totals = Totals::default();
        self.each(filter, |record| {
            let digest = record.present().map_or(0, |present| present.digest);
            if record.passes(filter) {
                totals.count += 1;
                totals.digest = totals.digest.wrapping_add(digest);
            }
            if is_wanted(record) {
                records.push(Arc::clone(record));
            }
        });
        let cursor = Cursor { serial: self.serial, behind_until: None, in_doubt: None };
        Selection { cursor, moment: self.moment.clone(), records, totals }
    }

    /// Every entity that a filter could pass.
    fn each(&self, filter: &Filter, mut take: impl FnMut(&Arc<Record>)) {
        if filter.refs().is_empty() {
            self.entities.values().for_each(take);
            return;
        }
        for entity in filter.refs() {
            if let Some(record) = self.entities.get(entity) {
                take(record);
            }
        }
    }

    /// The next changes, in order, for a reader that keeps up.
    fn next_in_journal(&self, cursor: &mut Cursor, filter: &Filter) -> Taken {
        let mut taken = Taken::default();
        let begins = self.journal.front().map_or(0, |delta| delta.record.serial);
        let skip = usize::try_from(cursor.serial + 1 - begins).unwrap_or(usize::MAX);
        for delta in self.journal.iter().skip(skip) {
            if taken.frames.len() == self.bounds.frames {
                break;
            }
            cursor.serial = delta.record.serial;
            if let Some(frame) = cursor.frame(delta, filter) {
                taken.frames.push(frame);
                taken.waited.get_or_insert_with(|| delta.published_at.elapsed());
            }
        }
        taken
    }

    /// The next entities by their last change, for a reader that fell behind.
    fn next_by_last_change(&self, cursor: &mut Cursor, filter: &Filter) -> Taken {
        let fell_behind = cursor.behind_until.is_none();
        let mut taken = Taken { fell_behind, ..Taken::default() };
        let until = cursor.fall_behind(self.serial);
        let from = (Bound::Excluded(cursor.serial), Bound::Unbounded);
        let mut looked_at = 0;
        let mut records: btree_map::Range<'_, _, Arc<Record>> = self.by_serial.range(from);
        while taken.frames.len() < self.bounds.frames && looked_at < self.bounds.looked_at {
            let Some((serial, record)) = records.next() else {
                // What changed last has been forgotten since: there is nothing more to go through.
                cursor.move_to(self.serial);
                break;
            };
            looked_at += 1;
            cursor.move_to(*serial);
            taken.frames.extend(record.frame_in_doubt(filter));
            if *serial >= until {
                cursor.behind_until = None;
                return taken;
            }
        }
        taken
    }
}

impl Cursor {
    /// The frame of a change for this reader.
    fn frame(&self, delta: &Delta, filter: &Filter) -> Option<Bytes> {
        let is_in_doubt = self
            .in_doubt
            .is_some_and(|(after, until)| (after + 1..=until).contains(&delta.before.serial));
        if is_in_doubt { delta.frame_in_doubt(filter) } else { delta.frame(filter) }
    }

    /// Says up to where to go through the entities.
    fn fall_behind(&mut self, now: u64) -> u64 {
        if self.behind_until.is_none() {
            let after = self.in_doubt.map_or(self.serial, |(after, _)| after);
            self.in_doubt = Some((after, self.serial));
            self.behind_until = Some(now);
        }
        self.behind_until.unwrap_or(now)
    }

    fn move_to(&mut self, serial: u64) {
        self.serial = serial;
        if let Some((_, until)) = &mut self.in_doubt {
            *until = serial;
        }
    }
}
