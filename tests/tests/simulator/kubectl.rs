//! kubectl: get, describe, logs, patch, rollout status, scale, delete.

use anyhow::{Context as _, Result, ensure};
use vitals_tests::{SimulatedCluster, Watched as _, cluster_test};

use crate::{WEB, kubectl};

async fn with_web(name: &str) -> Result<SimulatedCluster> {
    let cluster = SimulatedCluster::start(name).await?;
    let manifests = cluster.folder().join("web.yaml");
    std::fs::write(&manifests, WEB)?;
    let file = manifests.to_str().context("a path in UTF-8")?;
    let said = kubectl(&cluster, &["apply", "-f", file]).await?.stdout;
    ensure!(said == "deployment.apps/web created\nservice/web created\n", "{said}");
    let said = kubectl(&cluster, &["apply", "-f", file]).await?.stdout;
    ensure!(said == "deployment.apps/web unchanged\nservice/web unchanged\n", "{said}");
    rolled_out(&cluster).await?;
    Ok(cluster)
}

async fn rolled_out(cluster: &SimulatedCluster) -> Result<()> {
    let said = kubectl(cluster, &["rollout", "status", "deploy/web", "--timeout=50s"]).await?;
    ensure!(
        said.stdout.ends_with("deployment \"web\" successfully rolled out\n"),
        "{}",
        said.stdout
    );
    Ok(())
}

/// The words of each line after the first, the ages left out.
fn rows(stdout: &str) -> Vec<Vec<&str>> {
    stdout.lines().skip(1).map(|line| line.split_whitespace().collect()).collect()
}

#[test]
fn it_shows_what_there_is() {
    cluster_test(async {
        let cluster = with_web("kubectl-get").await?;
        let said = kubectl(&cluster, &["get", "deployments"]).await?.stdout;
        ensure!(said.starts_with("NAME   READY   UP-TO-DATE   AVAILABLE   AGE\n"), "{said}");
        ensure!(rows(&said)[0][..4] == ["web", "3/3", "3", "3"], "{said}");
        let said = kubectl(&cluster, &["get", "pods", "-l", "app=web", "-o", "wide"]).await?.stdout;
        ensure!(said.contains("NAME") && said.contains("IP") && said.contains("NODE"), "{said}");
        let pods = rows(&said);
        ensure!(pods.len() == 3 && pods.iter().all(|it| it[1..3] == ["1/1", "Running"]), "{said}");
        for (args, want) in [
            (&["get", "all"][..], "replicaset.apps/web-"),
            (&["get", "nodes"], "node-0"),
            (&["get", "svc", "web", "-o", "jsonpath={.spec.ports[0].targetPort}"], "80"),
            (&["get", "endpointslices", "-o", "name"], "endpointslice.discovery.k8s.io/web-"),
            (&["get", "deploy", "-o", "yaml"], "kind: Deployment"),
            (&["get", "ns", "--field-selector", "metadata.name=default"], "default   Active"),
            (&["get", "events", "--chunk-size", "2"], "ScalingReplicaSet"),
            (&["version"], "Server Version: v1.36.3"),
            (&["api-resources"], "horizontalpodautoscalers"),
        ] {
            let said = kubectl(&cluster, args).await?.stdout;
            ensure!(said.contains(want), "{args:?}: {said}");
        }
        let ran = cluster.kubectl(&["get", "pod", "nobody"]).await?;
        let want = "Error from server (NotFound): pods \"nobody\" not found\n";
        ensure!(!ran.status.success() && ran.stderr == want, "{}", ran.stderr);
        Ok(())
    });
}

