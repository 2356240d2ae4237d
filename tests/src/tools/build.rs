//! Builds a tool, once for all processes that ask, and says how it goes.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use super::{KWOK, PIN_FILE, Tool, cache, file_name};
use crate::kwok;
use crate::progress::{Progress, say};

/// Whether `go` can be run.
pub fn has_go() -> bool {
    Command::new("go").arg("version").output().is_ok_and(|output| output.status.success())
}

pub(super) fn build_once(tool: Tool) -> Result<PathBuf> {
    let (name, version) = (tool.name(), tool.version()?);
    ensure!(
        has_go(),
        "{name} {version} is not built yet, and `go` cannot be run. Install Go 1.26 or newer (the tests' \
         Kubernetes is built from source), or skip these tests with VITALS_SKIP_CLUSTER_TESTS=1"
    );
    let cache = cache()?;
    std::fs::create_dir_all(&cache).with_context(|| format!("create {}", cache.display()))?;
    let _lock = lock(&cache.join(format!("{name}-{version}.lock")), name)?;
    if !tool.is_built() {
        build(tool, &cache).with_context(|| format!("build {name} {version}"))?;
    }
    tool.path()
}

/// Builds beside the final place and renames: what is there is whole.
fn build(tool: Tool, cache: &Path) -> Result<()> {
    let (name, version) = (tool.name(), tool.version()?);
    // The lock makes it ours. A build that was killed may have left something in it.
    let scratch = cache.join(format!(".building-{name}-{version}"));
    remove(&scratch)?;
    let built = build_in(&scratch, tool);
    remove(&scratch)?;
    built
}

fn build_in(scratch: &Path, tool: Tool) -> Result<()> {
    let (name, version) = (tool.name(), tool.version()?);
    let source = scratch.join("source");
    let done = scratch.join("done");
    std::fs::create_dir_all(&source)?;
    std::fs::create_dir(&done)?;
    std::fs::write(source.join("go.mod"), tool.module().go_mod)?;
    std::fs::write(source.join("go.sum"), tool.module().go_sum)?;
    if let Some(main) = tool.module().main {
        std::fs::write(source.join("main.go"), main)?;
    }

    let _progress = Progress::begin(&format!("{name} {version}"), tool.build_seconds());
    let flags = tool.linker_flags()?;
    let mut build = go(&source);
    build.args([
        "build",
        "-mod=readonly",
        "-trimpath",
        "-buildvcs=false",
        "-ldflags",
        &flags,
        "-o",
    ]);
    run(build.arg(done.join(name)).arg(tool.package()))?;
    if tool == Tool::Kwok {
        copy_stages(&source, &done)?;
    }
    std::fs::write(done.join(PIN_FILE), tool.pin()?)?;
    let folder = tool.folder()?;
    remove(&folder)?;
    std::fs::rename(&done, &folder).with_context(|| format!("move it to {}", folder.display()))
}

pub(crate) fn remove(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", folder.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn copy_stages(source: &Path, done: &Path) -> Result<()> {
    let module = run(go(source).args(["list", "-m", "-f", "{{.Dir}}", KWOK.source]))?;
    for stage in kwok::STAGES {
        let path = Path::new(module.trim()).join("kustomize/stage").join(stage);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("read the stage {}", path.display()))?;
        std::fs::write(done.join(file_name(stage)), kwok::without_pinned(&text)?)?;
    }
    Ok(())
}

fn go(folder: &Path) -> Command {
    let mut go = Command::new("go");
    go.current_dir(folder).env("CGO_ENABLED", "0").env("GOWORK", "off").env("GOFLAGS", "");
    go
}

fn run(command: &mut Command) -> Result<String> {
    let output = command.output().context("run go")?;
    if !output.status.success() {
        bail!("go failed ({}):\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

pub(crate) fn lock(path: &Path, name: &str) -> Result<File> {
    let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => say(&format!("waiting: another process builds {name}")),
        Err(TryLockError::Error(error)) => return Err(error).context("lock the cache"),
    }
    file.lock().context("lock the cache")?;
    Ok(file)
}
