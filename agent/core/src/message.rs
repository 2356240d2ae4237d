//! Writes messages: envelope and state, in the bytes that are sent and digested.
//!
//! Facts come encoded and stay so: they are the last field, and are appended as they are. The bytes equal what prost makes of
//! the whole message (tested), so that whoever decodes and encodes again gets the same digest.

use std::{collections::BTreeMap, time::Duration};

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::{
    Message as _,
    encoding::{WireType, encode_key, encode_varint},
};
use vitals_proto::{FORMAT, identity::Epoch, limits::TOMBSTONE_TTL, v1};

use crate::outbox::Ticket;

/// One message for the stream, handed over in this order.
#[derive(Clone, Debug)]
pub struct Publication {
    /// To settle it by.
    pub ticket: Ticket,
    /// Where.
    pub subject: String,
    /// What.
    pub payload: Bytes,
    /// What it is.
    pub content: Content,
}

/// What a publication is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// The facts of an object.
    Facts,
    /// An object is gone: `Nats-TTL` as [`Content::ttl`] says, and `KV-Operation: PURGE`.
    Tombstone,
    /// A heartbeat.
    Heartbeat,
}

impl Content {
    /// After how long the stream drops it.
    #[must_use]
    pub fn ttl(self) -> Option<Duration> {
        match self {
            Self::Tombstone => Some(TOMBSTONE_TTL),
            Self::Facts | Self::Heartbeat => None,
        }
    }
}

/// The state of an object that is to be said.
#[derive(Clone, Debug)]
pub(crate) enum State {
    /// Encoded `v1::Facts`.
    Facts(Bytes),
    /// It is gone, and this is what is still known.
    Tombstone { labels: BTreeMap<String, String>, uid: Bytes },
}

/// Most bytes of labels in a tombstone, keys and values: one that the stream refuses as too large would leave a ghost for ever.
const LABEL_BYTES_MAX: usize = 16 * 1024;

/// Labels by which an object says where it belongs, in the order in which a hub believes them (`docs/health.md`): these are
/// kept before all others.
const LABELS_FIRST: [&str; 8] = [
    "backstage.io/kubernetes-id",
    "vitals.dev/entity",
    "argocd.argoproj.io/instance",
    "kustomize.toolkit.fluxcd.io/name",
    "helm.toolkit.fluxcd.io/name",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/name",
    "app.kubernetes.io/part-of",
];

/// As many of the labels as fit a tombstone, always the same.
fn bounded(mut labels: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let bytes = |key: &str, value: &str| key.len() + value.len();
    if labels.iter().map(|(key, value)| bytes(key, value)).sum::<usize>() <= LABEL_BYTES_MAX {
        return labels;
    }
    let first: Vec<_> = LABELS_FIRST.iter().filter_map(|key| labels.remove_entry(*key)).collect();
    let (mut kept, mut room) = (BTreeMap::new(), LABEL_BYTES_MAX);
    for (key, value) in first.into_iter().chain(labels) {
        if let Some(left) = room.checked_sub(bytes(&key, &value)) {
            room = left;
            kept.insert(key, value);
        }
    }
    kept
}

impl State {
    /// With as many of the labels as fit.
    pub(crate) fn tombstone(labels: BTreeMap<String, String>, uid: Bytes) -> Self {
        Self::Tombstone { labels: bounded(labels), uid }
    }

    /// About what it takes to hold it. Bytes.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Facts(facts) => facts.len(),
            Self::Tombstone { labels, uid } => {
                let labels: usize = labels.iter().map(|(key, value)| key.len() + value.len()).sum();
                labels + uid.len()
            }
        }
    }

    pub(crate) fn content(&self) -> Content {
        match self {
            Self::Facts(_) => Content::Facts,
            Self::Tombstone { .. } => Content::Tombstone,
        }
    }
}

/// What an object's message says before the state: the fields of `v1::ObjectChange`, borrowed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head<'a> {
    pub(crate) epoch: Epoch,
    pub(crate) counter: u64,
    pub(crate) cluster_uid: &'a Bytes,
    pub(crate) scope: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) resource_version: &'a str,
    pub(crate) observed_at_unix_ms: i64,
}

/// Field number of `ObjectChange.facts`.
const FACTS_TAG: u32 = 11;

/// Most bytes of a message beside its texts and facts: keys, lengths and numbers.
const FRAME_BYTES_MAX: usize = 96;

