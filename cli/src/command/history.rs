//! `vitals history`: what was told of the health of an entity, the newest first.

use std::time::Duration;

use prost_types::Timestamp;
use vitals_proto::v1::{HealthTransition, ListTransitionsRequest, ListTransitionsResponse};
use vitals_runtime::duration;

use super::Outcome;
use crate::args::{Format, HubArgs};
use crate::hub::Hub;
use crate::output::Output;
use crate::table::{Cell, Column, Table};
use crate::{Error, progress, reference, text};

/// What `--help` says at its end.
const EXAMPLES: &str = "\
Examples:
  What happened to a service lately:
    vitals history shop
  In the last two hours, for a program:
    vitals history shop --since 2h -o json
  Since a deployment:
    vitals history component:payments/shop --since 2026-01-01T09:30:00Z --limit 100

Each line is a change that was told once, whichever replica of the hub told it: when, from which status to which, how long it
then stayed so, in which clusters, and why. What did not last, or was seen by no hub, is not there. Hubs keep 30 days.";

/// Of which entity.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// `[KIND:][NAMESPACE/]NAME`; kind and namespace default to component and default
    #[arg(value_name = "REF")]
    entity: String,
    /// Only what happened since: a while ago (30s, 15m, 2h, 7d), or a time (2026-01-01T09:30:00Z)
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    since: Option<Since>,
    /// At most so many changes, the newest
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

/// From when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Since {
    /// So long ago.
    Ago(Duration),
    /// At that time. Milliseconds since the Unix epoch.
    At(i64),
}

fn parse_since(text: &str) -> Result<Since, String> {
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Ok(Since::At(at.as_millisecond()));
    }
    duration::parse(text).map(Since::Ago).map_err(|_| {
        format!("{text:?} is neither a while such as 30s, 15m, 2h or 7d, nor a time such as 2026-01-01T09:30:00Z")
    })
}

pub(super) async fn run(args: Args, hub: &HubArgs, output: &mut Output) -> Result<Outcome, Error> {
    let Args { entity, since, limit } = args;
    let entity = reference::entity(&entity)?.to_string();
    let hub = Hub::new(hub)?;
    let since_unix_ms = since.map(|since| match since {
        Since::Ago(ago) => {
            output.now().saturating_sub(i64::try_from(ago.as_millis()).unwrap_or(i64::MAX))
        }
        Since::At(unix_ms) => unix_ms,
    });
    let listing = list(&hub, &entity, since_unix_ms, limit);
    let transitions = progress::during(output, "asking the hub", listing).await?;
    match output.format {
        Format::Json | Format::Yaml => {
            let next_page_token = String::new();
            output.document(&ListTransitionsResponse { transitions, next_page_token })?;
        }
        Format::Table if transitions.is_empty() && since.is_some() => {
            output.note(&format!("nothing was told of {entity} since then"));
        }
        Format::Table if transitions.is_empty() => {
            output.note(&format!("nothing was told of {entity} yet"));
        }
        Format::Table => {
            let table = table(&transitions, output.now());
            output.table(&table)?;
        }
    }
    Ok(Outcome::Fine)
}

/// The newest, over as many pages as it takes.
async fn list(
    hub: &Hub,
    entity: &str,
    since_unix_ms: Option<i64>,
    limit: u32,
) -> Result<Vec<HealthTransition>, Error> {
    let (mut client, mut page_token) = (hub.entities(), String::new());
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut all: Vec<HealthTransition> = Vec::new();
    loop {
        let rest = u32::try_from(most.saturating_sub(all.len())).unwrap_or(u32::MAX);
        let request = ListTransitionsRequest {
            r#ref: entity.to_owned(),
            page_size: rest,
            page_token,
            since: since_unix_ms.map(timestamp),
            until: None,
        };
        let page = client.list_transitions(request).await;
        let page = page.map_err(|status| super::explain::entity_error(hub, status, entity))?;
        let page = page.into_inner();
        all.extend(page.transitions);
        page_token = page.next_page_token;
        if page_token.is_empty() || all.len() >= most {
            all.truncate(most);
            return Ok(all);
        }
    }
}

fn timestamp(unix_ms: i64) -> Timestamp {
    let nanos = i32::try_from(unix_ms.rem_euclid(1_000)).unwrap_or_default() * 1_000_000;
    Timestamp { seconds: unix_ms.div_euclid(1_000), nanos }
}

fn table(transitions: &[HealthTransition], now_unix_ms: i64) -> Table {
    let mut table = Table::new(&[
        Column::whole("WHEN"),
        Column::whole("FROM"),
        Column::whole("TO"),
        Column::number("LASTED"),
        Column::name("CLUSTERS"),
        Column::flexible("REASON"),
        Column::flexible("MESSAGE"),
    ]);
    // Each lasted until the next one, which stands above it; the newest still does.
    let ends = std::iter::once(None).chain(transitions.iter().map(|told| told.at.as_ref()));
    for (told, end) in transitions.iter().zip(ends) {
        let after = told.after.clone().unwrap_or_default();
        let from = text::status(text::status_of(told.before.as_ref()));
        let end_unix_ms = end.map_or(now_unix_ms, text::unix_ms);
        let lasted = text::age(told.at.as_ref(), end_unix_ms);
        let lasted = if end.is_none() { format!("{lasted}, still") } else { lasted };
        table.row([
            Cell::from(when(told.at.as_ref())),
            Cell::styled(from),
            Cell::styled(text::status(after.status())),
            Cell::from(lasted),
            Cell::from(told.clusters.join(",")),
            Cell::from(after.reason),
            Cell::from(after.message),
        ]);
    }
    table
}

/// To the second: which of two came first, the order of the lines says.
fn when(at: Option<&Timestamp>) -> String {
    let seconds = at.and_then(|at| jiff::Timestamp::from_second(at.seconds).ok());
    seconds.map_or_else(|| "-".to_owned(), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_while_or_a_moment() {
        for (text, want) in [
            ("30s", Some(Since::Ago(Duration::from_secs(30)))),
            ("2h", Some(Since::Ago(Duration::from_secs(7_200)))),
            ("1970-01-01T00:00:01Z", Some(Since::At(1_000))),
            ("1970-01-01T01:00:01+01:00", Some(Since::At(1_000))),
            ("", None),
            ("-2h", None),
            ("yesterday", None),
        ] {
            assert_eq!(parse_since(text).ok(), want, "{text}");
        }
    }
}
