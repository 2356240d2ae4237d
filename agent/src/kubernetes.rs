//! The connection to a cluster: where credentials come from, who the cluster is, and whether its API server answers.
//!
//! Knows nothing of kinds and watches. Connections are HTTP/1.1, as kube-client makes them: one for each watch, with TCP
//! keep-alive, so that a peer that vanished is found within a minute, below the watch's own idle bound. What the API server says
//! with 429 is obeyed by the watch, not hidden by a retry in the client.

#[cfg(test)]
mod tests;

use std::{path::PathBuf, time::Duration};

use http::{Request, header};
use http_body_util::{BodyExt as _, Limited};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use jiff::Timestamp;
use kube::{
    Client, Config,
    client::{Body, ConfigExt as _},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::time::timeout;
use tower::ServiceBuilder;
use vitals_proto::identity::Uid;

/// Silence of a connection after which TCP asks whether the peer is there.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(20);

/// Between two such questions.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// Unanswered questions after which the connection is dead.
const KEEPALIVE_RETRIES: u32 = 3;

/// How long a connection may take to stand, per address. TLS and the answer are bounded by each request.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Of each connection. Left alone it grows to 400 KB with a long list, and stays so: with eight watches the half of what an agent
/// holds.
const READ_BUFFER_BYTES: usize = 32 * 1024;

/// Largest answer that is read here.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Where the credentials for a cluster are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// The service account of the pod that this runs in.
    InCluster,
    /// A kubeconfig.
    Kubeconfig {
        /// The file; where absent, what `KUBECONFIG` names, else `~/.kube/config`.
        path: Option<PathBuf>,
        /// The context; where absent, the current one.
        context: Option<String>,
    },
}

/// The contexts of a kubeconfig.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contexts {
    /// The current one, if it names one.
    pub current: Option<String>,
    /// All of them, in the order of the file.
    pub names: Vec<String>,
}

/// A cluster that can be asked. Cloning is cheap.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    title: String,
}

/// Why there is no connection. Final: the configuration has to change. (That nobody answers is no error here: it shows
/// when the cluster is asked.)
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kubeconfig cannot be read, or lacks the context.
    #[error("cannot read the kubeconfig")]
    Kubeconfig(#[source] Box<kube::config::KubeconfigError>),
    /// This is no pod, or its service account is not mounted.
    #[error("cannot read the service account of this pod")]
    InCluster(#[source] Box<kube::config::InClusterError>),
    /// Certificates, keys or the command for a token do not work.
    #[error("cannot use the credentials of {title}")]
    Client {
        /// The context.
        title: String,
        /// Why.
        source: Box<kube::Error>,
    },
}

/// Why a question to the API server has no answer. The caller asks again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// Nothing came, or not in time.
    #[error("the API server does not answer: {0}")]
    Unreachable(String),
    /// It answered with an error.
    #[error("the API server answers {path} with {status}")]
    Status {
        /// What was asked.
        path: &'static str,
        /// HTTP status.
        status: u16,
    },
    /// It answered with something else than expected.
    #[error("the API server's answer to {path} cannot be read: {reason}")]
    Unreadable {
        /// What was asked.
        path: &'static str,
        /// Why.
        reason: String,
    },
}

/// What a probe of the API server (`/readyz`) found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// It is ready, or why not. An answer that merely denies us `/readyz` (401, 403, 404) is ready enough: it
    /// answers.
    pub outcome: Result<(), Unanswered>,
    /// The API server's clock, from its `Date` header. It has whole seconds.
    pub date: Option<Timestamp>,
}

/// Reads the contexts of a kubeconfig; `path` as in [`Credentials`].
///
/// # Errors
/// When it cannot be read. A default kubeconfig that does not exist is an error too.
pub fn contexts(path: Option<&std::path::Path>) -> Result<Contexts, Error> {
    let Kubeconfig { contexts, current_context, .. } = kubeconfig(path)?;
    let current = current_context.filter(|name| !name.is_empty());
    let names = contexts.into_iter().map(|context| context.name).collect();
    Ok(Contexts { current, names })
}

