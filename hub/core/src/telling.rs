//! Telling: which changes of an entity's health are told, so that each is told once.
//!
//! Behind the roll-up: takes verdicts, gives transitions to publish, and learns from the answers. The fence is
//! compare-and-set on the entity's subject in HEALTH, together with the generation in the payload: whoever loses reads the
//! winner's transition, and goes on from there. (Compare-and-set alone is not enough: a loser that only retries would tell
//! the same change again as the next one.) What was told is kept in `vitals_state`, which does not age as the stream does.
//!
//! Invariants: at most one transition of an entity is under way; generations rise by one; what was told from a later point of
//! the stream than ours is never overridden. What is refused for that is kept: it is told when this hub stands beyond that
//! point, if it still holds then.
//!
//! Every replica has one. Of those that *follow* none tells: each keeps what it judged since the point up to which the one that
//! *leads* says that all was told, and tells that when it leads. So what was not told when a leader fell silent is told by the
//! next one. Who leads is not decided here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use vitals_proto::{identity::EntityRef, v1};

use crate::{position::Position, time::Time};

/// Verdicts of one entity that wait behind the one under way. Beyond it the oldest waiting one is left out: between two
/// answers of the broker nobody follows more.
pub const WAITING_MAX: usize = 16;

/// A verdict, and where the hub stood when it came to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// The verdict over all clusters.
    pub verdict: v1::Verdict,
    /// The clusters of which it is so, in order.
    pub clusters: Vec<String>,
    /// When it changed.
    pub at: Time,
    /// Where the hub stood.
    pub position: v1::Position,
}

/// A transition to publish on the subject of its entity.
#[derive(Clone, Debug, PartialEq)]
pub struct Telling {
    /// Whose.
    pub entity: EntityRef,
    /// What to publish.
    pub transition: v1::HealthTransition,
    /// The sequence that must be the last on the subject; 0 where there must be none.
    pub expected_sequence: u64,
}

/// What became of a [`Telling`].
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Stored at this sequence.
    Stored(u64),
    /// Another message was last on the subject: this one; `None` where the subject is empty.
    Lost(Option<Box<Last>>),
    /// Not known: a time-out, or no connection. Asked again.
    Unknown,
}

/// The last message on the subject of an entity.
#[derive(Clone, Debug, PartialEq)]
pub struct Last {
    /// What it tells.
    pub told: v1::HealthTransition,
    /// Where it stands in the stream.
    pub sequence: u64,
}

/// What was told of each entity, and what is to be told next.
#[derive(Debug, Default)]
pub struct Teller {
    entities: BTreeMap<EntityRef, Entry>,
    /// Those of which a verdict was refused, and may still hold.
    refused: BTreeSet<EntityRef>,
    left_out: u64,
    /// Another replica tells.
    follows: bool,
}

#[derive(Debug, Default)]
struct Entry {
    told: Option<v1::HealthTransition>,
    sequence: u64,
    under_way: Option<UnderWay>,
    waiting: VecDeque<Judged>,
    /// The latest verdict, where it was not told only because somebody told from a later point.
    refused: Option<Judged>,
    /// The latest verdict holds no more.
    withdrawn: bool,
}

/// A verdict that is being told.
#[derive(Debug)]
struct UnderWay {
    judged: Judged,
    /// As it was sent.
    transition: v1::HealthTransition,
}

impl Teller {
    /// Takes over what was told before, by this replica or another, from `vitals_state` or the stream. `sequence` is that of the
    /// last message on the entity's subject; 0 where there is none, or it is not known.
    pub fn load(&mut self, entity: EntityRef, told: v1::HealthTransition, sequence: u64) {
        let entry = self.entities.entry(entity).or_default();
        if entry.told.is_none() || told.generation > entry.generation() {
            entry.told = Some(told);
            entry.sequence = sequence;
        }
    }

    /// Another replica tells from now on, or nobody knows who does. What is under way is answered all the same.
    pub fn follow(&mut self) {
        self.follows = true;
    }

