//! What operators are answered, with a core and a store that say what the test wants.

use std::collections::BTreeMap;
use std::sync::Mutex;

use vitals_hub_core::cluster_record::ClusterLabels;
use vitals_hub_core::{Forgotten, Position, Time};
use vitals_runtime::http::Readiness;

use super::super::cluster::Said;
use super::*;
use crate::cluster_records::Error as RecordsError;
use crate::metrics::ServeMetrics;
use crate::query::Desk;
use crate::view::View;

/// Keeps labels in memory, and shows them at once unless it is told not to.
#[derive(Debug)]
pub(in super::super) struct Memory {
    labels: Mutex<BTreeMap<ClusterName, ClusterLabels>>,
    written: Mutex<Vec<String>>,
    shown: watch::Sender<Clusters>,
    shows: bool,
}

impl Memory {
    fn write(&self, what: String) -> u64 {
        let mut written = self.written.lock().unwrap();
        written.push(what);
        let revision = written.len() as u64;
        if self.shows {
            let clusters = vec![v1::Cluster { name: "eu-1".into(), ..Default::default() }];
            self.shown.send_replace(Clusters::Read(Arc::new(Said { clusters, revision })));
        }
        revision
    }
}

#[tonic::async_trait]
impl Store for Memory {
    async fn label(
        &self,
        cluster: &ClusterName,
        patch: &LabelPatch,
    ) -> Result<Labelled, RecordsError> {
        let labels = {
            let mut all = self.labels.lock().unwrap();
            let labels = all.entry(cluster.clone()).or_default();
            *labels = patch.apply(labels)?;
            labels.clone()
        };
        Ok(Labelled { labels, revision: self.write(format!("label {cluster}")) })
    }

    async fn forget(&self, cluster: &ClusterName, _: &Forgotten) -> Result<u64, RecordsError> {
        Ok(self.write(format!("forget {cluster}")))
    }

    async fn purge(&self, cluster: &ClusterName, _: &Forgotten) -> Result<u64, RecordsError> {
        self.write(format!("purge {cluster}"));
        let reason = "no answer".to_owned();
        Err(RecordsError::Unavailable { doing: "purge", reason })
    }
}

impl Operators {
    /// Of a hub that shows the cluster `eu-1` once something is written, and answers no question.
    pub(in super::super) fn for_tests(clusters: watch::Receiver<Clusters>) -> Self {
        let (shown, _) = watch::channel(Clusters::default());
        let (operators, _) = with(shown, true);
        Self { clusters, ..operators }
    }
}

fn with(
    shown: watch::Sender<Clusters>,
    shows: bool,
) -> (Operators, tokio::sync::mpsc::Receiver<Query>) {
    let (desk, queries) = Desk::new();
    let (_, readiness) = watch::channel(Readiness::Ready);
    let view = Arc::new(View::default());
    let shared = Arc::new(Shared { view, desk, readiness, metrics: ServeMetrics::default() });
    let clusters = shown.subscribe();
    let labels = Mutex::default();
    let records = Arc::new(Memory { labels, written: Mutex::default(), shown, shows });
    (Operators { shared, clusters, records }, queries)
}

/// Of a hub that shows `eu-1`.
fn hub(shows: bool) -> (Operators, tokio::sync::mpsc::Receiver<Query>) {
    let clusters = vec![v1::Cluster { name: "eu-1".into(), ..Default::default() }];
    let (shown, _) = watch::channel(Clusters::Read(Arc::new(Said { clusters, revision: 0 })));
    with(shown, shows)
}

fn request(name: &str, set: &[(&str, &str)], remove: &[&str]) -> v1::SetClusterLabelsRequest {
    v1::SetClusterLabelsRequest {
        name: name.into(),
        set: set.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
        remove: remove.iter().map(|&key| key.into()).collect(),
        allow_unseen: false,
    }
}

fn code(error: Error) -> (tonic::Code, String) {
    let status = tonic::Status::from(error);
    (status.code(), status.message().to_owned())
}

#[tokio::test(start_paused = true)]
async fn labels_are_checked_written_and_shown() {
    let (operators, _queries) = hub(true);
    let labelled = operators.label(request("eu-1", &[("environment", "prod")], &[])).await.unwrap();
    assert_eq!(labelled.labels["environment"], "prod");
    let labelled =
        operators.label(request("eu-1", &[("region", "eu")], &["environment"])).await.unwrap();
    assert_eq!(labelled.labels.into_keys().collect::<Vec<_>>(), ["region"]);
    for (case, request, want) in [
        ("no name", request("EU", &[], &[]), tonic::Code::InvalidArgument),
        ("no key", request("eu-1", &[("a b", "x")], &[]), tonic::Code::InvalidArgument),
        ("no value", request("eu-1", &[("a", "")], &[]), tonic::Code::InvalidArgument),
        ("no key to remove", request("eu-1", &[], &["-"]), tonic::Code::InvalidArgument),
        ("mistyped", request("eu-2", &[("a", "x")], &[]), tonic::Code::NotFound),
    ] {
        assert_eq!(code(operators.label(request).await.unwrap_err()).0, want, "{case}");
    }
    let ahead =
        v1::SetClusterLabelsRequest { allow_unseen: true, ..request("eu-2", &[("a", "x")], &[]) };
    assert_eq!(operators.label(ahead).await.unwrap().labels.len(), 1);
    // Written, and not shown.
    let (operators, _queries) = hub(false);
    let error = operators.label(request("eu-1", &[("a", "x")], &[])).await.unwrap_err();
    assert_eq!(code(error).0, tonic::Code::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn a_cluster_is_forgotten_only_where_it_is_silent_or_by_force() {
    let forgetting = |alive_s: Option<u64>| {
        let forgotten = Forgotten { position: Position::default(), at: Time::from_unix_s(1) };
        Ok(Forgetting { forgotten, objects: 7, alive: alive_s.map(Duration::from_secs) })
    };
    let unseen = Err(NotForgettable::Unseen("it is cut off".into()));
    let unknown = Err(NotForgettable::Unknown("eu-1".parse().unwrap()));
    for (case, answer, force, want) in [
        ("silent", forgetting(None), false, Ok(7)),
        ("alive", forgetting(Some(3)), false, Err(tonic::Code::FailedPrecondition)),
        ("by force", forgetting(Some(3)), true, Ok(7)),
        ("unseen, also by force", unseen, true, Err(tonic::Code::Unavailable)),
        ("unknown", unknown, false, Err(tonic::Code::NotFound)),
    ] {
        let (operators, mut queries) = hub(true);
        let answering = async {
            loop {
                match queries.recv().await {
                    Some(Query::Forgetting { answer: to, .. }) => {
                        drop(to.send(answer.clone()));
                    }
                    other => panic!("{other:?}"),
                }
            }
        };
        let request = v1::ForgetClusterRequest { name: "eu-1".into(), force };
        let answered = tokio::select! {
            answered = operators.forget(request) => answered,
            () = answering => unreachable!(),
        };
        // That the messages could not be purged does not change what it is.
        let got = answered.map(|it| it.objects).map_err(|error| code(error).0);
        assert_eq!(got, want, "{case}");
    }
}
