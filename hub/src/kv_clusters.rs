//! Records of clusters in the key-value bucket `vitals_clusters`: written by `ClusterService`, watched for the core.
//!
//! A key is the slug of the cluster, its value the `ClusterRecord`; the revision of the records is the last sequence of the
//! bucket. Writes are compare-and-set. The bucket is read by our own [`read::Reader`], from its beginning after every loss of
//! sight. A value that is no record counts as none.
//!
//! What a forgotten cluster left in the streams is purged by whoever forgot it; if that one failed in between, by any replica
//! that finds it ([`sweep`]). A purge reaches no consumer: that the cluster is forgotten, the record alone says.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use async_nats::jetstream::{self, context::PublishErrorKind};
use prost::Message as _;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use vitals_hub_core::{ClusterRecord, Forgotten, StreamPoint};
use vitals_proto::identity::ClusterName;
use vitals_proto::v1;
use vitals_runtime::nats::Connection;
use vitals_runtime::tasks::Tasks;

use crate::cluster_records::{Error, Kept, LabelPatch, Labelled, Records, Store};
use crate::read::{self, Batch, Operation, ReadItem, Reader, Resume};
use crate::streams::CLUSTERS_BUCKET;

/// Attempts at a write that others keep overtaking.
const ATTEMPTS_MAX: usize = 8;

/// Who forgets a cluster is given so long to purge its messages before another replica does.
const SWEEP_AFTER: Duration = Duration::from_secs(15);

/// The records, once they were read.
pub type Read = Option<Arc<Records>>;

/// The bucket.
#[derive(Clone, Debug)]
pub struct KvClusters {
    context: jetstream::Context,
    config: jetstream::stream::Config,
}

/// A record as it stands in the bucket.
struct Stored {
    record: v1::ClusterRecord,
    /// 0 where there is none.
    sequence: u64,
}

impl KvClusters {
    /// With the configuration of its stream ([`crate::streams::Streams::clusters`]).
    pub fn new(connection: &Connection, config: jetstream::stream::Config) -> Self {
        Self { context: jetstream::new(connection.client().clone()), config }
    }

    /// Starts watching, and purging what others left. Ends when `tasks` is stopped.
    pub fn watch(
        &self,
        tasks: &Tasks,
        connection: &Connection,
        metrics: &read::Metrics,
    ) -> watch::Receiver<Read> {
        let (output, batches) = mpsc::channel(read::BATCHES_WAITING_MAX);
        let (connection, config) = (connection.clone(), self.config.clone());
        let reader = Reader::new(connection, config, Resume::Never, output, metrics.clone());
        tasks.spawn("reader of cluster records", reader.run(tasks.stopping()));
        let (records, receiver) = watch::channel(None);
        tasks.spawn("watch of cluster records", take_all(batches, records));
        let sweeping = sweep(self.clone(), receiver.clone(), tasks.stopping());
        tasks.spawn("purge of forgotten clusters", sweeping);
        receiver
    }

    async fn stored(&self, cluster: &ClusterName) -> Result<Stored, Error> {
        let unavailable =
            |reason: String| Error::Unavailable { doing: "read the record of a cluster", reason };
        let stream = self.context.get_stream_no_info(&self.config.name).await;
        let stream = stream.map_err(|error| unavailable(error.to_string()))?;
        match stream.get_last_raw_message_by_subject(&subject(cluster)).await {
            Ok(message) => {
                // What is no record counts as none, and is written over.
                let record = v1::ClusterRecord::decode(message.payload).unwrap_or_default();
                Ok(Stored { record, sequence: message.sequence })
            }
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => {
                Ok(Stored { record: v1::ClusterRecord::default(), sequence: 0 })
            }
            Err(error) => Err(unavailable(error.to_string())),
        }
    }

    /// Reads a record, changes it, and writes it; again if somebody else wrote it meanwhile. Where nothing changes nothing is
    /// written. Gives the record, and its revision.
    async fn update(
        &self,
        cluster: &ClusterName,
        change: impl Fn(&v1::ClusterRecord) -> Result<v1::ClusterRecord, Error> + Send + Sync,
    ) -> Result<Stored, Error> {
        for _ in 0..ATTEMPTS_MAX {
            let Stored { record: before, sequence } = self.stored(cluster).await?;
            let record = change(&before)?;
            if record == before {
                return Ok(Stored { record, sequence });
            }
            let message = PublishMessage::build()
                .payload(record.encode_to_vec().into())
                .expected_last_subject_sequence(sequence);
            let sent = match self.context.send_publish(subject(cluster), message).await {
                Ok(sent) => sent.await,
                Err(error) => Err(error),
            };
            match sent {
                Ok(ack) => return Ok(Stored { record, sequence: ack.sequence }),
                Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => {}
                Err(error) => {
                    let reason = error.to_string();
                    return Err(Error::Unavailable {
                        doing: "write the record of a cluster",
                        reason,
                    });
                }
            }
        }
        Err(Error::Conflict(cluster.clone()))
    }

    /// Purges what a cluster said up to a point of a stream. A stream that was made anew since has nothing of it.
    async fn purge_stream(&self, cluster: &ClusterName, point: &StreamPoint) -> Result<u64, Error> {
        let unavailable = |reason: String| Error::Unavailable {
            doing: "purge the messages of a cluster",
            reason,
        };
        let name = point.stream.as_str();
        let stream = self.context.get_stream(name).await;
        let stream = stream.map_err(|error| unavailable(error.to_string()))?;
        let created = stream.cached_info().created.unix_timestamp_nanos();
        if created != i128::from(point.incarnation_unix_ns) {
            return Ok(0);
        }
        let mut purged = 0;
        for filter in
            [format!("vitals.v1.object.{cluster}.>"), format!("vitals.v1.heartbeat.{cluster}.>")]
        {
            let before = point.sequence.saturating_add(1);
            let answer = stream.purge().filter(filter).sequence(before).await;
            purged += answer.map_err(|error| unavailable(error.to_string()))?.purged;
        }
        Ok(purged)
    }
}

