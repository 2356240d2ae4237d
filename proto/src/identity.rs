//! Identities: newtypes with private fields and one fallible way in, after which nobody checks again.

mod entity_ref;

use std::{fmt, str::FromStr, sync::Arc};

use crate::{kind::Kind, v1};

pub use entity_ref::{EntityRef, WORKLOAD};

/// Why a text is not the name of something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {what}: {rule}")]
pub struct Error {
    /// The text.
    pub text: String,
    /// What it should be.
    pub what: &'static str,
    /// The rule that it breaks.
    pub rule: &'static str,
}

const LABEL_RULE: &str = "1 to 63 of a-z, 0-9 and '-', with neither '-' first nor last";

/// DNS-1123 label, as Kubernetes has it for namespaces.
fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        && !text.starts_with('-')
        && !text.ends_with('-')
}

macro_rules! label {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        ///
        /// Invariant: a DNS-1123 label (1 to 63 bytes), hence exactly one NATS subject token.
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The label.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                if is_label(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(Error { text: text.to_owned(), what: $what, rule: LABEL_RULE })
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.pad(&self.0)
            }
        }
    };
}

label! {
    /// Name of a watched cluster: the slug in subjects. Its long name (a context, an ARN) is kept as title.
    ClusterName, "a cluster name"
}

label! {
    /// What one agent deployment watches within a cluster; `main` unless configured.
    Scope, "a scope"
}

impl ClusterName {
    /// A slug of any text, such as the name of a kubeconfig context or an ARN: other characters become `-`, the end is kept
    /// where it is too long, since that is where contexts and ARNs differ.
    #[must_use]
    pub fn slug(title: &str) -> Self {
        let mut slug = String::new();
        for character in title.chars().map(|character| character.to_ascii_lowercase()) {
            match character {
                'a'..='z' | '0'..='9' => slug.push(character),
                _ if slug.is_empty() || slug.ends_with('-') => {}
                _ => slug.push('-'),
            }
        }
        let slug = slug.trim_end_matches('-');
        let start = slug.len().saturating_sub(63);
        let slug = slug.get(start..).unwrap_or_default().trim_start_matches('-');
        Self(if slug.is_empty() { "cluster".into() } else { slug.into() })
    }
}

impl Default for Scope {
    fn default() -> Self {
        Self("main".into())
    }
}

/// UID of an object, or of the namespace `kube-system` as the identity of a cluster.
///
/// A UUID is held, and sent, as its 16 bytes; any other text as it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Uid {
    /// A UUID in its canonical form.
    Uuid([u8; 16]),
    /// Any other text; empty where unknown.
    Text(Arc<str>),
}

impl Uid {
    /// From the text of Kubernetes.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        parse_uuid(text).map_or_else(|| Self::Text(text.into()), Self::Uuid)
    }

    /// From the bytes on the wire.
    ///
    /// # Errors
    /// When they are neither 16 bytes nor UTF-8.
    pub fn from_wire(bytes: &[u8]) -> Result<Self, Error> {
        if let Ok(uuid) = <[u8; 16]>::try_from(bytes) {
            return Ok(Self::Uuid(uuid));
        }
        std::str::from_utf8(bytes).map(|text| Self::Text(text.into())).map_err(|_| Error {
            text: String::from_utf8_lossy(bytes).into_owned(),
            what: "a UID",
            rule: "16 bytes, or UTF-8",
        })
    }

    /// The bytes on the wire. (A text of 16 bytes would be taken for a UUID; Kubernetes gives none.)
    #[must_use]
    pub fn to_wire(&self) -> Vec<u8> {
        match self {
            Self::Uuid(uuid) => uuid.to_vec(),
            Self::Text(text) => text.as_bytes().to_vec(),
        }
    }

    /// Nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Text(text) if text.is_empty())
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uuid(uuid) => {
                for (index, byte) in uuid.iter().enumerate() {
                    let dash = if matches!(index, 4 | 6 | 8 | 10) { "-" } else { "" };
                    write!(formatter, "{dash}{byte:02x}")?;
                }
                Ok(())
            }
            Self::Text(text) => formatter.write_str(text),
        }
    }
}

