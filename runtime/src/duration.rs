//! Durations as people write them in flags: `500ms`, `30s`, `5m`, `1h`, `7d`.
//!
//! One number and one unit, without a sign, a fraction or a space: what is written is what is meant.

use std::time::Duration;

/// Why a text is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot read {text:?} as a duration: write a number and one of ms, s, m, h, d, such as 30s"
)]
pub struct Error {
    text: String,
}

/// Reads a duration. For clap: `#[arg(value_parser = vitals_runtime::duration::parse)]`.
pub fn parse(text: &str) -> Result<Duration, Error> {
    let error = || Error { text: text.to_owned() };
    let unit_at = text.find(|character: char| !character.is_ascii_digit()).ok_or_else(error)?;
    let (number, unit) = text.split_at(unit_at);
    let number: u64 = number.parse().map_err(|_| error())?;
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(error()),
    };
    number.checked_mul(unit_ms).map(Duration::from_millis).ok_or_else(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_number_and_a_unit_and_nothing_else() {
        for (text, want_ms) in [
            ("500ms", Some(500)),
            ("30s", Some(30_000)),
            ("5m", Some(300_000)),
            ("0s", Some(0)),
            ("2h", Some(7_200_000)),
            ("7d", Some(604_800_000)),
            ("", None),
            ("30", None),
            ("s", None),
            ("-1s", None),
            ("1.5s", None),
            ("1m30s", None),
            ("30 s", None),
            ("18446744073709551615d", None),
        ] {
            assert_eq!(parse(text).ok(), want_ms.map(Duration::from_millis), "{text}");
        }
    }
}
