//! The streams and buckets that Vitals lives on: made where they are missing, compared where they exist.
//!
//! What exists and differs is never changed here: a person decides, and is told setting by setting what is
//! and what should be. PROTOCOL.md, "Subjects and streams", says why each setting is as it is.

mod flags;
mod settings;
mod strict;

use std::fmt;
use std::time::Duration;

use async_nats::jetstream::context::{CreateStreamError, GetStreamError, GetStreamErrorKind};
use async_nats::jetstream::stream::{
    Compression, Config, DiscardPolicy, RetentionPolicy, StorageType,
};
use async_nats::jetstream::{Context, ErrorCode};
use vitals_proto::{limits, subject};

pub use flags::{ObjectsStream, ObjectsStreamError, StreamArgs};
pub use settings::Difference;
pub use strict::check as check_strict;

/// Key-value bucket of entity definitions.
pub const ENTITIES_BUCKET: &str = "vitals_entities";
/// Key-value bucket of what was told.
pub const STATE_BUCKET: &str = "vitals_state";
/// Key-value bucket of cluster labels.
pub const CLUSTERS_BUCKET: &str = "vitals_clusters";

/// How long history is kept.
const HISTORY_AGE_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);

/// Largest value of a bucket with its headers: a definition (64 KiB at most) and room. Bytes.
const VALUE_BYTES_MAX: i32 = 72 * 1024;

/// Why the streams are not there as they should be.
///
/// `Find` and `Create` are retried with backoff while NATS starts; `Differs` and `NotStrict` are final until
/// somebody changes the server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server did not say what there is.
    #[error("cannot look up stream {stream}")]
    Find {
        /// Its name.
        stream: String,
        /// Why not.
        source: GetStreamError,
    },
    /// The server did not make it.
    #[error("cannot make stream {stream}")]
    Create {
        /// Its name.
        stream: String,
        /// Why not.
        source: CreateStreamError,
    },
    /// It exists, with other settings.
    #[error(
        "stream {stream} exists with other settings than Vitals needs: {}; \
         change them (`nats stream edit {stream}`), or the flags of the hub",
        Listed(differences)
    )]
    Differs {
        /// Its name.
        stream: String,
        /// All of them.
        differences: Vec<Difference>,
    },
    /// The server did not say whether it is strict.
    #[error("cannot ask the server whether JetStream is in strict mode")]
    Probe(#[source] async_nats::jetstream::context::RequestError),
    /// JetStream is not in strict mode.
    #[error(
        "JetStream of the NATS server is not in strict mode, in which forged requests are refused: \
         remove `strict: false` from `jetstream` in its configuration"
    )]
    NotStrict,
}

/// All that Vitals needs, as the flags say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Streams {
    /// The set of OBJECTS streams, ordered by name: one at least.
    pub objects: Vec<Config>,
    /// Health transitions, changes and alerts.
    pub history: Vec<Config>,
    /// Definitions of entities.
    pub entities: Config,
    /// What was told.
    pub state: Config,
    /// Labels of clusters.
    pub clusters: Config,
}

impl Streams {
    /// As the flags say.
    pub fn new(args: &StreamArgs) -> Self {
        let StreamArgs { objects_streams, objects_max_mib, history_max_mib, replicas } = args;
        let replicas = usize::from(*replicas);
        let mut objects: Vec<_> = objects_streams
            .iter()
            .map(|stream| objects_stream(stream, bytes(*objects_max_mib), replicas))
            .collect();
        objects.sort_by(|one, other| one.name.cmp(&other.name));
        let history = [
            ("VITALS_HEALTH", subject::HEALTH),
            ("VITALS_CHANGES", subject::CHANGES),
            ("VITALS_ALERTS", subject::ALERTS),
        ];
        let history = history.map(|(name, subject)| {
            history_stream(name, subject, bytes(*history_max_mib), replicas)
        });
        let bucket = |name| bucket(name, bytes(*history_max_mib), replicas);
        Self {
            objects,
            history: history.into(),
            entities: bucket(ENTITIES_BUCKET),
            state: bucket(STATE_BUCKET),
            clusters: bucket(CLUSTERS_BUCKET),
        }
    }

    /// Makes what is missing and compares what exists. The first that differs is the error.
    pub async fn ensure(&self, context: &Context) -> Result<(), Error> {
        let Self { objects, history, entities, state, clusters } = self;
        for config in objects.iter().chain(history).chain([entities, state, clusters]) {
            ensure(context, config).await?;
        }
        Ok(())
    }
}

