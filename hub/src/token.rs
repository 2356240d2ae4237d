//! Resume tokens: opaque to clients, and the same at every replica.
//!
//! A token is the moment up to which a client has seen everything, and the hash of the filter through which
//! it saw it: version (1 byte), hash of the filter (8 bytes), position (protobuf), checksum (xxh3-64 of what
//! stands before it, 8 bytes).
//! A token that cannot be used is never an error: a new snapshot follows, with the reason.

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message as _;
use vitals_hub_core::{Position, Time};
use vitals_proto::v1;
use xxhash_rust::xxh3::xxh3_64;

use crate::view::Moment;
use crate::view::filter::Filter;

/// Of the form of tokens.
const VERSION: u8 = 1;

/// Of the hash and of the checksum.
const HASH_BYTES: usize = 8;

/// Largest token: far more than a set of streams needs. Bytes.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// Why a token is not taken. Its text is said to the client as the reason of the new snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// It is not a whole token.
    #[error("the resume token is damaged")]
    Damaged,
    /// It was made by a hub of another version.
    #[error("the resume token is of another version ({0})")]
    Version(u8),
    /// It was made for another filter.
    #[error("the resume token belongs to another filter")]
    OtherFilter,
}

/// Resumes from `moment`, for the same filter.
pub(crate) fn write(moment: &Moment, filter_hash: u64) -> Bytes {
    let as_of = Some(moment.as_of.to_wire());
    let position = v1::Position { as_of, ..moment.position.to_wire() };
    let mut token = BytesMut::with_capacity(1 + 2 * HASH_BYTES + position.encoded_len());
    token.put_u8(VERSION);
    token.put_u64(filter_hash);
    token.extend_from_slice(&position.encode_to_vec());
    token.put_u64(xxh3_64(&token));
    token.freeze()
}

/// Where `token` resumes from.
pub(crate) fn read(token: &[u8], filter: &Filter) -> Result<Moment, Refused> {
    let damaged = Refused::Damaged;
    if token.len() > TOKEN_BYTES_MAX {
        return Err(damaged);
    }
    let (version, _) = token.split_first().ok_or(damaged)?;
    if *version != VERSION {
        return Err(Refused::Version(*version));
    }
    let (said, checksum) = token.split_last_chunk::<HASH_BYTES>().ok_or(damaged)?;
    if xxh3_64(said) != u64::from_be_bytes(*checksum) {
        return Err(damaged);
    }
    let (hash, position) = said.get(1..).and_then(<[u8]>::split_first_chunk).ok_or(damaged)?;
    let position = v1::Position::decode(position).map_err(|_| damaged)?;
    let as_of = position.as_of.as_ref().map(Time::from_wire).ok_or(damaged)?;
    if u64::from_be_bytes(*hash) != filter.hash() {
        return Err(Refused::OtherFilter);
    }
    Ok(Moment { position: Position::from_wire(&position), as_of })
}
