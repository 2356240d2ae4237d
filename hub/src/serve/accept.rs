//! Connections as they come in: accepted, counted, and through with TLS.
//!
//! All that listens is one task: what is still shaking hands does not hold up others, and is bounded in number
//! and time. A connection beyond the limits is closed at once, and so is one that does not say in time which
//! protocol it speaks: before that, hyper waits for ever.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, Stream, StreamExt as _};
use rustls::server::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, Sleep};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tonic::transport::server::{Connected, TcpConnectInfo, TcpIncoming};

use super::limits::{Full, Place, Places};

/// Most connections that shake hands at once; beyond, they wait, each peer in a line of its own.
const HANDSHAKES_MAX: usize = 1_024;

/// How long TLS may take to shake hands, waiting included.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection may take to say which protocol it speaks.
const PROTOCOL_TIMEOUT: Duration = Duration::from_secs(10);

/// What every HTTP/2 connection opens with; with other bytes it is HTTP/1.1.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Silence after which TCP asks whether the peer is still there, how often it asks, and how many times. HTTP/2
/// has pings of its own; HTTP/1.1 has not.
const TCP_KEEP_ALIVE: Duration = Duration::from_secs(60);
const TCP_KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
const TCP_KEEP_ALIVE_RETRIES: u32 = 3;

/// After a failure to accept (mostly: no more file descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Between two lines about closed connections: a flood of connections must not become one of lines.
const REFUSED_INTERVAL: Duration = Duration::from_secs(10);

/// What TLS is done with, newly read files included; `None` for none.
pub(super) type Tls = Option<watch::Receiver<Arc<ServerConfig>>>;

/// Accepts connections.
pub(super) struct Acceptor {
    incoming: TcpIncoming,
    paused_until: Option<Instant>,
    tls: Tls,
    places: Arc<Places>,
    turns: Arc<Semaphore>,
    handshakes: FuturesUnordered<BoxFuture<'static, Option<Connection>>>,
    refused: Refused,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Either<TcpStream, Box<TlsStream<TcpStream>>>,
    info: TcpConnectInfo,
    /// `None` once the protocol is known.
    opening: Option<Opening>,
    _place: Place,
}

/// What was read of a connection whose protocol is not known yet.
#[derive(Debug)]
struct Opening {
    /// Bytes of the preface.
    matched: usize,
    deadline: Pin<Box<Sleep>>,
}

/// Counts the connections that were closed at once.
#[derive(Debug, Default)]
struct Refused {
    since_said: u64,
    said_at: Option<Instant>,
}

impl Acceptor {
    pub(super) fn new(listener: TcpListener, tls: Tls, places: Arc<Places>) -> Self {
        let incoming = TcpIncoming::from(listener)
            .with_nodelay(Some(true))
            .with_keepalive(Some(TCP_KEEP_ALIVE))
            .with_keepalive_interval(Some(TCP_KEEP_ALIVE_INTERVAL))
            .with_keepalive_retries(Some(TCP_KEEP_ALIVE_RETRIES));
        Self {
            incoming,
            paused_until: None,
            tls,
            places,
            turns: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
            handshakes: FuturesUnordered::new(),
            refused: Refused::default(),
        }
    }

    /// All connections, for ever.
    pub(super) fn connections(self) -> impl Stream<Item = Connection> {
        futures::stream::unfold(self, async |mut acceptor| {
            let connection = acceptor.next().await;
            Some((connection, acceptor))
        })
    }

    async fn next(&mut self) -> Connection {
        loop {
            let Self { incoming, paused_until, handshakes, .. } = self;
            tokio::select! {
                accepted = accept(incoming, *paused_until) => match accepted {
                    Ok(stream) => if let Some(connection) = self.take(stream) {
                        return connection;
                    },
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        // Those that shake hands go on, and give back what was missing.
                        self.paused_until = Some(Instant::now() + ACCEPT_PAUSE);
                    }
                },
                Some(connection) = handshakes.next() => {
                    if let Some(connection) = connection {
                        return connection;
                    }
                }
            }
        }
    }

    /// Gives a connection without TLS; begins to shake hands with TLS.
    fn take(&mut self, stream: TcpStream) -> Option<Connection> {
        let peer = match stream.peer_addr() {
            Ok(peer) => peer,
            Err(error) => {
                tracing::debug!(%error, "connection lost at once");
                return None;
            }
        };
        let place = match self.places.take(peer.ip()) {
            Ok(place) => place,
            Err(full) => {
                self.refused.add(peer, full);
                return None;
            }
        };
        let info = TcpConnectInfo { local_addr: stream.local_addr().ok(), remote_addr: Some(peer) };
        let Some(tls) = &self.tls else {
            return Some(Connection::new(Either::Left(stream), info, place));
        };
        let acceptor = TlsAcceptor::from(Arc::clone(&tls.borrow()));
        let turns = Arc::clone(&self.turns);
        self.handshakes.push(Box::pin(async move {
            let shaking = async {
                // In this order: who waits in the line of its peer does not lengthen that of all.
                let _of_peer = place.handshakes().acquire().await.ok()?;
                let _of_all = turns.acquire().await.ok()?;
                Some(acceptor.accept(stream).await)
            };
            match tokio::time::timeout(HANDSHAKE_TIMEOUT, shaking).await.ok().flatten() {
                Some(Ok(stream)) => {
                    Some(Connection::new(Either::Right(Box::new(stream)), info, place))
                }
                Some(Err(error)) => {
                    tracing::debug!(%peer, %error, "TLS handshake failed");
                    None
                }
                None => {
                    tracing::debug!(%peer, "TLS handshake took too long");
                    None
                }
            }
        }));
        None
    }
}

async fn accept(incoming: &mut TcpIncoming, from: Option<Instant>) -> io::Result<TcpStream> {
    if let Some(from) = from {
        tokio::time::sleep_until(from).await;
    }
    match incoming.next().await {
        Some(accepted) => accepted,
        // A listener never ends.
        None => std::future::pending().await,
    }
}

impl Refused {
    fn add(&mut self, peer: SocketAddr, full: Full) {
        self.since_said += 1;
        if self.said_at.is_none_or(|said_at| said_at.elapsed() >= REFUSED_INTERVAL) {
            let closed = self.since_said;
            tracing::warn!(%peer, %full, closed, "connections closed");
            *self = Self { since_said: 0, said_at: Some(Instant::now()) };
        }
    }
}

impl Connection {
    fn new(
        stream: Either<TcpStream, Box<TlsStream<TcpStream>>>,
        info: TcpConnectInfo,
        place: Place,
    ) -> Self {
        let deadline = Box::pin(tokio::time::sleep(PROTOCOL_TIMEOUT));
        Self { stream, info, opening: Some(Opening { matched: 0, deadline }), _place: place }
    }
}

impl Opening {
    /// Whether the protocol is known once these bytes were read. None at all are the end.
    fn is_told_by(&mut self, bytes: &[u8]) -> bool {
        let rest = HTTP2_PREFACE.get(self.matched..).unwrap_or_default();
        self.matched += bytes.len();
        bytes.is_empty() || bytes.len() >= rest.len() || !rest.starts_with(bytes)
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.info.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        let Some(opening) = &mut self.opening else { return polled };
        if polled.is_pending() {
            ready!(opening.deadline.as_mut().poll(context));
            let error = "the peer did not say which protocol it speaks";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, error)));
        }
        if opening.is_told_by(buffer.filled().get(before..).unwrap_or_default()) {
            self.opening = None;
        }
        polled
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
