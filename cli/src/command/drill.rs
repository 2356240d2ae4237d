//! What `logs`, `events` and `get` of an object share: which objects are meant, and what it means that the hub says no.

use std::collections::BTreeSet;

use tonic::{Code, Status};
use vitals_proto::v1::get_entity_tree_request::Root;
use vitals_proto::v1::{GetEntityTreeRequest, ObjectRef, TreeNode};

use crate::hub::Hub;
use crate::reference::{NamedObject, Target};
use crate::{Error, text};

/// What a question to a cluster failed with.
pub(super) fn error(hub: &Hub, status: Status) -> Error {
    // What the hub itself says has no error of the transport below it: then it says of a cluster what is the matter, and what to do.
    let is_of_cluster = std::error::Error::source(&status).is_none()
        && matches!(
            status.code(),
            Code::Unavailable
                | Code::FailedPrecondition
                | Code::PermissionDenied
                | Code::InvalidArgument
                | Code::NotFound
                | Code::ResourceExhausted
        );
    if !is_of_cluster {
        return hub.error(status);
    }
    // What a cluster says does not reach the terminal as it is.
    Error::Unavailable(text::clean(status.message()).into_owned())
}

/// The objects of an entity, or an object and what hangs below it, as the hub holds them; each once, in the order of the tree.
pub(super) async fn objects(hub: &Hub, target: &Meant) -> Result<Vec<ObjectRef>, Error> {
    let root = match target {
        Meant::Entity(entity) => Root::Ref(entity.clone()),
        Meant::Object(object) => Root::Object(object.clone()),
    };
    let request = GetEntityTreeRequest { root: Some(root) };
    let tree = hub.entities().get_entity_tree(request).await.map_err(|status| match target {
        Meant::Entity(entity) => super::explain::entity_error(hub, status, entity),
        Meant::Object(object) => super::why::not_found(hub, status, object),
    })?;
    let roots = tree.into_inner().roots;
    let mut found = Found::default();
    match target {
        Meant::Entity(_) => roots.iter().for_each(|root| found.add(root)),
        Meant::Object(object) => roots.iter().for_each(|root| found.add_below(root, object)),
    }
    Ok(found.objects)
}

/// What is asked about, with its cluster.
#[derive(Clone, Debug)]
pub(super) enum Meant {
    /// An entity's reference.
    Entity(String),
    /// An object.
    Object(ObjectRef),
}

impl Meant {
    pub(super) async fn of(hub: &Hub, target: Target) -> Result<Self, Error> {
        Ok(match target {
            Target::Entity(entity) => Self::Entity(entity.to_string()),
            Target::Object(object) => Self::object(hub, object).await?,
        })
    }

    pub(super) async fn object(hub: &Hub, object: NamedObject) -> Result<Self, Error> {
        object.resolve(hub).await.map(Self::Object)
    }
}

impl std::fmt::Display for Meant {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Entity(entity) => formatter.write_str(entity),
            Self::Object(object) => {
                write!(formatter, "{} in cluster {}", text::object(object), object.cluster)
            }
        }
    }
}

#[derive(Default)]
struct Found {
    objects: Vec<ObjectRef>,
    known: BTreeSet<[String; 4]>,
}

impl Found {
    /// A node and all below it.
    fn add(&mut self, node: &TreeNode) {
        if let Some(object) = &node.object {
            let ObjectRef { cluster, kind, namespace, name } = object.clone();
            if self.known.insert([cluster, kind, namespace, name]) {
                self.objects.push(object.clone());
            }
        }
        node.children.iter().for_each(|child| self.add(child));
    }

    /// The same, from where `object` stands.
    fn add_below(&mut self, node: &TreeNode, object: &ObjectRef) {
        if node.object.as_ref() == Some(object) {
            self.add(node);
        } else {
            node.children.iter().for_each(|child| self.add_below(child, object));
        }
    }
}
