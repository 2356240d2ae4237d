//! Says that something takes long, and how long it has taken: on standard error, after two seconds.
//!
//! On a terminal one line that is written over and goes at the end; elsewhere a line every ten seconds.

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

/// Awaits `work`, and says `what` it is where it takes long: `asking the hub`.
pub async fn during<T>(output: &mut Output, what: &str, work: impl Future<Output = T>) -> T {
    let begin = Instant::now();
    let interval = if output.progress_on_terminal { TERMINAL_INTERVAL } else { LINE_INTERVAL };
    let mut ticks = interval_at(begin + PATIENCE, interval);
    let mut work = std::pin::pin!(work);
    let mut has_spoken = false;
    loop {
        tokio::select! {
            biased;
            done = &mut work => {
                if has_spoken && output.progress_on_terminal {
                    output.notes.write_all(b"\r\x1b[K").ok();
                }
                return done;
            }
            _ = ticks.tick() => {
                let line = format!("{what}, {} s …", begin.elapsed().as_secs());
                if output.progress_on_terminal {
                    write!(output.notes, "\r\x1b[K{line}").ok();
                    output.notes.flush().ok();
                } else {
                    output.note(&line);
                }
                has_spoken = true;
            }
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
    async fn the_line_on_a_terminal_goes_at_the_end() {
        let (mut output, _, notes) = testing::output(Format::Table);
        output.progress_on_terminal = true;
        during(&mut output, "asking", tokio::time::sleep(Duration::from_millis(3_500))).await;
        assert_eq!(notes.text(), "\r\x1b[Kasking, 2 s …\r\x1b[Kasking, 3 s …\r\x1b[K");
    }
}
