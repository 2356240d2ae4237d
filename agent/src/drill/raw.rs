//! One object, as its API server has it, without what stays in the cluster ([`strip`](super::strip)).

use serde_json::Value;
use vitals_proto::v1::{RawObject, RawObjectRequest, RequestError, RequestRefusal};

use super::{
    ask,
    kind::Name,
    strip::{is_refused, strip},
};

/// Largest object that is read, who manages its fields included. etcd takes 1.5 MB by default. Bytes.
const OBJECT_BYTES_MAX: usize = 3 * 1024 * 1024;

/// What of a message is not the object. Bytes.
pub(super) const ENVELOPE_BYTES_MAX: usize = 4 * 1024;

/// The object, in at most so many bytes.
pub(super) async fn get(
    client: &kube::Client,
    request: &RawObjectRequest,
    bytes_max: usize,
) -> Result<RawObject, RequestError> {
    let RawObjectRequest { scope: _, kind, namespace, name } = request;
    let asked = Name { kind, namespace, name };
    let (resource, namespace) = asked.resolve(client).await?;
    if resource.is_secret() {
        return Err(secret());
    }
    let path = resource.path(namespace, name);
    let json = ask::read(client, &path, OBJECT_BYTES_MAX).await?;
    let mut object: Value = serde_json::from_slice(&json).map_err(|error| {
        let why = format!("the API server's answer to {path} cannot be read: {error}");
        ask::error(RequestRefusal::Unreachable, why)
    })?;
    drop(json);
    if is_refused(&object) {
        return Err(secret());
    }
    let left_out = strip(&mut object).into_iter().map(str::to_owned).collect();
    let json = object.to_string();
    if json.len() > bytes_max {
        let why = format!(
            "{} {name} has {} bytes, and a message at most {bytes_max}: ask the API server by kubectl",
            resource.kind,
            json.len()
        );
        return Err(ask::error(RequestRefusal::TooLarge, why));
    }
    Ok(RawObject { json: json.into(), left_out })
}

fn secret() -> RequestError {
    let why = "Secrets and ConfigMaps are never given: what is in them stays in their cluster";
    ask::error(RequestRefusal::Secret, why.to_owned())
}
