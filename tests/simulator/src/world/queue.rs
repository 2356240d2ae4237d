//! What controllers have to look at, now and later. Each key stands once in each, so both are bounded by the objects.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::Timestamp;

use crate::resource::ResourceId;
use crate::store::Key;

/// Who acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Controller {
    Garbage,
    Namespace,
    Node,
    Deployment,
    ReplicaSet,
    StatefulSet,
    DaemonSet,
    Job,
    CronJob,
    Claim,
    Volume,
    Scheduler,
    Kubelet,
    Service,
    Ingress,
    Scaler,
    Budget,
    Quota,
    EventExpiry,
}

/// A controller and the object that it has to look at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Item {
    pub(crate) controller: Controller,
    pub(crate) resource: ResourceId,
    pub(crate) key: Key,
}

/// First come, first served.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    ready: VecDeque<Item>,
    queued: BTreeSet<Item>,
    timers: BTreeSet<(Timestamp, Item)>,
    due: BTreeMap<Item, Timestamp>,
    /// Pods that wait for a node that fits.
    pub(crate) unschedulable: BTreeSet<Key>,
}

impl Queue {
    /// To be looked at now.
    pub(crate) fn push(&mut self, item: Item) {
        if self.queued.insert(item.clone()) {
            self.ready.push_back(item);
        }
    }

    /// To be looked at then, too. Only the earliest time is kept: who is woken works out the next.
    pub(crate) fn push_at(&mut self, at: Timestamp, item: Item) {
        if let Some(known) = self.due.get(&item) {
            if *known <= at {
                return;
            }
            self.timers.remove(&(*known, item.clone()));
        }
        self.due.insert(item.clone(), at);
        self.timers.insert((at, item));
    }

    /// The next one, if there is something to do now.
    pub(crate) fn next(&mut self, now: Timestamp) -> Option<Item> {
        while self.timers.first().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, item)) = self.timers.pop_first() {
                self.due.remove(&item);
                self.push(item);
            }
        }
        let item = self.ready.pop_front()?;
        self.queued.remove(&item);
        Some(item)
    }

    /// When there will be something to do.
    pub(crate) fn next_timer(&self) -> Option<Timestamp> {
        self.timers.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::PODS;

    #[test]
    fn each_stands_once_and_timers_keep_the_earliest() {
        let item = |name: &str| Item {
            controller: Controller::Kubelet,
            resource: PODS,
            key: Key::new("x", name),
        };
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let mut queue = Queue::default();
        queue.push(item("a"));
        queue.push(item("a"));
        queue.push_at(at(9), item("b"));
        queue.push_at(at(5), item("b"));
        queue.push_at(at(7), item("b"));
        assert_eq!(queue.next(at(0)), Some(item("a")));
        assert_eq!((queue.next(at(4)), queue.next_timer()), (None, Some(at(5))));
        assert_eq!(queue.next(at(9)), Some(item("b")));
        assert_eq!((queue.next(at(9)), queue.next_timer()), (None, None));
    }
}
