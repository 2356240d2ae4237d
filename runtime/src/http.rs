//! The small HTTP server of agent and hub: `/metrics`, `/healthz`, `/readyz`.
//!
//! `/healthz` says that the process serves; `/readyz` answers 200, or 503 with the reason in one line;
//! `/metrics` is OpenMetrics text. Nothing else is served here, and nothing that is secret: it has neither
//! TLS nor a token.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Content type of OpenMetrics text.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Whether the process can do its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It can.
    Ready,
    /// It cannot, for this reason, in one line.
    NotReady(String),
}

/// What is served.
#[derive(Clone)]
pub struct Endpoints {
    /// What `/metrics` shows.
    pub registry: Arc<Registry>,
    /// What `/readyz` says. Called once a request: it must be cheap and must not block.
    pub readiness: Arc<dyn Fn() -> Readiness + Send + Sync>,
}

/// Why it does not serve. Final.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be listened on.
    #[error("cannot listen on {address} for metrics and health")]
    Listen {
        /// As asked for.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// Serving ended.
    #[error("cannot serve metrics and health")]
    Serve(#[source] std::io::Error),
}

/// A server that listens, and does not yet serve.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Listens. Port 0 takes a free one.
    pub async fn listen(address: SocketAddr) -> Result<Self, Error> {
        let failed = |source| Error::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stopping` is cancelled, then answers what has been asked, and ends.
    pub async fn serve(
        self,
        endpoints: Endpoints,
        stopping: CancellationToken,
    ) -> Result<(), Error> {
        let router = Router::new()
            .route("/metrics", get(metrics))
            .route("/healthz", get(async || "ok\n"))
            .route("/readyz", get(readyz))
            .with_state(endpoints);
        axum::serve(self.listener, router)
            .with_graceful_shutdown(stopping.cancelled_owned())
            .await
            .map_err(Error::Serve)
    }
}

async fn metrics(State(endpoints): State<Endpoints>) -> impl IntoResponse {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &endpoints.registry) {
        Ok(()) => (StatusCode::OK, [(header::CONTENT_TYPE, OPENMETRICS)], text),
        Err(error) => {
            let text = format!("cannot write the metrics: {error}\n");
            (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], text)
        }
    }
}

async fn readyz(State(endpoints): State<Endpoints>) -> impl IntoResponse {
    match (endpoints.readiness)() {
        Readiness::Ready => (StatusCode::OK, "ok\n".to_owned()),
        Readiness::NotReady(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use prometheus_client::metrics::counter::Counter;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    /// The status line and the body of an answer.
    async fn ask(address: SocketAddr, path: &str) -> (String, String) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.lines().next().unwrap().to_owned(), body.to_owned())
    }

    #[tokio::test]
    async fn serves_metrics_and_health_and_stops() {
        let mut registry = Registry::with_prefix("vitals");
        registry.register("things", "Things seen", Counter::<u64>::default());
        let ready = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&ready);
        let readiness = move || match asked.load(Ordering::Relaxed) {
            true => Readiness::Ready,
            false => Readiness::NotReady("no snapshot yet".into()),
        };
        let endpoints = Endpoints { registry: Arc::new(registry), readiness: Arc::new(readiness) };
        let server = Server::listen(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = server.address();
        let stopping = CancellationToken::new();
        let client = async {
            let (status, body) = ask(address, "/metrics").await;
            assert_eq!(status, "HTTP/1.1 200 OK");
            assert!(body.contains("vitals_things_total 0\n"), "{body}");
            let want = ("HTTP/1.1 503 Service Unavailable".into(), "no snapshot yet\n".into());
            assert_eq!(ask(address, "/readyz").await, want);
            ready.store(true, Ordering::Relaxed);
            assert_eq!(ask(address, "/readyz").await, ("HTTP/1.1 200 OK".into(), "ok\n".into()));
            assert_eq!(ask(address, "/healthz").await, ("HTTP/1.1 200 OK".into(), "ok\n".into()));
            stopping.cancel();
        };
        let (served, ()) = tokio::join!(server.serve(endpoints, stopping.clone()), client);
        served.unwrap();
    }
}
