//! The connection to NATS, set up as Vitals needs it.
//!
//! It is retried for ever, from the start on, with short jittered delays (async-nats' own grow to 4 s, which
//! cost 5 s after the server was back); a dead peer is found by pings within seconds; credentials are read
//! again at every connect. What it does can be watched: [`Connection::state`].
//!
//! Deliberately not here: what is published or read over it.

mod args;
mod denied;
mod login;
mod metrics;
mod state;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, ServerAddr};
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

pub use args::{NatsArgs, ServerUrl, UrlError};
pub use login::Secret;
pub use metrics::{Connections, Metrics};
pub use state::ConnectionState;

use state::Events;

/// The oldest nats-server that PROTOCOL.md works on.
///
/// Per-message TTL, by which tombstones expire, came with 2.11; 2.12 made JetStream's strict mode the
/// default, without which a forged reply subject can purge a stream. Vitals is measured and tested on the
/// newer version that [`crate::nats_server`] obtains.
pub const SERVER_VERSION_MIN: ServerVersion = ServerVersion { major: 2, minor: 12, patch: 0 };

/// Delay before each attempt to connect, at least and at most.
const RECONNECT_DELAY_MIN: Duration = Duration::from_millis(50);
const RECONNECT_DELAY_MAX: Duration = Duration::from_millis(500);

/// Silence after which the server is pinged. The third ping that would go unanswered ends the connection.
const PING_INTERVAL: Duration = Duration::from_secs(4);

/// How long one attempt to connect may take, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a request waits for its answer, unless it says otherwise.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Who connects.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Shown in the server's list of connections: `vitals-hub`.
    pub name: String,
    /// Prefix of reply subjects, unless a flag sets another: `_INBOX_hub`. Each agent and each hub has its
    /// own, so that the server's permissions can tell them apart.
    pub inbox_prefix: String,
}

/// A connection to NATS. Cheap to clone; all clones are one connection.
#[derive(Clone, Debug)]
pub struct Connection {
    client: Client,
    state: watch::Receiver<ConnectionState>,
    events: Arc<Events>,
    servers: Arc<str>,
    metrics: Metrics,
}

/// Why there is no connection that will do.
///
/// `Unreachable` and `NotClosed` are transient, the others final until somebody changes something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The options cannot be used.
    #[error("cannot set up the connection to NATS at {servers}")]
    Options {
        /// Where NATS should be.
        servers: String,
        /// What is wrong.
        source: async_nats::ConnectError,
    },
    /// No server answered in time.
    #[error("cannot reach NATS at {servers} within {} s{}", waited.as_secs(), because(reason))]
    Unreachable {
        /// Where NATS should be.
        servers: String,
        /// For how long it was tried.
        waited: Duration,
        /// What the last attempt failed with, where known.
        reason: Option<String>,
    },
    /// The server is too old.
    #[error("nats-server {found} is too old: Vitals needs {SERVER_VERSION_MIN} or newer")]
    TooOld {
        /// As it says.
        found: String,
    },
    /// The server has no JetStream.
    #[error("the NATS server has no JetStream: set `jetstream` in its configuration, or -js")]
    NoJetStream,
    /// The connection did not close in time: what was published last may be lost.
    #[error("cannot close the connection to NATS within {} ms", waited.as_millis())]
    NotClosed {
        /// For how long it was waited.
        waited: Duration,
    },
}

impl Connection {
    /// Sets a connection up and returns at once; connecting goes on in the background.
    /// Fails only where the options themselves are wrong.
    pub async fn open(args: &NatsArgs, identity: Identity) -> Result<Self, Error> {
        // TLS needs one provider of cryptography in the process; somebody may have set it already.
        let provider = async_nats::rustls::crypto::ring::default_provider();
        if provider.install_default().is_err() {
            tracing::debug!("a provider of cryptography is set already");
        }
        let metrics = Metrics::default();
        let (events, state) = Events::new(metrics.clone());
        let (taking, login) = (Arc::clone(&events), args.login());
        let mut options = ConnectOptions::with_auth_callback(move |nonce| {
            let login = login.clone();
            async move { login.answer(&nonce).await }
        })
        .name(identity.name)
        .custom_inbox_prefix(args.nats_inbox_prefix.clone().unwrap_or(identity.inbox_prefix))
        .retry_on_initial_connect()
        .reconnect_delay_callback(reconnect_delay)
        .ping_interval(PING_INTERVAL)
        .connection_timeout(CONNECT_TIMEOUT)
        .request_timeout(Some(REQUEST_TIMEOUT))
        .require_tls(args.nats_require_tls)
        .event_callback(move |event| {
            taking.take(event);
            std::future::ready(())
        });
        if let Some(ca) = &args.nats_ca {
            options = options.add_root_certificates(ca.clone());
        }
        if let (Some(certificate), Some(key)) = (&args.nats_certificate, &args.nats_key) {
            options = options.add_client_certificate(certificate.clone(), key.clone());
        }
        let addresses: Vec<ServerAddr> =
            args.nats.iter().map(|url| url.address().clone()).collect();
        let client = options
            .connect(addresses)
            .await
            .map_err(|source| Error::Options { servers: servers(&args.nats), source })?;
        Ok(Self { client, state, events, servers: servers(&args.nats).into(), metrics })
    }

