//! `EntityService`, but for `WatchEntities`, which `raw_watch` answers.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{BoxStream, StreamExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Request, Response, Status};
use vitals_hub_core::Time;
use vitals_proto::identity::{EntityRef, ObjectKey};
use vitals_proto::v1::{self, entity_service_server::EntityService};
use vitals_runtime::http::Readiness;

use super::error::Error;
use super::{PAGE_BYTES_MAX, page_size, unimplemented_stream};
use crate::history::{Asked, History, Page};
use crate::query::{Query, TreeRoot};
use crate::view::Most;
use crate::view::filter::Filter;
use crate::watch::Shared;

/// Between two looks whether a watched tree has changed.
const TREE_INTERVAL: Duration = Duration::from_secs(1);

/// Transitions on a page where the client does not say how many.
const TRANSITIONS_UNASKED: u32 = 100;

/// Serves entities.
#[derive(Clone, Debug)]
pub(super) struct Entities {
    pub(super) shared: Arc<Shared>,
    pub(super) trees: Arc<Semaphore>,
    pub(super) history: Arc<dyn History>,
}

impl Entities {
    fn entity(&self, entity: &EntityRef) -> Result<v1::Entity, Error> {
        check_ready(&self.shared)?;
        self.shared.view.entity(entity).ok_or_else(|| not_found(entity))
    }

    async fn tree(&self, root: TreeRoot) -> Result<v1::GetEntityTreeResponse, Error> {
        check_ready(&self.shared)?;
        let ask = |answer| Query::Tree { root: root.clone(), answer };
        let tree = self.shared.desk.ask(ask).await?;
        tree.ok_or_else(|| match &root {
            TreeRoot::Entity(entity) => not_found(entity),
            TreeRoot::Object(object) => not_held(object),
        })
    }
}

/// Before all is read once, a part would be given as the whole.
pub(super) fn check_ready(shared: &Shared) -> Result<(), Error> {
    match &*shared.readiness.borrow() {
        Readiness::Ready => Ok(()),
        Readiness::NotReady(reason) => Err(Error::NotReady(reason.clone())),
    }
}

fn not_found(entity: &EntityRef) -> Error {
    Error::NotFound(format!(
        "there is no entity {entity}: it is neither registered nor seen in any cluster"
    ))
}

pub(super) fn not_held(object: &ObjectKey) -> Error {
    Error::NotFound(format!(
        "the hub does not hold {object}: see whether its cluster and kind are watched (ListClusters)"
    ))
}

pub(super) fn object_key(object: Option<v1::ObjectRef>) -> Result<ObjectKey, Error> {
    let object = object.ok_or_else(|| Error::Invalid("name the object".to_owned()))?;
    Ok(ObjectKey::try_from(&object)?)
}

#[tonic::async_trait]
impl EntityService for Entities {
    async fn get_entity(
        &self,
        request: Request<v1::GetEntityRequest>,
    ) -> Result<Response<v1::GetEntityResponse>, Status> {
        let entity = request.get_ref().r#ref.parse().map_err(Error::from)?;
        let entity = Some(self.entity(&entity)?);
        Ok(Response::new(v1::GetEntityResponse { entity }))
    }

    async fn list_entities(
        &self,
        request: Request<v1::ListEntitiesRequest>,
    ) -> Result<Response<v1::ListEntitiesResponse>, Status> {
        let v1::ListEntitiesRequest { filter, page_size: count, page_token } = request.into_inner();
        let filter = Filter::parse(filter.unwrap_or_default()).map_err(Error::from)?;
        check_ready(&self.shared)?;
        let after = match page_token.as_str() {
            "" => None,
            token => Some(token.parse::<EntityRef>().map_err(|_| {
                Error::Invalid("page_token is not one that this method gave".to_owned())
            })?),
        };
        let most = Most { count: page_size(count), bytes: PAGE_BYTES_MAX };
        let (entities, next) = self.shared.view.page(&filter, after.as_ref(), most);
        let next_page_token = next.map(|next| next.to_string()).unwrap_or_default();
        Ok(Response::new(v1::ListEntitiesResponse { entities, next_page_token }))
    }

    type WatchEntitiesStream = BoxStream<'static, Result<v1::WatchEntitiesResponse, Status>>;

    async fn watch_entities(
        &self,
        _: Request<v1::WatchEntitiesRequest>,
    ) -> Result<Response<Self::WatchEntitiesStream>, Status> {
        Err(Status::internal("WatchEntities is answered before it comes here"))
    }

    async fn get_entity_tree(
        &self,
        request: Request<v1::GetEntityTreeRequest>,
    ) -> Result<Response<v1::GetEntityTreeResponse>, Status> {
        use v1::get_entity_tree_request::Root;
        let root = match request.into_inner().root {
            Some(Root::Ref(entity)) => TreeRoot::Entity(entity.parse().map_err(Error::from)?),
            Some(Root::Object(object)) => TreeRoot::Object(object_key(Some(object))?),
            None => return Err(Error::Invalid("name an entity or an object".to_owned()).into()),
        };
        Ok(Response::new(self.tree(root).await?))
    }

    type WatchEntityTreeStream = BoxStream<'static, Result<v1::WatchEntityTreeResponse, Status>>;

