//! Who publishes: the holder of the Lease of the scope. Begins epochs, and says when they end.
//!
//! One Lease `vitals-agent-<scope>` per scope; its annotation `vitals.dev/epoch` holds the highest epoch that was begun under
//! it. Every write is fenced by the Lease's `resourceVersion`, so two agents never take it at once. As in client-go
//! (`tools/leaderelection`), expiry is judged by our own clock since the Lease last changed, not by the times in it.
//!
//! Invariant: an epoch of standing *held* is begun only after it was written to the Lease, or where no Lease is in use.

mod claim;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, api::PostParams};
use tokio::{
    sync::{Notify, mpsc, watch},
    time::{Instant, sleep, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use vitals_agent_core::{Input, epoch, input::Standing};
use vitals_proto::{
    identity::{Epoch, Scope, Uid},
    limits::SILENCE_MAX,
    rule::Rules,
};
use vitals_runtime::{backoff::Backoff, clock::SystemClock};

use crate::kubernetes::Cluster;
use claim::{ANSWER_TIMEOUT, Claim, Claimant, answered};

/// How long a Lease holds without being renewed. Half of the silence after which an agent counts as lost.
const DURATION: Duration = Duration::from_secs(10);

/// Between two renewals.
const RENEW_INTERVAL: Duration = Duration::from_secs(3);

/// Without a renewal for so long, counted from before it was asked for, the Lease may be another's soon: publishing ends before
/// it can be.
const RENEW_DEADLINE: Duration = Duration::from_secs(7);

/// Between two looks at a Lease that another holds.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Between two questions for the cluster's identity: a cluster can be rebuilt behind its address.
const IDENTIFY_INTERVAL: Duration = Duration::from_secs(30);

/// Between two attempts to begin.
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Whether a Lease decides who publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseUse {
    /// It does.
    On {
        /// Where it is; where absent, the namespace of the credentials.
        namespace: Option<String>,
    },
    /// Whoever starts this agent sees to it that it is the only one of its scope.
    Off,
}

/// What a keeper needs.
pub(crate) struct Setup {
    pub(crate) cluster: Cluster,
    pub(crate) scope: Scope,
    pub(crate) lease: LeaseUse,
    /// Takes what the core is to hear.
    pub(crate) inputs: mpsc::Sender<Input>,
    /// Asks to take the Lease again, under a new epoch.
    pub(crate) retake: Arc<Notify>,
    /// Cancelled when nothing is published any more, and the Lease can be given back.
    pub(crate) silenced: CancellationToken,
}

/// Keeps the Lease, or waits for it.
pub(crate) struct Keeper {
    setup: Setup,
    lease: Option<Api<Lease>>,
    claimant: Claimant,
    last_epoch: Option<Epoch>,
    uid: Uid,
    told: Told,
    /// When the write that renewed the Lease last was sent: others count from when they see it, which is later.
    renewed_at: Instant,
    /// When the Lease could be read last, whoever holds it.
    read_at: Instant,
    /// Why nothing is published, in one line; empty where it is.
    waiting: watch::Sender<String>,
}

/// What the core was told last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    Provisional,
    Held,
    Doubted,
    Lost,
}

/// What a look at a Lease that was ours found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// It is renewed.
    Ours,
    /// Another has it, or it is gone.
    Lost,
    /// The cluster is another one.
    Rebuilt,
}

/// Why a Lease is not held any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// Another has it, or it is gone.
    Lost,
    /// The process was frozen.
    Retake,
    /// The cluster is another one.
    Rebuilt,
    /// We stop.
    Stopping,
}

/// Nobody listens any more.
struct Unheard;

impl Keeper {
    pub(crate) fn new(setup: Setup) -> (Self, watch::Receiver<String>) {
        let lease = match &setup.lease {
            LeaseUse::Off => None,
            LeaseUse::On { namespace: Some(namespace) } => {
                Some(Api::namespaced(setup.cluster.client().clone(), namespace))
            }
            LeaseUse::On { namespace: None } => {
                Some(Api::default_namespaced(setup.cluster.client().clone()))
            }
        };
        let claimant = Claimant::new(&setup.scope, DURATION, fastrand::u64(..));
        let (waiting, receiver) = watch::channel("not begun".to_owned());
        let (last_epoch, uid, told) = (None, Uid::from_text(""), Told::Nothing);
        let (renewed_at, read_at) = (Instant::now(), Instant::now());
        let keeper =
            Self { setup, lease, claimant, last_epoch, uid, told, renewed_at, read_at, waiting };
        (keeper, receiver)
    }

    /// Runs until nobody listens any more, or until stopped and silenced.
    pub(crate) async fn run(mut self, stopping: CancellationToken) {
        // Unheard means that the engine is gone, and its loss is reported by itself.
        let _ended = self.keep(&stopping).await;
        self.setup.silenced.cancelled().await;
        if let (Some(lease), Told::Held) = (&self.lease, self.told) {
            self.claimant.release(lease).await;
        }
    }

