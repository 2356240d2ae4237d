//! The flags of a hub.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use vitals_hub_core::picture::{Clusters, PictureConfig};
use vitals_proto::identity::ClusterName;
use vitals_runtime::logging::LogArgs;
use vitals_runtime::nats::NatsArgs;

use crate::cluster_records::{LabelPatch, file};
use crate::serve::SecurityArgs;
use crate::serve::limits::Limits;
use crate::streams::StreamArgs;

/// What `--help` says at its end.
const EXAMPLES: &str = "\
Examples:
  NATS and clients on this machine:
    vitals-hub
  For others to reach, with a certificate and a token (openssl rand -hex 32 > token):
    vitals-hub --nats tls://nats.example:4222 --listen 0.0.0.0:7700 \\
        --tls-cert tls.crt --tls-key tls.key --token-file token
  With the definitions of a Backstage catalog:
    vitals-hub --definitions catalog/
  With labels of its clusters (YAML: `eu-1: {environment: prod, region: eu}`):
    vitals-hub --cluster-labels clusters.yaml
  With the objects of two clusters in a stream of their own:
    vitals-hub --objects-stream 'EU=vitals.v1.object.eu-1.>,vitals.v1.heartbeat.eu-1.>,\
vitals.v1.object.eu-2.>,vitals.v1.heartbeat.eu-2.>;US=vitals.v1.object.us-1.>,vitals.v1.heartbeat.us-1.>'

Then ask: `vitals get`, `grpcurl -plaintext 127.0.0.1:7700 list`, `curl 127.0.0.1:7701/metrics`.";

/// Keeps the picture of all clusters that agents publish to NATS, judges it, and serves it over gRPC.
///
/// A hub holds nothing that it cannot read again from NATS: it can be restarted, and run in several replicas, at any time.
#[derive(Clone, Debug, Parser)]
#[command(name = "vitals-hub", version, after_help = EXAMPLES)]
pub struct Args {
    /// Where NATS is.
    #[command(flatten, next_help_heading = "NATS")]
    pub nats: NatsArgs,
    /// Which streams there are.
    #[command(flatten, next_help_heading = "Streams")]
    pub streams: StreamArgs,
    /// Who may connect.
    #[command(flatten, next_help_heading = "gRPC")]
    pub security: SecurityArgs,
    /// How many streams clients may open.
    #[command(flatten, next_help_heading = "gRPC")]
    pub limits: LimitArgs,
    /// Address of /metrics, /healthz and /readyz, which need neither TLS nor a token
    #[arg(
        long,
        env = "VITALS_HTTP",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:7701",
        help_heading = "HTTP"
    )]
    pub http: SocketAddr,
    /// Files of entity definitions (catalog-info.yaml), or folders of them, separated by commas; loaded into NATS at start
    #[arg(
        long,
        env = "VITALS_DEFINITIONS",
        value_name = "PATH",
        value_delimiter = ',',
        help_heading = "Entities"
    )]
    pub definitions: Vec<PathBuf>,
    /// Keep workloads of one name in several clusters apart: each cluster's that nothing claims is an entity of its own
    #[arg(long, env = "VITALS_CLUSTERS_APART", help_heading = "Entities")]
    pub clusters_apart: bool,
    /// File of labels of clusters: a map from each cluster to its labels, such as `eu-1: {environment: prod}`; set at start
    #[arg(long, env = "VITALS_CLUSTER_LABELS", value_name = "FILE", help_heading = "Clusters")]
    pub cluster_labels: Option<PathBuf>,
    /// How to log.
    #[command(flatten, next_help_heading = "Logs")]
    pub log: LogArgs,
}

impl Args {
    /// How the picture of entities is made.
    pub(crate) fn picture(&self) -> PictureConfig {
        let derived = if self.clusters_apart { Clusters::Apart } else { Clusters::Combined };
        PictureConfig { derived }
    }

    /// What the file of cluster labels says.
    pub(crate) fn labels(&self) -> Result<BTreeMap<ClusterName, LabelPatch>, file::Error> {
        self.cluster_labels.as_deref().map_or_else(|| Ok(BTreeMap::new()), file::read)
    }
}

/// The flags of the limits.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct LimitArgs {
    /// Most open watches; beyond, clients are told RESOURCE_EXHAUSTED
    #[arg(long, env = "VITALS_WATCHES_MAX", value_name = "COUNT", default_value_t = Limits::default().streams)]
    pub watches_max: usize,
    /// Most open watches on one connection
    #[arg(
        long,
        env = "VITALS_WATCHES_PER_CONNECTION_MAX",
        value_name = "COUNT",
        default_value_t = Limits::default().streams_per_connection
    )]
    pub watches_per_connection_max: usize,
}

impl From<LimitArgs> for Limits {
    fn from(args: LimitArgs) -> Self {
        let LimitArgs { watches_max, watches_per_connection_max } = args;
        Self { streams_per_connection: watches_per_connection_max, streams: watches_max }
    }
}

/// Where a hub in somebody else's process listens. Port 0 takes a free one.
#[derive(Clone, Debug)]
pub struct Local {
    /// URL of NATS.
    pub nats: String,
    /// Of gRPC.
    pub listen: SocketAddr,
    /// Of metrics and health.
    pub http: SocketAddr,
}

impl Args {
    /// For a hub in somebody else's process: all else as the environment and the defaults say.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub fn local(local: &Local) -> Result<Self, clap::Error> {
        let Local { nats, listen, http } = local;
        let (listen, http) = (listen.to_string(), http.to_string());
        Self::try_parse_from(["vitals-hub", "--nats", nats, "--listen", &listen, "--http", &http])
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn flags_are_consistent_and_each_has_its_variable() {
        let mut command = Args::command();
        command.build();
        for argument in command.get_arguments().filter(|it| it.get_long().is_some()) {
            let name = argument.get_id().as_str();
            if !matches!(name, "help" | "version") {
                let variable = argument.get_env().map(|env| env.to_string_lossy().into_owned());
                assert!(variable.is_some_and(|it| it.starts_with("VITALS_")), "{name}");
                assert!(argument.get_help().is_some(), "{name}");
            }
        }
        command.debug_assert();
    }

    #[test]
    fn the_default_serves_this_machine_alone() {
        let args = Args::parse_from(["vitals-hub"]);
        assert!(args.security.listen.ip().is_loopback() && args.http.ip().is_loopback());
        assert_eq!(Limits::from(args.limits), Limits::default());
        assert_eq!(args.picture(), PictureConfig::default());
    }

    #[test]
    fn clusters_can_be_kept_apart() {
        let args = Args::parse_from(["vitals-hub", "--clusters-apart"]);
        assert_eq!(args.picture(), PictureConfig { derived: Clusters::Apart });
    }
}
