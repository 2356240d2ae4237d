//! Folds the Events that exist as they come and go: what the watch of Events says of each becomes what is to be said of the
//! objects that they are about.
//!
//! Behind `run`, before the queue. Of each Event is held what a fold tells of it, cut, so that an Event that goes leaves the
//! fold of the others exactly; of what it is about one copy for all its Events.
//!
//! Invariants: between the items of a list the folds of all its Events come, and nothing else; a version never goes back.
//! At most [`EVENTS_MAX`] Events are held: of more, those that were told longest ago are let go, as if they did not exist.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tracing::warn;
use vitals_proto::{
    digest::Digest,
    v1::{self, EventReason, InvolvedObject},
};

use super::{Loss, WatchItem};
use crate::project::{
    Deleted, Projected,
    event::{fold, fold_name},
};

/// About 3 MB in the worst case. An API server keeps Events for an hour.
const EVENTS_MAX: usize = 8_192;

/// See the module.
#[derive(Default)]
pub(super) struct Fold {
    all: BTreeMap<Arc<Name>, About>,
    /// Under which name each Event is folded, and when it was told last.
    events: BTreeMap<EventId, (Arc<Name>, i64)>,
    /// The Events, the one that was told longest ago first.
    by_time: BTreeSet<(i64, EventId)>,
    /// A list runs: what it names is told at its end.
    is_listing: bool,
}

/// Of a fold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    namespace: Box<str>,
    name: Box<str>,
}

/// A hash of the namespace and name of an Event. Two of one hash would count as one Event.
type EventId = u64;

/// All that is told of one object.
type About = Vec<Told>;

struct Told {
    event: EventId,
    /// Named by the list that runs, or that ran last.
    is_listed: bool,
    /// Shared with those before it that say the same.
    involved: Arc<InvolvedObject>,
    reason: EventReason,
}

/// What an Event that comes or changes does.
#[derive(Default)]
struct Put {
    changed: Vec<Arc<Name>>,
    lost: Option<Loss>,
}

impl Fold {
    /// What follows from an item, but for the end of a list: see [`Fold::end_list`].
    pub(super) fn take(&mut self, item: WatchItem) -> Vec<WatchItem> {
        match item {
            WatchItem::ListStarted { .. } => {
                self.is_listing = true;
                let told = self.all.values_mut().flatten();
                told.for_each(|told| told.is_listed = false);
                vec![item]
            }
            WatchItem::ListDiscarded => {
                self.is_listing = false;
                vec![item]
            }
            WatchItem::Listed(event) | WatchItem::Applied(event) => {
                let version = event.resource_version.clone();
                let Put { changed, lost } = self.put(*event);
                let mut items = self.say(changed, &version);
                items.extend(lost.map(WatchItem::EventLost));
                items
            }
            WatchItem::Deleted(event) => {
                let Deleted { namespace, name, resource_version, .. } = *event;
                let changed = self.remove(id(&namespace, &name));
                self.say(changed, &resource_version)
            }
            WatchItem::Unreadable(unreadable) => {
                // What it is about is not known, so that nothing can be said of it.
                warn!(error = super::one_line(&*unreadable), "Event cannot be read");
                vec![WatchItem::EventLost(Loss::Unreadable)]
            }
            WatchItem::ListEnded { .. }
            | WatchItem::EventLost(_)
            | WatchItem::Alive { .. }
            | WatchItem::State { .. } => vec![item],
        }
    }

    /// The list is whole: forgets what it did not name. Gives the names of all folds, to be told one by one.
    pub(super) fn end_list(&mut self) -> Vec<Arc<Name>> {
        self.is_listing = false;
        let told = self.all.values().flatten();
        let unlisted = told.filter(|told| !told.is_listed).map(|told| told.event);
        for event in unlisted.collect::<Vec<_>>() {
            self.remove(event);
        }
        self.all.keys().cloned().collect()
    }

    /// A fold, as of a version. `None` where there is none.
    pub(super) fn projected(&self, name: &Name, version: &str) -> Option<Projected> {
        let told = self.all.get(name)?.iter();
        Some(Projected {
            namespace: name.namespace.to_string(),
            name: name.name.to_string(),
            resource_version: version.to_owned(),
            facts: fold(told.map(|told| (&*told.involved, &told.reason))),
            ..Projected::default()
        })
    }

