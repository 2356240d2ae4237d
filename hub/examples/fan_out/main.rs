//! Measures the fan-out of a hub: many idle watches over few connections, then changes, one at a time.
//!
//! The hub's port runs in a process of its own (this program again, with `serve`), fed by hand. The client is a
//! bare HTTP/2 reader, so that what is measured is the hub: a real client costs more per message than the hub does.
//! Prints memory per idle watch, and the time from the moment a change was published to its arrival at each watch.
//!
//! `cargo run --release -p vitals-hub --example fan_out -- [WATCHES] [CONNECTIONS] [CHANGES] [MS BETWEEN CHANGES]`

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a measurement that fails should stop there"
)]

mod nothing;

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use vitals_hub::drill::{self, DrillDown};
use vitals_hub::metrics::ServeMetrics;
use vitals_hub::query::Desk;
use vitals_hub::serve::limits::Limits;
use vitals_hub::serve::{Clusters, Security, Server, Sources};
use vitals_hub::view::{Change, Moment, Outcome, View};
use vitals_hub::watch::Shared;
use vitals_hub_core::{Position, StreamPoint, Time};
use vitals_proto::identity::EntityRef;
use vitals_proto::v1;
use vitals_runtime::clock::SystemClock;
use vitals_runtime::http::Readiness;
use vitals_runtime::nats::{self, Identity, NatsArgs};
use vitals_runtime::tasks::{Supervisor, Tasks};

use nothing::Nothing;

/// Entities in the view.
const ENTITIES: u64 = 100;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let first = arguments.next();
    if first.as_deref() == Some("serve") {
        return serve().await;
    }
    let mut number = |given: Option<String>, default| {
        given.or_else(|| arguments.next()).map_or(default, |text| text.parse().unwrap())
    };
    let watches: usize = number(first, 10_000);
    let connections = number(None, 100);
    let changes = number(None, 200);
    let interval = Duration::from_millis(u64::try_from(number(None, 100)).unwrap());
    measure(watches, connections, changes, interval).await;
}

