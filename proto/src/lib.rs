//! The contract of Vitals: messages and services on the wire, and the identities in them.
//!
//! In the order of the path: [`kind`] and [`identity`] name things, [`token`] makes names safe for NATS, [`subject`] is
//! where they are published, [`facts`] are what is said of an object, [`digest`] proves what is held, [`limits`] bounds it all; [`v1`] is generated from
//! `vitals/v1/*.proto`. [`rule`] names the rules of the protocol that the law tests take away one at a time.
//!
//! This crate depends on no other of ours, decides nothing, and does no I/O.

pub mod kind;
pub mod identity;
pub mod token;
pub mod subject;
pub mod facts;
pub mod digest;
pub mod limits;
pub mod rule;

/// Messages of package `vitals.v1`, generated; its services too, with feature `grpc`.
#[allow(
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::too_many_lines,
    rustdoc::all,
    reason = "generated code is not ours to style"
)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/vitals.v1.rs"));
}

/// The compiled `FileDescriptorSet` of `vitals/v1/*.proto`, for reflection and for checks of compatibility.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// `ObjectChange.format` and `Heartbeat.format`.
pub const FORMAT: u32 = 1;

/// The first bytes of every payload in OBJECTS: field 1, `fixed32`, [`FORMAT`]. A payload without them is foreign.
pub const MAGIC: [u8; 5] = [0x0d, 1, 0, 0, 0];
