//! `AlertService`: not served yet, and says so.

use futures::stream::BoxStream;
use tonic::{Request, Response, Status};
use vitals_proto::v1::{self, alert_service_server::AlertService};

use super::error::Error;
use super::unimplemented_stream;

/// Serves incidents.
#[derive(Clone, Copy, Debug)]
pub(super) struct Alerts;

#[tonic::async_trait]
impl AlertService for Alerts {
    async fn list_alerts(
        &self,
        _: Request<v1::ListAlertsRequest>,
    ) -> Result<Response<v1::ListAlertsResponse>, Status> {
        Err(Error::Unimplemented("ListAlerts").into())
    }

    type WatchAlertsStream = BoxStream<'static, Result<v1::WatchAlertsResponse, Status>>;

    async fn watch_alerts(
        &self,
        _: Request<v1::WatchAlertsRequest>,
    ) -> Result<Response<Self::WatchAlertsStream>, Status> {
        unimplemented_stream("WatchAlerts")
    }

    async fn put_silence(
        &self,
        _: Request<v1::PutSilenceRequest>,
    ) -> Result<Response<v1::PutSilenceResponse>, Status> {
        Err(Error::Unimplemented("PutSilence").into())
    }

    async fn delete_silence(
        &self,
        _: Request<v1::DeleteSilenceRequest>,
    ) -> Result<Response<v1::DeleteSilenceResponse>, Status> {
        Err(Error::Unimplemented("DeleteSilence").into())
    }

    async fn list_silences(
        &self,
        _: Request<v1::ListSilencesRequest>,
    ) -> Result<Response<v1::ListSilencesResponse>, Status> {
        Err(Error::Unimplemented("ListSilences").into())
    }
}
