//! `vitals verify`: asks a cluster and the hub the same, and says where they do not agree.
//!
//! Invariant: it ends well only where all was compared. What the hub does not see, and what changes too fast, is not known to
//! be right.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use vitals_proto::identity::ClusterName;

use super::Outcome;
use crate::args::{Format, HubArgs};
use crate::hub::Hub;
use crate::oracle::{self, Difference, Report};
use crate::output::{Output, Style};
use crate::{Error, contexts, progress, text};

/// What to compare.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Context of the kubeconfig; the current one where left out
    #[arg(long, value_name = "CONTEXT")]
    context: Option<String>,
    /// Kubeconfig; where left out, what KUBECONFIG names, else ~/.kube/config
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// What the hub calls the cluster; made of the context's name where left out, as agents do
    #[arg(long, value_name = "CLUSTER")]
    cluster: Option<ClusterName>,
    /// Compare only what is in this namespace (repeat for several)
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Vec<String>,
    /// How long a difference must stand to count: a change takes a moment to arrive
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = vitals_runtime::duration::parse)]
    patience: Duration,
}

pub(super) async fn run(args: Args, hub: &HubArgs, output: &mut Output) -> Result<Outcome, Error> {
    let Args { context, kubeconfig, cluster, namespace, patience } = args;
    let hub = Hub::new(hub)?;
    let connecting = contexts::one(kubeconfig, context);
    let live = progress::during(output, "reading the kubeconfig", connecting).await?;
    let cluster = cluster.unwrap_or_else(|| ClusterName::slug(live.title()));
    let options = oracle::Options { patience, namespaces: namespace };
    let what = format!("comparing cluster {cluster} with the hub");
    let compared = oracle::compare(live.client(), &cluster, &hub, &options);
    let report = progress::during(output, &what, compared).await.map_err(failed)?;
    show(&report, output)?;
    Ok(outcome(&report))
}

/// What the hub itself failed with says more than that it was asked; and its name of the cluster may be another.
fn failed(error: oracle::Error) -> Error {
    match error {
        oracle::Error::Hub(error) => *error,
        oracle::Error::UnknownCluster { cluster, known } if known.is_empty() => Error::NotFound {
            what: format!("cluster {cluster}"),
            hint: "It knows no cluster yet: is an agent running?".to_owned(),
        },
        oracle::Error::UnknownCluster { cluster, known } => Error::NotFound {
            what: format!("cluster {cluster}"),
            hint: format!(
                "It knows {}: say which of them this is by `vitals verify --cluster`",
                known.join(", ")
            ),
        },
        other @ (oracle::Error::List { .. }
        | oracle::Error::Answer { .. }
        | oracle::Error::Differs(_)) => Error::Oracle(other),
    }
}

/// What was not compared is not known to be right.
fn outcome(report: &Report) -> Outcome {
    if report.is_clean() { Outcome::Fine } else { Outcome::Different }
}

fn show(report: &Report, output: &mut Output) -> Result<(), Error> {
    if output.format != Format::Table {
        return output.value(&Document::from(report));
    }
    let Report { objects, entities, differences, unsettled, unseen } = report;
    for difference in differences {
        let subject = output.paint.text(&text::clean(&difference.subject), Style::Bad);
        let (cluster, hub) = (text::clean(&difference.cluster), text::clean(&difference.hub));
        output.line(&format!("{subject}: {}", text::clean(&difference.aspect)))?;
        output.line(&format!("  the cluster has {cluster}\n  the hub has     {hub}"))?;
    }
    for subject in subjects(unsettled) {
        output.note(&text::clean(&format!("{subject} changes too fast to be compared")));
    }
    for kind in unseen {
        output.note(&text::clean(&kind.to_string()));
    }
    let (words, style) = verdict(report);
    let words = output.paint.text(&words, style);
    output.line(&format!("{objects} objects and {entities} entities compared: {words}"))
}