    /// Waits until it is connected for the first time, or again.
    pub async fn connected(&self, timeout: Duration) -> Result<(), Error> {
        let mut state = self.state.clone();
        let connected = state.wait_for(|state| matches!(state, ConnectionState::Connected { .. }));
        if let Ok(Ok(_)) = tokio::time::timeout(timeout, connected).await {
            return Ok(());
        }
        let (servers, reason) = (self.servers.to_string(), self.events.failure());
        Err(Error::Unreachable { servers, waited: timeout, reason })
    }

    /// Checks that the server we are connected to has JetStream and is new enough. Says its version.
    pub fn check_server(&self) -> Result<ServerVersion, Error> {
        let info = self.client.server_info();
        let version = ServerVersion::parse(&info.version);
        let version = version.filter(|version| *version >= SERVER_VERSION_MIN);
        let version = version.ok_or(Error::TooOld { found: info.version })?;
        if !info.jetstream {
            return Err(Error::NoJetStream);
        }
        Ok(version)
    }

    /// The client itself.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// What it is doing; each reconnect is a change.
    pub fn state(&self) -> watch::Receiver<ConnectionState> {
        self.state.clone()
    }

    /// Subjects that the server does not let us publish on, each time that we tried.
    pub fn denied(&self) -> broadcast::Receiver<String> {
        self.events.denials.receiver()
    }

    /// Its figures.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Sends what is queued, ends the subscriptions and closes the connection. Without it the last messages
    /// that were published are lost.
    pub async fn close(self, deadline: Duration) -> Result<(), Error> {
        let Self { client, mut state, events: _, servers: _, metrics: _ } = self;
        let by = Instant::now() + deadline;
        let closing = async {
            // A flush waits for the socket; a drain alone may leave what is behind it in the queue.
            if client.flush().await.is_ok() && client.drain().await.is_ok() {
                return state.wait_for(|state| *state == ConnectionState::Closed).await.is_ok();
            }
            *state.borrow() == ConnectionState::Closed
        };
        match tokio::time::timeout_at(by, closing).await {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(Error::NotClosed { waited: deadline }),
        }
    }
}

/// The first attempt is immediate, the others are spread: a fleet does not come back in one instant.
fn reconnect_delay(attempt: usize) -> Duration {
    if attempt <= 1 {
        return Duration::ZERO;
    }
    let (least, most) = (RECONNECT_DELAY_MIN, RECONNECT_DELAY_MAX);
    least + (most - least).mul_f64(fastrand::f64())
}

fn servers(urls: &[ServerUrl]) -> String {
    urls.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn because(reason: &Option<String>) -> String {
    reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default()
}

/// A version of nats-server, without what follows the patch number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerVersion {
    major: u32,
    minor: u32,
    patch: u32,
}

impl ServerVersion {
    fn parse(text: &str) -> Option<Self> {
        let release = text.trim_start_matches('v').split(['-', '+']).next()?;
        let mut numbers = release.split('.').map(str::parse);
        let mut next = || numbers.next()?.ok();
        Some(Self { major: next()?, minor: next()?, patch: next()? })
    }
}

impl fmt::Display for ServerVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { major, minor, patch } = self;
        write!(formatter, "{major}.{minor}.{patch}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        for (text, new_enough) in [
            ("2.9.10", Some(false)),
            ("2.11.99", Some(false)),
            ("2.12.0", Some(true)),
            ("2.15.1", Some(true)),
            ("2.16.0-RC.1", Some(true)),
            ("3.0.0", Some(true)),
            ("", None),
            ("2.15", None),
        ] {
            let got = ServerVersion::parse(text).map(|version| version >= SERVER_VERSION_MIN);
            assert_eq!(got, new_enough, "{text}");
        }
    }

    #[test]
    fn reconnects_soon_and_never_in_step() {
        assert_eq!(reconnect_delay(1), Duration::ZERO);
        for attempt in 2..200 {
            let delay = reconnect_delay(attempt);
            assert!((RECONNECT_DELAY_MIN..=RECONNECT_DELAY_MAX).contains(&delay), "{delay:?}");
        }
    }

    #[tokio::test]
    async fn an_unreachable_server_is_named_with_the_reason() {
        // A port that was free a moment ago.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let args = NatsArgs::plain(format!("nats://user:secret@{address}").parse().unwrap());
        let identity = Identity { name: "test".into(), inbox_prefix: "_INBOX_test".into() };
        let connection = Connection::open(&args, identity).await.unwrap();
        let error = connection.connected(Duration::from_millis(300)).await.unwrap_err();
        let message = error.to_string();
        assert!(
            message.contains(&address.to_string()) && message.contains("IO error"),
            "{message}"
        );
        assert!(!message.contains("secret"), "{message}");
    }
}
