//! The watch of one kind: lists it consistently, then follows it, and says at every moment how far it can be believed.
//!
//! On the path: *watch* → project → publish. kube-runtime's `watcher` hides bookmarks and list versions and streams its
//! first list from a possibly stale cache (`resourceVersion=0`), so this is a small state machine of our own over
//! [`kube::Client`]: `plan` decides (pure, tested as a table), `run` performs, `list` and `answer` speak HTTP.
//!
//! # What the items say
//! - [`WatchItem::ListStarted`] … [`WatchItem::ListEnded`] bracket a consistent list. What exists comes between them as
//!   [`WatchItem::Listed`] or [`WatchItem::Unreadable`]; whatever did not come in between does not exist any more. A
//!   list that breaks off ends with [`WatchItem::ListDiscarded`]: what came of it is true, what did not come means nothing.
//! - [`WatchItem::Listed`], [`WatchItem::Applied`] and [`WatchItem::Deleted`] may be acted on at once. **No item goes back
//!   in time**: before a list begins its version is known and compared. A paged list says it on its first page. A
//!   streaming list says it only at its end, hence it is preceded by a consistent list of one object (`limit=1`, no
//!   version): the stream, asked for without a version, is then at least as new as that (the API server waits until
//!   its cache is as new as etcd was at the request: `Cacher.waitUntilWatchCacheFreshAndForceAllEvents`). Buffering the
//!   list instead would cost the memory of all objects.
//! - [`WatchItem::Alive`] is a bookmark, or another proof that nothing was missed. Every item but
//!   [`WatchItem::State`] and [`WatchItem::ListDiscarded`] is a sign of life.
//! - [`WatchItem::State`] comes whenever the state changes; the first is [`WatchState::Listing`]. That comes once more, with
//!   the reason, when a list fails.
//!
//! # Idleness
//! Bookmarks come about once a minute, but not on a kind whose version did not move since its watch began (cacher,
//! `cacheWatcher.process`: a bookmark must be newer than the start). So silence is first put to proof: a consistent list
//! of one object tells the newest version. The same as seen: nothing happened, anywhere. A newer one: a watch of a few
//! seconds is opened, which must end with a bookmark (the API server sends one 2 s before a watch's end). If neither
//! event nor bookmark comes, the kind is listed again. Watches begin one bookmark back, so that bookmarks keep coming.
//!
//! Events have no watch cache in the API server, hence no bookmarks. There a watch that the API server ends in good order without
//! a word, begun at what was seen last, is the proof: it is told all that came after its start first. So as not to trust that
//! for ever, Events are listed again after some such proofs in a row.
//!
//! # Events
//! They are many, and go after an hour; what is said are folds of them, one for each object that they are about (`fold`). Items of
//! the kind `events` are of folds.
//!
//! # Invariants
//! One request at a time; nothing is spawned; the items' queue is the caller's and bounded, and a full one stops the reading
//! (the API server then closes the watch, which is resumed or listed again). Dropping the future stops it all.

mod version;
mod resource;
mod settings;
mod event;
pub(crate) mod answer;
mod plan;
mod list;
mod run;
mod discovery;
mod fold;
#[cfg(test)]
mod script;
#[cfg(test)]
mod tests;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::{Notify, mpsc};
use vitals_proto::kind::Kind;

pub(crate) use resource::escape;
pub use settings::Settings;
pub use version::ResourceVersion;

use crate::project::{Deleted, Projected, Unreadable};

/// An item and the kind that it is of, for one queue of all kinds.
#[derive(Debug)]
pub struct Watched {
    /// The kind.
    pub kind: Kind,
    /// What its watch says.
    pub item: WatchItem,
}

