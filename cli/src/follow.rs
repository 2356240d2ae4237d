//! A view of the hub's entities that stays true: `WatchEntities`, resumed by token whenever the connection breaks.
//!
//! [`Follower`] is the shell: it connects, and connects again with backoff. [`View`] is the core: pure, it takes each step
//! and says what it changed, and whether the view has the count and the digest that `synced` names. A view that has not is
//! asked for anew: whoever follows calls [`Follower::restart`].
//!
//! Invariant: after [`Applied::Synced`] that matches, the view equals what a fresh snapshot would give.

use std::collections::BTreeMap;
use std::time::Duration;

use prost::bytes::Bytes;
use tokio::time::{sleep, timeout};
use tonic::Streaming;
use vitals_proto::v1::watch_entities_response::Event;
use vitals_proto::v1::{Entity, EntityFilter, Synced, WatchEntitiesRequest, WatchEntitiesResponse};

use crate::Error;
use crate::hub::Hub;

/// A watch that says nothing for so long is dead: `progress` comes every 15 s.
const SILENCE_MAX: Duration = Duration::from_secs(45);

/// The first pause before another connection; it doubles up to the last, with jitter.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Follows the entities that pass a filter.
#[derive(Debug)]
pub struct Follower {
    hub: Hub,
    filter: EntityFilter,
    stream: Option<Streaming<WatchEntitiesResponse>>,
    /// Of the last `synced` or `progress`; empty asks for a snapshot.
    token: Bytes,
    /// Answers came before: a broken connection is worth trying again.
    has_answered: bool,
    pause: Duration,
}

/// What a [`Follower`] has to say.
#[derive(Debug)]
pub enum Said {
    /// The next step of the watch.
    Step(Box<WatchEntitiesResponse>),
    /// The connection broke; it is made again after the pause.
    Interrupted {
        /// Why.
        error: Error,
        /// How long it rests.
        pause: Duration,
    },
}

impl Follower {
    /// Begins with a snapshot, at the first [`Follower::next`].
    #[must_use]
    pub fn new(hub: Hub, filter: EntityFilter) -> Self {
        let (stream, token, has_answered, pause) = (None, Bytes::new(), false, PAUSE_MIN);
        Self { hub, filter, stream, token, has_answered, pause }
    }

    /// Begins where a token of an earlier watch with the same filter says.
    #[must_use]
    pub fn resumed(self, token: Bytes) -> Self {
        Self { token, ..self }
    }

    /// The token of the last `synced` or `progress`; empty before the first.
    #[must_use]
    pub fn token(&self) -> &Bytes {
        &self.token
    }

    /// Drops the connection and the token: the next step begins a snapshot.
    pub fn restart(&mut self) {
        self.stream = None;
        self.token = Bytes::new();
    }

    /// Waits for the next step, for as long as it takes.
    ///
    /// Dropped before it is ready, it may lose the connection, but no step.
    ///
    /// # Errors
    /// When the hub was never reached, or says no. One that is not ready is waited for.
    pub async fn next(&mut self) -> Result<Said, Error> {
        match self.step().await {
            Ok(step) => {
                self.has_answered = true;
                self.pause = PAUSE_MIN;
                if let Some(token) = token_of(&step) {
                    self.token = token.clone();
                }
                Ok(Said::Step(Box::new(step)))
            }
            Err(error) if self.is_worth_a_try(&error) => {
                self.stream = None;
                let pause = self.pause.mul_f64(0.5 + fastrand::f64());
                self.pause = (self.pause * 2).min(PAUSE_MAX);
                Ok(Said::Interrupted { error, pause })
            }
            Err(error) => Err(error),
        }
    }

    /// A hub that is not ready becomes ready; one that never answered is perhaps not there at all.
    fn is_worth_a_try(&self, error: &Error) -> bool {
        let is_starting = matches!(error, Error::NotReady { .. });
        is_starting || (self.has_answered && error.is_transient())
    }

    async fn step(&mut self) -> Result<WatchEntitiesResponse, Error> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => {
                let opened = open(&self.hub, &self.filter, &self.token).await?;
                self.stream.insert(opened)
            }
        };
        let silent = |_| Error::Silent { hub: self.hub.address().to_owned() };
        let step = timeout(SILENCE_MAX, stream.message()).await.map_err(silent)?;
        step.map_err(|status| self.hub.error(status))?
            .ok_or_else(|| self.hub.error(tonic::Status::unavailable("the hub ended the watch")))
    }
}

async fn open(
    hub: &Hub,
    filter: &EntityFilter,
    token: &Bytes,
) -> Result<Streaming<WatchEntitiesResponse>, Error> {
    let request =
        WatchEntitiesRequest { filter: Some(filter.clone()), resume_token: token.clone() };
    let answer = hub.entities().watch_entities(request).await;
    Ok(answer.map_err(|status| hub.error(status))?.into_inner())
}

