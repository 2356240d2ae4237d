//! Why a command failed, and what to do about it.
//!
//! All are final for the command; only [`crate::follow`] tries again, what [`Error::is_transient`] says may pass.

use tonic::{Code, Status};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers at the hub's address.
    #[error(
        "cannot reach the hub at {hub}: is it running? Start one with `vitals up`, or name another with --hub or VITALS_HUB"
    )]
    Unreachable {
        /// Its address.
        hub: String,
        /// Why not.
        source: Status,
    },
    /// The hub is there and cannot answer yet, or not any more.
    #[error("the hub at {hub} is not ready: {message}. Try again in a moment")]
    NotReady {
        /// Its address.
        hub: String,
        /// What it said.
        message: String,
    },
    /// The hub wants a token, or another one.
    #[error(
        "the hub at {hub} does not take the token ({message}): give the right one by --token-file or VITALS_TOKEN"
    )]
    Token {
        /// Its address.
        hub: String,
        /// What it said.
        message: String,
    },
    /// The hub said no.
    #[error("the hub at {hub} refused: {message} ({code:?})")]
    Refused {
        /// Its address.
        hub: String,
        /// Its code.
        code: Code,
        /// What it said.
        message: String,
    },
    /// A watch said nothing for longer than it may.
    #[error("the watch at {hub} fell silent")]
    Silent {
        /// Address of the hub.
        hub: String,
    },
    /// The address, the certificate or the token cannot be used.
    #[error("cannot use {what}")]
    Setting {
        /// Which.
        what: String,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What was asked for is not there.
    #[error("{what} is not known to the hub. {hint}")]
    NotFound {
        /// Which.
        what: String,
        /// What to do.
        hint: String,
    },
    /// What was written on the command line means nothing.
    #[error("{0}")]
    Usage(String),
    /// What was written is right, and something that it needs is not there now.
    #[error("{0}")]
    Unavailable(String),
    /// An answer of the hub lacks what it must have.
    #[error("cannot read the hub's answer: {0}")]
    Answer(String),
    /// Standard output is gone or full.
    #[error("cannot write the output")]
    Output(#[from] std::io::Error),
    /// A message could not be written as JSON or YAML.
    #[error("cannot write {what}")]
    Encode {
        /// The type of the message.
        what: &'static str,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Something of `vitals up` does not start, or did not last.
    #[error("cannot run {what}")]
    Start {
        /// Which.
        what: String,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The comparison could not be made.
    #[error(transparent)]
    Oracle(#[from] crate::oracle::Error),
}

impl Error {
    /// From what the hub at this address answered, or what the connection to it did.
    #[must_use]
    pub fn of(hub: &str, status: Status) -> Self {
        let (hub, code) = (hub.to_owned(), status.code());
        // Where the connection broke, tonic says Unavailable, Unknown, Cancelled or Internal, and there is an I/O error
        // below; what the hub itself said has none.
        let may_have_broken =
            matches!(code, Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal);
        if may_have_broken && std::error::Error::source(&status).is_some() {
            return Self::Unreachable { hub, source: status };
        }
        let message = status.message().to_owned();
        if code == Code::Unavailable {
            return Self::NotReady { hub, message };
        }
        if code == Code::Unauthenticated {
            return Self::Token { hub, message };
        }
        Self::Refused { hub, code, message }
    }

    /// May be over when tried again.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::NotReady { .. } | Self::Silent { .. } => true,
            Self::Refused { code, .. } => matches!(
                code,
                Code::Aborted | Code::Cancelled | Code::DeadlineExceeded | Code::ResourceExhausted
            ),
            Self::Token { .. }
            | Self::Setting { .. }
            | Self::NotFound { .. }
            | Self::Usage(_)
            | Self::Unavailable(_)
            | Self::Answer(_)
            | Self::Output(_)
            | Self::Encode { .. }
            | Self::Start { .. }
            | Self::Oracle(_) => false,
        }
    }

    /// The reader of our output has gone (`vitals get | head`): no failure of ours.
    #[must_use]
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe)
    }

    /// What lies at the bottom, in one line; `None` where the message says it all.
    #[must_use]
    pub fn root_cause(&self) -> Option<String> {
        let mut deepest = std::error::Error::source(self)?;
        while let Some(source) = deepest.source() {
            deepest = source;
        }
        Some(match deepest.downcast_ref::<Status>() {
            Some(status) => status.message().to_owned(),
            None => deepest.to_string(),
        })
    }
}
