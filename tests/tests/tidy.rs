//! What no lint checks: sizes, headers, the direction of dependencies, that each kind is whole.
//!
//! A rule that stands only in a document decays; this is where ours stand. Each failure names the file and the rule.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is a failed test"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use vitals_proto::kind::Kind;

/// Most lines of a source file, its tests not counted.
const LINES_MAX: usize = 400;

/// What each crate may know of ours. `proto` knows nothing; cores know only `proto`; agent and hub never each other.
const MAY_KNOW: [(&str, &[&str]); 10] = [
    ("proto", &[]),
    ("runtime", &[]),
    ("agent/core", &["vitals-proto"]),
    ("agent", &["vitals-agent-core", "vitals-proto", "vitals-runtime"]),
    ("hub/core", &["vitals-proto"]),
    ("hub", &["vitals-hub-core", "vitals-proto", "vitals-runtime"]),
    (
        "cli",
        &[
            "vitals-agent",
            "vitals-agent-core",
            "vitals-hub",
            "vitals-hub-core",
            "vitals-proto",
            "vitals-runtime",
            "vitals-simulator",
        ],
    ),
    ("tests", &EVERYTHING),
    ("tests/laws", &["vitals-agent-core", "vitals-hub-core", "vitals-proto"]),
    ("tests/simulator", &["vitals-runtime"]),
];

const EVERYTHING: [&str; 8] = [
    "vitals",
    "vitals-agent",
    "vitals-agent-core",
    "vitals-hub",
    "vitals-hub-core",
    "vitals-proto",
    "vitals-runtime",
    "vitals-simulator",
];

/// Folders that are not ours to tidy.
const FOREIGN: [&str; 4] = ["target", ".git", ".vitals", "node_modules"];

#[test]
fn source_files_are_short() {
    fails(rust_files().filter_map(|(path, text)| {
        let lines = without_tests(&path, &text);
        (lines > LINES_MAX).then(|| format!("{path}: {lines} lines, more than {LINES_MAX}"))
    }));
}

#[test]
fn source_files_say_what_they_are() {
    let is_beside = |path: &str| path.ends_with("_tests.rs");
    fails(rust_files().filter(|(path, _)| !is_beside(path)).filter_map(|(path, text)| {
        let has_header = text.starts_with("//! ");
        (!has_header).then(|| format!("{path}: does not open with `//!` and what it is"))
    }));
}

#[test]
fn a_todo_names_its_issue() {
    // In two pieces, so that this line is none.
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")];
    fails(text_files().flat_map(|(path, text)| {
        let bad = move |(number, line): (usize, &str)| {
            let has_word = words.iter().any(|word| line.contains(word));
            let names_issue = line.contains("issue ") || line.contains('#');
            (has_word && !names_issue).then(|| format!("{path}:{}: names no issue", number + 1))
        };
        text.lines().enumerate().filter_map(bad).collect::<Vec<_>>()
    }));
}

#[test]
fn tests_do_not_hide() {
    let hidden = concat!("#[ig", "nore");
    fails(rust_files().filter_map(|(path, text)| {
        text.contains(hidden).then(|| format!("{path}: a test that is not run is no test"))
    }));
}

