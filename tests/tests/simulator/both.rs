//! One story on a simulated and on a real cluster: created, rolled out, scaled, broken, mended, deleted, for all kinds. What the
//! hub says after each step is the same, and each time it is what the cluster has.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use vitals_proto::kind::Kind;
use vitals_proto::v1::{Entity, EntityFilter, HealthStatus, ObjectFilter, WorkloadSummary};
use vitals_simulator::{Clock, Options};
use vitals_tests::cluster::Options as RealOptions;
use vitals_tests::fleet::Fleet;
use vitals_tests::{
    Cluster, SimulatedCluster, Watched, cluster_test, objects, pod_status, wait_for,
};

use crate::SOON;

/// What the story is about. The annotations leave to it, on either cluster, what the other one cannot know.
const MANIFESTS: &str = r"
apiVersion: v1
kind: Namespace
metadata: {name: story}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec: {containers: [{name: main, image: 'registry.test/app:1'}]}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: shipper}
spec:
  selector: {matchLabels: {app: shipper}}
  template:
    metadata: {labels: {app: shipper}}
    spec: {containers: [{name: main, image: 'registry.test/shipper:1'}]}
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: story}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteOnce]
  storageClassName: ''
  hostPath: {path: /nowhere}
  claimRef: {namespace: story, name: data-db-0}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 1
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: main, image: 'registry.test/db:1', volumeMounts: [{name: data, mountPath: /data}]}]}
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], storageClassName: '', resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: shop}, ports: [{port: 80}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop, annotations: {simulator.vitals.dev/behaviour: manual}}
spec:
  rules:
  - host: shop.example
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: shop, annotations: {simulator.vitals.dev/behaviour: manual}}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: shop}
  minReplicas: 2
  maxReplicas: 5
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 80}}}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: shop}
spec: {maxUnavailable: 1, selector: {matchLabels: {app: shop}}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly}
spec:
  schedule: 0 0 29 2 *
  jobTemplate:
    spec:
      backoffLimit: 0
      template:
        metadata: {labels: {app: nightly}}
        spec: {restartPolicy: Never, containers: [{name: main, image: 'registry.test/report:1'}]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: migrate}
spec:
  backoffLimit: 0
  template:
    spec: {restartPolicy: Never, containers: [{name: main, image: 'registry.test/migrate:1'}]}
";

/// Of the story: `shop`, `shipper`, `db`, `nightly`. A Job that is run by hand is none.
const ENTITIES: usize = 4;

/// Nobody measures anything on a real cluster without metrics.
const NO_AUTOSCALING: &str = "--controllers=*,-horizontal-pod-autoscaler-controller";

struct Story<'a, C> {
    cluster: &'a C,
    client: Client,
    fleet: Fleet,
    told: Vec<String>,
}