#[tonic::async_trait]
impl Store for KvClusters {
    async fn label(&self, cluster: &ClusterName, patch: &LabelPatch) -> Result<Labelled, Error> {
        let label = |record: &v1::ClusterRecord| {
            let labels = patch.apply(&record.labels)?;
            Ok(v1::ClusterRecord { labels, ..record.clone() })
        };
        let Stored { record, sequence } = self.update(cluster, label).await?;
        Ok(Labelled { labels: record.labels, revision: sequence })
    }

    async fn forget(&self, cluster: &ClusterName, forgotten: &Forgotten) -> Result<u64, Error> {
        let forgotten = forgotten.to_wire();
        let forget = |record: &v1::ClusterRecord| {
            Ok(v1::ClusterRecord { forgotten: Some(forgotten.clone()), ..record.clone() })
        };
        Ok(self.update(cluster, forget).await?.sequence)
    }

    async fn purge(&self, cluster: &ClusterName, forgotten: &Forgotten) -> Result<u64, Error> {
        let mut purged = 0;
        for point in forgotten.position.points() {
            purged += self.purge_stream(cluster, &point).await?;
        }
        let position = forgotten.to_wire().position;
        let note = |record: &v1::ClusterRecord| {
            let mut record = record.clone();
            // It may have been forgotten again meanwhile.
            if let Some(forgotten) = record.forgotten.as_mut().filter(|it| it.position == position)
            {
                forgotten.purged = true;
            }
            Ok(record)
        };
        self.update(cluster, note).await?;
        tracing::info!(%cluster, purged, "messages of a forgotten cluster purged");
        Ok(purged)
    }
}

fn subject(cluster: &ClusterName) -> String {
    // A slug is a token, and a key, as it is.
    format!("$KV.{CLUSTERS_BUCKET}.{cluster}")
}

/// Whose it is, and its record where it has one. `None` for a key that is no cluster.
fn decoded(message: &read::Message) -> Option<(ClusterName, Option<Kept>)> {
    let key = message.subject.rsplit('.').next()?;
    let Ok(cluster) = key.parse::<ClusterName>() else {
        tracing::warn!(key, "skipped: its key is no name of a cluster");
        return None;
    };
    match message.operation {
        Operation::Put => {}
        Operation::Delete | Operation::Purge => return Some((cluster, None)),
    }
    let kept = v1::ClusterRecord::decode(message.payload.clone()).ok().and_then(|record| {
        let purged = record.forgotten.as_ref().is_some_and(|forgotten| forgotten.purged);
        Some(Kept { record: ClusterRecord::try_from(record).ok()?, purged })
    });
    if kept.is_none() {
        tracing::warn!(%cluster, "taken for none: its value is no record of a cluster");
    }
    Some((cluster, kept))
}

/// Keeps what the reader says as the records that there are.
async fn take_all(
    mut batches: mpsc::Receiver<Batch>,
    output: watch::Sender<Read>,
) -> Result<(), std::convert::Infallible> {
    let mut records = Records::default();
    let mut is_whole = false;
    while let Some(Batch { items, .. }) = batches.recv().await {
        for item in items {
            match item {
                ReadItem::SnapshotBegin { .. } => {
                    (records, is_whole) = (Records::default(), false);
                }
                ReadItem::SnapshotEnd { sequence } => {
                    (records.revision, is_whole) = (sequence, true);
                }
                ReadItem::Message(message) => {
                    records.revision = message.sequence;
                    match decoded(&message) {
                        Some((cluster, Some(kept))) => {
                            records.kept.insert(cluster, kept);
                        }
                        Some((cluster, None)) => {
                            records.kept.remove(&cluster);
                        }
                        None => {}
                    }
                }
                // What is known stays: labels do not become wrong by not being seen.
                ReadItem::Lost { reason } => {
                    tracing::warn!(%reason, "cannot see the records of clusters");
                }
                ReadItem::Resumed { .. } | ReadItem::Idle { .. } => {}
            }
        }
        if is_whole {
            let read = Some(Arc::new(records.clone()));
            output.send_if_modified(|said| {
                let is_news = *said != read;
                *said = read;
                is_news
            });
        }
    }
    Ok(())
}

/// Purges what somebody forgot and did not purge.
async fn sweep(
    store: KvClusters,
    mut records: watch::Receiver<Read>,
    stopping: CancellationToken,
) -> Result<(), std::convert::Infallible> {
    let unpurged = |read: &Read| {
        let unpurged = read.iter().flat_map(|records| records.unpurged());
        unpurged.map(|(name, forgotten)| (name.clone(), forgotten.clone())).collect::<Vec<_>>()
    };
    loop {
        let before = unpurged(&records.borrow_and_update());
        let waiting = async {
            if before.is_empty() {
                // The sender goes with the end of the hub.
                if records.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            } else {
                tokio::time::sleep(SWEEP_AFTER).await;
            }
        };
        tokio::select! {
            () = stopping.cancelled() => return Ok(()),
            () = waiting => {}
        }
        let still = unpurged(&records.borrow());
        for (cluster, forgotten) in before.into_iter().filter(|it| still.contains(it)) {
            if let Err(error) = store.purge(&cluster, &forgotten).await {
                tracing::warn!(%cluster, %error, "messages of a forgotten cluster not purged yet");
            }
        }
    }
}