fn kubeconfig(path: Option<&std::path::Path>) -> Result<Kubeconfig, Error> {
    let read = match path {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    read.map_err(|error| Error::Kubeconfig(Box::new(error)))
}

impl Cluster {
    /// Prepares the connection. Nothing is asked of the cluster yet. Runs within a tokio runtime.
    ///
    /// # Errors
    /// When the credentials cannot be read or used.
    pub async fn connect(credentials: &Credentials) -> Result<Self, Error> {
        let (config, title) = match credentials {
            Credentials::InCluster => {
                let config = Config::incluster();
                let config = config.map_err(|error| Error::InCluster(Box::new(error)))?;
                (config, "in-cluster".to_owned())
            }
            Credentials::Kubeconfig { path, context } => {
                let kubeconfig = kubeconfig(path.as_deref())?;
                let title = context.clone().or_else(|| kubeconfig.current_context.clone());
                let options =
                    KubeConfigOptions { context: context.clone(), cluster: None, user: None };
                let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
                let config = config.map_err(|error| Error::Kubeconfig(Box::new(error)))?;
                (config, title.unwrap_or_default())
            }
        };
        Self::from_config(config, title)
    }

    /// From a configuration made elsewhere. `title` is the long name of the cluster.
    ///
    /// # Errors
    /// When its credentials cannot be used.
    pub fn from_config(config: Config, title: String) -> Result<Self, Error> {
        match client(config) {
            Ok(client) => Ok(Self { client, title }),
            Err(source) => Err(Error::Client { title, source: Box::new(source) }),
        }
    }

    #[cfg(test)]
    pub(crate) fn of_test(client: Client) -> Self {
        Self { client, title: "test".to_owned() }
    }

    /// For watches.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The context's name, or `in-cluster`. For display, and for the slug.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.title
    }

    /// The identity of the cluster: the UID of its namespace `kube-system`.
    ///
    /// # Errors
    /// When the API server does not say it within `answer_timeout`.
    pub async fn uid(&self, answer_timeout: Duration) -> Result<Uid, Unanswered> {
        #[derive(Deserialize)]
        struct Namespace {
            metadata: Metadata,
        }
        #[derive(Deserialize)]
        struct Metadata {
            uid: String,
        }
        let path = "/api/v1/namespaces/kube-system";
        let Namespace { metadata } = self.read(path, answer_timeout).await?;
        Ok(Uid::from_text(&metadata.uid))
    }

    /// `gitVersion` of the API server, such as `v1.36.3`.
    ///
    /// # Errors
    /// When the API server does not say it within `answer_timeout`.
    pub async fn version(&self, answer_timeout: Duration) -> Result<String, Unanswered> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Version {
            git_version: String,
        }
        let Version { git_version } = self.read("/version", answer_timeout).await?;
        Ok(git_version)
    }

    /// Asks the API server whether it is ready.
    pub async fn probe(&self, answer_timeout: Duration) -> Probe {
        let path = "/readyz";
        match self.get(path, answer_timeout).await {
            Err(unanswered) => Probe { outcome: Err(unanswered), date: None },
            Ok((status, date, _)) => {
                let answers = (200..300).contains(&status) || matches!(status, 401 | 403 | 404);
                let outcome =
                    if answers { Ok(()) } else { Err(Unanswered::Status { path, status }) };
                Probe { outcome, date }
            }
        }
    }

    async fn read<T: DeserializeOwned>(
        &self,
        path: &'static str,
        answer_timeout: Duration,
    ) -> Result<T, Unanswered> {
        let (status, _, body) = self.get(path, answer_timeout).await?;
        if !(200..300).contains(&status) {
            return Err(Unanswered::Status { path, status });
        }
        serde_json::from_slice(&body)
            .map_err(|error| Unanswered::Unreadable { path, reason: error.to_string() })
    }

    /// Status, `Date` and body of an answer.
    async fn get(
        &self,
        path: &'static str,
        answer_timeout: Duration,
    ) -> Result<(u16, Option<Timestamp>, bytes::Bytes), Unanswered> {
        let unreachable = |error: &dyn std::error::Error| Unanswered::Unreachable(chain(error));
        let exchange = async {
            let request = Request::get(path).body(Body::empty());
            let request = request.map_err(|error| unreachable(&error))?;
            let answer = self.client.send(request).await.map_err(|error| unreachable(&error))?;
            let status = answer.status().as_u16();
            let date = answer.headers().get(header::DATE).and_then(|date| date.to_str().ok());
            let date = date.and_then(parse_date);
            let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| unreachable(&*error))?;
            Ok((status, date, body.to_bytes()))
        };
        timeout(answer_timeout, exchange).await.unwrap_or_else(|_| {
            let waited = answer_timeout.as_millis();
            Err(Unanswered::Unreachable(format!("nothing within {waited} ms")))
        })
    }
}

/// The agent's clock minus the API server's, from a `Date` header and the agent's clock at the answer. Milliseconds, true to
/// about a second: the header has whole seconds, hence is half a second old on average.
#[must_use]
pub fn clock_offset_ms(date: Timestamp, answered_at: Timestamp) -> i64 {
    answered_at.as_millisecond().saturating_sub(date.as_millisecond()).saturating_sub(500)
}

/// The date of HTTP: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn parse_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::parse(text).ok().map(|date| date.timestamp())
}

/// As `kube::client::ClientBuilder` makes it, but with TCP keep-alive, and without its retries: those would hide
/// `Retry-After` from the watch.
fn client(mut config: Config) -> Result<Client, kube::Error> {
    config.default_retry = false;
    let default_namespace = config.default_namespace.clone();
    if config.proxy_url.is_some() {
        return Client::try_from(config);
    }
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(KEEPALIVE_AFTER));
    tcp.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
    tcp.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let connector = config.rustls_https_connector_with_connector(tcp)?;
    let http = legacy::Client::builder(TokioExecutor::new())
        .http1_read_buf_exact_size(READ_BUFFER_BYTES)
        .build(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(tower::BoxError::from)
        .service(http);
    Ok(Client::new(service, default_namespace))
}

/// An error with all its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    crate::watch::one_line(error)
}
