//! Answers questions from the core, between two batches.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use vitals_hub_core::{Held, Hub, Time};
use vitals_proto::identity::ObjectKey;
use vitals_proto::v1;

use crate::query::{ObjectFilter, ObjectPage, Query, TreeRoot};
use crate::view::Moment;

/// Answers one. Who asked may have gone meanwhile; then the answer goes nowhere.
pub(crate) fn answer(hub: &Hub, query: Query, now: Time) {
    match query {
        Query::MayResume { from: Moment { position, as_of }, answer } => {
            drop(answer.send(hub.may_resume(&position, as_of, now)));
        }
        Query::Tree { root, answer } => {
            let tree = match root {
                TreeRoot::Entity(entity) => hub.picture().tree(&entity),
                TreeRoot::Object(object) => hub.picture().tree_around(&object),
            };
            drop(answer.send(tree));
        }
        Query::Explain { object, answer } => {
            drop(answer.send(hub.picture().explain(hub.store(), &object)));
        }
        Query::Objects { page, answer } => drop(answer.send(objects(hub, &page, now))),
    }
}

/// The first objects of the page, ordered by cluster, kind, namespace and name.
fn objects(hub: &Hub, page: &ObjectPage, now: Time) -> Vec<v1::HeldObjectState> {
    let mut found = Vec::new();
    for cluster in hub.clusters(now) {
        if add_objects(hub, &cluster.name, page, &mut found).is_break() {
            break;
        }
    }
    found
}

/// Adds those of one cluster. Ends when the page is full.
fn add_objects(
    hub: &Hub,
    cluster: &str,
    page: &ObjectPage,
    found: &mut Vec<v1::HeldObjectState>,
) -> ControlFlow<()> {
    let ObjectPage { filter, after, count } = page;
    let after = after.as_ref().map(|key| (key.cluster().as_str(), order(key)));
    let is_before = after.is_some_and(|(after, _)| cluster < after);
    let Ok(name) = cluster.parse() else { return ControlFlow::Continue(()) };
    if is_before || !is_in(&filter.clusters, cluster) {
        return ControlFlow::Continue(());
    }
    let after = after.filter(|(after, _)| *after == cluster).map(|(_, order)| order);
    // The store has no order: the first ones are picked out of it.
    let mut first = BTreeMap::new();
    for held in hub.store().objects(&name) {
        let place = (held.kind().resource(), held.namespace(), held.name());
        if after.is_some_and(|after| place <= after) || !passes(hub, filter, &held) {
            continue;
        }
        first.insert(place, held);
        if first.len() > count - found.len() {
            first.pop_last();
        }
    }
    found.extend(first.into_values().map(|held| state(hub, &held)));
    if found.len() >= *count { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
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