    async fn watch_entity_tree(
        &self,
        request: Request<v1::WatchEntityTreeRequest>,
    ) -> Result<Response<Self::WatchEntityTreeStream>, Status> {
        let entity = request.get_ref().r#ref.parse().map_err(Error::from)?;
        let root = TreeRoot::Entity(entity);
        let permit = Arc::clone(&self.trees).try_acquire_owned().map_err(|_| Error::Trees)?;
        let first = self.tree(root.clone()).await?;
        let watch =
            TreeWatch { entities: self.clone(), root, last: first.clone(), _permit: permit };
        let first = futures::stream::iter([Ok(v1::WatchEntityTreeResponse { tree: Some(first) })]);
        let changes = futures::stream::unfold(Some(watch), async |watch| {
            let mut watch = watch?;
            match watch.next().await {
                Ok(tree) => {
                    Some((Ok(v1::WatchEntityTreeResponse { tree: Some(tree) }), Some(watch)))
                }
                Err(status) => Some((Err(status), None)),
            }
        });
        Ok(Response::new(first.chain(changes).boxed()))
    }

    type WatchRolloutStream = BoxStream<'static, Result<v1::WatchRolloutResponse, Status>>;

    async fn watch_rollout(
        &self,
        _: Request<v1::WatchRolloutRequest>,
    ) -> Result<Response<Self::WatchRolloutStream>, Status> {
        unimplemented_stream("WatchRollout")
    }

    async fn list_transitions(
        &self,
        request: Request<v1::ListTransitionsRequest>,
    ) -> Result<Response<v1::ListTransitionsResponse>, Status> {
        let asked = transitions_asked(request.into_inner())?;
        check_ready(&self.shared)?;
        let Page { transitions, next, ever } =
            self.history.transitions(&asked).await.map_err(Error::from)?;
        if !ever && self.shared.view.entity(&asked.entity).is_none() {
            return Err(not_found(&asked.entity).into());
        }
        let next_page_token = next.map(|next| next.to_string()).unwrap_or_default();
        Ok(Response::new(v1::ListTransitionsResponse { transitions, next_page_token }))
    }

    async fn list_changes(
        &self,
        _: Request<v1::ListChangesRequest>,
    ) -> Result<Response<v1::ListChangesResponse>, Status> {
        Err(Error::Unimplemented("ListChanges").into())
    }

    async fn get_availability(
        &self,
        _: Request<v1::GetAvailabilityRequest>,
    ) -> Result<Response<v1::GetAvailabilityResponse>, Status> {
        Err(Error::Unimplemented("GetAvailability").into())
    }

    async fn explain_object(
        &self,
        request: Request<v1::ExplainObjectRequest>,
    ) -> Result<Response<v1::ExplainObjectResponse>, Status> {
        let object = object_key(request.into_inner().object)?;
        check_ready(&self.shared)?;
        let ask = |answer| Query::Explain { object: object.clone(), answer };
        let explained = self.shared.desk.ask(ask).await.map_err(Error::from)?;
        Ok(Response::new(explained.ok_or_else(|| not_held(&object))?))
    }
}

fn transitions_asked(request: v1::ListTransitionsRequest) -> Result<Asked, Error> {
    let v1::ListTransitionsRequest { r#ref, page_size: count, page_token, since, until } = request;
    let before = match page_token.as_str() {
        "" => None,
        token => Some(token.parse::<u64>().map_err(|_| {
            Error::Invalid("page_token is not one that this method gave".to_owned())
        })?),
    };
    let (since, until) = (since.as_ref().map(Time::from_wire), until.as_ref().map(Time::from_wire));
    if let (Some(since), Some(until)) = (since, until)
        && since >= until
    {
        return Err(Error::Invalid("since is not before until".to_owned()));
    }
    let count = page_size(if count == 0 { TRANSITIONS_UNASKED } else { count });
    Ok(Asked { entity: r#ref.parse()?, since, until, before, count })
}

/// One watched tree: looked at again and again, said when it differs.
struct TreeWatch {
    entities: Entities,
    root: TreeRoot,
    last: v1::GetEntityTreeResponse,
    _permit: OwnedSemaphorePermit,
}

impl TreeWatch {
    async fn next(&mut self) -> Result<v1::GetEntityTreeResponse, Status> {
        let mut pulse = self.entities.shared.view.pulse();
        loop {
            tokio::select! {
                () = tokio::time::sleep(TREE_INTERVAL) => {}
                _ = pulse.wait_for(|pulse| pulse.stopping) => {
                    return Err(Status::unavailable("the hub is stopping: watch again"));
                }
            }
            let tree = self.entities.tree(self.root.clone()).await?;
            if !is_same(&tree, &self.last) {
                self.last = tree.clone();
                return Ok(tree);
            }
        }
    }
}

/// Whether a person could tell them apart: where it was read does not count.
fn is_same(tree: &v1::GetEntityTreeResponse, last: &v1::GetEntityTreeResponse) -> bool {
    let digest = |tree: &v1::GetEntityTreeResponse| tree.entity.as_ref().map(|it| it.digest);
    tree.roots == last.roots && digest(tree) == digest(last)
}
