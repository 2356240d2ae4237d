//! The newest part of a log: pieces in order, the oldest going where it grows over its bound. Each reader has its own place.

use std::collections::VecDeque;

use bytes::Bytes;
use vitals_proto::limits::{LOG_CHUNK_BYTES_MAX, LOG_WINDOW};

/// Most bytes that are held: all that can be under way, so that nothing is lost for a reader who keeps up.
pub(super) const RING_BYTES_MAX: usize = LOG_CHUNK_BYTES_MAX * LOG_WINDOW as usize;

/// Pieces that follow each other are joined up to this.
const PIECE_BYTES: usize = 4 * 1024;

/// A ring. Places are bytes since the log was opened.
#[derive(Debug, Default)]
pub(super) struct Ring {
    pieces: VecDeque<Piece>,
    bytes: usize,
    head: u64,
    /// Something went that was held.
    evicted: bool,
}

#[derive(Debug)]
struct Piece {
    at: u64,
    data: Bytes,
}

impl Piece {
    fn end(&self) -> u64 {
        self.at.saturating_add(length(&self.data))
    }

    /// Small ones become one: many that are tiny would take far more memory than they hold.
    fn may_take(&self, at: u64, data: &[u8]) -> bool {
        at == self.end() && !data.is_empty() && self.data.len() + data.len() <= PIECE_BYTES
    }
}

/// What comes next for a reader.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Read {
    /// So many bytes before it are not held any more, or never came.
    pub(super) skipped: u64,
    pub(super) data: Bytes,
    /// Where the reader is then.
    pub(super) next: u64,
}

impl Ring {
    /// Where the next byte comes.
    pub(super) fn head(&self) -> u64 {
        self.head
    }

    /// All of it is held, from the beginning on.
    pub(super) fn is_whole(&self) -> bool {
        !self.evicted
    }

    /// More came, or nothing did and all before `at` was sent. What came before stays as it was; a gap stays one. Whether there is
    /// something new.
    pub(super) fn push(&mut self, at: u64, data: Bytes) -> bool {
        // No log is as long as that: whoever says so errs, or lies.
        let Some(head) = at.checked_add(length(&data)) else { return false };
        if at < self.head || head == self.head {
            return false;
        }
        self.bytes += data.len();
        self.head = head;
        match self.pieces.back_mut().filter(|last| last.may_take(at, &data)) {
            Some(last) => last.data = [last.data.as_ref(), data.as_ref()].concat().into(),
            // Without data it stands for what was lost before it.
            None => self.pieces.push_back(Piece { at, data }),
        }
        while self.bytes > RING_BYTES_MAX
            && let Some(oldest) = self.pieces.pop_front()
        {
            self.bytes -= oldest.data.len();
            self.evicted = true;
        }
        true
    }

