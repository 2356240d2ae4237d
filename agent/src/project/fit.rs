//! Cuts facts that are too large for a message, always the same way, and names what was cut.
//!
//! Texts go first, since nothing is matched by them; labels go late, since they map the object to entities; at the very
//! last all of the kind's facts go. A rule that reads what was cut says Unknown (PROTOCOL.md, "Single flight").

use prost::Message as _;
use vitals_proto::v1::{self, container_state::State, facts::Kind};

/// Bytes that a text keeps at the first cut: enough for the sentence that matters.
const TEXT_BYTES_KEPT: usize = 512;

/// One cut, by the name that it leaves in [`v1::Facts::truncated`].
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// The fields, as the protobuf names them, without the name of the kind.
    pub name: &'static str,
    cut: fn(&mut v1::Facts) -> bool,
}

/// All cuts, in the order in which they are made.
pub const CUTS: [Cut; 20] = [
    Cut { name: "conditions.message", cut: condition_messages },
    Cut { name: "container_statuses.message", cut: container_messages },
    Cut { name: "message", cut: message },
    Cut { name: "meta.annotations", cut: |facts| meta(facts, |meta| meta.annotations.clear()) },
    Cut { name: "containers.probes", cut: |facts| containers(facts, cut_probes) },
    Cut { name: "containers.resources", cut: |facts| containers(facts, cut_resources) },
    Cut { name: "containers.ports", cut: |facts| containers(facts, |it| it.ports.clear()) },
    Cut { name: "scheduling", cut: scheduling },
    Cut { name: "references", cut: references },
    Cut { name: "template.labels", cut: template_labels },
    Cut { name: "meta.finalizers", cut: |facts| meta(facts, |meta| meta.finalizers.clear()) },
    Cut { name: "taints", cut: taints },
    Cut { name: "ports", cut: ports },
    Cut { name: "endpoints.node", cut: |facts| endpoints(facts, |all| cut_nodes(all)) },
    Cut { name: "containers", cut: all_containers },
    Cut { name: "container_statuses", cut: container_statuses },
    Cut { name: "endpoints", cut: |facts| endpoints(facts, Vec::clear) },
    Cut { name: "meta.labels", cut: |facts| meta(facts, |meta| meta.labels.clear()) },
    Cut { name: "kind", cut: |facts| facts.kind.take().is_some() },
    Cut { name: "meta", cut: |facts| facts.meta.take().is_some() },
];

/// Cuts until the facts, encoded, are no larger than `bytes_max`.
///
/// Makes as few of [`CUTS`] as will do, in their order, and adds the names of those that changed something to
/// [`v1::Facts::truncated`]. Equal facts are cut equally. Facts that fit are left as they are, at the cost of one pass.
pub fn fit(facts: &mut v1::Facts, bytes_max: usize) {
    for Cut { name, cut } in CUTS {
        if facts.encoded_len() <= bytes_max {
            return;
        }
        if cut(facts) {
            facts.truncated.push(name.to_owned());
        }
    }
}

/// Applies `cut` to `part`, and says whether it changed it.
fn changed<T: Clone + PartialEq>(part: &mut T, cut: impl FnOnce(&mut T)) -> bool {
    let before = part.clone();
    cut(part);
    *part != before
}

fn meta(facts: &mut v1::Facts, cut: impl FnOnce(&mut v1::Meta)) -> bool {
    facts.meta.as_mut().is_some_and(|meta| changed(meta, cut))
}

/// Shortens a text at a character's border.
fn shorten(text: &mut String) {
    if text.len() > TEXT_BYTES_KEPT {
        text.truncate(text.floor_char_boundary(TEXT_BYTES_KEPT));
    }
}

fn condition_messages(facts: &mut v1::Facts) -> bool {
    let conditions = match facts.kind.as_mut() {
        Some(Kind::Deployment(facts)) => &mut facts.conditions,
        Some(Kind::ReplicaSet(facts)) => &mut facts.conditions,
        Some(Kind::ReplicationController(facts)) => &mut facts.conditions,
        Some(Kind::StatefulSet(facts)) => &mut facts.conditions,
        Some(Kind::DaemonSet(facts)) => &mut facts.conditions,
        Some(Kind::Pod(facts)) => &mut facts.conditions,
        Some(Kind::Node(facts)) => &mut facts.conditions,
        Some(Kind::Namespace(facts)) => &mut facts.conditions,
        Some(Kind::Job(facts)) => &mut facts.conditions,
        Some(Kind::HorizontalPodAutoscaler(facts)) => &mut facts.conditions,
        Some(Kind::PersistentVolumeClaim(facts)) => &mut facts.conditions,
        Some(Kind::PodDisruptionBudget(facts)) => &mut facts.conditions,
        Some(
            Kind::Service(_)
            | Kind::CronJob(_)
            | Kind::Ingress(_)
            | Kind::Event(_)
            | Kind::ResourceQuota(_)
            | Kind::PersistentVolume(_)
            | Kind::EndpointSlice(_),
        )
        | None => return false,
    };
    changed(conditions, |all| all.iter_mut().for_each(|one| shorten(&mut one.message)))
}

