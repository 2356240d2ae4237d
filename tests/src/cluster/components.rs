//! The processes of a control plane: their flags, files and ports.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::OnceLock;

use anyhow::{Context as _, Result};

use super::{Component, Options, kubeconfig};
use crate::certificates::{Authority, CertificateFiles, LOCAL_NAMES};
use crate::folder::Folder;
use crate::kwok;
use crate::port::Port;
use crate::process::{Process, Program};
use crate::tools::{self, Tool};

/// What a cluster consists of. The ports are held as long as this lives, so that every component can be
/// restarted where it was.
#[derive(Debug)]
pub(super) struct Parts {
    files: Files,
    ports: Ports,
    /// Those which need the API server come first, so that they are dropped before it.
    kwok: OnceLock<Process>,
    scheduler: OnceLock<Process>,
    controller_manager: OnceLock<Process>,
    api_server: Process,
    etcd: Process,
}

#[derive(Debug)]
struct Files {
    kubeconfig: PathBuf,
    authority: PathBuf,
    server: CertificateFiles,
    /// Signs the tokens of service accounts.
    account_key: PathBuf,
    /// Checks these tokens.
    account_public_key: PathBuf,
    tokens: PathBuf,
}

#[derive(Debug)]
struct Ports {
    etcd: Port,
    etcd_peer: Port,
    api_server: Port,
    controller_manager: Port,
    scheduler: Port,
    kwok: Port,
}

impl Parts {
    /// Starts etcd and the API server, which waits for etcd.
    pub(super) async fn start(name: &str, options: &Options, folder: &Folder) -> Result<Self> {
        let ports = Ports::claim()?;
        let files = Files::write(name, &ports, folder)?;
        let etcd = etcd(&ports, folder).await?.start(folder.path()).await?;
        let api_server = api_server(&ports, &files, options).await?.start(folder.path()).await?;
        let (kwok, scheduler, controller_manager) = Default::default();
        Ok(Self { files, ports, kwok, scheduler, controller_manager, api_server, etcd })
    }

    pub(super) async fn start_controllers(&self, options: &Options, folder: &Folder) -> Result<()> {
        let Self { files, ports, .. } = self;
        let program = controller_manager(ports, files, options).await?;
        let process = program.start(folder.path()).await?;
        self.controller_manager.set(process).ok().context("started twice")?;
        let process = scheduler(ports, files).await?.start(folder.path()).await?;
        self.scheduler.set(process).ok().context("started twice")
    }

    pub(super) async fn start_kwok(&self, folder: &Folder) -> Result<()> {
        let logs = kwok::write_logs(folder)?;
        let program = kwok(&self.ports, &self.files).await?;
        let program = program.arg(format!("--config={}", logs.display()));
        let process = program.start(folder.path()).await?;
        self.kwok.set(process).ok().context("started twice")
    }

