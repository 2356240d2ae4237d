//! What an agent is told once, and what it tells its shell.

use vitals_proto::{
    identity::{ClusterName, Scope},
    kind::Kind,
    rule::Rules,
};

/// What an agent is told once.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which cluster.
    pub cluster: ClusterName,
    /// What it watches of it.
    pub scope: Scope,
    /// What the cluster is called where the credentials are from.
    pub cluster_title: String,
    /// Version of the agent.
    pub agent_version: String,
    /// What it watches, owners before what they own.
    pub kinds: Vec<Kind>,
    /// How it knows that it is the only one.
    pub leadership: Leadership,
    /// Most bytes of state that wait for NATS. Full: the watches are not read on.
    pub outbox_bytes_max: usize,
    /// Spreads retries.
    pub seed: u64,
    /// [`Rules::ALL`], but in law tests.
    pub rules: Rules,
}

/// How an agent knows that it is the only one of its scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leadership {
    /// It holds the Lease.
    Lease,
    /// Whoever started it sees to it.
    Alone,
}

/// What the shell is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Watch this kind, or anew where it is watched already: first a consistent list, and nothing any more of before.
    Watch(Kind),
    /// List this kind again, consistently, through its running watch.
    Relist(Kind),
    /// The process was frozen: another may hold the Lease. Take it again, and begin an epoch.
    RetakeLease,
}
