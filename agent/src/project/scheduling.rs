//! What decides onto which nodes a pod may go. What every pod has, and what Kubernetes adds by itself, is left out: pods are
//! many.

use serde::Deserialize;
use vitals_proto::v1;

use super::{
    lenient::{List, Strings},
    selector::{self, Requirement, Selector},
};

/// How long a pod of no further wish stays on a node that is lost (admission plugin DefaultTolerationSeconds). Seconds.
const LOST_NODE_TOLERATED_S: i64 = 300;

/// What the DaemonSet controller lets its pods tolerate (`AddOrUpdateDaemonPodTolerations`), by key and effect.
const TOLERATED_BY_DAEMONS: [(&str, &str); 7] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
    ("node.kubernetes.io/network-unavailable", "NoSchedule"),
];

/// The part of `corev1.PodSpec` that the scheduler reads.
#[derive(Debug)]
pub(super) struct Scheduling {
    pub(super) node_selector: Strings,
    pub(super) affinity: Option<Affinity>,
    pub(super) tolerations: List<Toleration>,
    pub(super) topology_spread_constraints: List<Spread>,
}

/// Slim `corev1.Affinity`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Affinity {
    node_affinity: Option<NodeAffinity>,
    pod_affinity: Option<PodAffinity>,
    pod_anti_affinity: Option<PodAffinity>,
}

/// Only what must hold: preferences keep no pod waiting.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct NodeAffinity {
    required_during_scheduling_ignored_during_execution: Option<NodeSelector>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct NodeSelector {
    node_selector_terms: List<NodeTerm>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct NodeTerm {
    match_expressions: List<Requirement>,
    match_fields: List<Requirement>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodAffinity {
    required_during_scheduling_ignored_during_execution: List<PodTerm>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodTerm {
    topology_key: Option<String>,
    label_selector: Option<Selector>,
}

/// Slim `corev1.Toleration`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Toleration {
    key: Option<String>,
    operator: Option<String>,
    value: Option<String>,
    effect: Option<String>,
    toleration_seconds: Option<i64>,
}

/// Slim `corev1.TopologySpreadConstraint`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spread {
    topology_key: Option<String>,
    max_skew: Option<i32>,
    when_unsatisfiable: Option<String>,
}

/// What else is known of the pod.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pod<'a> {
    /// Where it is; empty while it is nowhere.
    pub(super) node_name: &'a str,
    /// A DaemonSet owns it.
    pub(super) is_of_daemon_set: bool,
}

/// The facts of it; none where there is nothing but what every pod has.
pub(super) fn facts(scheduling: Scheduling, pod: Pod<'_>) -> Option<v1::PodScheduling> {
    let Scheduling { node_selector, affinity, tolerations, topology_spread_constraints } =
        scheduling;
    let Affinity { node_affinity, pod_affinity, pod_anti_affinity } = affinity.unwrap_or_default();
    let facts = v1::PodScheduling {
        node_selector: node_selector.0,
        node_terms: node_terms(node_affinity, pod),
        pod_affinity: pod_terms(pod_affinity),
        pod_anti_affinity: pod_terms(pod_anti_affinity),
        tolerations: tolerations.0.into_iter().filter_map(|it| toleration(it, pod)).collect(),
        spread: topology_spread_constraints.map(|spread| v1::SpreadConstraint {
            topology_key: spread.topology_key.unwrap_or_default(),
            max_skew: spread.max_skew.unwrap_or_default(),
            when_unsatisfiable: unless(spread.when_unsatisfiable, "DoNotSchedule"),
        }),
    };
    (facts != v1::PodScheduling::default()).then_some(facts)
}

/// The text; empty where it is the default.
fn unless(text: Option<String>, default: &str) -> String {
    text.filter(|text| text != default).unwrap_or_default()
}

fn node_terms(affinity: Option<NodeAffinity>, pod: Pod<'_>) -> Vec<v1::NodeSelectorTerm> {
    let required = affinity.and_then(|it| it.required_during_scheduling_ignored_during_execution);
    let terms = terms(required.unwrap_or_default());
    // A pod of a DaemonSet is bound to its node by name (`ReplaceDaemonSetPodNodeNameNodeAffinity`): once it is there, that
    // says nothing.
    match terms.as_slice() {
        [v1::NodeSelectorTerm { match_expressions, match_fields }]
            if match_expressions.is_empty()
                && matches!(match_fields.as_slice(), [field] if field.key == "metadata.name"
                    && field.operator == "In" && field.values == [pod.node_name]) =>
        {
            Vec::new()
        }
        _ => terms,
    }
}

/// One of them must hold.
pub(super) fn terms(selector: NodeSelector) -> Vec<v1::NodeSelectorTerm> {
    selector.node_selector_terms.map(|term| v1::NodeSelectorTerm {
        match_expressions: selector::requirements(term.match_expressions),
        match_fields: selector::requirements(term.match_fields),
    })
}

