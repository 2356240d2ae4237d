//! `vitals events`: the Kubernetes Events of an object, or of all objects of an entity, as their API server has them now.

use std::cmp::Reverse;

use futures::stream::{self, StreamExt as _};
use serde_json::{Value, json};
use vitals_proto::v1::{Event, ListEventsRequest, ListEventsResponse, ObjectRef};

use super::Outcome;
use super::drill::{self, Meant};
use crate::args::{Format, HubArgs};
use crate::hub::Hub;
use crate::output::{Output, Style};
use crate::reference::{self, Place};
use crate::table::{Cell, Column, Table};
use crate::{Error, json, progress, text};

/// Most objects of an entity whose events are asked for, and how many of them at once.
const OBJECTS_MAX: usize = 40;
const AT_ONCE: usize = 4;

const EXAMPLES: &str = "Examples:
  vitals events shop/checkout                  of all objects of an entity
  vitals events deploy/checkout -n shop        of one object
  vitals events east/node/node-1 -o json

API servers forget events after an hour. The agent needs the right to list events.";

/// About what.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// An object (CLUSTER/KIND/NAMESPACE/NAME, deploy/NAME, pod NAME), or an entity (`[KIND:][NAMESPACE/]NAME`)
    #[arg(required = true, num_args = 1..=2, value_name = "OBJECT|ENTITY")]
    target: Vec<String>,
    #[command(flatten)]
    place: Place,
}

pub(super) async fn run(args: Args, hub: &HubArgs, output: &mut Output) -> Result<Outcome, Error> {
    let Args { target, place } = args;
    let target = reference::target(&target, &place)?;
    let hub = Hub::new(hub)?;
    let finding = async {
        let meant = Meant::of(&hub, target).await?;
        let objects = match &meant {
            Meant::Object(object) => vec![object.clone()],
            Meant::Entity(_) => drill::objects(&hub, &meant).await?,
        };
        Ok::<_, Error>((meant, objects))
    };
    let (meant, mut objects) = progress::during(output, "asking the hub", finding).await?;
    if let Some(cluster) = &place.cluster {
        objects.retain(|it| it.cluster == cluster.as_str());
    }
    if objects.len() > OBJECTS_MAX {
        output.note(&format!(
            "{} objects: only the first {OBJECTS_MAX} are asked about; name an object for others",
            objects.len()
        ));
        objects.truncate(OBJECTS_MAX);
    }
    let asking = stream::iter(objects).map(|object| ask(&hub, object)).buffered(AT_ONCE);
    let answers = progress::during(output, "asking the cluster", asking.collect::<Vec<_>>()).await;
    let answers = answers.into_iter().collect::<Result<Vec<_>, _>>()?;
    match output.format {
        Format::Table => show(&meant, &answers, output)?,
        Format::Json | Format::Yaml => output.value(&document(&answers)?)?,
    }
    Ok(Outcome::Fine)
}

async fn ask(hub: &Hub, object: ObjectRef) -> Result<(ObjectRef, ListEventsResponse), Error> {
    let request = ListEventsRequest { object: Some(object.clone()) };
    let answer = hub.objects().list_events(request).await;
    let answer = answer.map_err(|status| drill::error(hub, status))?;
    Ok((object, answer.into_inner()))
}

fn show(
    meant: &Meant,
    answers: &[(ObjectRef, ListEventsResponse)],
    output: &mut Output,
) -> Result<(), Error> {
    let cluster = answers.first().map(|(object, _)| &object.cluster);
    let is_one_cluster = answers.iter().all(|(object, _)| Some(&object.cluster) == cluster);
    let of = |(object, answer): &(ObjectRef, ListEventsResponse)| {
        let events = answer.events.clone().into_iter();
        let object = match is_one_cluster {
            true => text::object(object),
            false => format!("{} in {}", text::object(object), object.cluster),
        };
        events.map(move |event| (object.clone(), event)).collect::<Vec<_>>()
    };
    let mut events: Vec<(String, Event)> = answers.iter().flat_map(of).collect();
    if events.is_empty() {
        output.note(&format!("no events of {meant}: API servers forget them after an hour"));
        return Ok(());
    }
    // Sorting is stable: what came at one time stays as it was.
    events.sort_by_key(|(_, event)| Reverse(event.last_at.as_ref().map(text::unix_ms)));
    let mut table = Table::new(&[
        Column::number("LAST"),
        Column::whole("TYPE"),
        Column::whole("REASON"),
        Column::name("OBJECT"),
        Column::number("COUNT"),
        Column::flexible("MESSAGE"),
    ]);
    for (object, event) in &events {
        let style = if event.r#type == "Warning" { Style::Warn } else { Style::Plain };
        table.row([
            Cell::from(text::age(event.last_at.as_ref(), output.now())),
            Cell::styled((&event.r#type, style)),
            Cell::from(&event.reason),
            Cell::from(object),
            Cell::from(event.count.to_string()),
            Cell::from(&event.message),
        ]);
    }
    output.table(&table)?;
    if answers.iter().any(|(_, answer)| answer.truncated) {
        output.note("there are more, older ones");
    }
    Ok(())
}

/// For programs: each object with its events.
fn document(answers: &[(ObjectRef, ListEventsResponse)]) -> Result<Value, Error> {
    let mut objects = Vec::new();
    for (object, answer) in answers {
        let mut document = json::value(answer)?;
        if let Some(fields) = document.as_object_mut() {
            fields.insert("object".to_owned(), json::value(object)?);
        }
        objects.push(document);
    }
    Ok(json!({ "objects": objects }))
}
