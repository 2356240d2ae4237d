//! `pods/log`: the last lines, and what follows.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures::stream;
use jiff::Timestamp;

use super::Shared;
use super::route::{Params, Target};
use crate::logs::{Line, Run};
use crate::refusal::Refusal;
use crate::resource::PODS;
use crate::store::{Key, Uid};
use crate::value::rfc3339_micro;
use crate::world::seconds_later;

/// How often a followed log is looked at.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(200);

/// A log that is read.
struct Log {
    shared: Arc<Shared>,
    key: Key,
    uid: Uid,
    container: Option<String>,
    timestamps: bool,
    /// Up to when it was read.
    read: Option<Timestamp>,
    started: Timestamp,
    waiting: VecDeque<Line>,
    follow: bool,
    over: bool,
}

/// The body of the answer.
pub(crate) fn body(
    shared: &Arc<Shared>,
    target: &Target,
    params: &Params,
) -> Result<Body, Refusal> {
    let name = target.name.clone().unwrap_or_default();
    let key = Key::new(target.namespace.as_deref().unwrap_or_default(), &name);
    let container = params.text("container").map(str::to_owned);
    let previous = params.flag("previous");
    let (uid, run, now) = shared.read(|world, now| {
        let entry =
            world.store.entry(PODS, &key).ok_or_else(|| Refusal::not_found("pods", &name))?;
        let run = Run::of(&entry.value(), container.as_deref(), previous)?;
        Ok((entry.uid(), run, now))
    })?;
    let since_seconds = params.number("sinceSeconds")?.and_then(|it| i64::try_from(it).ok());
    let since_time = params.text("sinceTime").and_then(|it| it.parse::<Timestamp>().ok());
    let since = since_seconds.map(|seconds| seconds_later(now, -seconds)).or(since_time);
    let mut lines = run.lines(since, now);
    if let Some(tail) = params.number("tailLines")? {
        let tail = usize::try_from(tail).unwrap_or(usize::MAX);
        lines.drain(..lines.len().saturating_sub(tail));
    }
    if let Some(bytes) = params.number("limitBytes")? {
        limit(&mut lines, usize::try_from(bytes).unwrap_or(usize::MAX));
    }
    let log = Log {
        shared: Arc::clone(shared),
        key,
        uid,
        container,
        timestamps: params.flag("timestamps"),
        read: Some(now),
        started: run.started,
        waiting: lines.into(),
        follow: params.flag("follow") && !previous,
        over: run.ended.is_some(),
    };
    Ok(Body::from_stream(stream::unfold(log, |mut log| async move {
        let piece = log.next().await?;
        Some((Ok::<_, io::Error>(piece), log))
    })))
}

/// Cuts after so many bytes.
fn limit(lines: &mut Vec<Line>, bytes: usize) {
    let mut left = bytes;
    lines.retain_mut(|line| {
        if left == 0 {
            return false;
        }
        line.text.truncate(left);
        left = left.saturating_sub(line.text.len() + 1);
        true
    });
}

impl Log {
    async fn next(&mut self) -> Option<Bytes> {
        let cutting = self.shared.cutting();
        loop {
            if !self.waiting.is_empty() {
                return Some(self.written());
            }
            if !self.follow || self.over {
                return None;
            }
            tokio::select! {
                () = self.shared.stopping.cancelled() => return None,
                () = cutting.cancelled() => return None,
                () = tokio::time::sleep(FOLLOW_INTERVAL) => self.look(),
            }
        }
    }

    /// What was written since; the log is over when the container has ended, or the pod is gone.
    fn look(&mut self) {
        let Self { key, uid, container, .. } = &*self;
        let shared = Arc::clone(&self.shared);
        let (run, now) = shared.read(|world, now| {
            let entry = world.store.entry(PODS, key).filter(|it| it.uid() == *uid);
            let pod = entry.map(|it| it.value());
            let present =
                pod.as_ref().and_then(|pod| Run::of(pod, container.as_deref(), false).ok());
            let same = present.filter(|it| it.started == self.started);
            let last =
                || pod.as_ref().and_then(|pod| Run::of(pod, container.as_deref(), true).ok());
            (same.or_else(|| last().filter(|it| it.started == self.started)), now)
        });
        match run {
            Some(run) => {
                self.waiting.extend(run.lines(self.read, now));
                self.over = run.ended.is_some();
            }
            None => self.over = true,
        }
        self.read = Some(now);
    }

    fn written(&mut self) -> Bytes {
        let mut text = String::new();
        for Line { at, text: line } in self.waiting.drain(..) {
            if self.timestamps {
                text += &format!("{} ", rfc3339_micro(at));
            }
            text += &line;
            text.push('\n');
        }
        Bytes::from(text)
    }
}
