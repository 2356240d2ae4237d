//! Quantities of Kubernetes (`resource.Quantity`): `1500m`, `8Gi`, `1e3`. Compared exactly.

/// A quantity in parts of 10^-9, rounded up as Kubernetes does; at most about 1.7 * 10^29.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Quantity(i128);

/// Digits behind the point that are kept: Kubernetes keeps no more.
const DIGITS: usize = 9;

/// Most digits before the point: those of any quantity that Kubernetes takes.
const WHOLE_DIGITS_MAX: usize = 20;

/// Suffixes, and the factor of each: a base and its power.
const SUFFIXES: [(&str, i128, i32); 16] = [
    ("n", 10, -9),
    ("u", 10, -6),
    ("m", 10, -3),
    ("", 10, 0),
    ("k", 10, 3),
    ("M", 10, 6),
    ("G", 10, 9),
    ("T", 10, 12),
    ("P", 10, 15),
    ("E", 10, 18),
    ("Ki", 1_024, 1),
    ("Mi", 1_024, 2),
    ("Gi", 1_024, 3),
    ("Ti", 1_024, 4),
    ("Pi", 1_024, 5),
    ("Ei", 1_024, 6),
];

impl Quantity {
    /// `None` for what is no quantity, or none that Kubernetes could hold.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (is_negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let end = text.find(|it: char| !it.is_ascii_digit() && it != '.').unwrap_or(text.len());
        let (number, suffix) = text.split_at_checked(end)?;
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        let is_number = !(whole.is_empty() && part.is_empty())
            && whole.len() <= WHOLE_DIGITS_MAX
            && part.bytes().all(|it| it.is_ascii_digit());
        if !is_number {
            return None;
        }
        // Digits beyond those kept can round up by one part at most, and nobody compares so closely.
        let digits: String = part.chars().chain(std::iter::repeat('0')).take(DIGITS).collect();
        let parts: i128 = format!("{whole}{digits}").parse().ok()?;
        let parts = scale(parts, suffix)?;
        Some(Self(if is_negative { -parts } else { parts }))
    }
}

fn scale(parts: i128, suffix: &str) -> Option<i128> {
    let known = SUFFIXES.iter().find(|(name, ..)| *name == suffix);
    let (base, power) = match known {
        Some((_, base, power)) => (*base, *power),
        // `1e3`, `1E3`: a power of ten.
        None => (10, suffix.strip_prefix(['e', 'E'])?.parse().ok().filter(|it| *it < 40)?),
    };
    let factor = base.checked_pow(power.unsigned_abs());
    if power >= 0 {
        parts.checked_mul(factor?)
    } else {
        // What is smaller than anything counts as the smallest.
        Some(factor.map_or(1, |factor| parts / factor + i128::from(parts % factor != 0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn equal_ones_are_equal_however_they_are_written() {
        for (one, other) in [
            ("4", "4000m"),
            ("8Gi", "8192Mi"),
            ("1e3", "1k"),
            ("1E3", "1000"),
            ("1E", "1e18"),
            ("0.5", "500m"),
            (".5", "500000u"),
            ("1.", "1"),
            ("+2", "2"),
            ("0.0000000001", "0"),
        ] {
            assert_eq!(Quantity::parse(one), Quantity::parse(other), "{one} {other}");
            assert!(Quantity::parse(one).is_some(), "{one}");
        }
        assert!(Quantity::parse("1.5Gi") < Quantity::parse("1537Mi"));
        assert!(Quantity::parse("-1") < Quantity::parse("0"));
        assert!(Quantity::parse("9223372036854775807").is_some());
    }

    #[test]
    fn what_is_none_is_not_taken_for_one() {
        for text in ["", ".", "-", "x", "1x", "1 ", "1.2.3", "1e", "1e99", "1e999999999999", "Gi"] {
            assert_eq!(Quantity::parse(text), None, "{text:?}");
        }
        assert_eq!(Quantity::parse(&"9".repeat(40)), None);
    }

    proptest! {
        #[test]
        fn no_text_breaks_it(text in "[-+]?[0-9.eE]{0,30}[a-zA-Z]{0,3}|.*") {
            let _ = Quantity::parse(&text);
        }

        #[test]
        fn order_is_that_of_numbers(one in any::<u32>(), other in any::<u32>()) {
            let milli = |number: u32| Quantity::parse(&format!("{number}m"));
            prop_assert_eq!(milli(one).cmp(&milli(other)), one.cmp(&other));
        }
    }
}