    /// Takes an Event as it is now. Gives what that changes.
    fn put(&mut self, event: Projected) -> Put {
        let event_id = id(&event.namespace, &event.name);
        let Some(v1::facts::Kind::Event(facts)) = event.facts.kind else { return Put::default() };
        let involved = facts.involved.unwrap_or_default();
        let Some(reason) = facts.reasons.into_iter().next() else { return Put::default() };
        let at = reason.last_at_unix_s;
        let (namespace, name) = (event.namespace.into(), fold_name(&involved).into());
        let name = Arc::new(Name { namespace, name });
        let mut changed = self.remove(event_id);
        changed.retain(|before| *before != name);
        let lost = (self.events.len() >= EVENTS_MAX).then_some(Loss::TooMany);
        if lost.is_some() {
            let oldest = self.by_time.first().copied();
            match oldest.filter(|oldest| *oldest < (at, event_id)) {
                Some((_, oldest)) => changed.extend(self.remove(oldest)),
                None => return Put { changed, lost },
            }
        }
        self.by_time.insert((at, event_id));
        self.events.insert(event_id, (Arc::clone(&name), at));
        let about = self.all.entry(Arc::clone(&name)).or_default();
        let same = about.iter().find(|told| *told.involved == involved);
        let involved = same.map_or_else(|| Arc::new(involved), |told| Arc::clone(&told.involved));
        about.push(Told { event: event_id, is_listed: true, involved, reason });
        changed.retain(|before| *before != name);
        changed.push(name);
        Put { changed, lost }
    }

    fn remove(&mut self, event: EventId) -> Vec<Arc<Name>> {
        let Some((name, at)) = self.events.remove(&event) else { return Vec::new() };
        self.by_time.remove(&(at, event));
        if let Some(about) = self.all.get_mut(&name) {
            about.retain(|told| told.event != event);
            if about.is_empty() {
                self.all.remove(&name);
            }
        }
        vec![name]
    }

    /// While a list runs its end says all.
    fn say(&self, changed: Vec<Arc<Name>>, version: &str) -> Vec<WatchItem> {
        if self.is_listing {
            return Vec::new();
        }
        let item = |name: Arc<Name>| match self.projected(&name, version) {
            Some(projected) => WatchItem::Applied(Box::new(projected)),
            None => WatchItem::Deleted(Box::new(Deleted {
                namespace: name.namespace.to_string(),
                name: name.name.to_string(),
                uid: Default::default(),
                labels: BTreeMap::new(),
                resource_version: version.to_owned(),
            })),
        };
        changed.into_iter().map(item).collect()
    }
}

