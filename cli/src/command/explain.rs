//! `vitals explain`: all that is known of the health of one entity.

use vitals_proto::v1::{Entity, GetEntityRequest, ObjectRef, Verdict};

use super::Outcome;
use crate::args::{Format, HubArgs};
use crate::hub::Hub;
use crate::output::{Output, Style};
use crate::table::{Cell, Column, Table};
use crate::text::clean;
use crate::{Error, progress, reference, text};

/// Of which entity.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// `[KIND:][NAMESPACE/]NAME`; kind and namespace default to component and default
    #[arg(value_name = "REF")]
    entity: String,
    /// Exit with 3 where it is Degraded, Unknown or Missing
    #[arg(long)]
    exit_code: bool,
}

pub(super) async fn run(args: Args, hub: &HubArgs, output: &mut Output) -> Result<Outcome, Error> {
    let Args { entity, exit_code } = args;
    let (hub, entity) = (Hub::new(hub)?, reference::entity(&entity)?.to_string());
    let mut client = hub.entities();
    let request = GetEntityRequest { r#ref: entity.clone() };
    let answer = progress::during(output, "asking the hub", client.get_entity(request)).await;
    let answer = answer.map_err(|status| entity_error(&hub, status, &entity))?.into_inner();
    let entity = answer.entity.ok_or_else(|| Error::Answer("no entity in it".to_owned()))?;
    match output.format {
        Format::Table => show(&entity, output)?,
        Format::Json | Format::Yaml => output.document(&entity)?,
    }
    let tell = exit_code && text::is_unhealthy(text::status_of(entity.verdict.as_ref()));
    Ok(if tell { Outcome::Unhealthy } else { Outcome::Fine })
}

/// What a call about an entity failed with.
pub(super) fn entity_error(hub: &Hub, status: tonic::Status, entity: &str) -> Error {
    if status.code() == tonic::Code::NotFound { not_found(entity) } else { hub.error(status) }
}

/// Neither registered nor seen.
pub(super) fn not_found(entity: &str) -> Error {
    let hint = "It is neither registered nor seen: `vitals get` lists what there is".to_owned();
    Error::NotFound { what: entity.to_owned(), hint }
}

fn show(entity: &Entity, output: &mut Output) -> Result<(), Error> {
    let verdict = entity.verdict.clone().unwrap_or_default();
    head(entity, &verdict, output)?;
    facts(entity, &verdict, output)?;
    for (heading, table) in [
        ("Clusters", clusters(entity, output.now())),
        ("Workloads", workloads(entity)),
        ("Dimensions", dimensions(&verdict)),
    ] {
        if !table.is_empty() {
            let heading = output.paint.text(heading, Style::Strong);
            output.line(&format!("\n{heading}"))?;
            output.table(&table)?;
        }
    }
    Ok(())
}

/// The verdict in a sentence.
fn head(entity: &Entity, verdict: &Verdict, output: &mut Output) -> Result<(), Error> {
    let (word, style) = super::get::status(entity);
    let name = output.paint.text(&clean(&entity.r#ref), Style::Strong);
    let mut head = format!("{name} is {}", output.paint.text(word, style));
    if !verdict.reason.is_empty() {
        head.push_str(&format!(
            " ({}): {}",
            text::severity(verdict.severity()),
            clean(&verdict.reason)
        ));
    }
    if verdict.flapping {
        head.push_str(", and it changes again and again");
    }
    output.line(&head)?;
    if !verdict.message.is_empty() {
        output.line(&format!("  {}", clean(&verdict.message)))?;
    }
    Ok(())
}

/// What is said in a line each, where it is known.
fn facts(entity: &Entity, verdict: &Verdict, output: &mut Output) -> Result<(), Error> {
    let now = output.now();
    let mut lines: Vec<(&str, String)> = Vec::new();
    lines.push(("since", since(verdict, now)));
    lines.push(("origin", text::origin(entity.origin()).to_owned()));
    for (label, value) in [
        ("title", &entity.title),
        ("owner", &entity.owner),
        ("system", &entity.system),
        ("domain", &entity.domain),
    ] {
        lines.push((label, value.clone()));
    }
    lines.push(("freshness", freshness(verdict, now)));
    lines.push(("cause", chain(&verdict.cause)));
    lines.extend(verdict.evidence.iter().map(|seen| ("evidence", seen.clone())));
    if let Some(change) = &verdict.last_change {
        let object = change.object.as_ref().map(text::object).unwrap_or_default();
        let age = text::age(change.at.as_ref(), now);
        lines.push(("last change", format!("{age} ago: {} ({object})", change.message)));
    }
    lines.push(("next", verdict.next.clone()));
    for (label, value) in lines.iter().filter(|(_, value)| !value.is_empty()) {
        let label = output.paint.text(&format!("{label:<12}"), Style::Dim);
        output.line(&format!("  {label} {}", clean(value)))?;
    }
    Ok(())
}

fn since(verdict: &Verdict, now_unix_ms: i64) -> String {
    let Some(since) = &verdict.since else { return String::new() };
    format!("{} ago, {}", text::age(Some(since), now_unix_ms), text::time(Some(since)))
}

fn freshness(verdict: &Verdict, now_unix_ms: i64) -> String {
    let Some(freshness) = &verdict.freshness else { return String::new() };
    let (word, _) = text::freshness(Some(freshness));
    if freshness.message.is_empty() {
        return word.to_owned();
    }
    let age = text::age(freshness.since.as_ref(), now_unix_ms);
    let (last_known, _) = text::status(verdict.last_known());
    format!("{word} for {age}: {} (last known: {last_known})", freshness.message)
}

/// `Deployment pay/web → Pod pay/web-1 (eu-1)`.
fn chain(cause: &[ObjectRef]) -> String {
    let Some(last) = cause.last() else { return String::new() };
    let objects: Vec<String> = cause.iter().map(text::object).collect();
    format!("{} ({})", objects.join(" → "), last.cluster)
}

fn clusters(entity: &Entity, now_unix_ms: i64) -> Table {
    let mut table = Table::new(&[
        Column::name("CLUSTER"),
        Column::whole("STATUS"),
        Column::number("SINCE"),
        Column::whole("FRESHNESS"),
        Column::flexible("REASON"),
        Column::flexible("MESSAGE"),
    ]);
    for cluster in &entity.clusters {
        let verdict = cluster.verdict.clone().unwrap_or_default();
        table.row([
            Cell::from(&cluster.cluster),
            Cell::styled(text::status(verdict.status())),
            Cell::from(text::age(verdict.since.as_ref(), now_unix_ms)),
            Cell::styled(text::freshness(verdict.freshness.as_ref())),
            Cell::from(&verdict.reason),
            Cell::from(&verdict.message),
        ]);
    }
    table
}

/// In the columns of kubectl.
fn workloads(entity: &Entity) -> Table {
    let mut table = Table::new(&[
        Column::name("CLUSTER"),
        Column::name("WORKLOAD"),
        Column::whole("STATUS"),
        Column::number("READY"),
        Column::number("UP-TO-DATE"),
        Column::number("AVAILABLE"),
        Column::number("RESTARTS"),
        Column::flexible("IMAGES"),
    ]);
    let of_clusters = entity
        .clusters
        .iter()
        .flat_map(|it| it.workloads.iter().map(move |workload| (it, workload)));
    for (cluster, workload) in of_clusters {
        let object = workload.object.clone().unwrap_or_default();
        table.row([
            Cell::from(&cluster.cluster),
            Cell::from(text::object(&object)),
            Cell::styled(text::status(text::health_of(workload.health.as_ref()))),
            Cell::from(format!("{}/{}", workload.ready, workload.desired)),
            Cell::from(workload.updated.to_string()),
            Cell::from(workload.available.to_string()),
            Cell::from(workload.restarts.to_string()),
            Cell::from(workload.images.join(",")),
        ]);
    }
    table
}

fn dimensions(verdict: &Verdict) -> Table {
    let mut table = Table::new(&[
        Column::whole("DIMENSION"),
        Column::whole("STATUS"),
        Column::flexible("REASON"),
    ]);
    for dimension in &verdict.dimensions {
        table.row([
            Cell::from(&dimension.name),
            Cell::styled(text::status(dimension.status())),
            Cell::from(&dimension.reason),
        ]);
    }
    table
}
