//! The flags of the streams.

use std::str::FromStr;

use vitals_proto::subject;

/// What streams there are and how large they may grow.
#[derive(Clone, Debug, clap::Args)]
pub struct StreamArgs {
    /// Streams of objects, each as NAME=SUBJECT,SUBJECT…, separated by semicolons. About a million objects fit well into one
    #[arg(
        long = "objects-stream",
        env = "VITALS_OBJECTS_STREAMS",
        value_name = "NAME=SUBJECTS",
        value_delimiter = ';',
        default_value = "VITALS_OBJECTS=vitals.v1.object.>,vitals.v1.heartbeat.>"
    )]
    pub objects_streams: Vec<ObjectsStream>,
    /// Largest size of each stream of objects, in MiB; when it is full, new objects are refused
    #[arg(long, env = "VITALS_OBJECTS_MAX_MIB", value_name = "MIB", default_value_t = 1_024)]
    pub objects_max_mib: u32,
    /// Largest size of each stream of history and each bucket, in MiB; when it is full, the oldest history goes
    #[arg(long, env = "VITALS_HISTORY_MAX_MIB", value_name = "MIB", default_value_t = 64)]
    pub history_max_mib: u32,
    /// Copies of each stream in a NATS cluster: 1, 3 or 5
    #[arg(
        long,
        env = "VITALS_REPLICAS",
        value_name = "COUNT",
        default_value_t = 1,
        value_parser = clap::value_parser!(u8).range(1..=5)
    )]
    pub replicas: u8,
}

/// One stream of the set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectsStream {
    /// Its name.
    pub name: String,
    /// What it captures: of objects and of heartbeats.
    pub subjects: Vec<String>,
}

/// Why a text is no stream of objects.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectsStreamError {
    /// It has another form.
    #[error("write NAME=SUBJECT,SUBJECT…, with a name of letters, digits, - and _")]
    Form,
    /// A subject of something else.
    #[error("{0} is no subject of objects or heartbeats")]
    Subject(String),
    /// It misses one of the two: a cluster's heartbeats travel behind its objects in one stream.
    #[error(
        "it needs subjects of objects and of heartbeats: what it captures of one it must capture of the other"
    )]
    Unpaired,
}

impl FromStr for ObjectsStream {
    type Err = ObjectsStreamError;

    fn from_str(text: &str) -> Result<Self, ObjectsStreamError> {
        let (name, subjects) = text.split_once('=').ok_or(ObjectsStreamError::Form)?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if name.is_empty() || !name.bytes().all(is_plain) {
            return Err(ObjectsStreamError::Form);
        }
        let subjects: Vec<String> =
            subjects.split(',').map(|subject| subject.trim().to_owned()).collect();
        let (mut objects, mut heartbeats) = (Vec::new(), Vec::new());
        for subject in &subjects {
            let (clusters, kind) = captured(subject, subject::OBJECTS)
                .map(|clusters| (clusters, &mut objects))
                .or_else(|| Some((captured(subject, subject::HEARTBEATS)?, &mut heartbeats)))
                .ok_or_else(|| ObjectsStreamError::Subject(subject.clone()))?;
            kind.push(clusters);
        }
        objects.sort_unstable();
        heartbeats.sort_unstable();
        if objects != heartbeats {
            return Err(ObjectsStreamError::Unpaired);
        }
        Ok(Self { name: name.to_owned(), subjects })
    }
}

/// What of `all` (which ends in `>`) a subject captures: `>` or `<cluster>.>`.
fn captured<'a>(subject: &'a str, all: &str) -> Option<&'a str> {
    let rest = subject.strip_prefix(all.strip_suffix('>')?)?;
    let cluster = rest.strip_suffix('>')?.strip_suffix('.');
    let whole = rest == ">";
    (whole || cluster.is_some_and(|cluster| !cluster.is_empty())).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_captures_objects_with_their_heartbeats() {
        let (object, heartbeat) = ("vitals.v1.object.", "vitals.v1.heartbeat.");
        for (text, want) in [
            (format!("A={object}>,{heartbeat}>"), Ok(2)),
            (format!("A={object}a.>,{object}b.>,{heartbeat}b.>,{heartbeat}a.>"), Ok(4)),
            (format!("A={object}a.>,{heartbeat}b.>"), Err(ObjectsStreamError::Unpaired)),
            (format!("A={object}>"), Err(ObjectsStreamError::Unpaired)),
            (format!("A={object}>,x"), Err(ObjectsStreamError::Subject("x".into()))),
            (format!("A={object}a"), Err(ObjectsStreamError::Subject(format!("{object}a")))),
            (format!("A.B={object}>,{heartbeat}>"), Err(ObjectsStreamError::Form)),
            ("A".to_owned(), Err(ObjectsStreamError::Form)),
        ] {
            let got = text.parse::<ObjectsStream>().map(|stream| stream.subjects.len());
            assert_eq!(got, want, "{text}");
        }
    }
}
