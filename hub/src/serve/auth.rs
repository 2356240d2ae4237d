//! Who may ask: whoever bears one of the tokens.
//!
//! Every request needs `authorization: Bearer …`, reflection included; only the `Check` of `grpc.health.v1` does
//! not, so that probes need no secret: without one, few are answered at a time, and none for long. Tokens stand in
//! a file, one on a line, so that a new one can be added before the old one goes; the file is read again while
//! the hub runs.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::{BoxFuture, Either, FutureExt as _, ready};
use subtle::{Choice, ConstantTimeEq as _};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::limits::Stranger;
use crate::metrics::ServeMetrics;

/// Shortest token. Bytes.
pub const TOKEN_BYTES_MIN: usize = 16;

/// What needs no token.
const OPEN_TO_ALL: &str = "/grpc.health.v1.Health/Check";

/// How long that may take, with the reading of the request.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why tokens cannot be used. Final at start; later the tokens that were read before stay.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the tokens in {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// There is none.
    #[error("there is no token in {}: write one on a line of its own", path.display())]
    None {
        /// Where.
        path: PathBuf,
    },
    /// One is too easy to guess.
    #[error(
        "a bearer token has fewer than {TOKEN_BYTES_MIN} characters: take one from `openssl rand -hex 32`"
    )]
    TooShort,
}

/// The tokens that are taken. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Tokens {
    held: Arc<RwLock<Vec<Vec<u8>>>>,
    path: Option<PathBuf>,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Tokens").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Tokens {
    /// One that was handed in.
    pub fn one(token: &str) -> Result<Self, Error> {
        let held = vec![checked(token)?];
        Ok(Self { held: Arc::new(RwLock::new(held)), path: None })
    }

    /// Those in a file: one on a line; empty lines and lines that begin with `#` are left out.
    pub fn in_file(path: PathBuf) -> Result<Self, Error> {
        let tokens = Self { held: Arc::default(), path: Some(path) };
        tokens.read_again()?;
        Ok(tokens)
    }

    /// Reads the file again. On an error what was read before stays.
    pub fn read_again(&self) -> Result<(), Error> {
        let Some(path) = &self.path else { return Ok(()) };
        let text = std::fs::read_to_string(path)
            .map_err(|source| Error::Read { path: path.clone(), source })?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let tokens = lines.filter(|line| !line.starts_with('#')).map(checked);
        let tokens = tokens.collect::<Result<Vec<_>, _>>()?;
        if tokens.is_empty() {
            return Err(Error::None { path: path.clone() });
        }
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = tokens;
        Ok(())
    }

    /// Whether the headers bear one. Takes the same time for every wrong one of a length.
    fn admit(&self, headers: &http::HeaderMap) -> bool {
        let Some(value) = headers.get(http::header::AUTHORIZATION) else { return false };
        let Some((scheme, token)) = value.as_bytes().split_first_chunk::<7>() else { return false };
        if !scheme.eq_ignore_ascii_case(b"bearer ") {
            return false;
        }
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let mut is_one = Choice::from(0);
        for known in held.iter() {
            is_one |= known.as_slice().ct_eq(token);
        }
        is_one.into()
    }
}

fn checked(token: &str) -> Result<Vec<u8>, Error> {
    let token = token.trim();
    if token.len() < TOKEN_BYTES_MIN { Err(Error::TooShort) } else { Ok(token.into()) }
}

/// Lets only those in who bear a token, where there are tokens.
#[derive(Clone, Debug)]
pub struct AuthLayer {
    /// `None` lets everybody in.
    pub tokens: Option<Tokens>,
    /// Counts who was not let in.
    pub metrics: ServeMetrics,
}

impl<S> Layer<S> for AuthLayer {
    type Service = Auth<S>;

    fn layer(&self, inner: S) -> Auth<S> {
        Auth { inner, layer: self.clone() }
    }
}

/// See [`AuthLayer`].
#[derive(Clone, Debug)]
pub struct Auth<S> {
    inner: S,
    layer: AuthLayer,
}

impl<S> Service<http::Request<Body>> for Auth<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = Either<S::Future, BoxFuture<'static, Result<Self::Response, S::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let AuthLayer { tokens, metrics } = &self.layer;
        let stranger = request.extensions().get::<Stranger>().cloned().unwrap_or_default();
        if tokens.as_ref().is_none_or(|tokens| tokens.admit(request.headers())) {
            stranger.admit();
            return Either::Left(self.inner.call(request));
        }
        if request.uri().path() == OPEN_TO_ALL {
            return Either::Right(probe(stranger, self.inner.call(request)).boxed());
        }
        metrics.unauthenticated.inc();
        stranger.refuse();
        let status = Status::unauthenticated(
            "a valid token is needed: send the header `authorization: Bearer TOKEN` with one of the hub's tokens",
        );
        Either::Right(ready(Ok(status.into_http())).boxed())
    }
}

async fn probe<E>(
    stranger: Stranger,
    answer: impl Future<Output = Result<http::Response<Body>, E>>,
) -> Result<http::Response<Body>, E> {
    let Some(_open) = stranger.probe() else {
        stranger.refuse();
        let message = "too many probes at once on this connection: send a token with them";
        return Ok(Status::resource_exhausted(message).into_http());
    };
    let in_time = tokio::time::timeout(PROBE_TIMEOUT, answer).await;
    in_time.unwrap_or_else(|_| {
        let message = "the request took too long to come: send a token with it";
        Ok(Status::deadline_exceeded(message).into_http())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "old-token-0123456789";
    const NEW: &str = "new-token-0123456789";

    fn admits(tokens: &Tokens, value: Option<&str>) -> bool {
        let mut headers = http::HeaderMap::new();
        if let Some(value) = value {
            headers.insert(http::header::AUTHORIZATION, value.parse().unwrap());
        }
        tokens.admit(&headers)
    }

    #[test]
    fn only_a_bearer_of_a_whole_token_is_admitted() {
        let tokens = Tokens::one(OLD).unwrap();
        for (value, want) in [
            (None, false),
            (Some(""), false),
            (Some(OLD), false),
            (Some("Basic old-token-0123456789"), false),
            (Some("Bearer "), false),
            (Some("Bearer old-token-012345678"), false),
            (Some("Bearer old-token-01234567890"), false),
            (Some("Bearer new-token-0123456789"), false),
            (Some("Bearer old-token-0123456789"), true),
            (Some("bearer old-token-0123456789"), true),
        ] {
            assert_eq!(admits(&tokens, value), want, "{value:?}");
        }
    }

    #[test]
    fn tokens_are_rotated_by_adding_the_new_one_first() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("# until May\n{OLD}\n\n")).unwrap();
        let tokens = Tokens::in_file(file.path().into()).unwrap();
        std::fs::write(file.path(), format!("{OLD}\n{NEW}\n")).unwrap();
        tokens.clone().read_again().unwrap();
        assert!(admits(&tokens, Some(&format!("Bearer {OLD}"))));
        assert!(admits(&tokens, Some(&format!("Bearer {NEW}"))));
        std::fs::write(file.path(), "").unwrap();
        assert!(matches!(tokens.read_again(), Err(Error::None { .. })));
        assert!(admits(&tokens, Some(&format!("Bearer {NEW}"))), "what was read stays");
        std::fs::write(file.path(), "short").unwrap();
        assert!(matches!(tokens.read_again(), Err(Error::TooShort)));
    }
}
