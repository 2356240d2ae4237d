//! How entities and objects are named on the command line.
//!
//! An entity as in Backstage: `shop`, `payments/shop`, `component:payments/shop`. An object as we print it
//! (`CLUSTER/KIND/NAMESPACE/NAME`, `CLUSTER/KIND/NAME`) or as kubectl takes it (`deploy/shop`, `pod shop-1`, with
//! `--namespace` and `--cluster`). Kinds have kubectl's names: resource, singular, short, with or without group.

use clap::Args;
use vitals_proto::identity::{ClusterName, EntityRef, KeyParts, ObjectKey};
use vitals_proto::kind::Kind;
use vitals_proto::v1::ObjectRef;

use crate::Error;
use crate::hub::Hub;

/// Where an object is, when it is named as kubectl names it.
#[derive(Clone, Debug, Default, Args)]
pub struct Place {
    /// Namespace of the object
    #[arg(short, long, value_name = "NAMESPACE", default_value = "default")]
    pub namespace: String,
    /// Cluster of the object; may be left out where the hub knows only one
    #[arg(long, value_name = "CLUSTER")]
    pub cluster: Option<ClusterName>,
}

/// An object as it was named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedObject {
    /// Its cluster, where it was said.
    pub cluster: Option<ClusterName>,
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; empty for an object of the cluster.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// What `tree` can show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// An entity.
    Entity(EntityRef),
    /// An object.
    Object(NamedObject),
}

/// An entity's reference.
///
/// # Errors
/// When it is none; the message says how to write one.
pub fn entity(text: &str) -> Result<EntityRef, Error> {
    text.parse().map_err(|error: vitals_proto::identity::Error| Error::Usage(error.to_string()))
}

/// An object, of one or two words.
///
/// # Errors
/// When the words name none; the message says how to write one.
pub fn object(words: &[String], place: &Place) -> Result<NamedObject, Error> {
    try_object(words, place)?.ok_or_else(|| {
        Error::Usage(format!(
            "{:?} names no object: write CLUSTER/KIND/NAMESPACE/NAME, or KIND/NAME with --namespace and --cluster",
            words.join(" ")
        ))
    })
}

/// An entity or an object: what has a kind of Kubernetes in the right place is an object.
///
/// # Errors
/// As [`entity`] and [`object`].
pub fn target(words: &[String], place: &Place) -> Result<Target, Error> {
    match (try_object(words, place)?, words) {
        (Some(object), _) => Ok(Target::Object(object)),
        (None, [word]) => entity(word).map(Target::Entity),
        (None, _) => object(words, place).map(Target::Object),
    }
}

/// `None` where the words do not look like an object's.
///
/// # Errors
/// When they look like one, and a part is none.
pub fn try_object(words: &[String], place: &Place) -> Result<Option<NamedObject>, Error> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let parts: Vec<&str> = match words.as_slice() {
        [word] if word.contains(':') => return Ok(None),
        [word] => word.split('/').collect(),
        [_, _] => words,
        _ => return Ok(None),
    };
    let cluster =
        |slug: &str| slug.parse::<ClusterName>().map_err(|error| Error::Usage(error.to_string()));
    let (cluster, kind, namespace, name) = match parts.as_slice() {
        [slug, word, namespace, name] => (Some(cluster(slug)?), kind(word), *namespace, *name),
        [slug, word, name] => match kind_word(word).or_else(|| custom_kind(word)) {
            Some(kind) => (Some(cluster(slug)?), kind, "", *name),
            None => return Ok(None),
        },
        [word, name] => match kind_word(word).or_else(|| custom_kind(word)) {
            Some(kind) => (place.cluster.clone(), kind, place.namespace.as_str(), *name),
            None => return Ok(None),
        },
        _ => return Ok(None),
    };
    let namespace = if kind.is_namespaced() == Some(false) { "" } else { namespace };
    let (namespace, name) = (namespace.to_owned(), name.to_owned());
    Ok(Some(NamedObject { cluster, kind, namespace, name }))
}

/// Any word names a kind: one that we do not know, by resource and group.
fn kind(word: &str) -> Kind {
    kind_word(word).unwrap_or_else(|| Kind::from_resource(&word.to_lowercase()))
}

/// What has a dot is no namespace and no cluster: resource and group of a kind that we do not know.
fn custom_kind(word: &str) -> Option<Kind> {
    word.contains('.').then(|| Kind::from_resource(&word.to_lowercase()))
}

/// The kind of one of kubectl's words for it, where it is one of ours.
fn kind_word(word: &str) -> Option<Kind> {
    let word = word.to_lowercase();
    Kind::KNOWN.into_iter().find(|kind| {
        word == kind.resource()
            || word == kind.plural()
            || word == kind.title().to_lowercase()
            || short_name(kind) == Some(word.as_str())
    })
}

