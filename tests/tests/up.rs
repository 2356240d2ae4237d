//! `vitals up` as a person runs it: on a real cluster, killed, started again, ended by Ctrl-C; and as a demo.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use vitals_tests::objects::Many;
use vitals_tests::port::Port;
use vitals_tests::{
    Binary, Cluster, Folder, Output, Process, Program, cluster_test, objects, test, wait_for,
};

/// Starting, listing and verifying take some seconds on a quiet machine.
const SOON: Duration = Duration::from_secs(90);

/// A command that only asks takes less.
const ASKED: Duration = Duration::from_secs(60);

#[test]
fn everything_runs_in_one_process_and_survives_a_kill() {
    cluster_test(async {
        let cluster = Box::pin(Cluster::start_with_nodes("up", 1)).await?;
        let client = cluster.client().await?;
        let namespace = objects::namespace(&client, "shop").await?;
        let many = Many { deployments: 2, pods_each: 2 };
        objects::create_deployments(&client, &namespace, many).await?;

        let folder = Folder::new("vitals-up")?;
        let ports = [Port::claim()?, Port::claim()?, Port::claim()?];
        let up = up(&cluster, &ports, folder.path())?.start(folder.path()).await?;
        let hub = hub(&up, 1).await?;
        let verify = async || {
            let kubeconfig = cluster.kubeconfig().display().to_string();
            let flags = ["verify", "--hub", &hub, "--context", "up", "--kubeconfig", &kubeconfig];
            let ran = vitals(&flags, folder.path()).await?;
            ensure!(ran.status.success(), "{}{}", ran.stdout, ran.stderr);
            ensure!(ran.stdout.contains("no differences"), "{}", ran.stdout);
            Ok(Some(()))
        };
        wait_for("hub and cluster to be equal", SOON, verify).await?;

        let json = vitals(&["get", "--hub", &hub, "-o", "json"], folder.path()).await?.stdout;
        let json: serde_json::Value = serde_json::from_str(&json)?;
        let entities = json["entities"].as_array().context("entities")?;
        ensure!(entities.len() == 2, "{json}");
        ensure!(entities.iter().all(|it| it["origin"] == "ENTITY_ORIGIN_DERIVED"), "{json}");

        let nats = nats_pid(folder.path())?;
        up.kill().await?;
        ensure!(runs(nats), "a child in a group of its own outlives its parent's kill");
        up.restart().await?;
        let address = self::hub(&up, 2).await?;
        ensure!(address == hub, "the ports are those that were asked for");
        ensure!(!runs(nats), "two servers on one store");
        wait_for("hub and cluster to be equal again", SOON, verify).await?;

        let nats = nats_pid(folder.path())?;
        let status = up.interrupt(SOON).await?;
        ensure!(status.success(), "{status}: {}", up.stderr());
        ensure!(!runs(nats), "nats-server is still there");
        Ok(())
    });
}

#[test]
fn without_a_cluster_it_says_what_to_do() {
    test(async {
        let folder = Folder::new("no-cluster")?;
        let ran = vitals(&["up", "--dry-run"], folder.path()).await?;
        ensure!(ran.status.code() == Some(1), "{}", ran.status);
        ensure!(
            ran.stderr.contains("`vitals up --demo`") && ran.stdout.is_empty(),
            "{}",
            ran.stderr
        );
        let ran = vitals(&["get", "--hub", "http://127.0.0.1:1"], folder.path()).await?;
        ensure!(ran.status.code() == Some(1), "{}", ran.status);
        ensure!(ran.stderr.contains("Start one with `vitals up`"), "{}", ran.stderr);
        let ran = vitals(&["get", "--frob"], folder.path()).await?;
        ensure!(ran.status.code() == Some(2), "{}", ran.status);
        Ok(())
    });
}

