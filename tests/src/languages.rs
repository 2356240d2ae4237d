//! The languages of others, for programs that are written in them: packages of pinned versions, obtained once from the usual
//! registries and kept in the cache, beside the [`tools`](crate::tools).
//!
//! Where a language is not installed, its tests are [skipped](crate::skip), and counted. Where its packages cannot be had, they
//! fail.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::progress::Progress;
use crate::tools::build::{lock, remove};
use crate::tools::cache;

/// Oldest Node.js that the packages run on.
const NODE_MAJOR_MIN: u32 = 20;

/// Oldest Python: 3 and this.
const PYTHON_MINOR_MIN: u32 = 10;

/// Seconds that getting packages takes, about.
const PACKAGES_SECONDS: u64 = 15;

/// Below a finished folder: what it was made of.
const PIN_FILE: &str = "pin.txt";

/// Why a language cannot be used here; `None` where it can.
pub fn python_missing() -> Option<String> {
    let asked = "import sys, venv, ensurepip; print(sys.version_info.minor)";
    let minor = said(Command::new("python3").args(["-c", asked]));
    let minor = minor.and_then(|it| it.trim().parse::<u32>().ok());
    (minor < Some(PYTHON_MINOR_MIN)).then(|| {
        format!("there is no Python 3.{PYTHON_MINOR_MIN} or newer with venv and ensurepip")
    })
}

/// As [`python_missing`], for Node.js with npm.
pub fn node_missing() -> Option<String> {
    let version = said(Command::new("node").arg("--version"));
    let major = version
        .as_deref()
        .and_then(|it| it.trim().trim_start_matches('v').split('.').next()?.parse::<u32>().ok());
    let has_npm = said(Command::new("npm").arg("--version")).is_some();
    (major < Some(NODE_MAJOR_MIN) || !has_npm)
        .then(|| format!("there is no Node.js {NODE_MAJOR_MIN} or newer with npm"))
}

fn said(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}

/// A Python in an environment of its own, with the packages that a `requirements.txt` pins.
pub async fn python(requirements: &Path) -> Result<PathBuf> {
    let pin = std::fs::read_to_string(requirements).context("read the requirements")?;
    let version = said(Command::new("python3").arg("--version")).context("python3 --version")?;
    let folder = prepared("python", format!("{version}{pin}"), move |folder, pin| {
        run(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
        let file = folder.join("requirements.txt");
        let (_, packages) = pin.split_once('\n').unwrap_or_default();
        std::fs::write(&file, packages)?;
        let mut install = Command::new(folder.join("bin/python"));
        install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        run(install.arg("--requirement").arg(file))
    });
    Ok(folder.await?.join("bin/python"))
}

/// A `node_modules` with the packages that a `package-lock.json` beside a `package.json` pins.
pub async fn node_modules(project: &Path) -> Result<PathBuf> {
    let read = |name: &str| std::fs::read_to_string(project.join(name));
    let (package, pins) = (read("package.json")?, read("package-lock.json")?);
    let pin = format!("{package}{pins}");
    let folder = prepared("node", pin, move |folder, _| {
        std::fs::write(folder.join("package.json"), package)?;
        std::fs::write(folder.join("package-lock.json"), pins)?;
        let flags = ["ci", "--no-audit", "--no-fund", "--ignore-scripts"];
        run(Command::new("npm").args(flags).current_dir(folder))
    });
    Ok(folder.await?.join("node_modules"))
}

/// A folder in the cache, made by `make` unless one was made of the same. Processes that want it wait for each other.
async fn prepared(
    name: &'static str,
    pin: String,
    make: impl FnOnce(&Path, &str) -> Result<()> + Send + 'static,
) -> Result<PathBuf> {
    let prepare = move || {
        let mut hasher = DefaultHasher::new();
        pin.hash(&mut hasher);
        let name = format!("packages-{name}-{:016x}", hasher.finish());
        let cache = cache()?;
        std::fs::create_dir_all(&cache).with_context(|| format!("create {}", cache.display()))?;
        let folder = cache.join(&name);
        let _lock = lock(&cache.join(format!("{name}.lock")), &name)?;
        // Written last: a folder without it was not finished.
        let pin_file = folder.join(PIN_FILE);
        if std::fs::read_to_string(&pin_file).is_ok_and(|found| found == pin) {
            return Ok(folder);
        }
        remove(&folder)?;
        std::fs::create_dir(&folder)?;
        let _progress = Progress::begin(&name, PACKAGES_SECONDS);
        make(&folder, &pin).with_context(|| format!("get {name}"))?;
        std::fs::write(pin_file, pin)?;
        Ok(folder)
    };
    tokio::task::spawn_blocking(prepare).await?
}

/// Runs a command with the caller's environment: where packages come from is said there.
pub fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        bail!("{command:?} failed ({}):\n{}", output.status, String::from_utf8_lossy(&said));
    }
    Ok(())
}
