//! What containers log: a line now and then, and a last word when they fail. Nothing is kept: lines follow from the time. Pure.

use jiff::Timestamp;
use serde_json::Value;

use crate::refusal::Refusal;
use crate::value::{at, items, number, text, time};
use crate::world::seconds_later;

/// Seconds between two lines.
const LINE_INTERVAL_S: i64 = 2;

/// Most lines of one answer; the last ones are kept.
pub(crate) const LINES_MAX: usize = 10_000;

/// One run of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) started: Timestamp,
    /// When and how it ended.
    pub(crate) ended: Option<(Timestamp, String)>,
    seed: u64,
}

/// A line, and when it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) at: Timestamp,
    pub(crate) text: String,
}

impl Run {
    /// Of a container of a pod; the present one, or the one before.
    pub(crate) fn of(
        pod: &Value,
        container: Option<&str>,
        previous: bool,
    ) -> Result<Self, Refusal> {
        let name = text(pod, "/metadata/name");
        let specified: Vec<&str> =
            items(pod, "/spec/containers").iter().map(|it| text(it, "/name")).collect();
        let container = match (container, specified.as_slice()) {
            (Some(container), _) if specified.contains(&container) => container,
            (Some(container), _) => {
                return Err(Refusal::bad_request(format!(
                    "container {container} is not valid for pod {name}"
                )));
            }
            (None, [only]) => only,
            (None, _) => {
                let choice = specified.join(" ");
                return Err(Refusal::bad_request(format!(
                    "a container name must be specified for pod {name}, choose one of: [{choice}]"
                )));
            }
        };
        let statuses = items(pod, "/status/containerStatuses").iter();
        let status =
            statuses.clone().find(|it| text(it, "/name") == container).cloned().unwrap_or_default();
        let seed = xxhash_rust::xxh3::xxh3_64(
            format!("{}{container}", text(pod, "/metadata/uid")).as_bytes(),
        );
        let last = at(&status, "/lastState/terminated");
        let present = match time(&status, "/state/running/startedAt") {
            Some(started) => Some(Self { started, ended: None, seed }),
            None => Self::ended(at(&status, "/state/terminated"), seed),
        };
        if previous {
            let message = format!(
                "previous terminated container \"{container}\" in pod \"{name}\" not found"
            );
            return Self::ended(last, seed).ok_or_else(|| Refusal::bad_request(message));
        }
        // A container that waits to be started again still shows its last run.
        present.or_else(|| Self::ended(last, seed)).ok_or_else(|| {
            let reason = text(&status, "/state/waiting/reason");
            let reason = if reason.is_empty() { "ContainerCreating" } else { reason };
            Refusal::bad_request(format!(
                "container \"{container}\" in pod \"{name}\" is waiting to start: {reason}"
            ))
        })
    }

    fn ended(terminated: &Value, seed: u64) -> Option<Self> {
        let started = time(terminated, "/startedAt")?;
        let at = time(terminated, "/finishedAt")?;
        let code = number(terminated, "/exitCode").unwrap_or_default();
        let word = match (text(terminated, "/reason"), code) {
            ("OOMKilled", _) => "allocating 256 MiB for the cache".to_owned(),
            (_, 0) => "done".to_owned(),
            _ => format!("fatal: cannot reach upstream, giving up (exit code {code})"),
        };
        Some(Self { started, ended: Some((at, word)), seed })
    }

    /// What was written after a time, and not after another.
    pub(crate) fn lines(&self, after: Option<Timestamp>, until: Timestamp) -> Vec<Line> {
        let Self { started, ended, seed } = self;
        let end = ended.as_ref().map_or(until, |(at, _)| (*at).min(until));
        let is_new = |at: &Timestamp| after.is_none_or(|after| *at > after);
        let first =
            after.map_or(0, |after| (after.as_second() - started.as_second()) / LINE_INTERVAL_S);
        let mut lines = Vec::new();
        for number in first.max(0).. {
            let at = seconds_later(*started, number * LINE_INTERVAL_S);
            if at > end || at == Timestamp::MAX {
                break;
            }
            if is_new(&at) {
                lines.push(Line { at, text: regular(*seed, number) });
            }
            if lines.len() > LINES_MAX {
                lines.remove(0);
            }
        }
        if let Some((at, word)) = ended
            && *at <= until
            && is_new(at)
        {
            lines.push(Line { at: *at, text: word.clone() });
        }
        lines
    }
}

fn regular(seed: u64, number: i64) -> String {
    if number == 0 {
        return "listening on :8080".to_owned();
    }
    let hash = xxhash_rust::xxh3::xxh3_64(format!("{seed}{number}").as_bytes());
    let path = if hash & 1 == 0 { "/items" } else { "/health" };
    format!("GET {path} 200 {} ms", hash % 40 + 1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at_second(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000_000 + second).unwrap()
    }

    #[test]
    fn lines_go_on_where_they_were() {
        let run = Run { started: at_second(0), ended: None, seed: 1 };
        let all = run.lines(None, at_second(60));
        assert_eq!(all.len(), 31);
        let first = run.lines(None, at_second(20));
        let rest = run.lines(Some(first.last().unwrap().at), at_second(60));
        assert_eq!([first, rest].concat(), all);
    }

    #[test]
    fn the_run_before_is_kept() {
        let ended = json!({ "exitCode": 3, "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:05Z" });
        let pod = json!({
            "metadata": { "name": "p" },
            "spec": { "containers": [{ "name": "main" }] },
            "status": { "containerStatuses": [{
                "name": "main", "lastState": { "terminated": ended },
                "state": { "running": { "startedAt": "2026-01-01T00:00:06Z" } },
            }] },
        });
        let now = "2026-01-01T00:01:00Z".parse().unwrap();
        let last = Run::of(&pod, None, true).unwrap().lines(None, now);
        assert!(last.last().unwrap().text.ends_with("(exit code 3)"), "{last:?}");
        let present = Run::of(&pod, Some("main"), false).unwrap().lines(None, now);
        assert!(present.len() > 20 && !present.last().unwrap().text.contains("fatal"));
        assert_eq!(Run::of(&pod, Some("other"), false).unwrap_err().code, 400);
        assert_eq!(
            Run::of(&json!({ "spec": { "containers": [{ "name": "a" }] } }), None, false)
                .unwrap_err()
                .code,
            400
        );
    }
}