fn pod_terms(affinity: Option<PodAffinity>) -> Vec<v1::PodAffinityTerm> {
    let required = affinity.unwrap_or_default().required_during_scheduling_ignored_during_execution;
    required.map(|term| v1::PodAffinityTerm {
        topology_key: term.topology_key.unwrap_or_default(),
        selector: selector::facts(term.label_selector),
    })
}

/// None for one that Kubernetes adds by itself.
fn toleration(toleration: Toleration, pod: Pod<'_>) -> Option<v1::Toleration> {
    let Toleration { key, operator, value, effect, toleration_seconds } = toleration;
    let facts = v1::Toleration {
        key: key.unwrap_or_default(),
        operator: unless(operator, "Equal"),
        value: value.unwrap_or_default(),
        effect: effect.unwrap_or_default(),
        seconds: toleration_seconds,
    };
    let is_added = facts.operator == "Exists"
        && match facts.seconds {
            Some(LOST_NODE_TOLERATED_S) => {
                facts.effect == "NoExecute"
                    && TOLERATED_BY_DAEMONS.iter().take(2).any(|(key, _)| *key == facts.key)
            }
            Some(_) => false,
            None => {
                let it = (facts.key.as_str(), facts.effect.as_str());
                pod.is_of_daemon_set && TOLERATED_BY_DAEMONS.contains(&it)
            }
        };
    (!is_added).then_some(facts)
}

#[cfg(test)]
mod tests {
    use super::super::testing::project_yaml;
    use vitals_proto::{kind::Kind, v1};

    fn facts(metadata: &str, spec: &str) -> Option<v1::PodScheduling> {
        let yaml = format!("metadata: {{name: p, {metadata}}}\nspec: {{{spec}}}");
        match project_yaml(&Kind::Pod, &yaml).facts.kind {
            Some(v1::facts::Kind::Pod(facts)) => facts.scheduling,
            other => panic!("not a Pod: {other:?}"),
        }
    }

    const OF_DAEMON_SET: &str = "ownerReferences: [{kind: DaemonSet, name: d, controller: true}]";

    #[test]
    fn what_every_pod_has_is_left_out() {
        let lost = "{key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 300},
            {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 300}";
        let daemon = "{key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute},
            {key: node.kubernetes.io/disk-pressure, operator: Exists, effect: NoSchedule}";
        let bound = "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [
            {matchFields: [{key: metadata.name, operator: In, values: [n1]}]}]}}}";
        for (case, metadata, spec, want) in [
            ("plain", "", String::new(), false),
            ("nulls", "", "nodeSelector: null, affinity: null, tolerations: null, topologySpreadConstraints: null".into(), false),
            ("any pod", "", format!("tolerations: [{lost}]"), false),
            ("daemon's", OF_DAEMON_SET, format!("tolerations: [{daemon}], nodeName: n1, {bound}"), false),
            ("the same of another", "", format!("tolerations: [{daemon}]"), true),
            ("waits for its node", OF_DAEMON_SET, bound.into(), true),
            ("another patience", "", format!("tolerations: [{}]", lost.replace("300", "30")), true),
        ] {
            assert_eq!(facts(metadata, &spec).is_some(), want, "{case}");
        }
        let waiting = facts(OF_DAEMON_SET, bound).unwrap();
        assert_eq!(waiting.node_terms[0].match_fields[0].values, ["n1"]);
    }

    #[test]
    fn reads_what_keeps_a_pod_waiting() {
        let facts = facts(
            "",
            "nodeSelector: {disk: ssd},
  tolerations: [{key: gpu, value: a100, operator: Equal, effect: NoSchedule}, {key: x, operator: Exists, effect: NoExecute, tolerationSeconds: 0}],
  topologySpreadConstraints: [{topologyKey: zone, maxSkew: 1, whenUnsatisfiable: DoNotSchedule}, {topologyKey: host, maxSkew: 2, whenUnsatisfiable: ScheduleAnyway}],
  affinity: {
    nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: arch, operator: In, values: [arm64]}]}]},
      preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, preference: {}}]},
    podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: host, labelSelector: {matchLabels: {app: web}}}]}}",
        )
        .unwrap();
        assert_eq!(facts.node_selector["disk"], "ssd");
        assert_eq!(facts.node_terms[0].match_expressions[0].values, ["arm64"]);
        assert!(facts.pod_affinity.is_empty());
        let apart = &facts.pod_anti_affinity[0];
        assert_eq!(apart.topology_key, "host");
        assert_eq!(apart.selector.as_ref().unwrap().match_labels["app"], "web");
        let (gpu, x) = (&facts.tolerations[0], &facts.tolerations[1]);
        assert_eq!((gpu.operator.as_str(), gpu.value.as_str(), gpu.seconds), ("", "a100", None));
        assert_eq!(x.seconds, Some(0), "0 is not absent");
        let spread: Vec<_> = facts
            .spread
            .iter()
            .map(|it| (&*it.topology_key, it.max_skew, &*it.when_unsatisfiable))
            .collect();
        assert_eq!(spread, [("zone", 1, ""), ("host", 2, "ScheduleAnyway")]);
    }
}
