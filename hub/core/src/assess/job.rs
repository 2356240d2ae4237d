//! Jobs, as Argo CD's `health_job.go`.

use vitals_proto::v1::{HealthStatus, JobFacts};

use super::{Assessment, Reason, condition};

/// By the status of a condition, not by its presence: a Job that was resumed keeps `Suspended`, as False.
pub(super) fn assess(facts: &JobFacts) -> Assessment {
    let holds = |r#type| {
        condition::find(&facts.conditions, r#type).filter(|condition| condition.status == "True")
    };
    if let Some(failed) = holds("Failed") {
        let (reason, what) = match failed.reason.as_str() {
            "BackoffLimitExceeded" => {
                (Reason::BackoffLimitExceeded, format!("the job gave up after {}", tries(facts)))
            }
            "DeadlineExceeded" => {
                (Reason::DeadlineExceeded, "the job did not end in time".to_owned())
            }
            _ => (Reason::JobFailed, "the job failed".to_owned()),
        };
        return Assessment::degraded(reason, format!("{what}: {}", condition::words(failed)));
    }
    // kstatus calls a Job current as soon as it has started.
    let settled = facts.started_at_unix_s != 0;
    if holds("Suspended").is_some() {
        let suspended = HealthStatus::Suspended;
        return Assessment::new(suspended, Reason::JobSuspended, "the job is suspended")
            .settled_if(settled);
    }
    if holds("Complete").is_some() {
        return Assessment::healthy("the job has done its work");
    }
    let message = match (facts.active, facts.failed) {
        (0, 0) => "the job has not begun yet".to_owned(),
        (_, 0) => "the job runs".to_owned(),
        (_, failed) => format!("the job runs, and has failed {}", times(failed)),
    };
    Assessment::progressing(Reason::JobRunning, message).settled_if(settled)
}

fn tries(facts: &JobFacts) -> String {
    match facts.failed {
        1 => "1 try".to_owned(),
        many => format!("{many} tries"),
    }
}

fn times(count: i32) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitals_proto::v1::{
        Condition,
        HealthStatus::{Degraded, Healthy, Progressing, Suspended},
    };

    fn condition(r#type: &str, status: &str, reason: &str, message: &str) -> Vec<Condition> {
        let [r#type, status, reason, message] =
            [r#type, status, reason, message].map(str::to_owned);
        vec![Condition { r#type, status, reason, message, ..Condition::default() }]
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table, some lines a case")]
    fn rule() {
        let started = JobFacts { started_at_unix_s: 1, ..Default::default() };
        let gave_up = "Job has reached the specified backoff limit";
        for (case, facts, status, reason, settled, message) in [
            (
                "new",
                JobFacts::default(),
                Progressing,
                Reason::JobRunning,
                false,
                "the job has not begun yet",
            ),
            (
                "runs",
                JobFacts { active: 1, ..started.clone() },
                Progressing,
                Reason::JobRunning,
                true,
                "the job runs",
            ),
            (
                "tries again",
                JobFacts { active: 1, failed: 2, ..started.clone() },
                Progressing,
                Reason::JobRunning,
                true,
                "the job runs, and has failed 2 times",
            ),
            (
                "succeeded after failures",
                JobFacts {
                    failed: 2,
                    conditions: condition("Complete", "True", "", ""),
                    ..started.clone()
                },
                Healthy,
                Reason::None,
                true,
                "the job has done its work",
            ),
            (
                "gave up",
                JobFacts {
                    failed: 3,
                    conditions: condition("Failed", "True", "BackoffLimitExceeded", gave_up),
                    ..started.clone()
                },
                Degraded,
                Reason::BackoffLimitExceeded,
                false,
                "the job gave up after 3 tries: Job has reached the specified backoff limit",
            ),
            (
                "too late",
                JobFacts {
                    conditions: condition("Failed", "True", "DeadlineExceeded", ""),
                    ..started.clone()
                },
                Degraded,
                Reason::DeadlineExceeded,
                false,
                "the job did not end in time: DeadlineExceeded",
            ),
            (
                "another reason",
                JobFacts {
                    conditions: condition("Failed", "True", "PodFailurePolicy", "exit 42."),
                    ..started.clone()
                },
                Degraded,
                Reason::JobFailed,
                false,
                "the job failed: exit 42",
            ),
            (
                "failed no more",
                JobFacts {
                    active: 1,
                    conditions: condition("Failed", "False", "", ""),
                    ..started.clone()
                },
                Progressing,
                Reason::JobRunning,
                true,
                "the job runs",
            ),
            (
                "suspended",
                JobFacts {
                    conditions: condition("Suspended", "True", "JobSuspended", ""),
                    ..Default::default()
                },
                Suspended,
                Reason::JobSuspended,
                false,
                "the job is suspended",
            ),
        ] {
            let got = assess(&facts);
            assert_eq!(
                (got.status, got.reason, got.settled, got.message.as_ref()),
                (status, reason, settled, message),
                "{case}"
            );
        }
    }
}
