//! The flags of `vitals-agent`.

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf};

use clap::{Parser, ValueEnum};
use vitals_agent_core::OUTBOX_BYTES_MAX;
use vitals_proto::{
    identity::{ClusterName, Scope},
    kind::Kind,
};
use vitals_runtime::{logging::LogArgs, nats::NatsArgs};

use crate::{
    drill::Allowed,
    kubernetes::{Cluster, Credentials},
    lease::LeaseUse,
    run::AgentConfig,
    watch::Settings,
};

/// Where a pod finds that it is one.
const SERVICE_ACCOUNT_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// Watches the workloads of a Kubernetes cluster and pushes what changes to NATS, for a Vitals hub.
///
/// Reads namespaces, nodes, deployments, replicasets, replicationcontrollers, statefulsets, daemonsets, cronjobs, jobs,
/// pods, services, endpointslices, ingresses, horizontalpodautoscalers, poddisruptionbudgets, resourcequotas,
/// persistentvolumeclaims, persistentvolumes and events of type Warning, never a Secret or a ConfigMap; where a hub asks for
/// the events of an object, those. Logs and whole objects only with --allow-logs and --allow-raw-objects. In a pod it uses
/// its service account; elsewhere the current kubeconfig context, or those named by --context.
/// Several agents may share a cluster, each with a --scope of its own; no two of them may watch the same objects.
#[derive(Clone, Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
pub struct Args {
    /// Context of the kubeconfig to watch; repeat it to watch several clusters with one process
    #[arg(long = "context", env = "VITALS_CONTEXT", value_name = "NAME", value_delimiter = ',')]
    pub contexts: Vec<String>,
    /// Kubeconfig file, instead of what KUBECONFIG names, else ~/.kube/config
    #[arg(long, env = "VITALS_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Name of the cluster in Vitals: lower-case letters, digits and '-'; default is made from the context's name
    #[arg(long, env = "VITALS_CLUSTER_NAME", value_name = "NAME")]
    pub cluster_name: Option<ClusterName>,
    /// Name of what this agent watches of its cluster, where several agents share one; scopes must not watch the same objects
    #[arg(long, env = "VITALS_SCOPE", value_name = "NAME", default_value = "main")]
    pub scope: Scope,
    /// Watch only this namespace, and of the kinds without one only those that --kinds names; give it a --scope of its own
    #[arg(long, env = "VITALS_NAMESPACE", value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Watch only these kinds, as kubectl writes them: pods,deployments.apps
    #[arg(long = "kinds", env = "VITALS_KINDS", value_name = "KINDS", value_delimiter = ',', value_parser = parse_kind)]
    pub kinds: Vec<Kind>,
    /// Whether a Lease decides which of several agents of this scope publishes; off needs no right to write
    #[arg(long, env = "VITALS_LEASE", default_value = "on")]
    pub lease: Switch,
    /// Namespace of the Lease; default is that of the context or pod
    #[arg(long, env = "VITALS_LEASE_NAMESPACE", value_name = "NAMESPACE")]
    pub lease_namespace: Option<String>,
    /// Most bytes of changes that wait for NATS; when it is full, the watches are not read on
    #[arg(
        long,
        env = "VITALS_OUTBOX_BYTES",
        value_name = "BYTES",
        default_value_t = OUTBOX_BYTES_MAX
    )]
    pub outbox_bytes: usize,
    /// Give hubs the logs of this cluster's containers when they ask; needs the right to get pods/log
    #[arg(long, env = "VITALS_ALLOW_LOGS")]
    pub allow_logs: bool,
    /// Give hubs objects of any kind but Secret and ConfigMap as the API server has them, without managedFields, values of
    /// environment variables and what was last applied; needs the right to get them
    #[arg(long, env = "VITALS_ALLOW_RAW_OBJECTS")]
    pub allow_raw_objects: bool,
    /// Address of /metrics, /healthz and /readyz
    #[arg(
        long,
        env = "VITALS_AGENT_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:7702"
    )]
    pub listen: SocketAddr,
    /// The connection to NATS
    #[command(flatten)]
    pub nats: NatsArgs,
    /// Logging
    #[command(flatten)]
    pub log: LogArgs,
}

const EXAMPLES: &str = "Examples:
  vitals-agent                                     the current context, NATS at 127.0.0.1:4222
  vitals-agent --context east --context west       two clusters
  vitals-agent --cluster-name eu-1 --nats nats://agent-eu-1:secret@nats.example:4222
  vitals-agent --scope shop --namespace shop       one namespace, beside other agents
  vitals-agent --scope cluster --kinds namespaces,nodes,persistentvolumes
                                                   what has no namespace, beside those";

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// Yes
    On,
    /// No
    Off,
}

/// Why the flags do not go together. Final.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// One name, several clusters.
    #[error("--cluster-name names one cluster, but there are {0} contexts: leave it out")]
    OneName(usize),
    /// Two contexts make one name.
    #[error(
        "two contexts are both called {0}: give one of them its own agent, with --cluster-name"
    )]
    SameName(ClusterName),
    /// A pod does not know what its cluster is called.
    #[error("what is this cluster called? Say it with --cluster-name (VITALS_CLUSTER_NAME)")]
    Nameless,
    /// The kubeconfig or the service account cannot be used.
    #[error("cannot use the credentials")]
    Kubernetes(#[from] crate::kubernetes::Error),
}

