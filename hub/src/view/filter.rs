//! Which entities a reader asked for.
//!
//! Parsed once from [`v1::EntityFilter`]; after that nobody checks again. A filter tells what of an entity
//! never changes (its reference) from what does (owner, system, clusters, status): for an entity of which
//! only the reference is known, [`Filter::could_pass`] is all that can be said.
//!
//! Deliberately not here: what to do with an entity that passes, or does not any more.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use vitals_hub_core::cluster_record;
use vitals_proto::identity::{self, ClusterName, EntityRef};
use vitals_proto::v1;
use xxhash_rust::xxh3::xxh3_64;

/// Most values in all fields of a filter together: it is tried on every entity that changes.
pub const FILTER_VALUES_MAX: usize = 1_000;

/// What of an entity a filter reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Reference of its owner; empty where unknown.
    pub owner: Box<str>,
    /// Reference of its system; empty where unknown.
    pub system: Box<str>,
    /// The clusters where it is.
    pub clusters: Box<[InCluster]>,
    /// Over all clusters.
    pub status: v1::HealthStatus,
}

/// A cluster in which an entity is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InCluster {
    /// Its slug.
    pub name: Box<str>,
    /// Its labels, by key.
    pub labels: Box<[(Box<str>, Box<str>)]>,
}

/// A filter as a client wrote it, checked. Fields narrow together; an empty field passes all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    refs: BTreeSet<EntityRef>,
    owners: BTreeSet<String>,
    systems: BTreeSet<String>,
    clusters: BTreeSet<String>,
    statuses: BTreeSet<i32>,
    kinds: BTreeSet<String>,
    namespaces: BTreeSet<String>,
    /// Values by key.
    cluster_labels: BTreeMap<String, BTreeSet<String>>,
}

/// Why a filter cannot be used. Final: the client has to change it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A value is no name of what it should name.
    #[error("cannot read filter.{field}: {source}")]
    Name {
        /// The field.
        field: &'static str,
        /// What is wrong.
        source: identity::Error,
    },
    /// A status is not one of the enumeration.
    #[error("cannot read filter.statuses: {status} is not a HealthStatus")]
    Status {
        /// Its number.
        status: i32,
    },
    /// A label is none.
    #[error("cannot read filter.cluster_labels: {label:?} is not KEY=VALUE")]
    Label {
        /// As it was written.
        label: String,
    },
    /// There are too many values.
    #[error(
        "the filter has {count} values, of {FILTER_VALUES_MAX} at most: narrow by owner, system or \
         namespace instead of listing entities"
    )]
    TooLarge {
        /// How many.
        count: usize,
    },
}

impl Filter {
    /// Passes all.
    pub fn all() -> Self {
        Self::default()
    }

    /// Reads what a client wrote.
    pub fn parse(filter: v1::EntityFilter) -> Result<Self, Error> {
        let v1::EntityFilter {
            refs,
            owners,
            systems,
            clusters,
            statuses,
            kinds,
            namespaces,
            cluster_labels,
        } = filter;
        let texts = [&refs, &owners, &systems, &clusters, &kinds, &namespaces, &cluster_labels];
        let count = texts.iter().map(|texts| texts.len()).sum::<usize>() + statuses.len();
        if count > FILTER_VALUES_MAX {
            return Err(Error::TooLarge { count });
        }
        let is_status = |status: i32| v1::HealthStatus::try_from(status).is_ok();
        if let Some(status) = statuses.iter().copied().find(|status| !is_status(*status)) {
            return Err(Error::Status { status });
        }
        let reference = |field, kind: &str, text: &str| {
            let parsed = EntityRef::parse_with(text, kind, "default");
            parsed.map_err(|source| Error::Name { field, source })
        };
        let references = |field, kind: &str, texts: &[String]| -> Result<BTreeSet<String>, Error> {
            let parsed = texts.iter().map(|text| reference(field, kind, text));
            parsed.map(|parsed| parsed.map(|parsed| parsed.to_string())).collect()
        };
        let cluster = |text: &String| {
            let parsed: Result<ClusterName, _> = text.parse();
            parsed.map(|name| name.to_string())
        };
        Ok(Self {
            refs: refs
                .iter()
                .map(|text| reference("refs", "component", text))
                .collect::<Result<_, _>>()?,
            owners: references("owners", "group", &owners)?,
            systems: references("systems", "system", &systems)?,
            clusters: clusters
                .iter()
                .map(cluster)
                .collect::<Result<_, _>>()
                .map_err(|source| Error::Name { field: "clusters", source })?,
            statuses: statuses.into_iter().collect(),
            kinds: kinds.iter().map(|kind| kind.to_lowercase()).collect(),
            namespaces: namespaces.iter().map(|namespace| namespace.to_lowercase()).collect(),
            cluster_labels: values_by_key(cluster_labels)?,
        })
    }

