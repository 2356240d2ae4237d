//! `vitals get`: entities and their health, now; or one object, as its API server has it.

use vitals_proto::v1::{Entity, GetObjectRequest, GetObjectResponse, ListEntitiesResponse};

use super::Outcome;
use super::drill;
use super::entity_filter::FilterArgs;
use crate::args::{Format, HubArgs};
use crate::hub::Hub;
use crate::output::{Output, Style};
use crate::reference::NamedObject;
use crate::table::{Cell, Column, Table};
use crate::{Error, progress, text};

const EXAMPLES: &str = "Examples:
  vitals get                                   all entities
  vitals get --status degraded --exit-code     those that fail; exit code 3 if there is one
  vitals get -o yaml deploy/checkout -n shop   an object, as its API server has it

An object comes without metadata.managedFields, values of environment variables and what was last applied; Secrets and
ConfigMaps never come. An agent gives objects only where it was started with --allow-raw-objects; `vitals up` does that.";

/// What to get.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    filter: FilterArgs,
    /// Exit with 3 where an entity shown is Degraded, Unknown or Missing
    #[arg(long)]
    exit_code: bool,
}

pub(super) async fn run(args: Args, hub: &HubArgs, output: &mut Output) -> Result<Outcome, Error> {
    let Args { filter, exit_code } = args;
    if let Some(object) = filter.object()? {
        return object_of_cluster(object, hub, output).await;
    }
    let (hub, filter) = (Hub::new(hub)?, filter.filter()?);
    let refs = filter.refs.clone();
    let entities = progress::during(output, "asking the hub", hub.list_entities(filter)).await?;
    match output.format {
        Format::Table if entities.is_empty() => output.note("no entities"),
        Format::Table => {
            let table = table(&entities, output.now());
            output.table(&table)?;
        }
        Format::Json | Format::Yaml => {
            let entities = entities.clone();
            output.document(&ListEntitiesResponse { entities, next_page_token: String::new() })?;
        }
    }
    let is_there = |wanted: &&String| entities.iter().any(|entity| entity.r#ref == **wanted);
    if let Some(missing) = refs.iter().find(|wanted| !is_there(wanted)) {
        return Err(super::explain::not_found(missing));
    }
    let unhealthy = |entity: &Entity| text::is_unhealthy(text::status_of(entity.verdict.as_ref()));
    let tell = exit_code && entities.iter().any(unhealthy);
    Ok(if tell { Outcome::Unhealthy } else { Outcome::Fine })
}

/// One object, as its API server has it.
async fn object_of_cluster(
    object: NamedObject,
    hub: &HubArgs,
    output: &mut Output,
) -> Result<Outcome, Error> {
    if output.format == Format::Table {
        return Err(Error::Usage(format!(
            "{}/{} is an object, which has no row: say -o yaml or -o json to see it as its API server has it, or \
             `vitals tree` for its health",
            object.kind, object.name
        )));
    }
    let hub = Hub::new(hub)?;
    let asking = async {
        let object = Some(object.resolve(&hub).await?);
        let answer = hub.objects().get_object(GetObjectRequest { object }).await;
        answer.map_err(|status| drill::error(&hub, status))
    };
    let answer = progress::during(output, "asking the cluster", asking).await?;
    let GetObjectResponse { json, left_out } = answer.into_inner();
    let value: serde_json::Value = serde_json::from_slice(&json)
        .map_err(|error| Error::Answer(format!("the object is no JSON: {error}")))?;
    output.value(&value)?;
    if !left_out.is_empty() {
        output.note(&format!("left out by the agent: {}", text::clean(&left_out.join(", "))));
    }
    Ok(Outcome::Fine)
}

/// One row per entity; also what `watch` shows.
pub(super) fn table<'a>(entities: impl IntoIterator<Item = &'a Entity>, now_unix_ms: i64) -> Table {
    let mut table = Table::new(&[
        Column::name("ENTITY"),
        Column::whole("STATUS"),
        Column::number("READY"),
        Column::name("CLUSTERS"),
        Column::number("SINCE"),
        Column::flexible("REASON"),
        Column::flexible("MESSAGE"),
    ]);
    for entity in entities {
        table.row(row(entity, now_unix_ms));
    }
    table
}

fn row(entity: &Entity, now_unix_ms: i64) -> Vec<Cell> {
    let verdict = entity.verdict.clone().unwrap_or_default();
    let clusters: Vec<&str> = entity.clusters.iter().map(|it| it.cluster.as_str()).collect();
    let since = text::age(verdict.since.as_ref(), now_unix_ms);
    vec![
        Cell::from(&entity.r#ref),
        Cell::styled(status(entity)),
        Cell::from(ready(entity)),
        Cell::from(clusters.join(",")),
        Cell::from(since),
        Cell::from(&verdict.reason),
        Cell::styled((verdict.message.as_str(), Style::Dim)),
    ]
}

/// The word and the style of its status.
pub(super) fn status(entity: &Entity) -> (&'static str, Style) {
    text::status(text::status_of(entity.verdict.as_ref()))
}

/// Ready and desired replicas of its workloads, over all clusters; `-` where it has none.
fn ready(entity: &Entity) -> String {
    let mut workloads = entity.clusters.iter().flat_map(|cluster| &cluster.workloads).peekable();
    if workloads.peek().is_none() {
        return "-".to_owned();
    }
    let (ready, desired) = workloads.fold((0_i64, 0_i64), |(ready, desired), workload| {
        (ready + i64::from(workload.ready), desired + i64::from(workload.desired))
    });
    format!("{ready}/{desired}")
}
