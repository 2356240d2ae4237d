//! Warning Events, and how those about one object are folded into one: what was told of it, the newest first, with how often
//! and when.
//!
//! Read as `v1`: there a field selector keeps Normal ones at the API server in every version, most roles that may read
//! anything may read them, and count and times have one name each; `events.k8s.io/v1` serves the same objects.
//!
//! Invariant: a fold is a function of the Events that exist, whatever their order. What is told in other words of one thing
//! (the same reason, container and first word, of the same object) counts as one: the reason `Unhealthy` alone would not tell
//! a liveness probe from a readiness probe, and numbers in a message change all the time.

use std::{cmp::Reverse, collections::BTreeMap};

use serde::Deserialize;
use vitals_proto::{digest::Digest, identity::NAME_BYTES_MAX, v1};

use super::{
    Error, Projected, decode,
    lenient::{Time, mapping, seconds},
    meta::{Metadata, uid_bytes},
    projected,
};

/// What a fold tells at most: what was told longest ago is left out.
const REASONS_MAX: usize = 8;

/// Longest message that is kept of an Event. Bytes.
const MESSAGE_BYTES_MAX: usize = 256;

/// Longest of its other texts. Bytes.
const TEXT_BYTES_MAX: usize = 128;

/// Slim `corev1.Event`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Event {
    #[serde(deserialize_with = "mapping")]
    metadata: Option<Metadata>,
    involved_object: Option<Involved>,
    reason: Option<String>,
    message: Option<String>,
    count: Option<i64>,
    first_timestamp: Option<Time>,
    last_timestamp: Option<Time>,
    event_time: Option<Time>,
    series: Option<Series>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Involved {
    api_version: Option<String>,
    kind: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
    uid: Option<String>,
    field_path: Option<String>,
}

/// Of those that are told by `events.k8s.io`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Series {
    count: Option<i64>,
    last_observed_time: Option<Time>,
}

/// One Event, under its own name, as the fold of it alone.
pub(super) fn read(json: &[u8]) -> Result<Projected, Error> {
    let Event {
        metadata,
        involved_object,
        reason,
        message,
        count,
        first_timestamp,
        last_timestamp,
        event_time,
        series,
    } = decode(json)?;
    let Involved { api_version, kind, namespace, name, uid, field_path } =
        involved_object.unwrap_or_default();
    let Series { count: in_series, last_observed_time } = series.unwrap_or_default();
    let times = [event_time, first_timestamp, last_timestamp, last_observed_time].map(seconds);
    let told = times.into_iter().filter(|it| *it != 0);
    let count = count.unwrap_or_default().max(in_series.unwrap_or_default()).max(1);
    let told = v1::EventReason {
        reason: bounded(reason, TEXT_BYTES_MAX),
        message: bounded(message, MESSAGE_BYTES_MAX),
        count: u32::try_from(count).unwrap_or(u32::MAX),
        first_at_unix_s: told.clone().min().unwrap_or_default(),
        last_at_unix_s: told.max().unwrap_or_default(),
        uid: uid.map(|uid| uid_bytes(&bounded(Some(uid), TEXT_BYTES_MAX))).unwrap_or_default(),
        field_path: bounded(field_path, TEXT_BYTES_MAX),
    };
    let involved = v1::InvolvedObject {
        api_version: bounded(api_version, TEXT_BYTES_MAX),
        kind: bounded(kind, TEXT_BYTES_MAX),
        namespace: bounded(namespace, NAME_BYTES_MAX),
        name: bounded(name, NAME_BYTES_MAX),
    };
    let facts = v1::EventFacts { involved: Some(involved), reasons: vec![told] };
    projected(metadata, |_| Some(v1::facts::Kind::Event(facts)))
}

/// Cut at a character's border.
fn bounded(text: Option<String>, bytes_max: usize) -> String {
    let mut text = text.unwrap_or_default();
    text.truncate(text.floor_char_boundary(bytes_max));
    text
}

