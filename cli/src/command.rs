//! The commands, one file each. Only those that exist are listed.

use clap::Subcommand;

use crate::Error;
use crate::args::HubArgs;
use crate::output::Output;

mod check;
mod clusters;
mod completions;
mod drill;
mod entity_filter;
mod events;
mod explain;
mod get;
mod logs;
mod history;
mod screen;
mod tree;
mod up;
mod verify;
mod watch;
mod why;

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start everything on this machine: NATS, a hub, an agent for each context of the kubeconfig
    Up(up::Args),
    /// Show entities and their health; with -o yaml or json also an object, as its API server has it
    Get(get::Args),
    /// Show entities and their health as they change
    Watch(watch::Args),
    /// Say all that is known of the health of an entity: why, since when, what to do
    Explain(explain::Args),
    /// Show the objects of an entity, or around an object, as a tree
    Tree(tree::Args),
    /// Say to which entities an object belongs, and why
    Why(why::Args),
    /// Show the log of a pod, or of all pods of a workload or an entity
    Logs(logs::Args),
    /// Show the events of an object, or of all objects of an entity
    Events(events::Args),
    /// Show the clusters, and how well each is seen
    /// Show what was told of the health of an entity: when it changed, how long it lasted, where and why
    History(history::Args),
    /// Show the clusters, and how well each is seen; label them, forget those that are gone
    Clusters(clusters::Args),
    /// Say the health of the objects in manifests, offline
    Check(check::Args),
    /// Compare the hub with a cluster, object by object and entity by entity
    Verify(verify::Args),
    /// Write the completions of a shell
    Completions(completions::Args),
}

/// How a command ended well: the exit code of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// 0.
    Fine,
    /// 1: the comparison found something, or could not compare all.
    Different,
    /// 3: some entity is unhealthy, and `--exit-code` was given.
    Unhealthy,
}

impl Command {
    /// Does it.
    ///
    /// # Errors
    /// When it cannot be done; the message says why and what to do.
    pub async fn run(self, hub: &HubArgs, output: &mut Output) -> Result<Outcome, Error> {
        match self {
            Self::Up(args) => Box::pin(up::run(args, hub, output)).await,
            Self::Get(args) => get::run(args, hub, output).await,
            Self::Watch(args) => watch::run(args, hub, output).await,
            Self::Explain(args) => explain::run(args, hub, output).await,
            Self::Tree(args) => tree::run(args, hub, output).await,
            Self::Why(args) => why::run(args, hub, output).await,
            Self::Logs(args) => Box::pin(logs::run(args, hub, output)).await,
            Self::Events(args) => Box::pin(events::run(args, hub, output)).await,
            Self::History(args) => history::run(args, hub, output).await,
            Self::Clusters(args) => clusters::run(args, hub, output).await,
            Self::Check(args) => check::run(args, output),
            Self::Verify(args) => verify::run(args, hub, output).await,
            Self::Completions(args) => completions::run(&args, output),
        }
    }
}

#[cfg(test)]
mod drill_tests;
#[cfg(test)]
mod fake_hub;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tls_tests;
