//! How a pod (or a node, a claim, a scaler) is told to behave: by an annotation, which templates hand on to their pods.
//!
//! A word, and settings: `crash after=5s exit-code=3 restarts=2`. Who changes the annotation of a pod that runs changes how it
//! goes on.

use std::time::Duration;

use serde_json::Value;

use crate::value::at;

/// The annotation.
pub const ANNOTATION: &str = "simulator.vitals.dev/behaviour";

/// What an object does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum What {
    /// Starts, becomes ready, stays so.
    #[default]
    Run,
    /// Ends with an exit code some time after it started.
    Crash,
    /// Uses more memory than it may.
    OutOfMemory,
    /// Ends well: what a Job's pods do.
    Complete,
    /// Its image cannot be pulled.
    NoImage,
    /// What it takes its configuration from is not there.
    NoConfig,
    /// No node fits.
    Unschedulable,
    /// Runs, and is never ready.
    NeverReady,
    /// Its liveness probe fails some time after it started.
    NotLive,
    /// Of a node: it does not answer.
    NotReady,
    /// Of a scaler: there are no metrics.
    NoMetrics,
    /// The simulation leaves the object alone: its status is the client's to write.
    Manual,
}

/// Words as they are written.
const WORDS: [(&str, What); 12] = [
    ("run", What::Run),
    ("crash", What::Crash),
    ("oom", What::OutOfMemory),
    ("complete", What::Complete),
    ("image-pull-error", What::NoImage),
    ("config-error", What::NoConfig),
    ("unschedulable", What::Unschedulable),
    ("never-ready", What::NeverReady),
    ("not-live", What::NotLive),
    ("not-ready", What::NotReady),
    ("no-metrics", What::NoMetrics),
    ("manual", What::Manual),
];

/// What an object does, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Behaviour {
    pub(crate) what: What,
    /// How long after its start it happens.
    pub(crate) after: Option<Duration>,
    /// How long after its start it is ready.
    pub(crate) ready_after: Duration,
    pub(crate) exit_code: Option<i64>,
    /// After so many restarts all is well.
    pub(crate) restarts: Option<i64>,
    /// What is missing, such as `secret/payment-key`.
    pub(crate) missing: Option<String>,
    /// Whether somebody said something.
    pub(crate) is_told: bool,
}

impl Behaviour {
    /// Of an object. What cannot be read is as if it were not written: it is a test's own word.
    pub(crate) fn of(object: &Value) -> Self {
        let told = at(object, "/metadata/annotations").get(ANNOTATION).and_then(Value::as_str);
        told.map(Self::parse).unwrap_or_default()
    }

    fn parse(told: &str) -> Self {
        let mut words = told.split_whitespace();
        let word = words.next().unwrap_or_default();
        let what = WORDS.iter().find(|(it, _)| *it == word).map(|(_, what)| *what);
        let mut behaviour =
            Self { what: what.unwrap_or_default(), is_told: true, ..Self::default() };
        for (name, value) in words.filter_map(|word| word.split_once('=')) {
            match name {
                "after" => behaviour.after = duration(value),
                "ready-after" => behaviour.ready_after = duration(value).unwrap_or_default(),
                "exit-code" => behaviour.exit_code = value.parse().ok(),
                "restarts" => behaviour.restarts = value.parse().ok(),
                "missing" => behaviour.missing = Some(value.to_owned()),
                _ => {}
            }
        }
        behaviour
    }

    pub(crate) fn is_manual(&self) -> bool {
        self.what == What::Manual
    }
}

/// `1500ms`, `5s`, `2m`.
fn duration(text: &str) -> Option<Duration> {
    if let Some(number) = text.strip_suffix("ms") {
        return number.parse().ok().map(Duration::from_millis);
    }
    if let Some(number) = text.strip_suffix('m') {
        return number.parse::<u64>().ok().map(|it| Duration::from_secs(it * 60));
    }
    text.strip_suffix('s')?.parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_settings_are_read() {
        let read = Behaviour::parse("crash after=5s exit-code=3 restarts=2");
        let want = Behaviour {
            what: What::Crash,
            after: Some(Duration::from_secs(5)),
            exit_code: Some(3),
            restarts: Some(2),
            is_told: true,
            ..Behaviour::default()
        };
        assert_eq!(read, want);
        assert_eq!(
            Behaviour::parse("config-error missing=secret/key").missing.as_deref(),
            Some("secret/key")
        );
        assert_eq!(Behaviour::of(&serde_json::json!({})), Behaviour::default());
    }
}