/// The 16 bytes of a UUID in its canonical form (lower case, dashes), and of nothing else, so that it can be written again.
fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let mut uuid = [0_u8; 16];
    let mut bytes = text.bytes();
    for (index, out) in uuid.iter_mut().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) && bytes.next()? != b'-' {
            return None;
        }
        for _ in 0..2 {
            let digit = match bytes.next()? {
                digit @ b'0'..=b'9' => digit - b'0',
                digit @ b'a'..=b'f' => digit - b'a' + 10,
                _ => return None,
            };
            *out = *out << 4 | digit;
        }
    }
    bytes.next().is_none().then_some(uuid)
}

/// The life of one agent as the publisher of a scope: the higher one wins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch {
    /// max(clock, epoch in the Lease + 1). Milliseconds since the Unix epoch.
    pub started_at_unix_ms: i64,
    /// Tells two epochs of one millisecond apart.
    pub random: u64,
}

impl From<v1::Epoch> for Epoch {
    fn from(v1::Epoch { started_at_unix_ms, random }: v1::Epoch) -> Self {
        Self { started_at_unix_ms, random }
    }
}

impl From<Epoch> for v1::Epoch {
    fn from(Epoch { started_at_unix_ms, random }: Epoch) -> Self {
        Self { started_at_unix_ms, random }
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{:016x}", self.started_at_unix_ms, self.random)
    }
}

impl FromStr for Epoch {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        text.split_once('.')
            .and_then(|(time, random)| {
                Some(Self {
                    started_at_unix_ms: time.parse().ok()?,
                    random: u64::from_str_radix(random, 16).ok()?,
                })
            })
            .ok_or_else(|| Error {
                text: text.to_owned(),
                what: "an epoch",
                rule: "milliseconds, '.', 16 hexadecimal digits",
            })
    }
}

/// One object anywhere: cluster, kind, namespace and name.
///
/// Invariant: at most 253 bytes each of namespace and name, and a name; so its subject stays under NATS' limit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    cluster: ClusterName,
    kind: Kind,
    namespace: Arc<str>,
    name: Arc<str>,
}

/// Most bytes of a namespace or name (DNS-1123 subdomain). Some kinds allow other characters, none allows more.
pub const NAME_BYTES_MAX: usize = 253;

/// The parts of an [`ObjectKey`].
#[derive(Clone, Debug)]
pub struct KeyParts<'a> {
    /// Cluster.
    pub cluster: ClusterName,
    /// Kind.
    pub kind: Kind,
    /// Namespace; empty for an object of the cluster.
    pub namespace: &'a str,
    /// Name.
    pub name: &'a str,
}

impl ObjectKey {
    /// # Errors
    /// When the name is empty, or a part is longer than Kubernetes allows.
    pub fn new(parts: KeyParts<'_>) -> Result<Self, Error> {
        let KeyParts { cluster, kind, namespace, name } = parts;
        let refuse = |text: &str, what, rule| Err(Error { text: text.to_owned(), what, rule });
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return refuse(name, "the name of an object", "1 to 253 bytes");
        }
        if namespace.len() > NAME_BYTES_MAX {
            return refuse(namespace, "a namespace", "at most 253 bytes");
        }
        if kind.resource().is_empty() || kind.resource().len() > 2 * NAME_BYTES_MAX {
            return refuse(kind.resource(), "a kind", "1 to 506 bytes");
        }
        Ok(Self { cluster, kind, namespace: namespace.into(), name: name.into() })
    }

    /// Cluster.
    #[must_use]
    pub fn cluster(&self) -> &ClusterName {
        &self.cluster
    }

    /// Kind.
    #[must_use]
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// Namespace; empty for an object of the cluster.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// For the API.
    #[must_use]
    pub fn to_ref(&self) -> v1::ObjectRef {
        v1::ObjectRef {
            cluster: self.cluster.to_string(),
            kind: self.kind.to_string(),
            namespace: self.namespace.to_string(),
            name: self.name.to_string(),
        }
    }
}

impl TryFrom<&v1::ObjectRef> for ObjectKey {
    type Error = Error;

    fn try_from(object: &v1::ObjectRef) -> Result<Self, Error> {
        Self::new(KeyParts {
            cluster: object.cluster.parse()?,
            kind: Kind::from_resource(&object.kind),
            namespace: &object.namespace,
            name: &object.name,
        })
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cluster, kind, namespace, name } = self;
        if namespace.is_empty() {
            write!(formatter, "{cluster}/{kind}/{name}")
        } else {
            write!(formatter, "{cluster}/{kind}/{namespace}/{name}")
        }
    }
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
