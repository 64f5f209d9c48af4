//! The balancer in virtual time: one client, Poisson arrivals, pods that are made up. Seeded: a run gives the same
//! figures every time.
//!
//! Pods serve any number of requests at once, or one at a time (FIFO). What is asked of the runs is in `figures`.
//! Knows the pool as every other owner does.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::pool::Pool;
use super::tuning::{Policy, Tuning};
use crate::core::rng::Rng;

const S: f64 = 1e9;

/// What a pod makes of a request: how long it takes (ns), and whether it fails.
pub type Service = fn(&mut Rng, usize, f64) -> (f64, bool);

/// A run's conditions.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// The balancer's constants; peak-EWMA takes Linkerd's decay instead of the one here.
    pub tuning: Tuning,
    /// Pods from the start.
    pub pods: usize,
    /// Requests per second.
    pub rate: f64,
    /// Length, s.
    pub seconds: f64,
    /// By pod and time (s).
    pub service: Service,
    /// One request at a time?
    pub fifo: bool,
    /// (when in s, pod, does it come or go), by time.
    pub changes: &'static [(f64, usize, bool)],
    /// Decides all chance.
    pub seed: u64,
}

impl Run {
    /// Pods that serve any number of requests at once and stay.
    pub fn new(tuning: Tuning, pods: usize, rate: f64, seconds: f64, service: Service) -> Self {
        Self { tuning, pods, rate, seconds, service, fifo: false, changes: &[], seed: 0 }
    }
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub struct Served {
    /// When it came, s.
    pub at: f64,
    /// Who got it.
    pub pod: usize,
    /// How long it took, s.
    pub latency: f64,
    /// How many pods there were.
    pub pods: usize,
}

struct End {
    endpoint: u32,
    latency: u64,
    failed: bool,
}

/// Runs it.
pub fn run(r: &Run) -> Vec<Served> {
    let mut rng = Rng::new(r.seed);
    let mut tuning = r.tuning;
    if tuning.policy == Policy::PeakEwma {
        tuning.decay = 10.0 * S;
    }
    let mut pool = Pool::new(tuning, r.seed + 1);
    let mut endpoints: Vec<Option<u32>> = (0..r.pods).map(|pod| Some(pool.add(pod, 0))).collect();
    let mut free = vec![0.0f64; r.pods];
    let mut changes = r.changes.iter().peekable();
    let (mut ends, mut open) = (BinaryHeap::new(), vec![]);
    let (mut served, mut t) = (Vec::with_capacity((r.rate * r.seconds) as usize), 0.0);
    while t < r.seconds * S {
        t -= rng.unit().max(1e-12).ln() * S / r.rate;
        let now = t as u64;
        while let Some(Reverse((end, number))) = ends.peek().copied().filter(|Reverse((end, _))| *end <= now) {
            ends.pop();
            let e: &End = &open[number];
            if e.failed {
                pool.failed_answer(e.endpoint, end);
            } else {
                pool.answered(e.endpoint, e.latency, end);
            }
            pool.outcome(e.endpoint, e.failed);
            pool.finish(e.endpoint, true);
        }
        while let Some((_, pod, comes)) = changes.next_if(|(at, _, _)| at * S <= t) {
            endpoints.resize(endpoints.len().max(pod + 1), None);
            free.resize(endpoints.len(), 0.0);
            match endpoints[*pod].take() {
                Some(endpoint) if !comes => pool.remove(endpoint),
                _ => endpoints[*pod] = Some(pool.add(*pod, now)),
            }
        }
        let Some(endpoint) = pool.pick(now, None) else { continue };
        pool.start(endpoint, now);
        let Some(pod) = pool.get(endpoint).map(|e| e.info) else { continue };
        let (work, failed) = (r.service)(&mut rng, pod, t / S);
        let begin = if r.fifo { t.max(free[pod]) } else { t };
        free[pod] = begin + work;
        let latency = begin + work - t;
        ends.push(Reverse(((t + latency) as u64, open.len())));
        open.push(End { endpoint, latency: latency as u64, failed });
        served.push(Served { at: t / S, pod, latency: latency / S, pods: pool.len() });
    }
    served
}

/// A log-normal time with this median.
pub fn lognormal(rng: &mut Rng, median: f64, sigma: f64) -> f64 {
    let (u, v) = (rng.unit().max(1e-12), rng.unit());
    median * (sigma * (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()).exp()
}

/// An exponential time with this mean.
pub fn exponential(rng: &mut Rng, mean: f64) -> f64 {
    -rng.unit().max(1e-12).ln() * mean
}
