//! Which clusters `vitals up` watches: contexts of the kubeconfig, each asked whether it answers. And the one that
//! `vitals verify` compares.
//!
//! Two contexts of one cluster are watched once; two clusters never share a name.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::join_all;
use vitals_agent::kubernetes::{self, Cluster, Contexts, Credentials};
use vitals_proto::identity::{ClusterName, Uid};

use crate::Error;

/// How long a cluster may take to say that it is there.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Which contexts.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ContextArgs {
    /// Watch this context of the kubeconfig (repeat for several); the current one where left out
    #[arg(long, value_name = "CONTEXT")]
    context: Vec<String>,
    /// Watch all contexts of the kubeconfig
    #[arg(long, conflicts_with = "context")]
    all_contexts: bool,
    /// Kubeconfig; where left out, what KUBECONFIG names, else ~/.kube/config
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

impl ContextArgs {
    /// Whether nobody said which cluster.
    #[must_use]
    pub fn names_none(&self) -> bool {
        let Self { context, all_contexts, kubeconfig } = self;
        context.is_empty() && !all_contexts && kubeconfig.is_none()
    }
}

/// A cluster to watch.
pub struct Chosen {
    /// What the hub will call it.
    pub name: ClusterName,
    /// The context.
    pub context: String,
    /// The connection.
    pub cluster: Cluster,
    /// Version of its API server, or why it does not answer.
    pub answer: Result<String, String>,
}

/// The clusters to watch, and what was left out and why.
///
/// # Errors
/// When there is no kubeconfig, no such context, or none of the clusters answers: the message says what to do.
pub async fn choose(args: &ContextArgs) -> Result<(Vec<Chosen>, Vec<String>), Error> {
    let ContextArgs { context, all_contexts, kubeconfig } = args;
    let contexts = read(kubeconfig.as_deref())?;
    let names = match (context.as_slice(), all_contexts) {
        ([], true) => contexts.names.clone(),
        ([], false) => vec![current(&contexts, "--context, or --all-contexts")?],
        (names, _) => names.to_vec(),
    };
    names.iter().try_for_each(|name| check(&contexts, name))?;
    let asked = join_all(names.iter().map(|name| ask(name, kubeconfig.clone()))).await;
    let (chosen, notes) = sift(asked.into_iter().collect::<Result<_, _>>()?);
    if let Some(first) = chosen.first()
        && chosen.iter().all(|it| it.answer.is_err())
    {
        let why = first.answer.clone().err().unwrap_or_default();
        return Err(Error::Unavailable(format!(
            "no cluster answers: context {} says {why}. {HINT}",
            first.context
        )));
    }
    Ok((chosen, notes))
}

/// One cluster, by its context; the current one where none is named. Nothing is asked of it yet.
///
/// # Errors
/// When there is no kubeconfig, or no such context: the message says what to do.
pub async fn one(kubeconfig: Option<PathBuf>, context: Option<String>) -> Result<Cluster, Error> {
    let contexts = read(kubeconfig.as_deref())?;
    let name = context.map_or_else(|| current(&contexts, "--context"), Ok)?;
    check(&contexts, &name)?;
    connect(kubeconfig, name).await
}

const HINT: &str = "Give one that reaches a cluster (--kubeconfig, KUBECONFIG); without any cluster, \
                    `vitals up --demo` shows Vitals on simulated ones";

fn read(kubeconfig: Option<&Path>) -> Result<Contexts, Error> {
    kubernetes::contexts(kubeconfig).map_err(|error| Error::Setting {
        what: format!("a kubeconfig. {HINT}"),
        source: error.into(),
    })
}

/// The current context; `flags` name another.
fn current(contexts: &Contexts, flags: &str) -> Result<String, Error> {
    contexts.current.clone().ok_or_else(|| {
        Error::Usage(format!(
            "the kubeconfig names no current context: choose by {flags}; it has {}. {HINT}",
            names(contexts)
        ))
    })
}

fn check(contexts: &Contexts, name: &str) -> Result<(), Error> {
    if contexts.names.iter().any(|it| it == name) {
        return Ok(());
    }
    let has = names(contexts);
    Err(Error::Usage(format!("the kubeconfig has no context {name:?}; it has {has}")))
}

fn names(contexts: &Contexts) -> String {
    if contexts.names.is_empty() { "none".to_owned() } else { contexts.names.join(", ") }
}

