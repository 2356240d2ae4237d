//! The one place where our errors become gRPC codes. Messages say what to do.

use tonic::{Code, Status};
use vitals_proto::identity;
use vitals_proto::v1::RequestRefusal;

use super::limits::Exceeded;
use crate::{cluster_records, definitions, drill, history, query, view};

/// Why a request is not served.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The request cannot be understood; the client has to change it.
    #[error("{0}")]
    Invalid(String),
    /// What was asked for is not there. (Not: could not be seen.)
    #[error("{0}")]
    NotFound(String),
    #[error(transparent)]
    Limit(#[from] Exceeded),
    #[error("as many trees are watched here as can be: try another replica, or GetEntityTree")]
    Trees,
    #[error(transparent)]
    Core(#[from] query::Error),
    #[error(transparent)]
    Filter(#[from] view::filter::Error),
    #[error(transparent)]
    Name(#[from] identity::Error),
    #[error(transparent)]
    Store(#[from] definitions::StoreError),
    #[error(transparent)]
    Drill(#[from] drill::Error),
    #[error(transparent)]
    Records(#[from] cluster_records::Error),
    #[error(transparent)]
    History(#[from] history::Error),
    /// It must not be done as things are; somebody has to change them first.
    #[error("{0}")]
    Precondition(String),
    /// It cannot be done or known now; it may be tried again.
    #[error("{0}")]
    Unavailable(String),
    /// The hub has not read its first snapshot.
    #[error("the hub is not ready yet: {0}; try again in a few seconds, or at another replica")]
    NotReady(String),
    /// This version does not serve the method.
    #[error("{0} is not served by this version of the hub")]
    Unimplemented(&'static str),
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Invalid(_) | Error::Filter(_) | Error::Name(_) => {
                Self::invalid_argument(message)
            }
            Error::NotFound(_) => Self::not_found(message),
            Error::Limit(_) | Error::Trees => Self::resource_exhausted(message),
            Error::Core(_)
            | Error::NotReady(_)
            | Error::Unavailable(_)
            | Error::History(_)
            | Error::Records(cluster_records::Error::Unavailable { .. }) => {
                Self::unavailable(message)
            }
            Error::Records(cluster_records::Error::Conflict(_)) => Self::aborted(message),
            Error::Records(cluster_records::Error::Labels(_)) => Self::invalid_argument(message),
            Error::Precondition(_) => Self::failed_precondition(message),
            Error::Store(definitions::StoreError::Unavailable { .. }) => Self::unavailable(message),
            Error::Store(definitions::StoreError::Conflict { .. }) => Self::aborted(message),
            Error::Drill(error) => Self::new(code_of_drill(&error), message),
            Error::Unimplemented(_) => Self::unimplemented(message),
        }
    }
}

fn code_of_drill(error: &drill::Error) -> Code {
    match error {
        drill::Error::Invalid(_) => Code::InvalidArgument,
        drill::Error::UnknownCluster(_) => Code::NotFound,
        drill::Error::TooMuch(_) => Code::ResourceExhausted,
        drill::Error::Unreadable(_) => Code::Internal,
        drill::Error::Unread
        | drill::Error::NoAgent { .. }
        | drill::Error::Silent { .. }
        | drill::Error::NotSent { .. }
        | drill::Error::Broken { .. }
        | drill::Error::Stopping => Code::Unavailable,
        drill::Error::Refused { reason, .. } => match reason {
            RequestRefusal::Invalid => Code::InvalidArgument,
            // Somebody has to change something before it is asked again.
            RequestRefusal::Off | RequestRefusal::TooLarge => Code::FailedPrecondition,
            RequestRefusal::Forbidden | RequestRefusal::Secret => Code::PermissionDenied,
            RequestRefusal::NotFound => Code::NotFound,
            RequestRefusal::Busy => Code::ResourceExhausted,
            RequestRefusal::Unreachable => Code::Unavailable,
            // Of a newer agent.
            RequestRefusal::Unspecified => Code::Unknown,
        },
    }
}