    async fn keep(&mut self, stopping: &CancellationToken) -> Result<(), Unheard> {
        loop {
            let begun = tokio::select! {
                begun = self.begin() => begun?,
                () = stopping.cancelled() => return Ok(()),
            };
            info!(epoch = %begun, cluster_uid = %self.uid, "epoch begun");
            match self.hold(stopping).await? {
                Ended::Stopping => return Ok(()),
                ended @ (Ended::Lost | Ended::Retake | Ended::Rebuilt) => {
                    warn!(?ended, "epoch ended");
                }
            }
        }
    }

    /// Identifies the cluster, takes the Lease, begins an epoch.
    async fn begin(&mut self) -> Result<Epoch, Unheard> {
        let mut backoff = Backoff::new(RETRY_MIN, RETRY_MAX);
        self.uid = loop {
            match self.setup.cluster.uid(ANSWER_TIMEOUT).await {
                Ok(uid) => break uid,
                Err(unanswered) => {
                    self.wait(format!("cannot identify the cluster: {unanswered}"));
                    self.tell_provisional().await?;
                    sleep(backoff.next_delay()).await;
                }
            }
        };
        let epoch = match self.lease.clone() {
            None => self.next_epoch(None),
            Some(lease) => self.take(&lease).await?,
        };
        self.last_epoch = Some(epoch);
        self.waiting.send_replace(String::new());
        let cluster_uid = self.uid.clone();
        let begun = Input::EpochBegun { epoch, standing: Standing::Held, cluster_uid };
        self.tell(Told::Held, begun).await?;
        Ok(epoch)
    }

    fn next_epoch(&self, in_lease: Option<Epoch>) -> Epoch {
        let last = self.last_epoch.max(in_lease);
        let now_unix_ms = SystemClock.unix_ms();
        epoch::next(epoch::Origin { now_unix_ms, last, random: fastrand::u64(..) }, Rules::ALL)
    }

