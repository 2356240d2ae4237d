//! `vitals logs`: the logs of a pod, or of all pods of a workload or an entity, through the hub and the agent of the cluster.

use std::io::Write as _;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::join_all;
use futures::stream::select_all;
use serde::Serialize;
use tonic::Streaming;
use vitals_proto::kind::Kind;
use vitals_proto::v1::{ObjectRef, StreamLogsRequest, StreamLogsResponse};
use vitals_runtime::duration;

use super::Outcome;
use super::drill::{self, Meant};
use crate::args::{Format, HubArgs};
use crate::hub::Hub;
use crate::output::{Output, Style};
use crate::reference::{self, NamedObject, Place};
use crate::{Error, progress, text};

/// Most pods whose logs are shown together.
const PODS_MAX: usize = 10;

/// Longest line that is kept until its end comes; what is longer is written in pieces. Bytes.
const LINE_BYTES_MAX: usize = 256 * 1024;

const EXAMPLES: &str = "Examples:
  vitals logs shop/checkout                    of all pods of an entity, each line with its pod
  vitals logs deploy/checkout -n shop -f       of a workload, and what comes
  vitals logs checkout-7d4b9-x2x9k -n shop --previous
                                               of one pod, before its last restart

An agent gives logs only where it was started with --allow-logs; `vitals up` does that.
However many people read one log, its cluster is asked for it once.";

/// Whose.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A pod (its name, pod/NAME, CLUSTER/pods/NAMESPACE/NAME), a workload (deploy/NAME), or an entity (`[KIND:][NAMESPACE/]NAME`)
    #[arg(required = true, num_args = 1..=2, value_name = "POD|WORKLOAD|ENTITY")]
    target: Vec<String>,
    #[command(flatten)]
    place: Place,
    /// Container of the pod; needed where it has several
    #[arg(short, long, value_name = "NAME", default_value = "", hide_default_value = true)]
    container: String,
    /// Go on with what comes
    #[arg(short, long)]
    follow: bool,
    /// What the container wrote before its last restart
    #[arg(short, long, conflicts_with = "follow")]
    previous: bool,
    /// Only so many lines from the end
    #[arg(long, value_name = "LINES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    tail: u32,
    /// Only what was written within this time, such as 10m
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    since: Option<Duration>,
    /// Begin each line with when it was written
    #[arg(long)]
    timestamps: bool,
}

pub(super) async fn run(args: Args, hub: &HubArgs, output: &mut Output) -> Result<Outcome, Error> {
    let Args { target, place, container, follow, previous, tail, since, timestamps } = args;
    let hub = Hub::new(hub)?;
    let finding = pods(&hub, &target, &place);
    let mut pods = progress::during(output, "asking the hub", finding).await?;
    if pods.len() > PODS_MAX {
        output.note(&format!(
            "{} pods: only the logs of the first {PODS_MAX} are shown; name a pod for others",
            pods.len()
        ));
        pods.truncate(PODS_MAX);
    }
    let since_seconds =
        since.map_or(0, |since| u32::try_from(since.as_secs().max(1)).unwrap_or(u32::MAX));
    let request = |pod: &ObjectRef| StreamLogsRequest {
        pod: Some(pod.clone()),
        container: container.clone(),
        follow,
        previous,
        tail_lines: tail,
        since_seconds,
        timestamps,
    };
    let opening = join_all(pods.iter().map(|pod| open(&hub, request(pod))));
    let opened = progress::during(output, "asking the cluster", opening).await;
    show(&hub, &pods, opened, &container, output).await?;
    Ok(Outcome::Fine)
}

/// Whose logs are meant.
async fn pods(hub: &Hub, words: &[String], place: &Place) -> Result<Vec<ObjectRef>, Error> {
    let target = reference::target(words, place)?;
    let is_plain = matches!(words, [word] if !word.contains(['/', ':']));
    let meant = Meant::of(hub, target).await?;
    if let Meant::Object(object) = &meant
        && object.kind == "pods"
    {
        return Ok(vec![object.clone()]);
    }
    let mut pods = match drill::objects(hub, &meant).await {
        // As kubectl takes it: the name of a pod.
        Err(Error::NotFound { .. }) if is_plain => {
            let pod = NamedObject {
                cluster: place.cluster.clone(),
                kind: Kind::Pod,
                namespace: place.namespace.clone(),
                name: words.concat(),
            };
            return Ok(vec![pod.resolve(hub).await?]);
        }
        objects => objects?,
    };
    pods.retain(|it| it.kind == "pods");
    if let Some(cluster) = &place.cluster {
        pods.retain(|it| it.cluster == cluster.as_str());
    }
    if pods.is_empty() {
        return Err(Error::Unavailable(format!(
            "{meant} has no pods now: `vitals tree` shows what it has"
        )));
    }
    Ok(pods)
}

