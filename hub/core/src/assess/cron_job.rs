//! CronJobs, as Argo CD's `CronJob/health.lua`. Which of its Jobs failed is the business of [`crate::rollup`].

use vitals_proto::v1::CronJobFacts;

use super::{Assessment, Reason};

/// A suspended one is as somebody wants it, which is said and not bad. kstatus calls any CronJob current.
pub(super) fn assess(facts: &CronJobFacts) -> Assessment {
    let (scheduled, succeeded) = (facts.last_scheduled_at_unix_s, facts.last_succeeded_at_unix_s);
    let verdict = if facts.suspend {
        Assessment::healthy("suspended")
    } else if !facts.has_status {
        Assessment::progressing(Reason::NotRunYet, "it has not run yet")
    } else if facts.active > 0 {
        Assessment::healthy("it runs now")
    } else if succeeded == 0 {
        Assessment::healthy("no run has succeeded yet")
    } else if succeeded < scheduled {
        Assessment::degraded(Reason::RunFailed, "its last run did not succeed")
    } else {
        Assessment::healthy("its last run succeeded")
    };
    verdict.settled_if(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitals_proto::v1::HealthStatus::{Degraded, Healthy, Progressing};

    #[test]
    fn rule() {
        let well = CronJobFacts {
            has_status: true,
            last_scheduled_at_unix_s: 10,
            last_succeeded_at_unix_s: 20,
            ..Default::default()
        };
        let failed = CronJobFacts { last_scheduled_at_unix_s: 30, ..well.clone() };
        let never = CronJobFacts { last_succeeded_at_unix_s: 0, ..failed.clone() };
        for (case, facts, status, reason, message) in [
            ("well", well, Healthy, Reason::None, "its last run succeeded"),
            ("failed", failed.clone(), Degraded, Reason::RunFailed, "its last run did not succeed"),
            (
                "tries again",
                CronJobFacts { active: 1, ..failed.clone() },
                Healthy,
                Reason::None,
                "it runs now",
            ),
            (
                "suspended",
                CronJobFacts { suspend: true, ..failed },
                Healthy,
                Reason::None,
                "suspended",
            ),
            ("never", never, Healthy, Reason::None, "no run has succeeded yet"),
            ("new", CronJobFacts::default(), Progressing, Reason::NotRunYet, "it has not run yet"),
        ] {
            let got = assess(&facts);
            assert_eq!(
                (got.status, got.reason, got.message.as_ref()),
                (status, reason, message),
                "{case}"
            );
            assert!(got.settled, "{case}");
        }
    }
}
