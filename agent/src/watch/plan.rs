//! Decides what a watch does next. Pure: no clock, no I/O; `run` performs.
//!
//! Rules, from PROTOCOL.md ("First list", "Freshness"): a lower list is never used; what may have been missed is listed
//! again; a failure is retried with growing pauses, which end only with a sign of life *after* a list (a cluster that answers
//! every list and expires every watch must not be listed in a tight loop).

use std::time::Duration;

use tokio::time::Instant;

use super::{ResourceVersion, Settings, WatchState, answer::Failure};

/// Lists in a row that are older than what was seen, after which the API server's history is taken to have gone back for
/// good, as after a restore of its etcd: each list was a quorum read, so no stale cache explains it.
const REWOUND_LISTS_MAX: u32 = 6;

/// Pause after such a list, less up to a half. With [`REWOUND_LISTS_MAX`] this makes 15 to 30 s.
const REWOUND_PAUSE: Duration = Duration::from_secs(5);

/// Watches in a row that the server may refuse before the kind is listed anew: perhaps it is their version.
const REFUSED_WATCHES_MAX: u32 = 5;

/// Proofs by silence in a row, of a kind without bookmarks, after which it is listed anew: about every quarter of an hour.
const SILENT_PROOFS_MAX: u32 = 10;

/// Longest that a `Retry-After` is obeyed: a silent kind must be found out.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// List consistently, as a stream where the server has that.
    List,
    /// Watch what is newer than `from`.
    Resume {
        /// Where the watch begins.
        from: ResourceVersion,
    },
    /// Put silence, or a state that is over, to proof.
    Prove {
        /// Where the watch that proves begins.
        from: ResourceVersion,
    },
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// As planned: the server ended the watch, the list is complete, the proof was given.
    Done,
    /// Neither event nor bookmark for [`Settings::idle_max`].
    Idle,
    /// A new list was asked for.
    Asked,
    /// Silence although something happened in the cluster.
    Unproven,
    /// The same of a kind without bookmarks, to a watch that the server ended in good order.
    Silent,
    /// It failed.
    Failed(Failure),
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Next {
    /// Wait so long before it.
    pub(super) pause: Duration,
    /// Then do this.
    pub(super) step: Step,
    /// A new state to tell, and why.
    pub(super) told: Option<(WatchState, String)>,
}

/// Whether the server has streaming lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Streaming {
    /// Not known to refuse them.
    Yes,
    /// It failed at one: the next list is paged.
    NotNow,
    /// It does not know them: all lists are paged.
    No,
}

/// What the end of a step means.
struct Judgement {
    pause: Duration,
    state: Option<WatchState>,
    detail: String,
}

impl Judgement {
    /// The state stays.
    fn retry(pause: Duration, detail: String) -> Self {
        Self { pause, state: None, detail }
    }
}

/// What is known of the watch of one kind.
#[derive(Debug)]
pub(super) struct Plan {
    settings: Settings,
    /// Highest version seen, whatever it was of.
    seen: Option<ResourceVersion>,
    /// Where the next watch begins: no event came after it. One bookmark back, so that bookmarks keep coming.
    resume_from: Option<ResourceVersion>,
    /// The list is complete, and nothing was missed since.
    listed: bool,
    /// Whether to ask for streaming lists.
    streaming: Streaming,
    /// Objects on a page.
    pub(super) page_objects: u32,
    state: WatchState,
    /// It was told why listing does not go well, since it began.
    explained: bool,
    signed_at: Instant,
    /// There was a sign of life, or a whole list, in this step.
    fruitful: bool,
    /// Failures since the last sign of life after a list.
    failures: u32,
    /// Lists in a row that were older than what was seen.
    rewound: u32,
    /// Proofs by silence in a row.
    silent: u32,
}

impl Plan {
    pub(super) fn new(settings: Settings, now: Instant) -> Self {
        let page_objects = settings.page_objects.max(1);
        Self {
            settings,
            seen: None,
            resume_from: None,
            listed: false,
            streaming: Streaming::Yes,
            page_objects,
            state: WatchState::Listing,
            explained: false,
            signed_at: now,
            fruitful: false,
            failures: 0,
            rewound: 0,
            silent: 0,
        }
    }

    /// Whether the next list is a stream.
    pub(super) fn is_streaming(&self) -> bool {
        self.streaming == Streaming::Yes
    }

    /// When silence must be put to proof.
    pub(super) fn idle_at(&self) -> Instant {
        self.signed_at + self.settings.idle_max
    }

