//! Jobs and CronJobs: a run that failed counts until a later one succeeded.

use std::borrow::Cow;

use vitals_proto::{kind::Kind, v1::HealthStatus};

use super::{Tally, top_workload};
use crate::{
    assess::Reason,
    graph::{
        Graph, ObjectId,
        object::{Object, Vital},
    },
};

impl Tally {
    /// One that has not run yet waits for its time, and no entity with it.
    pub(super) fn add_cron_job(&mut self, id: ObjectId, object: &Object) {
        self.judged += 1;
        self.schedules.push(id);
        let assessment = &object.assessment;
        if assessment.reason == Reason::NotRunYet {
            return;
        }
        self.workload.add(assessment.status, assessment.reason);
        self.add_assessment(id, Some(id), object);
    }

    /// What runs is no rollout: nothing waits for it that would not say so.
    pub(super) fn add_job(&mut self, graph: &Graph, id: ObjectId, object: &Object) {
        self.judged += 1;
        let assessment = &object.assessment;
        let counts = match assessment.status {
            HealthStatus::Unknown => true,
            HealthStatus::Degraded => !is_superseded(graph, id, object),
            HealthStatus::Healthy
            | HealthStatus::Suspended
            | HealthStatus::Progressing
            | HealthStatus::Missing
            | HealthStatus::Unspecified => false,
        };
        if !counts {
            return self.workload.add(HealthStatus::Healthy, Reason::None);
        }
        self.workload.add(assessment.status, assessment.reason);
        let top = top_workload(graph, id);
        let message = match top {
            Some(_) => Cow::Owned(format!("{}: {}", object.key.name(), assessment.message)),
            None => assessment.message.clone(),
        };
        self.find(assessment.status, assessment.reason, id, top.or(Some(id)), message);
    }
}

/// A later run succeeded; or nobody can say, since what makes the runs is not held, or is none of ours.
fn is_superseded(graph: &Graph, id: ObjectId, job: &Object) -> bool {
    let Some(owner) = graph.controller(id) else { return job.controller().is_some() };
    let Some(Vital::Schedule(succeeded_at)) = graph.get(owner).map(|it| &it.vital) else {
        return true;
    };
    let is_later = |it: &Object| {
        matches!(it.key.kind(), Kind::Job)
            && it.assessment.status == HealthStatus::Healthy
            && it.created_at > job.created_at
    };
    *succeeded_at > job.created_at
        || graph.controlled(owner).filter_map(|it| graph.get(it)).any(is_later)
}
