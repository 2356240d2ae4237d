//! Answers what only reads: discovery, objects, lists, watches, logs.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{Response, StatusCode, header};
use serde_json::{Value, json};

use super::route::{Params, Route, Subresource, Target};
use super::show::Shape;
use super::{Shared, discovery, log, openapi, watch};
use crate::faults::Fault;
use crate::refusal::Refusal;
use crate::store::{Key, Query};
use crate::value::{at, number, set, text};

/// What kubectl reads of the old description: an empty one.
const OPENAPI_V2: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// A read, answered.
pub(crate) fn read(
    shared: &Arc<Shared>,
    route: &Route,
    params: &Params,
    accept: &str,
    faults: &[Fault],
) -> Result<Response<Body>, Refusal> {
    match route {
        Route::Version => Ok(json_body(StatusCode::OK, &discovery::version())),
        Route::Health => Ok(with_type("text/plain", Body::from("ok"))),
        Route::Core | Route::Groups if discovery::wants_aggregated(accept) => {
            let core = matches!(route, Route::Core);
            let all = shared.read(|world, _| discovery::aggregated(&world.registry, core));
            Ok(with_type(discovery::AGGREGATED, Body::from(all.to_string())))
        }
        Route::Core => Ok(json_body(StatusCode::OK, &discovery::core())),
        Route::Groups => {
            let groups = shared.read(|world, _| discovery::groups(&world.registry));
            Ok(json_body(StatusCode::OK, &groups))
        }
        Route::Group(name) => {
            let group = shared.read(|world, _| discovery::group(&world.registry, name))?;
            Ok(json_body(StatusCode::OK, &group))
        }
        Route::Resources { group, version } => {
            let found =
                shared.read(|world, _| discovery::resources(&world.registry, group, version))?;
            Ok(json_body(StatusCode::OK, &found))
        }
        Route::OpenApiV2 if accept.contains("protobuf") => Ok(with_type(OPENAPI_V2, Body::empty())),
        Route::OpenApiV2 => Ok(json_body(StatusCode::OK, &openapi::v2())),
        Route::OpenApiV3 => {
            let index = shared.read(|world, _| openapi::index(&world.registry));
            Ok(json_body(StatusCode::OK, &index))
        }
        Route::OpenApiOf(of) => {
            let description = shared.read(|world, _| openapi::description(&world.registry, of))?;
            Ok(json_body(StatusCode::OK, &description))
        }
        Route::AccessReview => Err(Refusal::new(405, "MethodNotAllowed", "reviews are created")),
        Route::Objects(target) => read_objects(shared, target, params, accept, faults),
    }
}

fn read_objects(
    shared: &Arc<Shared>,
    target: &Target,
    params: &Params,
    accept: &str,
    faults: &[Fault],
) -> Result<Response<Body>, Refusal> {
    let shape = Shape::accepted(accept);
    match (&target.name, target.subresource) {
        (_, Some(Subresource::Log)) => {
            Ok(with_type("text/plain", log::body(shared, target, params)?))
        }
        (Some(name), Some(Subresource::Scale)) => {
            let scale = shared.read(|world, _| {
                let key = key(target, name);
                let object = world.store.read(target.resource.id, &key);
                object.map(|it| scale(&it)).ok_or_else(|| not_found(target, name))
            })?;
            Ok(json_body(StatusCode::OK, &scale))
        }
        (Some(name), Some(Subresource::Status) | None) => {
            let shape = shape?;
            let shown = shared.read(|world, now| {
                let entry = world.store.entry(target.resource.id, &key(target, name));
                let entry = entry.ok_or_else(|| not_found(target, name))?;
                Ok(shape.one(&target.resource, entry, now))
            })?;
            Ok(with_type("application/json", Body::from(shown)))
        }
        (None, _) if params.flag("watch") => {
            let wanted = wanted(target, params, shape?)?;
            // A stream of tables is still JSON, line by line.
            Ok(with_type("application/json", watch::body(shared, wanted, faults)?))
        }
        (None, _) => list(shared, target, params.query(target)?, shape?, faults),
    }
}

fn wanted(target: &Target, params: &Params, shape: Shape) -> Result<watch::Wanted, Refusal> {
    let initial = params.flag("sendInitialEvents");
    if initial && params.text("resourceVersionMatch") != Some("NotOlderThan") {
        return Err(Refusal::new(
            422,
            "Invalid",
            "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ));
    }
    Ok(watch::Wanted {
        resource: Arc::clone(&target.resource),
        query: params.query(target)?,
        shape,
        bookmarks: params.flag("allowWatchBookmarks"),
        initial,
        time: params.number("timeoutSeconds")?.filter(|it| *it > 0).map(Duration::from_secs),
    })
}

fn list(
    shared: &Arc<Shared>,
    target: &Target,
    query: Query,
    shape: Shape,
    faults: &[Fault],
) -> Result<Response<Body>, Refusal> {
    let lie: i64 = faults.iter().map(|it| if let Fault::Lie { by } = it { *by } else { 0 }).sum();
    let expires = faults.iter().any(|it| matches!(it, Fault::Expire { .. }));
    if expires && (query.token.is_some() || query.version.is_some_and(|it| it > 0)) {
        return Err(Refusal::expired("The provided continue parameter is too old"));
    }
    let (listed, now) = shared.read(|world, now| {
        world.store.list(target.resource.id, &query).map(|listed| (listed, now))
    })?;
    let mut metadata =
        json!({ "resourceVersion": listed.version.saturating_add_signed(lie).to_string() });
    if let Some(next) = &listed.next {
        set(&mut metadata, &["continue"], next.to_token());
    }
    if let Some(remaining) = listed.remaining {
        set(&mut metadata, &["remainingItemCount"], remaining);
    }
    let body =
        watch::list_body(Arc::clone(&target.resource), shape, &metadata, listed.entries, now);
    Ok(with_type("application/json", body))
}

/// The key of a named object.
pub(crate) fn key(target: &Target, name: &str) -> Key {
    Key::new(target.namespace.as_deref().unwrap_or_default(), name)
}

pub(crate) fn not_found(target: &Target, name: &str) -> Refusal {
    Refusal::not_found(&target.resource.qualified(), name)
}

/// The scale of an object that has one.
pub(crate) fn scale(object: &Value) -> Value {
    let labels = crate::value::texts(object, "/spec/selector/matchLabels");
    let selector: Vec<String> = labels.map(|(key, value)| format!("{key}={value}")).collect();
    let metadata: serde_json::Map<String, Value> =
        ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"]
            .into_iter()
            .map(|field| (field.to_owned(), text(object, &format!("/metadata/{field}")).into()))
            .collect();
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
        "spec": { "replicas": at(object, "/spec/replicas") },
        "status": {
            "replicas": number(object, "/status/replicas").unwrap_or_default(),
            "selector": selector.join(","),
        },
    })
}

/// An answer in JSON.
pub(crate) fn json_body(code: StatusCode, value: &Value) -> Response<Body> {
    let mut answer = with_type("application/json", Body::from(value.to_string()));
    *answer.status_mut() = code;
    answer
}

/// An answer with a content type.
pub(crate) fn with_type(content_type: &'static str, body: Body) -> Response<Body> {
    let mut answer = Response::new(body);
    let value = header::HeaderValue::from_static(content_type);
    answer.headers_mut().insert(header::CONTENT_TYPE, value);
    answer
}