fn parse_kind(text: &str) -> Result<Kind, String> {
    let kind = Kind::from_resource(text);
    if Kind::KNOWN.contains(&kind) {
        return Ok(kind);
    }
    let known: Vec<&str> = Kind::KNOWN.iter().map(Kind::resource).collect();
    Err(format!("known are {}", known.join(", ")))
}

impl Args {
    /// One agent for each cluster. Reads the kubeconfig.
    ///
    /// # Errors
    /// When the flags do not go together, or the credentials cannot be used.
    pub async fn agents(&self) -> Result<Vec<AgentConfig>, Error> {
        let credentials = self.credentials();
        if self.cluster_name.is_some() && credentials.len() > 1 {
            return Err(Error::OneName(credentials.len()));
        }
        let (mut agents, mut names) = (Vec::new(), BTreeSet::new());
        for credentials in credentials {
            let agent = self.agent(&credentials).await?;
            if !names.insert(agent.cluster.clone()) {
                return Err(Error::SameName(agent.cluster));
            }
            agents.push(agent);
        }
        Ok(agents)
    }

    fn credentials(&self) -> Vec<Credentials> {
        let path = self.kubeconfig.clone();
        if !self.contexts.is_empty() {
            let of_context = |context: &String| Credentials::Kubeconfig {
                path: path.clone(),
                context: Some(context.clone()),
            };
            return self.contexts.iter().map(of_context).collect();
        }
        if path.is_none() && std::path::Path::new(SERVICE_ACCOUNT_TOKEN).exists() {
            return vec![Credentials::InCluster];
        }
        vec![Credentials::Kubeconfig { path, context: None }]
    }

    /// In the order in which they are listed. What has no namespace is left out where only one is watched: every such agent of
    /// a cluster would publish it, on the same subjects, and none of them could ever be verified.
    fn watched_kinds(&self) -> Vec<Kind> {
        let is_watched = |kind: &Kind| match self.kinds.as_slice() {
            [] => self.namespace.is_none() || kind.is_namespaced() == Some(true),
            named => named.contains(kind),
        };
        Kind::KNOWN.into_iter().filter(is_watched).collect()
    }

    async fn agent(&self, credentials: &Credentials) -> Result<AgentConfig, Error> {
        let kubernetes = Cluster::connect(credentials).await?;
        let cluster = match (&self.cluster_name, credentials) {
            (Some(name), _) => name.clone(),
            (None, Credentials::InCluster) => return Err(Error::Nameless),
            (None, Credentials::Kubeconfig { .. }) => ClusterName::slug(kubernetes.title()),
        };
        let lease = match self.lease {
            Switch::On => LeaseUse::On { namespace: self.lease_namespace.clone() },
            Switch::Off => LeaseUse::Off,
        };
        Ok(AgentConfig {
            kubernetes,
            cluster,
            scope: self.scope.clone(),
            kinds: self.watched_kinds(),
            lease,
            nats: self.nats.clone(),
            watch: Settings { namespace: self.namespace.clone(), ..Settings::default() },
            outbox_bytes_max: self.outbox_bytes,
            allowed: Allowed { logs: self.allow_logs, raw_objects: self.allow_raw_objects },
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_flags_are_sound() {
        Args::command().debug_assert();
        let args = Args::parse_from(["vitals-agent", "--kinds", "pods,deployments.apps"]);
        assert_eq!(args.kinds, [Kind::Pod, Kind::Deployment]);
        assert_eq!(args.lease, Switch::On);
        let refused = Args::try_parse_from(["vitals-agent", "--kinds", "secrets"]).unwrap_err();
        assert!(refused.to_string().contains("known are namespaces, nodes"), "{refused}");
        assert!(Args::try_parse_from(["vitals-agent", "--scope", "A_b"]).is_err());
    }

    #[test]
    fn one_namespace_has_no_objects_of_the_cluster_unless_they_are_named() {
        let kinds =
            |flags: &[&str]| Args::parse_from([&["vitals-agent"], flags].concat()).watched_kinds();
        assert_eq!(kinds(&[]), Kind::KNOWN);
        let of_one = kinds(&["--namespace", "shop"]);
        assert_eq!(of_one.len(), Kind::KNOWN.len() - 3, "all but namespaces, nodes and volumes");
        assert!(of_one.iter().all(|kind| kind.is_namespaced() == Some(true)), "{of_one:?}");
        let named = kinds(&["--namespace", "shop", "--kinds", "pods,nodes"]);
        assert_eq!(named, [Kind::Node, Kind::Pod], "owners first");
    }

    #[tokio::test]
    async fn one_name_is_for_one_cluster() {
        let flags = ["vitals-agent", "--context", "a,b", "--cluster-name", "c"];
        let error = Args::parse_from(flags).agents().await.err().unwrap();
        assert!(matches!(error, Error::OneName(2)), "{error}");
    }
}