    /// What a reader at `place` gets next; `None` where he has all that came.
    pub(super) fn read(&self, place: u64) -> Option<Read> {
        let index = self.pieces.partition_point(|piece| piece.end() <= place);
        let piece = self.pieces.get(index)?;
        let next = piece.end();
        if piece.at <= place {
            let from = usize::try_from(place - piece.at).unwrap_or(usize::MAX);
            return Some(Read { skipped: 0, data: piece.data.slice(from..), next });
        }
        // After a gap he begins with a whole line, where there is one in sight.
        let line =
            piece.data.iter().position(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        let line = if line < piece.data.len() { line } else { 0 };
        let data = piece.data.slice(line..);
        Some(Read { skipped: next - length(&data) - place, data, next })
    }

    /// Where the last so many lines begin, of those that are held.
    pub(super) fn tail(&self, lines: u32) -> u64 {
        let mut left = u64::from(lines);
        if left == 0 {
            return self.head;
        }
        for piece in self.pieces.iter().rev() {
            for (index, byte) in piece.data.iter().enumerate().rev() {
                let after =
                    piece.at.saturating_add(length(piece.data.get(..=index).unwrap_or_default()));
                // The last line break ends the last line; it begins none.
                if *byte != b'\n' || after == self.head {
                    continue;
                }
                left -= 1;
                if left == 0 {
                    return after;
                }
            }
        }
        // As many as there are: all, or with what went before them said to be missing.
        0
    }
}

fn length(data: &[u8]) -> u64 {
    u64::try_from(data.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that a reader gets from a place on, and how much he missed.
    fn rest(ring: &Ring, mut place: u64) -> (String, u64) {
        let (mut text, mut missed) = (String::new(), 0);
        while let Some(Read { skipped, data, next }) = ring.read(place) {
            text.push_str(std::str::from_utf8(&data).unwrap());
            missed += skipped;
            place = next;
        }
        assert_eq!(place.max(ring.head()), ring.head());
        (text, missed)
    }

    /// Each piece stays one.
    fn apart(pieces: &[&'static str]) -> Ring {
        let mut ring = Ring::default();
        for piece in pieces {
            let data = Bytes::from_static(piece.as_bytes());
            ring.bytes += data.len();
            ring.pieces.push_back(Piece { at: ring.head, data });
            ring.head += length(piece.as_bytes());
        }
        ring
    }

    fn joined(pieces: &[&'static str]) -> Ring {
        let mut ring = Ring::default();
        for piece in pieces {
            assert!(ring.push(ring.head(), Bytes::from_static(piece.as_bytes())));
        }
        assert_eq!(ring.pieces.len(), 1, "small ones become one");
        ring
    }

    #[test]
    fn a_reader_gets_all_from_his_place_on() {
        let pieces = ["one\ntw", "o\nthree\n"];
        for ring in [apart(&pieces), joined(&pieces)] {
            assert_eq!(rest(&ring, 0), ("one\ntwo\nthree\n".into(), 0));
            assert_eq!(rest(&ring, 5), ("wo\nthree\n".into(), 0));
            assert_eq!(ring.read(ring.head()), None);
            assert!(ring.is_whole());
        }
    }

    #[test]
    fn a_tail_is_so_many_lines_also_across_pieces() {
        for pieces in [&["one\ntw", "o\nthree\n"][..], &["one\ntwo\nthree"][..]] {
            let ring = apart(pieces);
            for (lines, want) in [
                (0, ""),
                (1, "three"),
                (2, "two\nthree"),
                (3, "one\ntwo\nthree"),
                (9, "one\ntwo\nthree"),
            ] {
                let (text, missed) = rest(&ring, ring.tail(lines));
                assert_eq!((text.trim_end(), missed), (want, 0), "{lines} of {pieces:?}");
            }
        }
        assert_eq!(apart(&[]).tail(3), 0);
        let breaks = apart(&["\n\n\n"]);
        assert_eq!(rest(&breaks, breaks.tail(2)).0, "\n\n");
    }

    #[test]
    fn what_goes_is_said_and_what_is_lost_too() {
        let line = Bytes::from("x".repeat(PIECE_BYTES - 1) + "\n");
        let mut ring = Ring::default();
        let count = RING_BYTES_MAX / PIECE_BYTES;
        for _ in 0..count + 10 {
            assert!(ring.push(ring.head(), line.clone()));
        }
        assert!(!ring.is_whole() && ring.bytes <= RING_BYTES_MAX);
        let (text, missed) = rest(&ring, 0);
        assert_eq!((text.len(), missed), (RING_BYTES_MAX, 10 * length(&line)));
        let mut ring = Ring::default();
        assert!(ring.push(0, Bytes::from_static(b"one\n")));
        assert!(ring.push(10, Bytes::from_static(b"o\nthree\n")));
        assert_eq!(rest(&ring, 0), ("one\nthree\n".into(), 8), "six lost, and the rest of a line");
        assert!(!ring.push(4, Bytes::from_static(b"late")));
        assert_eq!(rest(&ring, 0).0, "one\nthree\n", "what comes late changes nothing");
        let head = ring.head();
        assert!(!ring.push(head, Bytes::new()));
        assert!(ring.push(head + 5, Bytes::new()));
        assert_eq!(rest(&ring, head), (String::new(), 5), "what was lost at the end is said too");
        assert!(ring.push(u64::MAX - 5, Bytes::new()));
        assert!(!ring.push(u64::MAX - 3, Bytes::from_static(b"beyond")), "no log is that long");
        assert_eq!(rest(&ring, head).0, "");
    }
}
