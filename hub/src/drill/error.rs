//! Why a cluster is not asked, or does not answer. `serve` makes gRPC codes of it.

use vitals_proto::identity::ClusterName;
use vitals_proto::v1::{RequestError, RequestRefusal};

/// Why there is no answer. Shared by all who asked for the same. `NoAgent`, `Silent`, `Broken`, `Unread` and `Stopping` may pass,
/// and so may `TooMuch`; the others are final until somebody changes something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The hub has not read its streams yet.
    #[error("the hub is not ready yet: it is reading the objects for the first time")]
    Unread,
    /// No agent ever said anything of this cluster.
    #[error("the hub knows no cluster {0}: `vitals clusters` (ListClusters) says which there are")]
    UnknownCluster(ClusterName),
    /// Nobody listens.
    #[error("no agent of cluster {cluster} can be asked: {seen}")]
    NoAgent {
        /// Which.
        cluster: ClusterName,
        /// How the hub sees it.
        seen: String,
    },
    /// Somebody listens, and nobody says a word.
    #[error("no agent of cluster {cluster} answered in time: {seen}")]
    Silent {
        /// Which.
        cluster: ClusterName,
        /// How the hub sees it.
        seen: String,
    },
    /// The agent says no.
    #[error("{message}")]
    Refused {
        /// Why.
        reason: RequestRefusal,
        /// What it says, and what to do.
        message: String,
    },
    /// The agent's answer is none.
    #[error("the answer of the agent of cluster {0} cannot be read: is it of another version?")]
    Unreadable(ClusterName),
    /// The question could not be sent.
    #[error("cluster {cluster} cannot be asked: {reason}")]
    NotSent {
        /// Which.
        cluster: ClusterName,
        /// Why not.
        reason: String,
    },
    /// A log ended before its end.
    #[error("the log of {pod} broke off: {reason}; ask again")]
    Broken {
        /// Which.
        pod: String,
        /// Why.
        reason: &'static str,
    },
    /// Too much at once.
    #[error("{0}")]
    TooMuch(String),
    /// The hub ends.
    #[error("the hub is stopping: ask again")]
    Stopping,
}

impl Error {
    /// What an agent said.
    pub(super) fn refused(error: RequestError) -> Self {
        let reason = error.reason();
        Self::Refused { reason, message: error.message }
    }

    /// The agent of another scope may know better: it has other rights, or is there.
    pub(super) fn may_differ_elsewhere(&self) -> bool {
        match self {
            Self::Silent { .. } => true,
            Self::Refused { reason, .. } => match reason {
                RequestRefusal::Off | RequestRefusal::Forbidden => true,
                RequestRefusal::Unspecified
                | RequestRefusal::Invalid
                | RequestRefusal::NotFound
                | RequestRefusal::Secret
                | RequestRefusal::Busy
                | RequestRefusal::TooLarge
                | RequestRefusal::Unreachable => false,
            },
            Self::Invalid(_)
            | Self::Unread
            | Self::UnknownCluster(_)
            | Self::NoAgent { .. }
            | Self::Unreadable(_)
            | Self::NotSent { .. }
            | Self::Broken { .. }
            | Self::TooMuch(_)
            | Self::Stopping => false,
        }
    }
}
