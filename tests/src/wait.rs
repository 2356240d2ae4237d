//! Waiting is awaiting a condition under a deadline. Nothing here or in a test sleeps and hopes.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use tokio::time::Instant;

/// What is asked again rests this long at first, then longer, up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// Asks `probe` again until it answers `Some`, for at most `deadline`.
///
/// An error of `probe` counts as "not yet", since servers that start or restart refuse; the last one is
/// part of the error when the time is over. `what` completes "waited 5 s for …".
pub async fn wait_for<T>(
    what: &str,
    deadline: Duration,
    mut probe: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let end = Instant::now() + deadline;
    let mut pause = PAUSE_MIN;
    let mut last: Option<anyhow::Error> = None;
    loop {
        match tokio::time::timeout_at(end, probe()).await {
            Ok(Ok(Some(found))) => return Ok(found),
            Ok(Ok(None)) => last = None,
            Ok(Err(error)) => last = Some(error),
            Err(_) if last.is_none() => last = Some(anyhow!("the last question was not answered")),
            Err(_) => {}
        }
        if Instant::now() + pause >= end {
            let waited = format!("waited {} s for {what}", deadline.as_secs_f32());
            return Err(last.unwrap_or_else(|| anyhow!("it did not come about"))).context(waited);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}
