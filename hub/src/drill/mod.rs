//! Drill-down: what the hub does not hold, asked of the agent of the cluster: an object as its API server has it, the events of
//! one, the log of a container (docs/protocol.md, "Drill-down").
//!
//! Shared: who asks for what was asked within the last second gets that answer, and all who read one log are served by one
//! request. Bounded: so much for each connection, so much for each cluster; beyond, RESOURCE_EXHAUSTED.
//! Deliberately not here: what may leave a cluster. The agent decides that.

mod error;
mod limits;
mod share;
mod ask;
mod ring;
mod log;
mod session;
mod metrics;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use tokio::sync::watch;
use vitals_proto::identity::{ClusterName, ObjectKey};
use vitals_proto::kind::Kind;
use vitals_proto::subject::Verb;
use vitals_proto::v1;
use vitals_runtime::tasks::Tasks;

pub use error::Error;
pub use log::LogReader;
pub use metrics::Metrics;

use crate::serve::Clusters;
use ask::Agents;
use limits::Limits;
use log::{LogKey, Logs};
use metrics::Verb as Counted;
use session::Session;
use share::Share;

/// How long an answer is given again to who asks the same.
const SHARED_FOR: Duration = Duration::from_secs(1);

/// Lines of a log, where the client does not say.
const TAIL_LINES: u32 = 100;

/// Asks agents for what the hub does not hold.
pub struct DrillDown {
    client: async_nats::Client,
    clusters: watch::Receiver<Clusters>,
    tasks: Tasks,
    metrics: Metrics,
    limits: Limits,
    objects: Share<ObjectKey, v1::GetObjectResponse>,
    events: Share<ObjectKey, v1::ListEventsResponse>,
    logs: Arc<Logs>,
}

impl fmt::Debug for DrillDown {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("DrillDown").finish_non_exhaustive()
    }
}

impl DrillDown {
    /// Asks over this connection, of the clusters that the hub knows.
    pub fn new(
        client: async_nats::Client,
        clusters: watch::Receiver<Clusters>,
        tasks: Tasks,
        metrics: Metrics,
    ) -> Arc<Self> {
        let (objects, events) = (Share::new(tasks.clone()), Share::new(tasks.clone()));
        let logs = Logs::new(metrics.clone());
        let limits = Limits::default();
        Arc::new(Self { client, clusters, tasks, metrics, limits, objects, events, logs })
    }

    /// The object as its API server has it.
    pub async fn object(
        &self,
        connection: Option<SocketAddr>,
        object: &ObjectKey,
    ) -> Result<v1::GetObjectResponse, Error> {
        let begin = || {
            let (agents, permit) = self.ask_begins(object.cluster(), Verb::Get)?;
            let object = object.clone();
            Ok(async move {
                let _permit = permit;
                agents.ask(|scope| raw_object_request(&object, scope), read_object).await
            })
        };
        let answer = async {
            self.limits.admit(connection)?;
            self.objects.ask(object.clone(), begin).await
        };
        self.counted(Counted::Get, answer.await)
    }

    /// The events of an object, as its API server has them.
    pub async fn events(
        &self,
        connection: Option<SocketAddr>,
        object: &ObjectKey,
    ) -> Result<v1::ListEventsResponse, Error> {
        let begin = || {
            let (agents, permit) = self.ask_begins(object.cluster(), Verb::Events)?;
            let object = object.clone();
            Ok(async move {
                let _permit = permit;
                agents.ask(|scope| events_request(&object, scope), read_events).await
            })
        };
        let answer = async {
            self.limits.admit(connection)?;
            self.events.ask(object.clone(), begin).await
        };
        self.counted(Counted::Events, answer.await)
    }

    /// The log of a container, from its open beginning on.
    pub async fn log(
        &self,
        connection: Option<SocketAddr>,
        request: v1::StreamLogsRequest,
    ) -> Result<LogReader, Error> {
        let opened = async {
            self.limits.admit(connection)?;
            let key = log_key(request)?;
            let mut reader = self.join_or_open(&key)?;
            reader.opened().await?;
            Ok(reader)
        };
        self.counted(Counted::Logs, opened.await)
    }