    /// Compares a list's version with the highest seen, before anything of the list is used.
    ///
    /// Gives whether the history went back for good, in which case the list counts and what was seen does not.
    pub(super) fn list_begins(&mut self, version: ResourceVersion) -> Result<bool, Failure> {
        let behind = self.seen.filter(|seen| version < *seen);
        if let Some(seen) = behind
            && self.rewound < REWOUND_LISTS_MAX
        {
            self.rewound += 1;
            return Err(Failure::Rewound(format!("list {version} is older than {seen}")));
        }
        self.rewound = 0;
        self.seen = Some(version);
        Ok(behind.is_some())
    }

    /// The list is complete. Gives the state to tell, if it is new.
    pub(super) fn list_ended(
        &mut self,
        version: ResourceVersion,
        now: Instant,
    ) -> Option<WatchState> {
        self.signed_at = now;
        self.fruitful = true;
        self.seen = self.seen.max(Some(version));
        self.resume_from = Some(version);
        self.listed = true;
        self.silent = 0;
        if self.streaming == Streaming::NotNow {
            self.streaming = Streaming::Yes;
        }
        self.turn(WatchState::Live)
    }

    /// Something of a list arrived.
    pub(super) fn list_goes_on(&mut self, version: Option<ResourceVersion>, now: Instant) {
        self.signed_at = now;
        self.seen = self.seen.max(version);
    }

    /// An event arrived in a watch. Fails when it is older than what was seen: order is all that a watch promises.
    pub(super) fn event(
        &mut self,
        version: Option<ResourceVersion>,
        now: Instant,
    ) -> Result<Option<WatchState>, Failure> {
        if let Some(version) = version {
            if let Some(seen) = self.seen.filter(|seen| version < *seen) {
                self.listed = false;
                return Err(Failure::Rewound(format!("event {version} is older than {seen}")));
            }
            self.seen = Some(version);
            self.resume_from = Some(version);
            self.silent = 0;
        }
        Ok(self.sign(now))
    }

    /// A watch of a kind without bookmarks had nothing to tell up to `newest`: a sign of life, with the state to tell. `None`
    /// after too many in a row.
    pub(super) fn silent(
        &mut self,
        newest: ResourceVersion,
        now: Instant,
    ) -> Option<Option<WatchState>> {
        self.silent += 1;
        if self.silent > SILENT_PROOFS_MAX {
            return None;
        }
        self.seen = self.seen.max(Some(newest));
        // Else the next watch would begin at what is no longer kept.
        self.resume_from = Some(newest);
        Some(self.sign(now))
    }

    /// A bookmark arrived in a watch. It may be older than what was seen: watches begin one bookmark back, and another
    /// replica of the API server may lag between the two.
    pub(super) fn bookmark(
        &mut self,
        version: Option<ResourceVersion>,
        now: Instant,
    ) -> Option<WatchState> {
        if self.seen < version {
            self.resume_from = std::mem::replace(&mut self.seen, version);
        }
        self.sign(now)
    }

    /// What the newest version in the cluster says of a silent watch: nothing happened, and that is a sign of life
    /// (`Some`, with the state to tell), or a watch must show what happened.
    pub(super) fn newest(
        &mut self,
        newest: ResourceVersion,
        now: Instant,
    ) -> Result<Option<Option<WatchState>>, Failure> {
        match self.seen {
            Some(seen) if newest < seen => {
                self.listed = false;
                Err(Failure::Rewound(format!("newest {newest} is older than {seen}")))
            }
            Some(seen) if newest == seen => Ok(Some(self.sign(now))),
            Some(_) | None => Ok(None),
        }
    }

    fn sign(&mut self, now: Instant) -> Option<WatchState> {
        self.signed_at = now;
        self.fruitful = true;
        self.failures = 0;
        if self.listed { self.turn(WatchState::Live) } else { None }
    }

    fn turn(&mut self, state: WatchState) -> Option<WatchState> {
        let changed = std::mem::replace(&mut self.state, state) != state;
        self.explained &= !changed;
        changed.then_some(state)
    }

