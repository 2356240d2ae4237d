//! Our charts, rendered by helm.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use vitals_tests::tools::{self, Tool};
use vitals_tests::{Folder, Output, Program};

const HELM_TIMEOUT: Duration = Duration::from_secs(60);

/// Our two charts.
pub(crate) const CHARTS: [&str; 2] = ["vitals-hub", "vitals-agent"];

/// A release to be rendered.
#[derive(Clone, Debug)]
pub(crate) struct Release<'a> {
    pub(crate) chart: &'a str,
    pub(crate) namespace: &'a str,
    /// `--set`, each `path=value`.
    pub(crate) set: &'a [&'a str],
    /// A file of values.
    pub(crate) values: Option<PathBuf>,
}

impl Release<'_> {
    /// All that would be installed, one document after the other. The release is called as its chart.
    pub(crate) async fn render(&self) -> Result<String> {
        let Self { chart, namespace, set, values } = self;
        let mut arguments = vec!["template".to_owned(), (*chart).to_owned(), path(chart)];
        arguments.extend(["--namespace".to_owned(), (*namespace).to_owned()]);
        arguments.extend(set.iter().flat_map(|it| ["--set".to_owned(), (*it).to_owned()]));
        let values = values.iter().map(|it| it.display().to_string());
        arguments.extend(values.flat_map(|it| ["--values".to_owned(), it]));
        let rendered = helm(&arguments).await?;
        ensure!(rendered.status.success(), "{chart} with {set:?}: {}", rendered.stderr);
        Ok(rendered.stdout)
    }
}

/// Runs helm in a folder of its own.
pub(crate) async fn helm(arguments: &[String]) -> Result<Output> {
    let program = Program::new("helm", tools::ensure(Tool::Helm).await?).args(arguments);
    program.run(Folder::new("helm")?.path(), HELM_TIMEOUT).await
}

/// The folder `deploy`.
pub(crate) fn deploy() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("tests are in a folder").join("deploy")
}

/// The folder of a chart.
pub(crate) fn path(chart: &str) -> String {
    deploy().join("charts").join(chart).display().to_string()
}

/// The files of values with which a chart is tested.
pub(crate) fn values_of(chart: &str) -> Result<Vec<PathBuf>> {
    let folder = deploy().join("charts").join(chart).join("ci");
    let entries = std::fs::read_dir(&folder).context("read the values")?;
    let mut files: Vec<PathBuf> = entries.map(|it| Ok(it?.path())).collect::<Result<_>>()?;
    files.sort();
    ensure!(files.len() > 1, "there are no values in {}", folder.display());
    Ok(files)
}

/// The documents of a rendered text.
pub(crate) fn documents(text: &str) -> Result<Vec<Value>> {
    serde_saphyr::from_multiple(text).context("read what was rendered")
}

/// The documents of one kind.
pub(crate) fn of_kind<'a>(documents: &'a [Value], kind: &str) -> Vec<&'a Value> {
    documents.iter().filter(|it| it["kind"] == kind).collect()
}
