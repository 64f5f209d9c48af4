//! The endpoints of one service port with their load, and the pick among them.
//!
//! Power of two choices (Mitzenmacher 2001): two endpoints by chance, the one with the lower cost gets the request.
//! cost = expected latency × (in-flight + 1). When the costs differ by no more than their noise explains, the one
//! picked less recently wins, which among equal pods comes close to taking turns.
//! Reading a cost changes nothing. Indexes stay valid until [`Pool::reclaim`] hands them out again.
//! Must not know: addresses' meaning, connections, HTTP.

use super::estimate::{Estimate, PeakEwma};
use crate::core::h2::limits::Nanos;
use crate::core::rng::Rng;

/// How an endpoint is chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Policy {
    /// P2C over an EWMA that knows its noise.
    #[default]
    Ewma,
    /// P2C over peak-EWMA as Linkerd has it; for comparison.
    PeakEwma,
    /// P2C over the number of requests in flight.
    LeastRequest,
    /// In turn.
    RoundRobin,
    /// By chance.
    Random,
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
    /// 1 ms: less is the scheduler's doing and changes from minute to minute (three equal pods on one busy machine
    /// were seen at 0.71, 0.65 and 0.77 ms), and no caller gains by it what an idle pod costs.
    pub grain: f64,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { policy: Policy::Ewma, decay: 1e9, noise: 2.6, grain: 1e6 }
    }
}

/// Silence longer than this (ns) tells of a stream that waits on purpose (long poll, watch), not of a slow endpoint.
const LONGEST_SILENCE: Nanos = 5_000_000_000;
/// Latency that is taken for granted while no endpoint has answered yet (ns); it cancels out among new endpoints.
const UNKNOWN: f64 = 1e6;
/// See [`Tuning::grain`]. A tenth: a pod that is slower by so little still answers as fast as the others do at times.
const ALIKE: f64 = 0.1;
/// Standard deviations of single answers above the mean at which silence is news and not chance.
const SURPRISE: f64 = 3.0;
/// How often the typical latency is taken anew (ns).
const TYPICAL_EVERY: Nanos = 20_000_000;
/// An endpoint that refuses connections is left alone for this long at first, and twice as long each time, up to
/// the longest (ns).
const BACK_OFF: (Nanos, Nanos) = (100_000_000, 10_000_000_000);

/// One endpoint's load. `T` is what the owner wants to remember of it.
#[derive(Debug)]
pub struct Endpoint<T> {
    /// The owner's.
    pub info: T,
    /// Requests that are open.
    pub in_flight: u32,
    /// The latency estimate.
    pub estimate: Estimate,
    peak: PeakEwma,
    unanswered: u32,
    /// Since when it owes an answer without having given any.
    silent_since: Nanos,
    picked: u64,
    down_until: Nanos,
    failures: u32,
    active: bool,
    used: bool,
}

/// The endpoints of a service port.
#[derive(Debug)]
pub struct Pool<T> {
    entries: Vec<Endpoint<T>>,
    active: Vec<u32>,
    rng: Rng,
    tuning: Tuning,
    turn: u64,
    typical: f64,
    typical_due: Nanos,
}

/// A cost and its squared standard error, ns.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Cost {
    /// Expected latency × (in-flight + 1).
    pub value: f64,
    /// Its variance.
    pub error2: f64,
}

impl<T> Pool<T> {
    /// An empty pool; one seed gives one sequence of picks.
    pub fn new(tuning: Tuning, seed: u64) -> Self {
        let rng = Rng::new(seed);
        Self { entries: vec![], active: vec![], rng, tuning, turn: 0, typical: UNKNOWN, typical_due: 0 }
    }

    /// Adds an endpoint and returns its index.
    pub fn add(&mut self, info: T, now: Nanos) -> u32 {
        let entry = Endpoint {
            info,
            in_flight: 0,
            estimate: Estimate::new(),
            peak: PeakEwma::new(now),
            unanswered: 0,
            silent_since: now,
            picked: 0,
            down_until: 0,
            failures: 0,
            active: true,
            used: true,
        };
        let index = match self.entries.iter().position(|e| !e.used) {
            Some(i) => {
                self.entries[i] = entry;
                i
            }
            None => {
                self.entries.push(entry);
                self.entries.len() - 1
            }
        };
        self.active.push(index as u32);
        index as u32
    }

    /// Takes an endpoint out of the choice. Its requests go on; its index stays valid until it is reclaimed.
    pub fn remove(&mut self, index: u32) {
        if let Some(e) = self.entries.get_mut(index as usize) {
            e.active = false;
        }
        self.active.retain(|i| *i != index);
    }

    /// Frees the index of a removed endpoint without requests; true if it did.
    pub fn reclaim(&mut self, index: u32) -> bool {
        match self.entries.get_mut(index as usize) {
            Some(e) if e.used && !e.active && e.in_flight == 0 => {
                e.used = false;
                true
            }
            _ => false,
        }
    }

