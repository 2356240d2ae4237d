//! What is an identity and what is not.

use proptest::prelude::*;

use super::*;

#[test]
fn cluster_names_are_labels() {
    for good in ["a", "eu-1", &"x".repeat(63)] {
        assert!(good.parse::<ClusterName>().is_ok(), "{good}");
    }
    for bad in ["", "-a", "a-", "A", "a.b", "a b", "*", ">", "ä", &"x".repeat(64)] {
        assert!(bad.parse::<ClusterName>().is_err(), "{bad}");
    }
}

#[test]
fn slugs_keep_the_end() {
    for (title, slug) in [
        ("kind-dev", "kind-dev"),
        ("arn:aws:eks:eu-west-1:123:cluster/Prod_A", "arn-aws-eks-eu-west-1-123-cluster-prod-a"),
        ("", "cluster"),
        ("ÄÖ", "cluster"),
    ] {
        assert_eq!(ClusterName::slug(title).as_str(), slug);
    }
    let long = format!("{}-end", "y".repeat(90));
    assert!(ClusterName::slug(&long).as_str().ends_with("-end"));
}

#[test]
fn entity_references() {
    for (text, want) in [
        ("shop", "component:default/shop"),
        ("payments/Shop", "component:payments/shop"),
        ("API:shop", "api:default/shop"),
        ("workload:pay/shop.v2", "workload:pay/shop.v2"),
    ] {
        let parsed: EntityRef = text.parse().unwrap();
        assert_eq!(parsed.as_str(), want);
        let again = EntityRef::new(parsed.kind(), parsed.namespace(), parsed.name()).unwrap();
        assert_eq!(again, parsed);
    }
    for bad in ["", ":a", "a:", "a:/b", "a:b/", "a:b/c/d", "a b", "a:b:c"] {
        assert!(bad.parse::<EntityRef>().is_err(), "{bad}");
    }
}

#[test]
fn object_keys_are_bounded() {
    let key = |namespace: &str, name: &str| {
        ObjectKey::new(KeyParts {
            cluster: ClusterName::slug("c"),
            kind: Kind::Pod,
            namespace,
            name,
        })
    };
    assert!(key("", &"n".repeat(253)).is_ok());
    assert!(key("", "").is_err());
    assert!(key("", &"n".repeat(254)).is_err());
    assert!(key(&"n".repeat(254), "n").is_err());
}

proptest! {
    #[test]
    fn slugs_are_labels(title in any::<String>()) {
        prop_assert!(ClusterName::slug(&title).as_str().parse::<ClusterName>().is_ok());
    }

    #[test]
    fn uuids_are_written_as_they_were_read(bytes in any::<[u8; 16]>()) {
        let uid = Uid::Uuid(bytes);
        prop_assert_eq!(Uid::from_text(&uid.to_string()), uid.clone());
        prop_assert_eq!(Uid::from_wire(&uid.to_wire()), Ok(uid));
    }

    #[test]
    fn other_uids_stand_as_they_are(text in "\\PC{0,40}") {
        prop_assert_eq!(Uid::from_text(&text).to_string(), text);
    }

    #[test]
    fn epochs_are_read_as_they_were_written(time in any::<i64>(), random in any::<u64>()) {
        let epoch = Epoch { started_at_unix_ms: time, random };
        prop_assert_eq!(epoch.to_string().parse(), Ok(epoch));
    }
}
