//! The label selector language of Kubernetes, as Backstage's annotation holds it: `app=shop,tier in (web, api),!legacy`.
//!
//! Follows `labels.Parse` of k8s.io/apimachinery. What is absent also satisfies `!=` and `notin`, as there.

use std::collections::BTreeSet;

use vitals_proto::v1;

use crate::graph::labels::Labels;

/// Why a text is no selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("label selector {text:?}: {problem} at character {at}")]
pub struct Error {
    /// The text.
    pub text: String,
    /// What is wrong.
    pub problem: &'static str,
    /// Where, counted from 1.
    pub at: usize,
}

/// A selector. All requirements must hold; a parsed one has at least one, and one without any selects everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: Box<str>,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Exists,
    Absent,
    In(BTreeSet<Box<str>>),
    NotIn(BTreeSet<Box<str>>),
    Greater(i64),
    Less(i64),
}

impl Selector {
    /// # Errors
    /// When `text` is no selector, or holds no requirement: that one would select everything.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let mut parser = Parser { text, rest: text };
        let mut requirements = vec![parser.requirement()?];
        while parser.take(",") {
            requirements.push(parser.requirement()?);
        }
        if parser.next().is_some() {
            return Err(parser.error("expected ',' or the end"));
        }
        Ok(Self(requirements))
    }

    /// That of an object. An operator that is not known selects nothing.
    pub(crate) fn of(selector: &v1::LabelSelector) -> Self {
        let pairs = selector.match_labels.iter().map(|(key, value)| {
            let test = Test::In(BTreeSet::from([value.as_str().into()]));
            Requirement { key: key.as_str().into(), test }
        });
        let expressions = selector.match_expressions.iter().map(|it| {
            let values = || it.values.iter().map(|value| value.as_str().into()).collect();
            let test = match it.operator.as_str() {
                "In" => Test::In(values()),
                "NotIn" => Test::NotIn(values()),
                "Exists" => Test::Exists,
                "DoesNotExist" => Test::Absent,
                _ => Test::In(BTreeSet::new()),
            };
            Requirement { key: it.key.as_str().into(), test }
        });
        Self(pairs.chain(expressions).collect())
    }

    pub(crate) fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|requirement| requirement.holds(labels))
    }

    /// A pair of key and value that every match carries, where there is one: finds candidates without trying all.
    pub(crate) fn required_pair(&self) -> Option<(&str, &str)> {
        self.0.iter().find_map(|Requirement { key, test }| match test {
            Test::In(values) if values.len() == 1 => Some((&**key, &**values.first()?)),
            Test::In(_)
            | Test::NotIn(_)
            | Test::Exists
            | Test::Absent
            | Test::Greater(_)
            | Test::Less(_) => None,
        })
    }
}

