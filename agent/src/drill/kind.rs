//! From the name of a kind, as people and hubs write it, to its path on the API server: known kinds by what is compiled in, all
//! others by discovery.
//!
//! **Invariant:** what comes in from outside is one segment of a path: an API server decodes `%2F`, and a name with a slash in
//! it would be another path (a pod `x/log`, a pod `../secrets/y`).

use serde::{Deserialize, de::DeserializeOwned};
use vitals_proto::{
    kind::Kind,
    v1::{RequestError, RequestRefusal},
};

use super::ask;

/// Largest discovery document that is read. Bytes.
const DOCUMENT_BYTES_MAX: usize = 1024 * 1024;

/// A kind that the API server serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resource {
    /// `/apis/apps/v1`.
    api: String,
    /// `deployments`.
    plural: String,
    /// `Deployment`.
    pub(super) kind: String,
    is_namespaced: bool,
}

/// An object, by parts that are segments of a path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name<'a> {
    pub(super) kind: &'a str,
    /// Empty for an object of the cluster.
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
}

impl Name<'_> {
    /// The kind, and the namespace that counts for it: none for what has none.
    pub(super) async fn resolve(
        &self,
        client: &kube::Client,
    ) -> Result<(Resource, &str), RequestError> {
        let Self { kind, namespace, name } = *self;
        check("a kind", kind)?;
        check("a name", name)?;
        if !namespace.is_empty() {
            check("a namespace", namespace)?;
        }
        let resource = resolve(client, kind).await?;
        if !resource.is_namespaced {
            return Ok((resource, ""));
        }
        if namespace.is_empty() {
            let why = format!("{} {name} lives in a namespace: name that too", resource.kind);
            return Err(ask::error(RequestRefusal::Invalid, why));
        }
        Ok((resource, namespace))
    }
}

impl Resource {
    /// Where an object of it is.
    pub(super) fn path(&self, namespace: &str, name: &str) -> String {
        let Self { api, plural, .. } = self;
        let (namespace, name) = (escape(namespace), escape(name));
        if self.is_namespaced {
            format!("{api}/namespaces/{namespace}/{plural}/{name}")
        } else {
            format!("{api}/{plural}/{name}")
        }
    }

    /// It holds what must not leave the cluster.
    pub(super) fn is_secret(&self) -> bool {
        matches!(self.plural.as_str(), "secrets" | "configmaps") || is_secret(&self.kind)
    }
}

/// A kind, in any version and group, whose body must not leave the cluster, be it one or a list of them.
pub(super) fn is_secret(kind: &str) -> bool {
    ["Secret", "SecretList", "ConfigMap", "ConfigMapList"]
        .iter()
        .any(|it| it.eq_ignore_ascii_case(kind))
}

/// One segment of a path, as Kubernetes has it (`IsValidPathSegmentName`), and no control character.
pub(super) fn check(what: &str, text: &str) -> Result<(), RequestError> {
    let is_segment = !text.is_empty()
        && !matches!(text, "." | "..")
        && !text.contains(['/', '%'])
        && !text.contains(char::is_control);
    if is_segment {
        return Ok(());
    }
    let why = format!("{text:?} is not {what}");
    Err(ask::error(RequestRefusal::Invalid, why))
}

