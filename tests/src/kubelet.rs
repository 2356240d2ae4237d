//! A kubelet that has nothing but logs: the endpoint behind `pods/log`, to which a real API server goes for the log of a
//! container. It counts who asks, and sees who goes away.
//!
//! HTTP/1.1 over TLS, as far as the API server needs it: `GET /containerLogs/<namespace>/<pod>/<container>`, answered in chunks.
//! Options that it knows: `follow`, `tailLines`, `previous`. Anybody may ask.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::certificates::{Authority, LOCAL_NAMES};
use crate::port::Port;
use crate::wait_for;

/// The API server asks, and goes away, within moments.
const SOON: Duration = Duration::from_secs(60);

/// A running kubelet. It ends when this is dropped.
#[derive(Debug)]
pub struct Kubelet {
    port: Port,
    state: Arc<State>,
    _tasks: JoinSet<()>,
}

/// What all containers on the node wrote: they have one log.
#[derive(Debug)]
struct State {
    log: watch::Sender<Log>,
    requests: Mutex<Vec<String>>,
    open: watch::Sender<usize>,
}

#[derive(Clone, Debug, Default)]
struct Log {
    /// Shared: there may be much of it.
    text: Arc<Vec<u8>>,
    previous: Vec<u8>,
    ended: bool,
}

impl Kubelet {
    /// Listens on a port of its own.
    pub async fn start() -> Result<Self> {
        let port = Port::claim()?;
        let listener = TcpListener::bind(port.address()).await?;
        let acceptor = TlsAcceptor::from(Arc::new(tls()?));
        let state = Arc::new(State {
            log: watch::Sender::default(),
            requests: Mutex::default(),
            open: watch::Sender::new(0),
        });
        let (mut tasks, serving) = (JoinSet::new(), Arc::clone(&state));
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, state) = (acceptor.clone(), Arc::clone(&serving));
                connections.spawn(async move {
                    // A client that breaks off is none of ours to complain about.
                    serve(stream, &acceptor, &state).await.ok();
                });
            }
        });
        Ok(Self { port, state, _tasks: tasks })
    }

    /// Makes a node of it, which has no other life: nothing renews its Lease.
    pub async fn make_node(&self, client: &Client, name: &str) -> Result<()> {
        let nodes: Api<Node> = Api::all(client.clone());
        let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name } });
        nodes.create(&PostParams::default(), &serde_json::from_value(node)?).await?;
        let status = json!({ "status": {
            "addresses": [{ "type": "InternalIP", "address": "127.0.0.1" }],
            "daemonEndpoints": { "kubeletEndpoint": { "Port": self.port.number() } },
        } });
        nodes.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await?;
        Ok(())
    }

    /// Writes to the log.
    pub fn write(&self, text: &str) {
        self.state.log.send_modify(|log| {
            Arc::make_mut(&mut log.text).extend_from_slice(text.as_bytes());
        });
    }

    /// What the container wrote before its last restart.
    pub fn write_previous(&self, text: &str) {
        self.state.log.send_modify(|log| log.previous.extend_from_slice(text.as_bytes()));
    }

    /// The containers end: nobody follows any more.
    pub fn end(&self) {
        self.state.log.send_modify(|log| log.ended = true);
    }

    /// Paths and queries of all that was asked for.
    pub fn requests(&self) -> Vec<String> {
        self.state.requests.lock().unwrap().clone()
    }

    /// Waits until so many logs are being read, no more and no fewer.
    pub async fn wait_open(&self, count: usize) -> Result<()> {
        wait_for(&format!("{count} logs to be read"), SOON, async || {
            let open = *self.state.open.borrow();
            anyhow::ensure!(open == count, "it is {open}");
            Ok(Some(()))
        })
        .await
    }
}

/// A pod on a node, with these containers. Nothing runs it.
pub async fn make_pod(
    client: &Client,
    namespace: &str,
    name: &str,
    (node, containers): (&str, &[&str]),
) -> Result<Pod> {
    let container = |name: &&str| json!({ "name": name, "image": "registry.test/app:1" });
    let containers: Vec<Value> = containers.iter().map(container).collect();
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "labels": { "app": name } },
        "spec": { "nodeName": node, "containers": containers },
    });
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    Ok(pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await?)
}

fn tls() -> Result<ServerConfig> {
    let certificate = Authority::new("kubelet")?.server(&LOCAL_NAMES)?;
    let chain = vec![CertificateDer::from_pem_slice(certificate.certificate_pem.as_bytes())?];
    let key = PrivateKeyDer::from_pem_slice(certificate.key_pem.as_bytes())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_no_client_auth().with_single_cert(chain, key)?)
}

async fn serve(stream: TcpStream, acceptor: &TlsAcceptor, state: &State) -> Result<()> {
    let mut stream = acceptor.accept(stream).await?;
    while let Some(path) = requested(&mut stream).await? {
        state.requests.lock().unwrap().push(path.clone());
        state.open.send_modify(|open| *open += 1);
        let served = answer(&mut stream, state, &path).await;
        state.open.send_modify(|open| *open -= 1);
        served?;
    }
    Ok(())
}

/// Path and query of the next request; `None` where the connection is closed.
async fn requested(stream: &mut TlsStream<TcpStream>) -> Result<Option<String>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) if head.is_empty() => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
    let head = String::from_utf8(head)?;
    Ok(Some(head.split(' ').nth(1).context("a path")?.to_owned()))
}

async fn answer(stream: &mut TlsStream<TcpStream>, state: &State, path: &str) -> Result<()> {
    let option = |name: &str| {
        let query = path.split_once('?').map_or("", |(_, query)| query);
        let found =
            query.split('&').find_map(|option| option.strip_prefix(name)?.strip_prefix('='));
        found.map(str::to_owned)
    };
    let mut log = state.log.subscribe();
    let mut now = log.borrow_and_update().clone();
    if option("previous").as_deref() == Some("true") {
        now.text = Arc::new(std::mem::take(&mut now.previous));
    }
    let tail = option("tailLines").and_then(|lines| lines.parse().ok()).unwrap_or(usize::MAX);
    let mut sent = tail_of(&now.text, tail);
    stream
        .write_all(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n",
        )
        .await?;
    let follows = option("follow").as_deref() == Some("true");
    loop {
        let text = now.text.get(sent..).unwrap_or_default();
        sent += text.len();
        if !text.is_empty() {
            stream.write_all(format!("{:x}\r\n", text.len()).as_bytes()).await?;
            stream.write_all(text).await?;
            stream.write_all(b"\r\n").await?;
        }
        stream.flush().await?;
        if !follows || now.ended {
            stream.write_all(b"0\r\n\r\n").await?;
            stream.flush().await?;
            return Ok(());
        }
        tokio::select! {
            changed = log.changed() => changed?,
            // It has nothing to say while it is answered: it closed the connection.
            read = stream.read_u8() => {
                read.context("closed")?;
                anyhow::bail!("a request within an answer");
            }
        }
        now = log.borrow_and_update().clone();
    }
}

/// Where the last so many lines begin.
fn tail_of(text: &[u8], lines: usize) -> usize {
    let body = text.strip_suffix(b"\n").unwrap_or(text);
    let breaks = body.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
    match lines {
        0 => text.len(),
        lines => breaks.map(|(index, _)| index + 1).nth(lines - 1).unwrap_or(0),
    }
}