    /// This replica tells from now on. Gives what to publish of what waited.
    pub fn lead(&mut self) -> Vec<Telling> {
        self.follows = false;
        let waiting: Vec<EntityRef> = self
            .entities
            .iter()
            .filter(|(_, entry)| !entry.waiting.is_empty())
            .map(|(entity, _)| entity.clone())
            .collect();
        waiting.iter().filter_map(|entity| self.next(entity)).collect()
    }

    /// The replica that tells has told all that it judged up to there. What was judged here until then, and is not what was
    /// judged last, was told, or passed too quickly for that one to see. The last one is kept: if it was not told, the two do
    /// not judge alike.
    pub fn prune(&mut self, told_up_to: &v1::Position) {
        for entry in self.entities.values_mut() {
            let kept = usize::from(!entry.withdrawn);
            let is_past = |judged: &Judged| {
                as_of(Some(&judged.position)) <= as_of(Some(told_up_to))
                    || has_read_more(Some(told_up_to), Some(&judged.position))
            };
            while entry.waiting.len() > kept && entry.waiting.front().is_some_and(is_past) {
                entry.waiting.pop_front();
            }
        }
    }

    /// Nothing waits or is under way.
    #[must_use]
    pub fn has_told_all(&self) -> bool {
        self.entities.values().all(|it| it.under_way.is_none() && it.waiting.is_empty())
    }

    /// A verdict was reached. Gives what to publish, unless it is what was told last or something is under way.
    pub fn judge(&mut self, entity: &EntityRef, judged: Judged) -> Option<Telling> {
        let entry = self.entities.entry(entity.clone()).or_default();
        entry.refused = None;
        entry.withdrawn = false;
        if let Some(last) = entry.waiting.back_mut().filter(|last| last.is_like(&judged)) {
            // Verdicts are handed over again and again: they must not push out what is to be told.
            *last = judged;
        } else {
            if entry.waiting.len() == WAITING_MAX {
                entry.waiting.pop_front();
                self.left_out += 1;
            }
            entry.waiting.push_back(judged);
        }
        self.next(entity)
    }

    /// What was judged of an entity last holds no more, and what holds now is not to be told.
    pub fn withdraw(&mut self, entity: &EntityRef) {
        self.refused.remove(entity);
        if let Some(entry) = self.entities.get_mut(entity) {
            entry.refused = None;
            entry.withdrawn = true;
        }
    }

    /// The hub stands there, and all that it judged last holds there. Gives what to publish of what was refused before: a
    /// hub that lagged hands over nothing when it has caught up, where its own verdict is what it was.
    pub fn stand(&mut self, position: &v1::Position) -> Vec<Telling> {
        if self.follows {
            return Vec::new();
        }
        let refused = std::mem::take(&mut self.refused);
        let mut tellings = Vec::new();
        for entity in refused {
            let Some(entry) = self.entities.get_mut(&entity) else { continue };
            let refused = entry.refused.take();
            entry.waiting.extend(refused.map(|it| Judged { position: position.clone(), ..it }));
            tellings.extend(self.next(&entity));
        }
        tellings
    }

    /// What became of what was under way. Gives what to publish next.
    pub fn answer(&mut self, entity: &EntityRef, answer: Answer) -> Option<Telling> {
        let entry = self.entities.get_mut(entity)?;
        let UnderWay { judged, transition } = entry.under_way.take()?;
        match answer {
            Answer::Stored(sequence) => {
                entry.sequence = sequence;
                // It may have been read of `vitals_state` before the answer came, and even the one after it.
                if transition.generation >= entry.generation() {
                    entry.told = Some(transition);
                }
            }
            Answer::Lost(winner) => {
                entry.lose(winner.map(|winner| *winner));
                entry.waiting.push_front(judged);
            }
            Answer::Unknown => entry.waiting.push_front(judged),
        }
        self.next(entity)
    }

    /// What was told last of an entity.
    #[must_use]
    pub fn told(&self, entity: &EntityRef) -> Option<&v1::HealthTransition> {
        self.entities.get(entity)?.told.as_ref()
    }

