//! The entity definitions that the hub knows, by what they claim.
//!
//! A definition claims the objects that its label selector matches; without one, those whose label
//! `backstage.io/kubernetes-id` is its id, or its name where it gives none. Namespace and cluster narrow both. So does
//! Backstage, which this follows.
//!
//! Reading files is the shell's: what it read, it checks with [`check`] before it takes it.

use std::collections::{BTreeMap, BTreeSet};

use vitals_proto::{
    identity::{self, ClusterName, EntityRef, ObjectKey},
    v1,
};

pub use crate::entity::selector::Error as SelectorError;
use crate::{
    entity::{rule::KUBERNETES_ID, selector::Selector},
    graph::labels::Labels,
};

/// Why a definition cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Its own reference, or one that it gives, is none.
    #[error("field {field}")]
    Reference {
        /// The field.
        field: &'static str,
        /// What is wrong.
        #[source]
        source: identity::Error,
    },
    /// Its annotation `backstage.io/kubernetes-label-selector` is no selector.
    #[error("annotation backstage.io/kubernetes-label-selector of {entity}")]
    Selector {
        /// Whose.
        entity: EntityRef,
        /// What is wrong.
        #[source]
        source: SelectorError,
    },
}

/// Kinds of entities that are meant to run: they may claim by their name alone, and are missing where nothing of them runs.
const KINDS_THAT_RUN: [&str; 2] = ["component", "resource"];

/// Checks a definition, and gives it in its canonical form: references whole and in lower case.
///
/// # Errors
/// When it cannot be taken. The caller refuses all that came with it.
pub fn check(mut definition: v1::EntityDefinition) -> Result<v1::EntityDefinition, Error> {
    let parsed = Definition::parse(definition.clone())?;
    definition.r#ref = parsed.entity.to_string();
    for (field, kind, text) in [
        ("owner", "group", &mut definition.owner),
        ("system", "system", &mut definition.system),
        ("domain", "domain", &mut definition.domain),
    ] {
        if !text.is_empty() {
            let whole = EntityRef::parse_with(text, kind, parsed.entity.namespace());
            *text = whole.map_err(|source| Error::Reference { field, source })?.to_string();
        }
    }
    Ok(definition)
}

/// A definition as it is matched.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Definition {
    pub(crate) entity: EntityRef,
    pub(crate) wire: v1::EntityDefinition,
    claim: DefinedClaim,
}

#[derive(Clone, Debug, PartialEq)]
enum DefinedClaim {
    Selector(Selector),
    Id(String),
    Name,
    /// It runs nowhere, as a system or a group.
    Nothing,
}

impl Definition {
    fn parse(wire: v1::EntityDefinition) -> Result<Self, Error> {
        let entity: EntityRef =
            wire.r#ref.parse().map_err(|source| Error::Reference { field: "ref", source })?;
        let narrowed = !wire.kubernetes_namespace.is_empty() || !wire.kubernetes_cluster.is_empty();
        let claim = if !wire.kubernetes_label_selector.trim().is_empty() {
            match Selector::parse(&wire.kubernetes_label_selector) {
                Ok(selector) => DefinedClaim::Selector(selector),
                Err(source) => return Err(Error::Selector { entity, source }),
            }
        } else if !wire.kubernetes_id.is_empty() {
            DefinedClaim::Id(wire.kubernetes_id.clone())
        } else if narrowed || KINDS_THAT_RUN.contains(&entity.kind()) {
            DefinedClaim::Name
        } else {
            DefinedClaim::Nothing
        };
        Ok(Self { entity, wire, claim })
    }

    /// It is meant to run somewhere: an entity of its own, and Missing where it does not.
    pub(crate) fn runs(&self) -> bool {
        self.claim != DefinedClaim::Nothing
    }

    pub(crate) fn selects(&self) -> bool {
        matches!(self.claim, DefinedClaim::Selector(_))
    }

    /// It can be in that cluster at all. The annotation may hold the cluster's slug or its title.
    pub(crate) fn is_in(&self, cluster: &ClusterName) -> bool {
        let wanted = &self.wire.kubernetes_cluster;
        wanted.is_empty() || wanted == cluster.as_str() || ClusterName::slug(wanted) == *cluster
    }

    /// The one cluster where it is, where it says so.
    pub(crate) fn only_cluster(&self) -> Option<ClusterName> {
        let wanted = &self.wire.kubernetes_cluster;
        (!wanted.is_empty()).then(|| wanted.parse().unwrap_or_else(|_| ClusterName::slug(wanted)))
    }

    /// Namespace and cluster of the object are not excluded.
    fn is_around(&self, key: &ObjectKey) -> bool {
        let namespace = &self.wire.kubernetes_namespace;
        (namespace.is_empty() || namespace == key.namespace()) && self.is_in(key.cluster())
    }

