//! The handle of a running simulation.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use vitals_runtime::tasks::Tasks;

use crate::clock::Clock;
use crate::faults::Faults;
use crate::patch::PatchKind;
use crate::refusal::Refusal;
use crate::resource::{PODS, Resource};
use crate::serve::{Shared, server};
use crate::store::Key;
use crate::value::is_true;
use crate::world::write::{Deletion, Part};
use crate::world::{Options, World, signed};

/// Why a simulation does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be listened on. Final.
    #[error("cannot listen on {address} for the simulated API server")]
    Listen {
        /// As asked for.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// Serving ended. Final.
    #[error("cannot serve the simulated API server")]
    Serve(#[source] std::io::Error),
}

/// A simulated cluster that is served. Clones are the same.
#[derive(Clone, Debug)]
pub struct Simulator {
    shared: Arc<Shared>,
    address: SocketAddr,
}

/// Which object.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a> {
    /// `v1`, `apps/v1`.
    pub api_version: &'a str,
    /// `Pod`, `Deployment`.
    pub kind: &'a str,
    /// Empty for what has none.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
}

impl Simulator {
    /// Serves a new cluster on a free port of this machine, as tasks of the caller's.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn start(options: Options, clock: Clock, tasks: &Tasks) -> Result<Self, Error> {
        Self::start_on(([127, 0, 0, 1], 0).into(), options, clock, tasks).await
    }

    /// Serves a new cluster on an address.
    ///
    /// # Errors
    /// When it cannot be listened on.
    pub async fn start_on(
        address: SocketAddr,
        options: Options,
        clock: Clock,
        tasks: &Tasks,
    ) -> Result<Self, Error> {
        let failed = |source| Error::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let world = World::new(options, clock.now());
        let shared = Arc::new(Shared::new(world, clock, tasks.stopping()));
        let serving = server::serve(listener, Arc::clone(&shared));
        tasks.spawn(format!("simulated API server {address}"), async {
            serving.await.map_err(Error::Serve)
        });
        let controlling = control(Arc::clone(&shared), tasks.stopping());
        tasks.spawn(format!("simulated controllers {address}"), controlling);
        Ok(Self { shared, address })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL: plain HTTP.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A kubeconfig with one context of this name. JSON, which is YAML.
    #[must_use]
    pub fn kubeconfig(&self, context: &str) -> String {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": context,
            "clusters": [{ "name": context, "cluster": { "server": self.url() } }],
            "users": [{ "name": context, "user": {} }],
            "contexts": [{ "name": context, "context": { "cluster": context, "user": context } }],
        });
        format!("{config:#}")
    }

    /// What can go wrong by command.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// Its clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// Cuts all watches and logs that are open.
    pub fn cut_connections(&self) {
        self.shared.cut();
    }

    /// Forgets all history: whoever resumes is told that his version is too old.
    pub fn compact(&self) {
        self.shared.write(|world, _| world.compact());
    }

    /// Creates or changes an object, as a server-side apply does.
    ///
    /// # Errors
    /// When the API server would refuse.
    pub fn apply(&self, object: &Value) -> Result<(), Refusal> {
        let named = Named {
            api_version: crate::value::text(object, "/apiVersion"),
            kind: crate::value::text(object, "/kind"),
            namespace: crate::value::text(object, "/metadata/namespace"),
            name: crate::value::text(object, "/metadata/name"),
        };
        let (resource, key) = self.place(named)?;
        let patch = (PatchKind::Apply, object);
        let applied =
            self.shared.write(|world, now| world.patch(&resource, &key, patch, Part::Main, now));
        applied.map(drop)
    }

    /// Changes an object by a JSON merge patch.
    ///
    /// # Errors
    /// When the API server would refuse.
    pub fn merge(&self, named: Named<'_>, patch: &Value) -> Result<(), Refusal> {
        let (resource, key) = self.place(named)?;
        let patch = (PatchKind::Merge, patch);
        let merged =
            self.shared.write(|world, now| world.patch(&resource, &key, patch, Part::Main, now));
        merged.map(drop)
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// When the API server would refuse, or it is not there.
    pub fn delete(&self, named: Named<'_>) -> Result<(), Refusal> {
        let (resource, key) = self.place(named)?;
        let deletion = Deletion::default();
        let deleted = self.shared.write(|world, now| world.delete(&resource, &key, &deletion, now));
        deleted.map(drop)
    }

    /// An object as it is now.
    #[must_use]
    pub fn get(&self, named: Named<'_>) -> Option<Value> {
        let (resource, key) = self.place(named).ok()?;
        self.shared
            .read(|world, _| world.store.entry(resource.id, &key).map(|it| it.whole(&resource)))
    }

    /// How many objects of a kind there are.
    #[must_use]
    pub fn count(&self, api_version: &str, kind: &str) -> usize {
        self.shared.read(|world, _| {
            let resource = world.registry.find_kind(api_version, kind);
            resource.map_or(0, |it| world.store.count(it.id))
        })
    }

    /// How many pods are ready. Each is looked at: for thousands, ask seldom.
    #[must_use]
    pub fn ready_pods(&self) -> usize {
        // Looked at outside of the lock.
        let pods: Vec<_> =
            self.shared.read(|world, _| world.store.scan(PODS, None).cloned().collect());
        pods.iter().filter(|entry| is_true(&entry.value(), "Ready")).count()
    }

    fn place(&self, named: Named<'_>) -> Result<(Arc<Resource>, Key), Refusal> {
        let Named { api_version, kind, namespace, name } = named;
        let resource =
            self.shared.read(|world, _| world.registry.find_kind(api_version, kind).cloned());
        let resource = resource.ok_or_else(Refusal::no_such_path)?;
        let namespace = match (resource.namespaced, namespace) {
            (false, _) => "",
            (true, "") => "default",
            (true, namespace) => namespace,
        };
        Ok((resource, Key::new(namespace, name)))
    }

    /// Moves a manual clock on: all that comes due meanwhile happens, at its time and in order. A machine's clock stays as it is.
    pub fn advance(&self, by: Duration) {
        if !self.shared.clock.is_manual() {
            return;
        }
        let start = self.shared.clock.now();
        let end = start.checked_add(signed(by)).unwrap_or(Timestamp::MAX);
        let mut now = start;
        loop {
            let next = self.shared.act(|world| world.step(now));
            match next {
                Some(at) if at <= now => {}
                Some(at) if at <= end => {
                    now = at;
                    self.shared.clock.set(now);
                }
                Some(_) | None => break,
            }
        }
        self.shared.clock.set(end);
    }
}

/// Lets controllers act when something was written, and when something comes due.
async fn control(shared: Arc<Shared>, stopping: CancellationToken) -> Result<(), Error> {
    loop {
        let now = shared.clock.now();
        let next = shared.act(|world| world.step(now));
        let rest = match next {
            Some(at) if at <= now => {
                tokio::task::yield_now().await;
                continue;
            }
            Some(at) if !shared.clock.is_manual() => {
                Duration::try_from(at.duration_since(now)).unwrap_or_default()
            }
            Some(_) | None => Duration::MAX,
        };
        tokio::select! {
            () = stopping.cancelled() => return Ok(()),
            () = shared.wake.notified() => {}
            () = tokio::time::sleep(rest) => {}
        }
    }
}