/// The clusters of the demo are simulated, and new at each start; everything else is real.
#[test]
fn the_demo_shows_services_that_break() {
    test(async {
        let folder = Folder::new("demo")?;
        let ports = [Port::claim()?, Port::claim()?, Port::claim()?];
        let program =
            with_ports(Binary::Vitals.program_named("demo")?.args(["up", "--demo"]), &ports);
        let program = program.arg("--data").arg(folder.path().join("data"));
        let up = program.start(folder.path()).await?;
        let hub = hub(&up, 1).await?;
        ensure!(up.stderr().contains("DEMO: two simulated clusters"), "{}", up.stderr());
        let entities = async || -> Result<Vec<serde_json::Value>> {
            let json = vitals(&["get", "--hub", &hub, "-o", "json"], folder.path()).await?.stdout;
            let json: serde_json::Value = serde_json::from_str(&json)?;
            json["entities"].as_array().cloned().context("entities")
        };
        let status =
            |entity: &serde_json::Value| entity["verdict"]["status"].as_str().map(str::to_owned);
        let count = async |wanted: &str| -> Result<usize> {
            let all = entities().await?;
            Ok(all.iter().filter(|it| status(it).as_deref() == Some(wanted)).count())
        };
        wait_for("all services to be well", SOON, async || {
            let well = count("HEALTH_STATUS_HEALTHY").await?;
            ensure!(well == 13, "{well} are");
            Ok(Some(()))
        })
        .await?;
        let all = entities().await?;
        let has = |entity: &serde_json::Value, field: &str, kind: &str| {
            entity[field].as_str().is_some_and(|it| it.starts_with(kind))
        };
        ensure!(all.iter().all(|it| has(it, "owner", "group:default/team-")), "{all:?}");
        ensure!(all.iter().all(|it| has(it, "system", "system:default/")), "{all:?}");
        ensure!(
            all.iter().all(|it| it["clusters"].as_array().is_some_and(|it| it.len() == 2)),
            "{all:?}"
        );
        // The clusters are there for others, too.
        let kubeconfig = folder.path().join("data/kubeconfig.yaml").display().to_string();
        let flags = ["verify", "--hub", &hub, "--context", "demo-us", "--kubeconfig", &kubeconfig];
        wait_for("hub and cluster to be equal", SOON, async || {
            let ran = vitals(&flags, folder.path()).await?;
            ensure!(ran.stdout.contains("no differences"), "{}{}", ran.stdout, ran.stderr);
            Ok(Some(()))
        })
        .await?;
        let breaks = wait_for("one to break", SOON, async || {
            Ok((count("HEALTH_STATUS_DEGRADED").await? > 0).then_some(()))
        });
        up.while_running(breaks).await?;
        let ended = up.interrupt(SOON).await?;
        ensure!(ended.success(), "{ended}: {}", up.stderr());

        // What an earlier run held is not there any more.
        up.restart().await?;
        self::hub(&up, 2).await?;
        wait_for("all to be well again", SOON, async || {
            Ok((count("HEALTH_STATUS_HEALTHY").await? == 13).then_some(()))
        })
        .await?;
        up.interrupt(SOON).await?;
        Ok(())
    });
}

fn up(cluster: &Cluster, ports: &[Port; 3], folder: &Path) -> Result<Program> {
    let program = with_ports(Binary::Vitals.program_named("up")?.arg("up"), ports);
    Ok(program.arg("--kubeconfig").arg(cluster.kubeconfig()).arg("--data").arg(folder.join("data")))
}

fn with_ports(mut program: Program, ports: &[Port; 3]) -> Program {
    for (flag, port) in ["--listen", "--http", "--agent-http"].into_iter().zip(ports) {
        program = program.arg(flag).arg(port.address().to_string());
    }
    program
}

async fn vitals(args: &[&str], folder: &Path) -> Result<Output> {
    let folder = tempfile::tempdir_in(folder)?;
    Binary::Vitals.program()?.args(args).run(folder.path(), ASKED).await
}

/// The hub's address, which is said once at each start.
async fn hub(up: &Process, starts: usize) -> Result<String> {
    let said = wait_for("the hub's address", SOON, async || {
        let log = up.stderr();
        let lines = log.lines().filter_map(|line| line.strip_prefix("hub at "));
        let addresses: Vec<&str> = lines.filter_map(|line| line.split(',').next()).collect();
        let last = addresses.get(starts - 1);
        Ok(last.map(|&address| address.to_owned()))
    });
    up.while_running(said).await
}

fn nats_pid(folder: &Path) -> Result<u32> {
    let text = std::fs::read_to_string(folder.join("data/nats.pid"))?;
    text.trim().parse().context("a process id")
}

/// A process that has ended and was not waited for counts as ended.
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}
