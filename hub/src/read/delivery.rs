//! What the server says of a message in its reply subject (ADR-15):
//! `$JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<delivered>.<stream sequence>.<consumer sequence>.<time>.<pending>[.<token>…]`

/// Where a message stands in the stream and in what the consumer was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Delivery {
    pub(super) stream_sequence: u64,
    /// Counts what the consumer was sent, from 1.
    pub(super) consumer_sequence: u64,
    /// When the broker stored it. Nanoseconds since the Unix epoch.
    pub(super) published_unix_ns: i64,
    pub(super) pending: u64,
}

impl Delivery {
    /// `None` where it is not one of that consumer: whoever may publish to our inbox can send anything.
    pub(super) fn parse(reply: &str, consumer: &str) -> Option<Self> {
        let rest = reply.strip_prefix("$JS.ACK.")?;
        let mut tokens = rest.split('.');
        // 7 tokens without a domain; with one 9, and any number behind them.
        if rest.bytes().filter(|byte| *byte == b'.').count() >= 8 {
            tokens.next()?;
            tokens.next()?;
        }
        let (_stream, named) = (tokens.next()?, tokens.next()?);
        let _delivered = tokens.next()?;
        let mut number = || tokens.next()?.parse::<u64>().ok();
        let (stream_sequence, consumer_sequence) = (number()?, number()?);
        let published_unix_ns = i64::try_from(number()?).ok()?;
        let pending = number()?;
        (named == consumer).then_some(Self {
            stream_sequence,
            consumer_sequence,
            published_unix_ns,
            pending,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_forms_of_its_own_consumer_and_nothing_else() {
        let want = Some(Delivery {
            stream_sequence: 6,
            consumer_sequence: 5,
            published_unix_ns: 1_795_347_287_260_650_446,
            pending: 2,
        });
        for (reply, want) in [
            ("$JS.ACK.T.mine.1.6.5.1795347287260650446.2", want),
            ("$JS.ACK.hub.ACC.T.mine.1.6.5.1795347287260650446.2", want),
            ("$JS.ACK._.ACC.T.mine.1.6.5.1795347287260650446.2.rnd.more", want),
            ("$JS.ACK.T.other.1.6.5.1795347287260650446.2", None),
            ("$JS.ACK.T.mine.1.6.5.-1.2", None),
            ("$JS.ACK.T.mine.1.6.5", None),
            ("_INBOX.x", None),
        ] {
            assert_eq!(Delivery::parse(reply, "mine"), want, "{reply}");
        }
    }
}
