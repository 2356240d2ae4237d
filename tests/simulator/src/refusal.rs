//! What the API server answers when it does not do as asked: a `Status`, with the words of the real one.

use serde_json::{Value, json};

/// A refusal. The client decides whether it asks again; `code` and `reason` are those of Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code} {reason}: {message}")]
pub struct Refusal {
    /// HTTP status.
    pub code: u16,
    /// Machine-readable, such as `NotFound`.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// When to ask again, in seconds.
    pub retry_after_s: Option<u64>,
    /// Machine-readable detail, such as `ResourceVersionTooLarge`.
    pub cause: Option<&'static str>,
    /// Plural and group, and the name, that it is about.
    pub about: Option<Box<(String, String)>>,
}

impl Refusal {
    pub(crate) fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { code, reason, message, retry_after_s: None, cause: None, about: None }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(crate) fn no_such_path() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource")
    }

    pub(crate) fn not_found(resource: &str, name: &str) -> Self {
        Self {
            about: Some(Box::new((resource.to_owned(), name.to_owned()))),
            ..Self::new(404, "NotFound", format!("{resource} \"{name}\" not found"))
        }
    }

    pub(crate) fn exists(resource: &str, name: &str) -> Self {
        Self {
            about: Some(Box::new((resource.to_owned(), name.to_owned()))),
            ..Self::new(409, "AlreadyExists", format!("{resource} \"{name}\" already exists"))
        }
    }

    pub(crate) fn conflict(resource: &str, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {resource} \"{name}\": {why}");
        Self {
            about: Some(Box::new((resource.to_owned(), name.to_owned()))),
            ..Self::new(409, "Conflict", message)
        }
    }

    pub(crate) fn invalid(kind: &str, name: &str, why: &str) -> Self {
        Self::new(422, "Invalid", format!("{kind} \"{name}\" is invalid: {why}"))
    }

    /// The version is older than what is kept.
    pub(crate) fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// The version is one that will only come.
    pub(crate) fn too_large(asked: u64, current: u64) -> Self {
        Self {
            retry_after_s: Some(1),
            cause: Some("ResourceVersionTooLarge"),
            ..Self::new(
                504,
                "Timeout",
                format!("Too large resource version: {asked}, current: {current}"),
            )
        }
    }

    /// The body of the answer.
    #[must_use]
    pub fn status(&self) -> Value {
        let Self { code, reason, message, retry_after_s, cause, about } = self;
        let mut details = json!({});
        if let Some((resource, name)) = about.as_deref() {
            let (plural, group) = resource.split_once('.').unwrap_or((resource, ""));
            details = json!({ "name": name, "group": group, "kind": plural });
        }
        if let Some(seconds) = retry_after_s {
            crate::value::set(&mut details, &["retryAfterSeconds"], *seconds);
        }
        if let Some(cause) = cause {
            let causes = json!([{ "reason": cause, "message": "Too large resource version" }]);
            crate::value::set(&mut details, &["causes"], causes);
        }
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message, "reason": reason, "details": details, "code": code,
        })
    }
}
