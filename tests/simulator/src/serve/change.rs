//! Answers what writes: create, replace, patch, delete, and the scale of what has one.

use std::sync::Arc;

use axum::body::Body;
use http::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::Shared;
use super::answer::{json_body, key, not_found, scale, with_type};
use super::route::{Params, Route, Subresource, Target};
use super::show::Shape;
use crate::patch::{self, PatchKind};
use crate::refusal::Refusal;
use crate::store::{Entry, Query};
use crate::value::{number, set, text};
use crate::world::write::{Deletion, Part};

/// A write as it came.
pub(crate) struct Written<'a> {
    pub(crate) method: &'a Method,
    pub(crate) params: &'a Params,
    pub(crate) accept: &'a str,
    pub(crate) content_type: &'a str,
    pub(crate) body: &'a [u8],
}

impl Written<'_> {
    fn value(&self) -> Result<Value, Refusal> {
        let bad = |error: &dyn std::fmt::Display| {
            Refusal::bad_request(format!("the body of the request cannot be read: {error}"))
        };
        if self.content_type.contains("protobuf") || self.content_type.contains("cbor") {
            let message = "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml";
            return Err(Refusal::new(415, "UnsupportedMediaType", message));
        }
        if self.content_type.contains("yaml") {
            let text = std::str::from_utf8(self.body).map_err(|error| bad(&error))?;
            return serde_saphyr::from_str(text).map_err(|error| bad(&error));
        }
        serde_json::from_slice(self.body).map_err(|error| bad(&error))
    }
}

/// A write, answered.
pub(crate) fn write(
    shared: &Arc<Shared>,
    route: &Route,
    written: &Written<'_>,
) -> Result<Response<Body>, Refusal> {
    if written.params.text("dryRun").is_some() {
        return Err(Refusal::bad_request("dry runs are not simulated"));
    }
    match route {
        Route::AccessReview => review(shared, &written.value()?),
        Route::Objects(target) => change(shared, target, written),
        Route::Version
        | Route::Health
        | Route::Core
        | Route::Groups
        | Route::Group(_)
        | Route::Resources { .. }
        | Route::OpenApiV2
        | Route::OpenApiV3
        | Route::OpenApiOf(_) => Err(no_method()),
    }
}

fn no_method() -> Refusal {
    Refusal::new(
        405,
        "MethodNotAllowed",
        "the server does not allow this method on the requested resource",
    )
}

fn change(
    shared: &Arc<Shared>,
    target: &Target,
    written: &Written<'_>,
) -> Result<Response<Body>, Refusal> {
    let resource = &target.resource;
    let part =
        if target.subresource == Some(Subresource::Status) { Part::Status } else { Part::Main };
    match (written.method, &target.name, target.subresource) {
        (_, Some(name), Some(Subresource::Scale)) => rescale(shared, target, name, written),
        (_, _, Some(Subresource::Log)) => Err(no_method()),
        (&Method::POST, None, None) => {
            let object = written.value()?;
            let namespace = target.namespace.as_deref().unwrap_or_default();
            let entry =
                shared.write(|world, now| world.create(resource, namespace, object, now))?;
            shown(shared, target, &entry, StatusCode::CREATED, written.accept)
        }
        (&Method::PUT, Some(name), _) => {
            let object = written.value()?;
            let key = key(target, name);
            let entry =
                shared.write(|world, now| world.update(resource, &key, object, part, now))?;
            shown(shared, target, &entry, StatusCode::OK, written.accept)
        }
        (&Method::PATCH, Some(name), _) => {
            let kind = PatchKind::parse(written.content_type)?;
            let patch = written.value()?;
            let key = key(target, name);
            let (entry, created) = shared
                .write(|world, now| world.patch(resource, &key, (kind, &patch), part, now))?;
            let code = if created { StatusCode::CREATED } else { StatusCode::OK };
            shown(shared, target, &entry, code, written.accept)
        }
        (&Method::DELETE, Some(name), None) => delete(shared, target, name, written),
        (&Method::DELETE, None, None) => delete_all(shared, target, written),
        _ => Err(no_method()),
    }
}

