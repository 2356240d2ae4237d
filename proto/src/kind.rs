//! Kinds of Kubernetes objects that have a projection and a rule of their own, and all others by name.

use std::{fmt, sync::Arc};

/// A kind, by its resource and group as kubectl writes them (`deployments.apps`).
///
/// Matched without `_`, so that the compiler asks for the arms of a new kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `namespaces`.
    Namespace,
    /// `nodes`.
    Node,
    /// `deployments.apps`.
    Deployment,
    /// `statefulsets.apps`.
    StatefulSet,
    /// `daemonsets.apps`.
    DaemonSet,
    /// `replicasets.apps`.
    ReplicaSet,
    /// `pods`.
    Pod,
    /// `services`.
    Service,
    /// Any other: what a newer agent sends, or a custom resource.
    Other(Arc<str>),
}

impl Kind {
    /// Every kind with a variant of its own, in the order in which an agent lists them: owners before what they own.
    pub const KNOWN: [Self; 8] = [
        Self::Namespace,
        Self::Node,
        Self::Deployment,
        Self::StatefulSet,
        Self::DaemonSet,
        Self::ReplicaSet,
        Self::Pod,
        Self::Service,
    ];

    /// From resource and group: `deployments.apps`, `pods`.
    #[must_use]
    pub fn from_resource(resource: &str) -> Self {
        match resource {
            "namespaces" => Self::Namespace,
            "nodes" => Self::Node,
            "deployments.apps" => Self::Deployment,
            "statefulsets.apps" => Self::StatefulSet,
            "daemonsets.apps" => Self::DaemonSet,
            "replicasets.apps" => Self::ReplicaSet,
            "pods" => Self::Pod,
            "services" => Self::Service,
            other => Self::Other(other.into()),
        }
    }

    /// Resource and group as kubectl writes them.
    #[must_use]
    pub fn resource(&self) -> &str {
        match self {
            Self::Namespace => "namespaces",
            Self::Node => "nodes",
            Self::Deployment => "deployments.apps",
            Self::StatefulSet => "statefulsets.apps",
            Self::DaemonSet => "daemonsets.apps",
            Self::ReplicaSet => "replicasets.apps",
            Self::Pod => "pods",
            Self::Service => "services",
            Self::Other(resource) => resource,
        }
    }

    /// `kind` as manifests write it (`Deployment`); the resource where it is not known.
    #[must_use]
    pub fn title(&self) -> &str {
        match self {
            Self::Namespace => "Namespace",
            Self::Node => "Node",
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
            Self::ReplicaSet => "ReplicaSet",
            Self::Pod => "Pod",
            Self::Service => "Service",
            Self::Other(resource) => resource,
        }
    }

    /// `apiVersion` as manifests write it; `None` where it is not known.
    #[must_use]
    pub fn api_version(&self) -> Option<&'static str> {
        match self {
            Self::Deployment | Self::StatefulSet | Self::DaemonSet | Self::ReplicaSet => {
                Some("apps/v1")
            }
            Self::Namespace | Self::Node | Self::Pod | Self::Service => Some("v1"),
            Self::Other(_) => None,
        }
    }

    /// Its objects live in a namespace; `None` where it is not known.
    #[must_use]
    pub fn is_namespaced(&self) -> Option<bool> {
        match self {
            Self::Namespace | Self::Node => Some(false),
            Self::Deployment
            | Self::StatefulSet
            | Self::DaemonSet
            | Self::ReplicaSet
            | Self::Pod
            | Self::Service => Some(true),
            Self::Other(_) => None,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.resource())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_kind_is_found_by_its_resource() {
        for kind in Kind::KNOWN {
            assert_eq!(Kind::from_resource(kind.resource()), kind);
        }
        assert_eq!(Kind::from_resource("x.example.org"), Kind::Other("x.example.org".into()));
    }
}
