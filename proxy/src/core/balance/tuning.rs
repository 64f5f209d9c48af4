//! The policies, and the balancer's constants with the reason for each default. Times in ns.
//!
//! Knows numbers; what is done with them is written in `pick`, `estimate` and `failure`.

use crate::core::h2::limits::Nanos;

/// How an endpoint is chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Policy {
    /// P2C over an EWMA that knows its noise; failures count.
    #[default]
    Ewma,
    /// P2C over peak-EWMA as Linkerd has it; for comparison. Failures do not count, as there by default.
    PeakEwma,
    /// P2C over the number of requests in flight.
    LeastRequest,
    /// In turn.
    RoundRobin,
    /// By chance.
    Random,
}

impl Policy {
    /// All, with the names that people give them.
    pub const ALL: [(Policy, &'static str); 5] = [
        (Policy::Ewma, "ewma"),
        (Policy::PeakEwma, "peak-ewma"),
        (Policy::LeastRequest, "least-request"),
        (Policy::RoundRobin, "round-robin"),
        (Policy::Random, "random"),
    ];

    /// What people call it.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(p, _)| *p == self).map_or("", |(_, name)| name)
    }
}

/// The balancer's constants, each configurable.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    /// How to choose.
    pub policy: Policy,
    /// Time constant of the average (ns). 1 s: at 15 requests a second among three pods a sample still counts a
    /// fifth, and what was slow is tried again within seconds. Peak-EWMA takes it as its decay.
    pub decay: f64,
    /// Standard errors by which two costs must differ to count as different. 2.6: chance passes it in one pick of
    /// a hundred among equal pods; at 3 a pod that is three times slower is left too late (`simulation.rs`).
    pub noise: f64,
    /// Latencies that differ by less than this (ns), or by less than a tenth, are alike, however sure the difference.
    /// 3 ms: a scheduler's slice (Linux: 3 ms from 8 cores on), what one wait for a core costs. Less is not the pod's
    /// doing and changes from tenth to tenth of a second; no caller gains by it what an idle pod costs. Three equal pods
    /// on a busy machine differ by 5 % of their share with 1 ms, 3.5 % with 3 ms (`figures`), and nothing else changes.
    pub grain: f64,
    /// What a failure costs a caller (ns): an endpoint that fails counts as so much slower. 1 s: about what a gRPC
    /// client waits before it tries again (its first back-off). 0: failures do not count.
    pub penalty: f64,
    /// How much more often than the others an endpoint must fail to be told from them, as a share of its requests.
    /// 0.2: Linkerd's breaker asks the same (success below 0.8); rates from 0.09 on are told too, but later.
    pub lift: f64,
    /// An endpoint that is as good as the others is taken for a failing one once in so many of its requests.
    /// A million: at 500 rps among three pods less than once an hour and a half.
    pub false_alarm: f64,
    /// An endpoint that loses by its cost, or fails, gets one request all the same after so long (ns), so that
    /// its return is noticed. 1 s: half of the 2 s in which a pod that is well again wants to be back.
    pub probe: Nanos,
    /// At most one request in so many is such a probe. 100: what is slow must not be seen in the callers' p99,
    /// and what fails must stay far below 2 %.
    pub probe_every: u64,
    /// What fails is probed after so long (ns) however few requests there are. 60 s: Linkerd's longest penalty.
    pub probe_latest: Nanos,
    /// An endpoint that refuses connections is left alone for so long at first, and twice as long each time, up to
    /// the longest (ns). 0.1 s to 1 s: an attempt costs a SYN and no caller waits for it, so a pod that is back is
    /// found within a second.
    pub back_off: (Nanos, Nanos),
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            policy: Policy::Ewma,
            decay: 1e9,
            noise: 2.6,
            grain: 3e6,
            penalty: 1e9,
            lift: 0.2,
            false_alarm: 1e6,
            probe: 1_000_000_000,
            probe_every: 100,
            probe_latest: 60_000_000_000,
            back_off: (100_000_000, 1_000_000_000),
        }
    }
}

/// Silence longer than this (ns) tells of a stream that waits on purpose (long poll, watch), not of a slow endpoint.
pub const LONGEST_SILENCE: Nanos = 5_000_000_000;
/// See [`Tuning::grain`]. A tenth: a pod that is slower by so little still answers as fast as the others do at times.
pub const ALIKE: f64 = 0.1;
/// Standard deviations of single answers above the mean at which silence is news and not chance.
pub const SURPRISE: f64 = 3.0;
