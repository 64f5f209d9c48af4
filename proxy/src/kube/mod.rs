//! Discovery: lists and watches Services and EndpointSlices of some namespaces, usually one, and tells what changes.
//!
//! - `config`, `kubeconfig`: where the API server is and how to prove who we are;
//! - `client`: GET over TLS, bounded;
//! - `types`: the API's JSON → the model of `core::catalog`;
//! - `watch`: list, watch, begin again.
//!
//! Rights needed: get, list, watch on services and endpointslices in those namespaces, nothing else.
//! Must not know: who is told, what endpoints are for.

pub mod client;
pub mod config;
mod kubeconfig;
pub mod types;
mod watch;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::core::catalog::{Catalog, Change, Event, Limits};
use client::Client;
use config::{ConfigError, KubeConfig};
use types::{WireService, WireSlice};
pub use watch::Pace;

/// Stack of a watching thread, bytes: TLS and JSON want little.
const STACK: usize = 256 << 10;

/// How the discovery is doing.
#[derive(Clone, Debug)]
pub struct Status {
    /// Services and slices have both been listed once.
    pub synced: bool,
    /// Time since the API server last said anything, bookmarks included; since the start if it never has.
    pub age: Duration,
    /// What went wrong last, one line, if nothing has gone right since.
    pub last_error: Option<String>,
}

type Deliver = Box<dyn Fn(Vec<Change>) + Send>;

/// What is watched.
#[derive(Clone, Debug)]
pub struct Scope {
    /// Namespaces; `*` stands for all of them, which wants rights for the whole cluster.
    pub namespaces: Vec<String>,
    /// Follow the hints of EndpointSlices for this zone.
    pub zone: Option<String>,
}

/// What the watches share; two for each namespace.
pub(crate) struct Shared {
    catalog: Catalog,
    listed: Vec<bool>,
    heard: Instant,
    errors: Vec<Option<String>>,
    deliver: Deliver,
}

/// A running discovery. It ends with the process.
#[derive(Clone)]
pub struct Handle(Arc<Mutex<Shared>>);

impl Handle {
    /// How it is doing.
    pub fn status(&self) -> Status {
        let shared = self.lock();
        Status {
            synced: shared.synced(),
            age: shared.heard.elapsed(),
            last_error: shared.errors.iter().flatten().next().cloned(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // Nothing panics while it holds the lock; if something did, the state is still whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in a report of watch `which` and tells what it changes. Nothing is told before both lists are there,
    /// so that nobody sees half a world.
    fn report(&self, which: usize, event: Option<Event>, list: bool) {
        let mut shared = self.lock();
        shared.heard = Instant::now();
        shared.errors[which] = None;
        let changes = event.map(|e| shared.catalog.apply(e)).unwrap_or_default();
        let before = shared.synced();
        shared.listed[which] |= list;
        let all = shared.synced();
        let changes = if all && !before { shared.catalog.snapshot() } else { changes };
        // The first word comes even if there is nothing to tell: then it is known that there is nothing.
        if all && (!changes.is_empty() || !before) {
            (shared.deliver)(changes);
        }
    }

    fn failed(&self, which: usize, error: String) -> bool {
        let mut shared = self.lock();
        let news = shared.errors[which].as_ref() != Some(&error);
        shared.errors[which] = Some(error);
        news
    }
}

impl Shared {
    fn synced(&self) -> bool {
        self.listed.iter().all(|listed| *listed)
    }
}

/// Starts to discover Services and their endpoints, on two threads for each namespace. `deliver` is told what
/// changes, in order, within microseconds of the event.
///
/// # Errors
/// The configuration cannot be used (bad certificates). A server that does not answer is no error: it is asked again.
pub fn spawn(
    config: KubeConfig,
    scope: &Scope,
    pace: Pace,
    deliver: impl Fn(Vec<Change>) + Send + 'static,
) -> Result<Handle, ConfigError> {
    let client = Arc::new(Client::new(config)?);
    let watches = 2 * scope.namespaces.len();
    let handle = Handle(Arc::new(Mutex::new(Shared {
        catalog: Catalog::new(Limits::default()).in_zone(scope.zone.as_deref().map(Arc::from)),
        listed: vec![false; watches],
        heard: Instant::now(),
        errors: vec![None; watches],
        deliver: Box::new(deliver),
    })));
    type Run = fn(watch::Watch);
    let threads: [(&str, Run); 2] = [("services", watch::run::<WireService>), ("slices", watch::run::<WireSlice>)];
    let both = scope.namespaces.iter().flat_map(|namespace| threads.map(|(name, run)| (namespace, name, run)));
    for (which, (namespace, name, run)) in both.enumerate() {
        let namespace = (namespace != "*").then(|| Arc::from(namespace.as_str()));
        let (client, handle) = (client.clone(), handle.clone());
        let watch = watch::Watch { which, client, handle, namespace, pace };
        let thread = std::thread::Builder::new().name(name.into()).stack_size(STACK);
        thread.spawn(move || run(watch)).map_err(|e| ConfigError::at("threads", e))?;
    }
    Ok(handle)
}
