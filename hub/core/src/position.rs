//! Where a hub stands in its streams: the revision that everything it says carries.
//!
//! A position is a map stream → (incarnation, sequence), and the revision of the entity definitions. It means the same on
//! every replica. Positions of one history are ordered stream by stream; a stream that was made anew has another
//! *incarnation* (its creation time), and sequences compare only within one.
//!
//! Deliberately not here: whether a reader may resume from a position (`resume`), which also takes the hub's state.

use std::{borrow::Borrow, fmt, sync::Arc};

use vitals_proto::v1;

/// Name of one OBJECTS stream of the set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamName(Arc<str>);

impl StreamName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for StreamName {
    // Infallible: the broker names streams, and nothing here rests on their form.
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl Borrow<str> for StreamName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

/// One message of one stream.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamPoint {
    /// The stream.
    pub stream: StreamName,
    /// Creation time of the stream. Nanoseconds since the Unix epoch.
    pub incarnation_unix_ns: i64,
    /// Sequence in it.
    pub sequence: u64,
}

impl StreamPoint {
    fn place(&self) -> Place {
        let Self { stream: _, incarnation_unix_ns, sequence } = self;
        Place { incarnation_unix_ns: *incarnation_unix_ns, sequence: *sequence }
    }
}

/// A place in one stream: incarnation, then sequence. Orders within one incarnation as the stream does; of two incarnations
/// the one that was made later is taken for the later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    incarnation_unix_ns: i64,
    sequence: u64,
}

/// A position in all streams of the set, in the entity definitions and in the cluster records. The empty position is before all others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Ordered by name, each once. A list, not a map: every entity holds one, nearly always of a single stream.
    streams: Vec<(StreamName, Place)>,
    /// Revision of the entity definitions.
    pub definitions_revision: u64,
    /// Revision of the cluster records.
    pub clusters_revision: u64,
}

impl Position {
    /// At one message.
    #[must_use]
    pub fn at(point: &StreamPoint) -> Self {
        let mut position = Self::default();
        position.advance(point);
        position
    }

    /// Stands at `point` now, wherever in that stream it stood before: a reader that was thrown back is where it is.
    pub fn advance(&mut self, point: &StreamPoint) {
        self.put(&point.stream, point.place(), |_, new| new);
    }

    /// Was touched by the message at `point`: the later one stays.
    pub fn touch(&mut self, point: &StreamPoint) {
        self.put(&point.stream, point.place(), Place::max);
    }

    /// Was touched by all that touched `other`: stream by stream the later one stays.
    pub fn merge(&mut self, other: &Self) {
        for (stream, place) in &other.streams {
            self.put(stream, *place, Place::max);
        }
        self.definitions_revision = self.definitions_revision.max(other.definitions_revision);
        self.clusters_revision = self.clusters_revision.max(other.clusters_revision);
    }

    /// A message there was read when the hub stood here, or is of an earlier incarnation of a stream that was read then.
    #[must_use]
    pub fn reaches(&self, point: &StreamPoint) -> bool {
        self.place(&point.stream).is_some_and(|place| point.place() <= place)
    }

    fn put(&mut self, stream: &StreamName, place: Place, choose: fn(Place, Place) -> Place) {
        match self.streams.binary_search_by(|(name, _)| name.cmp(stream)) {
            Ok(index) => {
                if let Some((_, held)) = self.streams.get_mut(index) {
                    *held = choose(*held, place);
                }
            }
            Err(index) => {
                self.streams.reserve_exact(1);
                self.streams.insert(index, (stream.clone(), place));
            }
        }
    }

    fn place(&self, stream: &StreamName) -> Option<Place> {
        let index = self.streams.binary_search_by(|(name, _)| name.cmp(stream)).ok()?;
        self.streams.get(index).map(|(_, place)| *place)
    }

    /// All that `other` has read was read here too: each of its streams, in the same incarnation, at least as far.
    #[must_use]
    pub fn is_at_or_beyond(&self, other: &Self) -> bool {
        self.definitions_revision >= other.definitions_revision
            && self.clusters_revision >= other.clusters_revision
            && other.streams.iter().all(|(stream, theirs)| {
                self.place(stream).is_some_and(|ours| {
                    ours.incarnation_unix_ns == theirs.incarnation_unix_ns
                        && ours.sequence >= theirs.sequence
                })
            })
    }

    /// Both stand in the same streams, each in the same incarnation: only then do their sequences compare.
    #[must_use]
    pub fn same_incarnations(&self, other: &Self) -> bool {
        self.streams.len() == other.streams.len()
            && self.streams.iter().all(|(stream, ours)| {
                other
                    .place(stream)
                    .is_some_and(|theirs| ours.incarnation_unix_ns == theirs.incarnation_unix_ns)
            })
    }

    /// What was last touched here was touched at or after `token`, in any stream, or by later definitions or cluster records: a
    /// reader that resumes from `token` has to be sent it. Equal counts as after, since a replica also changes its verdicts by time,
    /// between two messages. What the token does not know, or knows in another incarnation, counts as after too.
    #[must_use]
    pub fn is_touched_since(&self, token: &Self) -> bool {
        self.definitions_revision > token.definitions_revision
            || self.clusters_revision > token.clusters_revision
            || self.streams.iter().any(|(stream, touched)| {
                token.place(stream).is_none_or(|read| {
                    touched.incarnation_unix_ns != read.incarnation_unix_ns
                        || touched.sequence >= read.sequence
                })
            })
    }

    /// Where it stands in a stream.
    #[must_use]
    pub fn point(&self, stream: &StreamName) -> Option<StreamPoint> {
        let Place { incarnation_unix_ns, sequence } = self.place(stream)?;
        Some(StreamPoint { stream: stream.clone(), incarnation_unix_ns, sequence })
    }

