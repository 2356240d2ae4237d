//! Jobs: pods that run until so many have succeeded, or too many have failed.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::pods::{NewPod, PodView, set_counts};
use super::replica_set::as_number;
use crate::resource::JOBS;
use crate::store::Key;
use crate::value::{Condition, at, flag, is_true, number, rfc3339, set, set_condition, text, time};
use crate::world::events::{Happened, Tone};
use crate::world::queue::Controller;
use crate::world::write::{Deletion, is_deleted};
use crate::world::{World, seconds_later};

/// How a Job ended.
struct Ending {
    first: &'static str,
    then: &'static str,
    reason: &'static str,
    message: &'static str,
}

const COMPLETE: Ending = Ending {
    first: "SuccessCriteriaMet",
    then: "Complete",
    reason: "CompletionsReached",
    message: "Reached expected number of succeeded pods",
};

const TOO_OFTEN: Ending = Ending {
    first: "FailureTarget",
    then: "Failed",
    reason: "BackoffLimitExceeded",
    message: "Job has reached the specified backoff limit",
};

const TOO_LONG: Ending = Ending {
    first: "FailureTarget",
    then: "Failed",
    reason: "DeadlineExceeded",
    message: "Job was active longer than specified deadline",
};

impl World {
    pub(crate) fn sync_job(&mut self, key: &Key, now: Timestamp) {
        let Some(mut job) = self.store.read(JOBS, key) else { return };
        if is_deleted(&job) {
            return;
        }
        if is_true(&job, "Complete") || is_true(&job, "Failed") {
            self.expire_job(key, &job, now);
            return;
        }
        let pods = self.pods_of(&job);
        let count =
            |test: &dyn Fn(&PodView) -> bool| as_number(pods.iter().filter(|it| test(it)).count());
        let succeeded = count(&|pod| pod.phase == "Succeeded");
        let failed = count(&|pod| pod.phase == "Failed");
        let restarts: i64 = pods.iter().filter(|pod| pod.is_active()).map(|pod| pod.restarts).sum();
        let completions = number(&job, "/spec/completions").unwrap_or(1);
        let backoff_limit = number(&job, "/spec/backoffLimit").unwrap_or(6);
        if flag(&job, "/spec/suspend") {
            self.suspend_job(key, job, &pods, now);
            return;
        }
        if is_true(&job, "Suspended") {
            let resumed = Condition {
                r#type: "Suspended",
                status: false,
                reason: "JobResumed",
                message: "Job resumed",
            };
            set_condition(&mut job, &resumed, now);
        }
        if at(&job, "/status/startTime").is_null() {
            set(&mut job, &["status", "startTime"], rfc3339(now));
        }
        let deadline = number(&job, "/spec/activeDeadlineSeconds");
        let ends =
            deadline.zip(time(&job, "/status/startTime")).map(|(s, start)| seconds_later(start, s));
        let ending = if succeeded >= completions {
            Some(COMPLETE)
        } else if failed + restarts > backoff_limit {
            Some(TOO_OFTEN)
        } else {
            ends.filter(|at| *at <= now).map(|_| TOO_LONG)
        };
        let active: Vec<&PodView> = pods.iter().filter(|pod| pod.is_active()).collect();
        match &ending {
            Some(_) => active.iter().for_each(|pod| self.delete_pod(&pod.key, now)),
            None => {
                if let Some(at) = ends {
                    self.wake_at(at, Controller::Job, JOBS, key);
                }
                let parallel = number(&job, "/spec/parallelism").unwrap_or(1);
                let wanted = parallel.min(completions - succeeded);
                self.make_job_pods(&job, wanted - as_number(active.len()), now);
            }
        }
        self.write_job(key, job, (succeeded, failed), ending, now);
    }

    fn make_job_pods(&mut self, job: &Value, missing: i64, now: Timestamp) {
        let Some(described) = self.registry.get(JOBS).cloned() else { return };
        for _ in 0..missing {
            let template = at(job, "/spec/template");
            let new = NewPod { owner: job, owner_resource: &described, template, name: None };
            let Some(pod) = self.make_pod(new, |_| {}, now) else { return };
            let message = format!("Created pod: {}", pod.name);
            let source = "job-controller";
            self.tell(
                JOBS,
                job,
                Happened { tone: Tone::Normal, reason: "SuccessfulCreate", message, source },
                now,
            );
        }
    }

    fn suspend_job(&mut self, key: &Key, mut job: Value, pods: &[PodView], now: Timestamp) {
        pods.iter().filter(|pod| pod.is_active()).for_each(|pod| self.delete_pod(&pod.key, now));
        let suspended = Condition {
            r#type: "Suspended",
            status: true,
            reason: "JobSuspended",
            message: "Job suspended",
        };
        set_condition(&mut job, &suspended, now);
        crate::value::remove(&mut job, &["status", "startTime"]);
        set_counts(&mut job, [("active", 0)]);
        self.write_status(JOBS, key, job, now);
    }

    fn write_job(
        &mut self,
        key: &Key,
        mut job: Value,
        (succeeded, failed): (i64, i64),
        ending: Option<Ending>,
        now: Timestamp,
    ) {
        let pods = self.pods_of(&job);
        let active = as_number(pods.iter().filter(|pod| pod.is_active()).count());
        let ready = as_number(pods.iter().filter(|pod| pod.is_active() && pod.ready).count());
        let leaving = as_number(pods.iter().filter(|pod| pod.deleted && !pod.has_ended()).count());
        set_counts(&mut job, [("active", active), ("succeeded", succeeded), ("failed", failed)]);
        set(&mut job, &["status", "ready"], ready);
        set(&mut job, &["status", "terminating"], leaving);
        set(&mut job, &["status", "uncountedTerminatedPods"], json!({}));
        if let Some(Ending { first, then, reason, message }) = ending {
            for r#type in [first, then] {
                set_condition(&mut job, &Condition { r#type, status: true, reason, message }, now);
            }
            let failed = then == "Failed";
            if !failed {
                set(&mut job, &["status", "completionTime"], rfc3339(now));
            }
            let tone = if failed { Tone::Warning } else { Tone::Normal };
            let (reason, message) =
                if failed { (reason, message) } else { ("Completed", "Job completed") };
            let happened =
                Happened { tone, reason, message: message.to_owned(), source: "job-controller" };
            self.tell(JOBS, &job, happened, now);
        }
        self.write_status(JOBS, key, job, now);
    }

    fn expire_job(&mut self, key: &Key, job: &Value, now: Timestamp) {
        let Some(life) = number(job, "/spec/ttlSecondsAfterFinished") else { return };
        let ends = crate::value::items(job, "/status/conditions").iter();
        let ended = ends.filter(|it| ["Complete", "Failed"].contains(&text(it, "/type")));
        let Some(ended) = ended.filter_map(|it| time(it, "/lastTransitionTime")).next() else {
            return;
        };
        let at = seconds_later(ended, life);
        if at > now {
            self.wake_at(at, Controller::Job, JOBS, key);
        } else if let Some(resource) = self.registry.get(JOBS).cloned() {
            self.delete(&resource, key, &Deletion::default(), now).ok();
        }
    }
}
