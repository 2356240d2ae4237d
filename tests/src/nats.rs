//! A nats-server with JetStream: it can be killed, frozen, restarted, and put back to an older store.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::folder::{self, Folder};
use crate::port::{Port, retry_if_taken};
use crate::process::{Process, Program};
use crate::{http, tools, wait_for};

/// It answers within a second when nothing else runs; a big store takes longer to read.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A running nats-server on ports and a store of its own. All of it goes when this is dropped.
#[derive(Debug)]
pub struct Nats {
    process: Process,
    client: Port,
    monitor: Port,
    /// Last, so that it is removed after the process ended.
    folder: Folder,
}

/// A copy of a server's store. It goes when dropped.
#[derive(Debug)]
pub struct StoreCopy(Folder);

impl Nats {
    /// Starts a server that lets everybody in.
    pub async fn start() -> Result<Self> {
        Self::start_with("").await
    }

    /// Starts a server with more configuration: accounts, permissions, TLS, JetStream limits.
    ///
    /// `config` is in the server's own format and is added to the listening addresses and
    /// `jetstream { store_dir }`; it must repeat none of these.
    pub async fn start_with(config: &str) -> Result<Self> {
        let starting = retry_if_taken(async || Self::start_once(config).await);
        starting.await.context("start nats-server")
    }

    async fn start_once(config: &str) -> Result<Self> {
        let folder = Folder::new("nats")?;
        let (client, monitor) = (Port::claim()?, Port::claim()?);
        let store = serde_json::to_string(&store(&folder))?;
        let config = format!(
            "listen: \"{}\"\nhttp: \"{}\"\njetstream {{ store_dir: {store} }}\n{config}\n",
            client.address(),
            monitor.address(),
        );
        let config = folder.write("nats.conf", config)?;
        let server = tools::nats_server().await?;
        let program = Program::new("nats-server", server.path).arg("--config").arg(config);
        let process = program.start(folder.path()).await?;
        let nats = Self { process, client, monitor, folder };
        nats.ready().await?;
        Ok(nats)
    }

    /// Where clients connect, for instance `nats://127.0.0.1:20123`. The same after every restart.
    pub fn url(&self) -> String {
        format!("nats://{}", self.client.address())
    }

    /// The address in [`url`](Self::url), for a [`TcpProxy`](crate::TcpProxy).
    pub fn address(&self) -> std::net::SocketAddr {
        self.client.address()
    }

    /// To kill, freeze and thaw it, and to read its log.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Kills it if it runs, starts it again with the same ports and store, waits until it answers.
    pub async fn restart(&self) -> Result<()> {
        self.process.restart().await?;
        self.ready().await
    }

    /// Waits until it answers and its JetStream has read its store.
    pub async fn ready(&self) -> Result<()> {
        let ready = wait_for("nats-server to be healthy", START_TIMEOUT, async || {
            let answer = http::get(self.monitor.address(), "/healthz").await?;
            Ok((answer.status == 200).then_some(()))
        });
        self.process.while_running(ready).await
    }

    /// Asks the server about itself: the JSON of a page of its monitor, for instance `/varz` or `/jsz`.
    pub async fn monitor(&self, page: &str) -> Result<serde_json::Value> {
        let answer = http::get(self.monitor.address(), page).await?;
        serde_json::from_str(&answer.body).with_context(|| format!("read {page}"))
    }

    /// Copies the store of a server that does not run.
    pub fn copy_store(&self) -> Result<StoreCopy> {
        self.ensure_stopped()?;
        let copy = Folder::new("nats-store-copy")?;
        folder::copy(&store(&self.folder), &store(&copy))?;
        Ok(StoreCopy(copy))
    }

    /// Puts an older copy in the place of the store, as a restored backup or a lost write would. Starting
    /// it again is [`restart`](Self::restart).
    pub fn put_store_back(&self, copy: &StoreCopy) -> Result<()> {
        self.ensure_stopped()?;
        let store_here = store(&self.folder);
        std::fs::remove_dir_all(&store_here).context("remove the store")?;
        folder::copy(&store(&copy.0), &store_here)
    }

    /// Where its configuration, log and store are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn ensure_stopped(&self) -> Result<()> {
        ensure!(
            !self.process.is_running(),
            "the store of a running nats-server is not to be touched"
        );
        Ok(())
    }
}

fn store(folder: &Folder) -> PathBuf {
    folder.path().join("store")
}