/// The last words, and how they look: good only where all was compared, and that was something.
fn verdict(report: &Report) -> (String, Style) {
    let Report { objects, entities: _, differences, unsettled, unseen } = report;
    let (found, style) = match differences.len() {
        0 if *objects > 0 && report.is_clean() => ("no differences".to_owned(), Style::Good),
        0 => ("no differences".to_owned(), Style::Warn),
        1 => ("1 difference".to_owned(), Style::Bad),
        count => (format!("{count} differences"), Style::Bad),
    };
    let gaps = [
        match unseen.len() {
            0 => None,
            1 => Some("1 kind is not seen by the hub".to_owned()),
            count => Some(format!("{count} kinds are not seen by the hub")),
        },
        match subjects(unsettled).len() {
            0 => None,
            1 => Some("1 object or entity changes too fast to be compared".to_owned()),
            count => Some(format!("{count} objects or entities change too fast to be compared")),
        },
    ];
    let gaps: Vec<String> = gaps.into_iter().flatten().collect();
    let join = if differences.is_empty() { "but" } else { "and" };
    let tail =
        if gaps.is_empty() { String::new() } else { format!(", {join} {}", gaps.join(" and ")) };
    (format!("{found}{tail}"), style)
}

/// Each once, though it may differ in several things.
fn subjects(differences: &[Difference]) -> BTreeSet<&str> {
    differences.iter().map(|it| it.subject.as_str()).collect()
}

/// The report as JSON. It is no message of the API, so it is written down here.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    objects: usize,
    entities: usize,
    differences: Vec<Line<'a>>,
    unsettled: Vec<Line<'a>>,
    unseen: Vec<Unseen<'a>>,
}

#[derive(Serialize)]
struct Line<'a> {
    subject: &'a str,
    aspect: &'a str,
    cluster: &'a str,
    hub: &'a str,
}

#[derive(Serialize)]
struct Unseen<'a> {
    kind: &'a str,
    state: &'a str,
}

