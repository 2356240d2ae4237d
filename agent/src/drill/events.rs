//! The events of one object, as the API server has them now: nothing is watched, and nothing kept.

use std::cmp::Reverse;

use jiff::Timestamp;
use serde::Deserialize;
use vitals_proto::{
    limits::EVENTS_MAX,
    v1::{Event, EventList, EventsRequest, RequestError, RequestRefusal},
};

use super::{
    ask,
    kind::{Name, escape},
};

/// Most events that the API server is asked for. It gives them by name, not by time, and forgets them after an hour.
const READ_MAX: usize = 1_000;

/// Largest list that is read. Bytes.
const LIST_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Longest message that is given. Characters; Kubernetes takes 1,024.
const MESSAGE_CHARS_MAX: usize = 1_024;

/// The newest of them.
pub(super) async fn list(
    client: &kube::Client,
    request: &EventsRequest,
) -> Result<EventList, RequestError> {
    let EventsRequest { scope: _, kind, namespace, name } = request;
    let asked = Name { kind, namespace, name };
    let (resource, namespace) = asked.resolve(client).await?;
    let selector = format!("involvedObject.kind={},involvedObject.name={name}", resource.kind);
    let selector = escape(&selector);
    // What is said of an object of the cluster is in no namespace of its own: mostly in `default`.
    let api = match namespace {
        "" => "/api/v1/events".to_owned(),
        namespace => format!("/api/v1/namespaces/{}/events", escape(namespace)),
    };
    let path = format!("{api}?fieldSelector={selector}&limit={READ_MAX}");
    let json = ask::read(client, &path, LIST_BYTES_MAX).await?;
    let Page { metadata, items } = serde_json::from_slice(&json).map_err(|error| {
        let why = format!("the API server's list of events cannot be read: {error}");
        ask::error(RequestRefusal::Unreachable, why)
    })?;
    let mut events: Vec<Event> = items.into_iter().map(Event::from).collect();
    events.sort_by_key(|event| Reverse(event.last_at.map(|at| (at.seconds, at.nanos))));
    let truncated = events.len() > EVENTS_MAX || !metadata.r#continue.is_empty();
    events.truncate(EVENTS_MAX);
    Ok(EventList { events, truncated })
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    metadata: PageMetadata,
    #[serde(default)]
    items: Vec<Item>,
}

#[derive(Default, Deserialize)]
struct PageMetadata {
    #[serde(default)]
    r#continue: String,
}

/// What is read of `core/v1` Event. Times stay text: one that cannot be read spoils nothing.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Item {
    r#type: Option<String>,
    reason: Option<String>,
    message: Option<String>,
    count: Option<u32>,
    first_timestamp: Option<String>,
    last_timestamp: Option<String>,
    event_time: Option<String>,
    series: Option<Series>,
    source: Option<Source>,
    reporting_component: Option<String>,
    metadata: ItemMetadata,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ItemMetadata {
    creation_timestamp: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Series {
    count: Option<u32>,
    last_observed_time: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Source {
    component: Option<String>,
}

impl From<Item> for Event {
    fn from(item: Item) -> Self {
        let Item { r#type, reason, message, count, metadata, .. } = item;
        let series = item.series.unwrap_or_default();
        let source = item.source.unwrap_or_default();
        let said = |text: Option<String>| text.filter(|text| !text.is_empty());
        let first = [item.first_timestamp, item.event_time.clone(), metadata.creation_timestamp];
        let first_at = first.into_iter().flatten().find_map(|text| time(&text));
        let last = [series.last_observed_time, item.last_timestamp, item.event_time];
        let last_at = last.into_iter().flatten().find_map(|text| time(&text)).or(first_at);
        let message = message.unwrap_or_default();
        Self {
            r#type: r#type.unwrap_or_default(),
            reason: reason.unwrap_or_default(),
            message: message.chars().take(MESSAGE_CHARS_MAX).collect(),
            count: series.count.or(count).unwrap_or(1).max(1),
            first_at,
            last_at,
            source: said(item.reporting_component).or(said(source.component)).unwrap_or_default(),
        }
    }
}

fn time(text: &str) -> Option<prost_types::Timestamp> {
    let at: Timestamp = text.parse().ok()?;
    Some(prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(json: &str) -> Event {
        serde_json::from_str::<Item>(json).unwrap().into()
    }

    #[test]
    fn both_generations_of_events_are_read() {
        let old = event(
            r#"{"type":"Warning","reason":"BackOff","message":"m","count":7,"source":{"component":"kubelet"},
            "firstTimestamp":"2026-01-01T00:00:01Z","lastTimestamp":"2026-01-01T00:00:09Z","eventTime":null}"#,
        );
        assert_eq!((old.count, old.source.as_str()), (7, "kubelet"));
        let seconds = |event: &Event| {
            (event.first_at.map(|at| at.seconds), event.last_at.map(|at| at.seconds))
        };
        assert_eq!(seconds(&old), (Some(1_767_225_601), Some(1_767_225_609)));
        let new = event(
            r#"{"type":"Normal","reason":"Scheduled","eventTime":"2026-01-01T00:00:02.000001Z","firstTimestamp":null,
            "series":{"count":3,"lastObservedTime":"2026-01-01T00:00:05.5Z"},"reportingComponent":"default-scheduler"}"#,
        );
        assert_eq!((new.count, new.source.as_str()), (3, "default-scheduler"));
        assert_eq!(seconds(&new), (Some(1_767_225_602), Some(1_767_225_605)));
    }

    #[test]
    fn what_is_missing_or_unreadable_spoils_nothing() {
        let bare = event(
            r#"{"metadata":{"creationTimestamp":"2026-01-01T00:00:01Z"},"lastTimestamp":"yesterday"}"#,
        );
        assert_eq!(bare.count, 1);
        assert_eq!(bare.last_at.map(|at| at.seconds), Some(1_767_225_601));
        assert_eq!(event("{}").last_at, None);
    }
}
