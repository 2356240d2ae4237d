//! `vitals-testbed`: the testbed on the command line, for `make` and for people.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, Subcommand};
use vitals_tests::cluster::{Cluster, merged_kubeconfig};
use vitals_tests::folder::Folder;
use vitals_tests::harness::with_causes;
use vitals_tests::objects;
use vitals_tests::pod_status;
use vitals_tests::progress::say;
use vitals_tests::{skip, tools, wait_for};

/// What runs on the clusters of `up`.
const SAMPLE: &str = include_str!("../../testbed/sample.yaml");

/// The Deployment of the sample whose pods are broken.
const BROKEN: &str = "app.kubernetes.io/name=recommendations";
const BROKEN_PODS: usize = 2;

/// The sample is scheduled this soon.
const SAMPLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Real Kubernetes control planes (API server, etcd, controllers, scheduler) without Docker, on this
/// machine, for the tests of Vitals and for trying it out.
///
/// The programs are built from pinned source with Go, once per version, and kept in the user's cache
/// (`$XDG_CACHE_HOME/vitals/testbed`, else `~/.cache/vitals/testbed`).
#[derive(Parser)]
#[command(
    name = "vitals-testbed",
    after_long_help = "Examples:\n  \
        vitals-testbed build             build everything now, so that the tests need not wait\n  \
        vitals-testbed up                one cluster with a sample application, until Ctrl-C\n  \
        vitals-testbed up --clusters 2   two of them in one kubeconfig, contexts east and west\n  \
        vitals-testbed up -- vitals up   with Vitals on it, until that ends\n  \
        KUBECONFIG=PATH kubectl -n shop get pods\n"
)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build and cache all programs that the tests start: about 8 minutes on two cores, once
    Build,
    /// Start clusters with nodes and a sample application, print a kubeconfig's path, wait for Ctrl-C
    Up {
        /// How many clusters; their contexts are east, west, north, south
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=4))]
        clusters: u8,
        /// Nodes of each cluster, played by kwok: pods on them run, but have no containers
        #[arg(long, default_value_t = 3)]
        nodes: usize,
        /// Also write the kubeconfig here [default: only in a temporary folder]
        #[arg(long)]
        kubeconfig: Option<PathBuf>,
        /// Leave the clusters empty
        #[arg(long)]
        no_sample: bool,
        /// Run this on the clusters (KUBECONFIG, and VITALS_DATA in a temporary folder, are set) and end with it
        #[arg(last = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
    /// Print how many tests were skipped for want of a cluster or a language, with their names
    Skipped {
        /// Then begin to count anew
        #[arg(long)]
        forget: bool,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse().command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&with_causes(&error));
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<()> {
    match command {
        Command::Build => {
            tools::ensure_all().await?;
            say(&format!("all programs are in {}", tools::cache()?.display()));
            Ok(())
        }
        Command::Up { clusters, nodes, kubeconfig, no_sample, command } => {
            let up = Up { clusters, nodes, kubeconfig, sample: !no_sample, command };
            Box::pin(up.run()).await
        }
        Command::Skipped { forget } => print_skipped(forget),
    }
}

struct Up {
    clusters: u8,
    nodes: usize,
    kubeconfig: Option<PathBuf>,
    sample: bool,
    command: Vec<OsString>,
}

impl Up {
    async fn run(self) -> Result<()> {
        tools::ensure_all().await?;
        let names = ["east", "west", "north", "south"].into_iter().take(self.clusters.into());
        let mut clusters = Vec::new();
        for name in names {
            say(&format!("starting the cluster {name}, about 10 s"));
            let cluster = Cluster::start_with_nodes(name, self.nodes).await?;
            if self.sample {
                deploy_sample(&cluster).await?;
            }
            clusters.push(cluster);
        }
        let folder = Folder::new("up")?;
        let each: Vec<PathBuf> = clusters.iter().map(Cluster::kubeconfig).collect();
        let mut path = merged_kubeconfig(&each, &folder)?;
        if let Some(wanted) = self.kubeconfig {
            let here = wanted.display();
            std::fs::copy(&path, &wanted).with_context(|| format!("write {here}"))?;
            path = wanted;
        }
        if let [program, arguments @ ..] = self.command.as_slice() {
            let mut command = tokio::process::Command::new(program);
            command.args(arguments).env("KUBECONFIG", &path);
            return run_to_its_end(command.env("VITALS_DATA", folder.path().join("data"))).await;
        }
        println!("{}", path.display());
        say(&format!("ready: export KUBECONFIG={}  (Ctrl-C ends it all)", path.display()));
        wait_for_the_end().await
    }
}

/// Applies the sample, and writes the status that a kubelet would write of pods without an image.
async fn deploy_sample(cluster: &Cluster) -> Result<()> {
    let client = cluster.client().await?;
    objects::apply(&client, "shop", SAMPLE).await?;
    let pods = wait_for("the sample to be scheduled", SAMPLE_TIMEOUT, async || {
        let pods = objects::pods(&client, "shop", BROKEN).await?;
        let scheduled = pods.iter().filter_map(|pod| {
            pod.spec.as_ref()?.node_name.as_ref()?;
            pod.metadata.name.clone()
        });
        let scheduled: Vec<String> = scheduled.collect();
        Ok((scheduled.len() == BROKEN_PODS).then_some(scheduled))
    });
    for pod in pods.await? {
        let status = pod_status::image_pull_back_off();
        objects::write_pod_status(&client, "shop", &pod, status).await?;
    }
    Ok(())
}

/// Runs a command on our terminal. Ctrl-C reaches it as it reaches us: it is waited for. Being asked to end is handed on.
async fn run_to_its_end(command: &mut tokio::process::Command) -> Result<()> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let mut child = command.kill_on_drop(true).spawn().with_context(|| format!("run {program}"))?;
    let mut ended = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    loop {
        tokio::select! {
            status = child.wait() => {
                let status = status?;
                ensure!(status.success(), "{program} ended with {status}");
                return Ok(());
            }
            pressed = tokio::signal::ctrl_c() => pressed.context("wait for Ctrl-C")?,
            _ = ended.recv() => {
                if let Some(id) = child.id() {
                    let pid = nix::unistd::Pid::from_raw(i32::try_from(id)?);
                    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM)?;
                }
            }
        }
    }
}

/// Ctrl-C, or being asked to end.
async fn wait_for_the_end() -> Result<()> {
    let mut ended = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed.context("wait for Ctrl-C"),
        _ = ended.recv() => Ok(()),
    }
}

fn print_skipped(forget: bool) -> Result<()> {
    let names = skip::skipped()?;
    println!("tests skipped: {}", names.len());
    for name in names {
        println!("- {name}");
    }
    if forget { skip::forget_skipped() } else { Ok(()) }
}
