//! The three programs: how each is built as its reader would build it, and what it says when it runs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use vitals_tests::languages::{self, run};
use vitals_tests::{Folder, Process, Program, skip, wait_for};

/// Whatever a client waits for comes far below this.
pub(crate) const SOON: Duration = Duration::from_secs(90);

/// In which language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    Go,
    Python,
    TypeScript,
}

/// A program that was built; it goes when this does.
pub(crate) struct Built {
    program: Program,
    _folder: Folder,
}

/// A program that runs.
pub(crate) struct Client {
    pub(crate) process: Process,
    _folder: Folder,
}

impl Language {
    /// What a person wrote of it: all else is generated.
    fn files(self) -> &'static [&'static str] {
        match self {
            Self::Go => &["go.mod", "go.sum", "main.go", "view.go", "generate/main.go"],
            Self::Python => &["watch.py"],
            Self::TypeScript => {
                &["package.json", "tsconfig.json", "buf.gen.yaml", "src/view.ts", "src/watch.ts"]
            }
        }
    }

    fn folder(self) -> &'static str {
        match self {
            Self::Go => "deploy/examples/clients/go",
            Self::Python => "deploy/examples/clients/python",
            Self::TypeScript => "deploy/examples/clients/typescript",
        }
    }

    /// Builds it in a folder of its own; `None`, and counted as skipped, where the language is not installed. (Go is: the
    /// tests' Kubernetes is built with it.)
    pub(crate) async fn build(self) -> Result<Option<Built>> {
        let missing = match self {
            Self::Go => None,
            Self::Python => languages::python_missing(),
            Self::TypeScript => languages::node_missing(),
        };
        if let Some(reason) = missing {
            skip::skip(&reason)?;
            return Ok(None);
        }
        let folder = Folder::new("client")?;
        let home = folder.path().join(self.folder());
        for file in self.files() {
            copy(&root().join(self.folder()).join(file), &home.join(file))?;
        }
        // Where it stands beside the project's files.
        for entry in std::fs::read_dir(root().join("proto/vitals/v1"))? {
            let path = entry?.path();
            let name = path.file_name().context("a file without a name")?;
            copy(&path, &folder.path().join("proto/vitals/v1").join(name))?;
        }
        let program = match self {
            Self::Go => go(home).await?,
            Self::Python => python(home).await?,
            Self::TypeScript => type_script(home).await?,
        };
        Ok(Some(Built { program, _folder: folder }))
    }
}

/// `go generate`, `go vet`, `go build`. Go keeps what it compiled by itself.
async fn go(home: PathBuf) -> Result<Program> {
    let program = home.join("vitals-watch");
    let build = move || {
        let go = |arguments: &[&str]| {
            let mut go = Command::new("go");
            go.args(arguments).current_dir(&home);
            run(go.env("CGO_ENABLED", "0").env("GOWORK", "off").env("GOFLAGS", "-mod=readonly"))
        };
        go(&["generate", "./..."])?;
        go(&["vet", "./..."])?;
        go(&["build", "-trimpath", "-buildvcs=false", "-o", "vitals-watch", "."])
    };
    tokio::task::spawn_blocking(build).await??;
    Ok(Program::new("client", program))
}

/// `python -m grpc_tools.protoc`.
async fn python(home: PathBuf) -> Result<Program> {
    let requirements = root().join(Language::Python.folder()).join("requirements.txt");
    let python = languages::python(&requirements).await?;
    let proto = home.join("../../../../proto").canonicalize()?;
    let mut files = Vec::new();
    for entry in std::fs::read_dir(proto.join("vitals/v1"))? {
        files.push(entry?.path());
    }
    let mut protoc = Command::new(&python);
    protoc.args(["-m", "grpc_tools.protoc", "--python_out", "gen", "--grpc_python_out", "gen"]);
    protoc.arg("-I").arg(&proto).args(files).current_dir(&home);
    std::fs::create_dir(home.join("gen"))?;
    tokio::task::spawn_blocking(move || run(&mut protoc)).await??;
    Ok(Program::new("client", python).arg(home.join("watch.py")))
}

/// `npm ci`, `npm run generate`, `npm run build`.
async fn type_script(home: PathBuf) -> Result<Program> {
    let modules = languages::node_modules(&root().join(Language::TypeScript.folder())).await?;
    std::os::unix::fs::symlink(modules, home.join("node_modules"))?;
    let script = home.join("dist/watch.js");
    let build = move || {
        for script in ["generate", "build"] {
            run(Command::new("npm").args(["run", "--silent", script]).current_dir(&home))?;
        }
        anyhow::Ok(())
    };
    tokio::task::spawn_blocking(build).await??;
    Ok(Program::new("client", "node").arg(script))
}

impl Built {
    /// Starts it; it ends with what is given.
    pub(crate) async fn start(&self, arguments: &[&str]) -> Result<Client> {
        let folder = Folder::new("run")?;
        let process = self.program.clone().args(arguments).start(folder.path()).await?;
        Ok(Client { process, _folder: folder })
    }
}

impl Client {
    /// All lines so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.process.stdout().lines().map(str::to_owned).collect()
    }

    /// Waits until, behind the first `behind` lines, there is one that begins so; gives the number of lines up to it.
    pub(crate) async fn says(&self, behind: usize, begins: &str) -> Result<usize> {
        let what = format!("a line {begins:?} behind {behind}");
        let said = wait_for(&what, SOON, async || {
            let lines = self.lines();
            let found = lines.iter().skip(behind).position(|line| line.starts_with(begins));
            Ok(found.map(|found| behind + found + 1))
        });
        let said = self.process.while_running(said).await;
        said.with_context(|| format!("it said {:#?}\n{}", self.lines(), self.process.stderr()))
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests are in a folder").to_owned()
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to.parent().context("a file in no folder")?)?;
    std::fs::copy(from, to).with_context(|| format!("copy {}", from.display()))?;
    Ok(())
}
