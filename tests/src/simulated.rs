//! Clusters that are simulated: for tests that need no real one, and for those that run on both ([`Watched`]).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use kube::{Client, Config};
use vitals_runtime::tasks::Supervisor;
use vitals_simulator::{Clock, Options, Simulator};

use crate::cluster::Cluster;
use crate::folder::Folder;
use crate::process::{Output, Program};
use crate::tools::{self, Tool};

/// A run of kubectl takes less than this.
const KUBECTL_TIMEOUT: Duration = Duration::from_secs(60);

/// A cluster as those see it who watch it: real or simulated.
#[expect(async_fn_in_trait, reason = "no test needs to send it to another thread")]
pub trait Watched {
    /// The name, which is also the kubeconfig context.
    fn name(&self) -> &str;

    /// The administrator's kubeconfig.
    fn kubeconfig(&self) -> PathBuf;

    /// A new client of the administrator.
    async fn client(&self) -> Result<Client>;

    /// Runs kubectl as administrator.
    async fn kubectl(&self, args: &[&str]) -> Result<Output> {
        kubectl(&self.kubeconfig(), args).await
    }
}

impl Watched for Cluster {
    fn name(&self) -> &str {
        Self::name(self)
    }

    fn kubeconfig(&self) -> PathBuf {
        Self::kubeconfig(self)
    }

    async fn client(&self) -> Result<Client> {
        Self::client(self).await
    }
}

impl<T: Watched> Watched for Arc<T> {
    fn name(&self) -> &str {
        T::name(self)
    }

    fn kubeconfig(&self) -> PathBuf {
        T::kubeconfig(self)
    }

    async fn client(&self) -> Result<Client> {
        T::client(self).await
    }
}

/// A simulated cluster, which goes with all its files when this is dropped.
#[derive(Debug)]
pub struct SimulatedCluster {
    name: String,
    simulator: Simulator,
    kubeconfig: PathBuf,
    folder: Folder,
    _tasks: Supervisor,
}

impl SimulatedCluster {
    /// Starts one on the machine's clock.
    pub async fn start(name: &str) -> Result<Self> {
        Self::start_with(name, Options::default(), Clock::system()).await
    }

    /// Starts one.
    pub async fn start_with(name: &str, options: Options, clock: Clock) -> Result<Self> {
        let supervisor = Supervisor::new();
        let simulator = Simulator::start(options, clock, &supervisor.tasks()).await?;
        let folder = Folder::new(&format!("simulated-{name}"))?;
        let kubeconfig = folder.write("kubeconfig.yaml", simulator.kubeconfig(name))?;
        Ok(Self { name: name.to_owned(), simulator, kubeconfig, folder, _tasks: supervisor })
    }

    /// Its handle: to command faults, or the time.
    pub fn simulator(&self) -> &Simulator {
        &self.simulator
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Watched for SimulatedCluster {
    fn name(&self) -> &str {
        &self.name
    }

    fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig.clone()
    }

    async fn client(&self) -> Result<Client> {
        let mut config = Config::new(self.simulator.url().parse()?);
        // A test wants to see what is answered.
        config.default_retry = false;
        Ok(Client::try_from(config)?)
    }
}

/// Runs kubectl of the version of the tests' Kubernetes.
pub(crate) async fn kubectl(kubeconfig: &Path, args: &[&str]) -> Result<Output> {
    let folder = Folder::new("kubectl")?;
    let kubectl = Program::new("kubectl", tools::ensure(Tool::Kubectl).await?)
        .env("KUBECONFIG", kubeconfig)
        // What it remembers is by address, and ports are used again.
        .env("KUBECACHEDIR", folder.path().join("cache"))
        .args(args);
    kubectl.run(folder.path(), KUBECTL_TIMEOUT).await
}
