//! CronJobs.

use serde::{Deserialize, de::IgnoredAny};
use vitals_proto::v1;

use super::{
    lenient::{List, Time, seconds},
    meta::Metadata,
    template::{self, Template},
};

/// Slim `batchv1.CronJobSpec`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    schedule: Option<String>,
    time_zone: Option<String>,
    suspend: Option<bool>,
    concurrency_policy: Option<String>,
    starting_deadline_seconds: Option<i64>,
    job_template: Option<JobTemplate>,
}

/// Slim `batchv1.JobTemplateSpec`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct JobTemplate {
    spec: Option<JobSpec>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct JobSpec {
    template: Option<Template>,
}

/// Slim `batchv1.CronJobStatus`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Status {
    active: List<IgnoredAny>,
    last_schedule_time: Option<Time>,
    last_successful_time: Option<Time>,
}

/// The facts of a CronJob.
pub(super) fn facts(_: &Metadata, spec: Spec, status: Status) -> Option<v1::facts::Kind> {
    let Status { active, last_schedule_time, last_successful_time } = status;
    let active = u32::try_from(active.0.len()).unwrap_or(u32::MAX);
    Some(v1::facts::Kind::CronJob(v1::CronJobFacts {
        schedule: spec.schedule.unwrap_or_default(),
        time_zone: spec.time_zone.unwrap_or_default(),
        suspend: spec.suspend.unwrap_or_default(),
        concurrency_policy: spec
            .concurrency_policy
            .filter(|policy| !policy.is_empty())
            .unwrap_or_else(|| "Allow".to_owned()),
        starting_deadline_s: spec.starting_deadline_seconds,
        template: template::facts(
            spec.job_template.unwrap_or_default().spec.unwrap_or_default().template,
        ),
        has_status: active > 0 || last_schedule_time.is_some() || last_successful_time.is_some(),
        active,
        last_scheduled_at_unix_s: seconds(last_schedule_time),
        last_succeeded_at_unix_s: seconds(last_successful_time),
    }))
}

#[cfg(test)]
mod tests {
    use super::super::testing::project_yaml;
    use vitals_proto::{kind::Kind, v1};

    fn facts(yaml: &str) -> v1::CronJobFacts {
        match project_yaml(&Kind::CronJob, yaml).facts.kind {
            Some(v1::facts::Kind::CronJob(facts)) => facts,
            other => panic!("not a CronJob: {other:?}"),
        }
    }

    #[test]
    fn reads_schedule_and_runs() {
        let facts = facts(
            "metadata: {name: nightly}
spec:
  schedule: '0 2 * * *'
  timeZone: Europe/Berlin
  suspend: true
  concurrencyPolicy: Forbid
  startingDeadlineSeconds: 200
  jobTemplate: {spec: {template: {metadata: {labels: {app: nightly}}, spec: {containers: [{name: run, image: 'run:1'}]}}}}
status:
  active: [{kind: Job, name: nightly-1, uid: u}]
  lastScheduleTime: '2026-01-02T02:00:00Z'
  lastSuccessfulTime: '2026-01-01T02:00:30Z'",
        );
        assert_eq!((&*facts.schedule, &*facts.time_zone), ("0 2 * * *", "Europe/Berlin"));
        assert_eq!((facts.suspend, &*facts.concurrency_policy), (true, "Forbid"));
        assert_eq!((facts.active, facts.starting_deadline_s), (1, Some(200)));
        let template = facts.template.unwrap();
        assert_eq!(
            (&*template.labels["app"], &*template.containers[0].image),
            ("nightly", "run:1")
        );
        assert_eq!(
            (facts.last_scheduled_at_unix_s, facts.last_succeeded_at_unix_s, facts.has_status),
            (1_767_319_200, 1_767_232_830, true)
        );
    }

    #[test]
    fn a_manifest_has_the_defaults_of_the_api_server() {
        let facts = facts("metadata: {name: nightly}\nstatus: {}");
        assert_eq!((&*facts.concurrency_policy, facts.has_status), ("Allow", false));
    }
}
