//! Names as single NATS subject tokens, reversibly.
//!
//! `[A-Za-z0-9-]` stand as they are, `.` becomes `_`, any other byte `=XX` (upper-case hex), the empty name `=`. The result
//! holds only `[A-Za-z0-9_=-]`: it is one token, is never a wildcard, and is a valid KV key too. NATS itself would store
//! `*`, `>`, NUL and 0x7f, and lose some of them again.

use std::fmt::Write as _;

/// Why a token is not one of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("token {token:?} is not an escaped name")]
pub struct Error {
    /// The token.
    pub token: String,
}

/// Appends `name` to `out` as one token.
pub fn escape_into(name: &str, out: &mut String) {
    if name.is_empty() {
        out.push('=');
    }
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' => out.push(char::from(byte)),
            b'.' => out.push('_'),
            other => {
                #[expect(clippy::expect_used, reason = "fmt::Write for String has no failure")]
                write!(out, "={other:02X}").expect("writing to a String cannot fail");
            }
        }
    }
}

/// `name` as one token.
#[must_use]
pub fn escape(name: &str) -> String {
    let mut token = String::with_capacity(name.len() + 8);
    escape_into(name, &mut token);
    token
}

/// The name that `token` stands for.
///
/// # Errors
/// When [`escape`] gives `token` for no name: each name has exactly one token.
pub fn unescape(token: &str) -> Result<String, Error> {
    let refuse = || Error { token: token.to_owned() };
    if token == "=" {
        return Ok(String::new());
    }
    let mut bytes = Vec::with_capacity(token.len());
    let mut rest = token.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' => bytes.push(byte),
            b'_' => bytes.push(b'.'),
            b'=' => {
                let digit = |byte: Option<u8>| match byte {
                    Some(digit @ b'0'..=b'9') => Ok(digit - b'0'),
                    Some(digit @ b'A'..=b'F') => Ok(digit - b'A' + 10),
                    _ => Err(refuse()),
                };
                bytes.push(digit(rest.next())? << 4 | digit(rest.next())?);
            }
            _ => return Err(refuse()),
        }
    }
    let name = String::from_utf8(bytes).map_err(|_| refuse())?;
    if escape(&name) == token { Ok(name) } else { Err(refuse()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_kubernetes() {
        for (name, token) in [
            ("", "="),
            ("default", "default"),
            ("ip-10-0-0-1.ec2.internal", "ip-10-0-0-1_ec2_internal"),
            ("system:node-proxier", "system=3Anode-proxier"),
            ("a_b=c", "a=5Fb=3Dc"),
            ("*.>", "=2A_=3E"),
        ] {
            assert_eq!(escape(name), token);
            assert_eq!(unescape(token).as_deref(), Ok(name));
        }
    }

    #[test]
    fn only_what_escape_gives_is_a_token() {
        for token in ["", "a.b", "=4", "=41", "=2a", "=XX", "a b", "=FF", "*", ">"] {
            assert!(unescape(token).is_err(), "{token:?}");
        }
    }

    proptest! {
        #[test]
        fn reversible_and_one_token(name in any::<String>()) {
            let token = escape(&name);
            prop_assert!(!token.is_empty());
            prop_assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_=".contains(&b)));
            prop_assert_eq!(unescape(&token), Ok(name));
        }

        #[test]
        fn each_name_has_one_token(token in "[A-Za-z0-9_=-]{0,12}") {
            if let Ok(name) = unescape(&token) {
                prop_assert_eq!(escape(&name), token);
            }
        }
    }
}
