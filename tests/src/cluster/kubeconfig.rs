//! kubeconfig files: how clients find a cluster and who they are there. Written as JSON, which is YAML.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::json;

use super::Cluster;
use crate::folder::Folder;

/// The administrator's, in the cluster's folder.
pub(super) const FILE: &str = "kubeconfig.yaml";

/// What a kubeconfig says.
pub(super) struct Access<'a> {
    pub(super) context: &'a str,
    pub(super) server: SocketAddr,
    pub(super) authority: &'a Path,
    pub(super) token: &'a str,
}

impl Access<'_> {
    pub(super) fn to_kubeconfig(&self) -> Result<String> {
        let Self { context, server, authority, token } = self;
        let server = format!("https://{server}");
        Ok(serde_json::to_string_pretty(&json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": context,
            "clusters": [{
                "name": context,
                "cluster": { "server": server, "certificate-authority": authority },
            }],
            "users": [{ "name": context, "user": { "token": token } }],
            "contexts": [{ "name": context, "context": { "cluster": context, "user": context } }],
        }))?)
    }
}

pub(super) async fn load(path: &Path) -> Result<Config> {
    let kubeconfig =
        Kubeconfig::read_from(path).with_context(|| format!("read {}", path.display()))?;
    Ok(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?)
}

impl Cluster {
    /// The administrator's kubeconfig, but with this address instead of the API server's: that of a
    /// [`TcpProxy`](crate::TcpProxy) before it. The file goes with the cluster.
    pub fn kubeconfig_by_way_of(&self, address: SocketAddr) -> Result<PathBuf> {
        let direct = std::fs::read_to_string(self.kubeconfig()).context("read the kubeconfig")?;
        let here = format!("https://{}", self.api_server_address());
        let detour = direct.replace(&here, &format!("https://{address}"));
        self.folder.write(&format!("kubeconfig-by-{}.yaml", address.port()), detour)
    }

    /// Where the API server listens, also while it is down.
    pub fn api_server_address(&self) -> SocketAddr {
        self.parts.api_server_address()
    }
}

/// One kubeconfig with the contexts of several, for what works on many clusters; the first is current.
pub fn merged_kubeconfig(kubeconfigs: &[PathBuf], folder: &Folder) -> Result<PathBuf> {
    let mut merged = Kubeconfig::default();
    for path in kubeconfigs {
        let next = Kubeconfig::read_from(path)
            .with_context(|| format!("read the kubeconfig {}", path.display()))?;
        merged = merged.merge(next)?;
    }
    folder.write("kubeconfig.yaml", serde_json::to_string_pretty(&merged)?)
}
