//! Which entities a reader asked for.
//!
//! Parsed once from [`v1::EntityFilter`]; after that nobody checks again. A filter tells what of an entity
//! never changes (its reference) from what does (owner, system, clusters, status): for an entity of which
//! only the reference is known, [`Filter::could_pass`] is all that can be said.
//!
//! Deliberately not here: what to do with an entity that passes, or does not any more.

use std::collections::BTreeSet;

use prost::Message as _;
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
    /// Slugs of the clusters where it is.
    pub clusters: Box<[Box<str>]>,
    /// Over all clusters.
    pub status: v1::HealthStatus,
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
        let v1::EntityFilter { refs, owners, systems, clusters, statuses, kinds, namespaces } =
            filter;
        let texts = [&refs, &owners, &systems, &clusters, &kinds, &namespaces];
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
            && (self.clusters.is_empty()
                || clusters.iter().any(|cluster| self.clusters.contains(&**cluster)))
            && (self.statuses.is_empty() || self.statuses.contains(&i32::from(*status)))
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
        let Self { refs, owners, systems, clusters, statuses, kinds, namespaces } = self;
        let texts = |texts: &BTreeSet<String>| texts.iter().cloned().collect();
        let canonical = v1::EntityFilter {
            refs: refs.iter().map(ToString::to_string).collect(),
            owners: texts(owners),
            systems: texts(systems),
            clusters: texts(clusters),
            statuses: statuses.iter().copied().collect(),
            kinds: texts(kinds),
            namespaces: texts(namespaces),
        };
        xxh3_64(&canonical.encode_to_vec())
    }
}

fn passes(wanted: &BTreeSet<String>, value: &str) -> bool {
    wanted.is_empty() || wanted.contains(value)
}

impl Attributes {
    /// Of an entity as it is served.
    pub fn of(entity: &v1::Entity) -> Self {
        let clusters = entity.clusters.iter().map(|cluster| cluster.cluster.as_str().into());
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

    fn shop() -> (EntityRef, Attributes) {
        let attributes = Attributes {
            owner: "group:default/payments".into(),
            system: "system:default/checkout".into(),
            clusters: ["eu-1".into(), "us-1".into()].into(),
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
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (field, values, want) in [
            ("refs", &["a b"][..], "cannot read filter.refs: \"component:default/a b\""),
            ("clusters", &["EU_1"], "cannot read filter.clusters: \"EU_1\""),
            ("statuses", &["99"], "cannot read filter.statuses: 99 is not a HealthStatus"),
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