    /// An endpoint by index, removed ones included.
    pub fn get(&self, index: u32) -> Option<&Endpoint<T>> {
        self.entries.get(index as usize).filter(|e| e.used)
    }

    /// What the owner remembers of an endpoint.
    pub fn info_mut(&mut self, index: u32) -> Option<&mut T> {
        self.entries.get_mut(index as usize).filter(|e| e.used).map(|e| &mut e.info)
    }

    /// Endpoints among which is chosen.
    pub fn active(&self) -> impl Iterator<Item = (u32, &Endpoint<T>)> {
        self.active.iter().map(|i| (*i, &self.entries[*i as usize]))
    }

    /// All endpoints, those included that only finish their requests.
    pub fn all(&self) -> impl Iterator<Item = (u32, &Endpoint<T>)> {
        self.entries.iter().enumerate().filter(|(_, e)| e.used).map(|(i, e)| (i as u32, e))
    }

    /// Number of endpoints among which is chosen.
    pub fn len(&self) -> usize {
        self.active.len()
    }

    /// Is there none to choose?
    pub fn is_empty(&self) -> bool {
        self.active.is_empty()
    }

    /// Chooses an endpoint, if possible other than `avoid`. Changes nothing but the sequence of chance;
    /// [`Pool::start`] counts the request.
    pub fn pick(&mut self, now: Nanos, avoid: Option<u32>) -> Option<u32> {
        let n = self.active.len();
        if n <= 1 {
            return self.active.first().copied();
        }
        self.refresh_typical(now);
        let mut best = None;
        // A few tries, should the first find only endpoints that are down or to be avoided.
        for _ in 0..4 {
            let choice = self.choose(n, now, avoid);
            best = Some(choice);
            if self.fit(choice, now, avoid) {
                return best;
            }
        }
        // None found by chance: look at all, and if none is fit, take what there is.
        let start = self.rng.below(n);
        let order = (0..n).map(|k| self.active[(start + k) % n]);
        order.into_iter().find(|i| self.fit(*i, now, avoid)).or(best)
    }

    fn fit(&self, index: u32, now: Nanos, avoid: Option<u32>) -> bool {
        avoid != Some(index) && self.entries[index as usize].down_until <= now
    }

    fn choose(&mut self, n: usize, now: Nanos, avoid: Option<u32>) -> u32 {
        match self.tuning.policy {
            Policy::Random => return self.active[self.rng.below(n)],
            Policy::RoundRobin => {
                self.turn += 1;
                return self.active[(self.turn % n as u64) as usize];
            }
            _ => {}
        }
        let (a, b) = self.rng.pair(n);
        let (a, b) = (self.active[a], self.active[b]);
        match (self.fit(a, now, avoid), self.fit(b, now, avoid)) {
            (true, false) => a,
            (false, true) => b,
            _ if self.prefers(a, b, now) => a,
            _ => b,
        }
    }

    /// Is `a` the better choice?
    fn prefers(&self, a: u32, b: u32, now: Nanos) -> bool {
        let (ea, eb) = (&self.entries[a as usize], &self.entries[b as usize]);
        let (ca, cb) = (self.cost(ea, now), self.cost(eb, now));
        let differ = (ca.value - cb.value).abs();
        if differ > self.alike(ca, cb, ea.in_flight.max(eb.in_flight)) {
            ca.value < cb.value
        } else {
            (ea.in_flight, ea.picked) < (eb.in_flight, eb.picked)
        }
    }

    /// The difference up to which two costs count as one; `in_flight`: of the busier.
    fn alike(&self, a: Cost, b: Cost, in_flight: u32) -> f64 {
        if self.tuning.policy != Policy::Ewma {
            return 0.0;
        }
        let noise = self.tuning.noise * (a.error2 + b.error2).sqrt();
        let grain = self.tuning.grain * (f64::from(in_flight) + 1.0);
        noise.max(grain).max(ALIKE * a.value.min(b.value))
    }

    /// What a request more would cost on this endpoint, as of `now`.
    pub fn cost(&self, e: &Endpoint<T>, now: Nanos) -> Cost {
        let load = f64::from(e.in_flight) + 1.0;
        match self.tuning.policy {
            Policy::LeastRequest => Cost { value: load, error2: 0.0 },
            Policy::PeakEwma => Cost { value: e.peak.value(now, self.tuning.decay) * load, error2: 0.0 },
            _ => {
                let mean = e.estimate.mean(now, self.typical, self.tuning.decay);
                let floor = e.silence(now).max(e.estimate.peak(now));
                if floor > mean + SURPRISE * e.estimate.deviation() {
                    // A fact, not an estimate: nothing about it is noise.
                    return Cost { value: floor * load, error2: 0.0 };
                }
                Cost { value: mean * load, error2: e.estimate.error2() * load * load }
            }
        }
    }

