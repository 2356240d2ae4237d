//! How objects are shown: whole, as metadata alone, or as rows of a table, as the client accepts. Pure.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::table;
use crate::refusal::Refusal;
use crate::resource::Resource;
use crate::store::Entry;

/// What a client wants to see of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Whole,
    Metadata,
    Table,
}

impl Shape {
    /// The first that is accepted and can be given.
    pub(crate) fn accepted(accept: &str) -> Result<Self, Refusal> {
        if accept.trim().is_empty() {
            return Ok(Self::Whole);
        }
        for range in accept.split(',') {
            let range = range.replace(' ', "");
            let mut parts = range.split(';');
            let r#type = parts.next().unwrap_or_default();
            if !["application/json", "application/*", "*/*"].contains(&r#type) {
                continue;
            }
            match parts.find_map(|it| it.strip_prefix("as=")) {
                Some("Table") => return Ok(Self::Table),
                Some("PartialObjectMetadata" | "PartialObjectMetadataList") => {
                    return Ok(Self::Metadata);
                }
                Some(_) => {}
                None => return Ok(Self::Whole),
            }
        }
        let message = "only the following media types are accepted: application/json";
        Err(Refusal::new(406, "NotAcceptable", message))
    }

    /// One object, as it stands alone or in a watch.
    pub(crate) fn one(self, resource: &Resource, entry: &Entry, now: Timestamp) -> Vec<u8> {
        match self {
            Self::Whole => {
                let mut out = Vec::with_capacity(entry.body().len() + 64);
                entry.write_whole(resource, &mut out);
                out
            }
            Self::Metadata => metadata(entry).to_string().into_bytes(),
            Self::Table => {
                let list = json!({ "resourceVersion": entry.version().to_string() });
                let mut table = self.head(resource, &list).into_bytes();
                table.extend_from_slice(&self.item(resource, entry, now));
                table.extend_from_slice(self.tail().as_bytes());
                table
            }
        }
    }

    /// What stands before the items of a list.
    pub(crate) fn head(self, resource: &Resource, metadata: &Value) -> String {
        let head = match self {
            Self::Whole => json!({
                "kind": format!("{}List", resource.kind), "apiVersion": resource.api_version(),
                "metadata": metadata,
            }),
            Self::Metadata => json!({
                "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                "metadata": metadata,
            }),
            Self::Table => json!({
                "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
                "columnDefinitions": table::columns(resource),
            }),
        };
        let items = if self == Self::Table { "rows" } else { "items" };
        let head = head.to_string();
        format!("{},\"{items}\":[", head.strip_suffix('}').unwrap_or(&head))
    }

    /// What stands behind them.
    pub(crate) fn tail(self) -> &'static str {
        "]}"
    }

    /// One item of a list.
    pub(crate) fn item(self, resource: &Resource, entry: &Entry, now: Timestamp) -> Vec<u8> {
        match self {
            Self::Whole => entry.body().to_vec(),
            Self::Metadata => metadata(entry).to_string().into_bytes(),
            Self::Table => {
                let object = entry.value();
                let cells = table::row(resource, &object, now);
                json!({ "cells": cells, "object": metadata(entry) }).to_string().into_bytes()
            }
        }
    }

    /// A bookmark's object.
    pub(crate) fn bookmark(self, resource: &Resource, version: u64, ends_list: bool) -> Value {
        let (kind, api_version) = match self {
            Self::Whole => (resource.kind.clone(), resource.api_version()),
            Self::Metadata => ("PartialObjectMetadata".to_owned(), "meta.k8s.io/v1".to_owned()),
            Self::Table => ("Table".to_owned(), "meta.k8s.io/v1".to_owned()),
        };
        let mut metadata =
            json!({ "resourceVersion": version.to_string(), "creationTimestamp": null });
        if ends_list {
            crate::value::set(&mut metadata, &["annotations", "k8s.io/initial-events-end"], "true");
        }
        let mut object = json!({ "kind": kind, "apiVersion": api_version, "metadata": metadata });
        if self == Self::Table {
            let metadata = crate::value::at(&object, "/metadata");
            let inner = json!({
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
            });
            crate::value::set(&mut object, &["columnDefinitions"], json!([]));
            crate::value::set(&mut object, &["rows"], json!([{ "cells": [], "object": inner }]));
        }
        object
    }
}

fn metadata(entry: &Entry) -> Value {
    let object = entry.value();
    json!({
        "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
        "metadata": crate::value::at(&object, "/metadata"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_get_the_first_that_they_accept() {
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
        for (accept, want) in [
            ("", Ok(Shape::Whole)),
            ("application/json", Ok(Shape::Whole)),
            ("application/vnd.kubernetes.protobuf, application/json", Ok(Shape::Whole)),
            (kubectl, Ok(Shape::Table)),
            (
                "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
                Ok(Shape::Metadata),
            ),
            ("application/vnd.kubernetes.protobuf", Err(406)),
        ] {
            assert_eq!(Shape::accepted(accept).map_err(|it| it.code), want, "{accept}");
        }
    }
}
