//! Answers a hub that holds something else: what exists and differs is sent again, what does not exist is buried.
//!
//! The core holds no objects, so what is to be sent again is marked, and the kind is listed again through its own watch: never
//! a side GET, which would be newer than the watch, after which the watch goes back in time. The same list decides whether
//! what only the hub knows exists.
//!
//! Invariant: nothing is buried that a consistent list, begun after the request, names.

use vitals_proto::{
    digest::{Digest, Place},
    identity::Epoch,
    kind::Kind,
    rule::Rule,
    subject::{self, Published},
    v1,
};

use crate::{
    agent::{Agent, ask_for_repair, key_of},
    input::{Now, ObjectName},
    lists::Relist,
    mirror::{Entry, Existence, Handed, Reading},
    watched::{Desk, Watched},
};

/// Most objects of one kind of which only a hub knows, until a list decides. Full: the hub asks again for the rest.
const SUSPECTS_MAX: u64 = 65_536;

/// Most parts of a bucket, as a power of two. More are never needed: 2^32 objects.
const PART_BITS_MAX: u32 = 24;

/// What a hub asks for, checked.
struct Wish {
    bucket: u8,
    part_bits: u32,
    part: u32,
    /// In order of kind and name.
    held: Vec<Held>,
}

struct Held {
    kind: Kind,
    name: ObjectName,
    digest: Digest,
}

impl Agent {
    /// Takes a repair request. What it sets off comes in-band, later; the answer says how much. `None` where another agent is
    /// to answer: nothing must be said.
    pub fn repair(&mut self, request: &v1::RepairRequest, now: Now) -> Option<v1::RepairResponse> {
        if !self.is_ours(request) {
            return None;
        }
        Some(match self.check(request) {
            Err(refused) => v1::RepairResponse { refused, ..Default::default() },
            Ok(wish) => self.fulfil(&wish, now),
        })
    }

    /// It is of this scope and epoch, and this agent publishes.
    fn is_ours(&self, request: &v1::RepairRequest) -> bool {
        let scope =
            request.scope == self.config.scope.as_str() || !self.config.rules.hold(Rule::PerScope);
        let epoch = request.epoch.map(Epoch::from).is_some_and(|epoch| self.epoch() == Some(epoch))
            || !self.config.rules.hold(Rule::PerScope);
        scope && epoch && self.holds_epoch()
    }

    fn check(&self, request: &v1::RepairRequest) -> Result<Wish, String> {
        let v1::RepairRequest { scope: _, epoch: _, bucket, held, part_bits, part } = request;
        let bucket = u8::try_from(*bucket).map_err(|_| format!("there is no bucket {bucket}"))?;
        if *part_bits > PART_BITS_MAX || u64::from(*part) >= 1_u64 << *part_bits {
            return Err(format!("there is no part {part} of 2^{part_bits}"));
        }
        let mut wish = Wish { bucket, part_bits: *part_bits, part: *part, held: Vec::new() };
        for v1::HeldObject { subject, digest } in held {
            let not_ours =
                || format!("{subject:?} is not an object in bucket {bucket} of this cluster");
            let Ok(Published::Object(key)) = Published::parse(subject) else {
                return Err(not_ours());
            };
            if *key.cluster() != self.config.cluster || !wish.covers(Place::of(subject)) {
                return Err(not_ours());
            }
            let digest = Digest::from_wire(digest)
                .ok_or_else(|| format!("the digest of {subject:?} is not 16 bytes"))?;
            let name = ObjectName { namespace: key.namespace().into(), name: key.name().into() };
            wish.held.push(Held { kind: key.kind().clone(), name, digest });
        }
        wish.held.sort_by(|a, b| (&a.kind, &a.name).cmp(&(&b.kind, &b.name)));
        Ok(wish)
    }

    fn fulfil(&mut self, wish: &Wish, now: Now) -> v1::RepairResponse {
        let (mut answer, mut listing) = (v1::RepairResponse::default(), Vec::new());
        let mut unsendable = 0;
        for index in 0..self.kinds.len() {
            let missing = self.missing(index, wish);
            let Some(watched) = self.kinds.get_mut(index) else { continue };
            let state = watched.state();
            match state {
                v1::KindState::Complete | v1::KindState::Absent => {
                    let mut desk = Desk { outbox: &mut self.outbox, now };
                    let done = watched.repair(wish, &missing, &mut desk);
                    answer.resent += done.resent;
                    answer.buried += done.buried;
                    unsendable += done.unsendable;
                }
                v1::KindState::Unspecified
                | v1::KindState::Listing
                | v1::KindState::Forbidden
                | v1::KindState::Stalled => {
                    if wish.of(&watched.kind).next().is_some() {
                        listing.push(watched.kind.to_string());
                    }
                }
            }
        }
        if answer.resent == 0 && answer.buried == 0 {
            answer.refused = match listing.as_slice() {
                [] if unsendable > 0 => {
                    format!("cannot be sent: {unsendable} refused by the stream or unreadable")
                }
                [] => "nothing differs".into(),
                kinds => format!("not complete: {}", kinds.join(", ")),
            };
        }
        answer
    }

