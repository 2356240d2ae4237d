//! The testbed itself: it starts real servers, breaks them on request, and leaves nothing behind.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use kube::{Client, ResourceExt as _};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use vitals_tests::cluster::{Cluster, Component, rule};
use vitals_tests::kwok::PINNED;
use vitals_tests::objects::{self, Many};
use vitals_tests::tools::{self, Tool};
use vitals_tests::{Binary, Folder, Nats, Process, Program, TcpProxy};
use vitals_tests::{cluster_test, pod_status, test, wait_for};

const SOON: Duration = Duration::from_secs(60);

#[test]
fn two_clusters_run_deployments_side_by_side_and_leave_nothing_behind() {
    cluster_test(async {
        let begin = Instant::now();
        let (east, west) = tokio::try_join!(
            Box::pin(Cluster::start_with_nodes("east", 2)),
            Box::pin(Cluster::start_with_nodes("west", 2)),
        )?;
        println!("two clusters started in {:?}", begin.elapsed());
        for cluster in [&east, &west] {
            let client = cluster.client().await?;
            let namespace = objects::namespace(&client, "shop").await?;
            let many = Many { deployments: 1, pods_each: 3 };
            objects::create_deployments(&client, &namespace, many).await?;
            objects::wait_available(&client, &namespace, "app-0", SOON).await?;
            print_memory(cluster)?;
        }
        assert_ne!(east.api_server_address(), west.api_server_address());

        let pids: Vec<_> = east.processes().chain(west.processes()).map(Process::pid).collect();
        let folders = [east.folder().to_owned(), west.folder().to_owned()];
        assert_eq!(pids.len(), 10);
        drop((east, west));
        assert!(folders.iter().all(|folder| !folder.exists()), "{folders:?}");
        assert!(pids.into_iter().all(is_gone));
        Ok(())
    });
}

#[test]
fn a_pods_status_stays_as_a_test_writes_it() {
    cluster_test(async {
        let cluster = Cluster::shared("shared").await?;
        let client = cluster.client().await?;
        let namespace = objects::namespace(&client, "status").await?;
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), &namespace);
        objects::create(&deployments, objects::deployment("web", 3)).await?;
        objects::wait_available(&client, &namespace, "web", SOON).await?;

        let pods = objects::pods(&client, &namespace, "app=web").await?;
        let broken = pods[0].name_any();
        for status in [pod_status::crash_loop_back_off(7), pod_status::image_pull_back_off()] {
            objects::write_pod_status(&client, &namespace, &broken, status).await?;
            objects::wait_until(&deployments, "web", SOON, |web| {
                web.status.as_ref().is_some_and(|status| status.available_replicas == Some(2))
            })
            .await?;
        }
        assert_left_alone_by_kwok(&client, &namespace, &broken).await?;
        let listed = cluster.kubectl(&["get", "pods", "-n", &namespace]).await?;
        assert!(listed.stdout.contains("ImagePullBackOff"), "{listed:?}");

        objects::write_pod_status(&client, &namespace, &broken, pod_status::ready(7)).await?;
        objects::wait_available(&client, &namespace, "web", SOON).await?;
        Ok(())
    });
}

/// kwok handles events in order: when it has made a later pod ready, it has seen and left the earlier one.
async fn assert_left_alone_by_kwok(client: &Client, namespace: &str, pod: &str) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let (never, later) = ("never-ready", "later");
    objects::create(&pods, bare_pod(never, json!({ PINNED: "" }))).await?;
    objects::create(&pods, bare_pod(later, json!({}))).await?;
    objects::wait_until(&pods, later, SOON, |pod| phase(pod) == "Running").await?;
    for pinned in [pod, never] {
        assert_eq!(phase(&pods.get(pinned).await?), "Pending", "{pinned}");
    }
    Ok(())
}