async fn resolve(client: &kube::Client, word: &str) -> Result<Resource, RequestError> {
    let kind = Kind::from_resource(word);
    if let (Some(version), Some(is_namespaced)) = (kind.api_version(), kind.is_namespaced()) {
        let root = if version.contains('/') { "apis" } else { "api" };
        let (api, plural) = (format!("/{root}/{version}"), kind.plural().to_owned());
        return Ok(Resource { api, plural, kind: kind.title().to_owned(), is_namespaced });
    }
    let (word, group) = word.split_once('.').unwrap_or((word, ""));
    let api = match group {
        "" => "/api/v1".to_owned(),
        group => {
            let Group { preferred_version } =
                document(client, &format!("/apis/{}", escape(group))).await?;
            format!("/apis/{}", preferred_version.group_version)
        }
    };
    let Resources { resources } = document(client, &api).await?;
    let found = resources.into_iter().find(|it| it.is_called(word)).ok_or_else(|| {
        let hint = "write resource and group as `kubectl api-resources` has them, such as widgets.example.org";
        let why = format!("{api} has no kind {word:?}: {hint}");
        ask::error(RequestRefusal::NotFound, why)
    })?;
    let ApiResource { name: plural, kind, namespaced: is_namespaced, .. } = found;
    Ok(Resource { api, plural, kind, is_namespaced })
}

/// `metav1.APIGroup`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    preferred_version: GroupVersion,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GroupVersion {
    group_version: String,
}

/// `metav1.APIResourceList`.
#[derive(Deserialize)]
struct Resources {
    resources: Vec<ApiResource>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ApiResource {
    name: String,
    #[serde(default)]
    singular_name: String,
    #[serde(default)]
    short_names: Vec<String>,
    kind: String,
    namespaced: bool,
}

impl ApiResource {
    fn is_called(&self, word: &str) -> bool {
        let Self { name, singular_name, short_names, kind, namespaced: _ } = self;
        // Subresources, such as `pods/log`, are no kinds.
        !name.contains('/')
            && (word == name
                || word == singular_name
                || word.eq_ignore_ascii_case(kind)
                || short_names.iter().any(|it| word == it))
    }
}

async fn document<T: DeserializeOwned>(
    client: &kube::Client,
    path: &str,
) -> Result<T, RequestError> {
    let document = ask::read(client, path, DOCUMENT_BYTES_MAX).await?;
    serde_json::from_slice(&document).map_err(|error| {
        let why = format!("the API server's answer to {path} cannot be read: {error}");
        ask::error(RequestRefusal::Unreachable, why)
    })
}

pub(super) use crate::watch::escape;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_more_than_one_segment_is_no_name() {
        for text in ["", ".", "..", "x/log", "../secrets/y", "x%2flog", "a\nb"] {
            let refused = check("a name", text).unwrap_err();
            assert_eq!(refused.reason(), RequestRefusal::Invalid, "{text:?}");
        }
        for text in ["shop", "system:node-proxier", "a.b", "...", "ä"] {
            check("a name", text).unwrap();
        }
    }

    #[test]
    fn kinds_have_several_names_and_secrets_are_refused_by_all_of_them() {
        let resource: ApiResource = serde_json::from_str(
            r#"{"name":"configmaps","singularName":"configmap","shortNames":["cm"],"kind":"ConfigMap","namespaced":true}"#,
        )
        .unwrap();
        for word in ["configmaps", "configmap", "cm", "ConfigMap", "CONFIGMAP"] {
            assert!(resource.is_called(word), "{word}");
        }
        assert!(!resource.is_called("c"));
        for (plural, kind) in [
            ("secrets", "Secret"),
            ("configmaps", "ConfigMap"),
            ("secrets", "Password"),
            ("passwords", "Secret"),
            ("x", "SecretList"),
        ] {
            let (api, is_namespaced) = ("/apis/example.org/v1".to_owned(), true);
            let (plural, kind) = (plural.to_owned(), kind.to_owned());
            assert!(Resource { api, plural, kind, is_namespaced }.is_secret());
        }
        let (api, kind) = ("/apis/bitnami.com/v1alpha1".to_owned(), "SealedSecret".to_owned());
        let sealed = Resource { api, plural: "sealedsecrets".into(), kind, is_namespaced: true };
        assert!(!sealed.is_secret());
        assert_eq!(
            sealed.path("shop", "a b"),
            "/apis/bitnami.com/v1alpha1/namespaces/shop/sealedsecrets/a%20b"
        );
    }
}
