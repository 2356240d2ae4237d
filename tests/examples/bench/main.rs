//! What Vitals costs and how fast it is, each figure beside a baseline of the same run and its budget (DESIGN.md, section 6).
//!
//! `make bench`; with names of parts as arguments of the program only these: `cluster`, `cpu`, `read`, `core`, `fan-out`.
//! `VITALS_BENCH_DEPLOYMENTS` (1,000) and `VITALS_BENCH_MESSAGES` (500,000) make it smaller.
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
mod first_sync;
mod memory;
mod propagation;
mod read_rate;
mod programs;

use anyhow::{Result, bail};
use vitals_tests::test;

use table::Table;

const PARTS: [&str; 5] = ["cluster", "cpu", "read", "core", "fan-out"];

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
        if is_wanted("cluster") || is_wanted("cpu") {
            Box::pin(on_a_cluster(&mut table, is_wanted("cluster"))).await?;
        }
        println!("\n{table}\n{}", table::machine());
        Ok(())
    });
}

/// What is measured on a real API server: everything, or only what its objects cost to read.
async fn on_a_cluster(table: &mut Table, everything: bool) -> Result<()> {
    let deployments = table::setting("VITALS_BENCH_DEPLOYMENTS", 1_000);
    let mut landscape = landscape::Landscape::start().await?;
    let tenth = if everything { deployments / 10 } else { 20 };
    let traffic = wire::Traffic::count(&landscape).await?;
    landscape.grow(tenth).await?;
    let samples = traffic.report(table, &landscape).await?;
    cpu::measure(table, &samples)?;
    if !everything {
        return Ok(());
    }
    memory::at_rest(table, &landscape, "as it grew")?;
    landscape.grow(deployments).await?;
    memory::at_rest(table, &landscape, "as it grew")?;
    first_sync::measure(table, &landscape).await?;
    memory::at_rest(table, &landscape, "after a restart")?;
    memory::under_churn(table, &landscape).await?;
    for rate in [200, 1_000] {
        propagation::measure(table, &landscape, rate).await?;
    }
    memory::at_rest(table, &landscape, "after all that")
}
