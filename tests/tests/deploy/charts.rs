//! What can be said of charts and manifests without a cluster: they are clean, in step with each other and with the code.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use clap::{Command, CommandFactory as _};
use serde_json::Value;
use vitals_proto::kind::Kind;
use vitals_tests::cluster_test;

use crate::helm::{CHARTS, Release, deploy, documents, helm, of_kind, path, values_of};

/// Manifests that are rendered from the charts, and what is set for them.
const MANIFESTS: [(&str, &[&str]); 2] =
    [("vitals-hub", &[]), ("vitals-agent", &["clusterName=my-cluster"])];

/// Where the manifests are installed, unless somebody changes them.
const NAMESPACE: &str = "vitals";

/// Writes files anew instead of comparing them.
const UPDATE: &str = "VITALS_UPDATE_MANIFESTS";

#[test]
fn charts_are_clean_with_all_values() {
    cluster_test(async {
        for chart in CHARTS {
            for values in values_of(chart)? {
                let values = values.display().to_string();
                let flags = ["lint", "--strict", &path(chart), "--values", &values];
                let linted = helm(&flags.map(str::to_owned)).await?;
                let said = format!("{}{}", linted.stdout, linted.stderr);
                ensure!(linted.status.success() && !said.contains("[WARNING]"), "{values}: {said}");
            }
        }
        Ok(())
    });
}

#[test]
fn wrong_values_are_refused_by_name() {
    cluster_test(async {
        let agent = "clusterName=a";
        for (chart, set, want) in [
            ("vitals-agent", vec![], "clusterName: say what this cluster is called"),
            ("vitals-agent", vec!["clusterName=A_b"], "clusterName"),
            ("vitals-agent", vec![agent, "clustername=b"], "clustername"),
            ("vitals-agent", vec![agent, "logs.enabled=maybe"], "logs/enabled"),
            (
                "vitals-agent",
                vec![agent, "kinds={secrets}"],
                "secrets is none that an agent watches",
            ),
            ("vitals-agent", vec![agent, "namespace=shop"], "a scope of its own"),
            ("vitals-agent", vec![agent, "replicas=2", "lease.enabled=false"], "need the Lease"),
            ("vitals-agent", vec![agent, "nats.urls={nats://me:secret@nats:4222}"], "nats/urls/0"),
            ("vitals-agent", vec![agent, "nats.auth.method=kerberos"], "nats/auth/method"),
            ("vitals-agent", vec![agent, "nats.auth.secretName="], "nats/auth/secretName"),
            ("vitals-hub", vec!["tls.secretName="], "tls.secretName: name a Secret"),
            ("vitals-hub", vec!["token.secretName="], "token.secretName: name a Secret"),
            ("vitals-hub", vec!["streams.replicas=2"], "streams/replicas"),
        ] {
            let release =
                Release { chart, namespace: NAMESPACE, set: &set, values: None }.render().await;
            let refused = release.err().with_context(|| format!("{set:?} is taken"))?.to_string();
            ensure!(refused.contains(want), "{set:?}: {refused}");
        }
        Ok(())
    });
}

#[test]
fn manifests_are_what_the_charts_render() {
    cluster_test(async {
        for (chart, set) in MANIFESTS {
            let release = Release { chart, namespace: NAMESPACE, set, values: None };
            let values: String = set.iter().map(|it| format!(" --set {it}")).collect();
            let rendered = format!(
                "# Rendered from deploy/charts/{chart}; change that, and then\n\
                 # VITALS_UPDATE_MANIFESTS=1 cargo test -p vitals-tests --test deploy manifests\n\
                 # helm template {chart} deploy/charts/{chart} --namespace {NAMESPACE}{values}\n{}",
                release.render().await?
            );
            is_in_step(&format!("manifests/{chart}.yaml"), &rendered)?;
        }
        Ok(())
    });
}

#[test]
fn both_charts_connect_to_nats_alike() -> Result<()> {
    let [hub, agent] = CHARTS.map(|chart| {
        std::fs::read_to_string(deploy().join("charts").join(chart).join("templates/_nats.tpl"))
    });
    ensure!(hub? == agent?, "_nats.tpl differs");
    Ok(())
}

/// The list from which the agent's rights are made.
#[test]
fn the_chart_names_the_kinds_that_the_agent_watches() -> Result<()> {
    let file = "charts/vitals-agent/kinds.yaml";
    let text = std::fs::read_to_string(deploy().join(file))?;
    let header = text.lines().take_while(|line| line.starts_with('#'));
    let header: String = header.map(|line| format!("{line}\n")).collect();
    let list = |is_namespaced: bool| -> String {
        let kinds = Kind::KNOWN.iter().filter(|it| it.is_namespaced() == Some(is_namespaced));
        kinds.map(|kind| format!("  - {kind}\n")).collect()
    };
    let wanted = format!("{header}cluster:\n{}namespaced:\n{}", list(false), list(true));
    is_in_step(file, &wanted)
}

