//! What the server's answer to a message means.

use async_nats::{Message, StatusCode, client::PublishErrorKind};
use serde::Deserialize;
use vitals_agent_core::input::Outcome;

/// `JSPubAckResponse` (server/jetstream_api.go), as far as it is read.
#[derive(Deserialize)]
struct PubAck {
    error: Option<ApiError>,
}

/// `ApiError` (server/jetstream_errors.go).
#[derive(Deserialize)]
struct ApiError {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

/// Arrived, or what to do instead, and why.
pub(super) fn of_message(message: &Message) -> Result<(), (Outcome, String)> {
    if message.status == Some(StatusCode::NO_RESPONDERS) {
        return Err((Outcome::Transient, "no stream takes it".into()));
    }
    match serde_json::from_slice(&message.payload) {
        Ok(PubAck { error: None }) => Ok(()),
        Ok(PubAck { error: Some(ApiError { err_code, description }) }) => {
            let outcome = of_code(err_code, &description);
            Err((outcome, format!("{description} ({err_code})")))
        }
        Err(error) => Err((Outcome::Transient, format!("unreadable acknowledgement: {error}"))),
    }
}

/// By the codes of server/errors.json.
fn of_code(code: u64, description: &str) -> Outcome {
    match code {
        // Message, or header, exceeds the maximum.
        10_054 | 10_097 => Outcome::TooLarge,
        // The store failed: for good where it is a limit ("maximum bytes exceeded"), else perhaps not the next time.
        10_077 if description.contains("exceeded") => Outcome::StreamFull,
        // Resources of the account, the server, its memory or its disk are exceeded.
        10_002 | 10_023 | 10_028 | 10_047 | 10_122 => Outcome::StreamFull,
        // The stream is sealed, or does not allow the TTL of tombstones: somebody must change it.
        10_109 | 10_165 | 10_166 => Outcome::Permission,
        _ => Outcome::Transient,
    }
}

/// What the client says without asking the server.
pub(super) fn of_error(kind: PublishErrorKind) -> Outcome {
    match kind {
        PublishErrorKind::MaxPayloadExceeded => Outcome::TooLarge,
        // Ours are valid by construction.
        PublishErrorKind::InvalidSubject => Outcome::Permission,
        PublishErrorKind::Send => Outcome::Transient,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn outcome(payload: &'static str, status: Option<StatusCode>) -> Outcome {
        let message = Message {
            subject: "inbox".into(),
            reply: None,
            payload: Bytes::from_static(payload.as_bytes()),
            headers: None,
            status,
            description: None,
            length: 0,
        };
        of_message(&message).map_or_else(|(outcome, _)| outcome, |()| Outcome::Acked)
    }

    #[test]
    fn answers_are_classified() {
        for (payload, want) in [
            (r#"{"stream":"VITALS_OBJECTS","seq":1}"#, Outcome::Acked),
            (
                r#"{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"},"stream":"S","seq":0}"#,
                Outcome::StreamFull,
            ),
            (
                r#"{"error":{"code":503,"err_code":10077,"description":"write error"}}"#,
                Outcome::Transient,
            ),
            (
                r#"{"error":{"code":400,"err_code":10054,"description":"message size exceeds maximum allowed"}}"#,
                Outcome::TooLarge,
            ),
            (
                r#"{"error":{"code":400,"err_code":10166,"description":"per-message ttl is disabled"}}"#,
                Outcome::Permission,
            ),
            (r#"{"error":{"code":503,"err_code":10009}}"#, Outcome::Transient),
            ("", Outcome::Transient),
        ] {
            assert_eq!(outcome(payload, None), want, "{payload}");
        }
        assert_eq!(outcome("", Some(StatusCode::NO_RESPONDERS)), Outcome::Transient);
        assert_eq!(of_error(PublishErrorKind::MaxPayloadExceeded), Outcome::TooLarge);
    }
}
