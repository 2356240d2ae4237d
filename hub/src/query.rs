//! Questions to the core: what the view does not answer goes through a bounded queue to the one task that owns
//! the core, and comes back on a channel of its own.
//!
//! When the queue is full, who asks waits; when the answer takes too long, he is told that the hub is busy.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
pub use vitals_hub_core::MayResume;
use vitals_hub_core::{Forgetting, NotForgettable};
use vitals_proto::identity::{ClusterName, EntityRef, ObjectKey};
use vitals_proto::v1;

use crate::view::Moment;

/// Most questions that wait for the core.
pub const QUESTIONS_MAX: usize = 256;

/// How long an answer may take, waiting included.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A question, and where the answer goes. Who asked may have gone away.
#[derive(Debug)]
pub enum Query {
    /// Whether a watch may resume from a moment.
    MayResume {
        /// Of the token.
        from: Moment,
        /// Where to.
        answer: oneshot::Sender<MayResume>,
    },
    /// The tree of an entity or an object; `None` where it is not known.
    Tree {
        /// Of what.
        root: TreeRoot,
        /// Where to.
        answer: oneshot::Sender<Option<v1::GetEntityTreeResponse>>,
    },
    /// Why an object belongs where it does; `None` where it is not held.
    Explain {
        /// Which.
        object: ObjectKey,
        /// Where to.
        answer: oneshot::Sender<Option<v1::ExplainObjectResponse>>,
    },
    /// How a cluster would be forgotten.
    Forgetting {
        /// Which.
        cluster: ClusterName,
        /// Where to.
        answer: oneshot::Sender<Result<Forgetting, NotForgettable>>,
    },
    /// Objects as they are held, in order.
    Objects {
        /// Which.
        page: ObjectPage,
        /// Where to.
        answer: oneshot::Sender<HeldObjects>,
    },
}

/// The root of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TreeRoot {
    /// An entity.
    Entity(EntityRef),
    /// One object.
    Object(ObjectKey),
}

/// Which objects, and how many of them.
#[derive(Clone, Debug)]
pub struct ObjectPage {
    /// Which; checked.
    pub filter: ObjectFilter,
    /// Only those after this one.
    pub after: Option<ObjectKey>,
    /// At most so many; fewer where they are large.
    pub count: usize,
}

/// A page of objects.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeldObjects {
    /// In order.
    pub objects: Vec<v1::HeldObjectState>,
    /// The last of them, where there are more.
    pub next: Option<ObjectKey>,
}

/// Which objects. Fields narrow together; an empty field passes all.
#[derive(Clone, Debug, Default)]
pub struct ObjectFilter {
    /// Slugs of clusters.
    pub clusters: Vec<String>,
    /// Kinds, such as `deployments.apps`.
    pub kinds: Vec<String>,
    /// Namespaces.
    pub namespaces: Vec<String>,
    /// The entity that they belong to.
    pub entity: Option<EntityRef>,
}

/// Why there is no answer. Both are transient: ask again, or ask another replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The core did not come to it in time.
    #[error("the hub is busy: no answer within {} s", ANSWER_TIMEOUT.as_secs())]
    Busy,
    /// The hub is stopping.
    #[error("the hub is stopping")]
    Stopping,
}

/// Where questions are asked. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Desk {
    queries: mpsc::Sender<Query>,
}

impl Desk {
    /// A desk, and what the core's loop reads.
    pub fn new() -> (Self, mpsc::Receiver<Query>) {
        let (queries, receiver) = mpsc::channel(QUESTIONS_MAX);
        (Self { queries }, receiver)
    }

    /// Asks, and waits for the answer.
    pub async fn ask<T>(
        &self,
        query: impl FnOnce(oneshot::Sender<T>) -> Query,
    ) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        let query = query(answer);
        let asking = async {
            self.queries.send(query).await.map_err(|_| Error::Stopping)?;
            answered.await.map_err(|_| Error::Stopping)
        };
        tokio::time::timeout(ANSWER_TIMEOUT, asking).await.unwrap_or(Err(Error::Busy))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(desk: &Desk) -> Result<MayResume, Error> {
        desk.ask(|answer| Query::MayResume { from: Moment::default(), answer }).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_and_a_slow_core_are_told_apart_from_the_end() {
        let (desk, mut queries) = Desk::new();
        assert_eq!(ask(&desk).await, Err(Error::Busy), "nobody answers");
        queries.close();
        assert_eq!(ask(&desk).await, Err(Error::Stopping));
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_waits_for_room() {
        let (desk, mut queries) = Desk::new();
        let asking = futures::future::join_all((0..2 * QUESTIONS_MAX).map(|_| ask(&desk)));
        let answering = async {
            for _ in 0..2 * QUESTIONS_MAX {
                let Some(Query::MayResume { from: _, answer }) = queries.recv().await else {
                    panic!("another question");
                };
                answer.send(MayResume::Serve).unwrap();
            }
        };
        let (answers, ()) = futures::future::join(asking, answering).await;
        assert!(answers.iter().all(|answer| *answer == Ok(MayResume::Serve)));
    }
}
