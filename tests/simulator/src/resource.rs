//! Which resources there are: those of the table, and what CustomResourceDefinitions add.

use std::sync::Arc;

use serde_json::Value;

use crate::value::{flag, items, text};

/// A resource within one simulated cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceId(u16);

/// What an API server knows of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Its place.
    pub id: ResourceId,
    /// Empty for the core group.
    pub group: String,
    /// Such as `v1`.
    pub version: String,
    /// Such as `pods`.
    pub plural: String,
    /// Such as `Pod`.
    pub kind: String,
    /// Such as `po`.
    pub short_names: Vec<String>,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// Whether its status is written by itself.
    pub has_status: bool,
    /// Whether it can be scaled.
    pub has_scale: bool,
    /// Whether a change of its specification has a number.
    pub has_generation: bool,
}

impl Resource {
    /// `apps/v1`, or `v1`.
    #[must_use]
    pub fn api_version(&self) -> String {
        let Self { group, version, .. } = self;
        if group.is_empty() { version.clone() } else { format!("{group}/{version}") }
    }

    /// `deployments.apps`, or `pods`.
    #[must_use]
    pub fn qualified(&self) -> String {
        let Self { group, plural, .. } = self;
        if group.is_empty() { plural.clone() } else { format!("{plural}.{group}") }
    }

    /// `deployment`.
    #[must_use]
    pub fn singular(&self) -> String {
        self.kind.to_lowercase()
    }
}

/// API version, plural, kind, short names, scope, and what it has. The order is that of the constants below.
const TABLE: &str = "
v1 namespaces Namespace ns cluster status
v1 nodes Node no cluster status
v1 pods Pod po namespaced status,generation
v1 services Service svc namespaced status
v1 events Event ev namespaced -
v1 configmaps ConfigMap cm namespaced -
v1 secrets Secret - namespaced -
v1 serviceaccounts ServiceAccount sa namespaced -
v1 persistentvolumeclaims PersistentVolumeClaim pvc namespaced status
v1 persistentvolumes PersistentVolume pv cluster status
v1 resourcequotas ResourceQuota quota namespaced status
v1 replicationcontrollers ReplicationController rc namespaced status,scale,generation
v1 limitranges LimitRange limits namespaced -
v1 endpoints Endpoints ep namespaced -
apps/v1 deployments Deployment deploy namespaced status,scale,generation
apps/v1 replicasets ReplicaSet rs namespaced status,scale,generation
apps/v1 statefulsets StatefulSet sts namespaced status,scale,generation
apps/v1 daemonsets DaemonSet ds namespaced status,generation
apps/v1 controllerrevisions ControllerRevision - namespaced -
batch/v1 jobs Job - namespaced status,generation
batch/v1 cronjobs CronJob cj namespaced status,generation
autoscaling/v2 horizontalpodautoscalers HorizontalPodAutoscaler hpa namespaced status
policy/v1 poddisruptionbudgets PodDisruptionBudget pdb namespaced status,generation
networking.k8s.io/v1 ingresses Ingress ing namespaced status,generation
networking.k8s.io/v1 networkpolicies NetworkPolicy netpol namespaced generation
networking.k8s.io/v1 ingressclasses IngressClass - cluster generation
discovery.k8s.io/v1 endpointslices EndpointSlice - namespaced generation
storage.k8s.io/v1 storageclasses StorageClass sc cluster -
coordination.k8s.io/v1 leases Lease - namespaced -
rbac.authorization.k8s.io/v1 clusterroles ClusterRole - cluster -
rbac.authorization.k8s.io/v1 clusterrolebindings ClusterRoleBinding - cluster -
rbac.authorization.k8s.io/v1 roles Role - namespaced -
rbac.authorization.k8s.io/v1 rolebindings RoleBinding - namespaced -
scheduling.k8s.io/v1 priorityclasses PriorityClass pc cluster generation
apiextensions.k8s.io/v1 customresourcedefinitions CustomResourceDefinition crd,crds cluster status,generation
";

pub(crate) const NAMESPACES: ResourceId = ResourceId(0);
pub(crate) const NODES: ResourceId = ResourceId(1);
pub(crate) const PODS: ResourceId = ResourceId(2);
pub(crate) const SERVICES: ResourceId = ResourceId(3);
pub(crate) const EVENTS: ResourceId = ResourceId(4);
pub(crate) const CONFIG_MAPS: ResourceId = ResourceId(5);
pub(crate) const SECRETS: ResourceId = ResourceId(6);
pub(crate) const SERVICE_ACCOUNTS: ResourceId = ResourceId(7);
pub(crate) const CLAIMS: ResourceId = ResourceId(8);
pub(crate) const VOLUMES: ResourceId = ResourceId(9);
pub(crate) const QUOTAS: ResourceId = ResourceId(10);
pub(crate) const REPLICATION_CONTROLLERS: ResourceId = ResourceId(11);
pub(crate) const DEPLOYMENTS: ResourceId = ResourceId(14);
pub(crate) const REPLICA_SETS: ResourceId = ResourceId(15);
pub(crate) const STATEFUL_SETS: ResourceId = ResourceId(16);
pub(crate) const DAEMON_SETS: ResourceId = ResourceId(17);
pub(crate) const JOBS: ResourceId = ResourceId(19);
pub(crate) const CRON_JOBS: ResourceId = ResourceId(20);
pub(crate) const SCALERS: ResourceId = ResourceId(21);
pub(crate) const BUDGETS: ResourceId = ResourceId(22);
pub(crate) const INGRESSES: ResourceId = ResourceId(23);
pub(crate) const SLICES: ResourceId = ResourceId(26);
pub(crate) const STORAGE_CLASSES: ResourceId = ResourceId(27);
pub(crate) const DEFINITIONS: ResourceId = ResourceId(34);

