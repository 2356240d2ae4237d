//! How much of a log may be sent, as its reader lets it: pure, told what happened and when.
//!
//! What was sent and never came (a connection that broke, a permission that ran out) must not close the window for good: when
//! credits come and do not name it for [`LOST_AFTER`], it counts as lost. The reader sees the gap by the offsets.

use std::time::Duration;

use tokio::time::Instant;
use vitals_proto::limits::{LOG_CREDIT_TIMEOUT, LOG_WINDOW};

/// What credits do not name for so long after it was sent is lost.
const LOST_AFTER: Duration = Duration::from_secs(3);

/// How long the server's word that nobody listens is doubted: who reads may have lost its connection for a moment.
const NOBODY_AFTER: Duration = Duration::from_secs(2);

/// The window of one log.
#[derive(Debug)]
pub(super) struct Window {
    /// Chunks with data that were sent.
    sent: u64,
    sent_at: Instant,
    /// Those of them that came, or are lost.
    settled: u64,
    /// So many may be sent beyond.
    room: u64,
    /// Until when somebody reads, as far as is known.
    read_until: Instant,
}

impl Window {
    pub(super) fn open(now: Instant) -> Self {
        let read_until = now + LOG_CREDIT_TIMEOUT;
        Self { sent: 0, sent_at: now, settled: 0, room: u64::from(LOG_WINDOW), read_until }
    }

    /// Whether another chunk may be sent.
    pub(super) fn has_room(&self) -> bool {
        self.sent < self.settled.saturating_add(self.room)
    }

    /// Of the last chunk that was sent.
    pub(super) fn sequence(&self) -> u64 {
        self.sent
    }

    /// The sequence of a chunk that is sent now.
    pub(super) fn send(&mut self, now: Instant) -> u64 {
        self.sent += 1;
        self.sent_at = now;
        self.sent
    }

    /// A credit came.
    pub(super) fn credit(&mut self, received: u64, room: u32, now: Instant) {
        self.read_until = now + LOG_CREDIT_TIMEOUT;
        self.settled = self.settled.max(received.min(self.sent));
        if now.saturating_duration_since(self.sent_at) > LOST_AFTER {
            self.settled = self.sent;
        }
        self.room = u64::from(room.min(LOG_WINDOW));
    }

    /// The server says that nobody listens.
    pub(super) fn nobody(&mut self, now: Instant) {
        self.read_until = self.read_until.min(now + NOBODY_AFTER);
    }

    /// From when on nobody reads any more, unless a credit comes.
    pub(super) fn read_until(&self) -> Instant {
        self.read_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(window: &mut Window, now: Instant) -> u64 {
        let mut count = 0;
        while window.has_room() {
            window.send(now);
            count += 1;
        }
        count
    }

    #[test]
    fn so_much_is_sent_as_there_is_room() {
        let start = Instant::now();
        let mut window = Window::open(start);
        assert_eq!(fill(&mut window, start), 32);
        window.credit(10, 32, start);
        assert_eq!(fill(&mut window, start), 10);
        window.credit(42, 0, start);
        assert_eq!(fill(&mut window, start), 0, "the reader has no room");
        window.credit(42, 1_000, start);
        assert_eq!(fill(&mut window, start), 32, "never more than the window");
        window.credit(7, 32, start);
        assert_eq!(fill(&mut window, start), 0, "a credit that comes late takes nothing back");
        window.credit(1_000, 32, start);
        assert_eq!(fill(&mut window, start), 32, "nor gives what was never sent");
    }

    #[test]
    fn what_is_lost_does_not_close_the_window_for_good() {
        let start = Instant::now();
        let mut window = Window::open(start);
        fill(&mut window, start);
        window.credit(0, 32, start + LOST_AFTER);
        assert!(!window.has_room(), "it may still come");
        let later = start + LOST_AFTER + Duration::from_millis(1);
        window.credit(0, 32, later);
        assert_eq!(fill(&mut window, later), 32);
    }

    #[test]
    fn somebody_reads_until_credits_stay_away() {
        let start = Instant::now();
        let mut window = Window::open(start);
        assert_eq!(window.read_until(), start + LOG_CREDIT_TIMEOUT);
        let later = start + Duration::from_secs(5);
        window.credit(0, 32, later);
        assert_eq!(window.read_until(), later + LOG_CREDIT_TIMEOUT);
        window.nobody(later);
        assert_eq!(window.read_until(), later + NOBODY_AFTER);
        window.credit(0, 32, later);
        assert_eq!(window.read_until(), later + LOG_CREDIT_TIMEOUT, "it was there after all");
    }
}
