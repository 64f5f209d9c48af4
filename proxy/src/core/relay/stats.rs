//! Counters of what was relayed, and where they are written: once, where a call ends.
//!
//! Plain numbers of one worker; whoever reads them takes a copy. Memory is bounded: routes are limited, endpoints
//! are forgotten a while after they have gone.

use std::collections::HashMap;
use std::sync::Arc;

use super::call::Code;
use crate::core::h2::headers::Headers;
use crate::core::h2::limits::Nanos;

/// Upper bounds of the latency histogram, seconds: from below what a local call takes to a minute.
pub const BOUNDS: [f64; 18] = [
    0.000_25, 0.000_5, 0.001, 0.002, 0.003, 0.005, 0.007_5, 0.01, 0.02, 0.035, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 10.0,
    60.0,
];
/// Routes told apart; the rest count as one. gRPC services rarely have more methods, and a scanner has no end.
pub const MAX_ROUTES: usize = 100;
/// The longest route that is told apart, bytes.
const MAX_ROUTE_LEN: usize = 200;

/// Calls of one route to one endpoint.
#[derive(Clone, Debug)]
pub struct RouteStats {
    /// By gRPC status.
    pub grpc: [u64; 17],
    /// By HTTP status where the response was not gRPC.
    pub http: Vec<(u16, u64)>,
    /// Calls per bucket of [`BOUNDS`], the last for longer ones.
    pub buckets: [u64; BOUNDS.len() + 1],
    /// Sum of the calls' durations, seconds.
    pub seconds: f64,
}

impl Default for RouteStats {
    fn default() -> Self {
        Self { grpc: [0; 17], http: Vec::new(), buckets: [0; BOUNDS.len() + 1], seconds: 0.0 }
    }
}

impl RouteStats {
    /// Counts a call that took `duration` (ns).
    pub fn record(&mut self, code: Code, duration: Nanos) {
        match code {
            Code::Grpc(n) => self.grpc[usize::from(n.min(16))] += 1,
            Code::Http(status) => match self.http.iter_mut().find(|(s, _)| *s == status) {
                Some((_, n)) => *n += 1,
                // A status has three digits: 900 entries at most.
                None => self.http.push((status, 1)),
            },
        }
        let seconds = duration as f64 / 1e9;
        let bucket = BOUNDS.iter().position(|b| seconds <= *b).unwrap_or(BOUNDS.len());
        self.buckets[bucket] += 1;
        self.seconds += seconds;
    }
}

/// Calls to one endpoint, by route number.
#[derive(Clone, Debug, Default)]
pub struct EndpointStats {
    /// Indexed by route; None where the route was not called.
    pub routes: Vec<Option<Box<RouteStats>>>,
}

impl EndpointStats {
    /// Counts a call.
    pub fn record(&mut self, route: u32, code: Code, duration: Nanos) {
        let i = route as usize;
        if self.routes.len() <= i {
            self.routes.resize_with(i + 1, || None);
        }
        self.routes[i].get_or_insert_with(Box::default).record(code, duration);
    }
}

/// The routes told apart: a path without its query ↔ a small number. Number 0 is all others.
#[derive(Clone, Debug)]
pub struct Routes {
    numbers: HashMap<Box<[u8]>, u32>,
    names: Vec<Arc<str>>,
}

impl Default for Routes {
    fn default() -> Self {
        Self { numbers: HashMap::new(), names: vec!["(other)".into()] }
    }
}

impl Routes {
    /// The number of a request's route.
    pub fn of(&mut self, fields: &Headers) -> u32 {
        let known = fields.tag().get();
        if known != u32::MAX {
            return known;
        }
        let path = fields.get(b":path").unwrap_or_default();
        let number = self.number(path.split(|c| *c == b'?').next().unwrap_or_default());
        fields.tag().set(number);
        number
    }

    /// The number of a path without its query.
    pub fn number(&mut self, path: &[u8]) -> u32 {
        match self.numbers.get(path) {
            Some(n) => *n,
            None if self.names.len() < MAX_ROUTES && path.len() <= MAX_ROUTE_LEN => {
                let n = self.names.len() as u32;
                self.names.push(String::from_utf8_lossy(path).into());
                self.numbers.insert(path.into(), n);
                n
            }
            None => 0,
        }
    }

    /// The routes' names by number.
    pub fn names(&self) -> &[Arc<str>] {
        &self.names
    }
}

/// Counters of one worker that belong to no endpoint.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Connections accepted.
    pub accepted: u64,
    /// Client connections open now.
    pub downstream: u64,
    /// Upstream connections opened.
    pub connects: u64,
    /// Of those, failed.
    pub connect_failures: u64,
    /// Requests sent a second time, nothing of the first having been processed.
    pub replays: u64,
    /// Requests sent to endpoints, each try counted: what the endpoints see.
    pub tries: u64,
    /// Of those, second tries after a failure.
    pub retries: u64,
    /// Failures that were not tried again for want of budget.
    pub retries_denied: u64,
    /// Connections closed at once, there being too many.
    pub turned_away: u64,
    /// Streams refused or reset, too much being held.
    pub shed: u64,
    /// Connections closed because nobody used them.
    pub idle_closed: u64,
    /// PINGs sent to endpoints that had fallen silent.
    pub pings: u64,
    /// Connections closed because such a PING was not answered.
    pub stalled: u64,
    /// Ended calls that tap or access log could not take.
    pub records_lost: u64,
    /// Connections ended for a fault of the peer's.
    pub faults: u64,
}

impl EndpointStats {
    /// Adds another endpoint's counts to these.
    pub fn add(&mut self, other: &EndpointStats) {
        if self.routes.len() < other.routes.len() {
            self.routes.resize_with(other.routes.len(), || None);
        }
        for (mine, theirs) in self.routes.iter_mut().zip(&other.routes) {
            if let Some(theirs) = theirs {
                mine.get_or_insert_with(Box::default).add(theirs);
            }
        }
    }
}

impl RouteStats {
    fn add(&mut self, other: &RouteStats) {
        self.grpc.iter_mut().zip(other.grpc).for_each(|(a, b)| *a += b);
        self.buckets.iter_mut().zip(other.buckets).for_each(|(a, b)| *a += b);
        self.seconds += other.seconds;
        for (status, n) in &other.http {
            match self.http.iter_mut().find(|(s, _)| s == status) {
                Some((_, mine)) => *mine += n,
                None => self.http.push((*status, *n)),
            }
        }
    }
}
