//! `WatchEntities` on the wire, without gRPC's encoder: the frames of the view go to HTTP/2 as they are, so that
//! one encoding serves all readers, and an idle watch holds no buffer.
//!
//! Stands before the generated service and answers this one method; all others pass through. What it answers
//! is what the generated service would: length-prefixed messages, and the status in the trailers.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::future::{BoxFuture, Either, FutureExt as _};
use futures::stream::{BoxStream, StreamExt as _};
use http_body::Frame;
use tonic::body::Body;
use tonic::codec::{Codec as _, Streaming};
use tonic::server::NamedService;
use tonic::transport::server::TcpConnectInfo;
use tonic::{Code, Status};
use tonic_prost::ProstCodec;
use tower::Service;
use vitals_proto::v1;

use super::error::Error;
use super::limits::Gate;
use crate::view::filter::Filter;
use crate::watch::{Asked, Shared, Watch};

/// The method that is answered here.
const METHOD: &str = "/vitals.v1.EntityService/WatchEntities";

/// Largest request. Bytes.
const REQUEST_BYTES_MAX: usize = 256 * 1024;

/// A service, and before it the watches.
#[derive(Clone, Debug)]
pub(super) struct WithWatches<S> {
    pub(super) inner: S,
    pub(super) watches: Watches,
}

/// What opens watches.
#[derive(Clone, Debug)]
pub(super) struct Watches {
    pub(super) shared: Arc<Shared>,
    pub(super) gate: Arc<Gate>,
}

impl<S: NamedService> NamedService for WithWatches<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for WithWatches<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Either<S::Future, BoxFuture<'static, Result<Self::Response, Infallible>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path() != METHOD {
            return Either::Left(self.inner.call(request));
        }
        let watches = self.watches.clone();
        Either::Right(async move { Ok(watches.answer(request).await) }.boxed())
    }
}

impl Watches {
    async fn answer(&self, request: http::Request<Body>) -> http::Response<Body> {
        let watch = match self.open(request).await {
            Ok(watch) => watch,
            Err(status) => return status.into_http(),
        };
        // An empty status gives the right content type; its own status is for the trailers to say.
        let mut response = Status::new(Code::Ok, "").into_http::<Body>();
        response.headers_mut().remove(Status::GRPC_STATUS);
        *response.body_mut() = Body::new(WatchBody::new(watch));
        response
    }

    async fn open(&self, request: http::Request<Body>) -> Result<Watch, Status> {
        let peer = peer(&request);
        let decoder = ProstCodec::<(), v1::WatchEntitiesRequest>::default().decoder();
        let body = request.into_body();
        let mut messages =
            pin!(Streaming::new_request(decoder, body, None, Some(REQUEST_BYTES_MAX)));
        let message = messages.message().await?;
        let message = message.ok_or_else(|| Status::invalid_argument("there is no request"))?;
        let v1::WatchEntitiesRequest { filter, resume_token } = message;
        let filter = Filter::parse(filter.unwrap_or_default()).map_err(Error::from)?;
        let permit = self.gate.open(peer).map_err(Error::from)?;
        Ok(Watch::new(Arc::clone(&self.shared), Asked { filter, resume_token }, permit))
    }
}

/// Who is at the other end of the connection.
fn peer(request: &http::Request<Body>) -> Option<SocketAddr> {
    request.extensions().get::<TcpConnectInfo>()?.remote_addr()
}

/// The frames of one watch, then its status.
struct WatchBody {
    frames: BoxStream<'static, Result<Bytes, Status>>,
    is_ended: bool,
}

impl WatchBody {
    fn new(watch: Watch) -> Self {
        let frames = futures::stream::unfold(watch, async |mut watch| {
            let frame = watch.next().await?;
            Some((frame, watch))
        });
        Self { frames: frames.boxed(), is_ended: false }
    }
}

impl http_body::Body for WatchBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.is_ended {
            return Poll::Ready(None);
        }
        let status = match ready!(self.frames.poll_next_unpin(context)) {
            Some(Ok(frame)) => return Poll::Ready(Some(Ok(Frame::data(frame)))),
            Some(Err(status)) => status,
            None => Status::new(Code::Ok, ""),
        };
        self.is_ended = true;
        let mut trailers = http::HeaderMap::new();
        let added = status.add_header(&mut trailers);
        Poll::Ready(Some(added.map(|()| Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_ended
    }
}
