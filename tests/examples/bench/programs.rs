//! Measurements that are programs of their own, beside what they measure: run, and their figures set beside the budgets.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use vitals_tests::{Folder, Program};

use crate::table::{Budget, Row, Table, setting};

/// Neither takes longer, also on a busy machine.
const WITHIN: Duration = Duration::from_secs(600);

/// Objects of the hub's core; 1,000,000 take a minute and 2 GB.
const OBJECTS: usize = 1_000_000;

/// `vitals-hub-core`'s example `apply`, beside the rate of a bare consumer, messages per second.
pub(crate) async fn core(table: &mut Table, bare: Option<f64>) -> Result<()> {
    let objects = setting("VITALS_BENCH_OBJECTS", OBJECTS).to_string();
    let said = run("apply", &[&objects]).await?;
    // The figure of DESIGN.md where nothing is measured beside it.
    let bare = bare.unwrap_or(250_000.0);
    for what in ["snapshot, applied and settled", "live, applied and settled"] {
        let rate = number_behind(&said, &format!("{what}: "))?;
        table.add(Row {
            what: format!("hub's core, {objects} objects, {what}; CPU of one core"),
            baseline: format!("{bare:.0}/s bare consumer"),
            ours: format!("{rate:.0}/s"),
            ratio: rate / bare,
            budget: Budget::Least(0.5),
        });
    }
    let held = number_behind(&said, "all resident ")?;
    let most = number_behind(&said, "budget 1.5 x facts + 200 = ")?;
    table.add(Row {
        what: format!("hub's core, {objects} objects: bytes of memory each"),
        baseline: format!("{most:.0} B (1.5 × facts + 200)"),
        ours: format!("{held:.0} B"),
        ratio: held / most,
        budget: Budget::Most(1.0),
    });
    Ok(())
}

/// `vitals-hub`'s example `fan_out`.
pub(crate) async fn fan_out(table: &mut Table) -> Result<()> {
    let said = run("fan_out", &["10000", "100", "50", "200"]).await?;
    let p99_ms = number_behind(&said, "p99 ")? / 1e3;
    let watch_kib = number_behind(&said, "memory: ")? / 1_024.0;
    for (what, ours, ratio, most) in [
        ("p99 in ms", format!("{p99_ms:.1} ms"), p99_ms, 50.0),
        ("KiB per idle watch", format!("{watch_kib:.1} KiB"), watch_kib, 16.0),
    ] {
        table.add(Row {
            what: format!("fan-out to 10,000 watches over 100 connections, {what}"),
            baseline: "—".to_owned(),
            ours,
            ratio,
            budget: Budget::Most(most),
        });
    }
    Ok(())
}

/// What an example of this name, built beside this program, says.
async fn run(name: &str, args: &[&str]) -> Result<String> {
    let program = std::env::current_exe()?.with_file_name(name);
    ensure!(program.is_file(), "{} is not built: use `make bench`", program.display());
    let folder = Folder::new(name)?;
    let ended = Program::new(name, program).args(args).run(folder.path(), WITHIN).await?;
    ensure!(ended.status.success(), "{name}: {}", ended.stderr);
    eprintln!("{name}:\n{}", ended.stdout);
    Ok(ended.stdout)
}

fn number_behind(text: &str, words: &str) -> Result<f64> {
    let behind = text.split_once(words).with_context(|| format!("no {words:?} in {text}"))?.1;
    let digits: String =
        behind.chars().take_while(|it| it.is_ascii_digit() || *it == '.').collect();
    digits.parse().with_context(|| format!("a number behind {words:?}"))
}
