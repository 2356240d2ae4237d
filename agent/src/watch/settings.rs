//! The times and limits of a watch.

use std::time::Duration;

/// Times and limits of a watch. The defaults keep the promises of PROTOCOL.md, "Freshness"; tests shorten none of them,
/// they pause time.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The one namespace that is watched; all of them where absent. Ignored for kinds of the cluster, which only one scope of a
    /// cluster may watch.
    pub namespace: Option<String>,
    /// Silence after which a watch is put to proof. A little more than the minute between two bookmarks.
    pub idle_max: Duration,
    /// How long the watch that proves lasts. The bookmark comes 2 s before its end, and is timed to the second.
    pub proof_timeout: Duration,
    /// Silence after which the kind is stalled. With what is under way then, it is told within 90 s.
    pub stalled_after: Duration,
    /// How long one watch lasts, less up to a sixth, so that not all end together. Below the 5 minutes after which
    /// the API server may compact its history, and after which proxies cut.
    pub watch_timeout: Duration,
    /// How long the API server may take to begin its answer to a watch or to a list of one object.
    pub answer_timeout: Duration,
    /// How long it may take to begin its answer to a list, or to go on with it.
    pub list_timeout: Duration,
    /// Objects on a page of a paged list. Halved when a page is larger than 32 MiB.
    pub page_objects: u32,
    /// First pause after a failure; doubled with each further one, each less up to a half.
    pub backoff_min: Duration,
    /// Longest pause after a failure.
    pub backoff_max: Duration,
    /// Pause while the kind is forbidden or absent, less up to a sixth.
    pub refused_pause: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            namespace: None,
            idle_max: Duration::from_secs(65),
            proof_timeout: Duration::from_secs(8),
            stalled_after: Duration::from_secs(80),
            watch_timeout: Duration::from_secs(290),
            answer_timeout: Duration::from_secs(5),
            list_timeout: Duration::from_secs(30),
            page_objects: 500,
            backoff_min: Duration::from_millis(500),
            backoff_max: Duration::from_secs(30),
            refused_pause: Duration::from_secs(30),
        }
    }
}
