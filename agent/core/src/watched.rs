//! One kind under watch: which list it is in, what exists, and what of that is to be said.
//!
//! Nothing is taken before the first list of an epoch begins, and what a whole list did not name is buried. A list older than
//! what was seen is not used for either: another is asked for, and if that is older too, the cluster was set back and it holds.
//!
//! Deliberately not here: which watch requests are made (the shell's adapter), and what a hub is missing (`repair`).

use std::collections::BTreeMap;

use bytes::Bytes;
use vitals_proto::{
    digest::{Digest, Sums},
    kind::Kind,
};

use crate::{
    input::{Deletion, Now, Object, ObjectName, Outcome, WatchItem, WatchState},
    lists::{List, Relist},
    message::{Content, State},
    mirror::{Entry, Existence, Handed, Mirror, Reading, Refused},
    outbox::{ObjectId, Outbox, Settled, Value},
    report::Tally,
};

/// What an entry needs to act on its surroundings.
pub(crate) struct Desk<'a> {
    pub(crate) outbox: &'a mut Outbox,
    pub(crate) now: Now,
}

pub(crate) struct Watched {
    pub(crate) kind: Kind,
    /// Among the kinds.
    index: u16,
    pub(crate) objects: Mirror,
    /// Over what was handed over last of each object.
    pub(crate) sums: Sums,
    pub(crate) tally: Tally,
    pub(crate) relist: Relist,
    /// When the last one was asked for. Milliseconds, monotonic.
    pub(crate) relisted_at_ms: Option<u64>,
    /// When what was refused, and may not be now, is tried again. Milliseconds, monotonic.
    pub(crate) refused_retry_at_ms: Option<u64>,
    pub(crate) watch: WatchState,
    pub(crate) list: List,
    /// Highest `resourceVersion` seen.
    pub(crate) highest: u64,
    /// The last list was older than that: the next one holds, whatever it says.
    pub(crate) set_back: bool,
    pub(crate) list_resource_version: String,
    pub(crate) last_event_at_unix_ms: i64,
    /// Objects whose names no object can have, or could not be read, since the list began.
    pub(crate) nameless: u64,
    /// Items not used because something newer was seen.
    pub(crate) outdated: u64,
}

impl Watched {
    pub(crate) fn new(kind: Kind, index: u16) -> Self {
        Self {
            kind,
            index,
            objects: Mirror::default(),
            sums: Sums::default(),
            tally: Tally::default(),
            relist: Relist::No,
            relisted_at_ms: None,
            refused_retry_at_ms: None,
            watch: WatchState::Live,
            list: List::Awaited,
            highest: 0,
            set_back: false,
            list_resource_version: String::new(),
            last_event_at_unix_ms: 0,
            nameless: 0,
            outdated: 0,
        }
    }

    /// From now on only what a list says that begins later is taken.
    pub(crate) fn await_list(&mut self) {
        self.list = List::Awaited;
        self.relist = Relist::Anew;
        // That it was absent or forbidden is of before too: as long as it is believed, what exists can be buried.
        self.watch = WatchState::Listing(String::new());
    }

    /// Everything is to be said again, under a new epoch.
    pub(crate) fn renew(&mut self) {
        self.await_list();
        for entry in self.objects.iter_mut() {
            entry.wanted = true;
            entry.list_pending = false;
            entry.refused = None;
        }
        let Tally { exists, unreadable, .. } = self.tally;
        self.tally = Tally { exists, unreadable, ..Tally::default() };
    }

