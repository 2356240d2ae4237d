//! Why a command failed, and what to do about it.
//!
//! All are final for the command; only [`crate::follow`] tries again, what [`Error::is_transient`] says may pass.

use rustls::CertificateError;
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
    /// Somebody answers at the hub's address, but not with TLS that can be trusted.
    #[error("cannot speak TLS with the hub at {hub}: {hint}")]
    Tls {
        /// Its address.
        hub: String,
        /// What to do.
        hint: &'static str,
        /// Why not.
        source: Status,
    },
    /// The connection stood, and broke before the answer was whole.
    #[error("the connection to the hub at {hub} broke: {hint}")]
    Broken {
        /// Its address.
        hub: String,
        /// What it may be.
        hint: &'static str,
        /// What happened.
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
        // Where the connection broke, tonic says Unknown, Cancelled or Internal, and Unavailable where none was made; and there
        // is an error of the transport below. What the hub itself said has none.
        let may_have_broken =
            matches!(code, Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal);
        if may_have_broken && std::error::Error::source(&status).is_some() {
            if let Some(error) = tls_error(&status) {
                return Self::Tls { hub, hint: tls_hint(error), source: status };
            }
            if code == Code::Unavailable {
                return Self::Unreachable { hub, source: status };
            }
            let hint = if hub.starts_with("https://") {
                "has it ended?"
            } else {
                "has it ended, or does it want TLS? Then name it with https://"
            };
            return Self::Broken { hub, hint, source: status };
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
            // Certificates are renewed.
            Self::Tls { .. } => true,
            Self::Unreachable { .. }
            | Self::Broken { .. }
            | Self::NotReady { .. }
            | Self::Silent { .. } => true,
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

/// What of TLS failed, where that is what failed.
fn tls_error(status: &Status) -> Option<&rustls::Error> {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        // An I/O error that was made of another names as its source what lies below that one.
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if let Some(found) = inner.and_then(|inner| inner.downcast_ref()) {
            return Some(found);
        }
        source = error.source();
    }
    None
}

fn tls_hint(error: &rustls::Error) -> &'static str {
    use CertificateError as Problem;
    if let rustls::Error::InvalidMessage(_) = error {
        return "what it answers is no TLS. Name it with http:// if it has none";
    }
    let rustls::Error::InvalidCertificate(problem) = error else {
        return "it wants TLS in another way";
    };
    // With a signature that does not fit, another authority has the same name.
    if matches!(problem, Problem::UnknownIssuer | Problem::BadSignature) {
        return "no authority that is trusted here has signed its certificate. Give the one that has by --tls-ca FILE";
    }
    if matches!(problem, Problem::NotValidForName | Problem::NotValidForNameContext { .. }) {
        return "its certificate is for another name. Give --hub a name that the certificate has";
    }
    if matches!(
        problem,
        Problem::Expired
            | Problem::ExpiredContext { .. }
            | Problem::NotValidYet
            | Problem::NotValidYetContext { .. }
    ) {
        return "its certificate does not hold now. Renew it, or set the clock";
    }
    "its certificate cannot be used. It needs one for servers, signed by the authority that --tls-ca FILE gives"
}