/// Most resources of a cluster; a definition beyond it is not served.
const RESOURCES_MAX: usize = 1_000;

/// All resources that are served.
#[derive(Debug)]
pub struct Registry {
    resources: Vec<Arc<Resource>>,
}

impl Default for Registry {
    fn default() -> Self {
        let lines = TABLE.lines().filter(|line| !line.is_empty());
        let resources = (0..).zip(lines).filter_map(|(id, line)| parse(ResourceId(id), line));
        Self { resources: resources.map(Arc::new).collect() }
    }
}

impl Registry {
    /// By its place.
    #[must_use]
    pub fn get(&self, id: ResourceId) -> Option<&Arc<Resource>> {
        self.resources.get(usize::from(id.0))
    }

    /// By the parts of a path.
    #[must_use]
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        let mut all = self.resources.iter();
        all.find(|it| it.group == group && it.version == version && it.plural == plural)
    }

    /// By what an object says that it is.
    #[must_use]
    pub fn find_kind(&self, api_version: &str, kind: &str) -> Option<&Arc<Resource>> {
        self.resources.iter().find(|it| it.kind == kind && it.api_version() == api_version)
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.resources.iter()
    }

    /// Serves what a CustomResourceDefinition defines, in each of its versions that is served.
    pub(crate) fn define(&mut self, definition: &Value) {
        let group = text(definition, "/spec/group");
        let plural = text(definition, "/spec/names/plural");
        for version in items(definition, "/spec/versions").iter().filter(|it| flag(it, "/served")) {
            let name = text(version, "/name");
            let known = self.find(group, name, plural).is_some();
            let Ok(id) = u16::try_from(self.resources.len()) else { return };
            if known || self.resources.len() >= RESOURCES_MAX {
                continue;
            }
            let short = items(definition, "/spec/names/shortNames");
            self.resources.push(Arc::new(Resource {
                id: ResourceId(id),
                group: group.to_owned(),
                version: name.to_owned(),
                plural: plural.to_owned(),
                kind: text(definition, "/spec/names/kind").to_owned(),
                short_names: short.iter().filter_map(|it| Some(it.as_str()?.to_owned())).collect(),
                namespaced: text(definition, "/spec/scope") == "Namespaced",
                has_status: version.pointer("/subresources/status").is_some(),
                has_scale: false,
                has_generation: true,
            }));
        }
    }
}

fn parse(id: ResourceId, line: &str) -> Option<Resource> {
    let mut words = line.split(' ');
    let api_version = words.next()?;
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let (plural, kind, short) = (words.next()?, words.next()?, words.next()?);
    let (scope, has) = (words.next()?, words.next()?);
    let has = |what: &str| has.split(',').any(|it| it == what);
    Some(Resource {
        id,
        group: group.to_owned(),
        version: version.to_owned(),
        plural: plural.to_owned(),
        kind: kind.to_owned(),
        short_names: short.split(',').filter(|it| *it != "-").map(str::to_owned).collect(),
        namespaced: scope == "namespaced",
        has_status: has("status"),
        has_scale: has("scale"),
        has_generation: has("generation"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_constants_are_the_places_in_the_table() {
        let registry = Registry::default();
        for (id, qualified) in [
            (NAMESPACES, "namespaces"),
            (NODES, "nodes"),
            (PODS, "pods"),
            (SERVICES, "services"),
            (EVENTS, "events"),
            (CONFIG_MAPS, "configmaps"),
            (SECRETS, "secrets"),
            (SERVICE_ACCOUNTS, "serviceaccounts"),
            (CLAIMS, "persistentvolumeclaims"),
            (VOLUMES, "persistentvolumes"),
            (QUOTAS, "resourcequotas"),
            (REPLICATION_CONTROLLERS, "replicationcontrollers"),
            (DEPLOYMENTS, "deployments.apps"),
            (REPLICA_SETS, "replicasets.apps"),
            (STATEFUL_SETS, "statefulsets.apps"),
            (DAEMON_SETS, "daemonsets.apps"),
            (JOBS, "jobs.batch"),
            (CRON_JOBS, "cronjobs.batch"),
            (SCALERS, "horizontalpodautoscalers.autoscaling"),
            (BUDGETS, "poddisruptionbudgets.policy"),
            (INGRESSES, "ingresses.networking.k8s.io"),
            (SLICES, "endpointslices.discovery.k8s.io"),
            (STORAGE_CLASSES, "storageclasses.storage.k8s.io"),
            (DEFINITIONS, "customresourcedefinitions.apiextensions.k8s.io"),
        ] {
            assert_eq!(registry.get(id).unwrap().qualified(), qualified);
        }
    }

    #[test]
    fn a_definition_is_served_in_its_versions() {
        let mut registry = Registry::default();
        let definition = serde_json::json!({ "spec": {
            "group": "example.org", "scope": "Namespaced",
            "names": { "plural": "widgets", "kind": "Widget" },
            "versions": [{ "name": "v1", "served": true }, { "name": "v2", "served": false }],
        } });
        registry.define(&definition);
        registry.define(&definition);
        assert!(registry.find("example.org", "v1", "widgets").is_some());
        assert!(registry.find("example.org", "v2", "widgets").is_none());
        assert_eq!(registry.all().filter(|it| it.plural == "widgets").count(), 1);
    }
}
