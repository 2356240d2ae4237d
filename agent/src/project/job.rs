//! Jobs.

use serde::Deserialize;
use vitals_proto::v1;

use super::{
    condition::{self, Condition},
    lenient::{List, Time, seconds},
    meta::Metadata,
    template::{self, Template},
};

/// The API server's default of `spec.backoffLimit`.
const BACKOFF_LIMIT: i32 = 6;

/// Slim `batchv1.JobSpec`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    parallelism: Option<i32>,
    completions: Option<i32>,
    backoff_limit: Option<i32>,
    active_deadline_seconds: Option<i64>,
    suspend: Option<bool>,
    template: Option<Template>,
}

/// Slim `batchv1.JobStatus`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Status {
    active: Option<i32>,
    ready: Option<i32>,
    succeeded: Option<i32>,
    failed: Option<i32>,
    start_time: Option<Time>,
    completion_time: Option<Time>,
    conditions: List<Condition>,
}

/// The facts of a Job.
pub(super) fn facts(_: &Metadata, spec: Spec, status: Status) -> Option<v1::facts::Kind> {
    Some(v1::facts::Kind::Job(v1::JobFacts {
        parallelism: spec.parallelism.unwrap_or(1),
        completions: spec.completions,
        backoff_limit: spec.backoff_limit.unwrap_or(BACKOFF_LIMIT),
        active_deadline_s: spec.active_deadline_seconds,
        suspend: spec.suspend.unwrap_or_default(),
        template: template::facts(spec.template),
        active: status.active.unwrap_or_default(),
        ready: status.ready.unwrap_or_default(),
        succeeded: status.succeeded.unwrap_or_default(),
        failed: status.failed.unwrap_or_default(),
        started_at_unix_s: seconds(status.start_time),
        completed_at_unix_s: seconds(status.completion_time),
        conditions: condition::facts(status.conditions),
    }))
}

#[cfg(test)]
mod tests {
    use super::super::testing::project_yaml;
    use vitals_proto::{kind::Kind, v1};

    fn facts(yaml: &str) -> v1::JobFacts {
        match project_yaml(&Kind::Job, yaml).facts.kind {
            Some(v1::facts::Kind::Job(facts)) => facts,
            other => panic!("not a Job: {other:?}"),
        }
    }

    #[test]
    fn reads_what_gave_up() {
        let facts = facts(
            "metadata: {name: nightly-2311}
spec:
  backoffLimit: 2
  activeDeadlineSeconds: 600
  completions: 3
  parallelism: 0
  suspend: true
  template: {metadata: {labels: {app: nightly}}, spec: {restartPolicy: Never, containers: [{name: run, image: 'run:1'}]}}
status:
  failed: 3
  startTime: '2026-01-02T03:04:05Z'
  conditions: [{type: Failed, status: 'True', reason: BackoffLimitExceeded, message: Job has reached the specified backoff limit}]",
        );
        assert_eq!((facts.backoff_limit, facts.active_deadline_s), (2, Some(600)));
        assert_eq!((facts.completions, facts.parallelism, facts.suspend), (Some(3), 0, true));
        assert_eq!(facts.template.unwrap().labels["app"], "nightly");
        assert_eq!((facts.failed, facts.started_at_unix_s), (3, 1_767_323_045));
        assert_eq!(facts.completed_at_unix_s, 0);
        assert_eq!(facts.conditions[0].reason, "BackoffLimitExceeded");
    }

    #[test]
    fn a_manifest_has_the_defaults_of_the_api_server() {
        let facts = facts("metadata: {name: once}");
        assert_eq!((facts.parallelism, facts.backoff_limit), (1, 6));
        assert_eq!((facts.completions, facts.active_deadline_s), (None, None));
    }
}