fn shown(
    shared: &Shared,
    target: &Target,
    entry: &Entry,
    code: StatusCode,
    accept: &str,
) -> Result<Response<Body>, Refusal> {
    let shape = Shape::accepted(accept)?;
    let now = shared.clock.now();
    let mut answer =
        with_type("application/json", Body::from(shape.one(&target.resource, entry, now)));
    *answer.status_mut() = code;
    Ok(answer)
}

fn rescale(
    shared: &Arc<Shared>,
    target: &Target,
    name: &str,
    written: &Written<'_>,
) -> Result<Response<Body>, Refusal> {
    let resource = &target.resource;
    let key = key(target, name);
    let body = written.value()?;
    let changed = shared.write(|world, now| {
        let object = world.store.read(resource.id, &key).ok_or_else(|| not_found(target, name))?;
        let mut wanted = scale(&object);
        match *written.method {
            Method::PUT => wanted = body,
            Method::PATCH => {
                patch::apply(PatchKind::parse(written.content_type)?, &mut wanted, &body)?
            }
            _ => return Err(no_method()),
        }
        let replicas = number(&wanted, "/spec/replicas").unwrap_or_default();
        let mut object = object;
        set(&mut object, &["spec", "replicas"], replicas);
        set(
            &mut object,
            &["metadata", "resourceVersion"],
            text(&wanted, "/metadata/resourceVersion"),
        );
        world.update(resource, &key, object, Part::Main, now)
    })?;
    Ok(json_body(StatusCode::OK, &scale(&changed.value())))
}

fn deletion(written: &Written<'_>) -> Result<Deletion, Refusal> {
    let mut options = if written.body.is_empty() { json!({}) } else { written.value()? };
    if let Some(grace) = written.params.number("gracePeriodSeconds")? {
        set(&mut options, &["gracePeriodSeconds"], grace);
    }
    if let Some(policy) = written.params.text("propagationPolicy") {
        set(&mut options, &["propagationPolicy"], policy);
    }
    Ok(Deletion::of(&options))
}

/// What is gone is answered by a status, what is only about to go by the object.
fn delete(
    shared: &Arc<Shared>,
    target: &Target,
    name: &str,
    written: &Written<'_>,
) -> Result<Response<Body>, Refusal> {
    let deletion = deletion(written)?;
    let key = key(target, name);
    let (entry, gone) =
        shared.write(|world, now| world.delete(&target.resource, &key, &deletion, now))?;
    if !gone {
        return shown(shared, target, &entry, StatusCode::OK, written.accept);
    }
    let resource = &target.resource;
    let details = json!({
        "name": name, "group": resource.group, "kind": resource.plural, "uid": entry.uid().to_string(),
    });
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
    });
    Ok(json_body(StatusCode::OK, &status))
}

fn delete_all(
    shared: &Arc<Shared>,
    target: &Target,
    written: &Written<'_>,
) -> Result<Response<Body>, Refusal> {
    let deletion = deletion(written)?;
    let query = Query { limit: 0, ..written.params.query(target)? };
    let (listed, now) = shared.write(|world, now| {
        let listed = world.store.list(target.resource.id, &query)?;
        for entry in &listed.entries {
            // One that has gone meanwhile with another is what is wanted.
            world.delete(&target.resource, entry.key(), &deletion, now).ok();
        }
        Ok::<_, Refusal>((listed, now))
    })?;
    let metadata = json!({ "resourceVersion": listed.version.to_string() });
    let shape = Shape::accepted(written.accept)?;
    let body = super::watch::list_body(
        Arc::clone(&target.resource),
        shape,
        &metadata,
        listed.entries,
        now,
    );
    Ok(with_type("application/json", body))
}

/// Everybody may do everything that no fault forbids.
fn review(shared: &Shared, review: &Value) -> Result<Response<Body>, Refusal> {
    let wanted = |field: &str| text(review, &format!("/spec/resourceAttributes/{field}"));
    let (plural, group) = (wanted("resource"), wanted("group"));
    let resource = if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") };
    let asked = crate::faults::Asked {
        path: "",
        resource: Some(&resource),
        verb: crate::faults::Verb::List,
    };
    let forbids =
        |it: &crate::faults::Fault| matches!(it, crate::faults::Fault::Answer { code: 403, .. });
    let allowed = !shared.faults.look(&asked).iter().any(forbids);
    let mut answer = review.clone();
    set(&mut answer, &["status"], json!({ "allowed": allowed }));
    Ok(json_body(StatusCode::CREATED, &answer))
}
