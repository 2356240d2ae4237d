//! `vitals check`: the program itself, on files, folders and standard input, without any cluster.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is a failed test"
)]

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use vitals_tests::{Binary, Folder};

/// Runs it with these arguments and this standard input.
fn check(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(Binary::Vitals.path().unwrap())
        .arg("check")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn array(output: &Output) -> Vec<Value> {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn every_fixture_is_as_its_name_says() {
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures");
    let output = check(&["-f", fixtures, "--now", "2027-01-15T08:00:00Z"], "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let verdicts = array(&output);
    assert!(verdicts.len() >= 120, "only {} fixtures were found", verdicts.len());
    for verdict in verdicts {
        let source = verdict["source"].as_str().unwrap();
        let name = Path::new(source).file_name().unwrap().to_str().unwrap();
        let health = verdict["health"].as_str().unwrap().to_lowercase();
        assert!(name.starts_with(&format!("{health}-")), "{verdict}");
        let fields: Vec<&str> = verdict.as_object().unwrap().keys().map(String::as_str).collect();
        for field in ["apiVersion", "kind", "namespace", "name", "settled", "reason", "message"] {
            assert!(fields.contains(&field), "{field} of {verdict}");
        }
    }
}

#[test]
fn what_cannot_be_read_is_named_and_the_others_are_judged() {
    let folder = Folder::new("check").unwrap();
    let file = folder.path().join("mixed.yaml");
    let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nstatus: {phase: Failed}\n---\nnot: [closed\n---\n\
                apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: b}\nspec: {paused: true}\n";
    fs::write(&file, text).unwrap();
    let path = file.to_str().unwrap();
    let list = r#"{"apiVersion":"v1","kind":"PodList","items":[{"metadata":{"name":"c"},"status":{"phase":"Succeeded"}}]}"#;
    let output = check(&["-f", path, "-", "/no/such/file"], list);
    assert_eq!(output.status.code(), Some(1));
    let said: Vec<String> = array(&output)
        .iter()
        .map(|it| format!("{} {} {}", it["name"], it["health"], it["line"]))
        .collect();
    assert_eq!(said, [r#""a" "Degraded" 1"#, r#""b" "Suspended" 8"#, r#""c" "Healthy" 1"#]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains(&format!("error: {path}:6: ")), "{errors}");
    assert!(errors.contains("error: /no/such/file: cannot be read"), "{errors}");
    let table = check(&["-f", "-", "-o", "table"], list);
    assert!(String::from_utf8_lossy(&table.stdout).starts_with("KIND "), "{table:?}");
    assert_eq!(check(&[], "").status.code(), Some(2), "usage");
    assert_eq!(check(&["-f", "-", "--now", "yesterday"], list).status.code(), Some(2));
}

#[test]
fn api_versions_of_old_are_read() {
    let autoscaler = |version: &str, rest: &str| {
        format!(
            "apiVersion: autoscaling/{version}\nkind: HorizontalPodAutoscaler\nmetadata:\n  name: {version}\n{rest}\n"
        )
    };
    let failed =
        r#"[{"type":"AbleToScale","status":"False","reason":"FailedGetScale","message":"gone"}]"#;
    let manifests = [
        autoscaler(
            "v1",
            &format!("  annotations: {{autoscaling.alpha.kubernetes.io/conditions: '{failed}'}}\nspec: {{maxReplicas: 3}}"),
        ),
        autoscaler("v2beta1", &format!("status: {{conditions: {failed}}}")),
        autoscaler("v2beta2", &format!("status: {{conditions: {failed}}}")),
        autoscaler("v2", &format!("status: {{conditions: {failed}}}")),
        "apiVersion: extensions/v1beta1\nkind: Deployment\nmetadata: {name: d}\nspec: {paused: true}".into(),
        "apiVersion: extensions/v1beta1\nkind: Ingress\nmetadata: {name: i}\nspec: {backend: {serviceName: a, servicePort: 80}}".into(),
        "apiVersion: batch/v1beta1\nkind: CronJob\nmetadata: {name: c}\nspec: {suspend: true}".into(),
    ];
    let output = check(&["-f", "-"], &manifests.join("\n---\n"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let health: Vec<String> = array(&output).iter().map(|it| it["health"].to_string()).collect();
    let want =
        ["Degraded", "Degraded", "Degraded", "Degraded", "Suspended", "Progressing", "Healthy"];
    assert_eq!(health, want.map(|word| format!("{word:?}")));
}
