//! One answer for all who ask the same within a second: the first asks, the others wait with it.
//!
//! The asking goes on when the first goes away: others may wait, and it is bounded anyway.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use vitals_runtime::tasks::Tasks;

use super::{Error, SHARED_FOR};

/// Most answers that are shared at once: each may have a megabyte.
const SHARED_MAX: usize = 128;

type Answer<V> = Option<Result<V, Error>>;

/// What is asked, or was answered a moment ago.
#[derive(Debug)]
pub(super) struct Share<K, V> {
    tasks: Tasks,
    entries: Arc<Entries<K, V>>,
}

#[derive(Debug)]
struct Entries<K, V>(Mutex<BTreeMap<K, watch::Receiver<Answer<V>>>>);

impl<K, V> Entries<K, V> {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<K, watch::Receiver<Answer<V>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, V> Share<K, V>
where
    K: Ord + Clone + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(super) fn new(tasks: Tasks) -> Self {
        Self { tasks, entries: Arc::new(Entries(Mutex::default())) }
    }

    /// The answer to `key`; where nobody has just asked for it, `begin` says how it is got.
    pub(super) async fn ask<F>(
        &self,
        key: K,
        begin: impl FnOnce() -> Result<F, Error>,
    ) -> Result<V, Error>
    where
        F: Future<Output = Result<V, Error>> + Send + 'static,
    {
        let mut answered = self.join(key, begin)?;
        match answered.wait_for(Option::is_some).await {
            Ok(answer) => answer.clone().unwrap_or(Err(Error::Stopping)),
            Err(_) => Err(Error::Stopping),
        }
    }

    fn join<F>(
        &self,
        key: K,
        begin: impl FnOnce() -> Result<F, Error>,
    ) -> Result<watch::Receiver<Answer<V>>, Error>
    where
        F: Future<Output = Result<V, Error>> + Send + 'static,
    {
        let mut entries = self.entries.lock();
        if let Some(answered) = entries.get(&key) {
            return Ok(answered.clone());
        }
        if entries.len() >= SHARED_MAX {
            let why = format!("the hub asks for {SHARED_MAX} things already, which is the most");
            return Err(Error::TooMuch(why));
        }
        let asking = begin()?;
        let (sender, answered) = watch::channel(None);
        entries.insert(key.clone(), answered.clone());
        let (entries, stopping) = (Arc::clone(&self.entries), self.tasks.stopping());
        self.tasks.spawn_finite("a question to a cluster", async move {
            let asking = async {
                let answer = asking.await;
                sender.send_replace(Some(answer));
                tokio::time::sleep(SHARED_FOR).await;
            };
            tokio::select! {
                () = asking => {}
                () = stopping.cancelled() => {}
            }
            entries.lock().remove(&key);
            Ok::<(), std::convert::Infallible>(())
        });
        Ok(answered)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use vitals_runtime::tasks::Supervisor;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_asks_the_same_within_a_second_shares_the_answer() {
        let supervisor = Supervisor::new();
        let share = Share::<u32, usize>::new(supervisor.tasks());
        let asked = Arc::new(AtomicUsize::new(0));
        let ask = |key| {
            let asked = Arc::clone(&asked);
            share.ask(key, move || {
                Ok(async move {
                    tokio::time::sleep(Duration::from_secs(3)).await;
                    Ok(asked.fetch_add(1, Ordering::Relaxed) + 1)
                })
            })
        };
        // The first goes away; the others get what it asked for.
        assert!(tokio::time::timeout(Duration::from_secs(1), ask(7)).await.is_err());
        let answers = futures::future::join_all((0..50).map(|_| ask(7))).await;
        assert!(answers.iter().all(|answer| *answer == Ok(1)), "{answers:?}");
        tokio::time::advance(SHARED_FOR / 2).await;
        assert_eq!(ask(7).await, Ok(1), "a moment later it is the same answer");
        assert_eq!(ask(8).await, Ok(2), "another question is another one");
        tokio::time::sleep(SHARED_FOR * 2).await;
        assert_eq!(ask(7).await, Ok(3), "later it is asked anew");
        tokio::time::sleep(SHARED_FOR * 2).await;
        assert!(share.entries.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn too_many_at_once_are_refused_and_so_is_what_cannot_begin() {
        let supervisor = Supervisor::new();
        let share = Share::<usize, ()>::new(supervisor.tasks());
        let never = || Ok(std::future::pending::<Result<(), Error>>());
        for key in 0..SHARED_MAX {
            share.join(key, never).unwrap();
        }
        assert!(matches!(share.ask(SHARED_MAX, never).await, Err(Error::TooMuch(_))));
        let refuse = || Err::<std::future::Ready<_>, _>(Error::Unread);
        let share = Share::<usize, ()>::new(supervisor.tasks());
        assert_eq!(share.ask(1, refuse).await, Err(Error::Unread));
        assert!(share.entries.lock().is_empty(), "nobody waits for what never began");
    }
}
