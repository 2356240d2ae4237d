//! The charts on a real API server: applied twice, run in a restricted namespace, and an agent with nothing but the rights that
//! its chart gives it.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::{Api, ListParams};
use serde_json::json;
use vitals_proto::kind::Kind;
use vitals_proto::v1::KindState;
use vitals_tests::fleet::Fleet;
use vitals_tests::{Cluster, Folder, Nats, cluster_test, objects, wait_for};

use crate::helm::{CHARTS, Release, deploy, helm, path, values_of};
use crate::rights::{self, Right};

const SOON: Duration = Duration::from_secs(90);

/// Of the namespaces into which things are installed.
const RESTRICTED: (&str, &str) = ("pod-security.kubernetes.io/enforce", "restricted");

#[test]
fn what_is_applied_twice_does_not_change() {
    cluster_test(Box::pin(async {
        let cluster = Cluster::shared("deploy").await?;
        let client = cluster.client().await?;
        let folder = Folder::new("applied")?;
        for chart in CHARTS {
            let committed = deploy().join(format!("manifests/{chart}.yaml"));
            let mut texts = vec![std::fs::read_to_string(committed)?];
            restricted(&cluster, "vitals").await?;
            // The namespace that one of the files watches alone.
            restricted(&cluster, "shop").await?;
            for values in values_of(chart)? {
                let namespace = objects::namespace(&client, chart).await?;
                let release =
                    Release { chart, namespace: &namespace, set: &[], values: Some(values) };
                texts.push(release.render().await?);
            }
            for (number, text) in texts.iter().enumerate() {
                let file = folder.write(&format!("{chart}-{number}.yaml"), text)?;
                let file = file.to_str().context("a path in UTF-8")?;
                for run in ["first", "second"] {
                    let apply = ["apply", "--server-side", "--validate=strict", "-f", file];
                    let applied = cluster.kubectl(&apply).await?;
                    // Warnings, such as those of a restricted namespace, are on standard error.
                    let is_clean = applied.status.success() && applied.stderr.is_empty();
                    ensure!(is_clean, "{run} of {chart} {number}: {applied:?}");
                    let diff = cluster.kubectl(&["diff", "--server-side", "-f", file]).await?;
                    let is_same = diff.status.success() && diff.stdout.is_empty();
                    ensure!(is_same, "{run} of {chart} {number}: {diff:?}");
                }
            }
        }
        Ok(())
    }));
}

/// As the README says it: installed, again, and gone with all that belonged to it.
#[test]
fn helm_installs_upgrades_and_uninstalls() {
    cluster_test(Box::pin(async {
        let cluster = Cluster::shared("deploy").await?;
        let kubeconfig = cluster.kubeconfig().display().to_string();
        for (chart, notes) in [("vitals-hub", "serves gRPC"), ("vitals-agent", "agent of ci")] {
            let namespace = objects::namespace(&cluster.client().await?, "helm").await?;
            let run = async |arguments: &[&str]| {
                let places = ["--kubeconfig", &kubeconfig, "--namespace", &namespace];
                let arguments = [arguments, &places].concat();
                let ran =
                    helm(&arguments.into_iter().map(str::to_owned).collect::<Vec<_>>()).await?;
                ensure!(ran.status.success(), "{ran:?}");
                anyhow::Ok(ran.stdout)
            };
            let path = path(chart);
            let install = ["upgrade", "--install", chart, &path];
            let set: &[&str] =
                if chart == "vitals-agent" { &["--set", "clusterName=ci"] } else { &[] };
            for _ in 0..2 {
                let said = run(&[&install, set].concat()).await?;
                ensure!(said.contains("STATUS: deployed") && said.contains(notes), "{said}");
            }
            run(&["uninstall", chart, "--wait"]).await?;
            let kinds = "deployments,services,serviceaccounts,roles,rolebindings,clusterroles,\
                         clusterrolebindings,poddisruptionbudgets,networkpolicies";
            let label = format!("app.kubernetes.io/name={chart}");
            let left = ["-n", &namespace, "get", kinds, "-l", &label, "-o", "name"];
            let left = cluster.kubectl(&left).await?.stdout;
            // What other tests installed on the cluster is called after their namespaces.
            let is_ours = |line: &&str| !line.contains("clusterrole") || line.contains(&namespace);
            let ours: Vec<&str> = left.lines().filter(is_ours).collect();
            ensure!(ours.is_empty(), "{ours:?}");
        }
        Ok(())
    }));
}

