//! `vitals clusters`: how well each cluster is seen.

mod forget;
mod label;

use std::collections::BTreeMap;

use vitals_proto::v1::{Cluster, KindState, ListClustersResponse, ScopeReport};

use super::Outcome;
use crate::args::{Format, HubArgs};
use crate::hub::Hub;
use crate::output::Output;
use crate::table::{Cell, Column, Table};
use crate::{Error, progress, text};

/// What `--help` says at its end.
const EXAMPLES: &str = "\
Examples:
  vitals clusters                                 # all of them, and what is wrong with each
  vitals clusters eu-1                            # one, with its labels and each of its kinds
  vitals clusters label eu-1 environment=prod     # then: vitals get --environment prod
  vitals clusters forget eu-1                     # it is gone for good";

/// Which.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
pub struct Args {
    /// Only these; with their kinds, each in a row
    #[arg(value_name = "CLUSTER")]
    names: Vec<String>,
    /// What to do with one.
    #[command(subcommand)]
    action: Option<Action>,
}

/// What to do with a cluster.
#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Set and remove labels of a cluster, such as its environment
    Label(label::Args),
    /// Forget a cluster that is gone for good
    Forget(forget::Args),
}

pub(super) async fn run(args: Args, hub: &HubArgs, output: &mut Output) -> Result<Outcome, Error> {
    let Args { names, action } = args;
    match action {
        Some(Action::Label(args)) => return label::run(args, hub, output).await,
        Some(Action::Forget(args)) => return forget::run(args, hub, output).await,
        None => {}
    }
    let hub = Hub::new(hub)?;
    let mut clusters = progress::during(output, "asking the hub", hub.list_clusters()).await?;
    if let Some(missing) = names.iter().find(|name| !clusters.iter().any(|it| it.name == **name)) {
        return Err(Error::NotFound {
            what: format!("cluster {missing}"),
            hint: "`vitals clusters` lists those that are".to_owned(),
        });
    }
    clusters.retain(|cluster| names.is_empty() || names.contains(&cluster.name));
    match output.format {
        Format::Json | Format::Yaml => output.document(&ListClustersResponse { clusters })?,
        Format::Table if clusters.is_empty() => output.note("no clusters: is an agent running?"),
        Format::Table => {
            let now = output.now();
            show(&overview(&clusters, now), output)?;
            for cluster in clusters.iter().filter(|it| !names.is_empty() && !it.labels.is_empty()) {
                let line = format!("\nLabels of {}: {}", cluster.name, labels(&cluster.labels));
                line.lines().try_for_each(|line| output.line(&text::clean(line)))?;
            }
            if !names.is_empty() {
                output.line("")?;
                show(&kinds(&clusters, now), output)?;
            }
            for line in troubles(&clusters) {
                output.note(&line);
            }
        }
    }
    Ok(Outcome::Fine)
}

/// A table, and what is to be said of each row: a column would have no room for it.
struct Rows {
    table: Table,
    messages: Vec<String>,
}

impl Rows {
    fn new(columns: &[Column]) -> Self {
        Self { table: Table::new(columns), messages: Vec::new() }
    }

    fn row(&mut self, cells: impl IntoIterator<Item = Cell>, message: &str) {
        self.table.row(cells);
        self.messages.push(text::clean(message).into_owned());
    }
}

/// Each message that is not empty as a line of its own below its row, whole also where the terminal is narrow.
fn show(rows: &Rows, output: &mut Output) -> Result<(), Error> {
    let Rows { table, messages } = rows;
    let rendered = table.render(output.paint, output.terminal.map(|size| size.columns));
    let of_headings = std::iter::once("");
    for (line, message) in
        rendered.lines().zip(of_headings.chain(messages.iter().map(String::as_str)))
    {
        output.line(line)?;
        if !message.is_empty() {
            output.line(&format!("  {message}"))?;
        }
    }
    Ok(())
}

/// `environment=prod,region=eu`.
fn labels(labels: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join(",")
}