async fn open(
    hub: &Hub,
    request: StreamLogsRequest,
) -> Result<Streaming<StreamLogsResponse>, Error> {
    let opened = hub.objects().stream_logs(request).await;
    Ok(opened.map_err(|status| drill::error(hub, status))?.into_inner())
}

/// Writes what comes, until all have ended. Of one pod what fails is the error; of several it is said, and the others go on.
async fn show(
    hub: &Hub,
    pods: &[ObjectRef],
    opened: Vec<Result<Streaming<StreamLogsResponse>, Error>>,
    container: &str,
    output: &mut Output,
) -> Result<(), Error> {
    let is_alone = pods.len() == 1;
    let cluster = pods.first().map(|pod| &pod.cluster);
    let is_one_cluster = pods.iter().all(|pod| Some(&pod.cluster) == cluster);
    let writer = |pod: &ObjectRef| {
        let name = match is_one_cluster {
            true => text::clean(&pod.name).into_owned(),
            false => text::clean(&format!("{}/{}", pod.cluster, pod.name)).into_owned(),
        };
        let (pod, container) = (pod.clone(), container.to_owned());
        Writer { pod, container, name, is_named: !is_alone, line: Vec::new() }
    };
    let mut writers: Vec<Writer> = pods.iter().map(writer).collect();
    let (mut streams, mut failure) = (Vec::new(), None);
    for (index, opened) in opened.into_iter().enumerate() {
        match opened {
            Ok(stream) => streams.push(stream.map(move |piece| (index, piece)).boxed()),
            Err(error) if is_alone => return Err(error),
            Err(error) => {
                if let Some(writer) = writers.get(index) {
                    output.note(&format!("{}: {error}", writer.name));
                }
                failure.get_or_insert(error);
            }
        }
    }
    if streams.is_empty()
        && let Some(error) = failure
    {
        return Err(error);
    }
    let mut pieces = select_all(streams);
    let mut broken = None;
    while let Some((index, piece)) = pieces.next().await {
        let Some(writer) = writers.get_mut(index) else { continue };
        match piece {
            Ok(piece) => writer.write(piece, output)?,
            Err(status) => {
                let error = drill::error(hub, status);
                if !is_alone {
                    output.note(&format!("{}: {error}", writer.name));
                }
                broken.get_or_insert(error);
            }
        }
    }
    for writer in &mut writers {
        writer.end(output)?;
    }
    broken.map_or(Ok(()), Err)
}

/// Writes the log of one pod, line by line where others are written too.
struct Writer {
    pod: ObjectRef,
    container: String,
    /// For people.
    name: String,
    is_named: bool,
    /// The beginning of a line whose end did not come yet.
    line: Vec<u8>,
}

/// A line for programs. It is no message of the API, so it is written down here.
#[derive(Serialize)]
struct Record<'a> {
    cluster: &'a str,
    namespace: &'a str,
    pod: &'a str,
    container: &'a str,
    line: &'a str,
}

impl Writer {
    fn write(&mut self, piece: StreamLogsResponse, output: &mut Output) -> Result<(), Error> {
        let StreamLogsResponse { data, skipped_bytes } = piece;
        if skipped_bytes > 0 {
            self.end(output)?;
            output.note(&format!(
                "{}: {skipped_bytes} bytes are left out here: this reader was too slow, or they were lost",
                self.name
            ));
        }
        if self.is_passed_on(output) {
            output.data.write_all(&data)?;
            return Ok(output.data.flush()?);
        }
        self.line.extend_from_slice(&data);
        while let Some(newline) = self.line.iter().position(|byte| *byte == b'\n') {
            let rest = self.line.split_off(newline + 1);
            let line = std::mem::replace(&mut self.line, rest);
            self.write_line(&line, output)?;
        }
        if self.line.len() > LINE_BYTES_MAX {
            self.end(output)?;
        }
        Ok(output.data.flush()?)
    }

    /// A line that has no end is one too.
    fn end(&mut self, output: &mut Output) -> Result<(), Error> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() { Ok(()) } else { self.write_line(&line, output) }
    }

    /// Byte for byte: to a file or a program, from one pod.
    fn is_passed_on(&self, output: &Output) -> bool {
        output.format == Format::Table && output.terminal.is_none() && !self.is_named
    }

    fn write_line(&self, line: &[u8], output: &mut Output) -> Result<(), Error> {
        let line = String::from_utf8_lossy(line);
        let line = line.strip_suffix('\n').unwrap_or(&line);
        let line = line.strip_suffix('\r').unwrap_or(line);
        if output.format == Format::Table {
            let shown = match output.terminal {
                Some(_) => text::log_line(line),
                None => line.into(),
            };
            if !self.is_named {
                return output.line(&shown);
            }
            let name = output.paint.text(&self.name, Style::Dim);
            return output.line(&format!("{name} {shown}"));
        }
        let ObjectRef { cluster, namespace, name: pod, .. } = &self.pod;
        output.value_line(&Record { cluster, namespace, pod, container: &self.container, line })
    }
}
