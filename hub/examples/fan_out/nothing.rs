//! What a hub is served beside its view: nothing, here.

use vitals_hub::cluster_records::{self, LabelPatch, Labelled};
use vitals_hub::definitions::{Definition, Listed, Store, StoreError};
use vitals_hub::history::{self, Asked, History, Page};
use vitals_hub_core::Forgotten;
use vitals_proto::identity::{ClusterName, EntityRef};

/// No definitions, no records, no history.
#[derive(Debug)]
pub(crate) struct Nothing;

#[tonic::async_trait]
impl Store for Nothing {
    async fn put(&self, _: Vec<Definition>) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn delete(&self, _: Vec<EntityRef>) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn list(&self) -> Result<Listed, StoreError> {
        Ok(Listed::default())
    }
}

#[tonic::async_trait]
impl cluster_records::Store for Nothing {
    async fn label(
        &self,
        cluster: &ClusterName,
        _: &LabelPatch,
    ) -> Result<Labelled, cluster_records::Error> {
        Err(cluster_records::Error::Conflict(cluster.clone()))
    }

    async fn forget(
        &self,
        cluster: &ClusterName,
        _: &Forgotten,
    ) -> Result<u64, cluster_records::Error> {
        Err(cluster_records::Error::Conflict(cluster.clone()))
    }

    async fn purge(
        &self,
        cluster: &ClusterName,
        _: &Forgotten,
    ) -> Result<u64, cluster_records::Error> {
        Err(cluster_records::Error::Conflict(cluster.clone()))
    }
}

#[tonic::async_trait]
impl History for Nothing {
    async fn transitions(&self, _: &Asked) -> Result<Page, history::Error> {
        Ok(Page::default())
    }
}
