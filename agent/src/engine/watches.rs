//! The watches of an agent: one per kind, each with a queue of its own, started one after the other.
//!
//! Owners are listed before what they own, so that a hub can place objects as they come, and so that no two first lists are
//! held in memory at once. Starting a watch anew drops its queue: nothing of before comes any more.

use std::{collections::VecDeque, future::poll_fn, task::Poll, time::Duration};

use tokio::{sync::mpsc, time::Instant};
use tracing::{Instrument as _, Span, error};
use vitals_proto::kind::Kind;
use vitals_runtime::tasks::Tasks;

use crate::watch::{Relist, Settings, UnknownKind, WatchItem, WatchState, Watched, Watcher};

/// Items of one kind that wait. Full: its watch is not read, and the API server waits.
const QUEUE_ITEMS: usize = 32;

/// How long a first list may keep the next kind waiting.
const HEAD_START: Duration = Duration::from_secs(5);

pub(crate) struct Watches {
    client: kube::Client,
    settings: Settings,
    tasks: Tasks,
    span: Span,
    running: Vec<Running>,
    /// To be started, in order.
    waiting: VecDeque<Kind>,
    /// The kind whose first list runs, and until when the next one waits for it.
    listing: Option<(Kind, Instant)>,
    /// Which queue is looked at first: each has its turn.
    turn: usize,
}

struct Running {
    kind: Kind,
    relist: Relist,
    items: mpsc::Receiver<Watched>,
}

impl Watches {
    pub(crate) fn new(client: kube::Client, settings: Settings, tasks: Tasks, span: Span) -> Self {
        let (running, waiting) = (Vec::new(), VecDeque::new());
        Self { client, settings, tasks, span, running, waiting, listing: None, turn: 0 }
    }

    /// Starts the watch of a kind, anew where it runs.
    pub(crate) fn start(&mut self, kind: Kind) {
        self.running.retain(|running| running.kind != kind);
        self.waiting.retain(|waiting| *waiting != kind);
        if self.listing.as_ref().is_some_and(|(listing, _)| *listing == kind) {
            self.listing = None;
        }
        self.waiting.push_back(kind);
        self.start_next();
    }

    pub(crate) fn relist(&mut self, kind: &Kind) {
        if let Some(running) = self.running.iter().find(|running| running.kind == *kind) {
            running.relist.ask();
        }
    }

    pub(crate) fn stop_all(&mut self) {
        self.running.clear();
        self.waiting.clear();
        self.listing = None;
    }

    /// The next item. Loses nothing when dropped.
    pub(crate) async fn next(&mut self) -> (Kind, WatchItem) {
        loop {
            let wait_until = self.listing.as_ref().map(|(_, until)| *until);
            let wait_until = wait_until.filter(|_| !self.waiting.is_empty());
            let item = match wait_until {
                None => self.item().await,
                Some(until) => match tokio::time::timeout_at(until, self.item()).await {
                    Ok(item) => item,
                    Err(_) => {
                        self.listing = None;
                        self.start_next();
                        continue;
                    }
                },
            };
            let listing = self.listing.as_ref().is_some_and(|(kind, _)| *kind == item.0);
            if listing && ends_list(&item.1) {
                self.listing = None;
                self.start_next();
            }
            return item;
        }
    }

    async fn item(&mut self) -> (Kind, WatchItem) {
        poll_fn(|context| {
            let count = self.running.len();
            for offset in 0..count {
                let index = (self.turn + offset).checked_rem(count).unwrap_or_default();
                let Some(running) = self.running.get_mut(index) else { continue };
                if let Poll::Ready(Some(Watched { kind, item })) = running.items.poll_recv(context)
                {
                    self.turn = index + 1;
                    return Poll::Ready((kind, item));
                }
            }
            Poll::Pending
        })
        .await
    }

    fn start_next(&mut self) {
        while self.listing.is_none() {
            let Some(kind) = self.waiting.pop_front() else { return };
            match self.watch(kind.clone()) {
                Ok(running) => {
                    self.running.push(running);
                    self.listing = Some((kind, Instant::now() + HEAD_START));
                }
                // The heartbeat reports it as never listed.
                Err(unknown) => error!(error = %unknown, "kind not watched"),
            }
        }
    }

    fn watch(&self, kind: Kind) -> Result<Running, UnknownKind> {
        let watcher = Watcher::new(self.client.clone(), kind.clone(), self.settings.clone())?;
        let relist = watcher.relist();
        let (sender, items) = mpsc::channel(QUEUE_ITEMS);
        self.tasks.spawn_finite(format!("watch {kind}"), {
            let watching = async move {
                watcher.run(sender).await;
                Ok::<(), std::convert::Infallible>(())
            };
            watching.instrument(self.span.clone())
        });
        Ok(Running { kind, relist, items })
    }
}

/// The first list is over, or will not be soon.
fn ends_list(item: &WatchItem) -> bool {
    match item {
        WatchItem::ListEnded { .. } | WatchItem::ListDiscarded => true,
        WatchItem::State { state, detail } => match state {
            WatchState::Forbidden | WatchState::Absent | WatchState::Stalled => true,
            // With a reason it does not go well: the others need not wait for it.
            WatchState::Listing => !detail.is_empty(),
            WatchState::Live => false,
        },
        WatchItem::ListStarted { .. }
        | WatchItem::Listed(_)
        | WatchItem::Applied(_)
        | WatchItem::Unreadable(_)
        | WatchItem::Deleted(_)
        | WatchItem::EventLost(_)
        | WatchItem::Alive { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, future::ready};

    use http::{Request, Response};
    use http_body_util::Full;
    use kube::client::Body;
    use vitals_runtime::tasks::Supervisor;

    use super::*;

    /// Answers everything with 503.
    #[derive(Clone)]
    struct Unavailable;

    impl tower::Service<Request<Body>> for Unavailable {
        type Response = Response<Full<bytes::Bytes>>;
        type Error = Infallible;
        type Future = std::future::Ready<Result<Self::Response, Infallible>>;

        fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<Body>) -> Self::Future {
            let mut answer = Response::new(Full::default());
            *answer.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
            ready(Ok(answer))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_kind_that_cannot_be_listed_keeps_no_other_waiting() {
        let client = kube::Client::new(Unavailable, "default");
        let supervisor = Supervisor::new();
        let (settings, tasks) = (Settings::default(), supervisor.tasks());
        let mut watches = Watches::new(client, settings, tasks, Span::none());
        for kind in Kind::KNOWN {
            watches.start(kind);
        }
        let begun = Instant::now();
        while !watches.waiting.is_empty() {
            watches.next().await;
        }
        assert!(begun.elapsed() < HEAD_START, "{:?}", begun.elapsed());
        assert_eq!(watches.running.len(), Kind::KNOWN.len());
    }
}
