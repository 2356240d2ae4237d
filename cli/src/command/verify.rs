//! `vitals verify`: asks a cluster and the hub the same, and says where they do not agree.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use vitals_proto::identity::ClusterName;

use super::Outcome;
use crate::args::{Format, HubArgs};
use crate::hub::Hub;
use crate::oracle::{self, Report};
use crate::output::{Output, Style};
use crate::{Error, contexts, progress, text};

/// What to compare.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Context of the kubeconfig; the current one where left out
    #[arg(long, value_name = "CONTEXT")]
    context: Option<String>,
    /// Kubeconfig; where left out, what KUBECONFIG names, else ~/.kube/config
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// What the hub calls the cluster; made of the context's name where left out, as agents do
    #[arg(long, value_name = "CLUSTER")]
    cluster: Option<ClusterName>,
    /// Compare only the objects of this namespace, and no entities (repeat for several)
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Vec<String>,
    /// How long a difference must stand to count: a change takes a moment to arrive
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = vitals_runtime::duration::parse)]
    patience: Duration,
}

pub(super) async fn run(args: Args, hub: &HubArgs, output: &mut Output) -> Result<Outcome, Error> {
    let Args { context, kubeconfig, cluster, namespace, patience } = args;
    let hub = Hub::new(hub)?;
    let connecting = contexts::one(kubeconfig, context);
    let live = progress::during(output, "reading the kubeconfig", connecting).await?;
    let cluster = cluster.unwrap_or_else(|| ClusterName::slug(live.title()));
    let options = oracle::Options { patience, namespaces: namespace };
    let what = format!("comparing cluster {cluster} with the hub");
    let compared = oracle::compare(live.client(), &cluster, &hub, &options);
    let report = progress::during(output, &what, compared).await.map_err(failed)?;
    show(&report, output)?;
    Ok(if report.differences.is_empty() { Outcome::Fine } else { Outcome::Different })
}

/// What the hub itself failed with says more than that it was asked; and its name of the cluster may be another.
fn failed(error: oracle::Error) -> Error {
    match error {
        oracle::Error::Hub(error) => *error,
        oracle::Error::UnknownCluster { cluster, known } if known.is_empty() => Error::NotFound {
            what: format!("cluster {cluster}"),
            hint: "It knows no cluster yet: is an agent running?".to_owned(),
        },
        oracle::Error::UnknownCluster { cluster, known } => Error::NotFound {
            what: format!("cluster {cluster}"),
            hint: format!(
                "It knows {}: say which of them this is by `vitals verify --cluster`",
                known.join(", ")
            ),
        },
        other @ (oracle::Error::List { .. }
        | oracle::Error::Answer { .. }
        | oracle::Error::Differs(_)) => Error::Oracle(other),
    }
}

fn show(report: &Report, output: &mut Output) -> Result<(), Error> {
    let Report { objects, entities, differences, unsettled, unseen } = report;
    if output.format != Format::Table {
        return output.value(&Document::from(report));
    }
    for difference in differences {
        let subject = output.paint.text(&text::clean(&difference.subject), Style::Bad);
        let (cluster, hub) = (text::clean(&difference.cluster), text::clean(&difference.hub));
        output.line(&format!("{subject}: {}", text::clean(&difference.aspect)))?;
        output.line(&format!("  the cluster has {cluster}\n  the hub has     {hub}"))?;
    }
    for difference in unsettled {
        let line = format!("{} changes too fast to be compared", difference.subject);
        output.note(&text::clean(&line));
    }
    for kind in unseen {
        output.note(&text::clean(&kind.to_string()));
    }
    let (word, style) = match differences.len() {
        0 => ("no differences".to_owned(), Style::Good),
        1 => ("1 difference".to_owned(), Style::Bad),
        count => (format!("{count} differences"), Style::Bad),
    };
    let word = output.paint.text(&word, style);
    output.line(&format!("{objects} objects and {entities} entities compared: {word}"))
}

/// The report as JSON. It is no message of the API, so it is written down here.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    objects: usize,
    entities: usize,
    differences: Vec<Line<'a>>,
    unsettled: Vec<Line<'a>>,
    unseen: Vec<Unseen<'a>>,
}

#[derive(Serialize)]
struct Line<'a> {
    subject: &'a str,
    aspect: &'a str,
    cluster: &'a str,
    hub: &'a str,
}

#[derive(Serialize)]
struct Unseen<'a> {
    kind: &'a str,
    state: &'a str,
}

impl<'a> From<&'a Report> for Document<'a> {
    fn from(report: &'a Report) -> Self {
        let line = |it: &'a oracle::Difference| {
            let oracle::Difference { subject, aspect, cluster, hub } = it;
            Line { subject, aspect, cluster, hub }
        };
        let unseen = |it: &'a oracle::Unseen| Unseen { kind: &it.kind, state: &it.state };
        Self {
            objects: report.objects,
            entities: report.entities,
            differences: report.differences.iter().map(line).collect(),
            unsettled: report.unsettled.iter().map(line).collect(),
            unseen: report.unseen.iter().map(unseen).collect(),
        }
    }
}
