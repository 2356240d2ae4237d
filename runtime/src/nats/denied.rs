//! What the server does not let us publish: it says so aside, and the publication merely stays unanswered.

use tokio::sync::broadcast;

/// Subjects that were denied and are not yet read by a receiver. Full: the oldest are lost to it, and count as unanswered.
const DENIED_MAX: usize = 1_024;

/// Tells which subjects were denied.
#[derive(Clone, Debug)]
pub(super) struct Denials(broadcast::Sender<String>);

impl Default for Denials {
    fn default() -> Self {
        Self(broadcast::channel(DENIED_MAX).0)
    }
}

impl Denials {
    pub(super) fn receiver(&self) -> broadcast::Receiver<String> {
        self.0.subscribe()
    }

    /// Takes an error of the server's. Gives whether it is a denial.
    pub(super) fn take(&self, error: &str) -> bool {
        let Some(subject) = denied(error) else { return false };
        // Nobody listens where nothing is published.
        self.0.send(subject.to_owned()).is_ok()
    }
}

/// The subject of a `Permissions Violation for Publish to "subject"` (server/client.go, `pubPermissionViolation`).
fn denied(error: &str) -> Option<&str> {
    let start = error.to_ascii_lowercase().find("permissions violation for publish to \"")?;
    let (_, rest) = error.get(start..)?.split_once('"')?;
    rest.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_subject_of_a_denial_and_of_nothing_else() {
        for (error, want) in [
            (r#"Permissions Violation for Publish to "a.b""#, Some("a.b")),
            (r#"nats: permissions violation for publish to "a" using queue "b""#, Some("a")),
            (r#"Permissions Violation for Subscription to "a""#, None),
            ("Maximum Payload Violation", None),
        ] {
            assert_eq!(denied(error), want, "{error}");
        }
    }
}
