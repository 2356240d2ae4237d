//! Leaves nothing behind: ends every process group and removes every file that this test process began.
//!
//! A small shell of its own process group reads from us, line by line, which groups were born and which
//! are gone. When its input ends, because we ended in whatever way (also by SIGKILL, where no destructor
//! runs), it ends the groups that are left and removes our folder. This needs no `unsafe` and, unlike
//! `PR_SET_PDEATHSIG`, also covers grandchildren and files.
//!
//! Invariant: a group is reported gone before its id can be given to somebody else's process.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{LazyLock, Mutex};

use anyhow::{Context as _, Result};
use nix::unistd::Pid;

/// `$1` is our folder; empty when it shall be kept. Files may still appear while the killed processes
/// end, hence the repetition.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
alive=
while read -r verb group; do
    case $verb in
    born) alive="$alive $group" ;;
    gone) rest=; for g in $alive; do [ "$g" = "$group" ] || rest="$rest $g"; done; alive=$rest ;;
    esac
done
for g in $alive; do kill -s KILL -- "-$g" 2>/dev/null; done
[ -n "$1" ] || exit 0
tries=100
while ! rm -rf -- "$1" 2>/dev/null && [ "$tries" -gt 0 ]; do sleep 0.1; tries=$((tries - 1)); done
"#;

static JANITOR: LazyLock<Janitor> =
    LazyLock::new(|| Janitor::start().expect("a temporary folder and /bin/sh"));

struct Janitor {
    folder: PathBuf,
    told: Mutex<ChildStdin>,
}

/// The folder of this test process. All that we write is below it.
pub(crate) fn folder() -> &'static Path {
    &JANITOR.folder
}

/// From now on the group is ended with us.
pub(crate) fn born(group: Pid) {
    tell("born", group);
}

/// The group has no processes any more, so that its id may soon be another's.
pub(crate) fn gone(group: Pid) {
    tell("gone", group);
}

fn tell(verb: &str, group: Pid) {
    let mut told = JANITOR.told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    // A janitor that was killed cannot be told; destructors still clean up.
    writeln!(told, "{verb} {group}").ok();
}

impl Janitor {
    fn start() -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("vitals-testbed-")
            .disable_cleanup(true)
            .tempdir()
            .context("create a temporary folder")?
            .keep();
        let removed = if crate::settings::keep_files() { Path::new("") } else { &folder };
        let mut shell = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "vitals-testbed-janitor"])
            .arg(removed)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("start the janitor's shell")?;
        let told = shell.stdin.take().context("the janitor's input")?;
        Ok(Self { folder, told: Mutex::new(told) })
    }
}