#[test]
fn a_killed_api_server_comes_back_where_it_was_with_what_it_knew() {
    cluster_test(async {
        let cluster = Cluster::start("killed").await?;
        let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client().await?);
        objects::create(&maps, config_map("before")).await?;
        let address = cluster.api_server_address();

        cluster.component(Component::ApiServer)?.kill().await?;
        assert!(maps.get("before").await.is_err());
        cluster.restart(Component::ApiServer).await?;
        assert_eq!(cluster.api_server_address(), address);
        assert_eq!(maps.get("before").await?.name_any(), "before");

        cluster.component(Component::Etcd)?.kill().await?;
        cluster.restart(Component::Etcd).await?;
        assert_eq!(maps.get("before").await?.name_any(), "before");

        let api_server = cluster.component(Component::ApiServer)?;
        api_server.freeze().await?;
        let unanswered = tokio::time::timeout(Duration::from_secs(1), maps.get("before")).await;
        assert!(unanswered.is_err(), "{unanswered:?}");
        api_server.thaw().await?;
        maps.get("before").await?;
        Ok(())
    });
}

#[test]
fn an_old_watch_gets_410_after_compaction() {
    cluster_test(async {
        let cluster = Cluster::start("compacted").await?;
        let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client().await?);
        let old = maps.list(&ListParams::default()).await?.metadata.resource_version;
        let old = old.context("a resource version")?;
        for number in 0..5 {
            objects::create(&maps, config_map(&format!("map-{number}"))).await?;
        }
        cluster.compact().await?;
        cluster.restart(Component::ApiServer).await?;
        let mut watch = Box::pin(maps.watch(&WatchParams::default(), &old).await?);
        let first = watch.next().await.context("an event")??;
        let WatchEvent::Error(status) = first else { panic!("not an error: {first:?}") };
        assert_eq!(status.code, 410, "{status:?}");
        Ok(())
    });
}

#[test]
fn a_user_may_do_only_what_the_rules_say() {
    cluster_test(async {
        let cluster = Cluster::shared("shared").await?;
        let rules = [rule("", &["configmaps"], &["list"])];
        let user = cluster.user("no-pods", &rules).await?;
        let client = user.client().await?;
        let pods: Api<Pod> = Api::all(client.clone());
        let maps: Api<ConfigMap> = Api::all(client);
        wait_for("the rules to be heeded", SOON, async || {
            Ok(maps.list(&ListParams::default()).await.map(Some)?)
        })
        .await?;
        let forbidden = pods.list(&ListParams::default()).await;
        assert!(matches!(&forbidden, Err(kube::Error::Api(it)) if it.code == 403), "{forbidden:?}");

        cluster.set_rules("no-pods", &[rule("", &["pods"], &["list"])]).await?;
        wait_for("the new rules to be heeded", SOON, async || {
            Ok(pods.list(&ListParams::default()).await.map(Some)?)
        })
        .await?;
        Ok(())
    });
}

#[test]
fn nats_keeps_its_store_over_kills_and_can_be_put_back() {
    test(async {
        let begin = Instant::now();
        let nats = Nats::start().await?;
        println!("nats-server started in {:?}", begin.elapsed());
        let context = async_nats::jetstream::new(async_nats::connect(nats.url()).await?);
        let config = async_nats::jetstream::stream::Config {
            name: "OBJECTS".into(),
            subjects: vec!["object.>".into()],
            ..Default::default()
        };
        let stream = context.create_stream(config).await?;
        let publish =
            async || Ok::<_, anyhow::Error>(context.publish("object.a", "1".into()).await?.await?);
        let last = async || Ok::<_, anyhow::Error>(stream.get_info().await?.state.last_sequence);

        publish().await?;
        nats.process().kill().await?;
        let copy = nats.copy_store()?;
        nats.restart().await?;
        wait_for("the client to be back", SOON, async || publish().await.map(Some)).await?;
        assert_eq!(last().await?, 2);

        nats.process().freeze().await?;
        let unanswered = tokio::time::timeout(Duration::from_secs(1), nats.monitor("/varz")).await;
        assert!(unanswered.is_err());
        nats.process().thaw().await?;
        nats.ready().await?;
        assert!(nats.copy_store().is_err(), "a running server's store was copied");

        nats.process().kill().await?;
        nats.put_store_back(&copy)?;
        nats.restart().await?;
        assert_eq!(
            wait_for("the client to be back", SOON, async || last().await.map(Some)).await?,
            1
        );

        let (pid, folder) = (nats.process().pid(), nats.folder().to_owned());
        drop(nats);
        assert!(is_gone(pid) && !folder.exists());
        Ok(())
    });
}

