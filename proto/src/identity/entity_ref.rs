//! References of entities, as Backstage writes them.

use std::{fmt, str::FromStr, sync::Arc};

use super::{Error, NAME_BYTES_MAX};

/// Reference of an entity, as in Backstage: `kind:namespace/name`, lower-cased.
///
/// Invariant: none of the parts is empty, or holds `:`, `/` or white space; at most 253 bytes each.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntityRef {
    text: Arc<str>,
    kind_end: u16,
    namespace_end: u16,
}

/// Kind of entities that Vitals derives from unclaimed workloads.
pub const WORKLOAD: &str = "workload";

impl EntityRef {
    /// # Errors
    /// When a part is empty, too long, or holds a separator or white space.
    pub fn new(kind: &str, namespace: &str, name: &str) -> Result<Self, Error> {
        for part in [kind, namespace, name] {
            let separator =
                |character: char| matches!(character, ':' | '/') || character.is_whitespace();
            if part.is_empty() || part.len() > NAME_BYTES_MAX || part.contains(separator) {
                return Err(Error {
                    text: format!("{kind}:{namespace}/{name}"),
                    what: "an entity reference",
                    rule: "kind:namespace/name, each 1 to 253 bytes without ':', '/' and white space",
                });
            }
        }
        let text = format!("{kind}:{namespace}/{name}").to_lowercase();
        let kind_end = text.find(':').and_then(|at| u16::try_from(at).ok()).unwrap_or_default();
        let namespace_end =
            text.find('/').and_then(|at| u16::try_from(at).ok()).unwrap_or_default();
        Ok(Self { text: text.into(), kind_end, namespace_end })
    }

    /// From a reference in which kind and namespace may be left out, as in Backstage: `shop`, `payments/shop`, `api:shop`.
    ///
    /// # Errors
    /// As [`EntityRef::new`].
    pub fn parse_with(
        text: &str,
        default_kind: &str,
        default_namespace: &str,
    ) -> Result<Self, Error> {
        let (kind, rest) = text.split_once(':').unwrap_or((default_kind, text));
        let (namespace, name) = rest.split_once('/').unwrap_or((default_namespace, rest));
        Self::new(kind, namespace, name)
    }

    /// `kind:namespace/name`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Kind, such as `component`.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.text.get(..usize::from(self.kind_end)).unwrap_or_default()
    }

    /// Namespace, such as `default`.
    #[must_use]
    pub fn namespace(&self) -> &str {
        let range = usize::from(self.kind_end) + 1..usize::from(self.namespace_end);
        self.text.get(range).unwrap_or_default()
    }

    /// Name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.text.get(usize::from(self.namespace_end) + 1..).unwrap_or_default()
    }
}

impl FromStr for EntityRef {
    type Err = Error;

    /// Kind and namespace may be left out: `component`, `default`.
    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse_with(text, "component", "default")
    }
}

impl fmt::Display for EntityRef {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.text)
    }
}