    /// Waits until the Lease is ours, with a new epoch in it.
    async fn take(&mut self, lease: &Api<Lease>) -> Result<Epoch, Unheard> {
        loop {
            match self.try_take(lease).await {
                Ok(Claim::Taken(epoch)) => return Ok(epoch),
                Ok(Claim::HeldBy(holder)) => {
                    if self.told != Told::Lost {
                        info!(holder, "another agent holds the Lease: standing by");
                        self.tell(Told::Lost, Input::LeaseLost).await?;
                    }
                    self.wait(format!("standing by: {holder} holds the Lease"));
                }
                Err(reason) => {
                    self.wait(format!("cannot take the Lease: {reason}"));
                    self.tell_provisional().await?;
                }
            }
            // Spread, so that two that wait do not write in step.
            sleep(LOOK_INTERVAL.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        }
    }

    async fn try_take(&mut self, lease: &Api<Lease>) -> Result<Claim, String> {
        let found = answered(lease.get_opt(self.claimant.name())).await?;
        self.read_at = Instant::now();
        let in_lease = found.as_ref().and_then(claim::epoch_in);
        if let Some(holder) =
            found.as_ref().and_then(|found| self.claimant.held_by(found, Instant::now()))
        {
            return Ok(Claim::HeldBy(holder));
        }
        let epoch = self.next_epoch(in_lease);
        let (written, is_new) =
            (self.claimant.claim(found, epoch, SystemClock.now()), in_lease.is_none());
        let asked_at = Instant::now();
        let written = self.write(lease, &written).await;
        match written {
            Ok(written) => {
                self.claimant.wrote(written);
                self.renewed_at = asked_at;
                info!(%epoch, is_new, "Lease taken");
                Ok(Claim::Taken(epoch))
            }
            Err(reason) => Err(reason),
        }
    }

    async fn write(&self, lease: &Api<Lease>, wanted: &Lease) -> Result<Lease, String> {
        let parameters = PostParams::default();
        if wanted.metadata.resource_version.is_none() {
            answered(lease.create(&parameters, wanted)).await
        } else {
            answered(lease.replace(self.claimant.name(), &parameters, wanted)).await
        }
    }

    /// Renews the Lease until it is not ours any more.
    async fn hold(&mut self, stopping: &CancellationToken) -> Result<Ended, Unheard> {
        let (mut identified_at, mut looked_at) = (Instant::now(), Instant::now());
        let retake = Arc::clone(&self.setup.retake);
        loop {
            let doubt_at = self.doubt_at();
            // From the question, not its answer: a slow API server must not stretch it.
            let look_at = looked_at + RENEW_INTERVAL;
            tokio::select! {
                () = stopping.cancelled() => return Ok(Ended::Stopping),
                () = retake.notified() => {
                    self.told = Told::Doubted;
                    return Ok(Ended::Retake);
                }
                () = sleep_until(doubt_at.map_or(look_at, |at| at.min(look_at))) => {}
                () = self.unheard() => return Err(Unheard),
            }
            looked_at = Instant::now();
            let looking = self.look(&mut identified_at);
            let found = match doubt_at {
                // However slowly the API server answers.
                Some(at) => timeout_at(at, looking).await.unwrap_or(Err("too slow".to_owned())),
                None => looking.await,
            };
            match found {
                Ok(Found::Ours) if self.told == Told::Doubted => {
                    self.waiting.send_replace(String::new());
                    self.tell(Told::Held, Input::LeaseKept).await?;
                }
                Ok(Found::Ours) => {}
                Ok(found @ (Found::Lost | Found::Rebuilt)) => {
                    self.tell(Told::Lost, Input::LeaseLost).await?;
                    let lost = found == Found::Lost;
                    return Ok(if lost { Ended::Lost } else { Ended::Rebuilt });
                }
                Err(reason) if self.doubt_at().is_some_and(|at| at <= Instant::now()) => {
                    self.wait(format!("cannot renew the Lease: {reason}"));
                    self.tell(Told::Doubted, Input::LeaseDoubted).await?;
                }
                Err(reason) => tracing::debug!(reason, "Lease not renewed"),
            }
        }
    }

    /// When to stop publishing, unless the Lease is renewed before.
    fn doubt_at(&self) -> Option<Instant> {
        let is_held = self.lease.is_some() && self.told == Told::Held;
        is_held.then(|| self.renewed_at + RENEW_DEADLINE)
    }

    /// Renews the Lease, and now and then asks who the cluster is. An error where it cannot be told whose it is.
    async fn look(&mut self, identified_at: &mut Instant) -> Result<Found, String> {
        let (lease, cluster) = (self.lease.clone(), self.setup.cluster.clone());
        let due = identified_at.elapsed() >= IDENTIFY_INTERVAL;
        // Both at once: the one must not take the time of the other.
        let identifying = async { if due { cluster.uid(ANSWER_TIMEOUT).await.ok() } else { None } };
        let renewing = async {
            match lease {
                Some(lease) => self.renew(&lease).await,
                None => Ok(true),
            }
        };
        let (uid, is_ours) = tokio::join!(identifying, renewing);
        if let Some(uid) = uid {
            *identified_at = Instant::now();
            if uid != self.uid {
                error!(was = %self.uid, is = %uid, "this is another cluster than before");
                return Ok(Found::Rebuilt);
            }
        }
        Ok(if is_ours? { Found::Ours } else { Found::Lost })
    }

    /// Whether it is still ours; an error where that cannot be told.
    async fn renew(&mut self, lease: &Api<Lease>) -> Result<bool, String> {
        let reason = match self.write_renewal(lease).await {
            Err(reason) => reason,
            is_ours => return is_ours,
        };
        // A conflict, or the answer to an earlier write was lost: what stands there tells.
        let found = answered(lease.get_opt(self.claimant.name())).await.map_err(|_| reason)?;
        self.read_at = Instant::now();
        match found {
            Some(found) if self.claimant.is_holder(&found) => {
                // When it was written is not known: it counts from a write that is.
                self.claimant.wrote(found);
                self.write_renewal(lease).await
            }
            Some(_) | None => Ok(false),
        }
    }

    async fn write_renewal(&mut self, lease: &Api<Lease>) -> Result<bool, String> {
        let Some(wanted) = self.claimant.renewed(SystemClock.now()) else { return Ok(false) };
        let asked_at = Instant::now();
        let written = self.write(lease, &wanted).await?;
        self.claimant.wrote(written);
        (self.renewed_at, self.read_at) = (asked_at, Instant::now());
        Ok(true)
    }

    /// Says that we live, where nobody else may: before anything was told, and on standby once the Lease could not be read
    /// for so long that its holder may have gone with the API server.
    async fn tell_provisional(&mut self) -> Result<(), Unheard> {
        match self.told {
            Told::Nothing => {}
            Told::Lost if self.read_at.elapsed() >= SILENCE_MAX => {}
            Told::Lost | Told::Provisional | Told::Held | Told::Doubted => return Ok(()),
        }
        let epoch = epoch::provisional(fastrand::u64(..));
        let cluster_uid = self.uid.clone();
        let begun = Input::EpochBegun { epoch, standing: Standing::Provisional, cluster_uid };
        self.tell(Told::Provisional, begun).await
    }

    async fn tell(&mut self, told: Told, input: Input) -> Result<(), Unheard> {
        self.told = told;
        self.setup.inputs.send(input).await.map_err(|_| Unheard)
    }

    async fn unheard(&self) {
        self.setup.inputs.closed().await;
    }

    fn wait(&self, reason: String) {
        let changed = self.waiting.send_if_modified(|known| {
            let changed = *known != reason;
            known.clone_from(&reason);
            changed
        });
        if changed {
            warn!(reason, "nothing is published");
        }
    }
}
