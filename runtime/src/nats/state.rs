//! What the connection to NATS is doing: its events, as a state that can be watched, counters and logs.

use std::sync::{Arc, Mutex, PoisonError};

use async_nats::{Event, ServerError};
use tokio::sync::watch;

use super::denied::Denials;
use super::metrics::Metrics;

/// Whether there is a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    /// Never connected yet; it is being tried.
    Connecting,
    /// Connected, for the so-manieth time: a receiver that slept through a reconnect still sees a change.
    Connected {
        /// 1 at first.
        connects: u64,
    },
    /// Lost; it is being tried again, for ever.
    Disconnected,
    /// Closed by us.
    Closed,
}

/// Takes the events of one connection.
#[derive(Debug)]
pub(super) struct Events {
    state: watch::Sender<ConnectionState>,
    metrics: Metrics,
    /// What the last attempt to connect failed with; empty once connected.
    failure: Mutex<Option<String>>,
    pub(super) denials: Denials,
}

impl Events {
    pub(super) fn new(metrics: Metrics) -> (Arc<Self>, watch::Receiver<ConnectionState>) {
        let (state, receiver) = watch::channel(ConnectionState::Connecting);
        (
            Arc::new(Self {
                state,
                metrics,
                failure: Mutex::default(),
                denials: Denials::default(),
            }),
            receiver,
        )
    }

    /// Why it is not connected, where known.
    pub(super) fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_failure(&self, failure: Option<String>) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }

    pub(super) fn take(&self, event: Event) {
        let Self { state, metrics, failure: _, denials } = self;
        match event {
            Event::Connected => {
                metrics.connected.set(1);
                self.set_failure(None);
                let connects = metrics.connects.inc() + 1;
                tracing::info!(connects, "connected to NATS");
                state.send_replace(ConnectionState::Connected { connects });
            }
            Event::Disconnected => {
                metrics.connected.set(0);
                tracing::warn!("connection to NATS lost");
                state.send_replace(ConnectionState::Disconnected);
            }
            Event::Closed => {
                metrics.connected.set(0);
                tracing::info!("connection to NATS closed");
                state.send_replace(ConnectionState::Closed);
            }
            Event::SlowConsumer(_) => {
                // One event is one lost message, and thousands can come at once.
                if metrics.slow_consumer_messages.inc().is_power_of_two() {
                    tracing::warn!("a subscription does not keep up; messages dropped");
                }
            }
            Event::ServerError(error @ ServerError::SlowConsumer(_)) => {
                metrics.slow_consumer_messages.inc();
                tracing::warn!(%error, "the server finds us too slow");
            }
            Event::ServerError(error) => {
                let errors = metrics.server_errors.inc() + 1;
                // One denial is one publication, and there can be thousands: their publisher counts them.
                if !denials.take(&error.to_string()) || errors.is_power_of_two() {
                    tracing::warn!(%error, errors, "error from NATS");
                }
            }
            Event::ClientError(error) => {
                // At up to two attempts a second, for as long as NATS is away: the loss was logged.
                metrics.client_errors.inc();
                tracing::debug!(%error, "cannot connect to NATS");
                self.set_failure(Some(error.to_string()));
            }
            Event::LameDuckMode => {
                metrics.lame_duck.inc();
                tracing::info!("the NATS server is about to end");
            }
            Event::Draining => tracing::debug!("draining the connection to NATS"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reconnect_is_a_change_of_state() {
        let metrics = Metrics::default();
        let (events, mut state) = Events::new(metrics.clone());
        assert_eq!(*state.borrow_and_update(), ConnectionState::Connecting);
        events.take(Event::Connected);
        assert_eq!(*state.borrow_and_update(), ConnectionState::Connected { connects: 1 });
        events.take(Event::Disconnected);
        events.take(Event::Connected);
        assert_eq!(*state.borrow_and_update(), ConnectionState::Connected { connects: 2 });
        events.take(Event::SlowConsumer(1));
        assert_eq!(metrics.slow_consumer_messages(), 1);
    }
}