    /// Where it stands in each stream, ordered by name.
    pub fn points(&self) -> impl Iterator<Item = StreamPoint> + '_ {
        self.streams.iter().map(|(stream, place)| {
            let Place { incarnation_unix_ns, sequence } = *place;
            StreamPoint { stream: stream.clone(), incarnation_unix_ns, sequence }
        })
    }

    /// For the API, without `as_of`.
    #[must_use]
    pub fn to_wire(&self) -> v1::Position {
        let streams = self.streams.iter().map(|(stream, place)| v1::StreamPosition {
            stream: stream.to_string(),
            incarnation_unix_ns: place.incarnation_unix_ns,
            sequence: place.sequence,
        });
        v1::Position {
            streams: streams.collect(),
            definitions_revision: self.definitions_revision,
            clusters_revision: self.clusters_revision,
            as_of: None,
        }
    }

    /// From the API; `as_of` is the caller's to read.
    #[must_use]
    pub fn from_wire(position: &v1::Position) -> Self {
        let v1::Position { streams: _, definitions_revision, clusters_revision, as_of: _ } =
            *position;
        let mut read = Self { streams: Vec::new(), definitions_revision, clusters_revision };
        for v1::StreamPosition { stream, incarnation_unix_ns, sequence } in &position.streams {
            read.advance(&StreamPoint {
                stream: stream.as_str().into(),
                incarnation_unix_ns: *incarnation_unix_ns,
                sequence: *sequence,
            });
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn point(stream: &str, incarnation_unix_ns: i64, sequence: u64) -> StreamPoint {
        StreamPoint { stream: stream.into(), incarnation_unix_ns, sequence }
    }

    fn position(points: &[(&str, i64, u64)]) -> Position {
        let mut position = Position::default();
        for (stream, incarnation, sequence) in points {
            position.advance(&point(stream, *incarnation, *sequence));
        }
        position
    }

    #[test]
    fn positions_compare_stream_by_stream() {
        let at = position(&[("A", 1, 10), ("B", 1, 5)]);
        for (case, other, beyond, same) in [
            ("itself", at.clone(), true, true),
            ("behind", position(&[("A", 1, 9), ("B", 1, 5)]), true, true),
            ("ahead in one", position(&[("A", 1, 9), ("B", 1, 6)]), false, true),
            ("another incarnation", position(&[("A", 2, 9), ("B", 1, 5)]), false, false),
            ("fewer streams", position(&[("A", 1, 9)]), true, false),
            ("an unknown stream", position(&[("A", 1, 9), ("C", 1, 1)]), false, false),
            ("nothing", Position::default(), true, false),
        ] {
            assert_eq!(at.is_at_or_beyond(&other), beyond, "{case}");
            assert_eq!(at.same_incarnations(&other), same, "{case}");
        }
        let defined = Position { definitions_revision: 1, ..at.clone() };
        assert!(!at.is_at_or_beyond(&defined) && defined.is_at_or_beyond(&at));
        let labelled = Position { clusters_revision: 1, ..at.clone() };
        assert!(!at.is_at_or_beyond(&labelled) && labelled.is_at_or_beyond(&at));
    }

    #[test]
    fn touched_is_told_at_or_after_the_token() {
        let token = Position { definitions_revision: 3, ..position(&[("A", 1, 10), ("B", 1, 5)]) };
        for (case, touched, want) in [
            ("before", position(&[("A", 1, 9)]), false),
            ("at", position(&[("A", 1, 10)]), true),
            ("after in another stream", position(&[("A", 1, 9), ("B", 1, 6)]), true),
            ("in another incarnation", position(&[("A", 2, 1)]), true),
            ("in an unknown stream", position(&[("C", 1, 1)]), true),
            ("by no message", Position { definitions_revision: 3, ..Position::default() }, false),
            ("by definitions", Position { definitions_revision: 4, ..Position::default() }, true),
            ("by labels", Position { clusters_revision: 1, ..Position::default() }, true),
        ] {
            assert_eq!(touched.is_touched_since(&token), want, "{case}");
        }
    }

    #[test]
    fn to_advance_can_go_back_and_to_touch_cannot() {
        let mut position = Position::at(&point("A", 1, 10));
        position.touch(&point("A", 1, 4));
        assert_eq!(position, Position::at(&point("A", 1, 10)));
        position.advance(&point("A", 1, 4));
        assert_eq!(position, Position::at(&point("A", 1, 4)));
        position.touch(&point("A", 2, 1));
        assert_eq!(position.point(&"A".into()), Some(point("A", 2, 1)));
    }

    proptest! {
        #[test]
        fn merging_is_the_least_position_beyond_both(
            ours in proptest::collection::vec((0..4_usize, 0..20_u64), 0..6),
            theirs in proptest::collection::vec((0..4_usize, 0..20_u64), 0..6),
        ) {
            let named = |places: &[(usize, u64)]| {
                let names = ["A", "B", "C", "D"];
                let places: Vec<_> = places.iter().map(|(name, at)| (names[*name], 1, *at)).collect();
                position(&places)
            };
            let (ours, theirs) = (named(&ours), named(&theirs));
            let mut merged = ours.clone();
            merged.merge(&theirs);
            prop_assert!(merged.is_at_or_beyond(&ours) && merged.is_at_or_beyond(&theirs));
            let mut reversed = theirs.clone();
            reversed.merge(&ours);
            prop_assert_eq!(&merged, &reversed);
            prop_assert_eq!(Position::from_wire(&merged.to_wire()), merged);
        }
    }
}
