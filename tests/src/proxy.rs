//! A TCP proxy in the test's own process that can cut, stall and delay what passes, and heal again.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::port::Port;

/// Read at most this many bytes at once.
const CHUNK_BYTES: usize = 16 * 1024;

/// Chunks of one direction that are under way; the sender waits when there are more, as with a full pipe.
const UNDER_WAY_MAX: usize = 256;

/// Listens on a port of its own and passes connections on to the target. Ends when dropped.
#[derive(Debug)]
pub struct TcpProxy {
    port: Port,
    state: Arc<State>,
    _tasks: JoinSet<()>,
}

/// What happens to the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// They pass, this much later.
    Pass(Duration),
    /// They wait; connections stay open, new ones are accepted and get no answer.
    Stall,
    /// There are no connections; new ones are closed at once.
    Cut,
}

#[derive(Debug)]
struct State {
    mode: watch::Sender<Mode>,
    /// How often all connections were cut. A connection ends when this changes.
    cuts: watch::Sender<u64>,
    /// How many bytes the target may still send before all connections are cut once.
    left: AtomicU64,
    /// How many connections there have been.
    born: AtomicU64,
    /// So many of them, the first ones, are stalled.
    stalled: watch::Sender<u64>,
}

/// `left` when nothing is to be cut.
const NO_LIMIT: u64 = u64::MAX;

impl State {
    fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

impl TcpProxy {
    /// Starts a proxy that passes everything. The target need not listen yet.
    pub async fn start(target: SocketAddr) -> Result<Self> {
        let port = Port::claim()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port.number()));
        let listener = listener.await.context("bind the proxy's port")?;
        let mode = watch::Sender::new(Mode::Pass(Duration::ZERO));
        let state = Arc::new(State {
            mode,
            cuts: watch::Sender::new(0),
            left: AtomicU64::new(NO_LIMIT),
            born: AtomicU64::new(0),
            stalled: watch::Sender::new(0),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, target, Arc::clone(&state)));
        Ok(Self { port, state, _tasks: tasks })
    }

    /// Where to connect instead of the target.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Closes all connections, and new ones at once, until [`heal`](Self::heal)ed.
    pub fn cut(&self) {
        self.state.mode.send_replace(Mode::Cut);
        self.state.cut();
    }

    /// Keeps all connections but lets nothing through, as a network that drops every packet does.
    pub fn stall(&self) {
        self.state.mode.send_replace(Mode::Stall);
    }

    /// Lets nothing through on the connections that are open now, as a firewall that forgot them; new ones pass.
    pub fn stall_open(&self) {
        self.state.stalled.send_replace(self.state.born.load(Ordering::SeqCst));
    }

    /// Delays every byte by this much in each direction; the throughput stays.
    pub fn delay(&self, by: Duration) {
        self.state.mode.send_replace(Mode::Pass(by));
    }

    /// Closes all connections once the target has sent this many more bytes: in the middle of what it was
    /// saying. After that connections pass again.
    pub fn cut_after(&self, bytes: u64) {
        self.state.left.store(bytes, Ordering::SeqCst);
    }

    /// Lets everything pass again. What stalled goes on; what was cut stays closed.
    pub fn heal(&self) {
        self.state.left.store(NO_LIMIT, Ordering::SeqCst);
        self.state.stalled.send_replace(0);
        self.state.mode.send_replace(Mode::Pass(Duration::ZERO));
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                if *state.mode.borrow() != Mode::Cut {
                    let state = Arc::clone(&state);
                    connections.spawn(async move {
                        // A broken connection is what both ends see; nobody else needs to know.
                        pass(client, target, &state).await.ok();
                    });
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Both directions, until both ends are done or the connection is cut.
async fn pass(client: TcpStream, target: SocketAddr, state: &State) -> io::Result<()> {
    let mut cuts = state.cuts.subscribe();
    let number = state.born.fetch_add(1, Ordering::SeqCst);
    let both = async {
        let server = TcpStream::connect(target).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let requests = direction(from_client, to_server, state, Way { number, limit: None });
        let limit = Some(&state.left);
        let answers = direction(from_server, to_client, state, Way { number, limit });
        tokio::try_join!(requests, answers).map(drop)
    };
    tokio::select! {
        done = both => done,
        _ = cuts.changed() => Ok(()),
    }
}

/// One direction of a connection.
#[derive(Clone, Copy)]
struct Way<'a> {
    /// The how-manieth connection it is, from 0.
    number: u64,
    limit: Option<&'a AtomicU64>,
}

/// A reader that stamps each chunk with when it is due, and a writer that waits for that.
async fn direction(
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    state: &State,
    way: Way<'_>,
) -> io::Result<()> {
    let (sender, receiver) = mpsc::channel(UNDER_WAY_MAX);
    tokio::try_join!(read(from, sender, state), write(to, receiver, state, way)).map(drop)
}

async fn read(
    mut from: OwnedReadHalf,
    sender: mpsc::Sender<(Instant, Vec<u8>)>,
    state: &State,
) -> io::Result<()> {
    loop {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        if from.read_buf(&mut chunk).await? == 0 {
            return Ok(());
        }
        let delay = match *state.mode.borrow() {
            Mode::Pass(delay) => delay,
            Mode::Stall | Mode::Cut => Duration::ZERO,
        };
        if sender.send((Instant::now() + delay, chunk)).await.is_err() {
            return Ok(());
        }
    }
}

async fn write(
    mut to: OwnedWriteHalf,
    mut receiver: mpsc::Receiver<(Instant, Vec<u8>)>,
    state: &State,
    Way { number, limit }: Way<'_>,
) -> io::Result<()> {
    let (mut mode, mut stalled) = (state.mode.subscribe(), state.stalled.subscribe());
    while let Some((due, chunk)) = receiver.recv().await {
        tokio::time::sleep_until(due).await;
        mode.wait_for(|mode| matches!(mode, Mode::Pass(_))).await.map_err(io::Error::other)?;
        stalled.wait_for(|stalled| *stalled <= number).await.map_err(io::Error::other)?;
        let Some(limit) = limit else {
            to.write_all(&chunk).await?;
            continue;
        };
        let allowed = take(limit, chunk.len());
        to.write_all(&chunk[..allowed]).await?;
        if allowed < chunk.len() {
            to.flush().await?;
            state.left.store(NO_LIMIT, Ordering::SeqCst);
            state.cut();
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
    }
    to.shutdown().await
}

/// Takes up to `wanted` bytes from what is left; less than wanted means that it is used up.
fn take(left: &AtomicU64, wanted: usize) -> usize {
    let wanted = wanted as u64;
    let after = |left: u64| Some(if left == NO_LIMIT { left } else { left.saturating_sub(wanted) });
    let before = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, after).unwrap_or(NO_LIMIT);
    usize::try_from(before.min(wanted)).unwrap_or(usize::MAX)
}
