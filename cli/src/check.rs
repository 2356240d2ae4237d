//! Object health of manifests, offline: the same projection and the same rules as agent and hub.
//!
//! In the order of the path: [`documents`] splits what a file holds into objects, and says where each begins; [`upgrade`]
//! brings objects of older API versions to the shape that is read today; here they are judged. Pure but for the reading of
//! files, which is the command's.

pub mod documents;
mod upgrade;

use serde::Serialize;
use serde_json::Value;
use vitals_agent::project;
use vitals_hub_core::{
    Time,
    assess::{Assessment, assess, assess_custom},
};
use vitals_proto::{facts, kind::Kind, v1};

use documents::Document;

/// What `check` says of one object, in the order in which it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// As the manifest has it.
    pub api_version: String,
    /// As the manifest has it.
    pub kind: String,
    /// Empty where the manifest names none.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// In Argo CD's words: `Healthy`, `Progressing`, `Degraded`, `Suspended`, `Missing`, `Unknown`.
    pub health: &'static str,
    /// Whether kstatus would call it current.
    pub settled: bool,
    /// Code of the reason; empty while healthy.
    pub reason: &'static str,
    /// One plain sentence without a full stop.
    pub message: String,
    /// The file, as it was named; `-` for standard input.
    pub source: String,
    /// The line of the file at which it begins, from 1.
    pub line: usize,
}

/// A document that cannot be judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The file, as it was named.
    pub source: String,
    /// The line of the trouble, from 1; `None` where the file itself cannot be read.
    pub line: Option<usize>,
    /// What is wrong.
    pub reason: String,
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { source, line, reason } = self;
        match line {
            Some(line) => write!(formatter, "{source}:{line}: {reason}"),
            None => write!(formatter, "{source}: {reason}"),
        }
    }
}

/// Judges one object, as of `now`.
///
/// # Errors
/// When it is no object of Kubernetes, or cannot be read as its kind.
pub fn check(source: &str, document: Document, now: Time) -> Result<Verdict, Unreadable> {
    let Document { line, object } = document;
    let fail = |reason: String| Unreadable { source: source.to_owned(), line: Some(line), reason };
    let text = |path: &[&str]| -> String {
        let value = path.iter().try_fold(&object, |value, part| value.get(part));
        value.and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let (api_version, kind) = (text(&["apiVersion"]), text(&["kind"]));
    if api_version.is_empty() || kind.is_empty() {
        let lacks = if kind.is_empty() { "kind" } else { "apiVersion" };
        return Err(fail(format!("no object of Kubernetes: it has no {lacks}")));
    }
    let (namespace, mut name) = (text(&["metadata", "namespace"]), text(&["metadata", "name"]));
    if name.is_empty() {
        // What is meant for `kubectl create`.
        name = text(&["metadata", "generateName"]);
    }
    if name.is_empty() {
        return Err(fail(format!("the {kind} has no metadata.name")));
    }
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let assessment = judge(group, &kind, object, &name, now).map_err(fail)?;
    let Assessment { status, settled, reason, message, recheck_at: _ } = assessment;
    Ok(Verdict {
        api_version,
        kind,
        namespace,
        name,
        health: word(status),
        settled,
        reason: reason.code(),
        message: message.into_owned(),
        source: source.to_owned(),
        line,
    })
}

fn judge(
    group: &str,
    kind: &str,
    mut object: Value,
    name: &str,
    now: Time,
) -> Result<Assessment, String> {
    let Some(known) = known(group, kind) else {
        return Ok(assess_custom(group, kind, &object));
    };
    upgrade::upgrade(&known, &mut object);
    if let Some(metadata) = object.get_mut("metadata") {
        metadata["name"] = name.into();
    }
    let json = serde_json::to_vec(&object).map_err(|error| error.to_string())?;
    let projected = project::project(&known, &json).map_err(|error| chain(&error))?;
    // As on the wire: what the hub would read.
    let facts = facts::decode(&facts::encode(projected.facts)).map_err(|error| chain(&error))?;
    Ok(assess(&facts, now))
}

/// A kind that has facts of its own, by the groups that it ever had.
fn known(group: &str, kind: &str) -> Option<Kind> {
    Kind::KNOWN.into_iter().find(|known| {
        let of = known.resource().split_once('.').map_or("", |(_, group)| group);
        known.title() == kind && (group == of || upgrade::was_in(known, group))
    })
}

fn word(status: v1::HealthStatus) -> &'static str {
    match status {
        v1::HealthStatus::Healthy => "Healthy",
        v1::HealthStatus::Progressing => "Progressing",
        v1::HealthStatus::Degraded => "Degraded",
        v1::HealthStatus::Suspended => "Suspended",
        v1::HealthStatus::Missing => "Missing",
        v1::HealthStatus::Unknown | v1::HealthStatus::Unspecified => "Unknown",
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_unix_s(1_800_000_000);

    fn judged(yaml: &str) -> Vec<Result<Verdict, Unreadable>> {
        let documents = documents::read(yaml);
        documents
            .map(|document| match document {
                Ok(document) => check("f.yaml", document, NOW),
                Err(documents::Error { line, reason }) => {
                    Err(Unreadable { source: "f.yaml".into(), line: Some(line), reason })
                }
            })
            .collect()
    }

    #[test]
    fn each_document_is_judged_or_named() {
        let all = judged(
            "# comment\n---\napiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: n}\nspec: {}\n---\nkind: Pod\n\
             metadata: {name: x}\n---\n- no: object\n---\nfoo: [\n---\n---\napiVersion: example.org/v1\nkind: Widget\nmetadata: {name: w}\n\
             status: {conditions: [{type: Ready, status: 'False', message: waits}]}\n",
        );
        let said: Vec<String> = all
            .iter()
            .map(|it| match it {
                Ok(it) => format!(
                    "{} {}/{} {} {} {}",
                    it.line, it.kind, it.name, it.health, it.settled, it.reason
                ),
                Err(it) => it.to_string().lines().next().unwrap().to_owned(),
            })
            .collect();
        assert_eq!(said[0], "3 Service/a Healthy true ");
        assert_eq!(said[1], "f.yaml:8: no object of Kubernetes: it has no apiVersion");
        assert_eq!(said[2], "f.yaml:11: no object of Kubernetes: it is a list, not a mapping");
        assert!(
            said[3].starts_with("f.yaml:13: ") || said[3].starts_with("f.yaml:14: "),
            "{said:?}"
        );
        assert_eq!(said[4], "16 Widget/w Progressing false ResourceNotReady");
        assert_eq!(said.len(), 5);
    }

    #[test]
    fn a_field_of_the_wrong_type_is_named() {
        let all = judged("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nstatus: {phase: [1]}\n");
        let error = all[0].as_ref().unwrap_err();
        assert!(error.reason.starts_with("cannot read pods"), "{error}");
    }

    #[test]
    fn kinds_are_known_in_all_groups_that_they_had() {
        for (group, kind, want) in [
            ("apps", "Deployment", Some(Kind::Deployment)),
            ("extensions", "Deployment", Some(Kind::Deployment)),
            ("extensions", "Ingress", Some(Kind::Ingress)),
            ("", "Pod", Some(Kind::Pod)),
            ("example.org", "Pod", None),
            ("serving.knative.dev", "Service", None),
            ("batch", "CronJob", Some(Kind::CronJob)),
        ] {
            assert_eq!(known(group, kind), want, "{group} {kind}");
        }
    }
}
