//! The programs at a real hub, over a connection that is cut, through a restart of the hub, and over TLS with a token.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Client as Kubernetes;
use kube::api::Api;
use vitals::follow::{Applied, Follower, Said, View};
use vitals_proto::v1::EntityFilter;
use vitals_runtime::clock::SystemClock;
use vitals_tests::certificates::LOCAL_NAMES;
use vitals_tests::fleet::Fleet;
use vitals_tests::{
    Authority, Cluster, Folder, Nats, TcpProxy, cluster_test, objects, pod_status, wait_for,
};

use crate::program::{Client, Language, SOON};

/// A client ends this soon when it is asked to.
const END_TIMEOUT: Duration = Duration::from_secs(10);

#[test]
fn go_follows_a_real_hub() {
    cluster_test(Box::pin(follows(Language::Go)));
}

#[test]
fn python_follows_a_real_hub() {
    cluster_test(Box::pin(follows(Language::Python)));
}

#[test]
fn type_script_follows_a_real_hub() {
    cluster_test(Box::pin(follows(Language::TypeScript)));
}

#[test]
fn all_speak_tls_with_a_token() {
    cluster_test(Box::pin(async {
        for language in [Language::Go, Language::Python, Language::TypeScript] {
            speaks_tls(language).await.with_context(|| format!("{language:?}"))?;
        }
        Ok(())
    }));
}

/// A hub with an agent of a real cluster, and a proxy before the hub.
struct Scene {
    fleet: Fleet,
    cluster: std::sync::Arc<Cluster>,
    kubernetes: Kubernetes,
    namespace: String,
    proxy: TcpProxy,
}

impl Scene {
    async fn start() -> Result<Self> {
        let cluster = Cluster::shared("clients").await?;
        let kubernetes = cluster.client().await?;
        let namespace = objects::namespace(&kubernetes, "clients").await?;
        let mut fleet = Fleet::start_hub(Nats::start().await?, &[]).await?;
        fleet.start_agent("main", &cluster, &["--lease-namespace", &namespace]).await?;
        fleet.wait_fresh(cluster.name()).await?;
        let proxy = TcpProxy::start(fleet.hub_address()).await?;
        let scene = Self { fleet, cluster, kubernetes, namespace, proxy };
        for name in ["checkout", "orders"] {
            scene.deploy(name).await?;
        }
        // What a hub says before it has proven what it holds is no place to go on from.
        for _ in 0..2 {
            let now = SystemClock.unix_ms();
            scene.fleet.wait_verified_after(scene.cluster.name(), now).await?;
        }
        Ok(scene)
    }

    fn entity(&self, name: &str) -> String {
        format!("workload:{}/{name}", self.namespace)
    }

    /// Deploys something, and waits until the hub finds it healthy.
    async fn deploy(&self, name: &str) -> Result<()> {
        let api: Api<Deployment> = Api::namespaced(self.kubernetes.clone(), &self.namespace);
        objects::create(&api, objects::deployment(name, 1)).await?;
        objects::wait_available(&self.kubernetes, &self.namespace, name, SOON).await?;
        Ok(())
    }

    async fn delete(&self, name: &str) -> Result<()> {
        let api: Api<Deployment> = Api::namespaced(self.kubernetes.clone(), &self.namespace);
        api.delete(name, &kube::api::DeleteParams::default()).await?;
        Ok(())
    }

    async fn until_hub_forgets(&self, name: &str) -> Result<()> {
        wait_for(&format!("the hub to forget {name}"), SOON, async || {
            Ok(self.fleet.entity(&self.entity(name)).await?.is_none().then_some(()))
        })
        .await
    }

    async fn break_pods(&self, name: &str) -> Result<()> {
        let pods = objects::pods(&self.kubernetes, &self.namespace, &format!("app={name}")).await?;
        for pod in pods {
            let pod = pod.metadata.name.context("a pod without a name")?;
            let status = pod_status::crash_loop_back_off(3);
            objects::write_pod_status(&self.kubernetes, &self.namespace, &pod, status).await?;
        }
        Ok(())
    }

    /// What a program of our own holds that watches from the start: count and digest.
    async fn fresh(&self) -> Result<(u64, u64)> {
        let namespaces = vec![self.namespace.clone()];
        let filter = EntityFilter { namespaces, ..EntityFilter::default() };
        let mut follower = Follower::new(self.fleet.hub()?, filter);
        let mut view = View::default();
        loop {
            let Said::Step(step) = follower.next().await? else { continue };
            let applied = view.apply(*step);
            ensure!(!matches!(applied, Applied::Differs(_)), "{applied:?}");
            if matches!(applied, Applied::Synced { .. }) {
                return Ok(view.sum());
            }
        }
    }

