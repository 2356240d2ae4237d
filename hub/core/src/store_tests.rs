use std::collections::BTreeMap;

use proptest::prelude::*;
use prost::Message as _;
use vitals_proto::{
    digest::{Digest, Place},
    identity::{Epoch, KeyParts, Scope},
    subject,
};

use super::*;

fn key(kind: &str, namespace: &str, name: &str) -> ObjectKey {
    let cluster = "eu-1".parse().unwrap();
    ObjectKey::new(KeyParts { cluster, kind: Kind::from_resource(kind), namespace, name }).unwrap()
}

fn hold(store: &mut Store, key: &ObjectKey, counter: u64, content: Content<'_>) {
    let subject = subject::object(key);
    store.put(
        key,
        NewHeld {
            scope: &Scope::default(),
            epoch: Epoch { started_at_unix_ms: 7, random: 1 },
            counter,
            digest: Digest::of(&subject, &counter.to_le_bytes()),
            bucket: Place::of(&subject).bucket(),
            at: &StreamPoint { stream: "S".into(), incarnation_unix_ns: 1, sequence: counter },
            observed_at_unix_ms: 5,
            resource_version: "rv",
            message_bytes: 100,
            content,
        },
    );
}

#[test]
fn a_record_is_small() {
    // With its place in the index (about 10 bytes), names and the allocator's own, this is what the hub pays per object
    // beside the facts: DESIGN.md section 6 allows 200 bytes and half of the facts again, for store and graph together.
    assert_eq!(size_of::<Option<held::Record>>(), 96);
}

#[test]
fn what_was_put_is_held() {
    let mut store = Store::default();
    let shop = key("deployments.apps", "pay", "shop");
    let facts = v1::Facts { truncated: vec!["labels".into()], ..Default::default() };
    hold(&mut store, &shop, 3, Content::Facts(&facts.encode_to_vec()));
    let held = store.get(&shop).unwrap();
    assert_eq!(held.key(), shop);
    assert_eq!((held.namespace(), held.name(), held.resource_version()), ("pay", "shop", "rv"));
    assert_eq!((held.counter(), held.at().sequence, held.at().stream.as_str()), (3, 3, "S"));
    assert_eq!(held.facts(), Some(facts.clone()));
    assert_eq!(store.facts(&shop), Some(facts));
    assert_eq!(store.facts(&key("pods", "pay", "shop")), None);

    hold(&mut store, &shop, 4, Content::Opaque);
    assert_eq!(store.get(&shop).unwrap().counter(), 4);
    assert_eq!(store.facts(&shop), None);
    assert_eq!((store.len(), store.count_of_kind(shop.cluster(), shop.kind())), (1, 1));
}

#[test]
fn a_cluster_goes_as_a_whole() {
    let mut store = Store::default();
    let keys = [key("nodes", "", "a"), key("pods", "x", "a"), key("pods", "x", "b")];
    for key in &keys {
        hold(&mut store, key, 1, Content::Opaque);
    }
    let mut gone = store.remove_cluster(keys[0].cluster());
    gone.sort();
    let mut want = keys.to_vec();
    want.sort();
    assert_eq!(gone, want);
    assert!(store.is_empty() && store.get(&keys[0]).is_none());
}

proptest! {
    #[test]
    fn it_is_a_map(steps in proptest::collection::vec((0..3_usize, 0..3_usize, 0..12_u8, any::<bool>()), 0..200)) {
        let mut store = Store::default();
        let mut model = BTreeMap::new();
        for (counter, (kind, namespace, name, put)) in (1..).zip(steps) {
            let key = key(
                ["pods", "deployments.apps", "x.example.org"][kind],
                ["", "a", "ab"][namespace],
                &format!("{}{name}", if namespace == 1 { "b" } else { "" }),
            );
            if put {
                hold(&mut store, &key, counter, Content::Facts(&counter.to_le_bytes()));
                model.insert(key, counter);
            } else {
                store.remove(&key);
                model.remove(&key);
            }
        }
        let held: BTreeMap<_, _> =
            store.objects(&"eu-1".parse().unwrap()).map(|held| (held.key(), held.counter())).collect();
        prop_assert_eq!(&held, &model);
        prop_assert_eq!(store.len(), model.len());
        prop_assert_eq!(store.bytes().facts, model.len() * 8);
        // What is kept up to date is what is held: another store of the same objects says the same, but for its free places.
        let mut anew = Store::default();
        for (key, counter) in &model {
            hold(&mut anew, key, *counter, Content::Facts(&counter.to_le_bytes()));
        }
        prop_assert!(store.bytes().memory >= anew.bytes().memory);
        for key in model.keys() {
            store.remove(key);
            anew.remove(key);
        }
        prop_assert_eq!((store.bytes().facts, anew.bytes().facts), (0, 0));
        for (key, counter) in &model {
            hold(&mut store, key, *counter, Content::Facts(&counter.to_le_bytes()));
        }
        for (key, counter) in &model {
            prop_assert_eq!(store.get(key).unwrap().facts_bytes(), counter.to_le_bytes());
        }
        for kind in ["pods", "deployments.apps", "x.example.org"].map(Kind::from_resource) {
            let count = model.keys().filter(|key| *key.kind() == kind).count();
            prop_assert_eq!(store.count_of_kind(&"eu-1".parse().unwrap(), &kind), count);
        }
    }
}
