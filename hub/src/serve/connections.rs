//! Serves connections: HTTP/2, and HTTP/1.1 for gRPC-Web, each in a task of its own.
//!
//! Not by tonic's server, which leaves what waits to be sent at 400 KiB a stream: with many watches of a large
//! view that is gigabytes in the moment they all begin, most of which never come back from the allocator.
//! Here it is [`SEND_BYTES_MAX`]; beyond that the stream waits, and a watch that waits holds nothing.
//! What tonic's server did beside is done here too: [`Deadlines`].
//!
//! **Invariant:** no connection outlives the task that serves them.

use std::any::Any;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::{BoxFuture, Either, FutureExt as _};
use futures::stream::{Stream, StreamExt as _};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;
use tonic::transport::server::{Connected as _, TcpConnectInfo};
use tower::Service;

use super::accept::Connection;
use super::limits::Stranger;

/// Most bytes of one stream that wait to be sent.
const SEND_BYTES_MAX: usize = 16 * 1024;

/// Silence on a connection after which it is pinged, and how long the answer may take.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Largest headers of a request over HTTP/2. Bytes.
const HEADER_BYTES_MAX: u32 = 16 * 1024;

/// What HTTP/1.1 holds of a connection at most, and so its largest headers too. Bytes.
const HTTP1_BYTES_MAX: usize = 64 * 1024;

/// Most headers of a request over HTTP/1.1.
const HTTP1_HEADERS_MAX: usize = 64;

/// How long open connections are given to end at shutdown, once their streams were ended.
const GRACE: Duration = Duration::from_secs(3);

/// Serves until shutdown begins; then takes no more connections, and ends when those that are open have ended, or
/// after a while.
pub(super) async fn serve<S>(
    connections: impl Stream<Item = Connection>,
    service: S,
    streams_per_connection: u32,
    stopping: CancellationToken,
) where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    let builder = builder(streams_per_connection);
    let mut serving = JoinSet::new();
    {
        let mut connections = pin!(connections);
        loop {
            tokio::select! {
                () = stopping.cancelled() => break,
                Some(connection) = connections.next() => {
                    let service = service.clone();
                    serving.spawn(serve_one(builder.clone(), connection, service, stopping.clone()));
                }
                Some(ended) = serving.join_next() => log_panic(ended),
            }
        }
    }
    let ending = async {
        while let Some(ended) = serving.join_next().await {
            log_panic(ended);
        }
    };
    if tokio::time::timeout(GRACE, ending).await.is_err() {
        tracing::debug!("clients did not let go of their connections in time");
    }
}

/// What ended, ended for reasons of its own; but a panic is a bug.
fn log_panic(ended: Result<(), JoinError>) {
    if let Err(Ok(panic)) = ended.map_err(JoinError::try_into_panic) {
        say_panic(&*panic);
    }
}

fn say_panic(panic: &(dyn Any + Send)) {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(panic = text.unwrap_or("?"), "a connection's task panicked");
}

/// Runs the streams of HTTP/2, each in a task of its own that nobody waits for.
#[derive(Clone, Debug)]
struct Streams(TokioExecutor);

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        self.0.execute(async move {
            if let Err(panic) = AssertUnwindSafe(stream).catch_unwind().await {
                say_panic(&*panic);
            }
        });
    }
}

fn builder(streams_per_connection: u32) -> Builder<Streams> {
    let mut builder = Builder::new(Streams(TokioExecutor::new()));
    // With a timer HTTP/1.1 also has a limit for the reading of headers, and for silence between requests.
    builder
        .http1()
        .timer(TokioTimer::new())
        .max_buf_size(HTTP1_BYTES_MAX)
        .max_headers(HTTP1_HEADERS_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .max_header_list_size(HEADER_BYTES_MAX)
        .max_concurrent_streams(streams_per_connection)
        .max_send_buf_size(SEND_BYTES_MAX);
    builder
}

async fn serve_one<S>(
    builder: Builder<Streams>,
    connection: Connection,
    service: S,
    stopping: CancellationToken,
) where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    let stranger = Stranger::default();
    let info = connection.connect_info();
    let service = Inbound { inner: service, info, stranger: stranger.clone() };
    let io = TokioIo::new(connection);
    let mut serving = pin!(builder.serve_connection(io, TowerToHyperService::new(service)));
    let serving = async {
        tokio::select! {
            served = serving.as_mut() => return served,
            () = stopping.cancelled() => {}
            () = stranger.is_overdue() => {}
        }
        serving.as_mut().graceful_shutdown();
        serving.await
    };
    tokio::select! {
        served = serving => if let Err(error) = served {
            tracing::debug!(error, "connection ended");
        },
        // Not gracefully: it may not even read what it was told.
        () = stranger.refused_too_often() => tracing::debug!("connection closed: it shows no token"),
    }
}

/// Tells the service who is at the other end.
#[derive(Clone, Debug)]
struct Inbound<S> {
    inner: S,
    info: TcpConnectInfo,
    stranger: Stranger,
}

impl<S> Service<http::Request<Incoming>> for Inbound<S>
where
    S: Service<http::Request<Body>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Incoming>) -> Self::Future {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(self.info.clone());
        request.extensions_mut().insert(self.stranger.clone());
        self.inner.call(request)
    }
}

/// Answers DEADLINE_EXCEEDED when the time that the client gives in `grpc-timeout` is over. As with tonic's
/// server that goes for the beginning of the answer; a stream that has begun is the client's to end.
#[derive(Clone, Debug)]
pub(super) struct Deadlines<S> {
    pub(super) inner: S,
}

impl<S> Service<http::Request<Body>> for Deadlines<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Either<S::Future, BoxFuture<'static, Result<S::Response, S::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let timeout = request.headers().get(GRPC_TIMEOUT).and_then(parse_timeout);
        let answer = self.inner.call(request);
        let Some(timeout) = timeout else { return Either::Left(answer) };
        let answer = tokio::time::timeout(timeout, answer).map(|answer| {
            answer.unwrap_or_else(|_| {
                let status =
                    Status::deadline_exceeded("there was no answer by the client's deadline");
                Ok(status.into_http())
            })
        });
        Either::Right(answer.boxed())
    }
}

/// The header in which a client says how long it waits.
const GRPC_TIMEOUT: &str = "grpc-timeout";

/// At most 8 digits, and a unit, as the specification of gRPC over HTTP/2 says. Anything else is no deadline.
fn parse_timeout(value: &http::HeaderValue) -> Option<Duration> {
    let (unit, digits) = value.as_bytes().split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    match unit {
        b'H' => Some(Duration::from_secs(count * 60 * 60)),
        b'M' => Some(Duration::from_secs(count * 60)),
        b'S' => Some(Duration::from_secs(count)),
        b'm' => Some(Duration::from_millis(count)),
        b'u' => Some(Duration::from_micros(count)),
        b'n' => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_digits_and_a_unit() {
        for (text, want) in [
            ("2H", Some(Duration::from_secs(7_200))),
            ("3M", Some(Duration::from_secs(180))),
            ("99999999S", Some(Duration::from_secs(99_999_999))),
            ("82m", Some(Duration::from_millis(82))),
            ("5u", Some(Duration::from_micros(5))),
            ("0n", Some(Duration::ZERO)),
            ("100000000S", None),
            ("+1S", None),
            ("1", None),
            ("S", None),
            ("1s", None),
            ("", None),
        ] {
            let value = http::HeaderValue::from_static(text);
            assert_eq!(parse_timeout(&value), want, "{text:?}");
        }
    }
}
