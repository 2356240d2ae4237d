//! Asks the API server, and says in our words what its refusals mean.

use std::time::Duration;

use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use kube::client::Body;
use tokio::time::timeout;

use super::event::Status;

/// Bytes of an error's body that are read.
const ERROR_BYTES_MAX: usize = 64 * 1024;

/// Longest detail that is told. Characters.
const DETAIL_CHARS_MAX: usize = 300;

/// Why a request came to nothing. `plan` says what is done about each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The version asked for is no longer kept (410).
    Gone(String),
    /// What the API server has is older than what was seen of it.
    Rewound(String),
    /// We may not (401, 403).
    Forbidden(String),
    /// There is no such path (404).
    NotFound(String),
    /// The cluster does not have the kind, in any version.
    Absent(String),
    /// The request is not understood (400, 405, 406, 415, 422): no streaming lists, where that was asked.
    Refused(String),
    /// The server failed at the request (500, 501). A storage that cannot stream lists shows so.
    Internal(String),
    /// We ask too much (429, or any other answer with `Retry-After`).
    Throttled {
        /// How long to wait.
        retry_after: Duration,
        /// What it said.
        detail: String,
    },
    /// A page is larger than we read.
    PageTooLarge,
    /// Anything else: no connection, a cut, a time-out, a server's error.
    Broken(String),
}

/// `GET`, until the answer's head. An answer other than success is a failure.
pub(crate) async fn get(
    client: &kube::Client,
    path: &str,
    answer_timeout: Duration,
) -> Result<Response<Body>, Failure> {
    // Compressed watches come as one gzip member per event, which few decoders read: kube-client asks the same.
    let request = Request::get(path)
        .header(header::ACCEPT, "application/json")
        .header(header::ACCEPT_ENCODING, "identity")
        .body(Body::empty())
        .map_err(|error| Failure::Broken(one_line(&chain(&error))))?;
    let exchange = async {
        let answer = client.send(request).await.map_err(|error| broken(&error))?;
        if answer.status().is_success() { Ok(answer) } else { Err(refusal(answer).await) }
    };
    timeout(answer_timeout, exchange).await.unwrap_or_else(|_| {
        Err(Failure::Broken(format!("no answer within {} s", answer_timeout.as_secs())))
    })
}

/// A failure below HTTP.
pub(super) fn broken(error: &kube::Error) -> Failure {
    Failure::Broken(one_line(&chain(error)))
}

/// What an answer other than success means.
async fn refusal(answer: Response<Body>) -> Failure {
    let code = answer.status();
    let retry_after = answer.headers().get(header::RETRY_AFTER);
    let retry_after = retry_after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let body = Limited::new(answer.into_body(), ERROR_BYTES_MAX).collect().await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    let mut status: Status = serde_json::from_slice(&body).unwrap_or_else(|_| Status {
        message: Some(String::from_utf8_lossy(&body).into_owned()),
        ..Status::default()
    });
    status.code = Some(code.as_u16());
    classify(&status, retry_after)
}

/// What a status means, be it an answer or an event.
pub(super) fn classify(status: &Status, retry_after_s: Option<u64>) -> Failure {
    let code = status.code.unwrap_or_default();
    let said = status.message.as_deref().or(status.reason.as_deref()).unwrap_or_default();
    let detail = one_line(&format!("{code} {said}"));
    let told = status.details.as_ref().and_then(|details| details.retry_after_seconds);
    let retry_after_s = retry_after_s.or(told);
    let expired = matches!(status.reason.as_deref(), Some("Expired" | "Gone"));
    match StatusCode::from_u16(code) {
        _ if expired => Failure::Gone(detail),
        Ok(StatusCode::GONE) => Failure::Gone(detail),
        Ok(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => Failure::Forbidden(detail),
        Ok(StatusCode::NOT_FOUND) => Failure::NotFound(detail),
        Ok(StatusCode::TOO_MANY_REQUESTS) => {
            let retry_after = Duration::from_secs(retry_after_s.unwrap_or(1));
            Failure::Throttled { retry_after, detail }
        }
        Ok(
            StatusCode::BAD_REQUEST
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::NOT_ACCEPTABLE
            | StatusCode::UNSUPPORTED_MEDIA_TYPE
            | StatusCode::UNPROCESSABLE_ENTITY,
        ) => Failure::Refused(detail),
        Ok(StatusCode::INTERNAL_SERVER_ERROR | StatusCode::NOT_IMPLEMENTED) => {
            Failure::Internal(detail)
        }
        Ok(_) | Err(_) => match retry_after_s {
            Some(seconds) => {
                Failure::Throttled { retry_after: Duration::from_secs(seconds), detail }
            }
            None => Failure::Broken(detail),
        },
    }
}

/// An error with all its causes.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
        source = error.source();
    }
    text
}

/// The text as one line of bounded length.
pub(super) fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(DETAIL_CHARS_MAX).collect()
}