    /// What exists in this part of the bucket, and the hub did not name.
    fn missing(&self, kind: usize, wish: &Wish) -> Vec<u32> {
        let Some(watched) = self.kinds.get(kind) else { return Vec::new() };
        let is_missing = |entry: &Entry| {
            entry.handed == Handed::Facts
                && entry.existence == Existence::Exists
                && entry.bucket == wish.bucket
                && !wish.names(&watched.kind, entry)
                && key_of(&self.config.cluster, &watched.kind, entry)
                    .is_some_and(|key| wish.covers(Place::of(&subject::object(&key))))
        };
        let missing = watched.objects.iter().filter(|(_, entry)| is_missing(entry));
        missing.map(|(index, _)| index).collect()
    }
}

impl Wish {
    fn covers(&self, place: Place) -> bool {
        place.bucket() == self.bucket && place.part(self.part_bits) == self.part
    }

    fn of<'a>(&'a self, kind: &'a Kind) -> impl Iterator<Item = &'a Held> {
        self.held.iter().filter(move |held| held.kind == *kind)
    }

    fn names(&self, kind: &Kind, entry: &Entry) -> bool {
        let key = |held: &Held| {
            let name = (held.name.namespace.as_str(), held.name.name.as_str());
            held.kind.cmp(kind).then_with(|| name.cmp(&(entry.namespace(), entry.name())))
        };
        self.held.binary_search_by(key).is_ok()
    }
}

impl Watched {
    /// Marks what is to be sent again, and buries what does not exist.
    fn repair(&mut self, wish: &Wish, missing: &[u32], desk: &mut Desk<'_>) -> Done {
        let Done { mut resent, mut buried, mut unsendable } = Done::default();
        let (mut marked, mut suspects) = (0, 0);
        let mut room = SUSPECTS_MAX.saturating_sub(self.unconfirmed());
        if self.relist == Relist::Asked {
            // That list may have begun before this request: it cannot tell what only the hub knows.
            room = 0;
        }
        let kind = self.kind.clone();
        for held in wish.of(&kind) {
            match self.objects.find(&held.name.namespace, &held.name.name) {
                Some(index) => {
                    match self.objects.get(index).map(|entry| differs(entry, held.digest)) {
                        Some(Difference::None) | None => {}
                        Some(Difference::OnItsWay) => resent += 1,
                        Some(Difference::ToSend) => marked += self.want(index),
                        Some(Difference::Unsendable) => unsendable += 1,
                        Some(Difference::Buried) => buried += 1,
                    }
                }
                None if self.state() == v1::KindState::Absent => {
                    if let Some(index) = self.suspect(&held.name) {
                        self.bury(index, desk);
                        buried += 1;
                    }
                }
                None if room == 0 => {}
                None => {
                    if self.suspect(&held.name).is_some() {
                        room -= 1;
                        buried += 1;
                        suspects += 1;
                    }
                }
            }
        }
        for index in missing {
            match self.objects.get(*index).map(|entry| differs(entry, Digest::default())) {
                Some(Difference::ToSend) => marked += self.want(*index),
                Some(Difference::OnItsWay) => resent += 1,
                Some(Difference::Unsendable) => unsendable += 1,
                Some(Difference::None | Difference::Buried) | None => {}
            }
        }
        if marked + suspects > 0 && self.relist == Relist::No {
            ask_for_repair(self, desk.now);
        }
        Done { resent: resent + marked, buried, unsendable }
    }

    /// A hub holds an object of which nothing is known here: the next list decides. What runs already does not: it may have
    /// passed where the object would be.
    fn suspect(&mut self, name: &ObjectName) -> Option<u32> {
        let index = self.objects.enter(name)?;
        self.change(index, |entry| {
            entry.existence = Existence::Unconfirmed;
            entry.handed = Handed::NoFacts;
            entry.wanted = true;
            entry.listed = true;
        });
        Some(index)
    }

    fn unconfirmed(&self) -> u64 {
        let is_one = |(_, entry): &(u32, &Entry)| entry.existence == Existence::Unconfirmed;
        u64::try_from(self.objects.iter().filter(is_one).count()).unwrap_or(u64::MAX)
    }

    fn want(&mut self, index: u32) -> u64 {
        self.objects.get_mut(index).map_or(0, |entry| {
            entry.wanted = true;
            1
        })
    }
}

/// What a repair sets off: numbers of objects.
#[derive(Default)]
struct Done {
    resent: u64,
    buried: u64,
    /// They differ, and nothing can be done about it now.
    unsendable: u64,
}

/// How an object differs from what a hub holds of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Difference {
    /// It does not.
    None,
    /// It does: what was refused would be refused again, and what cannot be read cannot be sent.
    Unsendable,
    /// It does, and the newest is about to be sent anyway.
    OnItsWay,
    /// It is to be sent again.
    ToSend,
    /// Its tombstone is about to be sent, or a list decides soon.
    Buried,
}

fn differs(entry: &Entry, held: Digest) -> Difference {
    let is_same = entry.handed == Handed::Facts && entry.digest == held.to_wire();
    match entry.existence {
        Existence::Gone | Existence::Unconfirmed => Difference::Buried,
        Existence::Exists if entry.refused.is_some() || entry.reading == Reading::Unreadable => {
            if is_same {
                Difference::None
            } else {
                Difference::Unsendable
            }
        }
        Existence::Exists if entry.slot.is_some() => Difference::OnItsWay,
        Existence::Exists if is_same => Difference::None,
        Existence::Exists => Difference::ToSend,
    }
}

#[cfg(test)]
#[path = "repair_tests.rs"]
mod tests;
