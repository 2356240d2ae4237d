//! Answers questions from the core, between two batches.

use std::collections::BTreeMap;

use prost::Message as _;
use vitals_hub_core::{Held, Hub, Time};
use vitals_proto::identity::{ClusterName, ObjectKey};
use vitals_proto::v1;

use crate::query::{HeldObjects, ObjectFilter, ObjectPage, Query, TreeRoot};
use crate::serve::PAGE_BYTES_MAX;
use crate::view::Moment;

/// Answers one. Who asked may have gone meanwhile; then the answer goes nowhere.
pub(crate) fn answer(hub: &Hub, query: Query, now: Time) {
    match query {
        Query::MayResume { from: Moment { position, as_of }, answer } => {
            drop(answer.send(hub.may_resume(&position, as_of, now)));
        }
        Query::Tree { root, answer } => {
            let tree = match root {
                TreeRoot::Entity(entity) => hub.picture().tree(hub.store(), &entity),
                TreeRoot::Object(object) => hub.picture().tree_around(hub.store(), &object),
            };
            drop(answer.send(tree));
        }
        Query::Explain { object, answer } => {
            drop(answer.send(hub.picture().explain(hub.store(), &object)));
        }
        Query::Forgetting { cluster, answer } => {
            drop(answer.send(hub.forgetting(&cluster, now)));
        }
        Query::Objects { page, answer } => drop(answer.send(objects(hub, &page, now))),
    }
}

/// The first objects of the page, ordered by cluster, kind, namespace and name.
fn objects(hub: &Hub, page: &ObjectPage, now: Time) -> HeldObjects {
    let mut first = Vec::new();
    for cluster in hub.clusters(now) {
        if first.len() <= page.count
            && let Ok(name) = cluster.name.parse()
        {
            add_first(hub, &name, page, &mut first);
        }
    }
    let mut found = HeldObjects::default();
    let mut bytes = 0;
    for held in first {
        let state = state(hub, &held);
        bytes += state.encoded_len();
        let is_full = found.objects.len() == page.count || bytes > PAGE_BYTES_MAX;
        if is_full && let Some(last) = found.objects.last().and_then(|last| last.object.as_ref()) {
            found.next = ObjectKey::try_from(last).ok();
            break;
        }
        found.objects.push(state);
    }
    found
}

/// Adds the first objects of one cluster, up to one more than fit on the page: it tells that there is another page.
fn add_first<'a>(
    hub: &'a Hub,
    cluster: &ClusterName,
    page: &ObjectPage,
    first: &mut Vec<Held<'a>>,
) {
    let ObjectPage { filter, after, count } = page;
    let is_before = after.as_ref().is_some_and(|after| cluster < after.cluster());
    if is_before || !is_in(&filter.clusters, cluster.as_str()) {
        return;
    }
    let after = after.as_ref().filter(|after| after.cluster() == cluster).map(order);
    // The store has no order: the first ones are picked out of it.
    let mut ordered = BTreeMap::new();
    for held in hub.store().objects(cluster) {
        let place = (held.kind().resource(), held.namespace(), held.name());
        if after.is_some_and(|after| place <= after) || !passes(hub, filter, &held) {
            continue;
        }
        ordered.insert(place, held);
        if first.len() + ordered.len() > count + 1 {
            ordered.pop_last();
        }
    }
    first.extend(ordered.into_values());
}

fn order(key: &ObjectKey) -> (&str, &str, &str) {
    (key.kind().resource(), key.namespace(), key.name())
}

fn passes(hub: &Hub, filter: &ObjectFilter, held: &Held<'_>) -> bool {
    let ObjectFilter { clusters: _, kinds, namespaces, entity } = filter;
    is_in(kinds, held.kind().resource())
        && is_in(namespaces, held.namespace())
        && entity
            .as_ref()
            .is_none_or(|entity| hub.picture().entities_of(&held.key()).contains(entity))
}

fn is_in(wanted: &[String], value: &str) -> bool {
    wanted.is_empty() || wanted.iter().any(|wanted| wanted == value)
}

fn state(hub: &Hub, held: &Held<'_>) -> v1::HeldObjectState {
    let key = held.key();
    let entities = hub.picture().entities_of(&key).iter();
    v1::HeldObjectState {
        object: Some(key.to_ref()),
        resource_version: held.resource_version().to_owned(),
        observed_at: Some(Time::from_unix_ms(held.observed_at_unix_ms()).to_wire()),
        health: hub.picture().object_health(&key),
        facts: held.facts(),
        entities: entities.map(ToString::to_string).collect(),
    }
}