#[test]
fn nothing_names_the_machine_that_it_was_written_on() {
    let folders = [concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/wo", "rk/")];
    fails(text_files().filter_map(|(path, text)| {
        let found = folders.iter().find(|folder| text.contains(**folder))?;
        Some(format!("{path}: names {found}"))
    }));
}

#[test]
fn dependencies_point_one_way() {
    let mut problems = Vec::new();
    for (folder, may_know) in MAY_KNOW {
        for name in dependencies(folder).into_keys().filter(|name| name.starts_with("vitals")) {
            if !may_know.contains(&name.as_str()) {
                problems.push(format!("{folder}/Cargo.toml: must not know {name}"));
            }
        }
    }
    fails(problems);
}

#[test]
fn versions_stand_in_one_place() {
    let mut problems = Vec::new();
    for (folder, _) in MAY_KNOW {
        for (name, spec) in dependencies(folder) {
            let inherits = spec.contains("workspace = true");
            if !inherits {
                problems.push(format!("{folder}/Cargo.toml: {name} is not of the workspace"));
            }
        }
    }
    fails(problems);
}

#[test]
fn each_kind_is_whole() {
    let mut problems = Vec::new();
    for kind in Kind::KNOWN {
        let name = snake_case(kind.title());
        for file in
            [format!("agent/src/project/{name}.rs"), format!("hub/core/src/assess/{name}.rs")]
        {
            if !root().join(&file).is_file() {
                problems.push(format!("{kind}: {file} is missing"));
            }
        }
        let folder = format!("tests/fixtures/{name}");
        let fixtures = std::fs::read_dir(root().join(&folder)).into_iter().flatten().flatten();
        let is_fixture = |path: PathBuf| path.extension().is_some_and(|it| it == "yaml");
        if !fixtures.into_iter().any(|entry| is_fixture(entry.path())) {
            problems.push(format!("{kind}: {folder} has no fixture"));
        }
    }
    fails(problems);
}

#[track_caller]
fn fails(problems: impl IntoIterator<Item = String>) {
    let problems: Vec<String> = problems.into_iter().collect();
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Path below the root, and text, of each file that a person wrote.
fn text_files() -> impl Iterator<Item = (String, String)> {
    let mut open = vec![root()];
    let mut files = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            if path.is_dir() && !FOREIGN.iter().any(|foreign| name == *foreign) {
                open.push(path);
            } else if is_text(&path) {
                files.push(path);
            }
        }
    }
    files.sort();
    files.into_iter().filter_map(|path| {
        let text = std::fs::read_to_string(&path).ok()?;
        let path = path.strip_prefix(root()).ok()?.display().to_string();
        Some((path, text))
    })
}

fn is_text(path: &Path) -> bool {
    let extensions = ["rs", "proto", "toml", "md", "yaml", "yml", "sh"];
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.map_or(path.ends_with("Makefile") || path.ends_with(".ci/run"), |extension| {
        extensions.contains(&extension)
    })
}

fn rust_files() -> impl Iterator<Item = (String, String)> {
    text_files().filter(|(path, _)| path.ends_with(".rs"))
}

/// Lines up to the tests, which stand at the end of a file; none of a file of tests.
fn without_tests(path: &str, text: &str) -> usize {
    let is_tests = path.starts_with("tests/")
        || path.ends_with("_tests.rs")
        || path.ends_with("/tests.rs")
        || path.ends_with("/testing.rs")
        || path.contains("/tests/");
    if is_tests {
        return 0;
    }
    let lines: Vec<&str> = text.lines().collect();
    let opens_tests = |pair: &[&str]| {
        pair[0].starts_with("#[cfg(test)]") && pair[1].starts_with("mod ") && pair[1].ends_with('{')
    };
    lines.windows(2).position(opens_tests).unwrap_or(lines.len())
}

/// Name and specification, of all three sections. Our manifests have one line per dependency.
fn dependencies(folder: &str) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
    let mut dependencies = BTreeMap::new();
    let mut is_inside = false;
    for line in text.lines() {
        if line.starts_with('[') {
            is_inside = line.ends_with("dependencies]");
        } else if let Some((name, spec)) = line.split_once('=').filter(|_| is_inside) {
            let (name, key) = name.trim().split_once('.').unwrap_or((name.trim(), ""));
            dependencies.insert(name.to_owned(), format!("{key} = {}", spec.trim()));
        }
    }
    dependencies
}

/// `StatefulSet` as `stateful_set`.
fn snake_case(title: &str) -> String {
    let mut snake = String::new();
    for character in title.chars() {
        if character.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(character.to_lowercase());
    }
    snake
}
