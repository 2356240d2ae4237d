//! Asks the API server every 5 s whether it is there (`/readyz`), what time it has, and now and then its version.

use std::time::Duration;

use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval},
};
use tracing::{info, warn};
use vitals_agent_core::{Input, input};
use vitals_proto::limits::HEARTBEAT_INTERVAL;
use vitals_runtime::clock::SystemClock;

use crate::kubernetes::{Cluster, Probe, clock_offset_ms};

/// How long the API server may take. Unreachable is told within two probes.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(4);

/// Between two questions for the version, which changes with an upgrade.
const VERSION_INTERVAL: Duration = Duration::from_secs(300);

/// Probes until nobody listens any more.
pub(crate) async fn probe(cluster: Cluster, inputs: mpsc::Sender<Input>) {
    let mut ticks = interval(HEARTBEAT_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut asked_at, mut reachable) = (None::<Instant>, None);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = inputs.closed() => return,
        }
        let Probe { outcome, date } = cluster.probe(ANSWER_TIMEOUT).await;
        let outcome = outcome.map_err(|unanswered| unanswered.to_string());
        if reachable != Some(outcome.is_ok()) {
            match &outcome {
                Ok(()) => info!("API server reachable"),
                Err(error) => warn!(error, "API server unreachable"),
            }
            reachable = Some(outcome.is_ok());
        }
        let due = asked_at.is_none_or(|at| at.elapsed() >= VERSION_INTERVAL);
        let version =
            if outcome.is_ok() && due { cluster.version(ANSWER_TIMEOUT).await.ok() } else { None };
        if version.is_some() {
            asked_at = Some(Instant::now());
        }
        let clock_offset_ms = date.map(|date| clock_offset_ms(date, SystemClock.now()));
        let probe = input::Probe { outcome, clock_offset_ms, version };
        if inputs.send(Input::Probed(probe)).await.is_err() {
            return;
        }
    }
}