/// Writes an object's message. Gives back the facts as a part of the payload, so that they are held once while the message is
/// in flight.
pub(crate) fn write(head: &Head<'_>, state: State) -> (Bytes, State) {
    match state {
        State::Facts(facts) => {
            let mut payload = BytesMut::with_capacity(head.bytes_max() + facts.len());
            head.write(&mut payload);
            encode_key(FACTS_TAG, WireType::LengthDelimited, &mut payload);
            encode_varint(length(facts.len()), &mut payload);
            let begin = payload.len();
            payload.put_slice(&facts);
            let payload = payload.freeze();
            let facts = payload.slice(begin..);
            (payload, State::Facts(facts))
        }
        State::Tombstone { labels, uid } => {
            let tombstone = v1::Tombstone {
                deleted_at_unix_ms: head.observed_at_unix_ms,
                labels: labels.clone(),
                uid: uid.clone(),
            };
            let message = v1::ObjectChange {
                state: Some(v1::object_change::State::Tombstone(tombstone)),
                ..head.to_message()
            };
            (message.encode_to_vec().into(), State::Tombstone { labels, uid })
        }
    }
}

impl Head<'_> {
    fn bytes_max(&self) -> usize {
        let Self { cluster_uid, scope, kind, namespace, name, resource_version, .. } = self;
        let texts = [scope, kind, namespace, name, resource_version];
        texts.iter().map(|text| text.len()).sum::<usize>() + cluster_uid.len() + FRAME_BYTES_MAX
    }

    /// As prost writes them, without making texts of the parts first: this is done for each message.
    fn write(&self, out: &mut BytesMut) {
        let Self {
            epoch,
            counter,
            cluster_uid,
            scope,
            kind,
            namespace,
            name,
            resource_version,
            observed_at_unix_ms,
        } = *self;
        encode_key(1, WireType::ThirtyTwoBit, out);
        out.put_u32_le(FORMAT);
        let epoch = v1::Epoch::from(epoch);
        encode_key(2, WireType::LengthDelimited, out);
        encode_varint(length(epoch.encoded_len()), out);
        #[expect(clippy::expect_used, reason = "BytesMut grows as needed")]
        epoch.encode(out).expect("a BytesMut has room");
        put_number(3, counter, out);
        for (tag, bytes) in [
            (4, cluster_uid.as_ref()),
            (5, scope.as_bytes()),
            (6, kind.as_bytes()),
            (7, namespace.as_bytes()),
            (8, name.as_bytes()),
            (9, resource_version.as_bytes()),
        ] {
            put_bytes(tag, bytes, out);
        }
        put_number(10, observed_at_unix_ms.cast_unsigned(), out);
    }

    fn to_message(self) -> v1::ObjectChange {
        v1::ObjectChange {
            format: FORMAT,
            epoch: Some(self.epoch.into()),
            counter: self.counter,
            cluster_uid: self.cluster_uid.clone(),
            scope: self.scope.to_owned(),
            kind: self.kind.to_owned(),
            namespace: self.namespace.to_owned(),
            name: self.name.to_owned(),
            resource_version: self.resource_version.to_owned(),
            observed_at_unix_ms: self.observed_at_unix_ms,
            state: None,
        }
    }
}

fn put_number(tag: u32, number: u64, out: &mut BytesMut) {
    if number != 0 {
        encode_key(tag, WireType::Varint, out);
        encode_varint(number, out);
    }
}

