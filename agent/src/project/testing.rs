//! Shared by the tests of the projection: manifests are YAML here, since people read them.

use vitals_proto::kind::Kind;

use super::{Projected, project};

/// A Pod with something in every field that is read.
pub(crate) const POD: &str = "
apiVersion: v1
kind: Pod
metadata:
  name: web-1
  namespace: shop
  uid: 0d9f3f0e-1111-4222-8333-444455556666
  resourceVersion: '4711'
  generation: 2
  creationTimestamp: '2026-01-02T03:04:05Z'
  deletionTimestamp: '2026-01-02T04:04:05Z'
  deletionGracePeriodSeconds: 30
  labels: {app: web, 'app.kubernetes.io/name': web}
  annotations: {vitals.dev/entity: web, kubectl.kubernetes.io/last-applied-configuration: '{}', kubernetes.io/change-cause: kubectl create secret --from-literal=password=hunter2 --record}
  finalizers: [example.com/wait]
  managedFields: [{manager: kubectl, operation: Apply, fieldsV1: {'f:metadata': {}}}]
  ownerReferences:
  - {apiVersion: apps/v1, kind: ReplicaSet, name: web-5d4, uid: 1d9f3f0e-1111-4222-8333-444455556666, controller: true, blockOwnerDeletion: true}
spec:
  nodeName: worker-1
  serviceAccountName: web
  priorityClassName: high
  schedulingGates: [{name: example.com/gate}]
  imagePullSecrets: [{name: regcred}]
  readinessGates: [{conditionType: example.com/ready}]
  nodeSelector: {disk: ssd}
  affinity:
    nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: arch, operator: In, values: [arm64]}], matchFields: [{key: metadata.name, operator: In, values: [worker-1]}]}]}}
    podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: zone, labelSelector: {matchLabels: {app: web}}}]}
  tolerations: [{key: gpu, operator: Exists, effect: NoExecute, tolerationSeconds: 60}]
  topologySpreadConstraints: [{topologyKey: zone, maxSkew: 1, whenUnsatisfiable: ScheduleAnyway}]
  volumes:
  - {name: data, persistentVolumeClaim: {claimName: data}}
  - {name: all, projected: {sources: [{secret: {name: tls}}, {configMap: {name: app, optional: true}}]}}
  - {name: one, secret: {secretName: tls, optional: false}}
  - {name: tmp, emptyDir: {}}
  containers:
  - name: web
    image: nginx:1
    env: [{name: SECRET, value: hunter2}, {name: KEY, valueFrom: {secretKeyRef: {name: app, key: k}}}]
    envFrom: [{configMapRef: {name: app}}]
    ports: [{name: http, containerPort: 8080, protocol: TCP}]
    resources: {requests: {cpu: 1, memory: 32Mi}, limits: {memory: 64Mi}}
    readinessProbe: {httpGet: {path: /ready, port: web}, periodSeconds: 10, failureThreshold: 3}
    livenessProbe: {exec: {command: [sh, -c, echo hunter2]}}
    startupProbe: {grpc: {port: 9000}}
  initContainers:
  - {name: proxy, image: 'proxy:1', restartPolicy: Always}
status:
  phase: Running
  podIP: 10.1.2.3
  startTime: '2026-01-02T03:04:06Z'
  conditions:
  - {type: Ready, status: 'False', reason: ContainersNotReady, message: 'containers with unready status: [web]', lastTransitionTime: '2026-01-02T03:04:07Z', lastProbeTime: null}
  containerStatuses:
  - name: web
    image: nginx:1
    ready: false
    started: false
    restartCount: 7
    state: {waiting: {reason: CrashLoopBackOff, message: back-off 5m0s}}
    lastState: {terminated: {exitCode: 137, reason: OOMKilled, startedAt: '2026-01-02T03:04:08Z', finishedAt: '2026-01-02T03:04:09Z'}}
  initContainerStatuses:
  - {name: proxy, image: 'proxy:1', ready: true, restartCount: 0, state: {running: {startedAt: '2026-01-02T03:04:05Z'}}}
";

/// The object of a manifest.
pub(crate) fn value(yaml: &str) -> serde_json::Value {
    serde_saphyr::from_str(yaml).expect("YAML of a test")
}

/// The projection of a manifest that must be readable.
pub(crate) fn project_yaml(kind: &Kind, yaml: &str) -> Projected {
    let json = serde_json::to_vec(&value(yaml)).expect("JSON of a test");
    project(kind, &json).expect("a readable object")
}
