//! The simulated cluster as its clients see it: kubectl, a client-go informer, kube-rs, and Vitals itself.
//!
//! The foreign clients are unchanged: what they accept, the simulation has right.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is a failed test"
)]

mod kubectl;
mod informer;
mod kube_client;
mod controllers;
mod faults;
mod vitals;
mod both;

use std::time::Duration;

use anyhow::{Result, ensure};
use vitals_tests::{Output, SimulatedCluster, Watched as _};

/// Everything simulated takes seconds at most; on a loaded machine, longer.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// A Deployment and a Service, as somebody would write them.
pub(crate) const WEB: &str = r"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: main, image: 'registry.test/web:1'}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
";

/// Runs kubectl, which has to succeed.
pub(crate) async fn kubectl(cluster: &SimulatedCluster, args: &[&str]) -> Result<Output> {
    let ran = cluster.kubectl(args).await?;
    ensure!(ran.status.success(), "kubectl {args:?}: {}", ran.stderr);
    Ok(ran)
}
