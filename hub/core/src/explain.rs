//! Why an object belongs where it does, or nowhere.

use vitals_proto::{identity::ObjectKey, kind::Kind, v1};

use crate::{
    entity::{
        membership::Explanation,
        rule::{Bearer, Rule},
    },
    graph::{ObjectId, object::Object},
    picture::Picture,
    store::{Held, Store},
    time::Time,
};

impl Picture {
    /// What is known of an object and why it belongs to its entities; `None` where it is not held.
    #[must_use]
    pub fn explain(&self, store: &Store, key: &ObjectKey) -> Option<v1::ExplainObjectResponse> {
        let id = self.graph.find(key)?;
        let object = self.graph.get(id)?;
        let claims = self.membership.explain(&self.graph, &self.catalog, id);
        let unclaimed = if claims.is_empty() { self.unclaimed(object) } else { String::new() };
        let claims = claims.into_iter().map(|it| v1::Claim {
            r#ref: it.claim.entity.to_string(),
            rule: it.rule.code().to_owned(),
            message: self.sentence(&it),
            via: it
                .via
                .iter()
                .filter_map(|id| self.graph.key(*id))
                .map(ObjectKey::to_ref)
                .collect(),
        });
        Some(v1::ExplainObjectResponse {
            health: Some(object.assessment.to_health()),
            claims: claims.collect(),
            unclaimed,
            held: store.get(key).map(|held| held_facts(&held)),
        })
    }

    fn sentence(&self, explanation: &Explanation<'_>) -> String {
        let Explanation { rule, via, claim } = explanation;
        let why = claim.why();
        let name = |id: &ObjectId| {
            self.graph.key(*id).map(|key| format!("{} {}", key.kind().title(), key.name()))
        };
        let (Some(nearest), Some(last)) = (via.first().and_then(name), via.last().and_then(name))
        else {
            return match claim.bearer {
                Bearer::Itself => format!("it {why}"),
                Bearer::Template => format!("its pod template {why}"),
            };
        };
        let which = match claim.bearer {
            Bearer::Itself => "which",
            Bearer::Template => "whose pod template",
        };
        let joined = |verb: &str, joint: &str| {
            if nearest == last {
                format!("it {verb} {last}, {which} {why}")
            } else {
                format!("it {verb} {nearest}, {joint} {last}, {which} {why}")
            }
        };
        match rule {
            Rule::Selector => joined("selects", "under"),
            Rule::ScaleTarget => joined("scales", "under"),
            Rule::Backend => joined("routes to", "and so to"),
            Rule::Event => joined("is about", "and so about"),
            Rule::Endpoints => joined("holds endpoints of", "and so of"),
            Rule::Volume => joined("holds data of", "and so of"),
            Rule::LabelSelector
            | Rule::KubernetesId
            | Rule::VitalsEntity
            | Rule::ArgoCd
            | Rule::Flux
            | Rule::Recommended
            | Rule::Owner
            | Rule::Derived => format!("it is under {last}, {which} {why}"),
        }
    }

    fn unclaimed(&self, object: &Object) -> String {
        let marks = "it carries no label or annotation that names an entity";
        let id = self.graph.find(&object.key);
        if object.assessment.reason == crate::assess::Reason::NotUnderstood {
            return "the content of its message is not understood, so its labels are not known"
                .to_owned();
        }
        if let Some(controller) = id.and_then(|id| self.graph.controller(id)) {
            let name = self.graph.key(controller).map(ToString::to_string).unwrap_or_default();
            return format!("{marks}, and its controller {name} belongs to none either");
        }
        if let Some(owner) = object.controller() {
            let kind = owner.kind().map_or("object", Kind::title);
            return format!("{marks}, and the {kind} that controls it is not held");
        }
        match object.key.kind() {
            Kind::Service | Kind::PodDisruptionBudget => {
                format!("{marks}, and selects nothing that belongs to one")
            }
            Kind::HorizontalPodAutoscaler => {
                format!("{marks}, and scales nothing that belongs to one")
            }
            Kind::Ingress => format!("{marks}, and routes to nothing that belongs to one"),
            Kind::EndpointSlice => format!("{marks}, and is of no Service that belongs to one"),
            Kind::PersistentVolume => format!("{marks}, and no claim that belongs to one has it"),
            Kind::PersistentVolumeClaim => {
                format!("{marks}, and no pod that belongs to one mounts it")
            }
            Kind::Job => format!("{marks}, and a job without a CronJob gets no entity of its own"),
            Kind::Pod => {
                format!("{marks}, and a pod without a controller gets no entity of its own")
            }
            Kind::Deployment
            | Kind::StatefulSet
            | Kind::DaemonSet
            | Kind::CronJob
            | Kind::ReplicaSet
            | Kind::ReplicationController => {
                format!("{marks}, and its name cannot be part of a reference")
            }
            Kind::Event => format!("{marks}, and is about nothing that belongs to one"),
            Kind::ResourceQuota => format!("{marks}; it is of its namespace"),
            Kind::Node | Kind::Namespace | Kind::Other(_) => marks.to_owned(),
        }
    }
}

fn held_facts(held: &Held<'_>) -> v1::HeldFacts {
    let truncated = held.facts().map(|facts| facts.truncated).unwrap_or_default();
    v1::HeldFacts {
        resource_version: held.resource_version().to_owned(),
        observed_at: Some(Time::from_unix_ms(held.observed_at_unix_ms()).to_wire()),
        revision: Some(crate::position::Position::at(&held.at()).to_wire()),
        message_bytes: held.message_bytes().into(),
        truncated,
    }
}