/// As `kubectl api-resources` lists them.
fn short_name(kind: &Kind) -> Option<&'static str> {
    match kind {
        Kind::Namespace => Some("ns"),
        Kind::Node => Some("no"),
        Kind::Deployment => Some("deploy"),
        Kind::StatefulSet => Some("sts"),
        Kind::DaemonSet => Some("ds"),
        Kind::ReplicaSet => Some("rs"),
        Kind::ReplicationController => Some("rc"),
        Kind::Pod => Some("po"),
        Kind::Service => Some("svc"),
        Kind::CronJob => Some("cj"),
        Kind::PersistentVolumeClaim => Some("pvc"),
        Kind::PersistentVolume => Some("pv"),
        Kind::Ingress => Some("ing"),
        Kind::HorizontalPodAutoscaler => Some("hpa"),
        Kind::PodDisruptionBudget => Some("pdb"),
        Kind::ResourceQuota => Some("quota"),
        Kind::Event => Some("ev"),
        // kubectl has no shorter word for them than their singular.
        Kind::Job | Kind::EndpointSlice => None,
        Kind::Other(_) => None,
    }
}

impl NamedObject {
    /// The whole reference: where no cluster was named, it is the only one that the hub knows.
    ///
    /// # Errors
    /// When there is none, or several; or when the name is none.
    pub async fn resolve(self, hub: &Hub) -> Result<ObjectRef, Error> {
        let Self { cluster, kind, namespace, name } = self;
        let cluster = match cluster {
            Some(cluster) => cluster,
            None => only_cluster(hub).await?,
        };
        let parts = KeyParts { cluster, kind, namespace: &namespace, name: &name };
        let key = ObjectKey::new(parts).map_err(|error| Error::Usage(error.to_string()))?;
        Ok(key.to_ref())
    }
}

async fn only_cluster(hub: &Hub) -> Result<ClusterName, Error> {
    let clusters = hub.list_clusters().await?;
    let names: Vec<&str> = clusters.iter().map(|cluster| cluster.name.as_str()).collect();
    match names.as_slice() {
        [name] => name
            .parse()
            .map_err(|error: vitals_proto::identity::Error| Error::Answer(error.to_string())),
        [] => {
            Err(Error::Unavailable("the hub knows no cluster yet: is an agent running?".to_owned()))
        }
        several => Err(Error::Usage(format!(
            "say which cluster by --cluster: the hub knows {}",
            several.join(", ")
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> String {
        let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
        let place = Place { namespace: "ns1".into(), cluster: None };
        match target(&words, &place) {
            Ok(Target::Entity(entity)) => entity.to_string(),
            Ok(Target::Object(NamedObject { cluster, kind, namespace, name })) => {
                let cluster = cluster.map_or("?".to_owned(), |cluster| cluster.to_string());
                format!("{cluster} {kind} {namespace:?} {name}")
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn entities_and_objects_are_told_apart() {
        for (text, want) in [
            ("shop", "component:default/shop"),
            ("payments/shop", "component:payments/shop"),
            ("workload:pay/Shop", "workload:pay/shop"),
            ("api:shop", "api:default/shop"),
            ("deploy/shop", r#"? deployments.apps "ns1" shop"#),
            ("Deployment/shop", r#"? deployments.apps "ns1" shop"#),
            ("deployments.apps/shop", r#"? deployments.apps "ns1" shop"#),
            ("pod shop-1", r#"? pods "ns1" shop-1"#),
            ("no n1", r#"? nodes "" n1"#),
            ("job/nightly-1", r#"? jobs.batch "ns1" nightly-1"#),
            ("cj nightly", r#"? cronjobs.batch "ns1" nightly"#),
            ("hpa/shop", r#"? horizontalpodautoscalers.autoscaling "ns1" shop"#),
            ("pvc/data", r#"? persistentvolumeclaims "ns1" data"#),
            ("pdb/shop", r#"? poddisruptionbudgets.policy "ns1" shop"#),
            ("ing/shop", r#"? ingresses.networking.k8s.io "ns1" shop"#),
            ("eu-1/pods/pay/shop-1", r#"eu-1 pods "pay" shop-1"#),
            ("eu-1/node/n1", r#"eu-1 nodes "" n1"#),
            ("eu-1/widgets.example.org/pay/w", r#"eu-1 widgets.example.org "pay" w"#),
            ("widgets.example.org/w", r#"? widgets.example.org "ns1" w"#),
            ("eu-1/widgets.example.org/w", r#"eu-1 widgets.example.org "" w"#),
            ("component:deploy/shop", "component:deploy/shop"),
        ] {
            assert_eq!(parse(text), want, "{text}");
        }
    }

    #[test]
    fn what_is_neither_says_how_to_write_it() {
        for (text, want) in [
            ("a/b/c", "not an entity reference"),
            ("EU/pods/a/b", "not a cluster name"),
            ("frob shop", "names no object: write CLUSTER/KIND/NAMESPACE/NAME"),
        ] {
            let message = parse(text);
            let want = want.trim_start_matches("not ");
            assert!(message.contains(want), "{text}: {message}");
        }
    }
}