    /// Takes what the watch says, in its order.
    pub(crate) fn take(&mut self, item: WatchItem, desk: &mut Desk<'_>) {
        if self.relist == Relist::Anew {
            // The watch that says it began before.
            return;
        }
        match item {
            WatchItem::State(state) => return self.take_state(state, desk),
            WatchItem::ListStarted { resource_version, history } => {
                return self.begin_list(&resource_version, history);
            }
            WatchItem::ListDiscarded => {
                if self.list != List::Whole {
                    self.list = List::Awaited;
                }
                return;
            }
            _ if self.list == List::Awaited => {}
            WatchItem::Listed(object) => self.observe(object, Source::List, desk),
            WatchItem::Applied(object) => self.observe(object, Source::Event, desk),
            WatchItem::Deleted(deletion) => self.delete(deletion, desk),
            WatchItem::Unreadable(name) => self.take_unreadable(name),
            WatchItem::ListEnded { resource_version, unnamed } => {
                self.end_list(resource_version, unnamed, desk);
            }
            WatchItem::Alive { resource_version } => self.saw(version(&resource_version)),
        }
        self.watch = WatchState::Live;
        self.last_event_at_unix_ms = desk.now.unix_ms;
    }

    fn take_state(&mut self, state: WatchState, desk: &mut Desk<'_>) {
        if matches!(state, WatchState::Absent(_)) {
            // Nothing of a kind that does not exist exists.
            self.list = List::Awaited;
            for entry in self.objects.iter_mut() {
                entry.listed = false;
            }
            self.bury_unlisted(desk);
        }
        self.watch = state;
    }

    pub(crate) fn saw(&mut self, version: u64) {
        self.highest = self.highest.max(version);
    }

    fn observe(&mut self, object: Object, source: Source, desk: &mut Desk<'_>) {
        let Object { name, resource_version, facts } = object;
        let Some(index) = self.objects.enter(&name) else {
            self.nameless += 1;
            return;
        };
        let seen = version(&resource_version);
        let (set_back, hash) = (self.set_back, facts_hash(&facts));
        let to_say = self.change(index, |entry| {
            entry.listed = true;
            if !set_back && seen != 0 && seen < entry.version {
                return None;
            }
            let known = entry.slot.is_some() || entry.handed == Handed::Facts;
            let unchanged =
                entry.existence == Existence::Exists && entry.facts_hash == hash && known;
            entry.existence = Existence::Exists;
            entry.reading = Reading::Read;
            entry.facts_hash = hash;
            entry.version = seen;
            if unchanged && !entry.wanted {
                return Some(false);
            }
            entry.wanted = false;
            entry.refused = None;
            entry.list_pending |= source == Source::List;
            Some(true)
        });
        match to_say.flatten() {
            Some(true) => self.say(index, resource_version, State::Facts(facts), desk),
            Some(false) => {}
            None => self.outdated += 1,
        }
        if source == Source::Event {
            self.saw(seen);
        }
    }

    fn take_unreadable(&mut self, name: Option<ObjectName>) {
        let Some(index) = name.and_then(|name| self.objects.enter(&name)) else {
            self.nameless += 1;
            if let List::Running { nameless } = &mut self.list {
                *nameless = true;
            }
            return;
        };
        self.change(index, |entry| {
            entry.listed = true;
            entry.existence = Existence::Exists;
            entry.reading = Reading::Unreadable;
        });
    }

    fn delete(&mut self, deletion: Deletion, desk: &mut Desk<'_>) {
        let Deletion { name, resource_version, labels, uid } = deletion;
        let seen = version(&resource_version);
        self.saw(seen);
        let Some(index) = self.objects.find(&name.namespace, &name.name) else { return };
        self.leave(index, desk, Farewell { resource_version, version: seen, labels, uid });
    }

    /// The object does not exist: a list did not name it.
    pub(crate) fn bury(&mut self, index: u32, desk: &mut Desk<'_>) {
        let Some(entry) = self.objects.get(index) else { return };
        let underway = entry.existence == Existence::Gone
            && (entry.refused.is_some()
                || entry.slot.is_some_and(|slot| desk.outbox.says_tombstone(slot)));
        if !underway {
            self.leave(index, desk, Farewell::default());
        }
    }