fn pod(facts: &mut v1::Facts) -> Option<&mut v1::PodFacts> {
    match facts.kind.as_mut()? {
        Kind::Pod(facts) => Some(facts),
        Kind::Deployment(_)
        | Kind::ReplicaSet(_)
        | Kind::StatefulSet(_)
        | Kind::DaemonSet(_)
        | Kind::Service(_)
        | Kind::Node(_)
        | Kind::Namespace(_)
        | Kind::Job(_)
        | Kind::CronJob(_)
        | Kind::HorizontalPodAutoscaler(_)
        | Kind::PersistentVolumeClaim(_)
        | Kind::PodDisruptionBudget(_)
        | Kind::Ingress(_)
        | Kind::Event(_)
        | Kind::ReplicationController(_)
        | Kind::ResourceQuota(_)
        | Kind::PersistentVolume(_)
        | Kind::EndpointSlice(_) => None,
    }
}

fn container_messages(facts: &mut v1::Facts) -> bool {
    fn shorten_in(state: &mut Option<v1::ContainerState>) {
        match state.as_mut().and_then(|state| state.state.as_mut()) {
            Some(State::Waiting(waiting)) => shorten(&mut waiting.message),
            Some(State::Terminated(terminated)) => shorten(&mut terminated.message),
            Some(State::Running(_)) | None => {}
        }
    }
    pod(facts).is_some_and(|pod| {
        changed(pod, |pod| {
            let statuses = pod.container_statuses.iter_mut();
            for status in statuses.chain(&mut pod.init_container_statuses) {
                shorten_in(&mut status.state);
                shorten_in(&mut status.last_state);
            }
        })
    })
}

fn message(facts: &mut v1::Facts) -> bool {
    if let Some(Kind::PersistentVolume(volume)) = facts.kind.as_mut() {
        return changed(&mut volume.message, shorten);
    }
    pod(facts).is_some_and(|pod| changed(&mut pod.message, shorten))
}

fn scheduling(facts: &mut v1::Facts) -> bool {
    pod(facts).is_some_and(|pod| pod.scheduling.take().is_some())
}

/// All that a pod needs by name, but for its volume claims.
fn references(facts: &mut v1::Facts) -> bool {
    pod(facts).is_some_and(|pod| {
        changed(pod, |pod| {
            pod.config_maps.clear();
            pod.secrets.clear();
            pod.image_pull_secrets.clear();
            pod.readiness_gates.clear();
        })
    })
}

fn container_statuses(facts: &mut v1::Facts) -> bool {
    pod(facts).is_some_and(|pod| {
        changed(pod, |pod| {
            pod.container_statuses.clear();
            pod.init_container_statuses.clear();
        })
    })
}

fn template(facts: &mut v1::Facts) -> Option<&mut v1::PodTemplate> {
    match facts.kind.as_mut()? {
        Kind::Deployment(facts) => facts.template.as_mut(),
        Kind::ReplicaSet(facts) => facts.template.as_mut(),
        Kind::ReplicationController(facts) => facts.template.as_mut(),
        Kind::StatefulSet(facts) => facts.template.as_mut(),
        Kind::DaemonSet(facts) => facts.template.as_mut(),
        Kind::Job(facts) => facts.template.as_mut(),
        Kind::CronJob(facts) => facts.template.as_mut(),
        Kind::Pod(_)
        | Kind::Service(_)
        | Kind::Node(_)
        | Kind::Namespace(_)
        | Kind::HorizontalPodAutoscaler(_)
        | Kind::PersistentVolumeClaim(_)
        | Kind::PodDisruptionBudget(_)
        | Kind::Ingress(_)
        | Kind::Event(_)
        | Kind::ResourceQuota(_)
        | Kind::PersistentVolume(_)
        | Kind::EndpointSlice(_) => None,
    }
}

fn template_labels(facts: &mut v1::Facts) -> bool {
    template(facts).is_some_and(|template| changed(&mut template.labels, |labels| labels.clear()))
}

/// The containers of a Pod or of a template, init containers last.
fn container_lists(facts: &mut v1::Facts) -> [Option<&mut Vec<v1::Container>>; 2] {
    if matches!(facts.kind, Some(Kind::Pod(_))) {
        return match pod(facts) {
            Some(pod) => [Some(&mut pod.containers), Some(&mut pod.init_containers)],
            None => [None, None],
        };
    }
    match template(facts) {
        Some(template) => [Some(&mut template.containers), Some(&mut template.init_containers)],
        None => [None, None],
    }
}