#[test]
fn a_proxy_cuts_stalls_delays_and_heals() {
    test(async {
        let echo = TcpListener::bind("127.0.0.1:0").await?;
        let proxy = TcpProxy::start(echo.local_addr()?).await?;
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move {
            let mut echoes = tokio::task::JoinSet::new();
            while let Ok((mut stream, _)) = echo.accept().await {
                echoes.spawn(async move {
                    let (mut from, mut to) = stream.split();
                    tokio::io::copy(&mut from, &mut to).await.ok();
                });
            }
        });
        let mut first = TcpStream::connect(proxy.address()).await?;
        say_and_hear(&mut first, b"plain").await?;

        proxy.stall();
        let stalled = say_and_hear(&mut first, b"stalled");
        assert!(tokio::time::timeout(Duration::from_millis(200), stalled).await.is_err());
        proxy.heal();
        let mut late = [0; 7];
        first.read_exact(&mut late).await?;
        assert_eq!(&late, b"stalled");

        proxy.delay(Duration::from_millis(100));
        let begin = Instant::now();
        say_and_hear(&mut first, b"slow").await?;
        assert!(begin.elapsed() >= Duration::from_millis(200), "{:?}", begin.elapsed());
        proxy.heal();

        proxy.cut_after(3);
        first.write_all(b"halves").await?;
        let mut half = Vec::new();
        first.read_to_end(&mut half).await.ok();
        assert_eq!(half, b"hal");
        let mut second = TcpStream::connect(proxy.address()).await?;
        say_and_hear(&mut second, b"again").await?;

        proxy.cut();
        assert!(say_and_hear(&mut second, b"cut").await.is_err());
        let mut third = TcpStream::connect(proxy.address()).await?;
        assert!(say_and_hear(&mut third, b"cut").await.is_err());
        proxy.heal();
        say_and_hear(&mut TcpStream::connect(proxy.address()).await?, b"healed").await
    });
}

#[test]
fn processes_are_killed_with_their_children_and_restarted_with_their_arguments() {
    test(async {
        let folder = Folder::new("processes")?;
        let script = "echo to-$0 >&1; echo $$ >&2; sleep 1000 & echo $! > child; wait";
        let program = Program::new("script", "/bin/sh").args(["-c", script, "stdout"]);
        let process = program.start(folder.path()).await?;
        let child = folder.path().join("child");
        let grandchild =
            || Ok::<_, anyhow::Error>(std::fs::read_to_string(&child)?.trim().parse()?);
        let first: i32 = wait_for("the child", SOON, async || Ok(grandchild().ok())).await?;
        assert_eq!(process.stdout(), "to-stdout\n");
        assert_eq!(process.stderr(), format!("{}\n", process.pid()));

        std::fs::remove_file(&child)?;
        process.restart().await?;
        let second = wait_for("the child", SOON, async || Ok(grandchild().ok())).await?;
        assert_ne!(first, second);
        assert_eq!(process.stdout(), "to-stdout\nto-stdout\n");
        assert!(process.memory_bytes()? > 0);
        let pid = process.pid();
        drop(process);
        assert!(is_gone(pid));
        for grandchild in [first, second].map(nix::unistd::Pid::from_raw) {
            wait_for("its children to be gone", SOON, async || {
                Ok(is_gone(grandchild).then_some(()))
            })
            .await?;
        }

        let failed = Program::new("false", "/bin/sh").args(["-c", "echo why >&2; exit 3"]);
        let failed = failed.run(folder.path(), SOON).await?;
        assert_eq!((failed.status.code(), failed.stderr.as_str()), (Some(3), "why\n"));
        Ok(())
    });
}

