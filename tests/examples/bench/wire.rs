//! Bytes on NATS for each change, beside the JSON that a watch sends for it, while controllers roll applications out.
//!
//! A message counts as NATS counts it: subject, reply subject, headers and payload. A watch event counts with its line.
//! The agent coalesces, so that there are fewer messages than events; the figures are per message and per event, weighted by
//! the events of each kind, and take no credit for that.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use anyhow::{Context as _, Result, bail};
use futures::StreamExt as _;
use kube::Client;
use tokio::task::JoinSet;
use vitals_proto::{kind::Kind, token};

use crate::{
    kube_watch,
    landscape::Landscape,
    table::{Budget, Row, Table},
};

/// Events that are kept for [`crate::cpu`].
const SAMPLES_MAX: usize = 2_000;

/// A kind of which there were fewer is left out.
const EVENTS_MIN: usize = 50;

/// A watch event, and what it is of.
pub(crate) type Samples = Vec<(Kind, String)>;

#[derive(Clone, Copy, Default)]
struct Count {
    events: usize,
    json_bytes: usize,
    messages: usize,
    nats_bytes: usize,
}

#[derive(Default)]
struct Counts {
    kinds: BTreeMap<Kind, Count>,
    samples: Samples,
}

/// What passes by.
pub(crate) struct Traffic {
    counts: Arc<Mutex<Counts>>,
    readers: JoinSet<()>,
}

impl Traffic {
    /// Counts from now on.
    pub(crate) async fn count(landscape: &Landscape) -> Result<Self> {
        let counts = Arc::new(Mutex::new(Counts::default()));
        let mut readers = JoinSet::new();
        for kind in Kind::KNOWN {
            let (client, counts) = (landscape.cluster.client().await?, Arc::clone(&counts));
            let from = kube_watch::now(&client, &kube_watch::path(&kind)).await?;
            readers.spawn(async move { follow(&client, kind, from, &counts).await.unwrap() });
        }
        let nats = async_nats::connect(landscape.fleet.nats.url()).await?;
        let mut messages = nats.subscribe("vitals.v1.object.>").await?;
        nats.flush().await?;
        let counting = Arc::clone(&counts);
        readers.spawn(async move {
            let _connection = nats;
            while let Some(message) = messages.next().await {
                let kind =
                    message.subject.split('.').nth(4).and_then(|it| token::unescape(it).ok());
                let Some(kind) = kind else { continue };
                let mut counts = counting.lock().unwrap();
                let count = counts.kinds.entry(Kind::from_resource(&kind)).or_default();
                count.messages += 1;
                count.nats_bytes += message.length;
            }
        });
        Ok(Self { counts, readers })
    }

    /// What was counted. Gives some of the events.
    pub(crate) fn report(mut self, table: &mut Table, of: &str) -> Result<Samples> {
        if let Some(ended) = self.readers.try_join_next() {
            ended.context("a reader ended")?;
            bail!("a reader ended");
        }
        let counts = std::mem::take(&mut *self.counts.lock().unwrap());
        let mut all = Count::default();
        for (kind, count) in &counts.kinds {
            if count.events < EVENTS_MIN || count.messages == 0 {
                continue;
            }
            let (json, nats) = (count.json_bytes / count.events, count.nats_bytes / count.messages);
            let what = format!("{of}: {kind}, {} events", count.events);
            table.add(row(&what, json, nats, Budget::None));
            all.events += count.events;
            all.json_bytes += count.json_bytes;
            all.messages += count.messages;
            all.nats_bytes += nats * count.events;
        }
        let (json, nats) =
            (all.json_bytes.checked_div(all.events), all.nats_bytes.checked_div(all.events));
        let (json, nats) = json.zip(nats).context("no events")?;
        table.add(row(
            &format!("{of}: all, {} events in {} messages", all.events, all.messages),
            json,
            nats,
            Budget::Most(0.125),
        ));
        Ok(counts.samples)
    }
}

/// Counts the events of a kind, over as many watches as it takes.
async fn follow(
    client: &Client,
    kind: Kind,
    mut from: String,
    counts: &Mutex<Counts>,
) -> Result<()> {
    let path = kube_watch::path(&kind);
    loop {
        let mut watch = std::pin::pin!(kube_watch::open_from(client, &path, &from).await?);
        while let Some(Ok(line)) = watch.next().await {
            from = kube_watch::version(&line)?;
            let mut counts = counts.lock().unwrap();
            let count = counts.kinds.entry(kind.clone()).or_default();
            count.events += 1;
            count.json_bytes += line.len() + 1;
            if counts.samples.len() < SAMPLES_MAX {
                counts.samples.push((kind.clone(), line));
            }
        }
    }
}

fn row(of: &str, json: usize, nats: usize, budget: Budget) -> Row {
    Row {
        what: format!("bytes per change: {of}"),
        baseline: format!("{json} B of JSON"),
        ours: format!("{nats} B"),
        ratio: nats as f64 / json as f64,
        budget,
    }
}
