//! Reads what stands around the facts in a [`v1::ObjectChange`], and leaves the facts encoded.
//!
//! First on the path of an object's message. Generated code would decode the facts too, which are the larger part and are not
//! needed to decide whether the message counts; and facts that cannot be decoded would take the envelope down with them.
//!
//! [`v1::ObjectChange`]: vitals_proto::v1::ObjectChange

use std::str;

use vitals_proto::{MAGIC, identity::Epoch};

/// What stands around the facts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Envelope<'a> {
    pub(crate) epoch: Epoch,
    pub(crate) counter: u64,
    pub(crate) cluster_uid: &'a [u8],
    pub(crate) scope: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) resource_version: &'a str,
    pub(crate) observed_at_unix_ms: i64,
    pub(crate) state: State<'a>,
}

/// What is said of the object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum State<'a> {
    /// It exists: facts, encoded.
    Facts(&'a [u8]),
    /// It does not: a tombstone, encoded.
    Tombstone(&'a [u8]),
    /// Something that a newer agent says.
    #[default]
    Other,
}

/// Why there is no envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// It does not begin as all of ours do.
    Foreign,
    /// It begins as ours do, and cannot be read.
    Unreadable,
}

impl<'a> Envelope<'a> {
    pub(crate) fn parse(payload: &'a [u8]) -> Result<Self, Problem> {
        let rest = payload.strip_prefix(&MAGIC).ok_or(Problem::Foreign)?;
        Self::parse_fields(rest).ok_or(Problem::Unreadable)
    }

    fn parse_fields(rest: &'a [u8]) -> Option<Self> {
        let mut envelope = Self::default();
        let mut fields = Fields { rest };
        while let Some(field) = fields.next_field()? {
            match field {
                (2, Value::Bytes(bytes)) => envelope.epoch = parse_epoch(bytes)?,
                (3, Value::Varint(counter)) => envelope.counter = counter,
                (4, Value::Bytes(bytes)) => envelope.cluster_uid = bytes,
                (5, Value::Bytes(bytes)) => envelope.scope = str::from_utf8(bytes).ok()?,
                (6, Value::Bytes(bytes)) => envelope.kind = str::from_utf8(bytes).ok()?,
                (7, Value::Bytes(bytes)) => envelope.namespace = str::from_utf8(bytes).ok()?,
                (8, Value::Bytes(bytes)) => envelope.name = str::from_utf8(bytes).ok()?,
                (9, Value::Bytes(bytes)) => {
                    envelope.resource_version = str::from_utf8(bytes).ok()?
                }
                (10, Value::Varint(at)) => envelope.observed_at_unix_ms = at.cast_signed(),
                (11, Value::Bytes(bytes)) => envelope.state = State::Facts(bytes),
                (12, Value::Bytes(bytes)) => envelope.state = State::Tombstone(bytes),
                // A known field in another form is damage; an unknown one is a newer agent's.
                (1..=12, _) => return None,
                _ => {}
            }
        }
        Some(envelope)
    }
}

fn parse_epoch(bytes: &[u8]) -> Option<Epoch> {
    let mut epoch = Epoch::default();
    let mut fields = Fields { rest: bytes };
    while let Some(field) = fields.next_field()? {
        match field {
            (1, Value::Varint(at)) => epoch.started_at_unix_ms = at.cast_signed(),
            (2, Value::Fixed64(random)) => epoch.random = random,
            (1 | 2, _) => return None,
            _ => {}
        }
    }
    Some(epoch)
}

/// The fields of an encoded message, one after the other.
struct Fields<'a> {
    rest: &'a [u8],
}

#[derive(Clone, Copy, Debug)]
enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32,
    Bytes(&'a [u8]),
}