/// Rests before the next connection is tried.
pub async fn rest(pause: Duration) {
    sleep(pause).await;
}

fn token_of(step: &WatchEntitiesResponse) -> Option<&Bytes> {
    match step.event.as_ref()? {
        Event::Synced(synced) => Some(&synced.token),
        Event::Progress(progress) => Some(&progress.token),
        Event::Snapshot(_) | Event::Resumed(_) | Event::Upsert(_) | Event::Removed(_) => None,
    }
}

/// What a watch has told so far.
#[derive(Clone, Debug, Default)]
pub struct View {
    entities: BTreeMap<String, Entity>,
    /// A snapshot that is not whole yet: what was there before stays in sight until it is.
    building: Option<BTreeMap<String, Entity>>,
    /// Whole at least once.
    is_whole: bool,
}

/// What a step did to a [`View`].
#[derive(Clone, Debug, PartialEq)]
pub enum Applied {
    /// A snapshot begins: the reason why a token was not taken, if one was given.
    SnapshotBegun(String),
    /// A resume begins.
    Resumed,
    /// An entity as it was in sight, and as it is.
    Changed {
        /// `None` where it was not in sight.
        before: Option<Box<Entity>>,
        /// As it is.
        after: Box<Entity>,
    },
    /// An entity left the view.
    Removed(Option<Box<Entity>>),
    /// The view is whole, and its count and digest are those that the hub names.
    Synced {
        /// What was in sight and is not in the new snapshot.
        vanished: Vec<Entity>,
    },
    /// The view should be whole and is not: it must be asked for anew.
    Differs(Difference),
    /// Nothing happened; the view holds up to this time. Milliseconds since the Unix epoch.
    Progress(Option<i64>),
    /// A step that this version does not know.
    Unknown,
}

/// How a view differs from what the hub says it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Entities here, and at the hub.
    pub count: (u64, u64),
    /// Digest here, and at the hub.
    pub digest: (u64, u64),
}

impl View {
    /// The entities in sight, by reference.
    #[must_use]
    pub fn entities(&self) -> &BTreeMap<String, Entity> {
        &self.entities
    }

    /// A snapshot was whole once.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Entities of the snapshot that is coming in, while one is.
    #[must_use]
    pub fn incoming(&self) -> Option<usize> {
        self.building.as_ref().map(BTreeMap::len)
    }

    /// Count and digest.
    #[must_use]
    pub fn sum(&self) -> (u64, u64) {
        sum(&self.entities)
    }

    /// Takes one step.
    pub fn apply(&mut self, step: WatchEntitiesResponse) -> Applied {
        match step.event {
            Some(Event::Snapshot(snapshot)) => {
                self.building = Some(BTreeMap::new());
                Applied::SnapshotBegun(snapshot.reason)
            }
            Some(Event::Resumed(_)) => {
                self.building = None;
                Applied::Resumed
            }
            Some(Event::Upsert(entity)) => self.upsert(entity),
            Some(Event::Removed(removed)) => {
                Applied::Removed(self.held().remove(&removed.r#ref).map(Box::new))
            }
            Some(Event::Synced(synced)) => self.synced(&synced),
            Some(Event::Progress(progress)) => {
                Applied::Progress(progress.as_of.as_ref().map(crate::text::unix_ms))
            }
            None => Applied::Unknown,
        }
    }

    fn upsert(&mut self, entity: Entity) -> Applied {
        let in_sight = match &mut self.building {
            Some(building) => {
                building.insert(entity.r#ref.clone(), entity.clone());
                self.entities.get(&entity.r#ref).cloned()
            }
            None => self.entities.insert(entity.r#ref.clone(), entity.clone()),
        };
        Applied::Changed { before: in_sight.map(Box::new), after: Box::new(entity) }
    }

    fn synced(&mut self, synced: &Synced) -> Applied {
        let mut vanished = Vec::new();
        if let Some(built) = self.building.take() {
            let before = std::mem::replace(&mut self.entities, built);
            vanished
                .extend(before.into_values().filter(|it| !self.entities.contains_key(&it.r#ref)));
        }
        self.is_whole = true;
        let (count, digest) = self.sum();
        if (count, digest) == (synced.count, synced.digest) {
            return Applied::Synced { vanished };
        }
        let (count, digest) = ((count, synced.count), (digest, synced.digest));
        Applied::Differs(Difference { count, digest })
    }

    fn held(&mut self) -> &mut BTreeMap<String, Entity> {
        self.building.as_mut().unwrap_or(&mut self.entities)
    }
}

fn sum(entities: &BTreeMap<String, Entity>) -> (u64, u64) {
    let digest = entities.values().fold(0_u64, |sum, entity| sum.wrapping_add(entity.digest));
    (u64::try_from(entities.len()).unwrap_or(u64::MAX), digest)
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
