//! `resourceVersion`, as a number that can be compared.

use std::{fmt, num::NonZeroU64};

/// A version of the objects of one kind: etcd's revision, and comparable as a number within one resource (KEP-5504).
///
/// Invariant: not 0, which means "any version" in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceVersion(NonZeroU64);

impl ResourceVersion {
    /// From the text of Kubernetes; `None` where it is absent or no number.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }
}

impl fmt::Display for ResourceVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::ResourceVersion;

    #[test]
    fn versions_compare_as_numbers() {
        assert!(ResourceVersion::parse("99") < ResourceVersion::parse("100"));
        for text in ["", "0", "-1", "1.5", "abc", "99999999999999999999"] {
            assert_eq!(ResourceVersion::parse(text), None, "{text}");
        }
    }
}
