//! What peers without a token may cost: real sockets, and peers that do not behave.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use http_body::Frame;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::Code;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::health_check_response::ServingStatus as Serving;
use tonic_health::pb::health_client::HealthClient;
use tower::Service;

use super::tests::{Hub, TOKEN, within};
use super::*;

const CHECK: &str = "/grpc.health.v1.Health/Check";
const GET: &str = "/vitals.v1.EntityService/GetEntity";

/// A token, but no TLS.
fn guarded() -> Security {
    let args = SecurityArgs {
        listen: ([127, 0, 0, 1], 0).into(),
        tls_cert: None,
        tls_key: None,
        tls_client_ca: None,
        token_file: None,
        token: Some(TOKEN.parse().unwrap()),
        insecure: false,
    };
    Security::new(args).unwrap()
}

/// A request of gRPC-Web over HTTP/1.1.
fn head(path: &str, body_bytes: usize, headers: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: test\r\ncontent-type: application/grpc-web+proto\r\n\
         content-length: {body_bytes}\r\n{headers}\r\n"
    )
}

/// All that comes until the other side closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // A close while we were still sending is a reset; what came before it counts.
    drop(stream.read_to_end(&mut answer).await);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Lets time pass, while nobody waits for the network: paused time would run away from it.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_connection_that_does_not_say_its_protocol_is_closed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let places = Places::new(PlaceLimits::default());
    let mut connections = Box::pin(Acceptor::new(listener, None, places).connections());
    for (openings, is_closed) in [
        (&[][..], true),
        (&["PRI * HTTP/2.0\r\n", "\r\n"], true),
        (&["PRI * HTTP/2.0\r\n", "\r\nSM\r\n\r\n"], false),
        (&["P", "OST"], false),
        (&["GET"], false),
    ] {
        let mut client = TcpStream::connect(address).await.unwrap();
        let mut connection = within(connections.next()).await.unwrap();
        for opening in openings {
            client.write_all(opening.as_bytes()).await.unwrap();
            within(connection.read_exact(&mut vec![0; opening.len()])).await.unwrap();
        }
        // From here on nothing comes, and time passes at once.
        tokio::time::pause();
        let silence = tokio::time::timeout(Duration::from_secs(60), connection.read_u8()).await;
        tokio::time::resume();
        let closed = silence.map(|read| read.unwrap_err().kind());
        assert_eq!(closed.ok(), is_closed.then_some(std::io::ErrorKind::TimedOut), "{openings:?}");
    }
}

/// Whether a request is answered, rather than that the connection ends.
async fn is_answered(stream: &mut TcpStream, request: &[u8]) -> bool {
    if stream.write_all(request).await.is_err() {
        return false;
    }
    let mut answer = Vec::new();
    while !String::from_utf8_lossy(&answer).contains("grpc-status") {
        if !matches!(within(stream.read_buf(&mut answer)).await, Ok(1..)) {
            return false;
        }
    }
    true
}

#[tokio::test]
async fn a_connection_on_which_no_token_is_shown_is_closed_after_a_while() {
    let hub = Hub::start(guarded(), Limits::default()).await;
    for (headers, want) in [(String::new(), 3), (format!("authorization: Bearer {TOKEN}\r\n"), 10)]
    {
        let mut stream = TcpStream::connect(hub.address).await.unwrap();
        let request = [head(CHECK, 5, &headers).as_bytes(), &[0; 5]].concat();
        let mut answered = 0;
        while answered < 10 && is_answered(&mut stream, &request).await {
            answered += 1;
            // Shorter than the silence that HTTP/1.1 allows.
            pass(Duration::from_secs(25)).await;
        }
        assert_eq!(answered, want, "{headers:?}");
    }
}

#[tokio::test]
async fn a_connection_that_is_refused_again_and_again_is_closed() {
    let hub = Hub::start(guarded(), Limits::default()).await;
    let mut stream = TcpStream::connect(hub.address).await.unwrap();
    let request = head(GET, 0, "");
    let mut answered = 0;
    while answered < 1_000 && is_answered(&mut stream, request.as_bytes()).await {
        answered += 1;
    }
    // The last answer may be overtaken by the end.
    assert!((100..=101).contains(&answered), "{answered}");
}

