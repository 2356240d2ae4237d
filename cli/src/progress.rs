//! Says that something takes long, and how long it has taken: on standard error, after two seconds.
//!
//! On a terminal one line that is written over and goes at the end; elsewhere a line every ten seconds.

use std::cell::Cell;
use std::io::Write as _;
use std::time::Duration;

use tokio::time::{Instant, interval_at};

use crate::output::Output;

/// What is shorter needs no word.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often the line on a terminal is written anew.
const TERMINAL_INTERVAL: Duration = Duration::from_secs(1);

/// How often a line is written elsewhere.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// What work of several steps is at.
#[derive(Debug)]
pub struct Step<'a>(Cell<&'a str>);

impl<'a> Step<'a> {
    /// The first.
    #[must_use]
    pub fn new(what: &'a str) -> Self {
        Self(Cell::new(what))
    }

    /// The next.
    pub fn set(&self, what: &'a str) {
        self.0.set(what);
    }
}

/// Awaits `work`, and says `what` it is where it takes long: `asking the hub`.
pub async fn during<T>(output: &mut Output, what: &str, work: impl Future<Output = T>) -> T {
    during_steps(output, &Step::new(what), work).await
}

/// As [`during`], of work that says itself what it is at: it sets `step`.
pub async fn during_steps<T>(
    output: &mut Output,
    step: &Step<'_>,
    work: impl Future<Output = T>,
) -> T {
    let begin = Instant::now();
    let interval = if output.progress_on_terminal { TERMINAL_INTERVAL } else { LINE_INTERVAL };
    let mut ticks = interval_at(begin + PATIENCE, interval);
    let mut work = std::pin::pin!(work);
    let mut line = Line { output, is_there: false };
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            _ = ticks.tick() => {
                line.write(&format!("{}, {} s …", step.0.get(), begin.elapsed().as_secs()));
            }
        }
    }
}

/// The line on a terminal. Dropped it goes, also where nobody waits for the work any more.
struct Line<'a> {
    output: &'a mut Output,
    is_there: bool,
}

impl Line<'_> {
    fn write(&mut self, text: &str) {
        if !self.output.progress_on_terminal {
            self.output.note(text);
            return;
        }
        self.is_there = true;
        // Where standard error is closed, nobody misses it.
        write!(self.output.notes, "\r\x1b[K{text}").ok();
        self.output.notes.flush().ok();
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        if self.is_there {
            self.output.notes.write_all(b"\r\x1b[K").ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Format;
    use crate::output::testing;

    #[tokio::test(start_paused = true)]
    async fn speaks_only_of_what_takes_long() {
        let (mut output, _, notes) = testing::output(Format::Table);
        during(&mut output, "asking the hub", tokio::time::sleep(Duration::from_millis(1_900)))
            .await;
        assert_eq!(notes.text(), "");
        during(&mut output, "asking the hub", tokio::time::sleep(Duration::from_secs(13))).await;
        assert_eq!(notes.text(), "asking the hub, 2 s …\nasking the hub, 12 s …\n");
    }

    #[tokio::test(start_paused = true)]
    async fn work_says_itself_what_it_is_at() {
        let (mut output, _, notes) = testing::output(Format::Table);
        let step = Step::new("looking");
        let work = async {
            tokio::time::sleep(Duration::from_secs(11)).await;
            step.set("fetching");
            tokio::time::sleep(Duration::from_secs(2)).await;
        };
        during_steps(&mut output, &step, work).await;
        assert_eq!(notes.text(), "looking, 2 s …\nfetching, 12 s …\n");
    }

    #[tokio::test(start_paused = true)]
    async fn the_line_on_a_terminal_goes_at_the_end() {
        let (mut output, _, notes) = testing::output(Format::Table);
        output.progress_on_terminal = true;
        during(&mut output, "asking", tokio::time::sleep(Duration::from_millis(3_500))).await;
        assert_eq!(notes.text(), "\r\x1b[Kasking, 2 s …\r\x1b[Kasking, 3 s …\r\x1b[K");
    }

    #[tokio::test(start_paused = true)]
    async fn the_line_on_a_terminal_goes_when_nobody_waits_any_more() {
        let (mut output, _, notes) = testing::output(Format::Table);
        output.progress_on_terminal = true;
        let work = during(&mut output, "asking", std::future::pending::<()>());
        tokio::time::timeout(Duration::from_millis(2_500), work).await.unwrap_err();
        assert_eq!(notes.text(), "\r\x1b[Kasking, 2 s …\r\x1b[K");
    }
}
