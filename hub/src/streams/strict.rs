//! Whether JetStream is in strict mode. The server does not say; it is seen by what it refuses.
//!
//! In strict mode (`jetstream { strict: true }`, the default since 2.12) a request with a field that the API
//! does not know is refused as invalid JSON; otherwise the field is ignored. *Seen* on 2.15.1 in both modes.

use async_nats::jetstream::{Context, ErrorCode};
use serde::{Deserialize, Serialize};

use super::Error;

/// A question that changes nothing, with a field that no API knows.
#[derive(Serialize)]
struct Probe {
    offset: usize,
    vitals_strict_probe: bool,
}

#[derive(Deserialize)]
struct Answer {
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    err_code: u64,
}

/// Checks that it is. [`Error::NotStrict`] where it is not; [`Error::Probe`] where the server does not answer.
pub async fn check(context: &Context) -> Result<(), Error> {
    let probe = Probe { offset: 0, vitals_strict_probe: true };
    let answer: Answer = context.request("STREAM.NAMES", &probe).await.map_err(Error::Probe)?;
    let invalid = ErrorCode::INVALID_JSON.0;
    match answer.error {
        Some(Refusal { err_code }) if err_code == invalid => Ok(()),
        Some(_) | None => Err(Error::NotStrict),
    }
}
