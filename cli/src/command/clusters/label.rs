//! `vitals clusters label`: sets and removes labels of a cluster.

use std::collections::BTreeMap;
use std::str::FromStr;

use vitals_proto::identity::ClusterName;
use vitals_proto::v1::SetClusterLabelsRequest;

use super::super::Outcome;
use crate::args::{Format, HubArgs};
use crate::hub::Hub;
use crate::output::Output;
use crate::{Error, progress, text};

/// What `--help` says at its end.
const EXAMPLES: &str = "\
Examples:
  vitals clusters label eu-1 environment=prod region=eu-central-1 provider=aws
  vitals clusters label eu-1 'title=Frankfurt, rack 7' team=payments
  vitals clusters label eu-1 team-
Then: vitals get --environment prod, vitals watch --cluster-label team=payments

`environment`, `region`, `provider` and `title` mean what they say, and the title is shown as the name; any other key is free.
Labels are kept by the hubs, also while the cluster is away.";

/// Which, and how.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The cluster, as `vitals clusters` names it
    #[arg(value_name = "CLUSTER")]
    name: ClusterName,
    /// KEY=VALUE to set a label, KEY- to remove it
    #[arg(required = true, value_name = "KEY=VALUE|KEY-")]
    changes: Vec<Change>,
    /// Also where no agent of the cluster was ever heard: it gets them when one is
    #[arg(long)]
    allow_unseen: bool,
}

/// One change, as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Change {
    Set(String, String),
    Remove(String),
}

impl FromStr for Change {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text.split_once('='), text.strip_suffix('-')) {
            (Some((key, value)), _) if !key.is_empty() && !value.is_empty() => {
                Ok(Self::Set(key.to_owned(), value.to_owned()))
            }
            (None, Some(key)) if !key.is_empty() => Ok(Self::Remove(key.to_owned())),
            (Some(_) | None, _) => {
                Err("write KEY=VALUE to set a label, KEY- to remove one".to_owned())
            }
        }
    }
}

pub(super) async fn run(args: Args, hub: &HubArgs, output: &mut Output) -> Result<Outcome, Error> {
    let Args { name, changes, allow_unseen } = args;
    let (mut set, mut remove) = (BTreeMap::new(), Vec::new());
    for change in changes {
        match change {
            Change::Set(key, value) => drop(set.insert(key, value)),
            Change::Remove(key) => remove.push(key),
        }
    }
    if let Some(key) = remove.iter().find(|key| set.contains_key(*key)) {
        return Err(Error::Usage(format!("label {key} is both set and removed")));
    }
    let hub = Hub::new(hub)?;
    let request = SetClusterLabelsRequest { name: name.to_string(), set, remove, allow_unseen };
    let mut client = hub.clusters();
    let answer = progress::during(output, "asking the hub", client.set_cluster_labels(request));
    let answer = answer.await.map_err(|status| {
        if status.code() == tonic::Code::NotFound {
            let hint = "`vitals clusters` lists those that are; --allow-unseen labels it before its agent comes";
            return Error::NotFound { what: format!("cluster {name}"), hint: hint.to_owned() };
        }
        hub.error(status)
    })?;
    let answer = answer.into_inner();
    match output.format {
        Format::Json | Format::Yaml => output.document(&answer)?,
        Format::Table if answer.labels.is_empty() => {
            output.line(&format!("{name} has no labels"))?;
        }
        Format::Table => {
            let labels = text::clean(&super::labels(&answer.labels)).into_owned();
            output.line(&format!("{name} has {labels}"))?;
        }
    }
    Ok(Outcome::Fine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_sets_or_removes() {
        let set = |key: &str, value: &str| Ok(Change::Set(key.into(), value.into()));
        for (text, want) in [
            ("a=b", set("a", "b")),
            ("a=b=c-", set("a", "b=c-")),
            ("a-b-", Ok(Change::Remove("a-b".into()))),
        ] {
            assert_eq!(text.parse(), want, "{text}");
        }
        for text in ["", "a", "-", "=b", "a="] {
            assert!(text.parse::<Change>().is_err(), "{text}");
        }
    }
}