    /// The median of the endpoints' estimates: what a new endpoint is thought to be like.
    fn refresh_typical(&mut self, now: Nanos) {
        if now < self.typical_due {
            return;
        }
        // 31 of them are enough for a median, however many there are.
        let n = self.active.len();
        let step = n.div_ceil(31).max(1);
        let start = self.rng.below(step);
        let known = (start..n).step_by(step).filter_map(|i| self.entries[self.active[i] as usize].estimate.raw());
        let mut known: Vec<f64> = known.collect();
        if known.is_empty() {
            return;
        }
        self.typical_due = now + TYPICAL_EVERY;
        let middle = (known.len() - 1) / 2;
        self.typical = *known.select_nth_unstable_by(middle, f64::total_cmp).1;
    }

    /// A request goes to this endpoint.
    pub fn start(&mut self, index: u32, now: Nanos) {
        self.turn += 1;
        let Some(e) = self.entries.get_mut(index as usize) else { return };
        if e.unanswered == 0 {
            e.silent_since = now;
        }
        e.unanswered += 1;
        e.in_flight += 1;
        e.picked = self.turn;
    }

    /// It answered: the first byte of the response's head came `latency` ns after the request's head went out.
    pub fn answered(&mut self, index: u32, latency: Nanos, now: Nanos) {
        let decay = self.tuning.decay;
        let Some(e) = self.entries.get_mut(index as usize) else { return };
        e.estimate.sample(latency as f64, now, decay);
        e.peak.sample(latency as f64, now, decay);
        e.unanswered = e.unanswered.saturating_sub(1);
        e.silent_since = now;
        e.failures = 0;
    }

    /// The request is over; `answered` as reported before.
    pub fn finish(&mut self, index: u32, answered: bool) {
        let Some(e) = self.entries.get_mut(index as usize) else { return };
        e.in_flight = e.in_flight.saturating_sub(1);
        if !answered {
            e.unanswered = e.unanswered.saturating_sub(1);
        }
    }

    /// It refuses connections, or they break at once: left alone for a while, if there are others.
    pub fn unreachable(&mut self, index: u32, now: Nanos) {
        let Some(e) = self.entries.get_mut(index as usize) else { return };
        let wait = (BACK_OFF.0 << e.failures.min(10)).min(BACK_OFF.1);
        e.failures = e.failures.saturating_add(1);
        e.down_until = now + wait;
    }
}

impl<T> Endpoint<T> {
    /// How long it has owed an answer without giving any, ns: a lower bound of its latency.
    fn silence(&self, now: Nanos) -> f64 {
        let silence = now.saturating_sub(self.silent_since);
        if self.unanswered == 0 || silence > LONGEST_SILENCE {
            return 0.0;
        }
        silence as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(n: usize) -> Pool<usize> {
        let mut p = Pool::new(Tuning::default(), 1);
        (0..n).for_each(|i| {
            p.add(i, 0);
        });
        p
    }

    #[test]
    fn an_empty_pool_has_no_choice_and_one_endpoint_is_always_it() {
        assert_eq!(pool(0).pick(0, None), None);
        assert_eq!(pool(1).pick(0, Some(0)), Some(0));
    }

    #[test]
    fn a_seed_gives_one_sequence_of_picks() {
        let run = || {
            let mut p = pool(5);
            (0..100)
                .map(|t| {
                    let i = p.pick(t, None).unwrap();
                    p.start(i, t);
                    i
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(run(), run());
    }

    #[test]
    fn an_endpoint_to_be_avoided_is_avoided_while_there_is_another() {
        let mut p = pool(2);
        assert!((0..100).all(|t| p.pick(t, Some(0)) == Some(1)));
    }

    #[test]
    fn an_unreachable_endpoint_rests_and_returns() {
        let mut p = pool(3);
        p.unreachable(2, 0);
        assert!((0..200).all(|t| p.pick(t, None) != Some(2)));
        let later = BACK_OFF.0 + 1;
        assert!((0..200).any(|t| p.pick(later + t, None) == Some(2)));
    }

    #[test]
    fn when_all_are_unreachable_all_are_used() {
        let mut p = pool(2);
        p.unreachable(0, 0);
        p.unreachable(1, 0);
        assert!(p.pick(1, None).is_some());
    }

    #[test]
    fn a_removed_endpoint_is_never_picked_and_its_index_returns_when_idle() {
        let mut p = pool(3);
        p.start(1, 0);
        p.remove(1);
        assert!((0..100).all(|t| p.pick(t, None) != Some(1)));
        assert!(!p.reclaim(1));
        p.finish(1, false);
        assert!(p.reclaim(1));
        assert_eq!(p.add(9, 5), 1);
    }

    #[test]
    fn reading_a_cost_changes_nothing() {
        let mut p = pool(2);
        p.start(0, 0);
        p.answered(0, 5_000_000, 5_000_000);
        let e = p.get(0).unwrap();
        assert_eq!(p.cost(e, 6_000_000), p.cost(e, 6_000_000));
    }
}
