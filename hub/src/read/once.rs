//! Reads a small stream, or a subject of one, once, to its end.

use std::time::Duration;

use async_nats::jetstream::{self, consumer::DeliverPolicy};

use super::attach::{self, Found};
use super::item::{LostReason, Message};
use super::pull::{Arrived, Pull};

/// Nothing arrives for this long: it is given up.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// What a stream holds.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// Its last sequence, whether or not a message still stands there.
    pub last_sequence: u64,
    /// What each subject holds, in the order of sequences. Memory: all of it at once.
    pub messages: Vec<Message>,
}

/// Reads all that the stream holds now. For streams that fit into memory, such as buckets.
pub async fn read_all(context: &jetstream::Context, stream: &str) -> Result<Contents, LostReason> {
    let mut messages = Vec::new();
    let last_sequence = read_each(context, stream, "", |message| messages.push(message)).await?;
    let last_read = messages.last().map_or(0, |message| message.sequence);
    Ok(Contents { last_sequence: last_sequence.max(last_read), messages })
}

/// Reads what the stream holds now on the subjects of a filter (on all, where it is empty), in the order of sequences, and
/// hands over each message. Gives the last sequence of the stream.
pub async fn read_each(
    context: &jetstream::Context,
    stream: &str,
    filter_subject: &str,
    take: impl FnMut(Message),
) -> Result<u64, LostReason> {
    let Found { last_sequence, .. } = attach::find(context, stream).await?;
    let attaching = Pull::attach(context, stream, filter_subject, DeliverPolicy::All);
    let mut pull = attaching.await.map_err(attach::refused)?;
    let drained = drain(&mut pull, last_sequence, take).await;
    // Not waited for by the server; if it fails, the server removes the consumer a minute later.
    let deleted = context.delete_consumer_from_stream(pull.consumer(), stream).await;
    if let Err(error) = deleted {
        tracing::debug!(stream, %error, "consumer left to the server");
    }
    drained.map(|()| last_sequence)
}

async fn drain(
    pull: &mut Pull,
    last_sequence: u64,
    mut take: impl FnMut(Message),
) -> Result<(), LostReason> {
    if pull.pending_at_first() == 0 {
        return Ok(());
    }
    loop {
        pull.top_up().await?;
        let chunk = tokio::time::timeout(SILENCE_MAX, pull.receive()).await;
        let chunk = chunk.map_err(|_| LostReason::Silent)?.ok_or(LostReason::Disconnected)?;
        for message in chunk {
            match pull.take(message)? {
                Arrived::Message { message, .. } => {
                    let is_last = message.pending == 0 || message.sequence >= last_sequence;
                    take(message);
                    if is_last {
                        return Ok(());
                    }
                }
                Arrived::Idle { last_sequence: looked_at } if looked_at >= last_sequence => {
                    return Ok(());
                }
                Arrived::Idle { .. } | Arrived::Expired | Arrived::Foreign => {}
            }
        }
    }
}
