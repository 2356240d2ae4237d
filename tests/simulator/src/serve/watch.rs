//! Watches: events as lines of JSON, from a version on or with all objects before (a streaming list), with bookmarks.
//!
//! A watch keeps nothing but where it is: it reads the history that all share. One that is slower than the history is long is
//! told so (410, as an ERROR event), as on a real API server.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures::stream;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch as watch_channel;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::show::Shape;
use crate::faults::Fault;
use crate::refusal::Refusal;
use crate::resource::Resource;
use crate::store::{Entry, Event, Query};
use crate::world::World;

/// How many lines one piece of the body has, at most.
const PIECE_LINES_MAX: usize = 128;

/// How long a watch lasts where the client does not say.
const WATCH_TIME_USUAL: Duration = Duration::from_secs(40 * 60);

/// What a client asks of a watch.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) resource: Arc<Resource>,
    pub(crate) query: Query,
    pub(crate) shape: Shape,
    pub(crate) bookmarks: bool,
    /// A streaming list: all objects, then a bookmark that says so.
    pub(crate) initial: bool,
    pub(crate) time: Option<Duration>,
}

/// A watch that goes on.
struct Watch {
    shared: Arc<Shared>,
    wanted: Wanted,
    cursor: u64,
    initial: VecDeque<Arc<Entry>>,
    /// The list is over when `initial` is empty, and has to be ended by a bookmark.
    ends_list: bool,
    changes: watch_channel::Receiver<u64>,
    cutting: CancellationToken,
    deadline: Instant,
    bookmark_at: Instant,
    interval: Duration,
    faults: Broken,
    over: bool,
}

/// How it goes wrong.
#[derive(Debug, Default)]
struct Broken {
    told: usize,
    cut: Option<usize>,
    stall: Option<usize>,
    expire: Option<usize>,
    repeat: u64,
    reorder: bool,
    lie: i64,
}

impl Broken {
    fn of(faults: &[Fault]) -> Self {
        let mut broken = Self::default();
        for fault in faults {
            match fault {
                Fault::Cut { after } => broken.cut = Some(*after),
                Fault::Stall { after } => broken.stall = Some(*after),
                Fault::Expire { after } => broken.expire = Some(*after),
                Fault::Repeat { events } => broken.repeat = *events,
                Fault::Reorder => broken.reorder = true,
                Fault::Lie { by } => broken.lie = *by,
                Fault::Answer { .. } | Fault::Slow(_) | Fault::Hang => {}
            }
        }
        broken
    }
}

/// The body of a watch's answer.
pub(crate) fn body(
    shared: &Arc<Shared>,
    wanted: Wanted,
    faults: &[Fault],
) -> Result<Body, Refusal> {
    let changes = shared.changes();
    let (cursor, initial, interval) = shared.read(|world, _| begin(world, &wanted))?;
    let faults = Broken::of(faults);
    let cursor = cursor.saturating_sub(faults.repeat);
    let (now, time) = (Instant::now(), wanted.time.unwrap_or(WATCH_TIME_USUAL));
    let watch = Watch {
        shared: Arc::clone(shared),
        ends_list: wanted.initial,
        wanted,
        cursor,
        initial,
        changes,
        cutting: shared.cutting(),
        deadline: now + time,
        bookmark_at: now + interval,
        interval,
        faults,
        over: false,
    };
    Ok(Body::from_stream(stream::unfold(watch, |mut watch| async move {
        let piece = watch.next().await?;
        Some((piece, watch))
    })))
}

/// Where it begins, and with which objects.
fn begin(world: &World, wanted: &Wanted) -> Result<(u64, VecDeque<Arc<Entry>>, Duration), Refusal> {
    let interval = world.options.bookmark_interval;
    let current = world.store.version();
    let from = wanted.query.version.unwrap_or_default();
    if from > current && wanted.initial {
        return Err(Refusal::too_large(from, current));
    }
    // Without a version, or with 0, all objects come first, as if they were new.
    if wanted.initial || from == 0 {
        let entries = world.store.scan(wanted.resource.id, wanted.query.namespace.as_deref());
        let selected = entries.filter(|entry| wanted.query.selects(entry)).cloned();
        return Ok((current, selected.collect(), interval));
    }
    Ok((from, VecDeque::new(), interval))
}

