//! Calls that have ended, one by one, for whoever watches: the tap and the access log. Nothing is kept unless somebody
//! does. No payload and no metadata is in a record: a path without its query, a pod, a code, times.

use std::net::SocketAddr;
use std::sync::Arc;

use super::call::Code;
use super::Relay;
use crate::core::h2::limits::Nanos;

/// Records kept between two looks at them; more are counted and dropped.
pub const MAX_RECORDS: usize = 1024;

/// A call that has ended.
#[derive(Clone, PartialEq, Debug)]
pub struct Ended {
    /// When.
    pub at: Nanos,
    /// The target's name.
    pub service: Arc<str>,
    /// Its route, as in the metrics.
    pub route: Arc<str>,
    /// The endpoint asked last: its pod's name and address.
    pub endpoint: Option<(Arc<str>, SocketAddr)>,
    /// How it ended.
    pub code: Code,
    /// From the request's head to the end of the response, ns.
    pub duration: Nanos,
    /// Of that, before the last endpoint was asked: waiting, and tries before it. None if none was asked.
    pub waited: Option<Nanos>,
    /// From then to the head of its answer; None if none came.
    pub answer: Option<Nanos>,
    /// How often it was sent.
    pub tries: u8,
}

/// What is known of a call, or of an HTTP/1 exchange, when it ends.
pub(super) struct Ending {
    pub target: u32,
    /// The endpoint asked last.
    pub endpoint: Option<u32>,
    pub route: u32,
    pub code: Code,
    pub started: Nanos,
    /// When the endpoint was asked.
    pub sent: Nanos,
    /// When its answer's head came.
    pub answer_at: Option<Nanos>,
    pub tries: u8,
}

impl Relay {
    /// Records ended calls from now on, or no longer.
    pub fn watch(&mut self, watch: bool) {
        self.watched = watch;
        if !watch {
            self.records = Vec::new();
        }
    }

    /// The calls that have ended since the last look, into `into`.
    pub fn take_records(&mut self, into: &mut Vec<Ended>) {
        into.clear();
        std::mem::swap(into, &mut self.records);
    }

    /// `n` records found nobody who took them.
    pub fn lost_records(&mut self, n: usize) {
        self.totals.records_lost += n as u64;
    }

    pub(super) fn record(&mut self, e: &Ending, now: Nanos) {
        if self.records.len() >= MAX_RECORDS {
            self.totals.records_lost += 1;
            return;
        }
        let Some(t) = self.targets.get(e.target as usize) else { return };
        let Some(route) = self.routes.names().get(e.route as usize) else { return };
        let info = e.endpoint.and_then(|i| t.pool.get(i)).map(|e| &e.info);
        self.records.push(Ended {
            at: now,
            service: t.name.clone(),
            route: route.clone(),
            endpoint: info.map(|i| (i.pod.clone(), i.addr)),
            code: e.code,
            duration: now.saturating_sub(e.started),
            waited: (e.tries > 0).then(|| e.sent.saturating_sub(e.started)),
            answer: e.answer_at.map(|at| at.saturating_sub(e.sent)),
            tries: e.tries,
        });
    }
}
