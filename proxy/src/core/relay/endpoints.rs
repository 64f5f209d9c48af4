//! Targets and their endpoints: what the discovery says, applied as a difference.
//!
//! An endpoint is known by UID and address. One that leaves gets no new request and finishes those it has; its
//! counters stay readable for a while. Knows nothing of where endpoints come from.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use super::{EndpointStats, Relay, RetryBudget, Target, Upstream};
use crate::core::balance::pool::Pool;
use crate::core::h2::limits::Nanos;

/// How long an endpoint's counters outlive it (ns): a few intervals of whoever scrapes them.
const REMEMBER: Nanos = 120_000_000_000;

/// Endpoints of a target that are remembered so, the youngest: restarts without end must not fill the metrics.
const REMEMBERED: usize = 100;

/// An endpoint as the discovery gives it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndpointInfo {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Its pod's name, or its address.
    pub pod: Arc<str>,
    /// Its pod's UID, or its address.
    pub uid: Arc<str>,
    /// Its address of the other family, if it has both.
    pub also: Option<SocketAddr>,
}

impl Relay {
    /// A new target, without endpoints.
    pub fn add_target(&mut self, name: &str) -> u32 {
        let number = self.targets.len() as u32;
        let pool = Pool::new(self.settings.tuning, self.seed.wrapping_add(u64::from(number)));
        let (unserved, retries) = (EndpointStats::default(), RetryBudget::new(&self.settings.retries));
        let (waiting, waiting_http1) = (VecDeque::new(), VecDeque::new());
        self.targets.push(Target { name: name.into(), pool, unserved, gone: false, retries, waiting, waiting_http1 });
        number
    }

    /// The endpoints of a target from now on.
    pub fn set_endpoints(&mut self, target: u32, wanted: &[EndpointInfo], now: Nanos) {
        let Some(t) = self.targets.get_mut(target as usize) else { return };
        let same = |u: &Upstream, e: &EndpointInfo| u.addr == e.addr && u.uid == e.uid;
        let (mut leaving, mut staying) = (Vec::new(), Vec::new());
        let mut known = vec![false; wanted.len()];
        let index: std::collections::HashMap<_, _> =
            wanted.iter().enumerate().map(|(i, e)| ((e.addr, e.uid.clone()), i)).collect();
        for (i, e) in t.pool.active() {
            match index.get(&(e.info.addr, e.info.uid.clone())) {
                Some(at) if same(&e.info, &wanted[*at]) => {
                    known[*at] = true;
                    staying.push((i, wanted[*at].also));
                }
                _ => leaving.push(i),
            }
        }
        for i in leaving {
            self.retire(target, i, now);
        }
        let Some(t) = self.targets.get_mut(target as usize) else { return };
        for (i, also) in staying {
            if let Some(info) = t.pool.info_mut(i) {
                info.also = also;
            }
        }
        for (at, e) in wanted.iter().enumerate() {
            // The same endpoint named twice counts once.
            if known[at] || index.get(&(e.addr, e.uid.clone())) != Some(&at) {
                continue;
            }
            let (pod, uid) = (e.pod.clone(), e.uid.clone());
            let stats = EndpointStats::default();
            let (idle, also) = (vec![], e.also);
            t.pool.add(
                Upstream { addr: e.addr, pod, uid, also, conns: vec![], idle, http1: 0, tcp: 0, stats, gone: None },
                now,
            );
        }
        self.serve_waiting(target, now);
        self.feed(now);
    }

    /// The target's Service is no more, or there again.
    pub fn set_gone(&mut self, target: u32, gone: bool) {
        if let Some(t) = self.targets.get_mut(target as usize) {
            t.gone = gone;
        }
    }

    fn retire(&mut self, target: u32, endpoint: u32, now: Nanos) {
        let Some(t) = self.targets.get_mut(target as usize) else { return };
        t.pool.remove(endpoint);
        let conns = match t.pool.info_mut(endpoint) {
            Some(info) => {
                info.gone = Some(now);
                info.conns.clone()
            }
            None => return,
        };
        for id in conns {
            if let Some(conn) = self.conn(id) {
                conn.h2.retire();
            }
            self.close_if_done(id);
        }
        self.close_idle_http1(target, endpoint);
    }

    /// Forgets endpoints that left long ago.
    pub(super) fn reclaim(&mut self, now: Nanos) {
        for t in &mut self.targets {
            let idle = t.pool.all().filter(|(_, e)| e.info.conns.is_empty() && e.info.http1 == 0 && e.info.tcp == 0);
            let mut gone: Vec<(Nanos, u32)> = idle.filter_map(|(i, e)| e.info.gone.map(|since| (since, i))).collect();
            if gone.len() > REMEMBERED {
                gone.sort_unstable();
            }
            let surplus = gone.len().saturating_sub(REMEMBERED);
            for (n, (since, i)) in gone.into_iter().enumerate() {
                if n < surplus || now.saturating_sub(since) > REMEMBER {
                    t.pool.reclaim(i);
                }
            }
        }
    }
}

/// Connections that are passed through as a whole.
impl Relay {
    /// An endpoint for a connection: of two by chance the one with fewer such connections. The caller reports the
    /// end by [`Relay::end_connection`].
    pub fn pick_connection(&mut self, target: u32, now: Nanos) -> Option<(u32, SocketAddr)> {
        let t = self.targets.get_mut(target as usize)?;
        let (first, second) = t.pool.two(now)?;
        let tcp = |i: u32| t.pool.get(i).map_or(usize::MAX, |e| e.info.tcp);
        let chosen = if tcp(second) < tcp(first) { second } else { first };
        let info = t.pool.info_mut(chosen)?;
        info.tcp += 1;
        Some((chosen, info.addr))
    }

    /// A connection that was to be passed through could not be made; [`Relay::end_connection`] was called.
    pub fn connection_failed(&mut self, target: u32, endpoint: u32, now: Nanos) {
        self.totals.connect_failures += 1;
        if let Some(t) = self.targets.get_mut(target as usize) {
            t.pool.unreachable(endpoint, now);
        }
    }

    /// A connection that was passed through has ended.
    pub fn end_connection(&mut self, target: u32, endpoint: u32) {
        if let Some(info) = self.targets.get_mut(target as usize).and_then(|t| t.pool.info_mut(endpoint)) {
            info.tcp = info.tcp.saturating_sub(1);
        }
    }
}