async fn measure(watches: usize, connections: usize, changes: usize, interval: Duration) {
    let program = std::env::current_exe().unwrap();
    let mut child = tokio::process::Command::new(program)
        .arg("serve")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut orders = child.stdin.take().unwrap();
    let address = lines.next_line().await.unwrap().unwrap();
    let pid = child.id().unwrap();

    let per_connection = watches / connections;
    let (stopped, stop) = watch::channel(false);
    let before = resident_kib(pid);
    let began = Instant::now();
    let mut readers = JoinSet::new();
    let (idle, mut idled) = tokio::sync::mpsc::channel(connections);
    for _ in 0..connections {
        let reader = Connection::open(&address, per_connection).await;
        readers.spawn(reader.read(idle.clone(), stop.clone()));
    }
    for _ in 0..connections {
        idled.recv().await.unwrap();
    }
    println!(
        "{watches} watches of {ENTITIES} entities over {connections} connections: open after {:?}",
        began.elapsed()
    );
    tokio::time::sleep(Duration::from_secs(2)).await;
    let idle_kib = resident_kib(pid).saturating_sub(before);
    println!(
        "memory: {} bytes per idle watch ({before} KiB before)",
        idle_kib * 1024 / u64::try_from(watches).unwrap()
    );

    let cpu = cpu_ticks(pid);
    let mut published = Vec::new();
    for _ in 0..changes {
        orders.write_all(b"change\n").await.unwrap();
        published.push(lines.next_line().await.unwrap().unwrap().parse::<i128>().unwrap());
        tokio::time::sleep(interval).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    stopped.send_replace(true);
    let cpu = cpu_ticks(pid) - cpu;
    report(readers, &published, interval).await;
    let messages = changes * watches;
    println!(
        "hub: {} us of CPU per message",
        cpu * 10_000 / u64::try_from(messages).unwrap().max(1)
    );
}

/// How much later than published each change came to each watch.
async fn report(mut readers: JoinSet<Vec<Vec<i128>>>, published: &[i128], interval: Duration) {
    let changes = published.len();
    let mut latencies = Vec::new();
    while let Some(arrivals) = readers.join_next().await {
        for stream in arrivals.unwrap() {
            assert_eq!(stream.len(), changes, "every change came to every watch");
            latencies.extend(
                stream.iter().zip(published).map(|(arrived, published)| arrived - published),
            );
        }
    }
    latencies.sort_unstable();
    let at = |per_mille: usize| latencies[(latencies.len() - 1) * per_mille / 1_000] / 1_000;
    println!(
        "fan-out of {changes} changes, {interval:?} apart: p50 {} us, p90 {} us, p99 {} us, p99.9 {} us, max {} us",
        at(500),
        at(900),
        at(990),
        at(999),
        at(1_000)
    );
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// User and system time. Hundredths of a second.
fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn now_ns() -> i128 {
    SystemClock.now().as_nanosecond()
}

/// A connection with some watches, as bytes.
struct Connection {
    stream: TcpStream,
    watches: usize,
}

impl Connection {
    /// Connects, and opens the watches.
    async fn open(address: &str, watches: usize) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut hello = BytesMut::new();
        hello.extend_from_slice(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        // SETTINGS: a stream window (4) as large as can be; then the same for the connection.
        frame(&mut hello, 4, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]);
        frame(&mut hello, 8, 0, 0, &0x7fff_0000_u32.to_be_bytes());
        for index in 0..watches {
            let id = u32::try_from(index).unwrap() * 2 + 1;
            frame(&mut hello, 1, 4, id, &headers(address));
            // An empty WatchEntitiesRequest.
            frame(&mut hello, 0, 1, id, &[0, 0, 0, 0, 0]);
        }
        stream.write_all(&hello).await.unwrap();
        Self { stream, watches }
    }

    /// Reads until told to stop. Gives when each change came to each watch.
    async fn read(
        mut self,
        idle: tokio::sync::mpsc::Sender<()>,
        mut stop: watch::Receiver<bool>,
    ) -> Vec<Vec<i128>> {
        // A snapshot is `snapshot`, the entities, and `synced`.
        let before_changes = usize::try_from(ENTITIES).unwrap() + 2;
        let mut seen = vec![0; self.watches];
        let mut arrivals = vec![Vec::new(); self.watches];
        let mut synced = 0;
        let mut buffer = BytesMut::with_capacity(1 << 20);
        loop {
            tokio::select! {
                read = self.stream.read_buf(&mut buffer) => assert!(read.unwrap() > 0, "cut"),
                _ = stop.wait_for(|stop| *stop) => return arrivals,
            }
            let now = now_ns();
            while buffer.len() >= 9 {
                let length =
                    usize::try_from(u32::from_be_bytes([0, buffer[0], buffer[1], buffer[2]]))
                        .unwrap();
                if buffer.len() < 9 + length {
                    break;
                }
                let (kind, flags) = (buffer[3], buffer[4]);
                let id = u32::from_be_bytes([buffer[5], buffer[6], buffer[7], buffer[8]]);
                let payload = buffer.split_to(9 + length).split_off(9);
                match kind {
                    0 => {
                        let index = usize::try_from(id / 2).unwrap();
                        let messages = messages(payload);
                        for _ in 0..messages {
                            seen[index] += 1;
                            if seen[index] == before_changes {
                                synced += 1;
                                if synced == self.watches {
                                    idle.send(()).await.unwrap();
                                }
                            } else if seen[index] > before_changes {
                                arrivals[index].push(now);
                            }
                        }
                    }
                    3 | 7 => panic!("the hub ended stream {id}: frame {kind}"),
                    // PING and SETTINGS are answered.
                    6 if flags & 1 == 0 => self.answer(6, &payload).await,
                    4 if flags & 1 == 0 => self.answer(4, &[]).await,
                    _ => {}
                }
            }
            buffer.reserve(1 << 16);
        }
    }

    async fn answer(&mut self, kind: u8, payload: &[u8]) {
        let mut answer = BytesMut::new();
        frame(&mut answer, kind, 1, 0, payload);
        self.stream.write_all(&answer).await.unwrap();
    }
}

/// Whole messages in a DATA frame, but `progress`; the hub never splits one.
fn messages(mut payload: BytesMut) -> usize {
    /// Field 6, a message.
    const PROGRESS: u8 = 6 << 3 | 2;
    let mut count = 0;
    while payload.len() > 5 {
        let length =
            usize::try_from(u32::from_be_bytes([payload[1], payload[2], payload[3], payload[4]]))
                .unwrap();
        count += usize::from(payload[5] != PROGRESS);
        payload.advance(5 + length);
    }
    count
}

fn frame(out: &mut BytesMut, kind: u8, flags: u8, id: u32, payload: &[u8]) {
    out.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(payload);
}

/// HPACK: each header as a literal that is not indexed.
fn headers(address: &str) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/vitals.v1.EntityService/WatchEntities"),
        (":authority", address),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ] {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// The hub's port, with a view that is fed by hand: a line on standard input is a change, whose time is said.
async fn serve() {
    let (desk, _queries) = Desk::new();
    let (_readiness, ready) = watch::channel(Readiness::Ready);
    let (_clusters, clusters) = watch::channel(Clusters::default());
    let view = Arc::new(View::default());
    let entities = (0..ENTITIES).map(|index| change(index, 1));
    view.publish(entities.collect(), moment(1));
    let shared = Shared {
        view: Arc::clone(&view),
        desk,
        readiness: ready,
        metrics: ServeMetrics::default(),
    };
    let server = Server::listen(Security::loopback(0), Limits::default()).await.unwrap();
    println!("{}", server.address());
    let supervisor = Supervisor::new();
    let drill = drill(clusters.clone(), &supervisor.tasks()).await;
    let sources = Sources {
        shared: Arc::new(shared),
        clusters,
        definitions: Arc::new(Nothing),
        records: Arc::new(Nothing),
        history: Arc::new(Nothing),
        drill,
    };
    server.serve(sources, &supervisor.tasks());
    let feeding = async {
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        let mut sequence = 1;
        while let Ok(Some(_)) = lines.next_line().await {
            sequence += 1;
            let at = now_ns();
            view.publish(vec![change(sequence % ENTITIES, sequence)], moment(sequence));
            println!("{at}");
        }
    };
    supervisor.run(feeding, Duration::from_secs(5)).await.unwrap();
}

/// Nobody asks it: over a connection that never stands.
async fn drill(clusters: watch::Receiver<Clusters>, tasks: &Tasks) -> Arc<DrillDown> {
    let nowhere = NatsArgs::plain("nats://127.0.0.1:1".parse().unwrap());
    let identity = Identity { name: "fan-out".into(), inbox_prefix: "_INBOX_fan-out".into() };
    let connection = nats::Connection::open(&nowhere, identity).await.unwrap();
    let client = connection.client().clone();
    DrillDown::new(client, clusters, tasks.clone(), drill::Metrics::default())
}

fn position(sequence: u64) -> Position {
    Position::at(&StreamPoint { stream: "VITALS_OBJECTS".into(), incarnation_unix_ns: 1, sequence })
}

fn moment(sequence: u64) -> Moment {
    Moment { position: position(sequence), as_of: Time::from_unix_ms(SystemClock.unix_ms()) }
}

/// An entity of a usual size, about 700 bytes.
fn change(index: u64, sequence: u64) -> Change {
    let entity: EntityRef = format!("component:default/service-{index}").parse().unwrap();
    let verdict = v1::Verdict {
        status: v1::HealthStatus::Degraded.into(),
        severity: v1::Severity::Critical.into(),
        reason: "ContainerCrashLooping".into(),
        message: "2 of 3 pods restart again and again: container app exits with code 1".into(),
        since: Some(Time::from_unix_s(1_764_000_000).to_wire()),
        evidence: vec![
            format!("sequence {sequence}"),
            "exit code 1, 7 restarts in 10 minutes".into(),
        ],
        next: format!("kubectl --context eu-1 -n shop logs deploy/service-{index} --previous"),
        ..Default::default()
    };
    let cluster = |name: &str| v1::ClusterVerdict {
        cluster: name.into(),
        verdict: Some(verdict.clone()),
        workloads: Vec::new(),
        labels: Default::default(),
    };
    let state = v1::Entity {
        r#ref: entity.to_string(),
        owner: "group:default/payments".into(),
        system: "system:default/checkout".into(),
        verdict: Some(verdict.clone()),
        clusters: vec![cluster("eu-1")],
        revision: Some(position(sequence).to_wire()),
        digest: sequence << 32 | index,
        ..Default::default()
    };
    Change { entity, touched: position(sequence), outcome: Outcome::Changed(Arc::new(state)) }
}