impl Watch {
    /// The next piece of the body; none when the watch is over.
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            if self.over {
                return None;
            }
            let (lines, cut) = self.lines();
            if self.faults.stall.is_some_and(|after| self.faults.told >= after) && lines.is_empty()
            {
                self.silence().await;
                return None;
            }
            if !lines.is_empty() {
                return Some(Ok(Bytes::from(lines)));
            }
            if cut {
                self.over = true;
                return Some(Err(io::Error::other("the connection is cut by command")));
            }
            let shared = Arc::clone(&self.shared);
            tokio::select! {
                biased;
                () = shared.stopping.cancelled() => return None,
                () = self.cutting.cancelled() => {
                    self.over = true;
                    return Some(Err(io::Error::other("all connections are cut by command")));
                }
                changed = self.changes.changed() => changed.ok()?,
                () = sleep_until(self.bookmark_at.min(self.deadline)) => {
                    if Instant::now() >= self.deadline {
                        return None;
                    }
                    self.bookmark_at = Instant::now() + self.interval;
                    if self.wanted.bookmarks {
                        return Some(Ok(Bytes::from(self.bookmark(false))));
                    }
                }
            }
        }
    }

    /// Until the client goes, or all is over.
    async fn silence(&self) {
        tokio::select! {
            () = self.shared.stopping.cancelled() => {}
            () = self.cutting.cancelled() => {}
        }
    }

    /// What there is to tell now, and whether the connection is to be cut behind it.
    fn lines(&mut self) -> (Vec<u8>, bool) {
        let mut out = Vec::new();
        let now = self.shared.clock.now();
        if !self.initial.is_empty() {
            let piece = self.initial.len().min(PIECE_LINES_MAX);
            for entry in self.initial.drain(..piece).collect::<Vec<_>>() {
                let shown = self.wanted.shape.one(&self.wanted.resource, &entry, now);
                if !self.tell(&mut out, b"ADDED", &shown) {
                    return (out, self.over);
                }
            }
            return (out, false);
        }
        if std::mem::take(&mut self.ends_list) {
            return (self.bookmark(true), false);
        }
        self.changes.mark_unchanged();
        let shared = Arc::clone(&self.shared);
        let read = shared.read(|world, _| match world.store.history(self.wanted.resource.id) {
            None => Ok((Vec::new(), world.store.version())),
            Some(history) => {
                let events: Vec<Event> =
                    history.after(self.cursor)?.take(PIECE_LINES_MAX).cloned().collect();
                let whole = events.len() < PIECE_LINES_MAX;
                let last = events.last().map_or(self.cursor, |it| it.version);
                // Nothing of this resource happened up to now: the next look begins here.
                Ok((events, if whole { world.store.version().max(self.cursor) } else { last }))
            }
        });
        let expires = self.faults.expire.is_some_and(|after| self.faults.told >= after);
        let (mut events, cursor) = match read {
            Ok(read) if !expires => read,
            Ok(_) => return self.end(&Refusal::expired("too old resource version: by command")),
            Err(refusal) => return self.end(&refusal),
        };
        if self.faults.reorder {
            events.chunks_mut(2).for_each(<[Event]>::reverse);
        }
        self.cursor = cursor;
        for event in &events {
            if let Some((r#type, entry)) = self.seen(event) {
                let shown = self.wanted.shape.one(&self.wanted.resource, &entry, now);
                if !self.tell(&mut out, r#type, &shown) {
                    return (out, self.over);
                }
            }
        }
        // Events that the selectors hide: there may be more behind them.
        if out.is_empty() && events.len() == PIECE_LINES_MAX {
            return self.lines();
        }
        (out, false)
    }

    /// How a watch with selectors sees an event: what begins to match is new, what ends to match is gone.
    fn seen(&self, event: &Event) -> Option<(&'static [u8], Arc<Entry>)> {
        let query = &self.wanted.query;
        let was = event.before.as_ref().is_some_and(|it| query.selects(it));
        let is = event.after.as_ref().is_some_and(|it| query.selects(it));
        match (was, is) {
            (false, false) => None,
            (false, true) => Some((b"ADDED", Arc::clone(&event.shown))),
            (true, true) => Some((b"MODIFIED", Arc::clone(&event.shown))),
            (true, false) => Some((b"DELETED", Arc::clone(&event.shown))),
        }
    }

    /// Writes a line; false where a fault strikes instead.
    fn tell(&mut self, out: &mut Vec<u8>, r#type: &[u8], object: &[u8]) -> bool {
        let due = |after: Option<usize>| after.is_some_and(|after| self.faults.told >= after);
        if due(self.faults.stall) {
            return false;
        }
        let mut line = Vec::with_capacity(object.len() + 40);
        for part in [&b"{\"type\":\""[..], r#type, b"\",\"object\":", object, b"}\n"] {
            line.extend_from_slice(part);
        }
        if due(self.faults.cut) {
            out.extend_from_slice(line.get(..line.len() / 2).unwrap_or_default());
            self.faults.cut = None;
            self.cutting = CancellationToken::new();
            self.cutting.cancel();
            return false;
        }
        self.faults.told += 1;
        out.extend_from_slice(&line);
        true
    }

    fn bookmark(&self, ends_list: bool) -> Vec<u8> {
        let version = self.cursor.saturating_add_signed(self.faults.lie);
        let object = self.wanted.shape.bookmark(&self.wanted.resource, version, ends_list);
        event_line("BOOKMARK", &object)
    }

    fn end(&mut self, refusal: &Refusal) -> (Vec<u8>, bool) {
        self.over = true;
        (event_line("ERROR", &refusal.status()), false)
    }
}

fn event_line(r#type: &str, object: &Value) -> Vec<u8> {
    let mut line = json!({ "type": r#type, "object": object }).to_string().into_bytes();
    line.push(b'\n');
    line
}

/// The body of a list, piece by piece.
pub(crate) fn list_body(
    resource: Arc<Resource>,
    shape: Shape,
    metadata: &Value,
    entries: Vec<Arc<Entry>>,
    now: Timestamp,
) -> Body {
    let head = Bytes::from(shape.head(&resource, metadata));
    let count = entries.len();
    let mut pieces = Vec::new();
    let mut entries = entries.into_iter();
    for _ in 0..count.div_ceil(PIECE_LINES_MAX) {
        pieces.push(entries.by_ref().take(PIECE_LINES_MAX).collect::<Vec<_>>());
    }
    let items = pieces.into_iter().enumerate().map(move |(number, piece)| {
        let mut out = Vec::new();
        for (place, entry) in piece.iter().enumerate() {
            if number + place > 0 {
                out.push(b',');
            }
            out.extend_from_slice(&shape.item(&resource, entry, now));
        }
        Bytes::from(out)
    });
    let tail = std::iter::once(Bytes::from_static(shape.tail().as_bytes()));
    let all = std::iter::once(head).chain(items).chain(tail);
    Body::from_stream(stream::iter(all.map(Ok::<_, io::Error>)))
}
