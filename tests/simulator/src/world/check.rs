//! What an API server refuses, whatever the kind. Pure.

use serde_json::Value;

use super::write::Deletion;
use crate::refusal::Refusal;
use crate::resource::Resource;
use crate::value::text;

/// Longest name of an object.
const NAME_CHARS_MAX: usize = 253;

pub(super) fn check_kind(resource: &Resource, object: &Value) -> Result<(), Refusal> {
    let (api_version, kind) = (text(object, "/apiVersion"), text(object, "/kind"));
    let (wanted_version, wanted_kind) = (resource.api_version(), &resource.kind);
    let is_right = (api_version.is_empty() || api_version == wanted_version)
        && (kind.is_empty() || kind == wanted_kind);
    let message = || {
        format!(
            "{kind} in version {api_version:?} cannot be handled as a {wanted_kind} of {wanted_version}"
        )
    };
    if is_right { Ok(()) } else { Err(Refusal::bad_request(message())) }
}

pub(super) fn check_name(resource: &Resource, name: &str) -> Result<(), Refusal> {
    let invalid =
        |why: &str| Refusal::invalid(&resource.kind, name, &format!("metadata.name: {why}"));
    if name.is_empty() {
        return Err(invalid("Required value: name or generateName is required"));
    }
    let is_rbac = resource.group == "rbac.authorization.k8s.io";
    let fits = |c: char| {
        c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.' || is_rbac && c != '/'
    };
    let ends = |c: Option<char>| c.is_some_and(|c| c != '-' && c != '.');
    if name.chars().count() > NAME_CHARS_MAX
        || !name.chars().all(fits)
        || !ends(name.chars().next())
        || !ends(name.chars().last())
    {
        return Err(invalid("Invalid value: a lowercase RFC 1123 subdomain is wanted"));
    }
    Ok(())
}

pub(super) fn check_version(resource: &Resource, old: &Value, new: &Value) -> Result<(), Refusal> {
    for (field, why) in [
        (
            "/metadata/resourceVersion",
            "the object has been modified; please apply your changes to the latest version and try again",
        ),
        (
            "/metadata/uid",
            "Precondition failed: UID in precondition differs from UID in object meta",
        ),
    ] {
        let wanted = text(new, field);
        if !wanted.is_empty() && wanted != text(old, field) {
            return Err(Refusal::conflict(&resource.qualified(), text(old, "/metadata/name"), why));
        }
    }
    Ok(())
}

pub(super) fn check_preconditions(
    resource: &Resource,
    object: &Value,
    deletion: &Deletion,
) -> Result<(), Refusal> {
    for (wanted, field, what) in [
        (&deletion.uid, "/metadata/uid", "UID"),
        (&deletion.version, "/metadata/resourceVersion", "ResourceVersion"),
    ] {
        if let Some(wanted) = wanted
            && wanted != text(object, field)
        {
            let why = format!(
                "Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {}",
                text(object, field)
            );
            return Err(Refusal::conflict(
                &resource.qualified(),
                text(object, "/metadata/name"),
                &why,
            ));
        }
    }
    Ok(())
}
