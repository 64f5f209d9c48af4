//! One resource: list, watch from there, list again when the server says that is too long ago, for ever.
//!
//! A watch that dies silently is noticed: the server is asked to end each after `Pace::watch`, and what has not ended
//! a little later is given up. While the server is away what is known stays; it is asked again with growing, jittered
//! pauses. Knows HTTP paths and pauses; nothing of what the objects say.

use std::io::{BufRead, BufReader, Read};
use std::sync::Arc;
use std::time::Duration;

use crate::config::Level;
use crate::core::rng::Rng;
use crate::kube::client::{ApiError, Client};
use crate::kube::types::{watch_event, ApiGroup, List, Resource, WatchEvent};
use crate::kube::Handle;
use crate::log;

/// A list may take this long, and be this large (bytes): 10,000 endpoints are about 5 MiB.
const LIST: (Duration, u64) = (Duration::from_secs(30), 64 << 20);
/// The longest line of a watch, bytes: a slice of 1,000 endpoints is about 500 KiB.
const LINE: u64 = 8 << 20;

/// How long things last.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// A watch, as asked of the server. 45 s, and 10 s of patience on top: a dead one is noticed within a minute.
    pub watch: Duration,
    /// How much longer it is waited for.
    pub patience: Duration,
    /// First and longest pause after an error.
    pub pause: (Duration, Duration),
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            watch: Duration::from_secs(45),
            patience: Duration::from_secs(10),
            pause: (Duration::from_millis(100), Duration::from_secs(10)),
        }
    }
}

/// One resource's watch.
pub(crate) struct Watch {
    pub(crate) which: usize,
    pub(crate) client: Arc<Client>,
    pub(crate) handle: Handle,
    /// None: all of them.
    pub(crate) namespace: Option<Arc<str>>,
    pub(crate) pace: Pace,
}

/// Lists and watches until the process ends.
pub(crate) fn run<T: Resource>(watch: Watch) {
    let mut rng = Rng::new(u64::from(std::process::id()) << 8 | watch.which as u64);
    let mut failures = 0u32;
    let mut version: Option<String> = None;
    let mut base: Option<String> = None;
    loop {
        let turn = watch.turn::<T>(&mut base, &mut version, &mut rng);
        match turn {
            Ok(()) => failures = 0,
            Err(ApiError::Gone) => {
                // Too old: the next list is taken as a difference.
                version = None;
                failures = 0;
            }
            Err(error) => {
                if matches!(error, ApiError::NotFound(_)) {
                    // The server may have been upgraded to another version of the API.
                    base = None;
                }
                let text = format!("{}: {error}", T::PLURAL);
                if watch.handle.failed(watch.which, text.clone()) {
                    log::line(Level::Warn, &format!("discovery: {text}; trying again"));
                }
                let (first, longest) = watch.pace.pause;
                let pause = first.saturating_mul(1 << failures.min(16)).min(longest);
                failures = failures.saturating_add(1);
                // Half of it by chance, so that a thousand proxies do not return at once.
                std::thread::sleep(pause.mul_f64(0.5 + rng.unit() / 2.0));
            }
        }
    }
}

impl Watch {
    /// One list if there is no version to go on from, and one watch.
    fn turn<T: Resource>(
        &self,
        base: &mut Option<String>,
        version: &mut Option<String>,
        rng: &mut Rng,
    ) -> Result<(), ApiError> {
        let path = match base {
            Some(path) => path.clone(),
            None => base.insert(self.path::<T>()?).clone(),
        };
        let from = match version {
            Some(v) => v.clone(),
            None => {
                let list: List<T> = self.client.get_json(&path, LIST.0, LIST.1)?;
                let (all, v) = list.read().ok_or_else(|| ApiError::Garbled(format!("{path}: not a list")))?;
                self.handle.report(self.which, Some(T::listed(self.namespace.clone(), all)), true);
                version.insert(v).clone()
            }
        };
        // Jittered, so that watches of many proxies do not end together.
        let lasts = self.pace.watch.mul_f64(0.8 + rng.unit() / 5.0);
        let seconds = lasts.as_secs().max(1);
        let query = format!("watch=1&allowWatchBookmarks=true&timeoutSeconds={seconds}&resourceVersion={from}");
        let body = self.client.get(&format!("{path}?{query}"), lasts + self.pace.patience)?;
        // The server is there and lets us watch, even if there is no news.
        self.handle.report(self.which, None, false);
        self.follow::<T>(body, version)
    }

    /// Reads a watch to its end. An orderly end is no error.
    fn follow<T: Resource>(&self, body: impl Read, version: &mut Option<String>) -> Result<(), ApiError> {
        let mut lines = BufReader::with_capacity(8 << 10, body);
        let mut line = Vec::new();
        loop {
            line.clear();
            let n = (&mut lines).take(LINE).read_until(b'\n', &mut line).map_err(|e| self.client.broken(&e))?;
            if n == 0 {
                return Ok(());
            }
            if line.last() != Some(&b'\n') && n as u64 == LINE {
                return Err(ApiError::Garbled(format!("{}: an event larger than {LINE} bytes", T::PLURAL)));
            }
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let event = watch_event::<T>(&line)
                .map_err(|e| ApiError::Garbled(format!("{}: an event that is no JSON: {e}", T::PLURAL)))?;
            match event {
                WatchEvent::News(event, at) => {
                    if let Some(at) = at {
                        *version = Some(at);
                    }
                    self.handle.report(self.which, event, false);
                }
                WatchEvent::Error(status) => return Err(ApiError::from_status(status.code, &status.message)),
            }
            if line.capacity() > 64 << 10 {
                line = Vec::new();
            }
        }
    }

    /// The resource's path; for EndpointSlices in the version that the server has.
    fn path<T: Resource>(&self) -> Result<String, ApiError> {
        let base = match T::GROUP {
            "" => "/api/v1".to_string(),
            group => {
                let known: ApiGroup = self.client.get_json(&format!("/apis/{group}"), LIST.0, LIST.1)?;
                let version = ["v1", "v1beta1"].into_iter().find(|v| known.has(v));
                let version = version.ok_or_else(|| ApiError::NotFound(format!("the server has no {group}/v1")))?;
                format!("/apis/{group}/{version}")
            }
        };
        Ok(match &self.namespace {
            Some(namespace) => format!("{base}/namespaces/{namespace}/{}", T::PLURAL),
            None => format!("{base}/{}", T::PLURAL),
        })
    }
}