/// Makes one stream, or compares it with what exists.
pub async fn ensure(context: &Context, wanted: &Config) -> Result<(), Error> {
    let stream = wanted.name.clone();
    let found = match find(context, &stream).await? {
        Some(found) => found,
        None => {
            // Another replica may make it at the same time: the same settings are no error.
            let created = context.create_stream(wanted.clone()).await;
            let created =
                created.map_err(|source| Error::Create { stream: stream.clone(), source })?;
            tracing::info!(%stream, "stream made");
            created.cached_info().config.clone()
        }
    };
    let differences = settings::differences(&found, wanted);
    if differences.is_empty() { Ok(()) } else { Err(Error::Differs { stream, differences }) }
}

async fn find(context: &Context, stream: &str) -> Result<Option<Config>, Error> {
    match context.get_stream(stream).await {
        Ok(found) => Ok(Some(found.cached_info().config.clone())),
        Err(source) => match source.kind() {
            GetStreamErrorKind::JetStream(error)
                if error.error_code() == ErrorCode::STREAM_NOT_FOUND =>
            {
                Ok(None)
            }
            GetStreamErrorKind::JetStream(_)
            | GetStreamErrorKind::EmptyName
            | GetStreamErrorKind::Request
            | GetStreamErrorKind::InvalidStreamName => {
                Err(Error::Find { stream: stream.to_owned(), source })
            }
        },
    }
}

fn objects_stream(stream: &ObjectsStream, max_bytes: i64, num_replicas: usize) -> Config {
    Config {
        name: stream.name.clone(),
        subjects: stream.subjects.clone(),
        max_messages_per_subject: 1,
        allow_message_ttl: true,
        allow_direct: true,
        max_message_size: i32::try_from(limits::MESSAGE_BYTES_MAX).unwrap_or(i32::MAX),
        max_bytes,
        // Full refuses new subjects; the default would silently evict the quietest objects.
        discard: DiscardPolicy::New,
        compression: Some(Compression::S2),
        ..plain(num_replicas)
    }
}

fn history_stream(name: &str, subject: &str, max_bytes: i64, num_replicas: usize) -> Config {
    Config {
        name: name.to_owned(),
        subjects: vec![subject.to_owned()],
        max_age: HISTORY_AGE_MAX,
        max_bytes,
        discard: DiscardPolicy::Old,
        allow_direct: true,
        deny_delete: true,
        deny_purge: true,
        compression: Some(Compression::S2),
        ..plain(num_replicas)
    }
}

/// As every key-value client makes its buckets (ADR-8), with a history of 1.
fn bucket(name: &str, max_bytes: i64, num_replicas: usize) -> Config {
    Config {
        name: format!("KV_{name}"),
        subjects: vec![format!("$KV.{name}.>")],
        max_messages_per_subject: 1,
        max_message_size: VALUE_BYTES_MAX,
        max_bytes,
        discard: DiscardPolicy::New,
        // What clients send to purge a key is a rollup of its subject. Only the hub may write here.
        allow_rollup: true,
        // Our own marks of deleted keys expire.
        allow_message_ttl: true,
        allow_direct: true,
        deny_delete: true,
        compression: Some(Compression::S2),
        ..plain(num_replicas)
    }
}

fn plain(num_replicas: usize) -> Config {
    Config {
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        max_messages: -1,
        max_messages_per_subject: -1,
        max_consumers: -1,
        num_replicas,
        ..Config::default()
    }
}

fn bytes(mib: u32) -> i64 {
    i64::from(mib) * 1024 * 1024
}

struct Listed<'a>(&'a [Difference]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Difference { setting, is, should }) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(formatter, "{separator}{setting} is {is}, should be {should}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        streams: StreamArgs,
    }

    #[test]
    fn objects_are_as_the_protocol_says() {
        let streams = Streams::new(&Command::parse_from(["hub"]).streams);
        let [objects] = streams.objects.as_slice() else { panic!("one by default") };
        assert_eq!(objects.name, "VITALS_OBJECTS");
        assert_eq!(objects.subjects, ["vitals.v1.object.>", "vitals.v1.heartbeat.>"]);
        assert_eq!(objects.max_message_size, 65_536);
        assert_eq!(objects.discard, DiscardPolicy::New);
        assert!(!objects.allow_rollup && objects.subject_delete_marker_ttl.is_none());
    }

    #[test]
    fn a_difference_is_told_by_setting() {
        let streams = Streams::new(&Command::parse_from(["hub", "--replicas", "3"]).streams);
        let wanted = streams.objects[0].clone();
        let found = Config { num_replicas: 1, max_bytes: 5, ..wanted.clone() };
        let differences = settings::differences(&found, &wanted);
        let error = Error::Differs { stream: wanted.name, differences };
        let want = "stream VITALS_OBJECTS exists with other settings than Vitals needs: \
                    max_bytes is 5, should be 1073741824; num_replicas is 1, should be 3; \
                    change them (`nats stream edit VITALS_OBJECTS`), or the flags of the hub";
        assert_eq!(error.to_string(), want);
    }
}
