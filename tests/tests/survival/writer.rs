//! Somebody who keeps changing a namespace: creates, scales and deletes Deployments, and writes the status of pods.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use vitals_tests::fleet::SOON;
use vitals_tests::objects;

use crate::scene::Home;
use crate::truth::{FLIPPING, at_version};

/// Between two writes. Controllers, scheduler and kwok make about three changes of each.
const WRITE_INTERVAL: Duration = Duration::from_millis(40);

/// Deployments that come and go exist at most at a time.
const COMING_AND_GOING_MAX: usize = 4;

/// Writes until it is stopped or dropped; a write that fails is an error.
pub(crate) struct Writer {
    task: JoinSet<Result<()>>,
    written: watch::Receiver<u64>,
    stop: watch::Sender<bool>,
}

struct Writing {
    deployments: Api<Deployment>,
    pods: Api<Pod>,
    /// Name of each flipping pod, and the version it is at.
    flipping: Vec<(String, u32)>,
    coming: u64,
    there: VecDeque<String>,
}

impl Writer {
    pub(crate) async fn start(home: &Home) -> Result<Self> {
        let pods: Api<Pod> = Api::namespaced(home.client.clone(), &home.namespace);
        let mut flipping = Vec::new();
        for name in FLIPPING {
            let pod = home.pod_of(name).await?;
            // It may have been flipped by an earlier writer.
            let version = version(&pods.get(&pod).await?)?;
            flipping.push((pod, version));
        }
        let there = VecDeque::new();
        let mut writing =
            Writing { deployments: home.deployments(), pods, flipping, coming: 0, there };
        let (count, written) = watch::channel(0);
        let (stop, stopped) = watch::channel(false);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut pace = tokio::time::interval(WRITE_INTERVAL);
            for number in 0.. {
                // The pace is the load, not a wait for anything.
                pace.tick().await;
                if *stopped.borrow() {
                    break;
                }
                writing.write(number).await.with_context(|| format!("write {number}"))?;
                count.send_replace(number + 1);
            }
            Ok(())
        });
        Ok(Self { task, written, stop })
    }

    /// Waits until so many more writes were made: that is how long a fault lasts.
    pub(crate) async fn more(&self, writes: u64) -> Result<()> {
        let mut written = self.written.clone();
        let wanted = *written.borrow() + writes;
        let writing = written.wait_for(|count| *count >= wanted);
        match tokio::time::timeout(SOON, writing).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => bail!("the writer ended"),
            Err(_) => bail!("the writer does not come forward"),
        }
    }

    /// Ends it. Gives how many writes there were.
    pub(crate) async fn stop(self) -> Result<u64> {
        let Self { mut task, written, stop } = self;
        stop.send_replace(true);
        while let Some(ended) = task.join_next().await {
            ended.context("the writer panicked")??;
        }
        Ok(*written.borrow())
    }
}

impl Writing {
    async fn write(&mut self, number: u64) -> Result<()> {
        match number % 8 {
            0 => self.create().await,
            3 => self.scale().await,
            6 => self.delete().await,
            _ => self.flip(number).await,
        }
    }

    async fn create(&mut self) -> Result<()> {
        let name = format!("coming-{}", self.coming);
        self.coming += 1;
        objects::create(&self.deployments, objects::deployment(&name, 2)).await?;
        self.there.push_back(name);
        Ok(())
    }

    async fn scale(&mut self) -> Result<()> {
        let Some(name) = self.there.back() else { return Ok(()) };
        let scale = Patch::Merge(json!({ "spec": { "replicas": 3 } }));
        self.deployments.patch(name, &PatchParams::default(), &scale).await?;
        Ok(())
    }

    async fn delete(&mut self) -> Result<()> {
        if self.there.len() < COMING_AND_GOING_MAX {
            return Ok(());
        }
        let Some(name) = self.there.pop_front() else { return Ok(()) };
        self.deployments.delete(&name, &DeleteParams::default()).await?;
        Ok(())
    }

    async fn flip(&mut self, number: u64) -> Result<()> {
        let which = usize::try_from(number)? % self.flipping.len();
        let (pod, version) = &mut self.flipping[which];
        *version += 1;
        let status = Patch::Merge(json!({ "status": at_version(*version) }));
        self.pods.patch_status(pod, &PatchParams::default(), &status).await?;
        Ok(())
    }
}

fn version(pod: &Pod) -> Result<u32> {
    let status = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    let container = status.and_then(|all| all.first()).context("no container")?;
    Ok(u32::try_from(container.restart_count)?)
}