    pub(crate) fn leave(&mut self, index: u32, desk: &mut Desk<'_>, farewell: Farewell) {
        let Farewell { resource_version, version, labels, uid } = farewell;
        let handed = self.change(index, |entry| {
            entry.existence = Existence::Gone;
            entry.reading = Reading::Read;
            entry.refused = None;
            entry.wanted = false;
            entry.list_pending = false;
            entry.version = entry.version.max(version);
            (entry.handed, entry.slot)
        });
        match handed {
            Some((Handed::Nothing, slot)) => {
                // The connection never had it: there is nothing to bury.
                if let Some(slot) = slot {
                    desk.outbox.withdraw(slot);
                }
                self.objects.remove(index);
            }
            Some((Handed::Facts | Handed::NoFacts, _)) => {
                self.say(index, resource_version, State::tombstone(labels, uid), desk);
            }
            None => {}
        }
    }

    fn say(&mut self, index: u32, resource_version: String, state: State, desk: &mut Desk<'_>) {
        let Some(entry) = self.objects.get_mut(index) else { return };
        let value = Value {
            state,
            resource_version: resource_version.into(),
            seen_at_unix_ms: desk.now.unix_ms,
            waits_since_unix_ms: desk.now.unix_ms,
        };
        let object = ObjectId { kind: self.index, index };
        entry.slot = Some(desk.outbox.put(object, entry.slot, value));
    }

    /// The object's message goes to the connection now.
    pub(crate) fn hand_over(&mut self, index: u32, handing: Handing) {
        let Handing { content, bucket, digest } = handing;
        let before = self.change(index, |entry| {
            let before =
                (entry.handed == Handed::Facts).then(|| Digest::from_wire(&entry.digest)).flatten();
            entry.bucket = bucket;
            entry.digest = digest.to_wire();
            entry.list_pending = false;
            entry.handed = if content == Content::Facts { Handed::Facts } else { Handed::NoFacts };
            before
        });
        if let Some(Some(before)) = before {
            self.sums.remove(bucket, before);
        }
        if content == Content::Facts {
            self.sums.add(bucket, digest);
        }
    }

    /// The object's message was settled.
    pub(crate) fn settle(&mut self, settled: &Settled, outcome: Outcome) {
        let Settled { object: ObjectId { index, .. }, content, more } = *settled;
        if more {
            return;
        }
        let refused = match outcome {
            Outcome::Acked | Outcome::Transient => None,
            Outcome::TooLarge => Some(Refused::TooLarge),
            Outcome::StreamFull => Some(Refused::StreamFull),
            Outcome::Permission => Some(Refused::Permission),
        };
        let done = self.change(index, |entry| {
            entry.slot = None;
            entry.refused = refused;
            entry.existence == Existence::Gone
        });
        if done == Some(true) && content == Content::Tombstone && outcome == Outcome::Acked {
            self.objects.remove(index);
        }
    }

    /// Changes an entry, and keeps the tally true.
    pub(crate) fn change<R>(
        &mut self,
        index: u32,
        change: impl FnOnce(&mut Entry) -> R,
    ) -> Option<R> {
        let entry = self.objects.get_mut(index)?;
        self.tally.count(entry, |count| *count = count.saturating_sub(1));
        let result = change(entry);
        self.tally.count(entry, |count| *count += 1);
        Some(result)
    }
}

/// Where an object was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    List,
    Event,
}

/// What is known at the end of an object.
#[derive(Default)]
pub(crate) struct Farewell {
    resource_version: String,
    version: u64,
    labels: BTreeMap<String, String>,
    uid: Bytes,
}

/// A message as it is handed over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handing {
    pub(crate) content: Content,
    pub(crate) bucket: u8,
    pub(crate) digest: Digest,
}

/// `resourceVersion` as a number (Kubernetes 1.35 made it officially comparable); 0 where it is none: not compared.
pub(crate) fn version(text: &str) -> u64 {
    text.parse().unwrap_or_default()
}

/// 64 of the 128 bits.
fn facts_hash(facts: &[u8]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = Digest::of("", facts).to_wire();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}