#[test]
fn it_describes_and_reads_logs() {
    cluster_test(async {
        let cluster = with_web("kubectl-describe").await?;
        let said = kubectl(&cluster, &["describe", "deploy", "web"]).await?.stdout;
        let wanted = "3 desired | 3 updated | 3 total | 3 available | 0 unavailable";
        ensure!(said.contains(wanted) && said.contains("ScalingReplicaSet"), "{said}");
        let name = kubectl(&cluster, &["get", "pods", "-o", "name"]).await?.stdout;
        let name = name.lines().next().context("a pod")?;
        let said = kubectl(&cluster, &["describe", name]).await?.stdout;
        for want in ["Controlled By:  ReplicaSet/web-", "State:          Running", "Scheduled"] {
            ensure!(said.contains(want), "{want} is not in {said}");
        }
        for what in ["svc/web", "node/node-0", "ns/default"] {
            kubectl(&cluster, &["describe", what]).await?;
        }
        let said = kubectl(&cluster, &["logs", name, "--timestamps"]).await?.stdout;
        ensure!(
            said.lines().next().is_some_and(|it| it.ends_with("Z listening on :8080")),
            "{said}"
        );
        let said = kubectl(&cluster, &["logs", "deploy/web", "--tail=0"]).await?.stdout;
        ensure!(said.is_empty(), "{said}");
        let ran = cluster.kubectl(&["logs", name, "--previous"]).await?;
        ensure!(ran.stderr.contains("previous terminated container \"main\""), "{}", ran.stderr);
        Ok(())
    });
}

#[test]
fn it_changes_and_follows_rollouts() {
    cluster_test(async {
        let cluster = with_web("kubectl-patch").await?;
        kubectl(&cluster, &["scale", "deploy/web", "--replicas=5"]).await?;
        rolled_out(&cluster).await?;
        for (kind, patch) in [
            (
                "strategic",
                r#"{"spec":{"template":{"spec":{"containers":[{"name":"main","image":"registry.test/web:2"}]}}}}"#,
            ),
            ("merge", r#"{"spec":{"template":{"metadata":{"annotations":{"at":"noon"}}}}}"#),
            (
                "json",
                r#"[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"registry.test/web:3"}]"#,
            ),
        ] {
            let flag = format!("--type={kind}");
            kubectl(&cluster, &["patch", "deploy", "web", &flag, "-p", patch]).await?;
            rolled_out(&cluster).await?;
        }
        let said = kubectl(&cluster, &["rollout", "history", "deploy/web"]).await?.stdout;
        let revisions: Vec<_> =
            rows(&said).into_iter().skip(1).filter(|it| !it.is_empty()).collect();
        ensure!(revisions.len() == 4, "{said}");
        kubectl(&cluster, &["rollout", "undo", "deploy/web", "--to-revision=1"]).await?;
        rolled_out(&cluster).await?;
        let image = "jsonpath={.spec.template.spec.containers[*].image}";
        let said = kubectl(&cluster, &["get", "deploy", "web", "-o", image]).await?.stdout;
        ensure!(said == "registry.test/web:1", "{said}");
        let said = kubectl(&cluster, &["get", "pods"]).await?.stdout;
        ensure!(rows(&said).len() == 5, "{said}");

        kubectl(&cluster, &["label", "deploy", "web", "tier=front"]).await?;
        kubectl(&cluster, &["cordon", "node-0"]).await?;
        kubectl(&cluster, &["delete", "deploy", "web", "--cascade=foreground"]).await?;
        let said = kubectl(&cluster, &["get", "rs,pods", "-o", "name"]).await?.stdout;
        ensure!(said.is_empty(), "{said}");
        Ok(())
    });
}

#[test]
fn a_definition_makes_its_resource_served() {
    cluster_test(async {
        let cluster = SimulatedCluster::start("kubectl-crd").await?;
        let file = cluster.folder().join("crd.yaml");
        let definition = r"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.org}
spec:
  group: example.org
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, shortNames: [wd]}
  versions: [{name: v1, served: true, storage: true, subresources: {status: {}}}]
";
        std::fs::write(&file, definition)?;
        let path = file.to_str().context("a path in UTF-8")?.to_owned();
        kubectl(&cluster, &["apply", "--server-side", "-f", &path]).await?;
        kubectl(&cluster, &["wait", "--for=condition=Established", "crd/widgets.example.org"])
            .await?;
        std::fs::write(
            &file,
            "{apiVersion: example.org/v1, kind: Widget, metadata: {name: w}, spec: {size: 3}}",
        )?;
        kubectl(&cluster, &["apply", "-f", &path]).await?;
        let size = "jsonpath={.spec.size} {.metadata.generation}";
        let said = kubectl(&cluster, &["get", "wd", "w", "-o", size]).await?.stdout;
        ensure!(said == "3 1", "{said}");
        Ok(())
    });
}
