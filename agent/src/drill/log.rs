//! The log of a container, from the API server to whoever asked, piece by piece, for as long as somebody reads.
//!
//! The connection to the API server is read only as the window allows: what is not read waits at the node, and nothing piles up
//! here. It is closed, by being dropped, when the reader says stop, when no credit comes any more, and when the server says that
//! nobody listens.

use async_nats::{Message, StatusCode, Subject, Subscriber, client::PublishErrorKind};
use bytes::{Buf as _, Bytes, BytesMut};
use futures::StreamExt as _;
use http_body_util::BodyExt as _;
use kube::client::Body;
use prost::Message as _;
use tokio::time::{Instant, sleep_until};
use vitals_proto::{
    limits::{LOG_CHUNK_BYTES_MAX, LOG_KEEP_ALIVE_INTERVAL},
    subject,
    v1::{LogChunk, LogCredit, LogsRequest, RequestError, RequestRefusal},
};

use super::{
    Desk, ask,
    kind::{check, escape},
    window::Window,
};
use crate::{metrics::RequestAnswer, watch::one_line};

/// Why a log is not answered at all: nobody would hear it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// Not a name for credits.
    #[error("the request names no subject for credits")]
    Id,
    /// No subscription for credits.
    #[error("cannot subscribe to credits")]
    Subscribe(#[source] async_nats::SubscribeError),
    /// A chunk cannot be sent.
    #[error("cannot send a piece of the log")]
    Publish(#[source] async_nats::PublishError),
}

/// Sends one log.
pub(super) struct Sender<'a> {
    desk: &'a Desk,
    /// Where the next chunk goes: the reply subject of what came last.
    reader: Subject,
}

/// How a log ended.
enum End {
    /// All of it was sent.
    Whole,
    /// There is none, or no more.
    Failed(RequestError),
    /// Nobody reads any more.
    Unread,
}

/// What wakes a log that is being sent.
enum Event {
    Credit(Option<Message>),
    /// Of the API server; `None` at its end.
    Data(Option<Result<Bytes, kube::Error>>),
    MaySend,
    Silent,
    Nobody,
}

impl<'a> Sender<'a> {
    pub(super) fn new(desk: &'a Desk, reader: Subject) -> Self {
        Self { desk, reader }
    }

    /// Sends it to its end.
    pub(super) async fn send(mut self, request: &LogsRequest) -> Result<RequestAnswer, Error> {
        let Desk { nats, cluster, .. } = self.desk;
        let credits = subject::credit(cluster, &request.id).ok_or(Error::Id)?;
        // Before anything is sent: the reader's first credit may come at once.
        let heard = nats.subscribe(credits.clone()).await.map_err(Error::Subscribe)?;
        let mut log = Log {
            credits: credits.into(),
            heard,
            window: Window::open(Instant::now()),
            waiting: BytesMut::new(),
            offset: 0,
            said_at: Instant::now(),
        };
        let end = match self.open(request, &mut log).await? {
            Ok(body) => self.run(body, &mut log).await?,
            Err(end) => end,
        };
        let (error, answer) = match end {
            End::Whole => (None, RequestAnswer::Given),
            End::Unread => return Ok(RequestAnswer::Given),
            End::Failed(error) => {
                let answer = RequestAnswer::of(error.reason());
                (Some(error), answer)
            }
        };
        let sequence = log.window.sequence();
        let last =
            LogChunk { sequence, offset: log.offset, end: true, error, ..LogChunk::default() };
        self.publish(&last, &mut log).await?;
        Ok(answer)
    }

    /// Asks the API server; credits that come meanwhile count.
    async fn open(
        &mut self,
        request: &LogsRequest,
        log: &mut Log,
    ) -> Result<Result<Body, End>, Error> {
        let path = match path(request) {
            Ok(path) => path,
            Err(error) => return Ok(Err(End::Failed(error))),
        };
        let mut opening = std::pin::pin!(ask::open(&self.desk.kubernetes, &path));
        let body = loop {
            tokio::select! {
                opened = &mut opening => match opened {
                    Ok(answer) => break answer.into_body(),
                    Err(error) => return Ok(Err(End::Failed(error))),
                },
                credit = log.heard.next() => if self.is_stopped(credit, log) {
                    return Ok(Err(End::Unread));
                },
            }
        };
        // The log is open, though there may be nothing in it for long.
        self.publish(&LogChunk { open: true, ..LogChunk::default() }, log).await?;
        Ok(Ok(body))
    }

    async fn run(&mut self, mut body: Body, log: &mut Log) -> Result<End, Error> {
        let mut is_whole = false;
        loop {
            if is_whole && log.waiting.is_empty() {
                return Ok(End::Whole);
            }
            match log.event(&mut body, is_whole).await {
                Event::Credit(credit) => {
                    if self.is_stopped(credit, log) {
                        return Ok(End::Unread);
                    }
                }
                Event::Data(Some(Ok(data))) => log.waiting.extend_from_slice(&data),
                Event::Data(Some(Err(cause))) => {
                    let why = format!("the log broke off: {}", one_line(&cause));
                    return Ok(End::Failed(ask::error(RequestRefusal::Unreachable, why)));
                }
                Event::Data(None) => is_whole = true,
                Event::MaySend => {
                    let size = log.waiting.len().min(LOG_CHUNK_BYTES_MAX);
                    let data = log.waiting.split_to(size).freeze();
                    self.send_data(data, log).await?;
                }
                Event::Silent => {
                    let (sequence, offset) = (log.window.sequence(), log.offset);
                    let alive = LogChunk { sequence, offset, open: true, ..LogChunk::default() };
                    self.publish(&alive, log).await?;
                }
                Event::Nobody => return Ok(End::Unread),
            }
        }
    }