/// What a fold is called: `pod_shop-1`, `deployment.apps_shop`, after the object that it is about; in the namespace of its
/// Events, since that is where whoever may watch one namespace finds them. No name of Kubernetes holds a `_`, but for those of
/// roles and the like: of these the first `_` ends the kind all the same.
pub(crate) fn fold_name(involved: &v1::InvolvedObject) -> String {
    let v1::InvolvedObject { api_version, kind, name, namespace: _ } = involved;
    let kind = kind.to_lowercase();
    let text = match api_version.split_once('/') {
        Some((group, _)) => format!("{kind}.{group}_{name}"),
        None => format!("{kind}_{name}"),
    };
    if text.len() <= NAME_BYTES_MAX {
        return text;
    }
    // Longer than any name may be: its beginning, and a hash of all of it.
    let [a, b, c, d, e, f, g, h, ..] = Digest::of(&text, &[]).to_wire();
    let hash = format!("_{:016x}", u64::from_le_bytes([a, b, c, d, e, f, g, h]));
    let kept = text.floor_char_boundary(NAME_BYTES_MAX - hash.len());
    format!("{}{hash}", text.get(..kept).unwrap_or_default())
}

/// What was told of one object, by all its Events. They may not agree on what it is: some leave out its API version, or name
/// another one. The greatest holds.
pub(crate) fn fold<'a>(
    told: impl IntoIterator<Item = (&'a v1::InvolvedObject, &'a v1::EventReason)>,
) -> v1::Facts {
    let mut reasons: BTreeMap<_, v1::EventReason> = BTreeMap::new();
    let mut about: Option<&v1::InvolvedObject> = None;
    for (involved, one) in told {
        let rank =
            |it: &'a v1::InvolvedObject| (&it.api_version, &it.kind, &it.namespace, &it.name);
        if about.is_none_or(|held| rank(held) < rank(involved)) {
            about = Some(involved);
        }
        let key = (&one.uid, &one.reason, &one.field_path, first_word(&one.message));
        reasons.entry(key).and_modify(|all| add(all, one)).or_insert_with(|| one.clone());
    }
    let mut reasons: Vec<_> = reasons.into_values().collect();
    // Of one time in the order of their keys.
    reasons.sort_by_key(|it| Reverse(it.last_at_unix_s));
    reasons.truncate(REASONS_MAX);
    let first = reasons.iter().map(|it| it.first_at_unix_s).min();
    let meta = v1::Meta { created_at_unix_s: first.unwrap_or_default(), ..v1::Meta::default() };
    let facts = v1::EventFacts { involved: about.cloned(), reasons };
    let kind = Some(v1::facts::Kind::Event(facts));
    v1::Facts { meta: Some(meta), truncated: Vec::new(), kind }
}

fn add(all: &mut v1::EventReason, one: &v1::EventReason) {
    all.count = all.count.saturating_add(one.count);
    all.first_at_unix_s = all.first_at_unix_s.min(one.first_at_unix_s);
    if (one.last_at_unix_s, &one.message) > (all.last_at_unix_s, &all.message) {
        all.last_at_unix_s = one.last_at_unix_s;
        all.message.clone_from(&one.message);
    }
}

/// Without its digits: `0/5 nodes are available` is what `0/6 nodes are available` is.
fn first_word(message: &str) -> String {
    let word = message.split_whitespace().next().unwrap_or_default();
    word.chars().filter(|it| !it.is_ascii_digit()).collect()
}

