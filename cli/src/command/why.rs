//! `vitals why`: to which entities an object belongs, and why.

use vitals_proto::v1::{ExplainObjectRequest, ExplainObjectResponse, ObjectRef};

use super::Outcome;
use crate::args::{Format, HubArgs};
use crate::hub::Hub;
use crate::output::{Output, Style};
use crate::reference::{self, Place};
use crate::{Error, progress, text};

/// Of which object.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// CLUSTER/KIND/NAMESPACE/NAME, or as kubectl takes it: deploy/NAME, pod NAME
    #[arg(required = true, num_args = 1..=2, value_name = "OBJECT")]
    object: Vec<String>,
    #[command(flatten)]
    place: Place,
}

pub(super) async fn run(args: Args, hub: &HubArgs, output: &mut Output) -> Result<Outcome, Error> {
    let Args { object, place } = args;
    let hub = Hub::new(hub)?;
    let resolving = reference::object(&object, &place)?.resolve(&hub);
    let object = progress::during(output, "asking the hub", resolving).await?;
    let request = ExplainObjectRequest { object: Some(object.clone()) };
    let mut client = hub.entities();
    let answer = progress::during(output, "asking the hub", client.explain_object(request)).await;
    let answer = answer.map_err(|status| not_found(&hub, status, &object))?.into_inner();
    match output.format {
        Format::Table => show(&object, &answer, output)?,
        Format::Json | Format::Yaml => output.document(&answer)?,
    }
    Ok(Outcome::Fine)
}

/// What a call about an object failed with.
pub(super) fn not_found(hub: &Hub, status: tonic::Status, object: &ObjectRef) -> Error {
    if status.code() != tonic::Code::NotFound {
        return hub.error(status);
    }
    Error::NotFound {
        what: format!("{} in cluster {}", text::object(object), object.cluster),
        hint: "`vitals clusters` says which clusters and kinds it sees".to_owned(),
    }
}

fn show(
    object: &ObjectRef,
    answer: &ExplainObjectResponse,
    output: &mut Output,
) -> Result<(), Error> {
    let ExplainObjectResponse { health, claims, unclaimed, held } = answer;
    let (word, style) = text::status(text::health_of(health.as_ref()));
    let (word, name) = (output.paint.text(word, style), text::object(object));
    output.line(&format!("{name} in {} is {word}", object.cluster))?;
    if let Some(health) = health.as_ref().filter(|health| !health.message.is_empty()) {
        let reason = if health.reason.is_empty() { "" } else { ": " };
        let line = format!("  {}{reason}{}", health.reason, health.message);
        output.line(&text::clean(&line))?;
    }
    if !unclaimed.is_empty() {
        output.line(&format!("It belongs to no entity: {}", text::clean(unclaimed)))?;
    }
    for claim in claims {
        let entity = output.paint.text(&text::clean(&claim.r#ref), Style::Strong);
        output.line(&format!("It belongs to {entity} by {}", text::clean(&claim.rule)))?;
        output.line(&format!("  {}", text::clean(&claim.message)))?;
        if !claim.via.is_empty() {
            let via: Vec<String> = claim.via.iter().map(text::object).collect();
            output.line(&format!("  through {}", text::clean(&via.join(", then "))))?;
        }
    }
    if let Some(held) = held {
        let seen = text::age(held.observed_at.as_ref(), output.now());
        output.line(&format!(
            "The hub holds resourceVersion {}, seen {seen} ago, {} bytes",
            text::clean(&held.resource_version),
            held.message_bytes
        ))?;
        if !held.truncated.is_empty() {
            output.line(&format!("  cut: {}", text::clean(&held.truncated.join(", "))))?;
        }
    }
    Ok(())
}