fn containers(facts: &mut v1::Facts, cut: impl Fn(&mut v1::Container)) -> bool {
    let mut any = false;
    for container in container_lists(facts).into_iter().flatten().flatten() {
        any |= changed(container, &cut);
    }
    any
}

fn all_containers(facts: &mut v1::Facts) -> bool {
    let mut any = false;
    for containers in container_lists(facts).into_iter().flatten() {
        any |= changed(containers, |containers| containers.clear());
    }
    any
}

fn cut_probes(container: &mut v1::Container) {
    container.readiness_probe = None;
    container.liveness_probe = None;
    container.startup_probe = None;
}

fn cut_resources(container: &mut v1::Container) {
    container.requests.clear();
    container.limits.clear();
}

fn taints(facts: &mut v1::Facts) -> bool {
    match facts.kind.as_mut() {
        Some(Kind::Node(node)) => changed(&mut node.taints, |taints| taints.clear()),
        _ => false,
    }
}

fn ports(facts: &mut v1::Facts) -> bool {
    match facts.kind.as_mut() {
        Some(Kind::Service(service)) => changed(&mut service.ports, |ports| ports.clear()),
        _ => false,
    }
}

fn endpoints(facts: &mut v1::Facts, cut: impl FnOnce(&mut Vec<v1::Endpoint>)) -> bool {
    match facts.kind.as_mut() {
        Some(Kind::EndpointSlice(slice)) => changed(&mut slice.endpoints, cut),
        _ => false,
    }
}

/// A Pod says itself where it is.
fn cut_nodes(endpoints: &mut [v1::Endpoint]) {
    endpoints.iter_mut().for_each(|endpoint| endpoint.node.clear());
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::testing::{POD, project_yaml};
    use super::*;
    use vitals_proto::{kind::Kind as Resource, limits::FACTS_BYTES_MAX};

    fn pod_facts() -> v1::Facts {
        project_yaml(&Resource::Pod, POD).facts
    }

    #[test]
    fn what_fits_is_left_as_it_is() {
        let mut facts = pod_facts();
        fit(&mut facts, FACTS_BYTES_MAX);
        assert_eq!(facts, pod_facts());
    }

    #[test]
    fn a_huge_message_is_shortened_at_a_character() {
        let mut facts = pod_facts();
        pod(&mut facts).unwrap().conditions[0].message = format!("x{}", "é".repeat(40_000));
        fit(&mut facts, FACTS_BYTES_MAX);
        assert_eq!(facts.truncated, ["conditions.message"]);
        assert_eq!(pod(&mut facts).unwrap().conditions[0].message.len(), TEXT_BYTES_KEPT - 1);
    }

    #[test]
    fn labels_outlive_everything_but_the_counts() {
        let mut facts = pod_facts();
        let container = pod(&mut facts).unwrap().containers[0].clone();
        pod(&mut facts).unwrap().containers = vec![container; 5_000];
        fit(&mut facts, FACTS_BYTES_MAX);
        assert!(facts.truncated.contains(&"containers".to_owned()), "{:?}", facts.truncated);
        assert_eq!(facts.meta.as_ref().unwrap().labels["app"], "web");
        assert_eq!(pod(&mut facts).unwrap().container_statuses[0].restarts, 7);
    }

    #[test]
    fn what_keeps_a_pod_waiting_is_cut_before_its_containers() {
        let mut facts = pod_facts();
        let it = pod(&mut facts).unwrap();
        let long = v1::Toleration { key: "k".repeat(30_000), ..Default::default() };
        it.scheduling =
            Some(v1::PodScheduling { tolerations: vec![long; 3], ..Default::default() });
        it.secrets = vec![v1::Reference { name: "s".repeat(253), ..Default::default() }; 300];
        fit(&mut facts, FACTS_BYTES_MAX);
        assert!(facts.truncated.ends_with(&["scheduling".into(), "references".into()]));
        assert_eq!(pod(&mut facts).unwrap().containers.len(), 1);
    }

    #[test]
    fn everything_fits_at_last_and_equal_facts_are_cut_equally() {
        let mut facts = pod_facts();
        let meta = facts.meta.as_mut().unwrap();
        meta.labels =
            (0..2_000).map(|n| (format!("{n:0200}"), "v".repeat(63))).collect::<BTreeMap<_, _>>();
        meta.owners = vec![v1::OwnerReference { name: "n".repeat(253), ..Default::default() }; 400];
        for bytes_max in [60_000, 10_000, 400] {
            let (mut one, mut other) = (facts.clone(), facts.clone());
            fit(&mut one, bytes_max);
            fit(&mut other, bytes_max);
            assert!(one.encoded_len() <= bytes_max, "{bytes_max}: {:?}", one.truncated);
            assert_eq!(one, other);
        }
    }

    #[test]
    fn cuts_have_names_of_their_own() {
        let names: std::collections::BTreeSet<_> = CUTS.iter().map(|cut| cut.name).collect();
        assert_eq!(names.len(), CUTS.len());
    }
}
