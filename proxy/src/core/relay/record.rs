//! Calls that have ended, one by one, for whoever watches: the tap and the access log. Nothing is kept unless somebody
//! does. No payload and no metadata is in a record: a path without its query, a pod, a code, times.

use std::net::SocketAddr;
use std::sync::Arc;

use super::call::{Call, Code};
use super::{Relay, Target};
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

    pub(super) fn record(&mut self, ended: Ended) {
        if self.records.len() < MAX_RECORDS {
            self.records.push(ended);
        } else {
            self.totals.records_lost += 1;
        }
    }
}

impl Ended {
    pub(super) fn of(c: &Call, t: &Target, route: Arc<str>, code: Code, now: Nanos) -> Self {
        let info = c.endpoint.and_then(|e| t.pool.get(e)).map(|e| &e.info);
        Self {
            at: now,
            service: t.name.clone(),
            route,
            endpoint: info.map(|i| (i.pod.clone(), i.addr)),
            code,
            duration: now.saturating_sub(c.started),
            waited: (c.tries > 0).then(|| c.sent.saturating_sub(c.started)),
            answer: c.answer_at.map(|at| at.saturating_sub(c.sent)),
            tries: c.tries,
        }
    }
}
