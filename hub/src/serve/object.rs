//! `ObjectService`: objects as the hub holds them, and drill-down to what only their API servers have (`drill`).

use std::sync::Arc;

use futures::stream::{BoxStream, StreamExt as _};
use tonic::{Request, Response, Status};
use vitals_proto::identity::ObjectKey;
use vitals_proto::subject::{self, Published};
use vitals_proto::v1::{self, object_service_server::ObjectService};

use super::entity::{check_ready, object_key};
use super::error::Error;
use super::limits::Gate;
use super::{page_size, unimplemented_stream};
use crate::drill::DrillDown;
use crate::query::{HeldObjects, ObjectFilter, ObjectPage, Query};
use crate::watch::Shared;

/// Most values in a filter of objects.
const FILTER_VALUES_MAX: usize = 1_000;

/// Serves objects.
#[derive(Clone, Debug)]
pub(super) struct Objects {
    pub(super) shared: Arc<Shared>,
    pub(super) drill: Arc<DrillDown>,
    pub(super) gate: Arc<Gate>,
}

#[tonic::async_trait]
impl ObjectService for Objects {
    async fn get_object(
        &self,
        request: Request<v1::GetObjectRequest>,
    ) -> Result<Response<v1::GetObjectResponse>, Status> {
        let connection = request.remote_addr();
        let object = object_key(request.into_inner().object)?;
        let answer = self.drill.object(connection, &object).await.map_err(Error::from)?;
        Ok(Response::new(answer))
    }

    async fn list_objects(
        &self,
        request: Request<v1::ListObjectsRequest>,
    ) -> Result<Response<v1::ListObjectsResponse>, Status> {
        let v1::ListObjectsRequest { filter, page_size: count, page_token } = request.into_inner();
        let filter = filter.map(parse).transpose()?.unwrap_or_default();
        let after = match page_token.as_str() {
            "" => None,
            token => Some(read_token(token)?),
        };
        check_ready(&self.shared)?;
        let page = ObjectPage { filter, after, count: page_size(count) };
        let ask = |answer| Query::Objects { page, answer };
        let HeldObjects { objects, next } = self.shared.desk.ask(ask).await.map_err(Error::from)?;
        let next_page_token = next.map(|last| subject::object(&last)).unwrap_or_default();
        Ok(Response::new(v1::ListObjectsResponse { objects, next_page_token }))
    }

    type WatchObjectsStream = BoxStream<'static, Result<v1::WatchObjectsResponse, Status>>;

    async fn watch_objects(
        &self,
        _: Request<v1::WatchObjectsRequest>,
    ) -> Result<Response<Self::WatchObjectsStream>, Status> {
        unimplemented_stream("WatchObjects")
    }

    type StreamLogsStream = BoxStream<'static, Result<v1::StreamLogsResponse, Status>>;

    async fn stream_logs(
        &self,
        request: Request<v1::StreamLogsRequest>,
    ) -> Result<Response<Self::StreamLogsStream>, Status> {
        let connection = request.remote_addr();
        let permit = self.gate.open(connection).map_err(Error::from)?;
        let opened = self.drill.log(connection, request.into_inner()).await;
        let reader = opened.map_err(Error::from)?;
        let pieces = futures::stream::unfold(Some((reader, permit)), async |reading| {
            let (mut reader, permit) = reading?;
            match reader.next().await {
                Ok(Some(piece)) => Some((Ok(piece), Some((reader, permit)))),
                Ok(None) => None,
                Err(error) => Some((Err(Error::from(error).into()), None)),
            }
        });
        Ok(Response::new(pieces.boxed()))
    }

    async fn list_events(
        &self,
        request: Request<v1::ListEventsRequest>,
    ) -> Result<Response<v1::ListEventsResponse>, Status> {
        let connection = request.remote_addr();
        let object = object_key(request.into_inner().object)?;
        let answer = self.drill.events(connection, &object).await.map_err(Error::from)?;
        Ok(Response::new(answer))
    }
}

fn parse(filter: v1::ObjectFilter) -> Result<ObjectFilter, Error> {
    let v1::ObjectFilter { clusters, kinds, namespaces, entity } = filter;
    if clusters.len() + kinds.len() + namespaces.len() > FILTER_VALUES_MAX {
        return Err(Error::Invalid(format!(
            "the filter has more than {FILTER_VALUES_MAX} values: ask in several requests"
        )));
    }
    let entity = match entity.as_str() {
        "" => None,
        entity => Some(entity.parse()?),
    };
    Ok(ObjectFilter { clusters, kinds, namespaces, entity })
}

/// A page's token is the subject of its last object: it holds any name, and is one line.
fn read_token(token: &str) -> Result<ObjectKey, Error> {
    match Published::parse(token) {
        Ok(Published::Object(key)) => Ok(key),
        Ok(Published::Heartbeat(..)) | Err(_) => {
            Err(Error::Invalid("page_token is not one that this method gave".to_owned()))
        }
    }
}
