//! Tells a person who waits. Written straight to standard error: libtest captures only `eprintln!`, and a
//! first build that says nothing for minutes looks like a hang.

use std::io::Write as _;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::time::Instant;

/// How often the elapsed time is said.
const INTERVAL: Duration = Duration::from_secs(15);

/// Writes one line.
pub fn say(line: &str) {
    // If standard error is closed, nobody waits for this.
    writeln!(std::io::stderr(), "testbed: {line}").ok();
}

/// Says every [`INTERVAL`] how long something has taken, until it is dropped.
pub(crate) struct Progress {
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// `seconds` is how long it took where it was measured.
    pub(crate) fn begin(what: &str, seconds: u64) -> Self {
        say(&format!("building {what}, about {} the first time", duration(seconds)));
        let (stop, stopped) = sync_channel::<()>(0);
        let (what, begin) = (what.to_owned(), Instant::now());
        let thread = std::thread::spawn(move || {
            while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                let elapsed = duration(begin.elapsed().as_secs());
                say(&format!("building {what}: {elapsed} of about {}", duration(seconds)));
            }
            say(&format!("building {what} ended after {}", duration(begin.elapsed().as_secs())));
        });
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

fn duration(seconds: u64) -> String {
    match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds} s"),
        (minutes, seconds) => format!("{minutes} min {seconds:02} s"),
    }
}
