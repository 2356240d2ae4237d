//! What a request is about: its path and query, read.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::refusal::Refusal;
use crate::resource::{Registry, Resource};
use crate::selector::{FieldSelector, LabelSelector};
use crate::store::{Continue, Query, VersionMatch};

/// Part of an object with a path of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subresource {
    Status,
    Scale,
    Log,
}

/// What a path leads to.
#[derive(Clone, Debug)]
pub(crate) enum Route {
    Version,
    Health,
    /// `/api`: the versions of the core group.
    Core,
    /// `/apis`: all other groups.
    Groups,
    Group(String),
    Resources {
        group: String,
        version: String,
    },
    OpenApiV2,
    OpenApiV3,
    OpenApiOf(String),
    AccessReview,
    Objects(Target),
}

/// Objects, or one of them, or a part of it.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) resource: Arc<Resource>,
    /// All namespaces where none is named.
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) subresource: Option<Subresource>,
}

const REVIEW: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

impl Route {
    /// The objects that it leads to, if it does.
    pub(crate) fn target(&self) -> Option<&Target> {
        if let Self::Objects(target) = self { Some(target) } else { None }
    }

    pub(crate) fn parse(path: &str, registry: &Registry) -> Result<Self, Refusal> {
        let path = path.trim_end_matches('/');
        match path {
            "/version" => return Ok(Self::Version),
            "/healthz" | "/livez" | "/readyz" => return Ok(Self::Health),
            "/api" => return Ok(Self::Core),
            "/apis" => return Ok(Self::Groups),
            "/openapi/v2" => return Ok(Self::OpenApiV2),
            "/openapi/v3" => return Ok(Self::OpenApiV3),
            REVIEW => return Ok(Self::AccessReview),
            _ => {}
        }
        if let Some(of) = path.strip_prefix("/openapi/v3/") {
            return Ok(Self::OpenApiOf(of.to_owned()));
        }
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let (group, version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group] => return Ok(Self::Group((*group).to_owned())),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return Err(Refusal::no_such_path()),
        };
        if rest.is_empty() {
            let (group, version) = (group.to_owned(), version.to_owned());
            return Ok(Self::Resources { group, version });
        }
        target(registry, group, version, rest).map(Self::Objects)
    }
}

fn target(
    registry: &Registry,
    group: &str,
    version: &str,
    rest: &[&str],
) -> Result<Target, Refusal> {
    let find = |plural: &str| {
        registry.find(group, version, plural).cloned().ok_or_else(Refusal::no_such_path)
    };
    let owned = |text: &str| Some(text.to_owned());
    let (resource, namespace, name, subresource) = match rest {
        ["namespaces", name, sub @ ("status" | "finalize")] => {
            (find("namespaces")?, None, owned(name), Some(*sub))
        }
        ["namespaces", namespace, plural] => (find(plural)?, owned(namespace), None, None),
        ["namespaces", namespace, plural, name] => {
            (find(plural)?, owned(namespace), owned(name), None)
        }
        ["namespaces", namespace, plural, name, sub] => {
            (find(plural)?, owned(namespace), owned(name), Some(*sub))
        }
        [plural] => (find(plural)?, None, None, None),
        [plural, name] => (find(plural)?, None, owned(name), None),
        [plural, name, sub] => (find(plural)?, None, owned(name), Some(*sub)),
        _ => return Err(Refusal::no_such_path()),
    };
    if namespace.is_some() != resource.namespaced && (name.is_some() || namespace.is_some()) {
        return Err(Refusal::no_such_path());
    }
    let subresource = match subresource {
        None => None,
        Some("status") if resource.has_status => Some(Subresource::Status),
        Some("scale") if resource.has_scale => Some(Subresource::Scale),
        Some("log") if resource.plural == "pods" => Some(Subresource::Log),
        Some(_) => return Err(Refusal::no_such_path()),
    };
    Ok(Target { resource, namespace, name, subresource })
}

/// A query, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Params(BTreeMap<String, String>);

impl Params {
    pub(crate) fn parse(query: &str) -> Self {
        Self(form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|it| !it.is_empty())
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        self.text(name).is_some_and(|it| it == "true" || it == "1")
    }

    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, Refusal> {
        let bad = |text: &str| Refusal::bad_request(format!("{name} is no number: {text:?}"));
        self.text(name).map(|text| text.parse().map_err(|_| bad(text))).transpose()
    }

    /// What is to be listed or watched.
    pub(crate) fn query(&self, target: &Target) -> Result<Query, Refusal> {
        let limit = self.number("limit")?.unwrap_or_default();
        Ok(Query {
            namespace: target.namespace.clone(),
            labels: LabelSelector::parse(self.text("labelSelector").unwrap_or_default())?,
            fields: FieldSelector::parse(self.text("fieldSelector").unwrap_or_default())?,
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            token: self.text("continue").map(Continue::parse).transpose()?,
            version: self.number("resourceVersion")?,
            version_match: match self.text("resourceVersionMatch") {
                None => VersionMatch::Unset,
                Some("Exact") => VersionMatch::Exact,
                Some("NotOlderThan") => VersionMatch::NotOlderThan,
                Some(other) => {
                    return Err(Refusal::bad_request(format!(
                        "resourceVersionMatch {other:?} is not known"
                    )));
                }
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_objects() {
        let registry = Registry::default();
        for (path, want) in [
            ("/api/v1/pods", Ok("pods - - None")),
            ("/api/v1/namespaces", Ok("namespaces - - None")),
            ("/api/v1/namespaces/shop", Ok("namespaces - shop None")),
            ("/api/v1/namespaces/shop/pods/a/log", Ok("pods shop a Some(Log)")),
            (
                "/apis/apps/v1/namespaces/shop/deployments/a/scale",
                Ok("deployments.apps shop a Some(Scale)"),
            ),
            ("/api/v1/nodes/n/status", Ok("nodes - n Some(Status)")),
            ("/api/v1/namespaces/shop/status", Ok("namespaces - shop Some(Status)")),
            ("/api/v1/namespaces/shop/nodes", Err(404)),
            ("/apis/apps/v2/deployments", Err(404)),
            ("/api/v1/namespaces/shop/services/a/scale", Err(404)),
        ] {
            let got = Route::parse(path, &registry).map(|route| {
                let Route::Objects(target) = route else { panic!("{path}") };
                let or = |it: &Option<String>| it.clone().unwrap_or_else(|| "-".to_owned());
                let (namespace, name) = (or(&target.namespace), or(&target.name));
                format!(
                    "{} {namespace} {name} {:?}",
                    target.resource.qualified(),
                    target.subresource
                )
            });
            assert_eq!(got.map_err(|it| it.code), want.map(str::to_owned), "{path}");
        }
    }
}