fn overview(clusters: &[Cluster], now_unix_ms: i64) -> Rows {
    let environment = |cluster: &Cluster| cluster.labels.get("environment").cloned();
    // Where nobody says it, it takes no room.
    let is_said = clusters.iter().any(|cluster| environment(cluster).is_some());
    let columns = [
        Column::whole("SCOPE"),
        Column::whole("FRESHNESS"),
        Column::number("VERIFIED"),
        Column::number("OBJECTS"),
        Column::number("KINDS"),
        Column::number("HEARTBEAT"),
        Column::whole("AGENT"),
        Column::whole("KUBERNETES"),
    ];
    let first = [Column::name("CLUSTER")].into_iter();
    let first = first.chain(is_said.then(|| Column::whole("ENVIRONMENT")));
    let mut rows = Rows::new(&first.chain(columns).collect::<Vec<_>>());
    for cluster in clusters {
        let of_cluster = cluster.freshness.as_ref().map_or("", |freshness| &freshness.message);
        let verified = Cell::from(text::age(cluster.verified_at.as_ref(), now_unix_ms));
        let objects = Cell::from(cluster.objects.to_string());
        let environment = is_said.then(|| {
            let name = environment(cluster).unwrap_or_else(|| "-".to_owned());
            Cell::from(name)
        });
        let first = || [Cell::from(&cluster.name)].into_iter().chain(environment.clone());
        if cluster.scopes.is_empty() {
            let freshness = Cell::styled(text::freshness(cluster.freshness.as_ref()));
            let dash = || Cell::from("-");
            let cells = [dash(), freshness, verified, objects, dash(), dash(), dash(), dash()];
            rows.row(first().chain(cells), of_cluster);
            continue;
        }
        for scope in &cluster.scopes {
            let cells = [
                Cell::from(&scope.scope),
                Cell::styled(text::freshness(scope.freshness.as_ref())),
                verified.clone(),
                objects.clone(),
                Cell::from(complete(scope)),
                Cell::from(text::age(scope.last_heartbeat_at.as_ref(), now_unix_ms)),
                Cell::from(&scope.agent_version),
                Cell::from(&scope.api_server_version),
            ];
            let of_scope = scope.freshness.as_ref().map(|freshness| freshness.message.as_str());
            rows.row(first().chain(cells), of_scope.unwrap_or(of_cluster));
        }
    }
    rows
}

/// Kinds that are complete or absent, of all that are watched.
fn complete(scope: &ScopeReport) -> String {
    let is_seen = |state: KindState| matches!(state, KindState::Complete | KindState::Absent);
    let seen = scope.kinds.iter().filter(|kind| is_seen(kind.state())).count();
    format!("{seen}/{}", scope.kinds.len())
}

fn kinds(clusters: &[Cluster], now_unix_ms: i64) -> Rows {
    let mut rows = Rows::new(&[
        Column::name("CLUSTER"),
        Column::whole("SCOPE"),
        Column::whole("KIND"),
        Column::whole("STATE"),
        Column::number("EXIST"),
        Column::number("HELD"),
        Column::number("VERIFIED"),
    ]);
    for (cluster, scope) in
        clusters.iter().flat_map(|it| it.scopes.iter().map(move |scope| (it, scope)))
    {
        for kind in &scope.kinds {
            let cells = [
                Cell::from(&cluster.name),
                Cell::from(&scope.scope),
                Cell::from(&kind.kind),
                Cell::styled(text::kind_state(kind.state())),
                Cell::from(kind.count.to_string()),
                Cell::from(kind.held.to_string()),
                Cell::from(text::age(kind.verified_at.as_ref(), now_unix_ms)),
            ];
            rows.row(cells, &kind.detail);
        }
    }
    rows
}

/// What a person should know and no table shows.
fn troubles(clusters: &[Cluster]) -> Vec<String> {
    let mut lines = Vec::new();
    for cluster in clusters {
        let name = text::clean(&cluster.name);
        if !cluster.conflicting_uids.is_empty() {
            let others = cluster.conflicting_uids.join(", ");
            lines.push(format!(
                "{name}: two clusters use this name: {} and {others}. Give one of their agents another --cluster-name",
                cluster.uid
            ));
        }
        for scope in &cluster.scopes {
            for refusal in &scope.refused {
                let reason = refusal.reason().as_str_name().trim_start_matches("REFUSAL_REASON_");
                lines.push(format!(
                    "{name}/{}: {} objects do not get through ({}), such as {}",
                    text::clean(&scope.scope),
                    refusal.count,
                    reason.to_lowercase().replace('_', " "),
                    text::clean(&refusal.example)
                ));
            }
        }
    }
    lines
}