impl Requirement {
    fn holds(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match &self.test {
            Test::Exists => value.is_some(),
            Test::Absent => value.is_none(),
            Test::In(values) => value.is_some_and(|value| values.contains(value)),
            Test::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Test::Greater(bound) => number().is_some_and(|number| number > *bound),
            Test::Less(bound) => number().is_some_and(|number| number < *bound),
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn requirement(&mut self) -> Result<Requirement, Error> {
        if self.take("!") {
            let key = self.key()?;
            return Ok(Requirement { key, test: Test::Absent });
        }
        let key = self.key()?;
        let test = if self.take("!=") {
            Test::NotIn(BTreeSet::from([self.value()?]))
        } else if self.take("==") || self.take("=") {
            Test::In(BTreeSet::from([self.value()?]))
        } else if self.take(">") {
            Test::Greater(self.number()?)
        } else if self.take("<") {
            Test::Less(self.number()?)
        } else if self.take_word("in") {
            Test::In(self.values()?)
        } else if self.take_word("notin") {
            Test::NotIn(self.values()?)
        } else if matches!(self.next(), None | Some(',')) {
            Test::Exists
        } else {
            return Err(
                self.error("expected '=', '==', '!=', 'in', 'notin', '<', '>', ',' or the end")
            );
        };
        Ok(Requirement { key, test })
    }

    fn values(&mut self) -> Result<BTreeSet<Box<str>>, Error> {
        if !self.take("(") {
            return Err(self.error("expected '('"));
        }
        let mut values = BTreeSet::from([self.value()?]);
        while self.take(",") {
            values.insert(self.value()?);
        }
        if !self.take(")") {
            return Err(self.error("expected ',' or ')'"));
        }
        Ok(values)
    }

    fn key(&mut self) -> Result<Box<str>, Error> {
        let start = self.error("expected a key");
        let key = self.word();
        let (prefix, name) = key.split_once('/').map_or((None, key), |(it, name)| (Some(it), name));
        if name.is_empty() {
            return Err(start);
        }
        if prefix.is_some_and(|prefix| !is_prefix(prefix)) || !is_name(name) {
            return Err(Error { problem: "this key is none of Kubernetes'", ..start });
        }
        Ok(key.into())
    }

    /// A value, which may be empty.
    fn value(&mut self) -> Result<Box<str>, Error> {
        let start = self.error("this value is none of Kubernetes'");
        let value = self.word();
        if value.is_empty() || is_name(value) { Ok(value.into()) } else { Err(start) }
    }

    fn number(&mut self) -> Result<i64, Error> {
        let start = self.error("expected a whole number");
        self.word().parse().map_err(|_| start)
    }

    /// Up to the next separator.
    fn word(&mut self) -> &'a str {
        self.skip_space();
        let is_end = |it: char| it.is_whitespace() || "=!,()<>".contains(it);
        let end = self.rest.find(is_end).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn take(&mut self, token: &str) -> bool {
        self.skip_space();
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn take_word(&mut self, word: &str) -> bool {
        let before = self.rest;
        let found = self.word() == word;
        if !found {
            self.rest = before;
        }
        found
    }

    fn next(&mut self) -> Option<char> {
        self.skip_space();
        self.rest.chars().next()
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn error(&self, problem: &'static str) -> Error {
        let rest = self.rest.trim_start();
        let read = self.text.len().saturating_sub(rest.len());
        let at = self.text.get(..read).map_or(0, |read| read.chars().count()) + 1;
        Error { text: self.text.to_owned(), problem, at }
    }
}

/// A name part of a key, or a value: 1 to 63 characters.
fn is_name(text: &str) -> bool {
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
        && ends(bytes.first())
        && ends(bytes.last())
}

/// A DNS-1123 subdomain.
fn is_prefix(text: &str) -> bool {
    (1..=253).contains(&text.len())
        && text.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|it| matches!(it, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        let map = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Labels::from(&map.collect())
    }

    #[test]
    fn language() {
        let shop =
            labels(&[("app", "shop"), ("tier", "web"), ("n", "5"), ("a.b/c", ""), ("in", "x")]);
        for (text, want) in [
            ("app=shop", true),
            ("app==shop", true),
            ("app=other", false),
            ("app!=shop", false),
            ("app!=other", true),
            ("absent!=x", true),
            ("absent=", false),
            ("a.b/c=", true),
            ("a.b/c", true),
            ("!a.b/c", false),
            ("!absent", true),
            (" app = shop , tier in (api, web) ", true),
            ("tier in (api)", false),
            ("tier notin (api)", true),
            ("absent notin (api)", true),
            ("tier notin(web)", false),
            ("n>4,n<6", true),
            ("n>5", false),
            ("app>1", false),
            ("in", true),
            ("in in (x)", true),
            ("app=shop,tier=web,!gone", true),
        ] {
            assert_eq!(Selector::parse(text).unwrap().matches(&shop), want, "{text}");
        }
    }

    #[test]
    fn errors_say_what_and_where() {
        for (text, problem, at) in [
            ("", "expected a key", 1),
            (" ", "expected a key", 2),
            ("app=shop,", "expected a key", 10),
            ("!", "expected a key", 2),
            ("a/=x", "expected a key", 1),
            ("UP/a", "this key is none of Kubernetes'", 1),
            ("-a", "this key is none of Kubernetes'", 1),
            ("app=-x", "this value is none of Kubernetes'", 5),
            ("app in shop", "expected '('", 8),
            ("app in (a", "expected ',' or ')'", 10),
            ("app in (a)b", "expected ',' or the end", 11),
            ("app shop", "expected '=', '==', '!=', 'in', 'notin', '<', '>', ',' or the end", 5),
            ("app>x", "expected a whole number", 5),
            ("app=a=b", "expected ',' or the end", 6),
            ("é", "this key is none of Kubernetes'", 1),
        ] {
            let error = Selector::parse(text).unwrap_err();
            assert_eq!((error.problem, error.at), (problem, at), "{text:?}");
        }
        assert_eq!(
            Selector::parse("app=shop,").unwrap_err().to_string(),
            "label selector \"app=shop,\": expected a key at character 10"
        );
    }

    /// A requirement written, and what it means.
    fn requirement() -> impl Strategy<Value = (String, Requirement)> {
        let key = "[a-z]([a-z0-9.-]{0,5}[a-z0-9])?";
        let value = "([a-z0-9]([A-Za-z0-9._-]{0,5}[a-z0-9])?)?";
        let values = || proptest::collection::btree_set(value, 1..4);
        let boxed = |values: BTreeSet<String>| {
            values.into_iter().map(Into::into).collect::<BTreeSet<Box<str>>>()
        };
        let joined =
            |values: &BTreeSet<String>| values.iter().cloned().collect::<Vec<_>>().join(", ");
        (key, 0..6_u8, values(), any::<i64>()).prop_map(move |(key, form, values, number)| {
            let one = values.first().cloned().unwrap_or_default();
            let only = BTreeSet::from([one.clone().into_boxed_str()]);
            let (text, test) = match form {
                0 => (format!("{key}={one}"), Test::In(only)),
                1 => (format!("{key} != {one}"), Test::NotIn(only)),
                2 => (format!("{key} in ({})", joined(&values)), Test::In(boxed(values))),
                3 => (format!("{key} notin ( {} )", joined(&values)), Test::NotIn(boxed(values))),
                4 => (format!("! {key}"), Test::Absent),
                _ => (format!("{key} > {number}"), Test::Greater(number)),
            };
            (text, Requirement { key: key.into(), test })
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(requirements in proptest::collection::vec(requirement(), 1..5)) {
            let (texts, want): (Vec<_>, Vec<_>) = requirements.into_iter().unzip();
            prop_assert_eq!(Selector::parse(&texts.join(" ,")), Ok(Selector(want)));
        }

        #[test]
        fn no_text_breaks_it(text in any::<String>()) {
            if let Err(error) = Selector::parse(&text) {
                prop_assert!((1..=text.chars().count() + 1).contains(&error.at));
            }
        }

        #[test]
        fn a_required_pair_is_carried_by_every_match(
            requirements in proptest::collection::vec(requirement(), 1..4),
            pairs in proptest::collection::btree_map("[a-c]", "[a-c]?", 0..4),
        ) {
            let selector = Selector(requirements.into_iter().map(|(_, it)| it).collect());
            let labels = Labels::from(&pairs);
            if let Some((key, value)) = selector.required_pair() && selector.matches(&labels) {
                prop_assert_eq!(labels.get(key), Some(value));
            }
        }
    }
}
