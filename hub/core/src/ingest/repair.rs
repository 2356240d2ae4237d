//! What the hub asks an agent to repair: all that it holds in a bucket of the agent's scope, by subject and digest.
//!
//! Behind the comparison. The request names what is held, and the agent answers in-band, by re-sending what differs and burying
//! what does not exist. The hub drops nothing itself for not being named by anybody.

use std::collections::{BTreeMap, BTreeSet};

use vitals_proto::{
    digest::Place,
    identity::{ClusterName, Epoch, Scope},
    limits::REPAIR_HELD_MAX,
    subject, v1,
};

use super::unstreamed::Unstreamed;
use crate::store::Store;

/// Most objects named in the requests of one heartbeat of one scope, about 8 MB. Buckets beyond it wait for the next heartbeat;
/// the first is always asked for.
pub(crate) const NAMED_PER_HEARTBEAT_MAX: usize = 65_536;

/// Most bits by which a bucket is split: 256 parts, for a million objects in one bucket. More is not a cluster but an attack.
const PART_BITS_MAX: u32 = 8;

/// For whom requests are made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) cluster: &'a ClusterName,
    /// Of the heartbeat that differed.
    pub(crate) scope: &'a Scope,
    pub(crate) epoch: Epoch,
    /// Whose objects are named; `None` for all of the cluster's, only without `Rule::PerScope`.
    pub(crate) held_of: Option<&'a Scope>,
    pub(crate) streamed: Streamed<'a>,
}

/// For which buckets not what is held is named, but what of it the stream has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Streamed<'a> {
    pub(crate) lacking: &'a BTreeSet<u8>,
    pub(crate) unstreamed: &'a Unstreamed,
}

/// The requests for these buckets, bucket by bucket in their order; for the first ones only, where they name too much.
pub(crate) fn requests(
    store: &Store,
    asked: Asked<'_>,
    buckets: &BTreeSet<u8>,
) -> Vec<(u8, Vec<v1::RepairRequest>)> {
    let mut named = named(store, asked, buckets);
    let mut requests = Vec::new();
    let mut left = NAMED_PER_HEARTBEAT_MAX;
    for bucket in buckets {
        let objects = named.remove(bucket).unwrap_or_default();
        if objects.len() > left && !requests.is_empty() {
            break;
        }
        left = left.saturating_sub(objects.len());
        requests.push((*bucket, split(asked, *bucket, objects)));
    }
    requests
}

type Named = Vec<(Place, v1::HeldObject)>;

/// What is held in each of these buckets. One walk over the cluster, however many buckets there are.
fn named(store: &Store, asked: Asked<'_>, buckets: &BTreeSet<u8>) -> BTreeMap<u8, Named> {
    let mut named: BTreeMap<u8, Named> =
        buckets.iter().map(|bucket| (*bucket, Vec::new())).collect();
    for held in store.objects(asked.cluster) {
        if asked.held_of.is_some_and(|scope| scope != held.scope()) {
            continue;
        }
        let Some(objects) = named.get_mut(&held.bucket()) else { continue };
        if !held.is_streamed() && asked.streamed.lacking.contains(&held.bucket()) {
            continue;
        }
        let subject = subject::object(&held.key());
        let digest = held.digest().to_wire().to_vec().into();
        objects.push((Place::of(&subject), v1::HeldObject { subject, digest }));
    }
    for bucket in asked.streamed.lacking {
        let Some(objects) = named.get_mut(bucket) else { continue };
        for (subject, digest) in asked.streamed.unstreamed.ghosts(*bucket) {
            let (subject, digest) = (subject.to_owned(), digest.to_wire().to_vec().into());
            objects.push((Place::of(&subject), v1::HeldObject { subject, digest }));
        }
    }
    for objects in named.values_mut() {
        objects.sort_unstable_by(|(_, ours), (_, theirs)| ours.subject.cmp(&theirs.subject));
    }
    named
}

/// In as few parts as keep each below [`REPAIR_HELD_MAX`].
fn split(asked: Asked<'_>, bucket: u8, objects: Named) -> Vec<v1::RepairRequest> {
    let mut part_bits = 0;
    while part_bits < PART_BITS_MAX && largest_part(&objects, part_bits) > REPAIR_HELD_MAX {
        part_bits += 1;
    }
    let mut parts: BTreeMap<u32, Vec<v1::HeldObject>> = BTreeMap::new();
    for (place, object) in objects {
        parts.entry(place.part(part_bits)).or_default().push(object);
    }
    // A part in which nothing is held is asked for too: something may exist in it.
    (0..1 << part_bits)
        .map(|part| v1::RepairRequest {
            scope: asked.scope.to_string(),
            epoch: Some(asked.epoch.into()),
            bucket: u32::from(bucket),
            held: parts.remove(&part).unwrap_or_default(),
            part_bits,
            part,
        })
        .collect()
}