impl<'a> From<&'a Report> for Document<'a> {
    fn from(report: &'a Report) -> Self {
        let line = |it: &'a Difference| {
            let Difference { subject, aspect, cluster, hub } = it;
            Line { subject, aspect, cluster, hub }
        };
        let unseen = |it: &'a oracle::Unseen| Unseen { kind: &it.kind, state: &it.state };
        Self {
            objects: report.objects,
            entities: report.entities,
            differences: report.differences.iter().map(line).collect(),
            unsettled: report.unsettled.iter().map(line).collect(),
            unseen: report.unseen.iter().map(unseen).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::output::{Paint, testing};

    fn difference(subject: &str, aspect: &str) -> Difference {
        Difference {
            subject: subject.to_owned(),
            aspect: aspect.to_owned(),
            cluster: "3".to_owned(),
            hub: "2".to_owned(),
        }
    }

    fn unseen(kind: &str) -> oracle::Unseen {
        oracle::Unseen { kind: kind.to_owned(), state: "forbidden".to_owned() }
    }

    fn clean() -> Report {
        Report { objects: 12, entities: 3, ..Report::default() }
    }

    fn unsettled() -> Report {
        let shop = "eu-1/pods/pay/shop";
        Report { unsettled: vec![difference(shop, "facts"), difference(shop, "health")], ..clean() }
    }

    /// What is written, data before notes.
    fn shown(report: &Report, format: Format, paint: Paint) -> String {
        let (mut output, data, notes) = testing::output(format);
        output.paint = paint;
        show(report, &mut output).unwrap();
        data.text() + &notes.text()
    }

    #[test]
    fn it_ends_well_only_where_all_was_compared() {
        let differs = || vec![difference("eu-1/pods/pay/shop", "facts")];
        let kinds = || vec![unseen("nodes"), unseen("pods")];
        let cases: [(&str, Report, Outcome, Style, &str); 7] = [
            ("clean", clean(), Outcome::Fine, Style::Good, "no differences"),
            ("nothing there", Report::default(), Outcome::Fine, Style::Warn, "no differences"),
            (
                "differs",
                Report { differences: differs(), ..clean() },
                Outcome::Different,
                Style::Bad,
                "1 difference",
            ),
            (
                "unseen",
                Report { unseen: kinds(), ..clean() },
                Outcome::Different,
                Style::Warn,
                "no differences, but 2 kinds are not seen by the hub",
            ),
            (
                "unsettled",
                unsettled(),
                Outcome::Different,
                Style::Warn,
                "no differences, but 1 object or entity changes too fast to be compared",
            ),
            (
                "both",
                Report { unseen: vec![unseen("nodes")], ..unsettled() },
                Outcome::Different,
                Style::Warn,
                "no differences, but 1 kind is not seen by the hub and 1 object or entity changes too fast to be compared",
            ),
            (
                "differs and unseen",
                Report { differences: [differs(), differs()].concat(), unseen: kinds(), ..clean() },
                Outcome::Different,
                Style::Bad,
                "2 differences, and 2 kinds are not seen by the hub",
            ),
        ];
        for (case, report, ends, style, words) in cases {
            assert_eq!(outcome(&report), ends, "{case}");
            assert_eq!(verdict(&report), (words.to_owned(), style), "{case}");
        }
    }

    #[test]
    fn a_table_says_what_was_not_compared() {
        let check = |report: &Report, want: Expect| {
            want.assert_eq(&shown(report, Format::Table, Paint::Plain));
        };
        check(
            &clean(),
            expect![[r#"
            12 objects and 3 entities compared: no differences
        "#]],
        );
        check(
            &Report { differences: vec![difference("eu-1/pods/pay/shop", "facts")], ..clean() },
            expect![[r#"
                eu-1/pods/pay/shop: facts
                  the cluster has 3
                  the hub has     2
                12 objects and 3 entities compared: 1 difference
            "#]],
        );
        check(
            &Report { unseen: vec![unseen("nodes"), unseen("pods")], ..unsettled() },
            expect![[r#"
                12 objects and 3 entities compared: no differences, but 2 kinds are not seen by the hub and 1 object or entity changes too fast to be compared
                eu-1/pods/pay/shop changes too fast to be compared
                nodes: not compared, the hub does not see it: forbidden
                pods: not compared, the hub does not see it: forbidden
            "#]],
        );
        let styled = shown(&unsettled(), Format::Table, Paint::Styled);
        assert!(!styled.contains("\x1b[32m"), "never green: {styled:?}");
    }

    #[test]
    fn json_holds_all_of_it() {
        let report = Report {
            differences: vec![difference("eu-1/pods/pay/cart", "facts")],
            unseen: vec![unseen("nodes")],
            ..unsettled()
        };
        expect![[r#"
            {
              "objects": 12,
              "entities": 3,
              "differences": [
                {
                  "subject": "eu-1/pods/pay/cart",
                  "aspect": "facts",
                  "cluster": "3",
                  "hub": "2"
                }
              ],
              "unsettled": [
                {
                  "subject": "eu-1/pods/pay/shop",
                  "aspect": "facts",
                  "cluster": "3",
                  "hub": "2"
                },
                {
                  "subject": "eu-1/pods/pay/shop",
                  "aspect": "health",
                  "cluster": "3",
                  "hub": "2"
                }
              ],
              "unseen": [
                {
                  "kind": "nodes",
                  "state": "forbidden"
                }
              ]
            }
        "#]]
        .assert_eq(&shown(&report, Format::Json, Paint::Plain));
        expect![[r#"
            {
              "objects": 12,
              "entities": 3,
              "differences": [],
              "unsettled": [],
              "unseen": []
            }
        "#]]
        .assert_eq(&shown(&clean(), Format::Json, Paint::Plain));
    }
}
