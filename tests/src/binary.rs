//! Our own binaries, as cargo built them beside the tests.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};

use crate::process::Program;

/// One of our binaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// The command line client.
    Vitals,
    /// Watches clusters.
    VitalsAgent,
    /// Judges and serves.
    VitalsHub,
    /// The testbed on the command line.
    VitalsTestbed,
}

impl Binary {
    /// Its file name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vitals => "vitals",
            Self::VitalsAgent => "vitals-agent",
            Self::VitalsHub => "vitals-hub",
            Self::VitalsTestbed => "vitals-testbed",
        }
    }

    /// Where it is, of the same profile as the running test. An error if it is not built: cargo builds a
    /// test without the binaries of other crates.
    pub fn path(self) -> Result<PathBuf> {
        let path = profile_folder()?.join(self.name());
        ensure!(
            path.is_file(),
            "{} is not built. Run `make test`, or `cargo build --workspace --bins` before the test",
            path.display()
        );
        Ok(path)
    }

    /// To be started under its own name. When several run at once, give them [`program_named`]s.
    ///
    /// [`program_named`]: Self::program_named
    pub fn program(self) -> Result<Program> {
        self.program_named(self.name())
    }

    /// To be started with logs of this name.
    pub fn program_named(self, name: &str) -> Result<Program> {
        Ok(Program::new(name, self.path()?))
    }
}

/// `target/debug` or `target/release`: that of the running executable, which is there, or below in `deps` (a test) or
/// `examples` (the benchmarks).
pub(crate) fn profile_folder() -> Result<PathBuf> {
    let executable = std::env::current_exe().context("find the running executable")?;
    let folder = executable.parent().context("an executable in no folder")?;
    let is_below = folder.file_name().is_some_and(|name| name == "deps" || name == "examples");
    let folder = if is_below { folder.parent() } else { Some(folder) };
    Ok(folder.context("no folder above the executable's")?.to_owned())
}