/// What the watch of a kind says. The module's page says what each one allows.
#[derive(Debug)]
pub enum WatchItem {
    /// A consistent list begins: what was known of the kind is put to question.
    ListStarted {
        /// What follows is at least as new as this.
        resource_version: ResourceVersion,
        /// The API server's history itself went back (its etcd was restored): versions seen before mean nothing now.
        rewound: bool,
    },
    /// In a list: the object exists, and this is its state. Its facts are cut to fit a message.
    Listed(Box<Projected>),
    /// In a watch: the object exists, and this is its new state. Its facts are cut to fit a message.
    Applied(Box<Projected>),
    /// The object exists, and cannot be read. It is counted and named; what was published of it stays.
    Unreadable(Box<Unreadable>),
    /// The object does not exist any more.
    Deleted(Box<Deleted>),
    /// The list is complete.
    ListEnded {
        /// Version of the list.
        resource_version: ResourceVersion,
        /// Objects in it of which not even the name could be read. While there are any, what was not listed may
        /// exist all the same, so nothing may be removed for not having been listed.
        unnamed: u64,
    },
    /// The list broke off; another will begin.
    ListDiscarded,
    /// An Event is left out of what is told.
    EventLost(Loss),
    /// Nothing was missed up to now.
    Alive {
        /// Up to this; absent where it could not be read.
        resource_version: Option<ResourceVersion>,
    },
    /// How far the kind can be believed changed.
    State {
        /// The new state.
        state: WatchState,
        /// Why, in one line; empty where all is well.
        detail: String,
    },
}

/// Why an Event is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Loss {
    /// It cannot be read, so that it is not known what it is about.
    Unreadable,
    /// Too many exist: of all it was told longest ago.
    TooMany,
}

/// How far a kind can be believed, as far as its watch knows. *Complete* is the agent's word: [`Self::Live`], and
/// everything handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchState {
    /// Not listed yet, or listed anew because something may have been missed.
    Listing,
    /// Listed and followed.
    Live,
    /// The API server refuses it (401, 403).
    Forbidden,
    /// The cluster does not have it, in any version.
    Absent,
    /// No sign of life for longer than [`Settings::stalled_after`].
    Stalled,
}

/// The API paths of this kind are not known to this agent. Final.
#[derive(Debug, thiserror::Error)]
#[error("cannot watch {0}: its API is not known to this agent")]
pub struct UnknownKind(pub Kind);

/// Asks the watch of a kind to list it again, for repair. Asking twice before it happened is asking once.
#[derive(Clone, Debug, Default)]
pub struct Relist(Arc<Wish>);

#[derive(Debug, Default)]
struct Wish {
    stands: AtomicBool,
    woken: Notify,
}

impl Relist {
    /// Asks. The list begins at once, or when the current one has ended; the kind stays live meanwhile.
    pub fn ask(&self) {
        self.0.stands.store(true, Ordering::Release);
        self.0.woken.notify_one();
    }

    /// Waits until somebody asked, and takes the wish. Nothing is lost when the future is dropped.
    async fn asked(&self) {
        // Two calls of `notify_one` may wake twice for one wish.
        while !self.0.stands.swap(false, Ordering::AcqRel) {
            self.0.woken.notified().await;
        }
    }
}

/// The watch of one kind, not yet running.
pub struct Watcher {
    client: kube::Client,
    resource: resource::Resource,
    kind: Kind,
    settings: Settings,
    relist: Relist,
}

/// An error with all its causes, in one line of bounded length.
pub(crate) fn one_line(error: &dyn std::error::Error) -> String {
    answer::one_line(&answer::chain(error))
}

impl Watcher {
    /// A watch of `kind`.
    ///
    /// # Errors
    /// When the kind's API is not known.
    pub fn new(client: kube::Client, kind: Kind, settings: Settings) -> Result<Self, UnknownKind> {
        let namespace = settings.namespace.as_deref();
        let Some(resource) = resource::Resource::new(&kind, namespace) else {
            return Err(UnknownKind(kind));
        };
        Ok(Self { client, resource, kind, settings, relist: Relist::default() })
    }

    /// The way to ask for a new list while it runs.
    #[must_use]
    pub fn relist(&self) -> Relist {
        self.relist.clone()
    }

    /// Watches until the receiver of `items` is closed. Never fails: what goes wrong is retried, and told as
    /// [`WatchItem::State`]. Waits when the queue is full.
    pub async fn run(self, items: mpsc::Sender<Watched>) {
        run::run(self, items).await;
    }
}
