//! One log, shared by all who read it: what came is held in a ring, and each reader has a place in it.
//!
//! The fastest reader sets the pace: the agent is given room as he takes, so one alone misses nothing, however slow he is; of
//! several, one who falls behind by more than the ring misses something and is told how much.
//! Who comes later to a log that is followed gets the last lines that are held, and follows; who comes later to one that is not
//! gets all of it, or opens it anew.
//!
//! **Invariant:** a log without readers ends, and nobody joins it then. Lock order: the map of logs, then one log.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, watch};
use vitals_proto::identity::ObjectKey;
use vitals_proto::limits::{LOG_CHUNK_BYTES_MAX, LOG_WINDOW};
use vitals_proto::v1;

use super::ring::{RING_BYTES_MAX, Read, Ring};
use super::{Error, Metrics};

/// Who asks for the same reads the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LogKey {
    pub(super) pod: ObjectKey,
    pub(super) container: String,
    pub(super) follow: bool,
    pub(super) previous: bool,
    pub(super) tail_lines: u32,
    pub(super) since_seconds: u32,
    pub(super) timestamps: bool,
}

/// All logs that are read.
#[derive(Debug)]
pub(super) struct Logs {
    open: Mutex<BTreeMap<LogKey, Arc<Log>>>,
    metrics: Metrics,
}

/// One log.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) key: LogKey,
    state: Mutex<State>,
    /// Told whenever more came, or it ended.
    changed: watch::Sender<()>,
    /// Told whenever a reader took something, or went.
    pub(super) taken: Notify,
}

#[derive(Debug)]
struct State {
    ring: Ring,
    phase: Phase,
    readers: usize,
    /// How far the fastest reader is.
    taken: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    Opening,
    Open,
    Ended(Result<(), Error>),
}

/// Somebody who reads a log. Dropped, he reads no more.
#[derive(Debug)]
pub struct LogReader {
    log: Arc<Log>,
    changes: watch::Receiver<()>,
    place: u64,
    metrics: Metrics,
}

impl Logs {
    pub(super) fn new(metrics: Metrics) -> Arc<Self> {
        Arc::new(Self { open: Mutex::default(), metrics })
    }

    /// Reads a log that is read already, or else opens it, if `begin` lets it: then somebody has to fill it, with what `begin` gave.
    pub(super) fn join_or_open<T>(
        &self,
        key: &LogKey,
        begin: impl FnOnce() -> Result<T, Error>,
    ) -> Result<(LogReader, Option<T>), Error> {
        let mut open = self.lock();
        if let Some(reader) = open.get(key).and_then(|log| self.read(log)) {
            return Ok((reader, None));
        }
        let begun = begin()?;
        let log = Arc::new(Log::new(key.clone()));
        // One that nobody can join any more goes: it is forgotten by whoever fills it, by identity.
        open.insert(key.clone(), Arc::clone(&log));
        Ok((self.reader(log, 0), Some(begun)))
    }

    /// Takes part in the log, if that can still be done.
    fn read(&self, log: &Arc<Log>) -> Option<LogReader> {
        let mut state = log.lock();
        let place = match state.phase {
            Phase::Ended(Err(_)) => None,
            // What is followed and has ended is asked for anew: there may be more by now.
            Phase::Ended(Ok(())) if log.key.follow => None,
            Phase::Opening | Phase::Open | Phase::Ended(Ok(())) if !log.key.follow => {
                state.ring.is_whole().then_some(0)
            }
            Phase::Opening | Phase::Open | Phase::Ended(Ok(())) => {
                Some(state.ring.tail(log.key.tail_lines))
            }
        }?;
        state.readers += 1;
        drop(state);
        Some(self.reader_of_counted(Arc::clone(log), place))
    }

    fn reader(&self, log: Arc<Log>, place: u64) -> LogReader {
        log.lock().readers += 1;
        self.reader_of_counted(log, place)
    }

    fn reader_of_counted(&self, log: Arc<Log>, place: u64) -> LogReader {
        self.metrics.log_readers.inc();
        let changes = log.changed.subscribe();
        LogReader { log, changes, place, metrics: self.metrics.clone() }
    }

    /// Lets nobody join it any more, if nobody reads it. Whether that is so.
    pub(super) fn close_unread(&self, log: &Arc<Log>) -> bool {
        let mut open = self.lock();
        let is_unread = log.lock().readers == 0;
        if is_unread {
            Self::remove(&mut open, log);
        }
        is_unread
    }

