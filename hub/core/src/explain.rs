//! Why an object belongs where it does, or nowhere.

use vitals_proto::{
    identity::ObjectKey,
    kind::Kind,
    v1,
};

use crate::{
    entity::membership::Explanation,
    graph::object::Object,
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
        let claims = claims.into_iter().map(|Explanation { entity, rule, message, via }| v1::Claim {
            r#ref: entity.to_string(),
            rule: rule.code().to_owned(),
            message,
            via: via.into_iter().filter_map(|id| self.graph.key(id)).map(ObjectKey::to_ref).collect(),
        });
        Some(v1::ExplainObjectResponse {
            health: Some(object.assessment.to_health()),
            claims: claims.collect(),
            unclaimed,
            held: store.get(key).map(|held| held_facts(&held)),
        })
    }

    fn unclaimed(&self, object: &Object) -> String {
        let marks = "it carries no label or annotation that names an entity";
        let id = self.graph.find(&object.key);
        if object.assessment.reason == crate::assess::Reason::NotUnderstood {
            return "the content of its message is not understood, so its labels are not known".to_owned();
        }
        if let Some(controller) = id.and_then(|id| self.graph.controller(id)) {
            let name = self.graph.key(controller).map(ToString::to_string).unwrap_or_default();
            return format!("{marks}, and its controller {name} belongs to none either");
        }
        if let Some(owner) = object.controller() {
            let kind = owner.kind.as_ref().map_or("object", Kind::title);
            return format!("{marks}, and the {kind} that controls it is not held");
        }
        match object.key.kind() {
            Kind::Service => format!("{marks}, and selects nothing that belongs to one"),
            Kind::Pod => format!("{marks}, and a pod without a controller gets no entity of its own"),
            Kind::Deployment | Kind::StatefulSet | Kind::DaemonSet | Kind::ReplicaSet => {
                format!("{marks}, and its name cannot be part of a reference")
            }
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
        message_bytes: u64::try_from(held.message_bytes()).unwrap_or(u64::MAX),
        truncated,
    }
}
