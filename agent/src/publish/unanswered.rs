//! The messages that were handed over and not answered yet, and until when each may be.

use std::collections::VecDeque;

use hashbrown::HashMap;
use tokio::time::Instant;
use vitals_proto::digest::Place;

/// By the number of their tickets.
#[derive(Debug, Default)]
pub(super) struct Unanswered {
    /// Where the subject of each falls, which names it: two of 64 bits are never the same. Order is never asked for.
    subjects: HashMap<u64, Place>,
    /// In order. May hold some that are answered, but never begins with one.
    deadlines: VecDeque<(Instant, u64)>,
}

impl Unanswered {
    pub(super) fn add(&mut self, number: u64, subject: &str, deadline: Instant) {
        self.subjects.insert(number, Place::of(subject));
        self.deadlines.push_back((deadline, number));
    }

    /// It is settled. Gives whether it was there.
    pub(super) fn remove(&mut self, number: u64) -> bool {
        let was_there = self.subjects.remove(&number).is_some();
        while let Some((_, number)) = self.deadlines.front()
            && !self.subjects.contains_key(number)
        {
            self.deadlines.pop_front();
        }
        was_there
    }

    pub(super) fn is_empty(&self) -> bool {
        self.subjects.is_empty()
    }

    /// The one on this subject.
    pub(super) fn on(&self, subject: &str) -> Option<u64> {
        let place = Place::of(subject);
        let found = self.subjects.iter().find(|(_, on)| **on == place);
        found.map(|(number, _)| *number)
    }

    /// None may wait longer than until then.
    pub(super) fn hasten(&mut self, by: Instant) {
        for (deadline, _) in &mut self.deadlines {
            *deadline = by.min(*deadline);
        }
    }

    /// When the first is overdue.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadlines.front().map(|(deadline, _)| *deadline)
    }

    /// The first, if it is overdue.
    pub(super) fn overdue(&self, now: Instant) -> Option<u64> {
        let (deadline, number) = self.deadlines.front()?;
        (*deadline <= now).then_some(*number)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_answered_is_forgotten_at_once() {
        let (mut unanswered, start) = (Unanswered::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        for number in 1..=3 {
            unanswered.add(number, &format!("s{number}"), at(number));
        }
        assert!(unanswered.remove(2) && !unanswered.remove(2));
        assert_eq!(unanswered.deadline(), Some(at(1)));
        assert!(unanswered.remove(1));
        assert_eq!(unanswered.deadline(), Some(at(3)), "not that of an answered one");
        assert_eq!(unanswered.deadlines.len(), 1);
        assert_eq!((unanswered.on("s3"), unanswered.on("s1")), (Some(3), None));
        assert!(unanswered.remove(3) && unanswered.is_empty());
        assert_eq!(unanswered.deadline(), None, "a stop has nothing to wait for");
    }

    #[test]
    fn what_is_overdue_comes_in_order_and_sooner_after_a_new_connection() {
        let (mut unanswered, start) = (Unanswered::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        unanswered.add(1, "a", at(5));
        unanswered.add(2, "b", at(6));
        assert_eq!(unanswered.overdue(at(4)), None);
        assert_eq!(unanswered.overdue(at(5)), Some(1));
        unanswered.remove(1);
        assert_eq!(unanswered.overdue(at(5)), None);
        unanswered.hasten(at(1));
        assert_eq!((unanswered.deadline(), unanswered.overdue(at(1))), (Some(at(1)), Some(2)));
    }
}
