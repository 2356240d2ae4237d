//! Lists: of now or of an earlier version, whole or page by page.
//!
//! An earlier version is the present with the history undone, so that the pages of a list are of one version without anything
//! kept for them between two requests. A page that comes too late is expired, as on a real API server.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Entry, Key, Store};
use crate::refusal::Refusal;
use crate::resource::ResourceId;
use crate::selector::{FieldSelector, LabelSelector};

/// How a list's version is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum VersionMatch {
    /// Not said.
    #[default]
    Unset,
    /// That version and no other.
    Exact,
    /// That version or a newer one.
    NotOlderThan,
}

/// Where the next page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Continue {
    version: u64,
    after: Key,
}

impl Continue {
    /// As clients hand it back: they read nothing into it.
    pub(crate) fn to_token(&self) -> String {
        let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
        format!("{}.{}.{}", self.version, hex(&self.after.namespace), hex(&self.after.name))
    }

    pub(crate) fn parse(token: &str) -> Result<Self, Refusal> {
        let parse = || {
            let mut parts = token.split('.');
            let version = parts.next()?.parse().ok()?;
            let (namespace, name) = (unhex(parts.next()?)?, unhex(parts.next()?)?);
            Some(Self { version, after: Key::new(&namespace, &name) })
        };
        parse().ok_or_else(|| Refusal::bad_request("continue key is not valid"))
    }
}

fn unhex(text: &str) -> Option<String> {
    let digits: Option<Vec<u32>> = text.chars().map(|it| it.to_digit(16)).collect();
    let digits = digits?;
    let bytes = digits.chunks(2).map(|pair| match pair {
        [high, low] => u8::try_from(high * 16 + low).ok(),
        _ => None,
    });
    String::from_utf8(bytes.collect::<Option<_>>()?).ok()
}

/// What is asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query {
    pub(crate) namespace: Option<String>,
    pub(crate) labels: LabelSelector,
    pub(crate) fields: FieldSelector,
    pub(crate) limit: usize,
    pub(crate) token: Option<Continue>,
    pub(crate) version: Option<u64>,
    pub(crate) version_match: VersionMatch,
}

/// A list, or a page of it.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) version: u64,
    pub(crate) entries: Vec<Arc<Entry>>,
    pub(crate) next: Option<Continue>,
    /// How many stand behind this page, where no selector hides some.
    pub(crate) remaining: Option<usize>,
}

impl Query {
    pub(crate) fn selects(&self, entry: &Entry) -> bool {
        let Self { namespace, labels, fields, .. } = self;
        namespace.as_deref().is_none_or(|it| *it == *entry.key().namespace)
            && labels.matches(entry.labels())
            && fields.name().is_none_or(|it| *it == *entry.key().name)
            && (fields.is_empty() || fields.matches(&entry.value()))
    }

    /// The version to list at, where that is not simply the present.
    fn exact(&self, current: u64) -> Result<Option<u64>, Refusal> {
        if let Some(token) = &self.token {
            return Ok(Some(token.version));
        }
        let Some(version) = self.version.filter(|it| *it > 0) else { return Ok(None) };
        if version > current {
            return Err(Refusal::too_large(version, current));
        }
        let exact = match self.version_match {
            VersionMatch::Exact => true,
            VersionMatch::NotOlderThan => false,
            VersionMatch::Unset => self.limit > 0,
        };
        Ok(exact.then_some(version))
    }
}

impl Store {
    /// Lists.
    ///
    /// # Errors
    /// Where the version is not known any more, or not yet.
    pub(crate) fn list(&self, resource: ResourceId, query: &Query) -> Result<Listed, Refusal> {
        let exact = query.exact(self.version())?;
        let version = exact.unwrap_or_else(|| self.version());
        let undone = self.undone(resource, version)?;
        let after = query.token.as_ref().map(|token| &token.after);
        let mut listed = Listed { version, entries: Vec::new(), next: None, remaining: None };
        let mut more = 0;
        for entry in self.at(resource, query.namespace.as_deref(), undone) {
            if after.is_some_and(|it| entry.key() <= it) || !query.selects(&entry) {
                continue;
            }
            if query.limit > 0 && listed.entries.len() >= query.limit {
                more += 1;
                continue;
            }
            listed.entries.push(entry);
        }
        if more > 0 {
            let last = listed.entries.last().map(|it| it.key().clone());
            listed.next = last.map(|after| Continue { version, after });
            let selects_all = query.labels.is_empty() && query.fields.is_empty();
            listed.remaining = selects_all.then_some(more);
        }
        Ok(listed)
    }

