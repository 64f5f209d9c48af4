//! Discovery: lists and watches Services and EndpointSlices of one namespace and tells what changes.
//!
//! - `config`, `kubeconfig`: where the API server is and how to prove who we are;
//! - `client`: GET over TLS, bounded;
//! - `types`: the API's JSON → the model of `core::catalog`;
//! - `watch`: list, watch, begin again.
//!
//! Rights needed: get, list, watch on services and endpointslices in that namespace, nothing else.
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

/// What both watches share.
pub(crate) struct Shared {
    catalog: Catalog,
    listed: [bool; 2],
    heard: Instant,
    errors: [Option<String>; 2],
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
            synced: shared.listed == [true; 2],
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
        let before = shared.listed == [true; 2];
        shared.listed[which] |= list;
        let all = shared.listed == [true; 2];
        let changes = if all && !before { shared.catalog.snapshot() } else { changes };
        if all && !changes.is_empty() {
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

/// Starts to discover the Services of `namespace` and their endpoints, on two threads. `deliver` is told what
/// changes, in order, within microseconds of the event.
///
/// # Errors
/// The configuration cannot be used (bad certificates). A server that does not answer is no error: it is asked again.
pub fn spawn(
    config: KubeConfig,
    namespace: &str,
    pace: Pace,
    deliver: impl Fn(Vec<Change>) + Send + 'static,
) -> Result<Handle, ConfigError> {
    let client = Arc::new(Client::new(config)?);
    let handle = Handle(Arc::new(Mutex::new(Shared {
        catalog: Catalog::new(Limits::default()),
        listed: [false; 2],
        heard: Instant::now(),
        errors: [None, None],
        deliver: Box::new(deliver),
    })));
    type Run = fn(watch::Watch);
    let threads: [(&str, Run); 2] = [("services", watch::run::<WireService>), ("slices", watch::run::<WireSlice>)];
    for (which, (name, run)) in threads.into_iter().enumerate() {
        let (client, handle, namespace) = (client.clone(), handle.clone(), Arc::from(namespace));
        let watch = watch::Watch { which, client, handle, namespace, pace };
        let thread = std::thread::Builder::new().name(name.into()).stack_size(STACK);
        thread.spawn(move || run(watch)).map_err(|e| ConfigError::at("threads", e))?;
    }
    Ok(handle)
}
