//! What of all that is read counts, and whether what is held is true.
//!
//! In the order of the path: [`stream`] knows what of a stream was read; [`envelope`] reads what stands around the facts;
//! [`identity`] and [`epochs`] decide whether a message counts; [`burials`] keep what was deleted from coming back; [`sums`]
//! and [`comparison`] prove what is held, [`unstreamed`] knows what the stream lacks of it, and [`repair`] asks for both;
//! [`clock`] compares clocks; [`scope`] and [`cluster`] put it together, and [`freshness`] says how well a cluster is seen.
//!
//! Every rule here is one of PROTOCOL.md, "Heartbeat" and "Hub". Deliberately not here: what facts mean.

pub(crate) mod stream;
pub(crate) mod envelope;
pub(crate) mod identity;
pub(crate) mod epochs;
pub(crate) mod burials;
pub(crate) mod sums;
pub(crate) mod comparison;
pub(crate) mod unstreamed;
pub(crate) mod repair;
pub(crate) mod clock;
pub(crate) mod scope;
pub(crate) mod cluster;
pub(crate) mod freshness;
