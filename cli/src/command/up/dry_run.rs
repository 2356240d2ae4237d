//! `vitals up --dry-run`: which clusters would be watched, and whether they answer.

use serde::Serialize;

use crate::Error;
use crate::args::Format;
use crate::contexts::Chosen;
use crate::output::{Output, Style};
use crate::table::{Cell, Column, Table};

/// The answer to `--dry-run`. It is no message of the API, so it is written down here.
#[derive(Serialize)]
struct Document<'a> {
    contexts: Vec<Line<'a>>,
}

/// A context. What is not known is empty.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    context: &'a str,
    cluster: &'a str,
    kubernetes_version: &'a str,
    problem: &'a str,
}

pub(super) fn show(chosen: &[Chosen], output: &mut Output) -> Result<(), Error> {
    if output.format == Format::Table {
        return output.table(&table(chosen));
    }
    output.value(&Document { contexts: chosen.iter().map(Line::from).collect() })
}

impl<'a> From<&'a Chosen> for Line<'a> {
    fn from(chosen: &'a Chosen) -> Self {
        let Chosen { name, context, cluster: _, answer } = chosen;
        let (kubernetes_version, problem) = match answer {
            Ok(version) => (version.as_str(), ""),
            Err(why) => ("", why.as_str()),
        };
        Self { context, cluster: name.as_str(), kubernetes_version, problem }
    }
}

fn table(chosen: &[Chosen]) -> Table {
    let mut table =
        Table::new(&[Column::name("CONTEXT"), Column::name("CLUSTER"), Column::flexible("ANSWER")]);
    for Chosen { name, context, cluster: _, answer } in chosen {
        let (answer, style) = match answer {
            Ok(version) => (format!("Kubernetes {version}"), Style::Good),
            Err(why) => (why.clone(), Style::Bad),
        };
        table.row([Cell::from(context), Cell::from(name.as_str()), Cell::styled((&answer, style))]);
    }
    table
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use vitals_agent::kubernetes::Cluster;

    use super::*;
    use crate::output::testing;

    #[tokio::test]
    async fn a_dry_run_says_which_clusters_answer() {
        let chosen = |context: &str, answer: Result<&str, &str>| {
            let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
            Chosen {
                name: context.parse().unwrap(),
                context: context.to_owned(),
                cluster: Cluster::from_config(config, context.to_owned()).unwrap(),
                answer: answer.map(str::to_owned).map_err(str::to_owned),
            }
        };
        let chosen = [chosen("eu-1", Ok("v1.36.3")), chosen("us-1", Err("nobody listens"))];
        let shown = |format| {
            let (mut output, data, _) = testing::output(format);
            show(&chosen, &mut output).unwrap();
            data.text()
        };
        expect![[r#"
            CONTEXT  CLUSTER  ANSWER
            eu-1     eu-1     Kubernetes v1.36.3
            us-1     us-1     nobody listens
        "#]]
        .assert_eq(&shown(Format::Table));
        expect![[r#"
            {
              "contexts": [
                {
                  "context": "eu-1",
                  "cluster": "eu-1",
                  "kubernetesVersion": "v1.36.3",
                  "problem": ""
                },
                {
                  "context": "us-1",
                  "cluster": "us-1",
                  "kubernetesVersion": "",
                  "problem": "nobody listens"
                }
              ]
            }
        "#]]
        .assert_eq(&shown(Format::Json));
    }
}