impl<C: Watched> Story<'_, C> {
    /// The story on a cluster, and what was said after each step.
    async fn tell(cluster: &C) -> Result<Vec<String>> {
        let client = cluster.client().await?;
        let fleet = Fleet::start(&[cluster]).await?;
        let mut story = Story { cluster, client, fleet, told: Vec::new() };
        story.is_created().await?;
        story.rolls_out().await?;
        story.breaks_and_mends().await?;
        story.is_deleted().await?;
        Ok(story.told)
    }

    async fn is_created(&mut self) -> Result<()> {
        objects::apply(&self.client, "story", MANIFESTS).await?;
        let able = json!({ "type": "AbleToScale", "status": "True", "reason": "ReadyForNewScale" });
        let scaled = json!({ "currentReplicas": 2, "desiredReplicas": 2, "conditions": [able] });
        self.status("hpa", "shop", scaled).await?;
        let address = json!({ "loadBalancer": { "ingress": [{ "ip": "192.0.2.1" }] } });
        self.status("ingress", "shop", address).await?;
        self.settles("created", "shop", "Healthy").await
    }

    async fn rolls_out(&mut self) -> Result<()> {
        let image = json!([{ "name": "main", "image": "registry.test/app:2" }]);
        self.patch(json!({ "spec": { "template": { "spec": { "containers": image } } } })).await?;
        objects::wait_available(&self.client, "story", "shop", SOON).await?;
        self.settles("rolled out", "shop", "Healthy").await?;
        self.patch(json!({ "spec": { "replicas": 4 } })).await?;
        objects::wait_available(&self.client, "story", "shop", SOON).await?;
        self.settles("scaled", "shop", "Healthy").await
    }

    async fn breaks_and_mends(&mut self) -> Result<()> {
        for (what, status, reason) in [
            ("crashes", pod_status::crash_loop_back_off(3), "ContainerCrashLooping"),
            ("mended", pod_status::ready(4), ""),
            ("killed for memory", pod_status::oom_killed(5), "ContainerCrashLooping"),
            ("mended again", pod_status::ready(6), ""),
            ("no image", pod_status::image_pull_back_off(), "ImagePullFailed"),
            ("image found", pod_status::ready(6), ""),
        ] {
            let pods = objects::pods(&self.client, "story", "app=shop").await?;
            let name = pods.first().and_then(|it| it.metadata.name.clone()).context("a pod")?;
            objects::write_pod_status(&self.client, "story", &name, status).await?;
            let said = if reason.is_empty() { "Healthy" } else { reason };
            self.settles(what, "shop", said).await?;
        }
        let suspend = json!({ "spec": { "suspend": true } }).to_string();
        self.kubectl(&["patch", "cronjob", "nightly", "--type=merge", "-p", &suspend]).await?;
        self.settles("suspended", "nightly", "Healthy").await
    }

    async fn is_deleted(&mut self) -> Result<()> {
        let namespaced: Vec<Kind> =
            Kind::KNOWN.into_iter().filter(|it| it.is_namespaced() == Some(true)).collect();
        for what in
            ["hpa", "pdb", "ingress", "service", "cronjob", "job", "ds", "sts", "deploy", "pvc"]
        {
            self.kubectl(&["delete", what, "--all", "--wait"]).await?;
        }
        wait_for("nothing to be held", SOON, async || {
            let filter =
                ObjectFilter { namespaces: vec!["story".to_owned()], ..ObjectFilter::default() };
            let held = self.fleet.hub()?.list_objects(filter).await?;
            // What the cluster has of itself in each namespace is no part of the story.
            let mut ours = held.into_iter().filter_map(|it| it.object);
            let left = ours.find(|it| {
                namespaced.iter().any(|kind| kind.resource() == it.kind) && it.kind != "events"
            });
            ensure!(left.is_none(), "{left:?} is held");
            Ok(Some(()))
        })
        .await?;
        self.note("deleted").await
    }

    /// Until an entity is as wanted, with one pod less where it is broken, and all others are well; then all are noted.
    async fn settles(&mut self, what: &str, name: &str, wanted: &str) -> Result<()> {
        let about = format!("workload:story/{name}");
        wait_for(&format!("{about} to be {wanted}, and the others well"), SOON, async || {
            let entities = self.entities().await?;
            ensure!(entities.len() == ENTITIES, "{} entities", entities.len());
            for entity in entities {
                let verdict = entity.verdict.clone().unwrap_or_default();
                let healthy = wanted == "Healthy" || entity.r#ref != about;
                let is_so = match healthy {
                    true => verdict.status() == HealthStatus::Healthy,
                    false => verdict.reason == wanted,
                };
                let missing = workloads(&entity).map(|it| it.desired - it.ready).sum::<i32>();
                ensure!(is_so && missing == i32::from(!healthy), "{entity:?}");
            }
            Ok(Some(()))
        })
        .await?;
        self.note(what).await
    }

    async fn entities(&self) -> Result<Vec<Entity>> {
        let filter =
            EntityFilter { namespaces: vec!["story".to_owned()], ..EntityFilter::default() };
        Ok(self.fleet.hub()?.list_entities(filter).await?)
    }

    async fn note(&mut self, what: &str) -> Result<()> {
        self.fleet.assert_true_in(self.cluster, &["story"]).await?;
        let entities = self.entities().await?;
        let lines: BTreeSet<String> = entities
            .iter()
            .map(|entity| {
                let verdict = entity.verdict.clone().unwrap_or_default();
                let (status, severity) = (verdict.status(), verdict.severity());
                let replicas: Vec<_> =
                    workloads(entity).map(|it| format!("{}/{}", it.ready, it.desired)).collect();
                format!(
                    "{what}: {} {status:?} {severity:?} {} {replicas:?}",
                    entity.r#ref, verdict.reason
                )
            })
            .collect();
        self.told.extend(lines);
        Ok(())
    }

    async fn kubectl(&self, args: &[&str]) -> Result<()> {
        let ran = self.cluster.kubectl(&[&["-n", "story"][..], args].concat()).await?;
        ensure!(ran.status.success(), "kubectl {args:?}: {}", ran.stderr);
        Ok(())
    }

    async fn status(&self, kind: &str, name: &str, status: Value) -> Result<()> {
        let patch = json!({ "status": status }).to_string();
        self.kubectl(&["patch", kind, name, "--type=merge", "--subresource=status", "-p", &patch])
            .await
    }

    async fn patch(&self, patch: Value) -> Result<()> {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), "story");
        api.patch("shop", &PatchParams::default(), &Patch::Strategic(patch)).await?;
        Ok(())
    }
}

fn workloads(entity: &Entity) -> impl Iterator<Item = &WorkloadSummary> {
    entity.clusters.iter().flat_map(|it| &it.workloads)
}

async fn on_a_simulated_cluster() -> Result<Vec<String>> {
    let options = Options { nodes: 1, ..Options::default() };
    let cluster = SimulatedCluster::start_with("story", options, Clock::system()).await?;
    Story::tell(&cluster).await
}

#[test]
fn the_story_is_told_the_same_on_a_real_cluster() {
    cluster_test(Box::pin(async {
        let simulated = on_a_simulated_cluster().await?;
        let controller_manager_flags = vec![NO_AUTOSCALING.to_owned()];
        let options = RealOptions { nodes: 1, controller_manager_flags, ..RealOptions::default() };
        let cluster = Box::pin(Cluster::start_with("story", options)).await?;
        let real = Story::tell(&cluster).await?;
        let (simulated, real) = (simulated.join("\n"), real.join("\n"));
        ensure!(simulated == real, "simulated:\n{simulated}\n\nreal:\n{real}");
        Ok(())
    }));
}
