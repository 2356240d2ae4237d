//! `CatalogService`: definitions of entities, put into KV by whoever knows the catalog (Backstage's bridge).
//!
//! A request is checked as a whole before anything is written: all of its definitions are taken or none.

use std::collections::BTreeMap;
use std::sync::Arc;

use prost::Message as _;
use tonic::{Request, Response, Status};
use vitals_proto::identity::EntityRef;
use vitals_proto::v1::{self, catalog_service_server::CatalogService};

use super::error::Error;
use super::{PAGE_BYTES_MAX, page_size};
use crate::definitions::{self, Definition, Store};

/// Most definitions in one request.
pub(super) const DEFINITIONS_MAX: usize = 10_000;

/// Serves definitions.
#[derive(Clone, Debug)]
pub(super) struct Catalog {
    pub(super) store: Arc<dyn Store>,
}

#[tonic::async_trait]
impl CatalogService for Catalog {
    async fn put_definitions(
        &self,
        request: Request<v1::PutDefinitionsRequest>,
    ) -> Result<Response<v1::PutDefinitionsResponse>, Status> {
        let definitions = checked(request.into_inner().definitions)?;
        let revision = self.store.put(definitions).await.map_err(Error::from)?;
        Ok(Response::new(v1::PutDefinitionsResponse { revision }))
    }

    async fn delete_definitions(
        &self,
        request: Request<v1::DeleteDefinitionsRequest>,
    ) -> Result<Response<v1::DeleteDefinitionsResponse>, Status> {
        let refs = request.into_inner().refs;
        check_count(refs.len())?;
        let refs = refs.iter().map(|text| text.parse::<EntityRef>());
        let refs = refs.collect::<Result<Vec<_>, _>>().map_err(Error::from)?;
        let revision = self.store.delete(refs).await.map_err(Error::from)?;
        Ok(Response::new(v1::DeleteDefinitionsResponse { revision }))
    }

    async fn list_definitions(
        &self,
        request: Request<v1::ListDefinitionsRequest>,
    ) -> Result<Response<v1::ListDefinitionsResponse>, Status> {
        let v1::ListDefinitionsRequest { page_size: count, page_token } = request.into_inner();
        let count = page_size(count);
        let listed = self.store.list().await.map_err(Error::from)?;
        let is_after = |definition: &&v1::EntityDefinition| definition.r#ref > page_token;
        let mut rest = listed.definitions.iter().filter(is_after).peekable();
        let (mut definitions, mut bytes) = (Vec::new(), 0);
        while definitions.len() < count
            && bytes < PAGE_BYTES_MAX
            && let Some(definition) = rest.next()
        {
            bytes += definition.encoded_len();
            definitions.push(definition.clone());
        }
        let last = definitions.last().filter(|_| rest.peek().is_some());
        let next_page_token = last.map(|last| last.r#ref.clone()).unwrap_or_default();
        let revision = listed.revision;
        Ok(Response::new(v1::ListDefinitionsResponse { definitions, next_page_token, revision }))
    }
}

fn check_count(count: usize) -> Result<(), Error> {
    if count > DEFINITIONS_MAX {
        return Err(Error::Invalid(format!(
            "{count} definitions in one request, of {DEFINITIONS_MAX} at most: send them in several"
        )));
    }
    Ok(())
}

/// All of them, checked; the first that is wrong, or that is there twice, is named.
fn checked(definitions: Vec<v1::EntityDefinition>) -> Result<Vec<Definition>, Error> {
    check_count(definitions.len())?;
    let mut by_ref = BTreeMap::new();
    for definition in definitions {
        let text = definition.r#ref.clone();
        let definition = definitions::check(definition).map_err(|error| {
            Error::Invalid(format!("cannot take the definition of {text:?}: {error}"))
        })?;
        if by_ref.insert(definition.entity.clone(), definition).is_some() {
            return Err(Error::Invalid(format!("{text:?} is defined twice in one request")));
        }
    }
    Ok(by_ref.into_values().collect())
}
