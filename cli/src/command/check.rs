//! `vitals check`: the health of the objects in manifests, offline.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use vitals_hub_core::Time;

use super::Outcome;
use crate::{
    Error,
    args::Format,
    check::{Unreadable, Verdict, check, documents},
    output::{Output, Style},
    table::{Cell, Column, Table},
};

/// Names of files that are read in a folder.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

/// Which manifests.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Manifest, or folder of manifests (read whole, with its folders); - for standard input; may be repeated
    #[arg(short, long = "filename", value_name = "FILE", required = true, num_args = 1..)]
    filenames: Vec<PathBuf>,
    /// The time as of which they are judged, as RFC 3339; default is now
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    now: Option<Time>,
}

const EXAMPLES: &str = "\
Judges each object by its own fields, by the rules of docs/health.md, and asks nobody. Writes one JSON array, unless
-o table or -o yaml says otherwise. What cannot be read is named on standard error with its file and line, the others are
judged all the same, and the exit code is 1.

Examples:
  vitals check -f deployment.yaml -o table
  kubectl get all,pvc,ingress -A -o json | vitals check -f -
  vitals check -f manifests/ --now 2026-01-01T00:00:00Z";

fn parse_time(text: &str) -> Result<Time, String> {
    let time: jiff::Timestamp = text.parse().map_err(|error: jiff::Error| error.to_string())?;
    Ok(Time::from_unix_ms(time.as_millisecond()))
}

pub(super) fn run(args: Args, output: &mut Output) -> Result<Outcome, Error> {
    let Args { filenames, now } = args;
    let now = now.unwrap_or_else(|| Time::from_unix_ms((output.now_unix_ms)()));
    let (mut verdicts, mut failures) = (Vec::new(), 0);
    for file in files(&filenames) {
        for result in judge(&file, now) {
            match result {
                Ok(verdict) => verdicts.push(verdict),
                Err(unreadable) => {
                    failures += 1;
                    output.note(&format!("error: {unreadable}"));
                }
            }
        }
    }
    show(&verdicts, output)?;
    Ok(if failures == 0 { Outcome::Fine } else { Outcome::Different })
}

/// A file to read, or why there is none.
type Found = Result<PathBuf, Unreadable>;

/// The files of all that is named, folders in the order of their names.
fn files(named: &[PathBuf]) -> Vec<Found> {
    let mut files = Vec::new();
    for path in named {
        if path.is_dir() { walk(path, &mut files) } else { files.push(Ok(path.clone())) }
    }
    files
}

fn walk(folder: &Path, files: &mut Vec<Found>) {
    let listed = fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut entries = match listed {
        Ok(entries) => entries,
        Err(error) => return files.push(Err(unreadable(folder, &error))),
    };
    entries.sort_by_key(fs::DirEntry::file_name);
    for path in entries.into_iter().map(|entry| entry.path()) {
        let ending = path.extension().and_then(|it| it.to_str()).unwrap_or_default();
        if path.is_dir() {
            walk(&path, files);
        } else if ENDINGS.contains(&ending) {
            files.push(Ok(path));
        }
    }
}

fn judge(file: &Found, now: Time) -> Vec<Result<Verdict, Unreadable>> {
    let path = match file {
        Ok(path) => path,
        Err(unreadable) => return vec![Err(unreadable.clone())],
    };
    let text = match read(path) {
        Ok(text) => text,
        Err(error) => return vec![Err(unreadable(path, &error))],
    };
    let source = path.display().to_string();
    let judged = documents::read(&text).map(|document| match document {
        Ok(document) => check(&source, document, now),
        Err(documents::Error { line, reason }) => {
            Err(Unreadable { source: source.clone(), line: Some(line), reason })
        }
    });
    judged.collect()
}

fn read(path: &Path) -> std::io::Result<String> {
    if path.as_os_str() != "-" {
        return fs::read_to_string(path);
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    Ok(text)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Unreadable {
    let reason = format!("cannot be read: {error}");
    Unreadable { source: path.display().to_string(), line: None, reason }
}

fn show(verdicts: &[Verdict], output: &mut Output) -> Result<(), Error> {
    if output.format != Format::Table || output.is_default_format {
        return output.value(&verdicts);
    }
    let mut table = Table::new(&[
        Column::whole("KIND"),
        Column::name("NAMESPACE"),
        Column::name("NAME"),
        Column::whole("HEALTH"),
        Column::whole("REASON"),
        Column::flexible("MESSAGE"),
        Column::flexible("SOURCE"),
    ]);
    for verdict in verdicts {
        let Verdict { kind, namespace, name, health, reason, message, source, line, .. } = verdict;
        let style = match *health {
            "Healthy" => Style::Good,
            "Progressing" => Style::Busy,
            "Degraded" => Style::Bad,
            _ => Style::Warn,
        };
        let health = Cell::styled((health, style));
        let source = Cell::styled((&format!("{source}:{line}"), Style::Dim));
        let [kind, namespace, name] = [kind, namespace, name].map(Cell::from);
        table.row([kind, namespace, name, health, reason.into(), message.into(), source]);
    }
    output.table(&table)
}