    pub(super) fn component(&self, component: Component) -> Result<&Process> {
        match component {
            Component::Etcd => Ok(&self.etcd),
            Component::ApiServer => Ok(&self.api_server),
            Component::ControllerManager => {
                self.controller_manager.get().context("the controller-manager is not started yet")
            }
            Component::Scheduler => {
                self.scheduler.get().context("the scheduler is not started yet")
            }
            Component::Kwok => self.kwok.get().context("a cluster without nodes has no kwok"),
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Process> {
        let later = [&self.controller_manager, &self.scheduler, &self.kwok];
        [&self.etcd, &self.api_server]
            .into_iter()
            .chain(later.into_iter().filter_map(OnceLock::get))
    }

    pub(super) fn etcd_address(&self) -> SocketAddr {
        self.ports.etcd.address()
    }

    pub(super) fn api_server_address(&self) -> SocketAddr {
        self.ports.api_server.address()
    }

    pub(super) fn authority(&self) -> &PathBuf {
        &self.files.authority
    }
}

impl Ports {
    fn claim() -> Result<Self> {
        Ok(Self {
            etcd: Port::claim()?,
            etcd_peer: Port::claim()?,
            api_server: Port::claim()?,
            controller_manager: Port::claim()?,
            scheduler: Port::claim()?,
            kwok: Port::claim()?,
        })
    }
}

impl Files {
    fn write(name: &str, ports: &Ports, folder: &Folder) -> Result<Self> {
        let authority = Authority::new(&format!("cluster {name}"))?;
        let server = authority.server(&LOCAL_NAMES)?.write(folder, "server")?;
        let authority = folder.write("authority.crt", authority.pem())?;
        let key = rcgen::KeyPair::generate()?;
        let account_key = folder.write("service-accounts.key", key.serialize_pem())?;
        let account_public_key = folder.write("service-accounts.pub", key.public_key_pem())?;
        let token = format!("admin-{:016x}", fastrand::u64(..));
        let tokens = format!("{token},admin,admin,\"system:masters\"\n");
        let tokens = folder.write("tokens.csv", tokens)?;
        let access = kubeconfig::Access {
            context: name,
            server: ports.api_server.address(),
            authority: &authority,
            token: &token,
        };
        let kubeconfig = folder.write(kubeconfig::FILE, access.to_kubeconfig()?)?;
        Ok(Self { kubeconfig, authority, server, account_key, account_public_key, tokens })
    }
}

/// Memory is cheaper here than cores: these collect their garbage when the heap has grown to so many per cent more.
const GOGC: (&str, &str) = ("GOGC", "300");

async fn etcd(ports: &Ports, folder: &Folder) -> Result<Program> {
    let client = format!("http://{}", ports.etcd.address());
    let peer = format!("http://{}", ports.etcd_peer.address());
    Ok(Program::new("etcd", tools::ensure(Tool::Etcd).await?).env(GOGC.0, GOGC.1).args([
        format!("--data-dir={}", folder.path().join("etcd-data").display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        // What the page cache holds survives a killed process; only a machine's crash loses it.
        "--unsafe-no-fsync".to_owned(),
        "--log-level=warn".to_owned(),
    ]))
}

async fn api_server(ports: &Ports, files: &Files, options: &Options) -> Result<Program> {
    let Files { server, account_key, account_public_key, tokens, .. } = files;
    Ok(Program::new("kube-apiserver", tools::ensure(Tool::KubeApiserver).await?)
        .env(GOGC.0, GOGC.1)
        .args([
            format!("--etcd-servers=http://{}", ports.etcd.address()),
            format!("--secure-port={}", ports.api_server.number()),
            format!("--tls-cert-file={}", server.certificate.display()),
            format!("--tls-private-key-file={}", server.key.display()),
            format!("--service-account-signing-key-file={}", account_key.display()),
            format!("--service-account-key-file={}", account_public_key.display()),
            format!("--token-auth-file={}", tokens.display()),
        ])
        .args([
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-cluster-ip-range=10.0.0.0/16",
            "--authorization-mode=RBAC",
            "--disable-admission-plugins=ServiceAccount",
            "--max-requests-inflight=2000",
            "--max-mutating-requests-inflight=1000",
        ])
        .args(&options.api_server_flags))
}

async fn controller_manager(ports: &Ports, files: &Files, options: &Options) -> Result<Program> {
    let path = tools::ensure(Tool::KubeControllerManager).await?;
    Ok(client_of_the_api_server("kube-controller-manager", path, &ports.controller_manager, files)
        .args([
            format!("--service-account-private-key-file={}", files.account_key.display()),
            format!("--root-ca-file={}", files.authority.display()),
            "--concurrent-deployment-syncs=20".to_owned(),
            "--concurrent-replicaset-syncs=20".to_owned(),
        ])
        .args(&options.controller_manager_flags))
}

async fn scheduler(ports: &Ports, files: &Files) -> Result<Program> {
    let path = tools::ensure(Tool::KubeScheduler).await?;
    Ok(client_of_the_api_server("kube-scheduler", path, &ports.scheduler, files))
}

fn client_of_the_api_server(name: &str, path: PathBuf, port: &Port, files: &Files) -> Program {
    Program::new(name, path).args([
        format!("--kubeconfig={}", files.kubeconfig.display()),
        format!("--secure-port={}", port.number()),
        format!("--tls-cert-file={}", files.server.certificate.display()),
        format!("--tls-private-key-file={}", files.server.key.display()),
        "--bind-address=127.0.0.1".to_owned(),
        "--leader-elect=false".to_owned(),
        "--kube-api-qps=1000".to_owned(),
        "--kube-api-burst=2000".to_owned(),
    ])
}

async fn kwok(ports: &Ports, files: &Files) -> Result<Program> {
    let program = Program::new("kwok", tools::ensure(Tool::Kwok).await?);
    let stages = tools::kwok_stages()?;
    Ok(program
        .arg(format!("--kubeconfig={}", files.kubeconfig.display()))
        .arg(format!("--server-address={}", ports.kwok.address()))
        // Where the API server finds it: it serves the logs of the pods.
        .arg(format!("--node-ip={}", ports.kwok.address().ip()))
        .arg(format!("--node-port={}", ports.kwok.number()))
        .arg(format!("--tls-cert-file={}", files.server.certificate.display()))
        .arg(format!("--tls-private-key-file={}", files.server.key.display()))
        .args(kwok::flags())
        .args(stages.iter().map(|stage| format!("--config={}", stage.display()))))
}
