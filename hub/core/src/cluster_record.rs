//! What operators say of a cluster: its labels, and up to where it is forgotten.
//!
//! Kept in KV `vitals_clusters`, and so the same at every replica. A cluster is forgotten up to a position and a time: all that
//! was published of it until then counts as never said, wherever and whenever a hub reads it; what comes later counts. So it is
//! no matter in which order a replica reads the record and the messages, and an agent that speaks again is heard.
//!
//! Deliberately not here: who may forget (`hub/forget.rs`), and the messages that are purged from the stream.

use std::collections::BTreeMap;

use vitals_proto::v1;

use crate::{
    position::{Position, StreamPoint},
    time::Time,
};

/// Most labels of a cluster: each entity that is there carries them.
pub const LABELS_MAX: usize = 32;

/// Longest key of a label, as in Kubernetes. Bytes.
const KEY_BYTES_MAX: usize = 63;

/// Longest value of a label. Bytes.
const VALUE_BYTES_MAX: usize = 256;

/// The label that stands for the name of a cluster where people read it.
pub const TITLE: &str = "title";

/// By key, ordered.
pub type ClusterLabels = BTreeMap<String, String>;

/// What is said of one cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterRecord {
    /// Its labels.
    pub labels: ClusterLabels,
    /// Up to where it is forgotten; `None` where it never was.
    pub forgotten: Option<Forgotten>,
}

/// Up to where a cluster is forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forgotten {
    /// Up to where in each stream.
    pub position: Position,
    /// The broker's time there: after a rollback of a stream its sequences come again, and mean other messages.
    pub at: Time,
}

/// Why a label cannot be taken. Final: who says it has to say another.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The key is none.
    #[error(
        "{0:?} is no key of a label: 1 to 63 letters, digits, '-', '_' and '.', a letter or digit first and last"
    )]
    Key(String),
    /// The value is none.
    #[error("the value of label {0} must have 1 to 256 bytes and no control characters")]
    Value(String),
    /// There are too many.
    #[error("{0} labels, of {LABELS_MAX} at most")]
    TooMany(usize),
}

/// Checks the labels of a cluster, all of them.
///
/// # Errors
/// Names the first that cannot be taken.
pub fn check(labels: &ClusterLabels) -> Result<(), Error> {
    if labels.len() > LABELS_MAX {
        return Err(Error::TooMany(labels.len()));
    }
    for (key, value) in labels {
        check_key(key)?;
        let is_short = (1..=VALUE_BYTES_MAX).contains(&value.len());
        if !is_short || value.chars().any(char::is_control) {
            return Err(Error::Value(key.clone()));
        }
    }
    Ok(())
}

/// Checks a key alone.
///
/// # Errors
/// When it is none.
pub fn check_key(key: &str) -> Result<(), Error> {
    let ends = [key.bytes().next(), key.bytes().next_back()];
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_key = key.len() <= KEY_BYTES_MAX
        && key.bytes().all(is_inner)
        && ends.iter().all(|end| end.is_some_and(|byte| byte.is_ascii_alphanumeric()));
    if is_key { Ok(()) } else { Err(Error::Key(key.to_owned())) }
}

impl Forgotten {
    /// A message that was published there and then counts as never said.
    #[must_use]
    pub fn reaches(&self, point: &StreamPoint, published_at: Time) -> bool {
        published_at <= self.at && self.position.reaches(point)
    }

    /// From the wire.
    #[must_use]
    pub fn from_wire(forgotten: &v1::ClusterForgotten) -> Self {
        let position = forgotten.position.clone().unwrap_or_default();
        let at = position.as_of.as_ref().map_or(Time::MIN, Time::from_wire);
        Self { position: Position::from_wire(&position), at }
    }

    /// For the wire; its messages are not purged yet.
    #[must_use]
    pub fn to_wire(&self) -> v1::ClusterForgotten {
        let as_of = Some(self.at.to_wire());
        let position = Some(v1::Position { as_of, ..self.position.to_wire() });
        v1::ClusterForgotten { position, purged: false }
    }
}

impl TryFrom<v1::ClusterRecord> for ClusterRecord {
    type Error = Error;

    fn try_from(record: v1::ClusterRecord) -> Result<Self, Error> {
        let v1::ClusterRecord { labels, forgotten } = record;
        check(&labels)?;
        Ok(Self { labels, forgotten: forgotten.as_ref().map(Forgotten::from_wire) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(incarnation_unix_ns: i64, sequence: u64) -> StreamPoint {
        StreamPoint { stream: "A".into(), incarnation_unix_ns, sequence }
    }

    #[test]
    fn what_was_said_until_then_counts_as_never_said() {
        let at = Time::from_unix_s(100);
        let forgotten = Forgotten { position: Position::at(&point(7, 50)), at };
        for (case, point, published_s, want) in [
            ("before", point(7, 49), 90, true),
            ("the last", point(7, 50), 100, true),
            ("after", point(7, 51), 100, false),
            ("after a rollback the sequence comes again", point(7, 40), 101, false),
            ("of an earlier stream of that name", point(6, 900), 90, true),
            ("of a later one", point(8, 1), 101, false),
            ("of a later one that was filled from a copy", point(8, 1), 90, false),
        ] {
            let published_at = Time::from_unix_s(published_s);
            assert_eq!(forgotten.reaches(&point, published_at), want, "{case}");
        }
        let other = StreamPoint { stream: "B".into(), ..point(7, 1) };
        assert!(!forgotten.reaches(&other, Time::from_unix_s(1)));
        assert_eq!(Forgotten::from_wire(&forgotten.to_wire()), forgotten);
    }

    #[test]
    fn labels_that_cannot_be_taken_are_named() {
        let long = "v".repeat(257);
        let key = "k".repeat(64);
        for (key, value, want) in [
            ("environment", "prod", None),
            ("a.b-c_d", "Frankfurt, rack 7", None),
            ("", "x", Some(Error::Key(String::new()))),
            ("-a", "x", Some(Error::Key("-a".into()))),
            ("a/b", "x", Some(Error::Key("a/b".into()))),
            (&key, "x", Some(Error::Key(key.clone()))),
            ("a", "", Some(Error::Value("a".into()))),
            ("a", "x\ny", Some(Error::Value("a".into()))),
            ("a", &long, Some(Error::Value("a".into()))),
        ] {
            let labels = [(key.to_owned(), value.to_owned())].into();
            assert_eq!(check(&labels).err(), want, "{key:?}={value:?}");
        }
        let many: ClusterLabels = (0..=LABELS_MAX).map(|n| (n.to_string(), "x".into())).collect();
        assert_eq!(check(&many), Err(Error::TooMany(LABELS_MAX + 1)));
    }
}