    /// Lets nobody join it any more.
    pub(super) fn close(&self, log: &Arc<Log>) {
        Self::remove(&mut self.lock(), log);
    }

    fn remove(open: &mut BTreeMap<LogKey, Arc<Log>>, log: &Arc<Log>) {
        if open.get(&log.key).is_some_and(|it| Arc::ptr_eq(it, log)) {
            open.remove(&log.key);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<LogKey, Arc<Log>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    fn new(key: LogKey) -> Self {
        let state = State { ring: Ring::default(), phase: Phase::Opening, readers: 0, taken: 0 };
        let (changed, _) = watch::channel(());
        Self { key, state: Mutex::new(state), changed, taken: Notify::new() }
    }

    /// It is there, though nothing may have been written to it yet.
    pub(super) fn open(&self) {
        let mut state = self.lock();
        if state.phase == Phase::Opening {
            state.phase = Phase::Open;
            drop(state);
            self.changed.send_replace(());
        }
    }

    /// More of it came; or none, and all that is before `at` was sent.
    pub(super) fn push(&self, at: u64, data: Bytes) {
        if self.lock().ring.push(at, data) {
            self.changed.send_replace(());
        }
    }

    /// There is no more.
    pub(super) fn end(&self, how: Result<(), Error>) {
        self.lock().phase = Phase::Ended(how);
        self.changed.send_replace(());
    }

    /// How many chunks more there is room for, so that the fastest reader misses nothing.
    pub(super) fn room(&self) -> u32 {
        let state = self.lock();
        let ahead = state.ring.head().saturating_sub(state.taken);
        let ahead = usize::try_from(ahead).unwrap_or(usize::MAX);
        let room = RING_BYTES_MAX.saturating_sub(ahead) / LOG_CHUNK_BYTES_MAX;
        u32::try_from(room).unwrap_or(u32::MAX).min(LOG_WINDOW)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogReader {
    pub(super) fn log(&self) -> Arc<Log> {
        Arc::clone(&self.log)
    }

    /// Waits until it is open.
    ///
    /// # Errors
    /// Why it is not.
    pub(super) async fn opened(&mut self) -> Result<(), Error> {
        loop {
            // Before the look, so that what comes after it is heard.
            self.changes.borrow_and_update();
            match &self.log.lock().phase {
                Phase::Opening => {}
                Phase::Open | Phase::Ended(Ok(())) => return Ok(()),
                Phase::Ended(Err(error)) => return Err(error.clone()),
            }
            self.changes.changed().await.map_err(|_| Error::Stopping)?;
        }
    }

    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// When the log breaks off.
    pub async fn next(&mut self) -> Result<Option<v1::StreamLogsResponse>, Error> {
        loop {
            self.changes.borrow_and_update();
            if let Some(piece) = self.take() {
                return Ok(Some(piece));
            }
            if let Phase::Ended(how) = &self.log.lock().phase {
                return how.clone().map(|()| None);
            }
            self.changes.changed().await.map_err(|_| Error::Stopping)?;
        }
    }

    fn take(&mut self) -> Option<v1::StreamLogsResponse> {
        let mut state = self.log.lock();
        let Read { skipped, data, next } = state.ring.read(self.place)?;
        self.place = next;
        state.taken = state.taken.max(next);
        drop(state);
        self.log.taken.notify_one();
        self.metrics.log_skipped_bytes.inc_by(skipped);
        Some(v1::StreamLogsResponse { data, skipped_bytes: skipped })
    }
}

impl Drop for LogReader {
    fn drop(&mut self) {
        self.log.lock().readers -= 1;
        self.metrics.log_readers.dec();
        self.log.taken.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use vitals_proto::identity::KeyParts;
    use vitals_proto::kind::Kind;

    use super::*;

    fn key(follow: bool) -> LogKey {
        let parts = KeyParts {
            cluster: "east".parse().unwrap(),
            kind: Kind::Pod,
            namespace: "shop",
            name: "web-1",
        };
        LogKey {
            pod: ObjectKey::new(parts).unwrap(),
            container: String::new(),
            follow,
            previous: false,
            tail_lines: 2,
            since_seconds: 0,
            timestamps: false,
        }
    }

    /// All that a reader can take now, and how much of it he missed.
    fn taken(reader: &mut LogReader) -> (String, u64) {
        let (mut text, mut missed) = (String::new(), 0);
        while let Some(v1::StreamLogsResponse { data, skipped_bytes }) = reader.take() {
            text.push_str(std::str::from_utf8(&data).unwrap());
            missed += skipped_bytes;
        }
        (text, missed)
    }

    fn open(logs: &Logs, follow: bool) -> (LogReader, bool) {
        let (reader, begun) = logs.join_or_open(&key(follow), || Ok(())).unwrap();
        (reader, begun.is_some())
    }

    fn join(logs: &Logs, follow: bool) -> Option<LogReader> {
        let refuse = || Err::<(), _>(Error::Stopping);
        logs.join_or_open(&key(follow), refuse).ok().map(|(reader, _)| reader)
    }

    #[tokio::test]
    async fn who_comes_late_gets_the_tail_that_is_held_and_what_comes() {
        let logs = Logs::new(Metrics::default());
        let (mut first, is_new) = open(&logs, true);
        assert!(is_new);
        let log = first.log();
        log.open();
        first.opened().await.unwrap();
        log.push(0, Bytes::from_static(b"1\n2\n3\n"));
        let mut late = join(&logs, true).unwrap();
        log.push(6, Bytes::from_static(b"4\n"));
        assert_eq!(taken(&mut first), ("1\n2\n3\n4\n".into(), 0));
        assert_eq!(taken(&mut late), ("2\n3\n4\n".into(), 0));
        assert!(!logs.close_unread(&log), "two read it");
        drop((first, late));
        assert!(logs.close_unread(&log));
        assert!(join(&logs, true).is_none());
    }

    #[tokio::test]
    async fn the_fastest_sets_the_pace_and_the_slow_are_told_what_they_missed() {
        let logs = Logs::new(Metrics::default());
        let (mut fast, _) = open(&logs, true);
        let mut slow = join(&logs, true).unwrap();
        let log = fast.log();
        assert_eq!(log.room(), LOG_WINDOW);
        let chunk = Bytes::from(vec![b'\n'; LOG_CHUNK_BYTES_MAX]);
        let size = u64::try_from(chunk.len()).unwrap();
        let window = u64::from(LOG_WINDOW);
        (0..window).for_each(|number| log.push(number * size, chunk.clone()));
        assert_eq!(log.room(), 0, "neither has taken anything");
        let (text, missed) = taken(&mut fast);
        assert_eq!((text.len() as u64, missed), (window * size, 0));
        assert_eq!(log.room(), LOG_WINDOW);
        (window..window + 3).for_each(|number| log.push(number * size, chunk.clone()));
        let (text, missed) = taken(&mut slow);
        assert_eq!(text.len() as u64 + missed, (window + 3) * size);
        assert!(missed >= 3 * size, "{missed}");
        assert_eq!(taken(&mut fast).1, 0);
    }

    #[tokio::test]
    async fn one_that_is_not_followed_is_given_whole_or_opened_anew() {
        let logs = Logs::new(Metrics::default());
        let (_first, _) = open(&logs, false);
        let log = join(&logs, false).unwrap().log();
        log.push(0, Bytes::from_static(b"1\n2\n3\n"));
        log.end(Ok(()));
        let mut late = join(&logs, false).unwrap();
        assert_eq!(taken(&mut late), ("1\n2\n3\n".into(), 0));
        assert_eq!(late.next().await, Ok(None));
        log.push(6, Bytes::from(vec![b'x'; RING_BYTES_MAX]));
        assert!(join(&logs, false).is_none(), "its beginning is not held any more");
        let (second, is_new) = open(&logs, false);
        assert!(is_new && !Arc::ptr_eq(&second.log, &log));
        logs.close(&log);
        assert!(join(&logs, false).is_some(), "the end of the old one is not that of the new");
    }

    #[tokio::test]
    async fn why_a_log_breaks_off_is_told_to_all_and_nobody_joins_it() {
        let logs = Logs::new(Metrics::default());
        let (mut reader, _) = open(&logs, true);
        let log = reader.log();
        log.push(0, Bytes::from_static(b"1\n"));
        log.end(Err(Error::Stopping));
        assert!(join(&logs, true).is_none());
        assert_eq!(reader.next().await.unwrap().unwrap().data, "1\n", "what came is given");
        assert_eq!(reader.next().await, Err(Error::Stopping));
        assert_eq!(reader.opened().await, Err(Error::Stopping));
    }
}