fn put_bytes(tag: u32, bytes: &[u8], out: &mut BytesMut) {
    if !bytes.is_empty() {
        encode_key(tag, WireType::LengthDelimited, out);
        encode_varint(length(bytes.len()), out);
        out.put_slice(bytes);
    }
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// Heartbeats are filled up to a multiple of this, so that they rarely grow. Bytes.
///
/// A full stream refuses an update that is larger than what it replaces (server/filestore.go, `storeRawMsg`); a heartbeat that
/// grew with the list of what was refused would be refused too, and the agent would count as lost.
const HEARTBEAT_STEP_BYTES: usize = 2_048;

/// Field of the padding. `heartbeat.proto` reserves its number; readers skip it.
const PADDING_TAG: u32 = 16;

/// Writes a heartbeat.
pub(crate) fn write_heartbeat(heartbeat: &v1::Heartbeat) -> Bytes {
    let mut payload = heartbeat.encode_to_vec();
    let missing = HEARTBEAT_STEP_BYTES - payload.len() % HEARTBEAT_STEP_BYTES;
    // A field takes three bytes more than it holds, one that holds more than 127 takes four; so 131 cannot be filled.
    let missing =
        if missing <= 3 || missing == 131 { missing + HEARTBEAT_STEP_BYTES } else { missing };
    let zeros = if missing <= 130 { missing - 3 } else { missing - 4 };
    encode_key(PADDING_TAG, WireType::LengthDelimited, &mut payload);
    encode_varint(u64::try_from(zeros).unwrap_or_default(), &mut payload);
    payload.resize(payload.len() + zeros, 0);
    payload.into()
}

#[cfg(test)]
mod tests {
    use vitals_proto::MAGIC;

    use super::*;

    static UID: Bytes = Bytes::from_static(b"u");

    fn head() -> Head<'static> {
        Head {
            epoch: Epoch { started_at_unix_ms: 5, random: 6 },
            counter: 7,
            cluster_uid: &UID,
            scope: "main",
            kind: "pods",
            namespace: "a",
            name: "b",
            resource_version: "8",
            observed_at_unix_ms: 77,
        }
    }

    #[test]
    fn facts_are_appended_as_prost_would_write_them() {
        let long = "x".repeat(253);
        let epoch = Epoch { started_at_unix_ms: i64::MAX, random: u64::MAX };
        let longest = Head {
            epoch,
            counter: u64::MAX,
            scope: &long,
            kind: &long,
            namespace: &long,
            name: &long,
            resource_version: &long,
            observed_at_unix_ms: -1,
            ..head()
        };
        let short = v1::Facts::default();
        let many = v1::Facts { truncated: vec!["x".repeat(300)], ..Default::default() };
        let empty = Head { counter: 0, namespace: "", observed_at_unix_ms: 0, ..head() };
        for (head, facts) in [(head(), &short), (head(), &many), (empty, &many), (longest, &short)]
        {
            let (payload, kept) = write(&head, State::Facts(facts.encode_to_vec().into()));
            assert!(payload.len() <= head.bytes_max() + facts.encoded_len());
            let whole = v1::ObjectChange::decode(payload.clone()).unwrap();
            assert_eq!(whole.state, Some(v1::object_change::State::Facts(facts.clone())));
            assert_eq!(whole, v1::ObjectChange { state: whole.state.clone(), ..head.to_message() });
            assert_eq!(payload, whole.encode_to_vec());
            assert!(payload.starts_with(&MAGIC));
            assert!(matches!(kept, State::Facts(kept) if kept == facts.encode_to_vec()));
        }
    }

    #[test]
    fn heartbeats_have_few_sizes_and_are_read_as_they_were() {
        for title in 0..5_000 {
            let heartbeat = v1::Heartbeat {
                format: FORMAT,
                cluster_title: "x".repeat(title),
                ..Default::default()
            };
            let payload = write_heartbeat(&heartbeat);
            assert_eq!(payload.len() % HEARTBEAT_STEP_BYTES, 0, "{title}");
            assert!(payload.len() <= title + 2 * HEARTBEAT_STEP_BYTES + 16, "{title}");
            assert!(payload.starts_with(&MAGIC));
            assert_eq!(v1::Heartbeat::decode(payload).unwrap(), heartbeat);
        }
    }

    #[test]
    fn a_tombstone_of_huge_labels_fits_and_still_says_whose() {
        let mut labels: BTreeMap<String, String> =
            (0..2_000).map(|n| (format!("a{n:099}"), "v".repeat(63))).collect();
        labels.insert("a-long".into(), "v".repeat(100_000));
        labels.insert("app.kubernetes.io/name".into(), "shop".into());
        labels.insert("vitals.dev/entity".into(), "v".repeat(LABEL_BYTES_MAX));
        let written = || write(&head(), State::tombstone(labels.clone(), Bytes::new())).0;
        assert!(written().len() < vitals_proto::limits::MESSAGE_BYTES_MAX / 2);
        assert_eq!(written(), written());
        let State::Tombstone { labels: kept, .. } = State::tombstone(labels.clone(), Bytes::new())
        else {
            panic!()
        };
        assert_eq!(kept["app.kubernetes.io/name"], "shop");
        assert_eq!(kept.len(), 1 + (LABEL_BYTES_MAX - 26) / 163, "then in order of their keys");
        let few = BTreeMap::from([("app".to_owned(), "shop".to_owned())]);
        assert_eq!(bounded(few.clone()), few);
    }

    #[test]
    fn a_tombstone_says_when_and_whose() {
        let labels = BTreeMap::from([("app".to_owned(), "shop".to_owned())]);
        let state = State::Tombstone { labels: labels.clone(), uid: Bytes::from_static(b"uid") };
        assert_eq!((state.content().ttl(), state.bytes()), (Some(TOMBSTONE_TTL), 10));
        let (payload, _) = write(&head(), state);
        let whole = v1::ObjectChange::decode(payload).unwrap();
        let want =
            v1::Tombstone { deleted_at_unix_ms: 77, labels, uid: Bytes::from_static(b"uid") };
        assert_eq!(whole.state, Some(v1::object_change::State::Tombstone(want)));
    }
}
