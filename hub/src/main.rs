//! `vitals-hub`: flags, logs, tasks; everything else is [`vitals_hub`].

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use vitals_hub::{Args, start};
use vitals_runtime::logging;
use vitals_runtime::tasks::{Supervisor, stop_signal};

/// A hub allocates some hundred small pieces for each message, among millions that stay. The allocator of glibc spends half of
/// the core's time on joining what was freed.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long tasks may take to end, and the connection to close.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(10);
const CLOSE_DEADLINE: Duration = Duration::from_secs(3);

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "ended");
            eprintln!("vitals-hub: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> anyhow::Result<()> {
    logging::init(&args.log)?;
    let supervisor = Supervisor::new();
    let started = start(args, &supervisor.tasks()).await?;
    let stop = async {
        if let Err(error) = stop_signal().await {
            tracing::error!(%error, "cannot wait for signals: stopping");
        }
    };
    let ended = supervisor.run(stop, SHUTDOWN_DEADLINE).await;
    if let Err(error) = started.close(CLOSE_DEADLINE).await {
        tracing::warn!(%error, "connection to NATS not closed in time");
    }
    ended.map_err(Into::into)
}