#[test]
fn their_pods_are_let_into_a_restricted_namespace() {
    cluster_test(Box::pin(async {
        let cluster = Cluster::shared("deploy").await?;
        let client = cluster.client().await?;
        let namespace = "vitals-restricted";
        restricted(&cluster, namespace).await?;
        for (chart, count) in [("vitals-hub", 2), ("vitals-agent", 1)] {
            let set: &[&str] = if chart == "vitals-agent" { &["clusterName=ci"] } else { &[] };
            let release = Release { chart, namespace, set, values: None };
            objects::apply(&client, namespace, &release.render().await?).await?;
            let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
            let labelled = ListParams::default().labels(&format!("app.kubernetes.io/name={chart}"));
            wait_for(&format!("the pods of {chart}"), SOON, async || {
                Ok((pods.list(&labelled).await?.items.len() == count).then_some(()))
            })
            .await?;
        }
        Ok(())
    }));
}

#[test]
fn an_agent_with_the_rights_of_its_chart_sees_all_that_it_should() {
    cluster_test(Box::pin(async {
        let cluster = Cluster::shared("deploy").await?;
        let client = cluster.client().await?;
        let home = objects::namespace(&client, "rights").await?;
        let account = installed(&cluster, &home, &[]).await?;
        let many = objects::Many { deployments: 3, pods_each: 2 };
        objects::create_deployments(&client, &home, many).await?;
        let mut fleet = Fleet::start_hub(Nats::start().await?, &[]).await?;
        let kubeconfig = account.kubeconfig().display().to_string();
        let flags = ["--kubeconfig", &kubeconfig, "--lease-namespace", &home];
        fleet.start_agent("main", &cluster, &flags).await?;
        fleet.wait_fresh(cluster.name()).await?;
        for number in 0..many.deployments {
            objects::wait_available(&client, &home, &format!("app-{number}"), SOON).await?;
        }
        fleet.assert_true_in(&cluster, &[&home]).await?;
        let held = states(&fleet, &cluster).await?;
        ensure!(held == complete(&Kind::KNOWN), "{held:?}");
        // The Lease was written under the rights of the chart.
        let lease = cluster.kubectl(&["-n", &home, "get", "lease", "vitals-agent-main"]).await?;
        ensure!(lease.status.success(), "{lease:?}");
        Ok(())
    }));
}

#[test]
fn an_agent_of_one_namespace_needs_no_rights_elsewhere() {
    cluster_test(Box::pin(async {
        let cluster = Cluster::shared("deploy").await?;
        let client = cluster.client().await?;
        let home = objects::namespace(&client, "narrow").await?;
        let watched = objects::namespace(&client, "watched").await?;
        let set = [format!("namespace={watched}"), format!("scope={watched}")];
        let account = installed(&cluster, &home, &set.each_ref().map(String::as_str)).await?;
        let many = objects::Many { deployments: 1, pods_each: 1 };
        objects::create_deployments(&client, &watched, many).await?;
        let mut fleet = Fleet::start_hub(Nats::start().await?, &[]).await?;
        let kubeconfig = account.kubeconfig().display().to_string();
        let flags = [
            ["--kubeconfig", &kubeconfig],
            ["--namespace", &watched],
            ["--scope", &watched],
            ["--lease-namespace", &home],
        ];
        fleet.start_agent("narrow", &cluster, &flags.concat()).await?;
        let entity = format!("workload:{watched}/app-0");
        fleet.wait_entity(&entity, |it| !it.clusters.is_empty()).await?;
        let mut namespaced = Kind::KNOWN.to_vec();
        namespaced.retain(|kind| kind.is_namespaced() == Some(true));
        let want = complete(&namespaced);
        wait_for("all kinds of the namespace to be seen", SOON, async || {
            Ok((states(&fleet, &cluster).await? == want).then_some(()))
        })
        .await?;
        let client = account.client().await?;
        let elsewhere = rights::all(&client, "default").await?;
        let nobody = nobody(&cluster, &elsewhere).await?;
        let elsewhere = rights::granted(&client, elsewhere).await?;
        let more: Vec<&Right> = elsewhere.difference(&nobody).collect();
        ensure!(more.is_empty(), "rights outside of its namespace: {more:?}");
        Ok(())
    }));
}

