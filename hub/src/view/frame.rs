//! Steps of `WatchEntities` as they stand on the wire: encoded once, and shared by all who read them.
//!
//! A frame is what gRPC calls a length-prefixed message: one byte (0: not compressed), the length as four
//! bytes, big endian, and the message. It is handed to HTTP/2 as it is: no reader copies or encodes it again.

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message as _;
use vitals_proto::v1::{self, watch_entities_response::Event};

/// Bytes before the message.
pub(crate) const FRAME_HEADER_BYTES: usize = 5;

/// One step as it stands on the wire.
pub(crate) fn encode(event: Event) -> Bytes {
    let response = v1::WatchEntitiesResponse { event: Some(event) };
    let message_bytes = response.encoded_len();
    let mut frame = BytesMut::with_capacity(FRAME_HEADER_BYTES + message_bytes);
    frame.put_u8(0);
    // An entity of 4 GB cannot be: facts are bounded to 64 KB an object, verdicts far below.
    frame.put_u32(u32::try_from(message_bytes).unwrap_or(u32::MAX));
    if let Err(error) = response.encode(&mut frame) {
        tracing::error!(%error, "a frame was measured too short");
    }
    frame.freeze()
}

/// The entity in a frame of [`Event::Upsert`].
pub(crate) fn entity(frame: &Bytes) -> Option<v1::Entity> {
    let message = frame.get(FRAME_HEADER_BYTES..)?;
    match v1::WatchEntitiesResponse::decode(message).ok()?.event? {
        Event::Upsert(entity) => Some(entity),
        Event::Snapshot(_)
        | Event::Resumed(_)
        | Event::Removed(_)
        | Event::Synced(_)
        | Event::Progress(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_a_length_prefixed_message() {
        let shop = v1::Entity { r#ref: "component:default/shop".into(), ..Default::default() };
        let frame = encode(Event::Upsert(shop.clone()));
        let (header, message) = frame.split_at(FRAME_HEADER_BYTES);
        assert_eq!(header, [0, 0, 0, 0, u8::try_from(message.len()).unwrap()]);
        assert_eq!(entity(&frame), Some(shop));
        let removed = v1::EntityRemoved { r#ref: "a:b/c".into(), revision: None };
        assert_eq!(entity(&encode(Event::Removed(removed))), None);
    }
}
