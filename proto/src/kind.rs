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
    /// `cronjobs.batch`.
    CronJob,
    /// `replicasets.apps`.
    ReplicaSet,
    /// `replicationcontrollers`.
    ReplicationController,
    /// `jobs.batch`.
    Job,
    /// `persistentvolumeclaims`.
    PersistentVolumeClaim,
    /// `persistentvolumes`.
    PersistentVolume,
    /// `pods`.
    Pod,
    /// `services`.
    Service,
    /// `endpointslices.discovery.k8s.io`.
    EndpointSlice,
    /// `ingresses.networking.k8s.io`.
    Ingress,
    /// `horizontalpodautoscalers.autoscaling`.
    HorizontalPodAutoscaler,
    /// `poddisruptionbudgets.policy`.
    PodDisruptionBudget,
    /// `resourcequotas`.
    ResourceQuota,
    /// `events`: those of type Warning, of which an object is all about one object.
    Event,
    /// Any other: what a newer agent sends, or a custom resource.
    Other(Arc<str>),
}

impl Kind {
    /// Every kind with a variant of its own, in the order in which an agent lists them: owners before what they own.
    pub const KNOWN: [Self; 19] = [
        Self::Namespace,
        Self::Node,
        Self::Deployment,
        Self::StatefulSet,
        Self::DaemonSet,
        Self::CronJob,
        Self::ReplicaSet,
        Self::ReplicationController,
        Self::Job,
        Self::PersistentVolumeClaim,
        Self::PersistentVolume,
        Self::Pod,
        Self::Service,
        Self::EndpointSlice,
        Self::Ingress,
        Self::HorizontalPodAutoscaler,
        Self::PodDisruptionBudget,
        Self::ResourceQuota,
        Self::Event,
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
            "replicationcontrollers" => Self::ReplicationController,
            "pods" => Self::Pod,
            "services" => Self::Service,
            "endpointslices.discovery.k8s.io" => Self::EndpointSlice,
            "cronjobs.batch" => Self::CronJob,
            "jobs.batch" => Self::Job,
            "persistentvolumeclaims" => Self::PersistentVolumeClaim,
            "persistentvolumes" => Self::PersistentVolume,
            "ingresses.networking.k8s.io" => Self::Ingress,
            "horizontalpodautoscalers.autoscaling" => Self::HorizontalPodAutoscaler,
            "poddisruptionbudgets.policy" => Self::PodDisruptionBudget,
            "resourcequotas" => Self::ResourceQuota,
            "events" => Self::Event,
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
            Self::ReplicationController => "replicationcontrollers",
            Self::Pod => "pods",
            Self::Service => "services",
            Self::EndpointSlice => "endpointslices.discovery.k8s.io",
            Self::CronJob => "cronjobs.batch",
            Self::Job => "jobs.batch",
            Self::PersistentVolumeClaim => "persistentvolumeclaims",
            Self::PersistentVolume => "persistentvolumes",
            Self::Ingress => "ingresses.networking.k8s.io",
            Self::HorizontalPodAutoscaler => "horizontalpodautoscalers.autoscaling",
            Self::PodDisruptionBudget => "poddisruptionbudgets.policy",
            Self::ResourceQuota => "resourcequotas",
            Self::Event => "events",
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
            Self::ReplicationController => "ReplicationController",
            Self::Pod => "Pod",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::CronJob => "CronJob",
            Self::Job => "Job",
            Self::PersistentVolumeClaim => "PersistentVolumeClaim",
            Self::PersistentVolume => "PersistentVolume",
            Self::Ingress => "Ingress",
            Self::HorizontalPodAutoscaler => "HorizontalPodAutoscaler",
            Self::PodDisruptionBudget => "PodDisruptionBudget",
            Self::ResourceQuota => "ResourceQuota",
            Self::Event => "Event",
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
            Self::CronJob | Self::Job => Some("batch/v1"),
            Self::HorizontalPodAutoscaler => Some("autoscaling/v2"),
            Self::PodDisruptionBudget => Some("policy/v1"),
            Self::Ingress => Some("networking.k8s.io/v1"),
            Self::EndpointSlice => Some("discovery.k8s.io/v1"),
            Self::Namespace
            | Self::Event
            | Self::ReplicationController
            | Self::ResourceQuota
            | Self::PersistentVolume
            | Self::Node
            | Self::PersistentVolumeClaim
            | Self::Pod
            | Self::Service => Some("v1"),
            Self::Other(_) => None,
        }
    }

    /// Resource alone, as it stands in a path of the API: `deployments`.
    #[must_use]
    pub fn plural(&self) -> &str {
        self.resource().split('.').next().unwrap_or_default()
    }

    /// Which of its objects are read, as a field selector; `None` where all are.
    #[must_use]
    pub fn field_selector(&self) -> Option<&'static str> {
        matches!(self, Self::Event).then_some("type=Warning")
    }

    /// Its objects live in a namespace; `None` where it is not known.
    #[must_use]
    pub fn is_namespaced(&self) -> Option<bool> {
        match self {
            Self::Namespace | Self::PersistentVolume | Self::Node => Some(false),
            Self::Deployment
            | Self::StatefulSet
            | Self::DaemonSet
            | Self::CronJob
            | Self::ReplicaSet
            | Self::Job
            | Self::PersistentVolumeClaim
            | Self::Pod
            | Self::Service
            | Self::Ingress
            | Self::Event
            | Self::ReplicationController
            | Self::ResourceQuota
            | Self::EndpointSlice
            | Self::HorizontalPodAutoscaler
            | Self::PodDisruptionBudget => Some(true),
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
            let group = kind.api_version().and_then(|it| Some(it.split_once('/')?.0));
            let resource = group.map_or_else(
                || kind.plural().to_owned(),
                |group| format!("{}.{group}", kind.plural()),
            );
            assert_eq!(kind.resource(), resource);
        }
        assert_eq!(Kind::from_resource("x.example.org"), Kind::Other("x.example.org".into()));
    }
}
