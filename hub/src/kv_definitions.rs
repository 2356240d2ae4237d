//! Entity definitions in the key-value bucket `vitals_entities`: written by `CatalogService`, watched for the core.
//!
//! A key is the reference of the entity, escaped into one token; its value the `EntityDefinition`. The
//! revision of the definitions is the last sequence of the bucket. Writes are compare-and-set and leave out
//! what is the same already: Backstage's bridge sends its whole catalog again and again.
//!
//! The bucket is read by our own [`read::Reader`], from its beginning after every loss of sight: nothing like the
//! heartbeats' digests would find what a resume missed. A value that is no definition counts as none.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, context::PublishErrorKind};
use bytes::Bytes;
use futures::StreamExt as _;
use prost::Message as _;
use tokio::sync::mpsc;
use vitals_proto::identity::EntityRef;
use vitals_proto::{token, v1};
use vitals_runtime::nats::Connection;
use vitals_runtime::tasks::Tasks;

use crate::definitions::{self, Definition, Listed, Store, StoreError};
use crate::read::{self, Batch, Message, Operation, ReadItem, Reader, Resume};
use crate::streams::ENTITIES_BUCKET;

/// What is read of definitions and waits for the core's loop.
const READS_WAITING_MAX: usize = 8;

/// Writes under way at once.
const WRITES_IN_FLIGHT_MAX: usize = 256;

/// Attempts at a write that others keep overtaking.
const ATTEMPTS_MAX: usize = 5;

/// The mark of a deleted key stands for so long. Nobody needs it later: a reader that was away reads anew.
const DELETED_TTL: Duration = Duration::from_secs(3_600);

/// What the watch says, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum DefinitionsRead {
    /// All that there are. They take the place of what was known.
    All {
        /// Of the definitions as a whole.
        revision: u64,
        /// By their reference.
        definitions: BTreeMap<EntityRef, Definition>,
    },
    /// What changed.
    Changed {
        /// Of the definitions as a whole.
        revision: u64,
        /// By their reference; `None` where one was deleted.
        definitions: BTreeMap<EntityRef, Option<Definition>>,
    },
    /// The bucket cannot be seen; what is known may be old. `All` follows.
    Lost {
        /// Why.
        reason: read::LostReason,
    },
}

/// The bucket.
#[derive(Clone, Debug)]
pub struct KvDefinitions {
    context: jetstream::Context,
    config: jetstream::stream::Config,
}

impl KvDefinitions {
    /// With the configuration of its stream ([`crate::streams::Streams::entities`]).
    pub fn new(connection: &Connection, config: jetstream::stream::Config) -> Self {
        Self { context: jetstream::new(connection.client().clone()), config }
    }

    /// Starts watching. Ends when `tasks` is stopped.
    pub fn watch(
        &self,
        tasks: &Tasks,
        connection: &Connection,
        metrics: &read::Metrics,
    ) -> mpsc::Receiver<DefinitionsRead> {
        let (output, batches) = mpsc::channel(read::BATCHES_WAITING_MAX);
        let (connection, config) = (connection.clone(), self.config.clone());
        let reader = Reader::new(connection, config, Resume::Never, output, metrics.clone());
        tasks.spawn("reader of definitions", reader.run(tasks.stopping()));
        let (reads, receiver) = mpsc::channel(READS_WAITING_MAX);
        // It ends with the reader, or with who listens; both end only at shutdown.
        tasks.spawn("watch of definitions", watch(batches, reads));
        receiver
    }

    /// What each subject of the bucket holds.
    async fn held(&self, doing: &'static str) -> Result<Held, StoreError> {
        let read::Contents { last_sequence, messages } =
            read::read_all(&self.context, &self.config.name)
                .await
                .map_err(|reason| StoreError::Unavailable { doing, reason: reason.to_string() })?;
        let by_subject = messages.into_iter().map(|message| (message.subject.to_string(), message));
        Ok(Held { revision: last_sequence, by_subject: by_subject.collect() })
    }

    /// Writes all, and waits for all. Gives the highest sequence of them, or 0 for none.
    async fn write(&self, writes: Vec<Write>) -> Result<Result<u64, EntityRef>, StoreError> {
        let write = |Write { entity, subject, message }| async move {
            let sent = match self.context.send_publish(subject, message).await {
                Ok(sent) => sent.await,
                Err(error) => Err(error),
            };
            (entity, sent)
        };
        let mut written = futures::stream::iter(writes.into_iter().map(write))
            .buffer_unordered(WRITES_IN_FLIGHT_MAX);
        let (mut revision, mut overtaken, mut failed) = (0, None, None);
        while let Some((entity, sent)) = written.next().await {
            match sent {
                Ok(ack) => revision = revision.max(ack.sequence),
                Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => {
                    overtaken = Some(entity);
                }
                Err(error) => failed = Some(error.to_string()),
            }
        }
        match (failed, overtaken) {
            (Some(reason), _) => {
                Err(StoreError::Unavailable { doing: "write definitions", reason })
            }
            (None, Some(entity)) => Ok(Err(entity)),
            (None, None) => Ok(Ok(revision)),
        }
    }

    /// Reads what there is, writes what differs, and again if somebody else wrote the same meanwhile.
    async fn converge(
        &self,
        differing: impl Fn(&Held) -> Vec<Write> + Send + Sync,
    ) -> Result<u64, StoreError> {
        let mut attempt = 1;
        loop {
            let held = self.held("read definitions").await?;
            match self.write(differing(&held)).await? {
                Ok(revision) => return Ok(revision.max(held.revision)),
                Err(entity) if attempt == ATTEMPTS_MAX => {
                    return Err(StoreError::Conflict { entity });
                }
                Err(_) => attempt += 1,
            }
        }
    }
}