    /// Whether an entity of this reference could pass, whatever else it is.
    pub fn could_pass(&self, entity: &EntityRef) -> bool {
        (self.refs.is_empty() || self.refs.contains(entity))
            && passes(&self.kinds, entity.kind())
            && passes(&self.namespaces, entity.namespace())
    }

    /// Whether the entity passes.
    pub fn passes(&self, entity: &EntityRef, attributes: &Attributes) -> bool {
        let Attributes { owner, system, clusters, status } = attributes;
        self.could_pass(entity)
            && passes(&self.owners, owner)
            && passes(&self.systems, system)
            && self.passes_in(clusters)
            && (self.statuses.is_empty() || self.statuses.contains(&i32::from(*status)))
    }

    /// One of the clusters is all that is said of clusters.
    fn passes_in(&self, clusters: &[InCluster]) -> bool {
        if self.clusters.is_empty() && self.cluster_labels.is_empty() {
            return true;
        }
        let has = |labels: &[(Box<str>, Box<str>)], key: &str, values: &BTreeSet<String>| {
            labels.iter().any(|(of, value)| **of == *key && values.contains(&**value))
        };
        clusters.iter().any(|InCluster { name, labels }| {
            passes(&self.clusters, name)
                && self.cluster_labels.iter().all(|(key, values)| has(labels, key, values))
        })
    }

    /// Passes all entities.
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// The references that it names; where it names some, no other entity passes.
    pub fn refs(&self) -> &BTreeSet<EntityRef> {
        &self.refs
    }

    /// Equal for filters that pass the same by the same words, in whatever order and however often written.
    pub fn hash(&self) -> u64 {
        let Self { refs, owners, systems, clusters, statuses, kinds, namespaces, cluster_labels } =
            self;
        let texts = |texts: &BTreeSet<String>| texts.iter().cloned().collect();
        let canonical = v1::EntityFilter {
            refs: refs.iter().map(ToString::to_string).collect(),
            owners: texts(owners),
            systems: texts(systems),
            clusters: texts(clusters),
            statuses: statuses.iter().copied().collect(),
            kinds: texts(kinds),
            namespaces: texts(namespaces),
            cluster_labels: cluster_labels
                .iter()
                .flat_map(|(key, values)| values.iter().map(move |value| format!("{key}={value}")))
                .collect(),
        };
        xxh3_64(&canonical.encode_to_vec())
    }
}

fn values_by_key(labels: Vec<String>) -> Result<BTreeMap<String, BTreeSet<String>>, Error> {
    let mut values: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for label in labels {
        match label.split_once('=') {
            Some((key, value)) if cluster_record::check_key(key).is_ok() && !value.is_empty() => {
                values.entry(key.to_owned()).or_default().insert(value.to_owned());
            }
            Some(_) | None => return Err(Error::Label { label }),
        }
    }
    Ok(values)
}

fn passes(wanted: &BTreeSet<String>, value: &str) -> bool {
    wanted.is_empty() || wanted.contains(value)
}

