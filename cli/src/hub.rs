//! The hub, as a client sees it: one connection, TLS and token where wanted, and the calls that commands share.
//!
//! The connection is made at the first call, and again whenever it broke. What fails says what to do ([`Error::of`]).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Status};
use vitals_proto::v1::catalog_service_client::CatalogServiceClient;
use vitals_proto::v1::cluster_service_client::ClusterServiceClient;
use vitals_proto::v1::entity_service_client::EntityServiceClient;
use vitals_proto::v1::object_service_client::ObjectServiceClient;
use vitals_proto::v1::{
    Cluster, Entity, EntityDefinition, EntityFilter, HeldObjectState, ListClustersRequest,
    ListDefinitionsRequest, ListEntitiesRequest, ListObjectsRequest, ObjectFilter,
};

use crate::Error;
use crate::args::HubArgs;

/// A connection is made within this, or not at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// An answer begins within this. A hub may hold a resumed watch for 30 s until it can serve it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(45);

/// A dead connection is noticed after the sum of both.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Largest answer that is taken. Bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Objects on a page: at most 64 KB each, so that a page stays far below [`ANSWER_BYTES_MAX`].
const OBJECTS_PER_PAGE: u32 = 500;

/// How calls travel: with the token, where there is one.
pub type Transport = InterceptedService<Channel, Bearer>;

/// A hub. Cheap to clone; clones share the connection.
#[derive(Clone, Debug)]
pub struct Hub {
    address: Arc<str>,
    transport: Transport,
}