async fn connect(path: Option<PathBuf>, context: String) -> Result<Cluster, Error> {
    let what = format!("context {context}");
    let credentials = Credentials::Kubeconfig { path, context: Some(context) };
    Cluster::connect(&credentials)
        .await
        .map_err(|error| Error::Setting { what, source: error.into() })
}

struct Asked {
    context: String,
    cluster: Cluster,
    answer: Result<(String, Uid), String>,
}

async fn ask(context: &str, kubeconfig: Option<PathBuf>) -> Result<Asked, Error> {
    let cluster = connect(kubeconfig, context.to_owned()).await?;
    let answer = async {
        let version = cluster.version(ANSWER_TIMEOUT).await.map_err(|error| error.to_string())?;
        let uid = cluster.uid(ANSWER_TIMEOUT).await.map_err(|error| error.to_string())?;
        Ok((version, uid))
    };
    let (context, answer) = (context.to_owned(), answer.await);
    Ok(Asked { context, cluster, answer })
}

/// Names each; leaves out a second context of a cluster.
fn sift(asked: Vec<Asked>) -> (Vec<Chosen>, Vec<String>) {
    let (mut chosen, mut notes): (Vec<Chosen>, _) = (Vec::new(), Vec::new());
    let (mut names, mut uids) = (BTreeSet::new(), BTreeSet::new());
    for Asked { context, cluster, answer } in asked {
        if let Ok((_, uid)) = &answer
            && !uids.insert(uid.clone())
        {
            notes.push(format!("context {context} is left out: another one is the same cluster"));
            continue;
        }
        let name = free_name(&ClusterName::slug(&context), &names);
        names.insert(name.clone());
        if let Err(why) = &answer {
            notes.push(format!("context {context} does not answer yet: {why}"));
        }
        let answer = answer.map(|(version, _)| version);
        chosen.push(Chosen { name, context, cluster, answer });
    }
    (chosen, notes)
}

/// The slug, with a number where it is taken.
fn free_name(slug: &ClusterName, taken: &BTreeSet<ClusterName>) -> ClusterName {
    let numbered = (2..).map(|number| ClusterName::slug(&format!("{slug}-{number}")));
    let mut names = std::iter::once(slug.clone()).chain(numbered);
    names.find(|name| !taken.contains(name)).unwrap_or_else(|| slug.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_clusters_never_share_a_name() {
        let taken = ["eu-1", "eu-1-2"].map(|name| name.parse().unwrap()).into();
        for (context, want) in [("EU 1", "eu-1-3"), ("us-1", "us-1")] {
            assert_eq!(free_name(&ClusterName::slug(context), &taken).as_str(), want);
        }
    }

    #[tokio::test]
    async fn without_a_cluster_it_is_said_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config");
        let ask = |context: &[&str]| ContextArgs {
            context: context.iter().map(|&it| it.to_owned()).collect(),
            all_contexts: false,
            kubeconfig: Some(file.clone()),
        };
        let message =
            |result: Result<_, Error>| result.err().map(|error| error.to_string()).unwrap();
        let usage = |result: &Result<_, Error>| matches!(result, Err(Error::Usage(_)));
        let none = message(choose(&ask(&[])).await);
        assert!(
            none.contains("cannot use a kubeconfig") && none.contains("`vitals up --demo`"),
            "{none}"
        );
        let config = "apiVersion: v1\nkind: Config\ncurrent-context: dead\n\
                      clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]\n\
                      contexts: [{name: dead, context: {cluster: c, user: u}}]\nusers: [{name: u}]\n";
        std::fs::write(&file, config).unwrap();
        let dead = choose(&ask(&[])).await;
        assert!(!usage(&dead), "nothing that was written is wrong");
        let dead = message(dead);
        assert!(dead.contains("context dead says the API server does not answer"), "{dead}");
        let unknown = choose(&ask(&["x"])).await;
        assert!(usage(&unknown));
        let to_one = |context: &str| one(Some(file.clone()), Some(context.to_owned()));
        assert!(to_one("dead").await.is_ok(), "nothing is asked of it");
        assert_eq!(
            to_one("x").await.err().unwrap().to_string(),
            "the kubeconfig has no context \"x\"; it has dead"
        );
        assert_eq!(message(unknown), "the kubeconfig has no context \"x\"; it has dead");
    }
}
