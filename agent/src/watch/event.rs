//! The lines of a watch, and what each says.
//!
//! The object of an event stays raw JSON: one that cannot be decoded does not end the watch.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use kube::client::Body;
use memchr::memchr;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Longest line that is read. The API server takes objects of 3 MB; a longer line is skipped, and counted as unreadable.
const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Reads a body line by line. What stands behind the last line end is discarded: the watch was cut within an object.
pub(super) struct Lines {
    body: Body,
    buffer: BytesMut,
    /// Bytes at the start of `buffer` that hold no line end.
    scanned: usize,
    /// The current line was too long, and its rest is skipped.
    skipping: bool,
}

/// A line of a watch.
pub(super) enum Line {
    /// Without its line end.
    Read(Bytes),
    /// It was longer than [`LINE_BYTES_MAX`].
    TooLong,
}

impl Lines {
    pub(super) fn new(body: Body) -> Self {
        Self { body, buffer: BytesMut::new(), scanned: 0, skipping: false }
    }

    /// The next line; `None` when the answer ended. Nothing is lost when the future is dropped.
    pub(super) async fn next(&mut self) -> Result<Option<Line>, kube::Error> {
        loop {
            if let Some(line) = self.buffered() {
                return Ok(Some(line));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(frame) => {
                    if let Ok(data) = frame?.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
            }
        }
    }

    fn buffered(&mut self) -> Option<Line> {
        loop {
            let unscanned = self.buffer.get(self.scanned..).unwrap_or_default();
            let Some(end) = memchr(b'\n', unscanned) else {
                self.scanned = self.buffer.len();
                if self.scanned > LINE_BYTES_MAX {
                    self.buffer.clear();
                    self.scanned = 0;
                    self.skipping = true;
                }
                return None;
            };
            let mut line = self.buffer.split_to(self.scanned + end + 1);
            self.scanned = 0;
            line.truncate(line.len() - 1);
            if std::mem::take(&mut self.skipping) {
                return Some(Line::TooLong);
            }
            if !line.trim_ascii().is_empty() {
                return Some(Line::Read(line.freeze()));
            }
        }
    }
}

/// What a line says.
pub(super) enum Event<'a> {
    /// The object exists. Its JSON.
    Applied(&'a [u8]),
    /// It does not any more. The JSON of its last state.
    Deleted(&'a [u8]),
    /// Nothing happened up to this version.
    Bookmark {
        /// As it stands; empty where it cannot be read.
        resource_version: String,
        /// All that existed was sent before this (KEP-3157).
        ends_list: bool,
    },
    /// The API server ends the watch.
    Error(Status),
    /// None of those: its type is new to us, or it is no JSON.
    Foreign,
}

/// Slim `metav1.Status`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    pub(super) code: Option<u16>,
    pub(super) reason: Option<String>,
    pub(super) message: Option<String>,
    pub(super) details: Option<StatusDetails>,
}

/// Slim `metav1.StatusDetails`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct StatusDetails {
    pub(super) retry_after_seconds: Option<u64>,
}

#[derive(Deserialize)]
struct RawEvent<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Default, Deserialize)]
struct BookmarkObject {
    metadata: BookmarkMetadata,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct BookmarkMetadata {
    resource_version: String,
    annotations: Option<BookmarkAnnotations>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct BookmarkAnnotations {
    #[serde(rename = "k8s.io/initial-events-end")]
    initial_events_end: Option<String>,
}

impl<'a> Event<'a> {
    /// Reads a line.
    pub(super) fn read(line: &'a [u8]) -> Self {
        if let Some(event) = Self::read_usual(line) {
            return event;
        }
        let Ok(RawEvent { r#type, object }) = serde_json::from_slice(line) else {
            return Self::Foreign;
        };
        match &*r#type {
            "ADDED" | "MODIFIED" => Self::Applied(object.get().as_bytes()),
            "DELETED" => Self::Deleted(object.get().as_bytes()),
            "BOOKMARK" => {
                let BookmarkObject { metadata } =
                    serde_json::from_str(object.get()).unwrap_or_default();
                let BookmarkMetadata { resource_version, annotations } = metadata;
                let end = annotations.and_then(|annotations| annotations.initial_events_end);
                Self::Bookmark { resource_version, ends_list: end.as_deref() == Some("true") }
            }
            "ERROR" => Self::Error(serde_json::from_str(object.get()).unwrap_or_default()),
            _ => Self::Foreign,
        }
    }

    /// Reads a line in the form in which the API server writes it (`metav1.WatchEvent`), without looking for the end of the
    /// object, which would cost a third of its projection. What is no whole object is found by whoever decodes it.
    fn read_usual(line: &'a [u8]) -> Option<Self> {
        let line = line.strip_suffix(b"}")?;
        let object = |form: &[u8]| line.strip_prefix(form);
        object(br#"{"type":"MODIFIED","object":"#)
            .or_else(|| object(br#"{"type":"ADDED","object":"#))
            .map(Self::Applied)
            .or_else(|| object(br#"{"type":"DELETED","object":"#).map(Self::Deleted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_read_in_any_form() {
        for line in [
            r#"{"type":"ADDED","object":{"a":1}}"#,
            r#"{"type":"MODIFIED","object":{"a":1}}"#,
            r#"{"type": "ADDED", "object": {"a":1}}"#,
            r#"{"object":{"a":1},"type":"MODIFIED"}"#,
        ] {
            let Event::Applied(object) = Event::read(line.as_bytes()) else { panic!("{line}") };
            assert_eq!(object, br#"{"a":1}"#, "{line}");
        }
        let deleted = br#"{"type":"DELETED","object":{}}"#;
        assert!(matches!(Event::read(deleted), Event::Deleted(b"{}")));
        for line in
            ["", "{}", "[]", "<html>", r#"{"type":"ADDED"}"#, r#"{"type":"NEW","object":{}}"#]
        {
            assert!(matches!(Event::read(line.as_bytes()), Event::Foreign), "{line}");
        }
    }
}
