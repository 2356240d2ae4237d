//! Which entities: the arguments that `get` and `watch` share.

use clap::{Args, ValueEnum};
use vitals_proto::identity::ClusterName;
use vitals_proto::v1::{EntityFilter, HealthStatus};

use crate::Error;
use crate::reference::{self, NamedObject, Place};

/// Which entities; all that is said narrows.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct FilterArgs {
    /// References, `[KIND:][NAMESPACE/]NAME`; kind and namespace default to component and default. All where none is given
    #[arg(value_name = "REF")]
    pub(super) refs: Vec<String>,
    /// Only of this owner, such as group:default/payments (repeat for several)
    #[arg(long, value_name = "REF")]
    owner: Vec<String>,
    /// Only of this system, such as system:default/checkout (repeat for several)
    #[arg(long, value_name = "REF")]
    system: Vec<String>,
    /// Only with objects in this cluster (repeat for several)
    #[arg(long, value_name = "CLUSTER")]
    cluster: Vec<ClusterName>,
    /// Only with objects in a cluster of this environment, as `vitals clusters label` sets it (repeat for several)
    #[arg(long, value_name = "ENVIRONMENT")]
    environment: Vec<String>,
    /// Only with objects in a cluster that has this label (repeat for several; of one key any value passes)
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_label)]
    cluster_label: Vec<String>,
    /// Only with this status over all clusters (repeat for several)
    #[arg(long, value_name = "STATUS", ignore_case = true)]
    status: Vec<StatusArg>,
    /// Only entities of this kind, such as component or workload (repeat for several)
    #[arg(long, value_name = "KIND")]
    kind: Vec<String>,
    /// Only entities of this namespace (repeat for several)
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Vec<String>,
}

/// A status, as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum StatusArg {
    /// All is as asked for
    Healthy,
    /// Paused on purpose
    Suspended,
    /// Not there yet
    Progressing,
    /// Registered, and no object anywhere
    Missing,
    /// Not known now
    Unknown,
    /// It fails
    Degraded,
}

impl FilterArgs {
    /// The object that is named, where one is instead of entities: what has a kind of Kubernetes in the right place.
    pub(super) fn object(&self) -> Result<Option<NamedObject>, Error> {
        let Self { refs, cluster, namespace, .. } = self;
        let namespace = namespace.first().cloned().unwrap_or_else(|| "default".to_owned());
        let place = Place { namespace, cluster: cluster.first().cloned() };
        let is_secret = |word: &str| {
            let word = word.to_lowercase();
            matches!(word.as_str(), "secret" | "secrets" | "configmap" | "configmaps" | "cm")
        };
        let parts: Vec<&str> = refs.iter().flat_map(|word| word.split('/')).collect();
        let kind = if parts.len() > 2 { parts.get(1) } else { parts.first() };
        if (2..=4).contains(&parts.len()) && kind.is_some_and(|kind| is_secret(kind)) {
            let why = "Secrets and ConfigMaps never leave their cluster: use kubectl";
            return Err(Error::Usage(why.to_owned()));
        }
        if refs.len() > 2 { Ok(None) } else { reference::try_object(refs, &place) }
    }

    /// For the hub, with whole references.
    pub(super) fn filter(&self) -> Result<EntityFilter, Error> {
        let Self {
            refs,
            owner,
            system,
            cluster,
            environment,
            cluster_label,
            status,
            kind,
            namespace,
        } = self;
        let environments = environment.iter().map(|name| format!("environment={name}"));
        let entity = |text: &String| reference::entity(text).map(|entity| entity.to_string());
        let lower = |text: &String| text.to_lowercase();
        Ok(EntityFilter {
            refs: refs.iter().map(entity).collect::<Result<_, _>>()?,
            owners: owner
                .iter()
                .map(|text| with_defaults(text, "group"))
                .collect::<Result<_, _>>()?,
            systems: system
                .iter()
                .map(|text| with_defaults(text, "system"))
                .collect::<Result<_, _>>()?,
            clusters: cluster.iter().map(ToString::to_string).collect(),
            statuses: status.iter().map(|status| HealthStatus::from(*status).into()).collect(),
            kinds: kind.iter().map(lower).collect(),
            namespaces: namespace.iter().map(lower).collect(),
            cluster_labels: environments.chain(cluster_label.iter().cloned()).collect(),
        })
    }
}

fn parse_label(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() && !value.is_empty() => Ok(text.to_owned()),
        Some(_) | None => Err("write KEY=VALUE".to_owned()),
    }
}

fn with_defaults(text: &str, kind: &str) -> Result<String, Error> {
    vitals_proto::identity::EntityRef::parse_with(text, kind, "default")
        .map(|reference| reference.to_string())
        .map_err(|error| Error::Usage(error.to_string()))
}

impl From<StatusArg> for HealthStatus {
    fn from(status: StatusArg) -> Self {
        match status {
            StatusArg::Healthy => Self::Healthy,
            StatusArg::Suspended => Self::Suspended,
            StatusArg::Progressing => Self::Progressing,
            StatusArg::Missing => Self::Missing,
            StatusArg::Unknown => Self::Unknown,
            StatusArg::Degraded => Self::Degraded,
        }
    }
}