    /// Verdicts that were left out since too many waited.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    fn next(&mut self, entity: &EntityRef) -> Option<Telling> {
        let entry = self.entities.get_mut(entity).filter(|_| !self.follows)?;
        let telling = entry.next(entity);
        if entry.refused.is_some() {
            self.refused.insert(entity.clone());
        } else {
            self.refused.remove(entity);
        }
        telling
    }
}

impl Judged {
    /// Of the same status and reason.
    fn is_like(&self, other: &Self) -> bool {
        let gist = |it: &Self| (it.verdict.status, it.verdict.reason.clone());
        gist(self) == gist(other)
    }
}

impl Entry {
    fn generation(&self) -> u64 {
        self.told.as_ref().map_or(0, |told| told.generation)
    }

    fn transition(&self, entity: &EntityRef, judged: &Judged) -> v1::HealthTransition {
        v1::HealthTransition {
            entity: entity.to_string(),
            generation: self.generation() + 1,
            before: self.told.as_ref().and_then(|told| told.after.clone()),
            after: Some(judged.verdict.clone()),
            at: Some(judged.at.to_wire()),
            position: Some(judged.position.clone()),
            clusters: judged.clusters.clone(),
        }
    }

    /// The broker holds something else than we thought. Its generation counts, also after it lost its last messages:
    /// `vitals_state` may then know of a later one, and ours continues that.
    fn lose(&mut self, winner: Option<Last>) {
        match winner {
            Some(Last { told, sequence }) => {
                self.sequence = sequence;
                if told.generation >= self.generation() {
                    self.told = Some(told);
                }
            }
            None => self.sequence = 0,
        }
    }

    /// The first waiting verdict that is news.
    fn next(&mut self, entity: &EntityRef) -> Option<Telling> {
        if self.under_way.is_some() {
            return None;
        }
        while let Some(judged) = self.waiting.pop_front() {
            self.refused = None;
            if !self.differs(&judged) {
                continue;
            }
            if self.is_behind(&judged) {
                self.refused = Some(judged);
                continue;
            }
            let transition = self.transition(entity, &judged);
            self.under_way = Some(UnderWay { judged, transition: transition.clone() });
            let expected_sequence = self.sequence;
            return Some(Telling { entity: entity.clone(), transition, expected_sequence });
        }
        None
    }

    fn differs(&self, judged: &Judged) -> bool {
        let told = self.told.as_ref().and_then(|told| told.after.as_ref());
        let told = told.map(|verdict| (verdict.status, &verdict.reason));
        told != Some((judged.verdict.status, &judged.verdict.reason))
    }

    /// It was reached earlier in the stream than what was told: a hub that lags, or has just begun to read, repeats the past.
    fn is_behind(&self, judged: &Judged) -> bool {
        let Some(told) = &self.told else { return false };
        let (ours, theirs) = (Some(&judged.position), told.position.as_ref());
        // Time rises over rollbacks and new streams, where sequences do not. It falls when the broker's clock is set back:
        // then sequences show who has read more. (Where both fall together, a hub that lagged as the clock was set back
        // could tell the past once; its next verdict mends that.)
        as_of(ours) < as_of(theirs) && !has_read_more(ours, theirs)
    }
}

/// Broker's time up to which a position has read.
fn as_of(position: Option<&v1::Position>) -> (i64, i32) {
    position.and_then(|position| position.as_of).map_or((0, 0), |at| (at.seconds, at.nanos))
}

/// In the same streams, more of one and less of none.
fn has_read_more(ours: Option<&v1::Position>, theirs: Option<&v1::Position>) -> bool {
    let (Some(ours), Some(theirs)) = (ours, theirs) else { return false };
    let (ours, theirs) = (Position::from_wire(ours), Position::from_wire(theirs));
    ours.same_incarnations(&theirs)
        && ours.is_at_or_beyond(&theirs)
        && !theirs.is_at_or_beyond(&ours)
}

#[cfg(test)]
#[path = "telling_tests.rs"]
mod tests;
