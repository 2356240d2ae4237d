//! What Vitals costs and how fast it is, each figure beside a baseline of the same run and its budget (DESIGN.md, section 6).
//!
//! `make bench`; with names of parts as arguments of the program only these: `read`, `core`, `fan-out` need no cluster; `crowd` has a simulated one;
//! `changes`, `memory`, `first-sync`, `propagation` are measured on a real one, which is grown for the last three.
//! `VITALS_BENCH_DEPLOYMENTS` (1,000), `VITALS_BENCH_CROWD` (100,000), `VITALS_BENCH_OBJECTS` (1,000,000) and
//! `VITALS_BENCH_MESSAGES` (500,000) make it smaller.
//!
//! A program, not a test: it asserts no speed, since other work on the machine would decide. It says how loaded it was.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a benchmark that fails should stop there"
)]

mod table;
mod kube_watch;
mod landscape;
mod wire;
mod cpu;
mod crowd;
mod first_sync;
mod memory;
mod propagation;
mod read_rate;
mod programs;

use anyhow::{Result, bail};
use vitals_tests::test;

use table::Table;

/// Deployments that are rolled out to count what a change costs.
const CHANGED: usize = 50;

/// Simulated pods of the part `crowd`.
const CROWD: usize = 100_000;

const PARTS: [&str; 8] =
    ["read", "core", "fan-out", "crowd", "changes", "memory", "first-sync", "propagation"];

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    test(async move {
        if let Some(unknown) = wanted.iter().find(|it| !PARTS.contains(&it.as_str())) {
            bail!("no part {unknown}: there are {}", PARTS.join(", "));
        }
        let is_wanted = |part: &str| wanted.is_empty() || wanted.iter().any(|it| it == part);
        let mut table = Table::default();
        println!("{}", table::machine());
        // The parts that need a quiet machine and no cluster come first: a large cluster is busy for a while.
        let mut bare = None;
        if is_wanted("read") {
            bare = Some(Box::pin(read_rate::measure(&mut table)).await?);
        }
        if is_wanted("core") {
            Box::pin(programs::core(&mut table, bare)).await?;
        }
        if is_wanted("fan-out") {
            Box::pin(programs::fan_out(&mut table)).await?;
        }
        if is_wanted("crowd") {
            let pods = table::setting("VITALS_BENCH_CROWD", CROWD);
            Box::pin(crowd::measure(&mut table, pods)).await?;
        }
        if ["changes", "memory", "first-sync", "propagation"].into_iter().any(is_wanted) {
            Box::pin(on_a_cluster(&mut table, is_wanted)).await?;
        }
        println!("\n{table}\n{}", table::machine());
        Ok(())
    });
}

/// What is measured on a real API server.
async fn on_a_cluster(table: &mut Table, is_wanted: impl Fn(&str) -> bool) -> Result<()> {
    let deployments = table::setting("VITALS_BENCH_DEPLOYMENTS", 1_000);
    let mut landscape = landscape::Landscape::start().await?;
    if is_wanted("changes") {
        let traffic = wire::Traffic::count(&landscape).await?;
        landscape.roll_out_smallest(CHANGED).await?;
        traffic.report(table, "smallest objects that there can be")?;
        let traffic = wire::Traffic::count(&landscape).await?;
        landscape.grow(CHANGED).await?;
        let samples = traffic.report(table, "objects as of a Helm chart")?;
        cpu::measure(table, &samples)?;
    }
    if is_wanted("memory") {
        landscape.grow(deployments / 10).await?;
        memory::at_rest(table, &landscape, "as it grew")?;
    }
    if ["memory", "first-sync", "propagation"].into_iter().any(&is_wanted) {
        landscape.grow(deployments).await?;
    }
    if is_wanted("memory") {
        memory::at_rest(table, &landscape, "as it grew")?;
    }
    if is_wanted("first-sync") {
        first_sync::in_life(table, &landscape).await?;
    }
    if is_wanted("memory") {
        memory::at_rest(table, &landscape, "after a restart")?;
        memory::under_churn(table, &landscape).await?;
    }
    if is_wanted("first-sync") {
        first_sync::publishing(table, &mut landscape).await?;
    }
    if is_wanted("propagation") {
        for rate in [200, 1_000] {
            propagation::measure(table, &landscape, rate).await?;
        }
    }
    if is_wanted("memory") {
        memory::at_rest(table, &landscape, "after all that")?;
    }
    Ok(())
}