impl Attributes {
    /// Of an entity as it is served.
    pub fn of(entity: &v1::Entity) -> Self {
        let clusters = entity.clusters.iter().map(|cluster| InCluster {
            name: cluster.cluster.as_str().into(),
            labels: cluster
                .labels
                .iter()
                .map(|(key, value)| (key.as_str().into(), value.as_str().into()))
                .collect(),
        });
        let status = entity.verdict.as_ref().map_or_else(Default::default, v1::Verdict::status);
        Self {
            owner: entity.owner.as_str().into(),
            system: entity.system.as_str().into(),
            clusters: clusters.collect(),
            status,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_cluster(name: &str, labels: &[(&str, &str)]) -> InCluster {
        let labels = labels.iter().map(|(key, value)| ((*key).into(), (*value).into()));
        InCluster { name: name.into(), labels: labels.collect() }
    }

    fn shop() -> (EntityRef, Attributes) {
        let attributes = Attributes {
            owner: "group:default/payments".into(),
            system: "system:default/checkout".into(),
            clusters: [
                in_cluster("eu-1", &[("environment", "prod"), ("tier", "1")]),
                in_cluster("us-1", &[("environment", "test")]),
            ]
            .into(),
            status: v1::HealthStatus::Degraded,
        };
        ("component:default/shop".parse().unwrap(), attributes)
    }

    fn one(field: &str, values: &[&str]) -> v1::EntityFilter {
        let values: Vec<String> = values.iter().map(ToString::to_string).collect();
        let mut filter = v1::EntityFilter::default();
        match field {
            "refs" => filter.refs = values,
            "owners" => filter.owners = values,
            "systems" => filter.systems = values,
            "clusters" => filter.clusters = values,
            "kinds" => filter.kinds = values,
            "namespaces" => filter.namespaces = values,
            "cluster_labels" => filter.cluster_labels = values,
            "statuses" => {
                filter.statuses = values.iter().map(|value| value.parse().unwrap()).collect();
            }
            other => panic!("no field {other}"),
        }
        filter
    }

    #[test]
    fn fields_pass_by_any_value_and_names_are_completed_as_in_backstage() {
        let (entity, attributes) = shop();
        for (field, values, want) in [
            ("refs", &["shop"][..], true),
            ("refs", &["Component:default/Shop"], true),
            ("refs", &["api:shop", "other"], false),
            ("owners", &["payments"], true),
            ("owners", &["group:default/payments"], true),
            ("owners", &["user:payments"], false),
            ("systems", &["search", "checkout"], true),
            ("clusters", &["us-1"], true),
            ("clusters", &["us-2"], false),
            ("statuses", &["6"], true),
            ("statuses", &["1", "3"], false),
            ("kinds", &["Component"], true),
            ("kinds", &["workload"], false),
            ("namespaces", &["default"], true),
            ("namespaces", &["other"], false),
            ("cluster_labels", &["environment=prod"], true),
            ("cluster_labels", &["environment=dev", "environment=test"], true),
            ("cluster_labels", &["environment=prod", "tier=1"], true),
            ("cluster_labels", &["environment=test", "tier=1"], false),
            ("cluster_labels", &["region=eu"], false),
        ] {
            let filter = Filter::parse(one(field, values)).unwrap();
            assert_eq!(filter.passes(&entity, &attributes), want, "{field} {values:?}");
            let fixed = matches!(field, "refs" | "kinds" | "namespaces");
            assert_eq!(filter.could_pass(&entity), want || !fixed, "{field} {values:?}");
        }
        assert!(Filter::all().passes(&entity, &attributes));
    }

    #[test]
    fn fields_narrow_together() {
        let (entity, attributes) = shop();
        let both = v1::EntityFilter {
            owners: vec!["payments".into()],
            clusters: vec!["us-2".into()],
            ..Default::default()
        };
        assert!(!Filter::parse(both).unwrap().passes(&entity, &attributes));
        // A cluster that is called so and another that has the label are not one that does both.
        for (cluster, want) in [("eu-1", true), ("us-1", false)] {
            let clusters = vec![cluster.to_owned()];
            let cluster_labels = vec!["environment=prod".to_owned()];
            let filter = v1::EntityFilter { clusters, cluster_labels, ..Default::default() };
            assert_eq!(Filter::parse(filter).unwrap().passes(&entity, &attributes), want);
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (field, values, want) in [
            ("refs", &["a b"][..], "cannot read filter.refs: \"component:default/a b\""),
            ("clusters", &["EU_1"], "cannot read filter.clusters: \"EU_1\""),
            ("statuses", &["99"], "cannot read filter.statuses: 99 is not a HealthStatus"),
            ("cluster_labels", &["prod"], "cannot read filter.cluster_labels: \"prod\" is not"),
            ("cluster_labels", &["a="], "cannot read filter.cluster_labels: \"a=\" is not"),
        ] {
            let message = Filter::parse(one(field, values)).unwrap_err().to_string();
            assert!(message.starts_with(want), "{message}");
        }
        let many = vec!["a"; FILTER_VALUES_MAX + 1];
        assert_eq!(Filter::parse(one("kinds", &many)), Err(Error::TooLarge { count: many.len() }));
    }

    #[test]
    fn the_hash_depends_on_what_is_said_not_how() {
        let hash = |field, values: &[&str]| Filter::parse(one(field, values)).unwrap().hash();
        assert_eq!(hash("owners", &["a", "b"]), hash("owners", &["group:default/b", "a", "a"]));
        assert_ne!(hash("owners", &["a"]), hash("owners", &["b"]));
        assert_ne!(hash("kinds", &["a"]), hash("namespaces", &["a"]));
        assert_ne!(hash("kinds", &["a"]), Filter::all().hash());
    }
}
