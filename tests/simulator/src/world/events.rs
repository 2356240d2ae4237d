//! Events that controllers write: one for each object and reason, counted, gone after an hour.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::queue::{Controller, Item};
use super::{World, seconds_later};
use crate::resource::{EVENTS, ResourceId};
use crate::store::Key;
use crate::value::{number, rfc3339, set, text};

/// How long an Event is kept after it happened last.
const EVENT_LIFE_S: i64 = 3_600;

/// Whether something is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Normal,
    Warning,
}

/// What happened.
#[derive(Clone, Debug)]
pub(crate) struct Happened {
    pub(crate) tone: Tone,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    /// Who says so.
    pub(crate) source: &'static str,
}

impl World {
    /// Writes an Event about an object; again, only its count and time change.
    pub(crate) fn tell(
        &mut self,
        resource: ResourceId,
        about: &Value,
        happened: Happened,
        now: Timestamp,
    ) {
        let Happened { tone, reason, message, source } = happened;
        if tone == Tone::Normal && !self.options.normal_events {
            return;
        }
        let Some(described) = self.registry.get(resource).cloned() else { return };
        let name = text(about, "/metadata/name");
        let namespace = Some(text(about, "/metadata/namespace"))
            .filter(|it| !it.is_empty())
            .unwrap_or("default");
        let hash = xxhash_rust::xxh3::xxh3_64(
            format!("{}{reason}{message}", text(about, "/metadata/uid")).as_bytes(),
        );
        let event_name = format!("{name}.{hash:016x}");
        let key = Key::new(namespace, &event_name);
        if let Some(mut event) = self.store.read(EVENTS, &key) {
            let count = number(&event, "/count").unwrap_or(1);
            set(&mut event, &["count"], count + 1);
            set(&mut event, &["lastTimestamp"], rfc3339(now));
            self.write_spec(EVENTS, &key, event, now);
            return;
        }
        let event = json!({
            "metadata": { "name": event_name },
            "involvedObject": {
                "kind": described.kind, "apiVersion": described.api_version(), "name": name,
                "namespace": text(about, "/metadata/namespace"), "uid": text(about, "/metadata/uid"),
                "resourceVersion": text(about, "/metadata/resourceVersion"),
            },
            "type": if tone == Tone::Normal { "Normal" } else { "Warning" },
            "reason": reason, "message": message, "count": 1,
            "firstTimestamp": rfc3339(now), "lastTimestamp": rfc3339(now), "eventTime": null,
            "source": { "component": source },
            "reportingComponent": source, "reportingInstance": "",
        });
        self.make(EVENTS, namespace, event, now);
    }

    /// Removes an Event that is old.
    pub(crate) fn sync_event(&mut self, key: &Key, now: Timestamp) {
        let Some(event) = self.store.read(EVENTS, key) else { return };
        let last = crate::value::time(&event, "/lastTimestamp");
        let last = last.or_else(|| crate::value::time(&event, "/metadata/creationTimestamp"));
        let ends = seconds_later(last.unwrap_or(now), EVENT_LIFE_S);
        if ends <= now {
            self.store.remove(EVENTS, key);
        } else {
            let item =
                Item { controller: Controller::EventExpiry, resource: EVENTS, key: key.clone() };
            self.queue.push_at(ends, item);
        }
    }
}