    fn join_or_open(&self, key: &LogKey) -> Result<LogReader, Error> {
        let begin = || {
            let agents = self.agents(key.pod.cluster(), Verb::Logs)?;
            Ok((agents, self.limits.open_log(key.pod.cluster())?))
        };
        let (reader, begun) = self.logs.join_or_open(key, begin)?;
        if let Some((agents, permit)) = begun {
            self.metrics.asked(Counted::Logs);
            let session = Session { agents, log: reader.log(), logs: Arc::clone(&self.logs) };
            let stopping = self.tasks.stopping();
            self.tasks.spawn_finite("a log", async move {
                let _permit = permit;
                session.run(stopping).await;
                Ok::<(), std::convert::Infallible>(())
            });
        }
        Ok(reader)
    }

    fn ask_begins(
        &self,
        cluster: &ClusterName,
        verb: Verb,
    ) -> Result<(Agents, limits::Permit), Error> {
        let agents = self.agents(cluster, verb)?;
        let permit = self.limits.ask(cluster)?;
        self.metrics.asked(match verb {
            Verb::Events => Counted::Events,
            Verb::Logs => Counted::Logs,
            Verb::Get | Verb::Repair => Counted::Get,
        });
        Ok((agents, permit))
    }

    /// Those of a cluster that the hub knows.
    fn agents(&self, cluster: &ClusterName, verb: Verb) -> Result<Agents, Error> {
        match &*self.clusters.borrow() {
            Clusters::Unread => Err(Error::Unread),
            Clusters::Read(said) => {
                let known = said.clusters.iter().find(|it| it.name == cluster.as_str());
                let known = known.ok_or_else(|| Error::UnknownCluster(cluster.clone()))?;
                Ok(Agents::of(self.client.clone(), cluster.clone(), known, verb))
            }
        }
    }

    fn counted<T>(&self, verb: Counted, answer: Result<T, Error>) -> Result<T, Error> {
        self.metrics.answered(verb, answer.as_ref().err());
        answer
    }
}

fn raw_object_request(object: &ObjectKey, scope: &str) -> Vec<u8> {
    let v1::ObjectRef { cluster: _, kind, namespace, name } = object.to_ref();
    v1::RawObjectRequest { scope: scope.to_owned(), kind, namespace, name }.encode_to_vec()
}

fn read_object(
    answer: v1::RawObjectResponse,
) -> Option<Result<v1::GetObjectResponse, v1::RequestError>> {
    use v1::raw_object_response::Outcome;
    Some(match answer.outcome? {
        Outcome::Object(v1::RawObject { json, left_out }) => {
            Ok(v1::GetObjectResponse { json, left_out })
        }
        Outcome::Error(error) => Err(error),
    })
}

fn events_request(object: &ObjectKey, scope: &str) -> Vec<u8> {
    let v1::ObjectRef { cluster: _, kind, namespace, name } = object.to_ref();
    v1::EventsRequest { scope: scope.to_owned(), kind, namespace, name }.encode_to_vec()
}

fn read_events(
    answer: v1::EventsResponse,
) -> Option<Result<v1::ListEventsResponse, v1::RequestError>> {
    use v1::events_response::Outcome;
    Some(match answer.outcome? {
        Outcome::List(v1::EventList { events, truncated }) => {
            Ok(v1::ListEventsResponse { events, truncated })
        }
        Outcome::Error(error) => Err(error),
    })
}

fn log_key(request: v1::StreamLogsRequest) -> Result<LogKey, Error> {
    let v1::StreamLogsRequest {
        pod,
        container,
        follow,
        previous,
        tail_lines,
        since_seconds,
        timestamps,
    } = request;
    let pod = pod.ok_or_else(|| Error::Invalid("name the pod".to_owned()))?;
    let pod = ObjectKey::try_from(&pod).map_err(|error| Error::Invalid(error.to_string()))?;
    if *pod.kind() != Kind::Pod {
        let why = format!("{pod} has no log: name one of its pods (GetEntityTree lists them)");
        return Err(Error::Invalid(why));
    }
    let tail_lines = if tail_lines == 0 { TAIL_LINES } else { tail_lines };
    Ok(LogKey { pod, container, follow, previous, tail_lines, since_seconds, timestamps })
}
