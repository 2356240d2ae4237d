//! `vitals clusters forget`: forgets a cluster that is gone for good.

use vitals_proto::identity::ClusterName;
use vitals_proto::v1::ForgetClusterRequest;

use super::super::Outcome;
use crate::args::{Format, HubArgs};
use crate::hub::Hub;
use crate::output::Output;
use crate::{Error, progress};

/// What `--help` says at its end.
const HELP: &str = "\
A cluster whose agent is silent stays: its entities are Unknown, with their last known status, until somebody says that it is
gone for good. Then its objects leave NATS and every hub; entities that were nowhere else are gone, and those registered are
Missing. What was told of them stays (`vitals history`), and so do the labels of the cluster.

Stop its agent first. While one is alive the hub refuses; with --force it forgets all the same, and what exists comes back
with the next repairs. An agent that comes back later brings its cluster back.";

/// Which.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    /// The cluster, as `vitals clusters` names it
    #[arg(value_name = "CLUSTER")]
    name: ClusterName,
    /// Also while an agent of it may be alive
    #[arg(long)]
    force: bool,
}

pub(super) async fn run(args: Args, hub: &HubArgs, output: &mut Output) -> Result<Outcome, Error> {
    let Args { name, force } = args;
    let hub = Hub::new(hub)?;
    let request = ForgetClusterRequest { name: name.to_string(), force };
    let mut client = hub.clusters();
    let answer = progress::during(output, "asking the hub", client.forget_cluster(request)).await;
    let answer = answer.map_err(|status| failed(&hub, status, &name))?;
    let answer = answer.into_inner();
    match output.format {
        Format::Json | Format::Yaml => output.document(&answer)?,
        Format::Table => {
            output.line(&format!("{name} is forgotten, with {} objects", answer.objects))?;
        }
    }
    Ok(Outcome::Fine)
}

fn failed(hub: &Hub, status: tonic::Status, name: &ClusterName) -> Error {
    if status.code() == tonic::Code::NotFound {
        let hint = "`vitals clusters` lists those that are".to_owned();
        return Error::NotFound { what: format!("cluster {name}"), hint };
    }
    if status.code() == tonic::Code::FailedPrecondition {
        return Error::Unavailable(format!("{} (--force)", status.message()));
    }
    hub.error(status)
}
