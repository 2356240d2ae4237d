//! Asks the API server once, and says in the words of the protocol why there is no answer.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use kube::client::Body;
use tokio::time::timeout;
use vitals_proto::v1::{RequestError, RequestRefusal};

use crate::watch::{
    answer::{self, Failure},
    one_line,
};

/// How long the API server may take for the head of an answer, and for the rest of it. The hub waits for longer than both.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(6);
const BODY_TIMEOUT: Duration = Duration::from_secs(3);

/// Why a request was not served.
pub(super) fn error(reason: RequestRefusal, message: String) -> RequestError {
    RequestError { reason: reason.into(), message }
}

/// The head of an answer.
pub(super) async fn open(
    client: &kube::Client,
    path: &str,
) -> Result<Response<Body>, RequestError> {
    answer::get(client, path, HEAD_TIMEOUT).await.map_err(refusal)
}

/// A whole answer of at most so many bytes.
pub(super) async fn read(
    client: &kube::Client,
    path: &str,
    bytes_max: usize,
) -> Result<Bytes, RequestError> {
    let body = open(client, path).await?.into_body();
    let body = timeout(BODY_TIMEOUT, Limited::new(body, bytes_max).collect()).await;
    let unreachable = |why: String| error(RequestRefusal::Unreachable, why);
    match body {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(cause)) if cause.is::<LengthLimitError>() => Err(error(
            RequestRefusal::TooLarge,
            format!("the API server's answer has more than {bytes_max} bytes: ask it by kubectl"),
        )),
        Ok(Err(cause)) => {
            Err(unreachable(format!("the API server's answer broke off: {}", one_line(&*cause))))
        }
        Err(_) => Err(unreachable("the API server's answer does not go on".to_owned())),
    }
}

/// What the API server means. Its own words name the user, the verb and the resource where it forbids.
fn refusal(failure: Failure) -> RequestError {
    let (reason, message) = match failure {
        Failure::Forbidden(detail) => (
            RequestRefusal::Forbidden,
            format!(
                "the API server does not let the agent: {detail}. Grant that to the agent's role"
            ),
        ),
        Failure::NotFound(detail) | Failure::Absent(detail) | Failure::Gone(detail) => {
            (RequestRefusal::NotFound, format!("the API server says: {detail}"))
        }
        Failure::Refused(detail) => {
            (RequestRefusal::Invalid, format!("the API server says: {detail}"))
        }
        Failure::Throttled { retry_after, detail } => (
            RequestRefusal::Busy,
            format!(
                "the API server is busy: {detail}. Try again in {} s",
                retry_after.as_secs().max(1)
            ),
        ),
        Failure::Internal(detail) | Failure::Broken(detail) | Failure::Rewound(detail) => {
            (RequestRefusal::Unreachable, format!("the API server does not serve it: {detail}"))
        }
        Failure::PageTooLarge => {
            (RequestRefusal::TooLarge, "the API server's answer is too large".to_owned())
        }
    };
    error(reason, message)
}
