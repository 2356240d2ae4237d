//! What a hub is given in files: loaded into NATS at its start, from where all replicas read it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use vitals_proto::identity::ClusterName;
use vitals_runtime::backoff::Backoff;

use super::{RETRY_DELAY_MAX, RETRY_DELAY_MIN};
use crate::cluster_records::{Error as RecordsError, LabelPatch, Labelled, Store as _};
use crate::definitions::{Store as _, StoreError, files};
use crate::kv_clusters::KvClusters;
use crate::kv_definitions::KvDefinitions;

/// Loads definition files into NATS, and tries until it has.
pub(super) async fn definitions(
    paths: Vec<PathBuf>,
    store: Arc<KvDefinitions>,
    stopping: CancellationToken,
) -> Result<(), tokio::task::JoinError> {
    let reading = tokio::task::spawn_blocking(move || {
        let read = paths.iter().map(|path| files::read(path));
        read.fold((Vec::new(), Vec::new()), |(mut all, mut problems), (more, wrong)| {
            all.extend(more);
            problems.extend(wrong);
            (all, problems)
        })
    });
    let (definitions, problems) = reading.await?;
    for problem in &problems {
        tracing::warn!(%problem, "definition left out");
    }
    let count = definitions.len();
    let mut backoff = Backoff::new(RETRY_DELAY_MIN, RETRY_DELAY_MAX);
    loop {
        let put = tokio::select! {
            put = store.put(definitions.clone()) => put,
            () = stopping.cancelled() => return Ok(()),
        };
        match put {
            Ok(revision) => {
                tracing::info!(count, revision, "definitions loaded");
                return Ok(());
            }
            Err(error @ (StoreError::Unavailable { .. } | StoreError::Conflict { .. })) => {
                tracing::warn!(%error, "definitions not loaded yet; trying again");
            }
        }
        tokio::time::sleep(backoff.next_delay()).await;
    }
}

/// Sets the labels of a file, and tries until it has.
pub(super) async fn labels(
    patches: BTreeMap<ClusterName, LabelPatch>,
    records: Arc<KvClusters>,
    stopping: CancellationToken,
) -> Result<(), std::convert::Infallible> {
    for (cluster, patch) in patches {
        let mut backoff = Backoff::new(RETRY_DELAY_MIN, RETRY_DELAY_MAX);
        loop {
            let labelled = tokio::select! {
                labelled = records.label(&cluster, &patch) => labelled,
                () = stopping.cancelled() => return Ok(()),
            };
            match labelled {
                Ok(Labelled { labels, .. }) => {
                    tracing::info!(%cluster, ?labels, "labels of a cluster are those of the file");
                    break;
                }
                Err(error @ RecordsError::Labels(_)) => {
                    tracing::error!(%cluster, %error, "labels of the file left out");
                    break;
                }
                Err(error @ (RecordsError::Unavailable { .. } | RecordsError::Conflict(_))) => {
                    tracing::warn!(%cluster, %error, "labels of a cluster not set yet; trying again");
                }
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }
    Ok(())
}