#[test]
fn the_agent_may_read_what_it_watches_and_nothing_else() {
    cluster_test(async {
        let all: BTreeSet<Kind> = Kind::KNOWN.into_iter().collect();
        let namespaced =
            all.iter().filter(|it| it.is_namespaced() == Some(true)).cloned().collect();
        let few = BTreeSet::from([Kind::Pod, Kind::Node]);
        let scope = ["scope=shop", "namespace=shop"];
        for (set, kinds) in [
            (&[][..], &all),
            (&["kinds={pods,nodes}"], &few),
            (&scope, &namespaced),
            (&[scope[0], scope[1], "kinds={pods,nodes}"], &few),
        ] {
            let set = [&["clusterName=a"], set].concat();
            let release =
                Release { chart: "vitals-agent", namespace: NAMESPACE, set: &set, values: None };
            let rendered = documents(&release.render().await?)?;
            let mut granted = BTreeSet::new();
            for role in
                of_kind(&rendered, "ClusterRole").into_iter().chain(of_kind(&rendered, "Role"))
            {
                granted.extend(granted_by(role)?);
            }
            ensure!(granted == *kinds, "{set:?}: {granted:?}");
        }
        Ok(())
    });
}

/// The kinds that a role lets somebody read; fails on all else but the Lease, the identity of the cluster, and its events.
fn granted_by(role: &Value) -> Result<BTreeSet<Kind>> {
    let mut kinds = BTreeSet::new();
    for rule in role["rules"].as_array().context("rules")? {
        let texts = |field: &str| -> Vec<&str> {
            rule[field].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
        };
        let (groups, resources, verbs) = (texts("apiGroups"), texts("resources"), texts("verbs"));
        let is_lease = groups == ["coordination.k8s.io"] && resources == ["leases"];
        let is_identity = texts("resourceNames") == ["kube-system"] && verbs == ["get"];
        let is_event = groups == [""] && resources == ["events"] && verbs == ["list"];
        if is_lease || is_identity || is_event {
            continue;
        }
        ensure!(verbs == ["get", "list", "watch"] && groups.len() == 1, "{rule}");
        kinds.extend(resources.iter().map(|resource| match groups[0] {
            "" => Kind::from_resource(resource),
            group => Kind::from_resource(&format!("{resource}.{group}")),
        }));
    }
    Ok(kinds)
}

/// Whatever values set, the container's variables are ones that the binary reads, with values that it takes.
#[test]
fn the_binaries_take_what_the_charts_set() {
    cluster_test(async {
        for chart in CHARTS {
            for values in values_of(chart)? {
                let release =
                    Release { chart, namespace: NAMESPACE, set: &[], values: Some(values) };
                let rendered = documents(&release.render().await?)?;
                let deployment = of_kind(&rendered, "Deployment");
                let container = &deployment.first().context("a Deployment")?["spec"]["template"]["spec"]
                    ["containers"][0];
                let flags = flags(&command(chart), &container["env"])?;
                command(chart)
                    .try_get_matches_from(flags)
                    .with_context(|| format!("{chart} with {:?}", release.values))?;
            }
        }
        Ok(())
    });
}

fn command(chart: &str) -> Command {
    match chart {
        "vitals-agent" => vitals_agent::args::Args::command(),
        _ => vitals_hub::Args::command(),
    }
}

/// The command line that says what a container's variables say.
fn flags(command: &Command, env: &Value) -> Result<Vec<String>> {
    let by_variable: BTreeMap<_, _> = command
        .get_arguments()
        .filter_map(|it| Some((it.get_env()?.to_string_lossy().into_owned(), it)))
        .collect();
    let mut flags = vec![command.get_name().to_owned()];
    for variable in env.as_array().context("variables")? {
        let name = variable["name"].as_str().context("a name")?;
        if !name.starts_with("VITALS_") {
            continue;
        }
        let flag = by_variable.get(name).with_context(|| format!("nobody reads {name}"))?;
        let long = flag.get_long().context("a flag")?;
        match variable["value"].as_str() {
            Some("true") if !flag.get_action().takes_values() => flags.push(format!("--{long}")),
            Some(value) => flags.push(format!("--{long}={value}")),
            None => {
                ensure!(variable["valueFrom"]["secretKeyRef"]["name"].is_string(), "{variable}");
                flags.push(format!("--{long}=from-a-secret-of-its-own"));
            }
        }
    }
    Ok(flags)
}

/// Compares a file below `deploy` with what it should be, or writes it.
fn is_in_step(file: &str, wanted: &str) -> Result<()> {
    let path = deploy().join(file);
    if std::env::var_os(UPDATE).is_some() {
        return std::fs::write(&path, wanted).with_context(|| format!("write {file}"));
    }
    let found = std::fs::read_to_string(&path).with_context(|| format!("read {file}"))?;
    ensure!(
        found == wanted,
        "deploy/{file} is not in step: {UPDATE}=1 cargo test -p vitals-tests --test deploy"
    );
    Ok(())
}