#[test]
fn all_goes_when_the_test_process_is_killed() {
    cluster_test(async {
        let folder = Folder::new("up")?;
        // Its own temporary folder is not below ours, or it would go with ours.
        let program =
            Binary::VitalsTestbed.program()?.args(["up", "--clusters", "1", "--nodes", "1"]);
        let up = program.start(folder.path()).await?;
        let kubeconfig = wait_for("a kubeconfig", SOON, async || {
            ensure!(up.is_running(), "it ended: {}", up.stderr());
            Ok(up.stdout().lines().next().map(PathBuf::from))
        })
        .await?;
        let theirs = kubeconfig.ancestors().nth(2).context("its temporary folder")?.to_owned();
        assert!(theirs.is_dir(), "{}", theirs.display());
        let children =
            wait_for("its servers", SOON, async || Ok(Some(processes_of(&theirs)?))).await?;
        assert!(children.len() >= 5, "{children:?}");

        up.kill().await?;
        wait_for("its servers and files to be gone", SOON, async || {
            let left = processes_of(&theirs)?;
            ensure!(left.is_empty(), "processes {left:?}");
            ensure!(!theirs.exists(), "{} is there", theirs.display());
            Ok(Some(()))
        })
        .await
    });
}

#[test]
fn grpcurl_and_kubectl_run() {
    cluster_test(async {
        let folder = Folder::new("tools")?;
        let grpcurl = Program::new("grpcurl", tools::ensure(Tool::Grpcurl).await?);
        let said = grpcurl.arg("--version").run(folder.path(), SOON).await?;
        assert!(said.stderr.contains(Tool::Grpcurl.version()?), "{said:?}");

        let cluster = Cluster::shared("shared").await?;
        let said = cluster.kubectl(&["version"]).await?;
        let version = Tool::KubeApiserver.version()?;
        assert_eq!(said.stdout.matches(version).count(), 2, "{said:?}");
        Ok(())
    });
}

fn bare_pod(name: &str, annotations: serde_json::Value) -> serde_json::Value {
    json!({
        "metadata": { "name": name, "annotations": annotations },
        "spec": { "containers": [{ "name": "main", "image": "registry.test/app:1" }] },
    })
}

fn config_map(name: &str) -> serde_json::Value {
    json!({ "metadata": { "name": name } })
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("")
}

async fn say_and_hear(stream: &mut TcpStream, what: &[u8]) -> Result<()> {
    stream.write_all(what).await?;
    let mut heard = vec![0; what.len()];
    stream.read_exact(&mut heard).await?;
    ensure!(heard == what, "heard {heard:?}");
    Ok(())
}

fn is_gone(pid: nix::unistd::Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    // A zombie waits for init, which is not ours to hurry.
    stat.map_or(true, |stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')))
}

/// The ids of the processes whose command line names the folder.
fn processes_of(folder: &Path) -> Result<Vec<String>> {
    let needle = folder.to_str().context("a folder's name")?;
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let path = entry?.path();
        let line = std::fs::read(path.join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&line).contains(needle) {
            found.push(path.display().to_string());
        }
    }
    Ok(found)
}

fn print_memory(cluster: &Cluster) -> Result<()> {
    let mut total = 0;
    for process in cluster.processes() {
        let bytes = process.memory_bytes()?;
        total += bytes;
        println!("{} {}: {} MB", cluster.name(), process.name(), bytes / 1_000_000);
    }
    println!("{} in all: {} MB", cluster.name(), total / 1_000_000);
    Ok(())
}