    async fn send_data(&self, data: Bytes, log: &mut Log) -> Result<(), Error> {
        let (sequence, offset) = (log.window.send(Instant::now()), log.offset);
        log.offset = offset.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
        self.desk.metrics.log_sent(data.len());
        let chunk = LogChunk { sequence, offset, data, open: true, ..LogChunk::default() };
        self.publish(&chunk, log).await
    }

    async fn publish(&self, chunk: &LogChunk, log: &mut Log) -> Result<(), Error> {
        log.said_at = Instant::now();
        let (to, credits) = (self.reader.clone(), log.credits.clone());
        let payload = chunk.encode_to_vec().into();
        match self.desk.nats.publish_with_reply(to, credits, payload).await {
            Ok(()) => Ok(()),
            // Far below any limit, and subjects that came from the server.
            Err(error) => match error.kind() {
                PublishErrorKind::MaxPayloadExceeded
                | PublishErrorKind::InvalidSubject
                | PublishErrorKind::Send => Err(Error::Publish(error)),
            },
        }
    }

    /// Takes what came on the subject of the credits. Whether it ends the log.
    fn is_stopped(&mut self, message: Option<Message>, log: &mut Log) -> bool {
        // The connection is closed.
        let Some(message) = message else { return true };
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            log.window.nobody(Instant::now());
            return false;
        }
        let Ok(LogCredit { received, room, stop }) = LogCredit::decode(message.payload) else {
            return false;
        };
        log.window.credit(received, room, Instant::now());
        if let Some(reader) = message.reply {
            self.reader = reader;
        }
        stop
    }
}

/// A log that is being sent.
struct Log {
    credits: Subject,
    heard: Subscriber,
    window: Window,
    /// Read, and not sent yet: about one chunk.
    waiting: BytesMut,
    /// Of the next byte that is sent.
    offset: u64,
    /// When something was sent last.
    said_at: Instant,
}

impl Log {
    async fn event(&mut self, body: &mut Body, is_whole: bool) -> Event {
        let may_read = !is_whole && self.waiting.len() < LOG_CHUNK_BYTES_MAX;
        let may_send = self.window.has_room() && self.waiting.has_remaining();
        let silent_at = self.said_at + LOG_KEEP_ALIVE_INTERVAL;
        // What is there is read before it is sent: small pieces become one.
        tokio::select! {
            biased;
            credit = self.heard.next() => Event::Credit(credit),
            () = sleep_until(self.window.read_until()) => Event::Nobody,
            data = data(body), if may_read => Event::Data(data),
            () = std::future::ready(()), if may_send => Event::MaySend,
            () = sleep_until(silent_at) => Event::Silent,
        }
    }
}

/// The next bytes; of frames without any (trailers), none.
async fn data(body: &mut Body) -> Option<Result<Bytes, kube::Error>> {
    let frame = body.frame().await?;
    Some(frame.map(|frame| frame.into_data().unwrap_or_default()))
}

/// Where the API server serves it.
fn path(request: &LogsRequest) -> Result<String, RequestError> {
    let LogsRequest { namespace, pod, container, tail_lines, since_seconds, .. } = request;
    check("a namespace", namespace)?;
    check("the name of a pod", pod)?;
    let (namespace, pod) = (escape(namespace), escape(pod));
    let mut path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/log?tailLines={tail_lines}");
    if !container.is_empty() {
        path.push_str(&format!("&container={}", escape(container)));
    }
    if *since_seconds > 0 {
        path.push_str(&format!("&sinceSeconds={since_seconds}"));
    }
    for (is_wanted, option) in [
        (request.follow, "&follow=true"),
        (request.previous, "&previous=true"),
        (request.timestamps, "&timestamps=true"),
    ] {
        if is_wanted {
            path.push_str(option);
        }
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_a_query_and_nothing_else_does() {
        let request = LogsRequest {
            namespace: "shop".into(),
            pod: "web-1".into(),
            tail_lines: 100,
            ..LogsRequest::default()
        };
        let plain = "/api/v1/namespaces/shop/pods/web-1/log?tailLines=100";
        assert_eq!(path(&request).unwrap(), plain);
        let all = LogsRequest {
            container: "a&follow=true".into(),
            since_seconds: 60,
            follow: true,
            previous: true,
            timestamps: true,
            ..request.clone()
        };
        let options = "&container=a%26follow%3Dtrue&sinceSeconds=60&follow=true&previous=true&timestamps=true";
        assert_eq!(path(&all).unwrap(), format!("{plain}{options}"));
        for pod in ["", "..", "web-1/exec"] {
            let request = LogsRequest { pod: pod.into(), ..request.clone() };
            assert_eq!(path(&request).unwrap_err().reason(), RequestRefusal::Invalid, "{pod:?}");
        }
    }
}