    /// Waits until the client has said, behind a line, that its view is whole, and it is the one that we hold too.
    async fn is_proven(&self, client: &Client, behind: usize) -> Result<usize> {
        let waiting = wait_for("the client's view to be the hub's", SOON, async || {
            let (count, digest) = self.fresh().await?;
            let wanted = format!("synced {count} entities, digest {digest:016x}");
            let lines = client.lines();
            let found = lines.iter().skip(behind).position(|line| *line == wanted);
            let found = found.with_context(|| format!("{wanted} is not among {lines:#?}"))?;
            Ok(Some(behind + found + 1))
        });
        client.process.while_running(waiting).await
    }
}

async fn follows(language: Language) -> Result<()> {
    let Some(built) = language.build().await? else { return Ok(()) };
    let scene = Scene::start().await?;
    let hub = scene.proxy.address().to_string();
    let client = built.start(&["--hub", &hub, "--namespaces", &scene.namespace]).await?;

    // A snapshot, and then what changes.
    let line = client.says(0, "snapshot").await?;
    ensure!(line == 1, "{:#?}", client.lines());
    for name in ["checkout", "orders"] {
        client.says(0, &format!("{} Healthy", scene.entity(name))).await?;
    }
    let line = scene.is_proven(&client, 0).await?;
    scene.deploy("billing").await?;
    client.says(line, &format!("{} Healthy", scene.entity("billing"))).await?;
    scene.break_pods("billing").await?;
    let line = client.says(line, &format!("{} Degraded", scene.entity("billing"))).await?;

    // It is cut off while things change, and goes on where it was.
    scene.proxy.cut();
    scene.delete("checkout").await?;
    scene.deploy("search").await?;
    scene.until_hub_forgets("checkout").await?;
    let search = scene.entity("search");
    scene
        .fleet
        .wait_entity(&search, |it| {
            it.verdict
                .as_ref()
                .is_some_and(|it| it.status() == vitals_proto::v1::HealthStatus::Healthy)
        })
        .await?;
    scene.proxy.heal();
    let resumed = client.says(line, "resumed").await?;
    client.says(resumed, &format!("{search} Healthy")).await?;
    client.says(resumed, &format!("{} gone", scene.entity("checkout"))).await?;
    let line = scene.is_proven(&client, resumed).await?;
    ensure!(
        !client.lines()[..line].iter().skip(1).any(|it| it.starts_with("snapshot")),
        "a snapshot where its token was good: {:#?}",
        client.lines()
    );

    // The hub is gone while things change; the new one knows of the token only what it read itself.
    scene.fleet.hub_process().kill().await?;
    scene.delete("search").await?;
    scene.fleet.hub_process().restart().await?;
    client.says(line, &format!("{search} gone")).await?;
    scene.until_hub_forgets("search").await?;
    scene.is_proven(&client, line).await?;
    let begun = client.lines().into_iter().skip(line);
    let begun = begun.filter(|it| it.starts_with("snapshot") || it == "resumed").count();
    ensure!(begun > 0, "{:#?}", client.lines());

    let ended = client.process.terminate(END_TIMEOUT).await?;
    ensure!(ended.success(), "{ended}: {}", client.process.stderr());
    Ok(())
}

async fn speaks_tls(language: Language) -> Result<()> {
    const TOKEN: &str = "0123456789abcdef0123456789abcdef";
    let folder = Folder::new("secured")?;
    let authority = Authority::new("hub")?;
    let files = authority.server(&LOCAL_NAMES)?.write(&folder, "hub")?;
    let ca = folder.write("ca.pem", authority.pem())?.display().to_string();
    let token = folder.write("token", format!("{TOKEN}\n"))?.display().to_string();
    let wrong = folder.write("wrong", "fedcba9876543210")?.display().to_string();
    let catalog = "kind: Component\nmetadata: { name: checkout }\n";
    let catalog = folder.write("catalog-info.yaml", catalog)?.display().to_string();
    let (certificate, key) =
        (files.certificate.display().to_string(), files.key.display().to_string());
    let flags = [
        ["--tls-cert", &certificate],
        ["--tls-key", &key],
        ["--token-file", &token],
        ["--definitions", &catalog],
    ];
    let fleet = Fleet::start_hub(Nats::start().await?, &flags.concat()).await?;
    let hub = fleet.hub_address().to_string();
    let Some(built) = language.build().await? else { return Ok(()) };
    let client = built.start(&["--hub", &hub, "--tls-ca", &ca, "--token-file", &token]).await?;
    client.says(0, "component:default/checkout ").await?;
    client.says(0, "synced 1 entities").await?;

    let client = built.start(&["--hub", &hub, "--tls-ca", &ca, "--token-file", &wrong]).await?;
    let ended = client.process.exited(SOON).await?;
    let log = client.process.stderr();
    let is_named = log.to_lowercase().contains("unauthenticated");
    ensure!(ended.code() == Some(1) && is_named && client.lines().is_empty(), "{ended}: {log}");
    Ok(())
}
