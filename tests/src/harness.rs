//! Runs the body of a test: on a runtime that all tests of the process share, under a deadline, and with
//! the logs of its servers printed if it fails.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::Result;
use futures::FutureExt as _;
use tokio::runtime::{Builder, Runtime};

use crate::{logs, skip};

/// No test takes this long. A build of the tools, which the first test may have to wait for, can take
/// most of it.
const TEST_TIME_MAX: Duration = Duration::from_secs(30 * 60);

/// Shared, so that a client made in one test lives on in a cluster shared with the next.
static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_multi_thread().enable_all().build().expect("a runtime"));

/// Runs a test that starts a cluster; counts it as skipped where clusters are not wanted.
///
/// ```no_run
/// # use vitals_tests::{cluster_test, Cluster, objects};
/// #[test]
/// fn a_rollout_is_seen() {
///     cluster_test(async {
///         let cluster = Cluster::shared("east").await?;
///         let namespace = objects::namespace(&cluster.client().await?, "rollout").await?;
///         Ok(())
///     });
/// }
/// ```
///
/// # Panics
///
/// If the test fails, after printing the logs of what it started.
#[track_caller]
pub fn cluster_test(test: impl Future<Output = Result<()>>) {
    match skip::cluster_tests_wanted() {
        Ok(true) => self::test(test),
        Ok(false) => {}
        Err(error) => panic!("{}", with_causes(&error)),
    }
}

/// Runs a test that starts servers but no cluster.
///
/// # Panics
///
/// If the test fails, after printing the logs of what it started.
#[track_caller]
pub fn test(test: impl Future<Output = Result<()>>) {
    let test = Box::pin(AssertUnwindSafe(test).catch_unwind());
    let ended = RUNTIME.block_on(async { tokio::time::timeout(TEST_TIME_MAX, test).await });
    let problem = match ended {
        Ok(Ok(Ok(()))) => return,
        Ok(Ok(Err(error))) => with_causes(&error),
        Ok(Err(panic)) => {
            logs::print();
            resume_unwind(panic)
        }
        Err(_) => format!("the test did not end within {} s", TEST_TIME_MAX.as_secs()),
    };
    logs::print();
    panic!("{problem}")
}

/// The error with its causes, one a line. (`{:?}` would add a backtrace of the runtime's insides.)
pub fn with_causes(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).collect::<Vec<_>>().join("\n  because: ")
}