    /// What comes after a step. `jitter` is in 0 .. 1.
    pub(super) fn next(&mut self, end: End, now: Instant, jitter: f64) -> Next {
        let Judgement { pause, state, detail } = self.judge(end, jitter);
        self.fruitful = false;
        let left = (self.signed_at + self.settings.stalled_after).saturating_duration_since(now);
        let state = match state {
            None | Some(WatchState::Listing) if self.is_hopeful() && left.is_zero() => {
                Some(WatchState::Stalled)
            }
            // A kind that is refused, absent or stalled stays so until a list or a sign of life says otherwise.
            Some(WatchState::Listing) if !self.is_hopeful() => None,
            other => other,
        };
        let turned = state.and_then(|state| self.turn(state));
        // Whoever waits for the list is to know that it takes longer, and why.
        let fails = self.state == WatchState::Listing && !self.listed && !pause.is_zero();
        let explains = fails && turned.is_none() && !self.explained;
        self.explained |= fails;
        let told = turned.or(explains.then_some(WatchState::Listing)).map(|it| (it, detail));
        // A stall is told in time, and not after a long pause.
        let pause = if self.is_hopeful() { pause.min(left) } else { pause };
        let step = match self.resume_from.filter(|_| self.listed) {
            Some(from) if now >= self.idle_at() || self.state != WatchState::Live => {
                Step::Prove { from }
            }
            Some(from) => Step::Resume { from },
            None => Step::List,
        };
        Next { pause, step, told }
    }

    /// Neither refused, absent nor stalled.
    fn is_hopeful(&self) -> bool {
        matches!(self.state, WatchState::Listing | WatchState::Live)
    }

    /// The pause that the end of a step asks for, the state that it means, and why.
    fn judge(&mut self, end: End, jitter: f64) -> Judgement {
        let listed = self.listed;
        match end {
            End::Done if self.fruitful => Judgement::retry(Duration::ZERO, String::new()),
            End::Done => Judgement::retry(self.backoff(jitter), "watches end at once".to_owned()),
            End::Idle => Judgement::retry(Duration::ZERO, "neither event nor bookmark".to_owned()),
            End::Asked => {
                self.listed = false;
                Judgement::retry(Duration::ZERO, "listed anew for repair".to_owned())
            }
            End::Unproven | End::Silent => {
                let detail = "neither event nor bookmark although the cluster changed";
                self.list_again(jitter, detail.to_owned())
            }
            End::Failed(Failure::Gone(detail)) => self.list_again(jitter, detail),
            End::Failed(Failure::Rewound(detail)) => {
                self.listed = false;
                let pause = REWOUND_PAUSE.mul_f64(1.0 - jitter / 2.0);
                Judgement { pause, state: Some(WatchState::Listing), detail }
            }
            End::Failed(Failure::Forbidden(detail)) => {
                let pause = self.refused_pause(jitter);
                Judgement { pause, state: Some(WatchState::Forbidden), detail }
            }
            End::Failed(Failure::Absent(detail)) => {
                self.listed = false;
                let pause = self.refused_pause(jitter);
                Judgement { pause, state: Some(WatchState::Absent), detail }
            }
            End::Failed(Failure::Refused(detail)) if !listed && self.is_streaming() => {
                self.streaming = Streaming::No;
                Judgement::retry(Duration::ZERO, detail)
            }
            End::Failed(Failure::Internal(detail)) if !listed && self.is_streaming() => {
                self.streaming = Streaming::NotNow;
                Judgement::retry(Duration::ZERO, detail)
            }
            End::Failed(Failure::Refused(detail) | Failure::Internal(detail))
                if listed && self.failures >= REFUSED_WATCHES_MAX =>
            {
                self.list_again(jitter, detail)
            }
            End::Failed(Failure::PageTooLarge) => {
                self.page_objects = (self.page_objects / 2).max(1);
                Judgement::retry(self.backoff(jitter), "a page is too large".to_owned())
            }
            End::Failed(Failure::Throttled { retry_after, detail }) => {
                let pause = self.backoff(jitter).max(retry_after.min(RETRY_AFTER_MAX));
                Judgement::retry(pause, detail)
            }
            End::Failed(
                Failure::NotFound(detail)
                | Failure::Refused(detail)
                | Failure::Internal(detail)
                | Failure::Broken(detail),
            ) => Judgement::retry(self.backoff(jitter), detail),
        }
    }

    fn list_again(&mut self, jitter: f64, detail: String) -> Judgement {
        self.listed = false;
        Judgement { pause: self.backoff(jitter), state: Some(WatchState::Listing), detail }
    }

    /// Grows with the failures in a row, less up to a half, so that agents do not come back together.
    fn backoff(&mut self, jitter: f64) -> Duration {
        let doublings = self.failures.min(16);
        self.failures += 1;
        let pause = self.settings.backoff_min.saturating_mul(1 << doublings);
        pause.min(self.settings.backoff_max).mul_f64(1.0 - jitter / 2.0)
    }

    fn refused_pause(&self, jitter: f64) -> Duration {
        self.settings.refused_pause.mul_f64(1.0 - jitter / 6.0)
    }
}