#[tonic::async_trait]
impl Store for KvDefinitions {
    async fn put(&self, definitions: Vec<Definition>) -> Result<u64, StoreError> {
        let put = |held: &Held| {
            let writes = definitions.iter().filter_map(|definition| {
                let subject = subject(&definition.entity);
                let payload = Bytes::from(definition.wire.encode_to_vec());
                let message = PublishMessage::build().payload(payload.clone());
                let (sequence, value) = held.at(&subject);
                let differs = value != Some(&payload);
                let entity = definition.entity.clone();
                differs.then(|| Write::new(entity, subject, message, sequence))
            });
            writes.collect()
        };
        self.converge(put).await
    }

    async fn delete(&self, entities: Vec<EntityRef>) -> Result<u64, StoreError> {
        let delete = |held: &Held| {
            let writes = entities.iter().filter_map(|entity| {
                let subject = subject(entity);
                let (sequence, value) = held.at(&subject);
                let message =
                    PublishMessage::build().header("KV-Operation", "PURGE").ttl(DELETED_TTL);
                value.map(|_| Write::new(entity.clone(), subject, message, sequence))
            });
            writes.collect()
        };
        self.converge(delete).await
    }

    async fn list(&self) -> Result<Listed, StoreError> {
        let Held { revision, by_subject } = self.held("list definitions").await?;
        let definitions: BTreeMap<_, _> = by_subject
            .values()
            .filter_map(decoded)
            .filter_map(|(entity, definition)| Some((entity, definition?.wire)))
            .collect();
        Ok(Listed { definitions: definitions.into_values().collect(), revision })
    }
}

/// What the bucket held when it was read.
struct Held {
    revision: u64,
    by_subject: BTreeMap<String, Message>,
}

impl Held {
    /// The last sequence of a subject, 0 where it has none, and its value, where it has one.
    fn at(&self, subject: &str) -> (u64, Option<&Bytes>) {
        let Some(message) = self.by_subject.get(subject) else { return (0, None) };
        let value = match message.operation {
            Operation::Put => Some(&message.payload),
            Operation::Delete | Operation::Purge => None,
        };
        (message.sequence, value)
    }
}

struct Write {
    entity: EntityRef,
    subject: String,
    message: PublishMessage,
}

impl Write {
    /// Taken only while the subject's last sequence is this one.
    fn new(entity: EntityRef, subject: String, message: PublishMessage, sequence: u64) -> Self {
        Self { entity, subject, message: message.expected_last_subject_sequence(sequence) }
    }
}

fn subject(entity: &EntityRef) -> String {
    format!("$KV.{ENTITIES_BUCKET}.{}", token::escape(&entity.to_string()))
}

/// Whose it is, and its definition where it has one. `None` for a key that is no reference.
fn decoded(message: &Message) -> Option<(EntityRef, Option<Definition>)> {
    let key = message.subject.rsplit('.').next()?;
    let entity = token::unescape(key).ok().and_then(|text| text.parse::<EntityRef>().ok());
    let Some(entity) = entity else {
        tracing::warn!(key, "skipped: its key is no reference of an entity");
        return None;
    };
    let definition = match message.operation {
        Operation::Put => v1::EntityDefinition::decode(message.payload.clone())
            .ok()
            .and_then(|wire| definitions::check(wire).ok())
            .filter(|definition| definition.entity == entity),
        Operation::Delete | Operation::Purge => return Some((entity, None)),
    };
    if definition.is_none() {
        tracing::warn!(%entity, "taken for none: its value is no definition of it");
    }
    Some((entity, definition))
}

/// Turns what the reader says into definitions.
async fn watch(
    mut batches: mpsc::Receiver<Batch>,
    reads: mpsc::Sender<DefinitionsRead>,
) -> Result<(), std::convert::Infallible> {
    let mut watched = Watched::default();
    while let Some(Batch { items, .. }) = batches.recv().await {
        for read in watched.take(items) {
            if reads.send(read).await.is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// What was read and not yet said.
#[derive(Debug, Default)]
struct Watched {
    /// Of a snapshot that has not ended.
    snapshot: Option<BTreeMap<EntityRef, Definition>>,
}

impl Watched {
    fn take(&mut self, items: Vec<ReadItem>) -> Vec<DefinitionsRead> {
        let mut reads = Vec::new();
        let (mut revision, mut changed) = (0, BTreeMap::new());
        for item in items {
            match item {
                ReadItem::SnapshotBegin { .. } => self.snapshot = Some(BTreeMap::new()),
                ReadItem::SnapshotEnd { sequence } => {
                    let definitions = self.snapshot.take().unwrap_or_default();
                    reads.push(DefinitionsRead::All { revision: sequence, definitions });
                }
                ReadItem::Lost { reason } => reads.push(DefinitionsRead::Lost { reason }),
                ReadItem::Resumed { .. } | ReadItem::Idle { .. } => {}
                ReadItem::Message(message) => {
                    let Some((entity, definition)) = decoded(&message) else { continue };
                    match (&mut self.snapshot, definition) {
                        (Some(snapshot), Some(definition)) => {
                            snapshot.insert(entity, definition);
                        }
                        (Some(snapshot), None) => {
                            snapshot.remove(&entity);
                        }
                        (None, definition) => {
                            revision = message.sequence;
                            changed.insert(entity, definition);
                        }
                    }
                }
            }
        }
        // Said last: the reader says a loss alone, and changes only behind the end of a snapshot.
        if !changed.is_empty() {
            reads.push(DefinitionsRead::Changed { revision, definitions: changed });
        }
        reads
    }
}