/// The folds of all Events of a cluster, as [`super::project`] reads each: what an agent makes of them one by one.
///
/// Ordered by namespace and name. What is no Event is left out.
#[must_use]
pub fn folds(events: Vec<Projected>) -> Vec<Projected> {
    type Told = Vec<(v1::InvolvedObject, v1::EventReason)>;
    let mut all: BTreeMap<(String, String), Told> = BTreeMap::new();
    for event in events {
        let Some(v1::facts::Kind::Event(facts)) = event.facts.kind else { continue };
        let v1::EventFacts { involved, reasons } = facts;
        let involved = involved.unwrap_or_default();
        let place = (event.namespace, fold_name(&involved));
        let told = reasons.into_iter().map(|reason| (involved.clone(), reason));
        all.entry(place).or_default().extend(told);
    }
    let folded = |((namespace, name), told): (_, Told)| Projected {
        namespace,
        name,
        facts: fold(told.iter().map(|(involved, reason)| (involved, reason))),
        ..Projected::default()
    };
    all.into_iter().map(folded).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use vitals_proto::kind::Kind;

    use super::{super::testing::project_yaml, *};

    fn facts(projected: &Projected) -> &v1::EventFacts {
        match &projected.facts.kind {
            Some(v1::facts::Kind::Event(facts)) => facts,
            other => panic!("not an Event: {other:?}"),
        }
    }

    fn event(name: &str, rest: &str) -> Projected {
        let yaml = format!("metadata: {{name: '{name}', namespace: shop}}\n{rest}");
        project_yaml(&Kind::Event, &yaml)
    }

    fn of_pod(name: &str, reason: &str, message: &str, last: &str) -> Projected {
        let about = "{apiVersion: v1, kind: Pod, namespace: shop, name: web-1, uid: 0d9f3f0e-1111-4222-8333-444455556666, fieldPath: 'spec.containers{app}'}";
        event(
            name,
            &format!(
                "involvedObject: {about}\nreason: {reason}\nmessage: '{message}'\ncount: 3\nfirstTimestamp: '2026-01-02T03:00:00Z'\nlastTimestamp: '{last}'"
            ),
        )
    }

    #[test]
    fn reads_what_both_ways_to_tell_say() {
        let old = of_pod("a", "BackOff", "Back-off restarting", "2026-01-02T03:04:05Z");
        let told = &facts(&old).reasons[0];
        assert_eq!((&*told.reason, told.count, told.uid.len()), ("BackOff", 3, 16));
        assert_eq!((told.first_at_unix_s, told.last_at_unix_s), (1_767_322_800, 1_767_323_045));
        assert_eq!(told.field_path, "spec.containers{app}");
        assert_eq!((&*old.name, &*old.namespace), ("a", "shop"));

        let new = event(
            "b",
            "involvedObject: {kind: Node, name: n1, uid: n1}
reason: FailedScheduling
firstTimestamp: null
lastTimestamp: null
count: null
eventTime: '2026-01-02T03:00:00.123456Z'
series: {count: 7, lastObservedTime: '2026-01-02T03:04:05.999999Z'}",
        );
        let told = &facts(&new).reasons[0];
        assert_eq!((told.count, &told.uid[..]), (7, b"n1".as_slice()));
        assert_eq!((told.first_at_unix_s, told.last_at_unix_s), (1_767_322_800, 1_767_323_045));

        let bare = event("c", "involvedObject: null\nseries: null");
        assert_eq!(facts(&bare).reasons[0], v1::EventReason { count: 1, ..Default::default() });
    }

    #[test]
    fn a_fold_is_called_after_what_it_is_about() {
        let name = |api_version: &str, kind: &str, name: &str| {
            let [api_version, kind, name] = [api_version, kind, name].map(str::to_owned);
            fold_name(&v1::InvolvedObject { api_version, kind, name, ..Default::default() })
        };
        assert_eq!(name("v1", "Pod", "web-1"), "pod_web-1");
        assert_eq!(name("", "Node", "n1"), "node_n1");
        assert_eq!(name("apps/v1", "Deployment", "web"), "deployment.apps_web");
        assert_eq!(name("example.org/v1", "Widget", "x.y"), "widget.example.org_x.y");
        assert_eq!(name("", "", ""), "_");
        let (long, other) = ("x".repeat(253), "x".repeat(252) + "y");
        let (long, other) = (name("v1", "Pod", &long), name("v1", "Pod", &other));
        assert_eq!((long.len(), other.len(), long == other), (253, 253, false));
    }

    #[test]
    fn what_is_told_in_other_words_of_one_thing_counts_as_one() {
        let of = |number: u32, reason: &str, message: &str| {
            of_pod(&number.to_string(), reason, message, &format!("2026-01-02T03:04:0{number}Z"))
        };
        let folded = folds(vec![
            of(1, "FailedScheduling", "0/5 nodes are available"),
            of(5, "Unhealthy", "Readiness probe failed: 503"),
            of(3, "FailedScheduling", "0/6 nodes are available"),
            of(4, "Unhealthy", "Liveness probe failed: refused"),
            of(2, "Unhealthy", "Readiness probe failed: refused"),
        ]);
        let [fold] = folded.as_slice() else { panic!("{folded:?}") };
        assert_eq!((&*fold.namespace, &*fold.name), ("shop", "pod_web-1"));
        let told: Vec<_> =
            facts(fold).reasons.iter().map(|it| (&*it.reason, &*it.message, it.count)).collect();
        assert_eq!(
            told,
            [
                ("Unhealthy", "Readiness probe failed: 503", 6),
                ("Unhealthy", "Liveness probe failed: refused", 3),
                ("FailedScheduling", "0/6 nodes are available", 6),
            ]
        );
        assert_eq!(fold.facts.meta.as_ref().unwrap().created_at_unix_s, 1_767_322_800);
    }

    #[test]
    fn the_last_eight_are_told_and_long_texts_are_cut() {
        let long = "é".repeat(4_000);
        let events: Vec<_> = (0..20)
            .map(|number| {
                let at = format!("2026-01-02T03:04:{number:02}Z");
                of_pod(&number.to_string(), &format!("R{number}"), &long, &at)
            })
            .collect();
        let folded = folds(events);
        let reasons = &facts(&folded[0]).reasons;
        let named: Vec<_> = reasons.iter().map(|it| &*it.reason).collect();
        assert_eq!(named, ["R19", "R18", "R17", "R16", "R15", "R14", "R13", "R12"]);
        assert!(reasons.iter().all(|it| it.message.len() == MESSAGE_BYTES_MAX));
    }

    #[test]
    fn who_does_not_say_all_of_what_it_is_about_tells_of_the_same() {
        let of = |name: &str, about: &str| event(name, &format!("involvedObject: {about}"));
        let events = [
            of("a", "{kind: Node, name: n1, uid: n1}"),
            of(
                "b",
                "{apiVersion: v1, kind: Node, name: n1, uid: 0d9f3f0e-1111-4222-8333-444455556666}",
            ),
        ];
        for events in [events.to_vec(), events.iter().rev().cloned().collect()] {
            let folded = folds(events);
            let [fold] = folded.as_slice() else { panic!("{folded:?}") };
            assert_eq!(facts(fold).involved.as_ref().unwrap().api_version, "v1");
            assert_eq!(facts(fold).reasons.len(), 2);
        }
    }

    proptest! {
        #[test]
        fn order_is_nothing(
            told in proptest::collection::vec((0..3_usize, 0..4_usize, 0..4_u32), 0..12)
                .prop_flat_map(|told| (Just(told.clone()), Just(told).prop_shuffle()))
        ) {
            let events = |told: Vec<(usize, usize, u32)>| {
                told.into_iter().map(|(reason, message, last)| {
                    let message = ["Readiness a", "Readiness b", "Liveness", "0/1 x"][message];
                    of_pod("e", ["A", "B", "C"][reason], message, &format!("2026-01-02T03:04:0{last}Z"))
                }).collect::<Vec<_>>()
            };
            prop_assert_eq!(folds(events(told.0)), folds(events(told.1)));
        }
    }
}