    /// What was written since a version, as it was then.
    fn undone(
        &self,
        resource: ResourceId,
        version: u64,
    ) -> Result<BTreeMap<Key, Option<Arc<Entry>>>, Refusal> {
        let mut undone = BTreeMap::new();
        if version == self.version() {
            return Ok(undone);
        }
        let Some(history) = self.history(resource) else { return Ok(undone) };
        for event in history.after(version)?.rev() {
            undone.insert(event.shown.key().clone(), event.before.clone());
        }
        Ok(undone)
    }

    fn at(
        &self,
        resource: ResourceId,
        namespace: Option<&str>,
        mut undone: BTreeMap<Key, Option<Arc<Entry>>>,
    ) -> Vec<Arc<Entry>> {
        let present = self.scan(resource, namespace);
        if undone.is_empty() {
            return present.cloned().collect();
        }
        let mut then: Vec<Arc<Entry>> = present
            .filter_map(|entry| match undone.remove(entry.key()) {
                Some(before) => before,
                None => Some(Arc::clone(entry)),
            })
            .collect();
        then.extend(undone.into_values().flatten());
        then.sort_by(|a, b| a.key().cmp(b.key()));
        then
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resource::PODS;

    fn names(listed: &Listed) -> Vec<&str> {
        listed.entries.iter().map(|it| &*it.key().name).collect()
    }

    #[test]
    fn pages_are_of_one_version_whatever_happens_between() {
        let mut store = Store::new(100);
        for name in ["a", "b", "c", "d", "e"] {
            store.put(PODS, &Key::new("x", name), json!({}));
        }
        let mut query = Query { limit: 2, ..Query::default() };
        let first = store.list(PODS, &query).unwrap();
        assert_eq!((names(&first), first.remaining), (vec!["a", "b"], Some(3)));
        store.remove(PODS, &Key::new("x", "c"));
        store.put(PODS, &Key::new("x", "bb"), json!({}));
        store.put(PODS, &Key::new("x", "d"), json!({ "changed": true }));
        let token = Continue::parse(&first.next.unwrap().to_token()).unwrap();
        query.token = Some(token);
        let second = store.list(PODS, &query).unwrap();
        assert_eq!((names(&second), second.version), (vec!["c", "d"], first.version));
        assert!(second.entries.iter().all(|it| it.version() <= first.version));
        store.compact();
        assert_eq!(store.list(PODS, &query).unwrap_err().code, 410);
    }

    #[test]
    fn a_version_is_exact_or_at_least() {
        let mut store = Store::new(2);
        let at: Vec<u64> = (0..4)
            .map(|number| store.put(PODS, &Key::new("x", &number.to_string()), json!({})).version())
            .collect();
        let list = |version, version_match, limit| {
            let query = Query { version: Some(version), version_match, limit, ..Query::default() };
            store.list(PODS, &query).map(|it| it.entries.len()).map_err(|it| it.code)
        };
        assert_eq!(list(0, VersionMatch::Unset, 0), Ok(4));
        assert_eq!(list(at[2], VersionMatch::Exact, 0), Ok(3));
        assert_eq!(list(at[2], VersionMatch::Unset, 9), Ok(3));
        assert_eq!(list(at[0], VersionMatch::Exact, 0), Err(410));
        assert_eq!(list(at[0], VersionMatch::NotOlderThan, 0), Ok(4));
        assert_eq!(list(at[3] + 1, VersionMatch::NotOlderThan, 0), Err(504));
    }
}