#[test]
fn an_agent_may_do_nothing_that_it_should_not() {
    cluster_test(Box::pin(async {
        let cluster = Cluster::shared("deploy").await?;
        let admin = cluster.client().await?;
        for set in [&[][..], &["logs.enabled=true", "rawObjects.enabled=true"]] {
            let home = objects::namespace(&admin, "nothing").await?;
            let client = installed(&cluster, &home, set).await?.client().await?;
            for namespace in [home.as_str(), "kube-system"] {
                let all = rights::all(&client, namespace).await?;
                ensure!(all.len() > 500, "only {} rights were asked for", all.len());
                let nobody = nobody(&cluster, &all).await?;
                let granted = rights::granted(&client, all.clone()).await?;
                let is_home = namespace == home;
                let want: BTreeSet<Right> = all
                    .into_iter()
                    .filter(|right| {
                        nobody.contains(right) || should(right, is_home, !set.is_empty())
                    })
                    .collect();
                let more: Vec<&Right> = granted.difference(&want).collect();
                let less: Vec<&Right> = want.difference(&granted).collect();
                ensure!(
                    more.is_empty() && less.is_empty(),
                    "{set:?}: too much {more:?}, too little {less:?}"
                );
            }
            // Of the Lease, its own.
            let lease = |verb: &str, name: &str| Right {
                verb: verb.to_owned(),
                group: "coordination.k8s.io".to_owned(),
                resource: "leases".to_owned(),
                namespace: home.clone(),
                name: name.to_owned(),
            };
            let ours = BTreeSet::from(["get", "update"].map(|it| lease(it, "vitals-agent-main")));
            let verbs = rights::VERBS.into_iter().filter(|verb| *verb != "create");
            let names = ["vitals-agent-main", "vitals-agent-other"];
            let asked = verbs.flat_map(|verb| names.map(|name| lease(verb, name))).collect();
            let granted = rights::granted(&client, asked).await?;
            ensure!(granted == ours, "{granted:?}");
        }
        Ok(())
    }));
}

/// Whether an agent should have this right, which is of any name.
fn should(right: &Right, is_home: bool, with_logs: bool) -> bool {
    let kind = match right.group.as_str() {
        "" => right.resource.clone(),
        group => format!("{}.{group}", right.resource),
    };
    let is_read = matches!(right.verb.as_str(), "get" | "list" | "watch");
    let is_lease = is_home && kind == "leases.coordination.k8s.io" && right.verb == "create";
    let is_log = with_logs && kind == "pods/log" && right.verb == "get";
    let is_event = kind == "events" && right.verb == "list";
    let is_watched = is_read && Kind::KNOWN.contains(&Kind::from_resource(&kind));
    is_watched || is_lease || is_log || is_event
}

/// What every account may do.
async fn nobody(cluster: &Cluster, asked: &BTreeSet<Right>) -> Result<BTreeSet<Right>> {
    let client = cluster.user("nobody", &[]).await?.client().await?;
    rights::granted(&client, asked.clone()).await
}

/// Installs the agent's chart, and gives its service account.
pub(crate) async fn installed(
    cluster: &Cluster,
    namespace: &str,
    set: &[&str],
) -> Result<vitals_tests::cluster::User> {
    let client = cluster.client().await?;
    let set = [&["clusterName=ci", "replicas=0"], set].concat();
    let release = Release { chart: "vitals-agent", namespace, set: &set, values: None };
    objects::apply(&client, namespace, &release.render().await?).await?;
    let accounts: Api<ServiceAccount> = Api::namespaced(client, namespace);
    let mut accounts = accounts.list(&ListParams::default()).await?.items;
    accounts.retain(|it| it.metadata.name.as_deref() != Some("default"));
    ensure!(accounts.len() == 1, "{accounts:?}");
    let name = accounts.remove(0).metadata.name.context("a name")?;
    cluster.account(namespace, &name).await
}

/// Makes a namespace into which only pods come that need no privilege.
async fn restricted(cluster: &Cluster, name: &str) -> Result<()> {
    let (label, level) = RESTRICTED;
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": { "name": name, "labels": { label: level } },
    });
    objects::apply(&cluster.client().await?, "", &namespace.to_string()).await?;
    Ok(())
}

/// Kinds and their states, as the agent tells the hub.
async fn states(fleet: &Fleet, cluster: &Cluster) -> Result<BTreeSet<(String, KindState)>> {
    let seen = fleet.cluster(cluster.name()).await?.context("the cluster is unknown")?;
    let kinds = seen.scopes.into_iter().flat_map(|scope| scope.kinds);
    Ok(kinds.map(|it| (it.kind.clone(), it.state())).collect())
}

fn complete(kinds: &[Kind]) -> BTreeSet<(String, KindState)> {
    kinds.iter().map(|kind| (kind.to_string(), KindState::Complete)).collect()
}
