use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// Any text, often one that is shortened, or looks as if it were.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        (0..WORDS.len()).prop_map(|place| WORDS[place].to_owned()),
        "~{0,3}[A-Za-z0-9=~]{0,3}",
        "[a-z]{0,8}",
    ]
}

fn texts() -> impl Strategy<Value = BTreeMap<String, String>> {
    proptest::collection::btree_map(text(), text(), 0..6)
}

fn meta() -> impl Strategy<Value = v1::Meta> {
    (texts(), texts(), text(), text()).prop_map(|(labels, annotations, api_version, kind)| {
        let owner = v1::OwnerReference { api_version, kind, ..Default::default() };
        v1::Meta { labels, annotations, owners: vec![owner], ..Default::default() }
    })
}

fn all_conditions() -> impl Strategy<Value = Vec<v1::Condition>> {
    let condition = (text(), text(), text()).prop_map(|(r#type, reason, message)| v1::Condition {
        r#type,
        reason,
        message,
        ..Default::default()
    });
    proptest::collection::vec(condition, 0..4)
}

fn label_selector() -> impl Strategy<Value = v1::LabelSelector> {
    (texts(), text()).prop_map(|(match_labels, key)| v1::LabelSelector {
        match_labels,
        match_expressions: vec![v1::LabelRequirement { key, ..Default::default() }],
    })
}

fn pod_facts() -> impl Strategy<Value = v1::PodFacts> {
    let scheduling = (texts(), text(), label_selector()).prop_map(|(node_selector, key, of)| {
        let term = v1::PodAffinityTerm { topology_key: key.clone(), selector: Some(of) };
        let spread = v1::SpreadConstraint { topology_key: key, ..Default::default() };
        v1::PodScheduling {
            node_selector,
            pod_affinity: vec![term.clone()],
            pod_anti_affinity: vec![term],
            spread: vec![spread],
            ..Default::default()
        }
    });
    let named = proptest::collection::vec((text(), text(), text(), any::<bool>()), 0..4);
    (all_conditions(), scheduling, named).prop_map(|(conditions, scheduling, named)| {
        let (mut containers, mut container_statuses) = (Vec::new(), Vec::new());
        for (name, image, other, is_same) in named {
            let of_status = if is_same { image.clone() } else { other };
            containers.push(v1::Container { name: name.clone(), image, ..Default::default() });
            container_statuses.push(v1::ContainerStatus {
                name,
                image: of_status,
                ..Default::default()
            });
        }
        let scheduling = Some(scheduling);
        v1::PodFacts {
            conditions,
            scheduling,
            containers,
            container_statuses,
            ..Default::default()
        }
    })
}

fn batch() -> impl Strategy<Value = Kind> {
    (texts(), all_conditions(), any::<bool>()).prop_map(|(labels, conditions, is_scheduled)| {
        let template = Some(v1::PodTemplate { labels, ..Default::default() });
        if is_scheduled {
            Kind::CronJob(v1::CronJobFacts { template, ..Default::default() })
        } else {
            Kind::Job(v1::JobFacts { template, conditions, ..Default::default() })
        }
    })
}

fn others() -> impl Strategy<Value = Kind> {
    (label_selector(), all_conditions(), text(), 0..9_u8).prop_map(
        |(selector, conditions, text, kind)| match kind {
            0 => Kind::HorizontalPodAutoscaler(v1::HorizontalPodAutoscalerFacts {
                target: Some(v1::ScaleTarget { api_version: text, ..Default::default() }),
                conditions,
                ..Default::default()
            }),
            1 => Kind::PersistentVolumeClaim(v1::PersistentVolumeClaimFacts {
                volume_name: text,
                conditions,
                ..Default::default()
            }),
            2 => Kind::PodDisruptionBudget(v1::PodDisruptionBudgetFacts {
                selector: Some(selector),
                conditions,
                ..Default::default()
            }),
            3 => Kind::Ingress(v1::IngressFacts { class: text, ..Default::default() }),
            4 => Kind::EndpointSlice(v1::EndpointSliceFacts {
                address_type: text,
                ..Default::default()
            }),
            5 => Kind::ResourceQuota(v1::ResourceQuotaFacts {
                hard: [(text.clone(), text)].into(),
                ..Default::default()
            }),
            6 => Kind::ReplicationController(v1::ReplicationControllerFacts {
                selector: selector.match_labels.clone(),
                template: Some(v1::PodTemplate {
                    labels: selector.match_labels,
                    ..Default::default()
                }),
                conditions,
                ..Default::default()
            }),
            7 => Kind::Event(v1::EventFacts {
                reasons: vec![v1::EventReason { reason: text, ..Default::default() }],
                ..Default::default()
            }),
            _ => Kind::PersistentVolume(v1::PersistentVolumeFacts {
                phase: text,
                ..Default::default()
            }),
        },
    )
}

fn facts() -> impl Strategy<Value = v1::Facts> {
    let workload = (label_selector(), texts(), all_conditions()).prop_map(|(of, labels, all)| {
        let template = Some(v1::PodTemplate { labels, ..Default::default() });
        Kind::Deployment(v1::DeploymentFacts {
            selector: Some(of),
            template,
            conditions: all,
            ..Default::default()
        })
    });
    let service = texts()
        .prop_map(|selector| Kind::Service(v1::ServiceFacts { selector, ..Default::default() }));
    let kind = prop_oneof![workload, pod_facts().prop_map(Kind::Pod), service, batch(), others()];
    (meta(), kind).prop_map(|(meta, kind)| v1::Facts {
        meta: Some(meta),
        kind: Some(kind),
        ..Default::default()
    })
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(facts in facts()) {
        let bytes = encode(facts.clone());
        prop_assert_eq!(&decode(&bytes).unwrap(), &facts);
        prop_assert_eq!(bytes, encode(facts));
    }
}

#[test]
fn words_have_their_place_for_good() {
    assert_eq!(WORDS.iter().collect::<BTreeSet<_>>().len(), WORDS.len(), "no word twice");
    // Agents out there say these.
    for (long, short) in [
        ("app.kubernetes.io/name", "~A"),
        ("argocd.argoproj.io/tracking-id", "~P"),
        ("kubernetes.io/metadata.name", "~V"),
        ("node.kubernetes.io/instance-type", "~b"),
        ("DaemonSet", "~g"),
        ("PIDPressure", "~x"),
        ("controller-uid", "~0"),
        ("Service", "~3"),
    ] {
        let mut word = long.to_owned();
        shorten(&mut word);
        assert_eq!(word, short);
        lengthen(&mut word);
        assert_eq!(word, long);
    }
}

#[test]
fn what_nobody_shortened_reads_as_it_is() {
    let labels = [("app.kubernetes.io/name", "shop"), ("~9", "of a newer agent")];
    let labels: BTreeMap<String, String> =
        labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let meta = Some(v1::Meta { labels: labels.clone(), ..Default::default() });
    let facts = v1::Facts { meta, ..Default::default() };
    let read = decode(&facts.encode_to_vec()).unwrap();
    assert_eq!(read.meta.unwrap().labels, labels);
}
