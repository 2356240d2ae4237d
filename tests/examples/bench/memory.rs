//! Resident memory of the agent.

use std::{fmt, time::Duration};

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::time::Instant;
use vitals_tests::Process;

use crate::{
    landscape::{Landscape, PODS_EACH},
    table::{Budget, Row, Table},
};

/// Of DESIGN.md, section 6, for 10,000 pods. MB.
const BUDGET_MB: f64 = 16.0;

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Deployments that are rolled out at once.
const ROLLED_OUT: usize = 100;

/// Megabytes, as Linux counts them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// All of it.
    pub(crate) resident: f64,
    /// Without the pages of the program's file.
    anonymous: f64,
    /// The most there was.
    peak: f64,
}

/// Of a process, now.
pub(crate) fn of(process: &Process) -> Result<Memory> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid()))?;
    let field = |name: &str| {
        let line =
            status.lines().find_map(|line| line.strip_prefix(name)).context("no such line")?;
        let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
        anyhow::Ok(kib * 1_024.0 / 1e6)
    };
    Ok(Memory { resident: field("VmRSS:")?, anonymous: field("RssAnon:")?, peak: field("VmHWM:")? })
}

/// As it is now.
pub(crate) fn at_rest(table: &mut Table, landscape: &Landscape, when: &str) -> Result<()> {
    let memory = of(landscape.agent()?)?;
    table.add(row(landscape, when, memory));
    Ok(())
}

/// At most, while pods are replaced.
pub(crate) async fn under_churn(table: &mut Table, landscape: &Landscape) -> Result<()> {
    let begun = Instant::now();
    let agent = landscape.agent()?;
    let mut most = of(agent)?;
    let churning = churn(landscape);
    let mut looks = tokio::time::interval(LOOK_EVERY);
    let mut churning = std::pin::pin!(churning);
    loop {
        tokio::select! {
            churned = &mut churning => break churned?,
            _ = looks.tick() => {}
        }
        let now = of(agent)?;
        if now.resident > most.resident {
            most = now;
        }
    }
    let pods = ROLLED_OUT.min(landscape.pods() / PODS_EACH) * PODS_EACH;
    let took = begun.elapsed().as_secs();
    table.add(row(landscape, &format!("most while {pods} of them are replaced in {took} s"), most));
    Ok(())
}

/// Rolls Deployments out anew.
async fn churn(landscape: &Landscape) -> Result<()> {
    let apps = landscape.deployments();
    let again = json!({ "spec": { "template": { "metadata": { "annotations": {
        "vitals.dev/bench": format!("{:x}", fastrand::u64(..)),
    } } } } });
    stream::iter(0..ROLLED_OUT.min(landscape.pods() / PODS_EACH))
        .map(async |number| {
            let name = format!("app-{number}");
            apps.patch(&name, &PatchParams::default(), &Patch::Merge(&again)).await.map(drop)
        })
        .buffer_unordered(8)
        .try_collect::<Vec<()>>()
        .await?;
    landscape.settled().await
}

impl fmt::Display for Memory {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resident, anonymous, peak } = self;
        write!(formatter, "{resident:.1} MB ({anonymous:.1} anonymous, peak {peak:.1})")
    }
}

fn row(landscape: &Landscape, when: &str, memory: Memory) -> Row {
    Row {
        what: format!("agent memory, {} pods, {when}", landscape.pods()),
        baseline: "kube-state-metrics 317 MB, kubewatch 228 MB (10,000 pods)".to_owned(),
        ours: memory.to_string(),
        ratio: memory.resident,
        budget: Budget::Most(BUDGET_MB),
    }
}