/// Adds the token to each call.
#[derive(Clone)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Hub {
    /// Reads the settings; connects at the first call.
    ///
    /// # Errors
    /// When the address, the certificate authorities or the token cannot be used.
    pub fn new(args: &HubArgs) -> Result<Self, Error> {
        let HubArgs { hub, token_file: _, token: _, tls_ca, insecure_token: _ } = args;
        let address = if hub.contains("://") { hub.clone() } else { format!("http://{hub}") };
        let mut endpoint = Endpoint::from_shared(address.clone())
            .map_err(|source| setting(format!("the hub's address {hub:?}"), source))?
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true);
        let encrypted = endpoint.uri().scheme_str() == Some("https");
        let bearer = token(args)?;
        if bearer.is_some() && !encrypted && !args.insecure_token && !is_local(&endpoint) {
            return Err(Error::Usage(format!(
                "refusing to send the token to {address}, where nothing encrypts it: use https://, or say --insecure-token"
            )));
        }
        if encrypted {
            endpoint = encrypt(endpoint, tls_ca.as_deref())?;
        }
        let transport = InterceptedService::new(endpoint.connect_lazy(), Bearer(bearer));
        Ok(Self { address: address.into(), transport })
    }

    /// Its address, for people.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Health of entities.
    #[must_use]
    pub fn entities(&self) -> EntityServiceClient<Transport> {
        EntityServiceClient::new(self.transport.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// Objects as the hub holds them.
    #[must_use]
    pub fn objects(&self) -> ObjectServiceClient<Transport> {
        ObjectServiceClient::new(self.transport.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// Clusters, and how well each is seen.
    #[must_use]
    pub fn clusters(&self) -> ClusterServiceClient<Transport> {
        ClusterServiceClient::new(self.transport.clone())
            .max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// Definitions of entities.
    #[must_use]
    pub fn catalog(&self) -> CatalogServiceClient<Transport> {
        CatalogServiceClient::new(self.transport.clone())
            .max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// What a call failed with.
    #[must_use]
    pub fn error(&self, status: Status) -> Error {
        Error::of(&self.address, status)
    }

    /// All entities that pass the filter, over all pages, ordered by reference.
    ///
    /// # Errors
    /// As the hub answers.
    pub async fn list_entities(&self, filter: EntityFilter) -> Result<Vec<Entity>, Error> {
        let (mut client, mut all, mut page_token) = (self.entities(), Vec::new(), String::new());
        loop {
            let filter = Some(filter.clone());
            let request = ListEntitiesRequest { filter, page_size: 0, page_token };
            let page = client.list_entities(request).await.map_err(|status| self.error(status))?;
            let page = page.into_inner();
            all.extend(page.entities);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(all);
            }
        }
    }

    /// All objects that pass the filter, over all pages, ordered by cluster, kind, namespace and name.
    ///
    /// # Errors
    /// As the hub answers.
    pub async fn list_objects(&self, filter: ObjectFilter) -> Result<Vec<HeldObjectState>, Error> {
        let (mut client, mut all, mut page_token) = (self.objects(), Vec::new(), String::new());
        loop {
            let filter = Some(filter.clone());
            let request = ListObjectsRequest { filter, page_size: OBJECTS_PER_PAGE, page_token };
            let page = client.list_objects(request).await.map_err(|status| self.error(status))?;
            let page = page.into_inner();
            all.extend(page.objects);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(all);
            }
        }
    }

    /// All definitions of entities, over all pages, ordered by reference.
    ///
    /// # Errors
    /// As the hub answers.
    pub async fn list_definitions(&self) -> Result<Vec<EntityDefinition>, Error> {
        let (mut client, mut all, mut page_token) = (self.catalog(), Vec::new(), String::new());
        loop {
            let request = ListDefinitionsRequest { page_size: 0, page_token };
            let page =
                client.list_definitions(request).await.map_err(|status| self.error(status))?;
            let page = page.into_inner();
            all.extend(page.definitions);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(all);
            }
        }
    }

    /// All clusters, ordered by slug.
    ///
    /// # Errors
    /// As the hub answers.
    pub async fn list_clusters(&self) -> Result<Vec<Cluster>, Error> {
        let answer = self.clusters().list_clusters(ListClustersRequest {}).await;
        Ok(answer.map_err(|status| self.error(status))?.into_inner().clusters)
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

impl std::fmt::Debug for Bearer {
    /// Never the token.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(if self.0.is_some() { "Bearer(…)" } else { "Bearer(none)" })
    }
}

/// With the authorities of the file, or else the system's.
fn encrypt(endpoint: Endpoint, tls_ca: Option<&Path>) -> Result<Endpoint, Error> {
    let tls = ClientTlsConfig::new();
    let (tls, what) = match tls_ca {
        Some(file) => {
            let what = format!("--tls-ca {}", file.display());
            let pem = std::fs::read(file).map_err(|source| setting(what.clone(), source))?;
            (tls.ca_certificate(Certificate::from_pem(pem)), what)
        }
        None => {
            let what = "the system's certificate authorities: give the hub's by --tls-ca FILE";
            (tls.with_native_roots(), what.to_owned())
        }
    };
    endpoint.tls_config(tls).map_err(|source| setting(what, source))
}

/// `Bearer <token>`, of the file or else of the environment.
fn token(args: &HubArgs) -> Result<Option<MetadataValue<Ascii>>, Error> {
    let text = match (&args.token_file, &args.token) {
        (Some(file), _) => std::fs::read_to_string(file)
            .map_err(|source| setting(format!("--token-file {}", file.display()), source))?,
        (None, Some(token)) => token.clone(),
        (None, None) => return Ok(None),
    };
    let mut value = MetadataValue::try_from(format!("Bearer {}", text.trim()))
        .map_err(|source| setting("the token".to_owned(), source))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

fn is_local(endpoint: &Endpoint) -> bool {
    let host = endpoint.uri().host().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn setting<E>(what: String, source: E) -> Error
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    Error::Setting { what, source: source.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_token_is_not_sent_in_the_clear_to_another_machine() {
        for (hub, insecure_token, taken) in [
            ("http://127.0.0.1:7700", false, true),
            ("localhost:7700", false, true),
            ("http://[::1]:7700", false, true),
            ("http://hub.example:7700", false, false),
            ("http://hub.example:7700", true, true),
            ("https://hub.example:7700", false, true),
        ] {
            let hub_args = HubArgs {
                hub: hub.to_owned(),
                token: Some("secret".to_owned()),
                insecure_token,
                ..HubArgs::default()
            };
            assert_eq!(Hub::new(&hub_args).is_ok(), taken, "{hub}");
        }
    }

    #[tokio::test]
    async fn the_token_shows_nowhere() {
        let hub_args = HubArgs {
            hub: "localhost:1".into(),
            token: Some("secret".into()),
            ..HubArgs::default()
        };
        let shown = format!("{:?}", Hub::new(&hub_args).unwrap());
        assert!(!shown.contains("secret"), "{shown}");
    }
}