fn largest_part(objects: &Named, part_bits: u32) -> usize {
    let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
    for (place, _) in objects {
        *counts.entry(place.part(part_bits)).or_default() += 1;
    }
    counts.into_values().max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use vitals_proto::{
        digest::Digest,
        identity::{KeyParts, ObjectKey},
        kind::Kind,
    };

    use super::*;
    use crate::{
        position::StreamPoint,
        store::{Content, NewHeld},
    };

    fn hold(store: &mut Store, scope: &Scope, name: &str, bucket: u8) {
        let cluster = "eu-1".parse().unwrap();
        let parts = KeyParts { cluster, kind: Kind::Pod, namespace: "a", name };
        let new = NewHeld {
            scope,
            epoch: Epoch::default(),
            counter: 1,
            digest: Digest::of(name, b""),
            bucket,
            at: &StreamPoint { stream: "S".into(), incarnation_unix_ns: 1, sequence: 1 },
            observed_at_unix_ms: 0,
            resource_version: "",
            message_bytes: 0,
            content: Content::Opaque,
        };
        store.put(&ObjectKey::new(parts).unwrap(), new);
    }

    fn ask(store: &Store, buckets: &[u8]) -> Vec<(u8, Vec<v1::RepairRequest>)> {
        let (cluster, scope) = ("eu-1".parse().unwrap(), Scope::default());
        let epoch = Epoch { started_at_unix_ms: 7, random: 1 };
        let held_of = Some(&scope);
        let streamed = Streamed { lacking: &BTreeSet::new(), unstreamed: &Unstreamed::default() };
        let asked = Asked { cluster: &cluster, scope: &scope, epoch, held_of, streamed };
        requests(store, asked, &buckets.iter().copied().collect())
    }

    #[test]
    fn a_request_names_what_is_held_of_that_scope_in_that_bucket() {
        let mut store = Store::default();
        let other = "other".parse().unwrap();
        hold(&mut store, &Scope::default(), "b", 3);
        hold(&mut store, &Scope::default(), "a", 3);
        hold(&mut store, &Scope::default(), "elsewhere", 4);
        hold(&mut store, &other, "others", 3);
        let asked = ask(&store, &[3, 9]);
        assert_eq!(asked.len(), 2);
        let (bucket, requests) = &asked[0];
        assert_eq!((*bucket, requests.len(), requests[0].bucket), (3, 1, 3));
        let subjects: Vec<_> = requests[0].held.iter().map(|held| held.subject.as_str()).collect();
        assert_eq!(subjects, ["vitals.v1.object.eu-1.pods.a.a", "vitals.v1.object.eu-1.pods.a.b"]);
        assert_eq!(requests[0].held[0].digest, Digest::of("a", b"").to_wire().as_slice());
        assert_eq!(asked[1].1[0].held, [], "an empty bucket is asked for too");
    }

    #[test]
    fn a_large_bucket_is_split_and_many_wait() {
        let mut store = Store::default();
        for index in 0..REPAIR_HELD_MAX + 1 {
            hold(&mut store, &Scope::default(), &format!("a{index}"), 1);
        }
        let asked = ask(&store, &[1]);
        let parts = &asked[0].1;
        assert_eq!(parts.iter().map(|part| part.part).collect::<Vec<_>>(), [0, 1]);
        assert!(parts.iter().all(|part| part.part_bits == 1));
        assert_eq!(parts.iter().map(|part| part.held.len()).sum::<usize>(), REPAIR_HELD_MAX + 1);
        for part in parts {
            for held in &part.held {
                assert_eq!(Place::of(&held.subject).part(1), part.part);
            }
        }

        for index in 0..NAMED_PER_HEARTBEAT_MAX {
            hold(&mut store, &Scope::default(), &format!("b{index}"), 2);
        }
        let buckets =
            |asked: Vec<(u8, _)>| asked.into_iter().map(|(bucket, _)| bucket).collect::<Vec<_>>();
        assert_eq!(buckets(ask(&store, &[0, 1, 2, 3])), [0, 1]);
        assert_eq!(buckets(ask(&store, &[2, 3])), [2, 3]);
    }
}
