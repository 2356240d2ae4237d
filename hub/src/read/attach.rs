//! Finds the stream, decides where reading begins, and makes the consumer for it.

use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::{self, ErrorCode};
use async_nats::{HeaderMap, StatusCode};
use jiff::Timestamp;
use tokio::time::Instant;

use super::Resume;
pub(super) use super::history::Found;
use super::history::Mark;
use super::item::{LostReason, SnapshotReason};
use super::pull::{AttachError, Pull};

/// A consumer, and where it begins.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) pull: Pull,
    pub(super) found: Found,
    pub(super) begin: Begin,
}

/// Where reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    Snapshot(SnapshotReason),
    /// Behind the mark.
    Resume(Mark),
}

/// One attempt.
pub(super) async fn attach(
    context: &jetstream::Context,
    stream: &str,
    resume: Resume,
    mark: Option<Mark>,
) -> Result<Attached, LostReason> {
    let found = find(context, stream).await?;
    let begin = match (resume, mark) {
        (_, None) => Begin::Snapshot(SnapshotReason::First),
        (Resume::Never, Some(mark)) => match mark.compare(&found, Instant::now()) {
            Ok(()) => Begin::Snapshot(SnapshotReason::Always),
            Err(reason) => Begin::Snapshot(reason),
        },
        (Resume::WherePossible, Some(mark)) => match mark.compare(&found, Instant::now()) {
            Ok(()) => {
                let later = first_later(context, stream, mark).await?;
                mark.compare_later(later).map_or_else(Begin::Snapshot, |()| Begin::Resume(mark))
            }
            Err(reason) => Begin::Snapshot(reason),
        },
    };
    let deliver_policy = match begin {
        Begin::Snapshot(_) => DeliverPolicy::All,
        Begin::Resume(mark) => DeliverPolicy::ByStartSequence { start_sequence: mark.sequence + 1 },
    };
    let pull = Pull::attach(context, stream, "", deliver_policy).await.map_err(refused)?;
    // The consumer belongs to the stream that was there when it was made: it must be the one decided upon. A
    // store is put back only while the server is down, which also ends the connection and this attempt.
    let found_now = find(context, stream).await?;
    if found_now.incarnation_unix_ns != found.incarnation_unix_ns {
        return Err(LostReason::ConsumerGone);
    }
    Ok(Attached { pull, found, begin })
}

/// The stream as the server describes it.
pub(super) async fn find(context: &jetstream::Context, stream: &str) -> Result<Found, LostReason> {
    let stream = context.get_stream(stream).await.map_err(|error| match error.kind() {
        GetStreamErrorKind::JetStream(error)
            if error.error_code() == ErrorCode::STREAM_NOT_FOUND =>
        {
            LostReason::StreamMissing
        }
        GetStreamErrorKind::JetStream(_)
        | GetStreamErrorKind::EmptyName
        | GetStreamErrorKind::Request
        | GetStreamErrorKind::InvalidStreamName => LostReason::Refused(error.to_string()),
    })?;
    let info = stream.cached_info();
    Ok(Found {
        incarnation_unix_ns: unix_ns(info.created.unix_timestamp_nanos()),
        last_sequence: info.state.last_sequence,
        last_published_unix_ns: unix_ns(info.state.last_timestamp.unix_timestamp_nanos()),
    })
}

/// The first sequence whose message is later in time than what was read.
async fn first_later(
    context: &jetstream::Context,
    stream: &str,
    mark: Mark,
) -> Result<Option<u64>, LostReason> {
    let unreadable = || LostReason::Refused("the server's answer cannot be read".to_owned());
    let after_ns = i128::from(mark.published_unix_ns) + 1;
    let after = Timestamp::from_nanosecond(after_ns).map_err(|_| unreadable())?;
    let request = format!(r#"{{"start_time":"{after}","next_by_subj":">"}}"#);
    let subject = format!("$JS.API.DIRECT.GET.{stream}");
    let answer = context.client().request(subject, request.into()).await;
    let answer = answer.map_err(|error| LostReason::Refused(error.to_string()))?;
    match answer.status {
        Some(StatusCode::NOT_FOUND) => Ok(None),
        Some(status) => {
            let why = answer.description.unwrap_or_default();
            Err(LostReason::Refused(format!("cannot look back in the stream: {status} {why}")))
        }
        None => {
            let sequence =
                |headers: &HeaderMap| headers.get("Nats-Sequence")?.as_str().parse().ok();
            answer.headers.as_ref().and_then(sequence).map(Some).ok_or_else(unreadable)
        }
    }
}

pub(super) fn refused(error: AttachError) -> LostReason {
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
    LostReason::Refused(format!("{error}{}", cause.unwrap_or_default()))
}

/// A stream without messages has the year 1 as the time of its last one.
fn unix_ns(nanoseconds: i128) -> i64 {
    i64::try_from(nanoseconds).unwrap_or(0)
}
