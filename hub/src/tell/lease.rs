//! Which replica tells: a lease in `vitals_state`, written by compare-and-set.
//!
//! Who holds it writes it anew every second, and with it up to where all was told. Who does not hold it reads it as often, and
//! takes it when it has seen the same one for [`LEASE`]: measured by its own clock, so that no two clocks are compared. Who
//! could not renew it tells no more a second before anybody may take it. A hub that stops gives it back.
//!
//! It only saves work, and keeps replicas from telling side by side: what is told twice all the same (a process that was
//! frozen) the fence in [`super`] keeps out.

use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use prost::Message as _;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use vitals_proto::v1;

use crate::streams::STATE_BUCKET;

/// A lease that was not renewed for so long may be taken.
const LEASE: Duration = Duration::from_secs(5);

/// Between two renewals, or two looks at who holds it.
const INTERVAL: Duration = Duration::from_secs(1);

/// One renewal or look takes no longer.
const TURN_TIMEOUT: Duration = Duration::from_secs(2);

/// Who holds it tells no more so long before others may take it.
const MARGIN: Duration = Duration::from_secs(1);

/// What the lease says of this replica.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Role {
    /// Nobody knows yet.
    #[default]
    Unknown,
    /// It tells, until then.
    Leads {
        /// The lease is this replica's at least so long.
        until: Instant,
    },
    /// Another one tells.
    Follows {
        /// All that it judged up to there has been told; `None` while something waits there.
        told_up_to: Option<v1::Position>,
    },
}

/// What is said to and by the task that keeps the lease.
pub(super) struct Ends {
    pub(super) role: watch::Sender<Role>,
    /// Up to where this replica told all.
    pub(super) told_up_to: watch::Receiver<Option<v1::Position>>,
}

/// Keeps the lease, or tries to get it, until shutdown; then gives it back.
pub(super) async fn run(
    context: Context,
    ends: Ends,
    stopping: CancellationToken,
) -> Result<(), std::convert::Infallible> {
    // Unique for as long as anybody remembers.
    let holder = context.client().new_inbox();
    let mut lease = Lease { context, holder, state: State::Looks { seen: None } };
    let mut turns = tokio::time::interval(INTERVAL);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stopping.cancelled() => break,
            _ = turns.tick() => {}
        }
        let told_up_to = ends.told_up_to.borrow().clone();
        let turn = lease.turn(told_up_to);
        match tokio::time::timeout(TURN_TIMEOUT, turn).await {
            Ok(Some(role)) => {
                ends.role.send_replace(role);
            }
            Ok(None) => {}
            Err(_) => tracing::debug!("NATS does not answer for the lease of telling"),
        }
    }
    if tokio::time::timeout(TURN_TIMEOUT, lease.give_back()).await.is_err() {
        tracing::debug!("the lease of telling was not given back; it ends by itself");
    }
    Ok(())
}

struct Lease {
    context: Context,
    holder: String,
    state: State,
}

#[derive(Clone, Copy)]
enum State {
    /// Another one holds it, or nobody.
    Looks { seen: Option<Seen> },
    /// This replica holds it.
    Holds { sequence: u64 },
}

/// A lease of another replica.
#[derive(Clone, Copy)]
struct Seen {
    sequence: u64,
    /// Since when it is the same.
    since: Instant,
}

impl Lease {
    /// Renews it, or looks at it, or takes it. Gives what it says then; `None` where that could not be found out.
    async fn turn(&mut self, told_up_to: Option<v1::Position>) -> Option<Role> {
        match self.state {
            State::Holds { sequence } => self.write(sequence, told_up_to).await,
            State::Looks { seen } => self.look(seen).await,
        }
    }

    async fn look(&mut self, seen: Option<Seen>) -> Option<Role> {
        let (sequence, lease) = self.last().await?;
        if lease.holder.is_empty() {
            return self.write(sequence, None).await;
        }
        if lease.holder == self.holder {
            // Written, and the answer was lost.
            return self.write(sequence, lease.told_up_to).await;
        }
        let seen = match seen.filter(|seen| seen.sequence == sequence) {
            Some(seen) => seen,
            None => Seen { sequence, since: Instant::now() },
        };
        self.state = State::Looks { seen: Some(seen) };
        if seen.since.elapsed() > LEASE {
            tracing::info!(holder = lease.holder, "who told is silent: this replica tells");
            return self.write(sequence, None).await;
        }
        Some(Role::Follows { told_up_to: lease.told_up_to })
    }

    async fn write(&mut self, expected: u64, told_up_to: Option<v1::Position>) -> Option<Role> {
        // Counted from before it is sent: nobody sees it earlier.
        let until = Instant::now() + LEASE - MARGIN;
        let lease = v1::TellingLease { holder: self.holder.clone(), told_up_to };
        match self.publish(expected, &lease).await {
            Ok(sequence) => {
                self.state = State::Holds { sequence };
                Some(Role::Leads { until })
            }
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => {
                self.state = State::Looks { seen: None };
                None
            }
            Err(error) => {
                tracing::debug!(%error, "the lease of telling was not written");
                // Whether it was written shows at the next look.
                self.state = State::Looks { seen: None };
                None
            }
        }
    }

    async fn give_back(&self) {
        let State::Holds { sequence } = self.state else { return };
        match self.publish(sequence, &v1::TellingLease::default()).await {
            Ok(_) => tracing::info!("the lease of telling is given back"),
            Err(error) => tracing::debug!(%error, "the lease of telling was not given back"),
        }
    }

    async fn publish(&self, expected: u64, lease: &v1::TellingLease) -> Result<u64, PublishError> {
        let message = PublishMessage::build()
            .payload(lease.encode_to_vec().into())
            .expected_last_subject_sequence(expected);
        Ok(self.context.send_publish(subject(), message).await?.await?.sequence)
    }

    /// The lease as it stands, with its sequence: 0, and nobody's, where there is none.
    async fn last(&self) -> Option<(u64, v1::TellingLease)> {
        let stream = self.context.get_stream_no_info(format!("KV_{STATE_BUCKET}")).await.ok()?;
        match stream.get_last_raw_message_by_subject(&subject()).await {
            // What is no lease is nobody's.
            Ok(message) => Some((
                message.sequence,
                v1::TellingLease::decode(message.payload).unwrap_or_default(),
            )),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => {
                Some((0, v1::TellingLease::default()))
            }
            Err(error) => {
                tracing::debug!(%error, "the lease of telling was not read");
                None
            }
        }
    }
}

fn subject() -> String {
    format!("$KV.{STATE_BUCKET}.lease.telling")
}