impl<'a> Fields<'a> {
    /// Number and value of the next field; `Some(None)` at the end, `None` where the message is damaged.
    fn next_field(&mut self) -> Option<Option<(u64, Value<'a>)>> {
        if self.rest.is_empty() {
            return Some(None);
        }
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Value::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Value::Fixed32)?,
            _ => return None,
        };
        Some(Some((tag >> 3, value)))
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (first, rest) = self.rest.split_first()?;
            self.rest = rest;
            value |= u64::from(first & 0x7f) << shift;
            if *first < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;
    use vitals_proto::{FORMAT, v1};

    use super::*;

    fn change() -> v1::ObjectChange {
        v1::ObjectChange {
            format: FORMAT,
            epoch: Some(v1::Epoch { started_at_unix_ms: -5, random: 77 }),
            counter: 300,
            cluster_uid: vec![9; 16].into(),
            scope: "main".into(),
            kind: "pods".into(),
            namespace: "pay".into(),
            name: "shop-1".into(),
            resource_version: "123".into(),
            observed_at_unix_ms: 1_764_000_000_000,
            state: None,
        }
    }

    #[test]
    fn it_reads_what_the_generated_code_writes() {
        let facts = v1::Facts { truncated: vec!["labels".into()], ..Default::default() };
        let tombstone = v1::Tombstone { deleted_at_unix_ms: 4, ..Default::default() };
        let (facts_bytes, tombstone_bytes) = (facts.encode_to_vec(), tombstone.encode_to_vec());
        for (state, want) in [
            (None, State::Other),
            (Some(v1::object_change::State::Facts(facts)), State::Facts(&facts_bytes)),
            (
                Some(v1::object_change::State::Tombstone(tombstone)),
                State::Tombstone(&tombstone_bytes),
            ),
        ] {
            let payload = v1::ObjectChange { state, ..change() }.encode_to_vec();
            let envelope = Envelope::parse(&payload).unwrap();
            let want = Envelope {
                epoch: Epoch { started_at_unix_ms: -5, random: 77 },
                counter: 300,
                cluster_uid: &[9; 16],
                scope: "main",
                kind: "pods",
                namespace: "pay",
                name: "shop-1",
                resource_version: "123",
                observed_at_unix_ms: 1_764_000_000_000,
                state: want,
            };
            assert_eq!(envelope, want);
        }
    }

    #[test]
    fn unknown_fields_are_passed_over_and_damage_is_told() {
        let mut payload = change().encode_to_vec();
        let unknown = [0x9a, 0x06, 1, b'x', 0xa0, 0x06, 5, 0xa9, 0x06, 0, 0, 0, 0, 0, 0, 0, 0];
        payload.extend(unknown);
        assert_eq!(Envelope::parse(&payload).map(|envelope| envelope.counter), Ok(300));
        for (case, payload, want) in [
            ("empty", vec![], Problem::Foreign),
            ("text", b"hello".to_vec(), Problem::Foreign),
            ("another format", [&[0x0d, 2, 0, 0, 0][..], &payload[5..]].concat(), Problem::Foreign),
            ("cut", payload[..40].to_vec(), Problem::Unreadable),
            ("another type", [&MAGIC[..], &[0x10, 1]].concat(), Problem::Unreadable),
            ("no UTF-8", [&MAGIC[..], &[0x2a, 1, 0xff]].concat(), Problem::Unreadable),
            ("a group", [&MAGIC[..], &[0x0b]].concat(), Problem::Unreadable),
        ] {
            assert_eq!(Envelope::parse(&payload), Err(want), "{case}");
        }
    }

    proptest! {
        #[test]
        fn it_takes_what_the_generated_code_takes(tail in proptest::collection::vec(any::<u8>(), 0..60)) {
            let payload = [&MAGIC[..], &tail].concat();
            // It must not refuse what an agent of ours could have sent.
            if let Ok(decoded) = v1::ObjectChange::decode(&payload[..])
                && decoded.encode_to_vec() == payload
            {
                let envelope = Envelope::parse(&payload);
                prop_assert_eq!(envelope.map(|envelope| envelope.counter), Ok(decoded.counter));
            }
        }
    }
}
