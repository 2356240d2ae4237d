//! Tests that need the control plane, or a language of others, are never skipped silently: they run, fail, or are counted.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::progress::say;
use crate::tools::{self, Tool};
use crate::{binary, settings};

/// Whether a test that needs a cluster shall run.
///
/// `false`, noted for [`skipped`], if `VITALS_SKIP_CLUSTER_TESTS=1`; an error that says what to do if the
/// tools are neither built nor can be.
pub fn cluster_tests_wanted() -> Result<bool> {
    if settings::skip_cluster_tests() {
        skip("VITALS_SKIP_CLUSTER_TESTS is set")?;
        return Ok(false);
    }
    if !Tool::ALL.into_iter().all(Tool::is_built) && !tools::has_go() {
        bail!(
            "this test starts a real Kubernetes, which is built from source, and `go` cannot be run. \
             Install Go 1.26 or newer, or set VITALS_SKIP_CLUSTER_TESTS=1 to skip and count these tests"
        );
    }
    Ok(true)
}

/// Counts the running test as skipped, and says why.
pub fn skip(reason: &str) -> Result<()> {
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    say(&format!("skipped {test}: {reason}"));
    note(&test)
}

/// The names of the tests skipped since [`forget_skipped`].
pub fn skipped() -> Result<Vec<String>> {
    match std::fs::read_to_string(file()?) {
        Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).context("read the names of the skipped tests"),
    }
}

/// Begins to count anew.
pub fn forget_skipped() -> Result<()> {
    match std::fs::remove_file(file()?) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn note(test: &str) -> Result<()> {
    let file = file()?;
    let open = OpenOptions::new().create(true).append(true).open(&file);
    let mut open = open.with_context(|| format!("open {}", file.display()))?;
    // One write, so that lines of several tests do not mix.
    open.write_all(format!("{test}\n").as_bytes()).context("note a skipped test")
}

/// Beside the test's executable, so that each profile counts its own.
fn file() -> Result<PathBuf> {
    Ok(binary::profile_folder()?.join("skipped-tests.txt"))
}
