//! Object health of every manifest under `fixtures/<kind>/<health>-<case>.yaml`, through all that decides it: projection,
//! the wire, the rule. The name of the file is the assertion.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is a failed test"
)]

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use vitals_hub_core::{
    Time,
    assess::{Reason, assess},
};
use vitals_proto::{facts, kind::Kind};

/// When all of them are judged: long after the times in them.
const NOW: Time = Time::from_unix_s(1_800_000_000);

#[test]
fn each_fixture_is_as_its_name_says() -> Result<()> {
    let mut judged = 0;
    for kind in Kind::KNOWN {
        let folder =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(snake_case(kind.title()));
        let files =
            fs::read_dir(&folder).with_context(|| format!("no folder {}", folder.display()))?;
        let mut files: Vec<_> = files.map(|file| Ok(file?.path())).collect::<Result<_>>()?;
        files.sort();
        for file in files {
            check(&kind, &file).with_context(|| file.display().to_string())?;
            judged += 1;
        }
    }
    ensure!(judged >= 70, "only {judged} fixtures were found");
    Ok(())
}

fn check(kind: &Kind, file: &Path) -> Result<()> {
    let name = file.file_stem().and_then(|name| name.to_str()).context("a name")?;
    let (health, _case) = name.split_once('-').context("a name like healthy-case.yaml")?;
    let manifest: serde_json::Value = serde_saphyr::from_str(&fs::read_to_string(file)?)?;
    ensure!(manifest["kind"] == kind.title(), "it is a {}", manifest["kind"]);

    let projected = vitals_agent::project::project(kind, &serde_json::to_vec(&manifest)?)?;
    let wire = facts::encode(projected.facts);
    let facts = facts::decode(&wire)?;
    let assessment = assess(&facts, NOW);

    let status = assessment.status.as_str_name().trim_start_matches("HEALTH_STATUS_");
    ensure!(status.eq_ignore_ascii_case(health), "it is {status}: {}", assessment.message);
    let explained = assessment.reason != Reason::None;
    ensure!(explained == (health != "healthy"), "its reason is {:?}", assessment.reason);
    ensure!(!assessment.message.is_empty() && !assessment.message.ends_with('.'));
    Ok(())
}

/// `ReplicaSet` as `replica_set`.
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
