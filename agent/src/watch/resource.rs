//! The requests for one kind, as paths with queries.

use std::time::Duration;

use vitals_proto::kind::Kind;

use super::ResourceVersion;

/// Where the API server serves a kind.
#[derive(Clone, Debug)]
pub(super) struct Resource {
    /// `/apis/apps/v1`: what discovery is asked of.
    pub(super) api: String,
    /// `deployments`.
    pub(super) plural: String,
    /// `/apis/apps/v1/deployments`, with the namespace where the watch is limited to one.
    path: String,
    /// `&fieldSelector=…`, where not all objects are read.
    selector: String,
    /// The API server sends bookmarks: it has a watch cache of the kind.
    pub(super) has_bookmarks: bool,
}

impl Resource {
    /// `None` for a kind whose API is not known.
    pub(super) fn new(kind: &Kind, namespace: Option<&str>) -> Option<Self> {
        let (version, plural) = (kind.api_version()?, kind.plural());
        let root = if version.contains('/') { "apis" } else { "api" };
        let api = format!("/{root}/{version}");
        let path = match namespace.filter(|_| kind.is_namespaced() == Some(true)) {
            Some(namespace) => format!("{api}/namespaces/{namespace}/{plural}"),
            None => format!("{api}/{plural}"),
        };
        let selector = kind.field_selector().map(escape);
        let selector = selector.map(|it| format!("&fieldSelector={it}")).unwrap_or_default();
        let has_bookmarks = !matches!(kind, Kind::Event);
        Some(Self { api, plural: plural.to_owned(), path, selector, has_bookmarks })
    }

    /// A page of a consistent list. Without `resourceVersion` it is as new as etcd is.
    pub(super) fn page(&self, objects: u32, continue_token: Option<&str>) -> String {
        let Self { path, selector, .. } = self;
        match continue_token {
            Some(token) => format!("{path}?limit={objects}{selector}&continue={}", escape(token)),
            None => format!("{path}?limit={objects}{selector}"),
        }
    }

    /// A streaming list that goes on as a watch. Without `resourceVersion` it is as new as etcd is (KEP-3157).
    pub(super) fn stream(&self, timeout: Duration) -> String {
        let (Self { path, selector, .. }, timeout) = (self, timeout.as_secs());
        format!(
            "{path}?watch=true&allowWatchBookmarks=true&sendInitialEvents=true\
             &resourceVersionMatch=NotOlderThan&timeoutSeconds={timeout}{selector}"
        )
    }

    /// A watch of what is newer than `from`.
    pub(super) fn watch(&self, from: ResourceVersion, timeout: Duration) -> String {
        let (Self { path, selector, .. }, timeout) = (self, timeout.as_secs());
        format!(
            "{path}?watch=true&allowWatchBookmarks=true&resourceVersion={from}\
             &timeoutSeconds={timeout}{selector}"
        )
    }
}

/// Escapes the value of a query, or a segment of a path: all but what RFC 3986 calls unreserved.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(byte));
            }
            other => escaped += &format!("%{other:02X}"),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_kind_has_its_path() {
        for kind in Kind::KNOWN {
            let resource = Resource::new(&kind, None).unwrap();
            assert_eq!(resource.path, format!("{}/{}", resource.api, resource.plural), "{kind}");
            assert!(resource.api.ends_with(kind.api_version().unwrap()), "{kind}");
        }
        let scaler = Resource::new(&Kind::HorizontalPodAutoscaler, None).unwrap();
        assert_eq!(scaler.path, "/apis/autoscaling/v2/horizontalpodautoscalers");
        let claim = Resource::new(&Kind::PersistentVolumeClaim, None).unwrap();
        assert_eq!(claim.path, "/api/v1/persistentvolumeclaims");
        assert!(Resource::new(&Kind::Other("x.example.org".into()), None).is_none());
    }

    #[test]
    fn a_namespace_narrows_only_what_has_one() {
        let pods = Resource::new(&Kind::Pod, Some("shop")).unwrap();
        assert_eq!(
            pods.page(1, Some("a+b=")),
            "/api/v1/namespaces/shop/pods?limit=1&continue=a%2Bb%3D"
        );
        let events = Resource::new(&Kind::Event, Some("shop")).unwrap();
        assert_eq!(
            events.page(500, None),
            "/api/v1/namespaces/shop/events?limit=500&fieldSelector=type%3DWarning"
        );
        let nodes = Resource::new(&Kind::Node, Some("shop")).unwrap();
        assert_eq!(nodes.page(500, None), "/api/v1/nodes?limit=500");
    }
}