#[tokio::test]
async fn large_headers_over_http_1_are_refused() {
    let hub = Hub::plain().await;
    let many: String = (0..70).map(|it| format!("x-{it}: 1\r\n")).collect();
    // As long as may be held and without an end, so that nothing is left unread: then a close is no reset.
    let large = format!("GET / HTTP/1.1\r\nx-large: {}", "x".repeat(64 * 1024 - 25));
    for (request, want) in [
        (head(GET, 0, ""), "HTTP/1.1 200"),
        (head(GET, 0, &many), "HTTP/1.1 431"),
        (large, "HTTP/1.1 431"),
    ] {
        let mut stream = TcpStream::connect(hub.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        within(stream.read_exact(&mut answer)).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), want);
    }
}

#[tokio::test]
async fn a_call_ends_at_the_deadline_of_its_client() {
    let hub = Hub::plain().await;
    let mut stream = TcpStream::connect(hub.address).await.unwrap();
    // The body never comes.
    let request = head(GET, 100, "grpc-timeout: 50m\r\nconnection: close\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = within(rest(&mut stream)).await;
    assert!(answer.contains("grpc-status: 4"), "{answer}");
}

/// A body that never comes.
struct Never;

impl http_body::Body for Never {
    type Data = bytes::Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<bytes::Bytes>, Infallible>>> {
        Poll::Pending
    }
}

fn status_of(response: &http::Response<Body>) -> Code {
    Status::from_header_map(response.headers()).expect("a status").code()
}

#[tokio::test]
async fn probes_without_a_token_are_few_and_short() {
    let hub = Hub::start(guarded(), Limits::default()).await;
    let channel = hub.channel().await;
    let call = async |mut channel: Channel| {
        let request = http::Request::post(CHECK).header("content-type", "application/grpc");
        let request = request.body(Body::new(Never)).unwrap();
        std::future::poll_fn(|context| channel.poll_ready(context)).await.unwrap();
        status_of(&channel.call(request).await.unwrap())
    };
    let mut calls: FuturesUnordered<_> = (0..9).map(|_| call(channel.clone())).collect();
    assert_eq!(within(calls.next()).await, Some(Code::ResourceExhausted));
    tokio::time::pause();
    let others = tokio::time::timeout(Duration::from_secs(300), calls.collect::<Vec<_>>()).await;
    assert_eq!(others.unwrap(), [Code::DeadlineExceeded; 8]);
}

#[tokio::test]
async fn without_a_token_health_is_checked_with_small_questions_and_not_watched() {
    let hub = Hub::start(guarded(), Limits::default()).await;
    let mut health = HealthClient::new(hub.channel().await);
    let check = within(health.check(HealthCheckRequest::default())).await.unwrap();
    assert_eq!(check.into_inner().status(), Serving::Serving);
    let large = HealthCheckRequest { service: "x".repeat(5 * 1024) };
    let status = within(health.check(large)).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);
    let status = within(health.watch(HealthCheckRequest::default())).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn watches_of_health_are_counted_and_end_with_a_sentence() {
    let limits = Limits { streams_per_connection: 1, streams: 2 };
    let hub = Hub::start(Security::loopback(0), limits).await;
    let mut health = HealthClient::new(hub.channel().await);
    let watch = async |health: &mut HealthClient<Channel>| {
        within(health.watch(HealthCheckRequest::default())).await
    };
    let mut states = watch(&mut health).await.unwrap().into_inner();
    let first = within(states.message()).await.unwrap().unwrap();
    assert_eq!(first.status(), Serving::Serving);
    assert_eq!(watch(&mut health).await.unwrap_err().code(), Code::ResourceExhausted);
    hub.stopping.cancel();
    let status = loop {
        match within(states.message()).await {
            Ok(state) => assert_eq!(state.unwrap().status(), Serving::NotServing),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("the hub is stopping"), "{status}");
    within(hub.ended).await.unwrap().unwrap();
}

/// Panics whenever it is called.
#[derive(Clone)]
struct Panics;

impl Service<http::Request<Body>> for Panics {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Request<Body>) -> Self::Future {
        Box::pin(async { panic!("a bug") })
    }
}

/// Counts what is logged as an error.
#[derive(Clone, Default)]
struct Errors(Arc<AtomicUsize>);

impl tracing::Subscriber for Errors {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::ERROR
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test]
async fn a_panic_is_an_error_in_the_log() {
    let errors = Errors::default();
    let _guard = tracing::subscriber::set_default(errors.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let places = Places::new(PlaceLimits::default());
    let connections = Acceptor::new(listener, None, places).connections();
    let stopping = CancellationToken::new();
    let serving = connections::serve(connections, Panics, 10, stopping.clone());
    let asking = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(head(GET, 0, "").as_bytes()).await.unwrap();
        assert_eq!(rest(&mut stream).await, "");
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let mut health = HealthClient::new(endpoint.connect().await.unwrap());
        assert!(health.check(HealthCheckRequest::default()).await.is_err());
        stopping.cancel();
    };
    within(futures::future::join(serving, asking)).await;
    assert_eq!(errors.0.load(Ordering::Relaxed), 2, "one of HTTP/1.1, one of HTTP/2");
}

/// Linux has all of 127.0.0.0/8, so that there can be several peers, and shows its sockets.
#[cfg(target_os = "linux")]
mod on_linux {
    use std::net::Ipv4Addr;

    use tokio::net::TcpSocket;
    use tonic::transport::ClientTlsConfig;

    use super::super::tests::secure;
    use super::*;

    async fn from(address: Ipv4Addr, to: SocketAddr) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((address, 0).into()).unwrap();
        socket.connect(to).await.unwrap()
    }

    #[tokio::test]
    async fn peers_that_do_not_shake_hands_do_not_hold_up_others() {
        let folder = tempfile::tempdir().unwrap();
        let (security, root) = secure(folder.path());
        let hub = Hub::start(security, Limits::default()).await;
        let mut silent = Vec::new();
        for _ in 0..300 {
            silent.push(from(Ipv4Addr::LOCALHOST, hub.address).await);
        }
        let tls = ClientTlsConfig::new().ca_certificate(root).domain_name("localhost");
        let endpoint = Endpoint::from_shared(format!("https://{}", hub.address)).unwrap();
        let endpoint = endpoint.local_address(Some([127, 0, 0, 2].into())).tls_config(tls).unwrap();
        let connected = tokio::time::timeout(Duration::from_secs(5), endpoint.connect()).await;
        connected.expect("before the others are given up").unwrap();
    }

    #[tokio::test]
    async fn no_peer_takes_the_places_of_others() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let limits =
            PlaceLimits { connections: 4, connections_per_peer: 2, handshakes_per_peer: 1 };
        let mut connections =
            Box::pin(Acceptor::new(listener, None, Places::new(limits)).connections());
        let mut clients = Vec::new();
        for last in [1, 1, 1, 2] {
            clients.push(from(Ipv4Addr::new(127, 0, 0, last), address).await);
        }
        let mut taken = Vec::new();
        for _ in 0..3 {
            taken.push(within(connections.next()).await.unwrap());
        }
        assert_eq!(
            within(rest(&mut clients[2])).await,
            "",
            "the third of the first peer is closed"
        );
        drop(taken.remove(0));
        clients.push(from(Ipv4Addr::LOCALHOST, address).await);
        assert!(within(connections.next()).await.is_some(), "a place that is left is free");
    }

    /// Timer 2 of a socket of the system is that of keep-alive.
    #[tokio::test]
    async fn tcp_asks_whether_silent_peers_are_still_there() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let places = Places::new(PlaceLimits::default());
        let mut connections = Box::pin(Acceptor::new(listener, None, places).connections());
        let client = TcpStream::connect(address).await.unwrap();
        let _connection = within(connections.next()).await.unwrap();
        let hex = |address: SocketAddr| format!("0100007F:{:04X}", address.port());
        let (ours, theirs) = (hex(address), hex(client.local_addr().unwrap()));
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let of_socket = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let line = of_socket.into_iter().find(|line| line[1] == ours && line[2] == theirs).unwrap();
        assert!(line[5].starts_with("02:"), "{line:?}");
    }
}
