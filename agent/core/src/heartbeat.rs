//! When the agent speaks of itself, and what the API server's probe found.
//!
//! A heartbeat is due every 5 s, and sooner after a kind or the API server changed its state. It never waits behind objects,
//! only for the one before it: its subject has one message in flight, as any other.

use vitals_proto::{limits::HEARTBEAT_INTERVAL, v1};

use crate::input::{Now, Probe};

/// Least time between two heartbeats, however much changes. Milliseconds.
const SPACING_MIN_MS: u64 = 1_000;

/// What a heartbeat is sent early for when it changes. Asked for at every hand-over, hence a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gist(u64);

impl Gist {
    pub(crate) fn of(kinds: impl Iterator<Item = v1::KindState>, reachable: bool) -> Self {
        Self(kinds.fold(u64::from(reachable), |gist, state| {
            gist.wrapping_mul(31).wrapping_add(u64::from(i32::from(state).unsigned_abs()))
        }))
    }
}

#[derive(Debug, Default)]
pub(crate) struct Pulse {
    /// When the last one was handed over, in this epoch. Milliseconds, monotonic.
    last_at_ms: Option<u64>,
    said: Gist,
    in_flight: Option<u32>,
    serial: u32,
}

impl Pulse {
    /// A new epoch speaks at once.
    pub(crate) fn renew(&mut self) {
        self.last_at_ms = None;
    }

    /// Whether one is due; `gist` is asked for only where it matters.
    pub(crate) fn is_due(&self, now: Now, gist: impl FnOnce() -> Gist) -> bool {
        if self.in_flight.is_some() {
            return false;
        }
        let Some(last_at_ms) = self.last_at_ms else { return true };
        let since = now.monotonic_ms.saturating_sub(last_at_ms);
        since >= interval_ms() || since >= SPACING_MIN_MS && gist() != self.said
    }

    /// When to ask again, unless something is settled before. Milliseconds, monotonic.
    pub(crate) fn due_at(&self, gist: impl FnOnce() -> Gist) -> Option<u64> {
        let last_at_ms = self.last_at_ms.unwrap_or_default();
        let wait = if gist() == self.said { interval_ms() } else { SPACING_MIN_MS };
        self.in_flight.is_none().then(|| last_at_ms.saturating_add(wait))
    }

    /// It is handed over. Gives its serial.
    pub(crate) fn hand_over(&mut self, now: Now, said: Gist) -> u32 {
        self.serial = self.serial.wrapping_add(1);
        self.last_at_ms = Some(now.monotonic_ms);
        self.said = said;
        self.in_flight = Some(self.serial);
        self.serial
    }

    /// Whatever became of it: the next one says more.
    pub(crate) fn settle(&mut self, serial: u32) {
        if self.in_flight == Some(serial) {
            self.in_flight = None;
        }
    }
}

fn interval_ms() -> u64 {
    u64::try_from(HEARTBEAT_INTERVAL.as_millis()).unwrap_or(u64::MAX)
}

/// What is known of the API server.
#[derive(Clone, Debug, Default)]
pub(crate) struct ApiServer {
    /// Of the last probe; `None` while it was never heard.
    outcome: Option<Result<(), String>>,
    since_unix_ms: i64,
    version: String,
    pub(crate) clock_offset_ms: Option<i64>,
}

impl ApiServer {
    pub(crate) fn take(&mut self, probe: Probe, now: Now) {
        let Probe { outcome, clock_offset_ms, version } = probe;
        if self.outcome.as_ref().map(Result::is_ok) != Some(outcome.is_ok()) {
            self.since_unix_ms = now.unix_ms;
        }
        self.outcome = Some(outcome);
        self.clock_offset_ms = clock_offset_ms.or(self.clock_offset_ms);
        self.version = version.unwrap_or(std::mem::take(&mut self.version));
    }

    /// It has just answered: until the first probe it counts as reachable, or each start would be an outage.
    pub(crate) fn answered(&mut self, now: Now) {
        if self.outcome.is_none() {
            self.outcome = Some(Ok(()));
            self.since_unix_ms = now.unix_ms;
        }
    }

    pub(crate) fn is_reachable(&self) -> bool {
        matches!(self.outcome, Some(Ok(())))
    }

    pub(crate) fn report(&self) -> v1::ApiServerReport {
        let error = match &self.outcome {
            None => "not probed yet".to_owned(),
            Some(Ok(())) => String::new(),
            Some(Err(error)) => error.clone(),
        };
        v1::ApiServerReport {
            reachable: self.is_reachable(),
            since_unix_ms: self.since_unix_ms,
            error,
            version: self.version.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(monotonic_ms: u64) -> Now {
        Now { unix_ms: 0, monotonic_ms }
    }

    #[test]
    fn due_every_interval_sooner_after_a_change_and_one_at_a_time() {
        let (calm, changed) = (Gist(0), Gist(1));
        let mut pulse = Pulse::default();
        assert!(pulse.is_due(at(0), || calm), "the first at once");
        let serial = pulse.hand_over(at(0), calm);
        assert!(!pulse.is_due(at(60_000), || calm), "one in flight");
        pulse.settle(serial);
        for (case, now_ms, gist, want) in [
            ("calm", 4_999, &calm, false),
            ("calm, later", 5_000, &calm, true),
            ("changed", 999, &changed, false),
            ("changed, later", 1_000, &changed, true),
        ] {
            assert_eq!(pulse.is_due(at(now_ms), || *gist), want, "{case}");
            assert_eq!(pulse.due_at(|| *gist).unwrap() <= now_ms, want, "{case}");
        }
        pulse.renew();
        assert!(pulse.is_due(at(1), || calm), "a new epoch at once");
    }

    #[test]
    fn who_answered_is_reachable_until_a_probe_fails() {
        let at = |unix_ms| Now { unix_ms, monotonic_ms: 0 };
        let broken = Probe { outcome: Err("cut".into()), clock_offset_ms: None, version: None };
        let mut server = ApiServer::default();
        assert_eq!(server.report().error, "not probed yet");
        server.answered(at(7));
        let report = server.report();
        assert_eq!((report.reachable, report.since_unix_ms, &*report.error), (true, 7, ""));
        server.take(broken, at(8));
        server.answered(at(9));
        let report = server.report();
        assert_eq!((report.reachable, report.since_unix_ms, &*report.error), (false, 8, "cut"));
    }

    #[test]
    fn reachability_keeps_its_since_until_it_changes() {
        let mut server = ApiServer::default();
        let fine = Probe { outcome: Ok(()), clock_offset_ms: Some(3), version: Some("v1".into()) };
        let broken = Probe { outcome: Err("cut".into()), clock_offset_ms: None, version: None };
        for (probe, unix_ms, want) in [
            (&fine, 1, (true, 1, "")),
            (&fine, 2, (true, 1, "")),
            (&broken, 3, (false, 3, "cut")),
            (&broken, 4, (false, 3, "cut")),
            (&fine, 5, (true, 5, "")),
        ] {
            server.take(probe.clone(), Now { unix_ms, monotonic_ms: 0 });
            let report = server.report();
            assert_eq!((report.reachable, report.since_unix_ms, &*report.error), want);
            assert_eq!((&*report.version, server.clock_offset_ms), ("v1", Some(3)));
        }
    }
}
