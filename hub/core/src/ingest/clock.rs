//! How far the clock of a cluster's API server is from the broker's.
//!
//! Objects carry times of the API server, and the hub lives by the broker's: a rule that asks how long something has lasted
//! compares the two. A heartbeat says how far its agent's clock is from the API server's, and when it was sent; the broker
//! says when it came.

use vitals_proto::v1;

use crate::time::Time;

/// So much is no difference: API servers say their time in whole seconds, and a heartbeat takes its way.
const NOISE_MS: u64 = 2_000;

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ClusterClock {
    ahead_ms: i64,
    last_ms: Option<i64>,
}

impl ClusterClock {
    /// How far ahead a heartbeat says that it is, which came at `at`.
    pub(crate) fn read(heartbeat: &v1::Heartbeat, at: Time) -> Option<i64> {
        let agent_ahead_ms = heartbeat.clock_offset_ms?;
        let sent_at_ms = Some(heartbeat.sent_at_unix_ms).filter(|sent_at| *sent_at != 0)?;
        Some(sent_at_ms.saturating_sub(at.unix_ms()).saturating_sub(agent_ahead_ms))
    }

    /// A heartbeat said so. Two in succession must agree: one may have waited for its connection.
    pub(crate) fn hear(&mut self, ahead_ms: i64) {
        let is_like = |other: i64| ahead_ms.abs_diff(other) <= NOISE_MS;
        let is_sure = self.last_ms.is_some_and(is_like);
        if is_sure && !is_like(self.ahead_ms) {
            self.ahead_ms = if is_like(0) { 0 } else { ahead_ms };
        }
        self.last_ms = Some(ahead_ms);
    }

    /// The API server's clock minus the broker's. Milliseconds; 0 while they are about the same, or not known.
    pub(crate) fn ahead_ms(&self) -> i64 {
        self.ahead_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_heartbeats_that_agree_tell_and_noise_does_not() {
        let mut clock = ClusterClock::default();
        // Sent by the agent's clock, which is so far ahead of the API server's; came so by the broker's. In seconds.
        for (case, sent, agent_ahead, came, want) in [
            ("the same", 100, 0, 100, 0),
            ("the agent's clock alone is wrong", 705, 600, 105, 0),
            ("a minute ahead, said once", 170, 0, 110, 0),
            ("said twice", 175, 0, 115, 60),
            ("about the same", 180, -1, 120, 60),
            ("one came late", 185, 0, 165, 60),
            ("the next did not", 230, 0, 170, 60),
            ("set right, said once", 175, 0, 175, 60),
            ("said twice again", 180, 0, 181, 0),
        ] {
            let heartbeat = v1::Heartbeat {
                sent_at_unix_ms: sent * 1_000,
                clock_offset_ms: Some(agent_ahead * 1_000),
                ..Default::default()
            };
            clock.hear(ClusterClock::read(&heartbeat, Time::from_unix_s(came)).unwrap());
            assert_eq!(clock.ahead_ms(), want * 1_000, "{case}");
        }
        let silent = v1::Heartbeat { sent_at_unix_ms: 500_000, ..Default::default() };
        assert_eq!(ClusterClock::read(&silent, Time::from_unix_s(500)), None);
    }
}
