//! The server: takes requests one by one, lets faults strike, and answers.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::serve::ListenerExt as _;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use jiff::Timestamp;
use tokio::net::TcpListener;

use super::change::Written;
use super::route::{Params, Route};
use super::{Shared, answer, change};
use crate::faults::{Asked, Fault, Verb};
use crate::refusal::Refusal;

/// Largest body of a request, as etcd takes them.
const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Serves until it is stopped.
pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>) -> std::io::Result<()> {
    let stopping = shared.stopping.clone();
    // Without delay: a watch's events are small, and each is waited for.
    let listener = listener.tap_io(|stream| {
        stream.set_nodelay(true).ok();
    });
    let router = Router::new().fallback(handle).with_state(shared);
    axum::serve(listener, router).with_graceful_shutdown(stopping.cancelled_owned()).await
}

async fn handle(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Response<Body> {
    let mut answered = exchange(&shared, request).await.unwrap_or_else(|refusal| refused(&refusal));
    let date = date(shared.clock.now());
    if let Ok(date) = header::HeaderValue::from_str(&date) {
        answered.headers_mut().insert(header::DATE, date);
    }
    answered
}

async fn exchange(shared: &Arc<Shared>, request: Request<Body>) -> Result<Response<Body>, Refusal> {
    let (parts, body) = request.into_parts();
    let params = Params::parse(parts.uri.query().unwrap_or_default());
    let path = parts.uri.path().to_owned();
    let route = shared.read(|world, _| Route::parse(&path, &world.registry));
    let verb = verb(&parts.method, route.as_ref().ok(), &params);
    let target = route.as_ref().ok().and_then(Route::target);
    let resource = target.map(|target| target.resource.qualified());
    let asked = Asked { path: &path, resource: resource.as_deref(), verb };
    let faults = shared.faults.decide(&asked);
    for fault in &faults {
        suffer(shared, fault).await?;
    }
    let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
    let body =
        body.map_err(|error| Refusal::bad_request(format!("cannot read the body: {error}")))?;
    let text = |name| parts.headers.get(name).and_then(|it| it.to_str().ok()).unwrap_or_default();
    let accept = text(header::ACCEPT);
    let route = route?;
    if parts.method == Method::GET {
        return answer::read(shared, &route, &params, accept, &faults);
    }
    let body = body.to_bytes();
    let content_type = text(header::CONTENT_TYPE);
    let written =
        Written { method: &parts.method, params: &params, accept, content_type, body: &body };
    change::write(shared, &route, &written)
}

fn verb(method: &Method, route: Option<&Route>, params: &Params) -> Verb {
    let Some(target) = route.and_then(Route::target) else { return Verb::Other };
    match (method, &target.name) {
        (&Method::GET, _) if target.subresource == Some(super::route::Subresource::Log) => {
            Verb::Log
        }
        (&Method::GET, Some(_)) => Verb::Get,
        (&Method::GET, None) if params.flag("watch") => Verb::Watch,
        (&Method::GET, None) => Verb::List,
        _ => Verb::Write,
    }
}

/// What strikes before anything is answered. The rest is for watches and lists themselves.
async fn suffer(shared: &Shared, fault: &Fault) -> Result<(), Refusal> {
    match fault {
        Fault::Slow(time) => pause(shared, *time).await,
        Fault::Hang => {
            pause(shared, Duration::MAX).await;
            return Err(Refusal::new(503, "ServiceUnavailable", "hung by command"));
        }
        Fault::Answer { code, retry_after } => {
            let (reason, message) = words(*code);
            let retry_after_s = retry_after.map(|it| it.as_secs().max(1));
            return Err(Refusal { retry_after_s, ..Refusal::new(*code, reason, message) });
        }
        Fault::Expire { .. }
        | Fault::Cut { .. }
        | Fault::Stall { .. }
        | Fault::Repeat { .. }
        | Fault::Reorder
        | Fault::Lie { .. } => {}
    }
    Ok(())
}

async fn pause(shared: &Shared, time: Duration) {
    let cutting = shared.cutting();
    tokio::select! {
        () = shared.stopping.cancelled() => {}
        () = cutting.cancelled() => {}
        () = tokio::time::sleep(time) => {}
    }
}

fn words(code: u16) -> (&'static str, &'static str) {
    match code {
        401 => ("Unauthorized", "Unauthorized"),
        403 => ("Forbidden", "forbidden: by command of the simulation"),
        404 => ("NotFound", "the server could not find the requested resource"),
        410 => (
            "Expired",
            "The provided continue parameter is too old to display a consistent list result",
        ),
        429 => (
            "TooManyRequests",
            "the server is currently unable to handle the request: too many requests",
        ),
        500 => {
            ("InternalError", "an error on the server has prevented the request from succeeding")
        }
        _ => ("ServiceUnavailable", "the server is currently unable to handle the request"),
    }
}

fn refused(refusal: &Refusal) -> Response<Body> {
    let code = StatusCode::from_u16(refusal.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = answer::json_body(code, &refusal.status());
    if let Some(seconds) = refusal.retry_after_s {
        answer.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from(seconds));
    }
    answer
}

/// As HTTP writes a time.
fn date(now: Timestamp) -> String {
    now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
