//! CronJobs: a Job at each time of a schedule.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::schedule::Schedule;
use crate::resource::{CRON_JOBS, JOBS};
use crate::store::{Entry, Key, Uid, owner_reference};
use crate::value::{at, flag, is_true, number, rfc3339, set, text, time};
use crate::world::World;
use crate::world::events::{Happened, Tone};
use crate::world::queue::Controller;
use crate::world::write::{Deletion, is_deleted};

impl World {
    pub(crate) fn sync_cron_job(&mut self, key: &Key, now: Timestamp) {
        let Some(cron_job) = self.store.read(CRON_JOBS, key) else { return };
        if is_deleted(&cron_job) {
            return;
        }
        let jobs = self.jobs_of(&cron_job);
        if !flag(&cron_job, "/spec/suspend")
            && let Some(schedule) = Schedule::parse(text(&cron_job, "/spec/schedule"))
        {
            let last = time(&cron_job, "/status/lastScheduleTime");
            let last =
                last.or_else(|| time(&cron_job, "/metadata/creationTimestamp")).unwrap_or(now);
            match schedule.after(last) {
                Some(due) if due <= now => self.run_cron_job(key, &cron_job, &jobs, now),
                Some(due) => self.wake_at(due, Controller::CronJob, CRON_JOBS, key),
                None => {}
            }
        }
        self.forget_jobs(&cron_job, &jobs, now);
        self.write_cron_status(key, now);
    }

    fn jobs_of(&self, cron_job: &Value) -> Vec<(Key, Value)> {
        let uid = Uid::parse(text(cron_job, "/metadata/uid"));
        let owned = uid.map(|uid| self.store.dependents(uid, JOBS)).unwrap_or_default();
        let jobs = owned.iter().map(|it: &std::sync::Arc<Entry>| (it.key().clone(), it.value()));
        let mut jobs: Vec<_> = jobs.collect();
        jobs.sort_by_key(|(key, job)| (time(job, "/metadata/creationTimestamp"), key.clone()));
        jobs
    }

    fn run_cron_job(&mut self, key: &Key, cron_job: &Value, jobs: &[(Key, Value)], now: Timestamp) {
        let running: Vec<&Key> =
            jobs.iter().filter(|(_, job)| !has_ended(job)).map(|(key, _)| key).collect();
        let policy = text(cron_job, "/spec/concurrencyPolicy");
        if let Some(mut object) = self.store.read(CRON_JOBS, key) {
            set(&mut object, &["status", "lastScheduleTime"], rfc3339(now));
            self.write_status(CRON_JOBS, key, object, now);
        }
        if policy == "Forbid" && !running.is_empty() {
            return;
        }
        if policy == "Replace" {
            let resource = self.registry.get(JOBS).cloned();
            for (job, resource) in running.into_iter().zip(resource.into_iter().cycle()) {
                self.delete(&resource, job, &Deletion::default(), now).ok();
            }
        }
        let name = format!("{}-{}", key.name, now.as_second() / 60);
        let template = at(cron_job, "/spec/jobTemplate");
        let mut job = json!({
            "metadata": { "labels": at(template, "/metadata/labels") }, "spec": at(template, "/spec"),
        });
        set(&mut job, &["metadata", "name"], name.as_str());
        let references =
            owner_reference("batch/v1", "CronJob", &key.name, text(cron_job, "/metadata/uid"));
        set(&mut job, &["metadata", "ownerReferences"], references);
        set(
            &mut job,
            &["metadata", "annotations", "batch.kubernetes.io/cronjob-scheduled-timestamp"],
            rfc3339(now),
        );
        if self.make(JOBS, &key.namespace, job, now).is_some() {
            let message = format!("Created job {name}");
            let source = "cronjob-controller";
            self.tell(
                CRON_JOBS,
                cron_job,
                Happened { tone: Tone::Normal, reason: "SuccessfulCreate", message, source },
                now,
            );
        }
    }

    fn forget_jobs(&mut self, cron_job: &Value, jobs: &[(Key, Value)], now: Timestamp) {
        let Some(resource) = self.registry.get(JOBS).cloned() else { return };
        for (ending, limit, usual) in [
            ("Complete", "/spec/successfulJobsHistoryLimit", 3),
            ("Failed", "/spec/failedJobsHistoryLimit", 1),
        ] {
            let limit =
                usize::try_from(number(cron_job, limit).unwrap_or(usual)).unwrap_or_default();
            let ended: Vec<&Key> =
                jobs.iter().filter(|(_, job)| is_true(job, ending)).map(|(key, _)| key).collect();
            for key in ended.iter().take(ended.len().saturating_sub(limit)) {
                self.delete(&resource, key, &Deletion::default(), now).ok();
            }
        }
    }

    fn write_cron_status(&mut self, key: &Key, now: Timestamp) {
        let Some(mut object) = self.store.read(CRON_JOBS, key) else { return };
        let jobs = self.jobs_of(&object);
        let active: Vec<Value> = jobs
            .iter()
            .filter(|(_, job)| !has_ended(job))
            .map(|(key, job)| {
                json!({
                    "apiVersion": "batch/v1", "kind": "Job", "name": &*key.name, "namespace": &*key.namespace,
                    "uid": text(job, "/metadata/uid"), "resourceVersion": text(job, "/metadata/resourceVersion"),
                })
            })
            .collect();
        if active.is_empty() {
            crate::value::remove(&mut object, &["status", "active"]);
        } else {
            set(&mut object, &["status", "active"], active);
        }
        let succeeded =
            jobs.iter().filter_map(|(_, job)| time(job, "/status/completionTime")).max();
        let known = time(&object, "/status/lastSuccessfulTime");
        if let Some(time) = succeeded.max(known) {
            set(&mut object, &["status", "lastSuccessfulTime"], rfc3339(time));
        }
        self.write_status(CRON_JOBS, key, object, now);
    }
}

fn has_ended(job: &Value) -> bool {
    is_true(job, "Complete") || is_true(job, "Failed")
}