    /// An object that names the entity by other means may be its own: nothing here says otherwise.
    fn admits(&self, key: &ObjectKey) -> bool {
        !self.selects() && self.is_around(key)
    }

    fn claims(&self, key: &ObjectKey, labels: &Labels) -> bool {
        let id = labels.name(KUBERNETES_ID);
        let named = match &self.claim {
            DefinedClaim::Selector(selector) => selector.matches(labels),
            DefinedClaim::Id(wanted) => id == Some(wanted),
            DefinedClaim::Name => id.is_some_and(|id| id.eq_ignore_ascii_case(self.entity.name())),
            DefinedClaim::Nothing => false,
        };
        named && self.is_around(key)
    }
}

/// All definitions, indexed by what can find them.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    definitions: BTreeMap<EntityRef, Definition>,
    /// By a pair that each match carries: key, then value.
    by_pair: BTreeMap<Box<str>, BTreeMap<Box<str>, BTreeSet<EntityRef>>>,
    /// By id or by name in lower case, as labels carry them.
    by_id: BTreeMap<String, BTreeSet<EntityRef>>,
    /// Selectors without such a pair: tried on every object.
    others: BTreeSet<EntityRef>,
}

impl Catalog {
    /// Of the whole set of definitions. What cannot be taken is left out, and said.
    pub(crate) fn new(definitions: Vec<v1::EntityDefinition>) -> (Self, Vec<Error>) {
        let (mut catalog, mut problems) = (Self::default(), Vec::new());
        for definition in definitions {
            match Definition::parse(definition) {
                Ok(definition) => catalog.insert(definition),
                Err(problem) => problems.push(problem),
            }
        }
        (catalog, problems)
    }

    fn insert(&mut self, definition: Definition) {
        let entity = definition.entity.clone();
        // Of two with one reference the later one counts.
        self.remove(&entity);
        match &definition.claim {
            DefinedClaim::Selector(selector) => match selector.required_pair() {
                Some((key, value)) => {
                    let values = self.by_pair.entry(key.into()).or_default();
                    values.entry(value.into()).or_default().insert(entity.clone());
                }
                None => {
                    self.others.insert(entity.clone());
                }
            },
            DefinedClaim::Id(id) => {
                self.by_id.entry(id.to_ascii_lowercase()).or_default().insert(entity.clone());
            }
            DefinedClaim::Name => {
                self.by_id.entry(entity.name().to_owned()).or_default().insert(entity.clone());
            }
            DefinedClaim::Nothing => {}
        }
        self.definitions.insert(entity, definition);
    }

    fn remove(&mut self, entity: &EntityRef) {
        if self.definitions.remove(entity).is_some() {
            let pairs = self.by_pair.values_mut().flat_map(BTreeMap::values_mut);
            for set in pairs.chain(self.by_id.values_mut()) {
                set.remove(entity);
            }
            self.others.remove(entity);
        }
    }

    pub(crate) fn get(&self, entity: &EntityRef) -> Option<&Definition> {
        self.definitions.get(entity)
    }

    /// Definitions that run, ordered.
    pub(crate) fn running(&self) -> impl Iterator<Item = &Definition> {
        self.definitions.values().filter(|definition| definition.runs())
    }

    /// References whose definitions differ between the two.
    pub(crate) fn differing(&self, other: &Self) -> BTreeSet<EntityRef> {
        let all = self.definitions.keys().chain(other.definitions.keys());
        all.filter(|it| self.definitions.get(*it) != other.definitions.get(*it)).cloned().collect()
    }

    /// The definitions that claim an object of these labels, ordered.
    pub(crate) fn claiming(&self, key: &ObjectKey, labels: &Labels) -> Vec<&Definition> {
        let mut found: Vec<&Definition> = Vec::new();
        if labels.is_empty() && self.others.is_empty() {
            return found;
        }
        let pairs = labels.iter().filter_map(|(key, value)| self.by_pair.get(key)?.get(value));
        let id = labels.name(KUBERNETES_ID).map(str::to_ascii_lowercase);
        let ids = id.and_then(|id| self.by_id.get(&id));
        let candidates = pairs.chain(ids).flatten().chain(&self.others);
        let definitions = candidates.filter_map(|entity| self.definitions.get(entity));
        found.extend(definitions.filter(|definition| definition.claims(key, labels)));
        found.sort_by(|a, b| a.entity.cmp(&b.entity));
        found.dedup_by(|a, b| a.entity == b.entity);
        found
    }

    /// No definition of this reference says that the object is not its own.
    pub(crate) fn admits(&self, entity: &EntityRef, key: &ObjectKey) -> bool {
        self.definitions.get(entity).is_none_or(|definition| definition.admits(key))
    }
}

#[cfg(test)]
#[path = "catalog_tests.rs"]
mod tests;