fn id(namespace: &str, name: &str) -> EventId {
    let [a, b, c, d, e, f, g, h, ..] = Digest::of(namespace, name.as_bytes()).to_wire();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;
    use vitals_proto::kind::Kind;

    use super::{super::script::text, *};
    use crate::{
        project::{event::folds, project},
        watch::ResourceVersion,
    };

    /// Of a pod, told so many seconds after a time.
    fn event(name: &str, pod: &str, reason: &str, at: u32, version: u64) -> Projected {
        let about = json!({"apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": pod});
        let last = format!("2026-01-02T{:02}:{:02}:{:02}Z", at / 3600, at / 60 % 60, at % 60);
        let event = json!({
            "metadata": {"name": name, "namespace": "shop", "resourceVersion": version.to_string()},
            "involvedObject": about, "reason": reason, "message": reason, "lastTimestamp": last,
        });
        project(&Kind::Event, event.to_string().as_bytes()).unwrap()
    }

    fn applied(event: Projected) -> WatchItem {
        WatchItem::Applied(Box::new(event))
    }

    fn deleted(name: &str, version: u64) -> WatchItem {
        let resource_version = version.to_string();
        let (namespace, name) = ("shop".to_owned(), name.to_owned());
        let (uid, labels) = (Default::default(), BTreeMap::new());
        WatchItem::Deleted(Box::new(Deleted { namespace, name, uid, labels, resource_version }))
    }

    fn texts(items: Vec<WatchItem>) -> Vec<String> {
        items.into_iter().map(text).collect()
    }

    fn started() -> WatchItem {
        let resource_version = ResourceVersion::parse("1").unwrap();
        WatchItem::ListStarted { resource_version, rewound: false }
    }

    #[test]
    fn events_come_and_go_and_the_last_takes_the_fold_with_it() {
        let mut fold = Fold::default();
        for (item, want) in [
            (applied(event("a", "web", "BackOff", 1, 5)), "applied pod_web@5"),
            (applied(event("b", "web", "Unhealthy", 2, 6)), "applied pod_web@6"),
            (applied(event("a", "web", "BackOff", 3, 7)), "applied pod_web@7"),
            (applied(event("c", "db", "Failed", 3, 8)), "applied pod_db@8"),
            (deleted("a", 9), "applied pod_web@9"),
            (deleted("b", 10), "deleted pod_web {}"),
        ] {
            assert_eq!(texts(fold.take(item)), [want]);
        }
        assert_eq!(texts(fold.take(deleted("never", 11))), [""; 0]);
        assert_eq!((fold.all.len(), fold.events.len()), (1, 1));
    }

    #[test]
    fn a_list_tells_all_at_its_end_and_forgets_what_it_did_not_name() {
        let mut fold = Fold::default();
        for (name, pod) in [("a", "web"), ("b", "web"), ("c", "db")] {
            fold.take(applied(event(name, pod, name, 1, 5)));
        }
        assert_eq!(texts(fold.take(started())), ["list 1"]);
        for item in [event("a", "web", "a", 1, 5), event("d", "web", "d", 2, 6)] {
            assert_eq!(texts(fold.take(WatchItem::Listed(Box::new(item)))), [""; 0]);
        }
        let names = fold.end_list();
        let folds: Vec<_> = names.iter().filter_map(|name| fold.projected(name, "20")).collect();
        let [web] = folds.as_slice() else { panic!("{folds:?}") };
        assert_eq!((&*web.name, &*web.resource_version), ("pod_web", "20"));
        let Some(v1::facts::Kind::Event(facts)) = &web.facts.kind else { panic!("no Event") };
        let told: Vec<_> = facts.reasons.iter().map(|it| &*it.reason).collect();
        assert_eq!(told, ["d", "a"]);
        assert_eq!(texts(fold.take(deleted("d", 21))), ["applied pod_web@21"]);
    }

    #[test]
    fn a_list_that_breaks_off_forgets_nothing() {
        let mut fold = Fold::default();
        fold.take(applied(event("a", "web", "a", 1, 5)));
        fold.take(started());
        assert_eq!(texts(fold.take(WatchItem::ListDiscarded)), ["discarded"]);
        assert_eq!(texts(fold.take(deleted("a", 9))), ["deleted pod_web {}"]);
    }

    #[test]
    fn the_oldest_is_let_go_when_there_are_too_many() {
        let mut fold = Fold::default();
        let at = |number: usize| u32::try_from(number).unwrap();
        for number in 0..EVENTS_MAX {
            let name = number.to_string();
            fold.take(applied(event(&name, &format!("p{}", number / 2), &name, at(number), 5)));
        }
        let more = fold.take(applied(event("x", "px", "x", at(EVENTS_MAX), 9)));
        assert_eq!(texts(more), ["applied pod_p0@9", "applied pod_px@9", "lost TooMany"]);
        let more = fold.take(applied(event("y", "py", "y", at(EVENTS_MAX), 10)));
        assert_eq!(texts(more), ["deleted pod_p0 {}", "applied pod_py@10", "lost TooMany"]);
        let older = fold.take(applied(event("z", "pz", "z", 0, 11)));
        assert_eq!(texts(older), ["lost TooMany"], "that is itself the one to be let go");
        assert_eq!((fold.events.len(), fold.by_time.len()), (EVENTS_MAX, EVENTS_MAX));
    }

    #[test]
    fn an_event_that_turns_to_another_object_leaves_the_first() {
        let mut fold = Fold::default();
        fold.take(applied(event("a", "web", "a", 1, 5)));
        let items = fold.take(applied(event("a", "db", "a", 1, 6)));
        assert_eq!(texts(items), ["deleted pod_web {}", "applied pod_db@6"]);
    }

    proptest! {
        /// What was told last of each object is the fold of the Events that are there.
        #[test]
        fn it_is_the_fold_of_what_exists(steps in proptest::collection::vec((0..6_usize, 0..3_usize, 0..4_usize, any::<bool>()), 0..60)) {
            let (mut fold, mut said, mut exist) = (Fold::default(), BTreeMap::new(), BTreeMap::new());
            for (version, (name, pod, reason, comes)) in (1_u64..).zip(steps) {
                let name = format!("e{name}");
                let item = if comes {
                    let at = u32::try_from(version).unwrap();
                    let event = event(&name, ["a", "b", "c"][pod], ["A", "B", "C", "D"][reason], at, version);
                    exist.insert(name, event.clone());
                    applied(event)
                } else {
                    exist.remove(&name);
                    deleted(&name, version)
                };
                for item in fold.take(item) {
                    if let WatchItem::Applied(it) = item {
                        said.insert(it.name, it.facts);
                    } else if let WatchItem::Deleted(it) = item {
                        said.remove(&it.name);
                    }
                }
                let want: BTreeMap<_, _> = folds(exist.values().cloned().collect())
                    .into_iter()
                    .map(|it| (it.name, it.facts))
                    .collect();
                prop_assert_eq!(&said, &want);
            }
        }
    }
}
