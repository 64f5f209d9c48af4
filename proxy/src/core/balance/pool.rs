//! The endpoints of one service port with their load. The choice among them is in `pick`.
//!
//! Indexes stay valid until [`Pool::reclaim`] gives them back. Adding, removing and counting cost the same however many
//! endpoints there are. Must not know: addresses' meaning, connections, HTTP.

use super::estimate::{Estimate, PeakEwma};
use super::failure::{Baseline, Suspicion, Test};
use super::pick::Recent;
use super::tuning::LONGEST_SILENCE;
pub use super::tuning::{Policy, Tuning};
use crate::core::h2::limits::Nanos;
use crate::core::rng::Rng;

/// Latency that is taken for granted while no endpoint has answered yet (ns); it cancels out among new endpoints.
const UNKNOWN: f64 = 1e6;
/// How often the typical latency is taken anew (ns).
const TYPICAL_EVERY: Nanos = 20_000_000;

/// One endpoint's load. `T` is what the owner wants to remember of it.
///
/// What a pick looks at comes first and fills two cache lines: among 10,000 endpoints each line is a cache miss.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Endpoint<T> {
    /// Requests that are open.
    pub in_flight: u32,
    unanswered: u32,
    /// Since when it owes an answer without having given any.
    silent_since: Nanos,
    /// Number of the request it got last, and when that was.
    pub(super) picked: u64,
    pub(super) started: Nanos,
    pub(super) down_until: Nanos,
    /// Its last failure counts as a request in flight until then.
    held_until: Nanos,
    pub(super) suspicion: Suspicion,
    /// The latency estimate.
    pub estimate: Estimate,
    pub(super) peak: PeakEwma,
    refusals: u32,
    /// Its place in the list of the active.
    place: u32,
    /// When it came.
    pub(super) added: Nanos,
    active: bool,
    used: bool,
    /// The owner's.
    pub info: T,
}

/// The endpoints of a service port.
#[derive(Debug)]
pub struct Pool<T> {
    pub(super) entries: Vec<Endpoint<T>>,
    pub(super) active: Vec<u32>,
    free: Vec<u32>,
    pub(super) rng: Rng,
    pub(super) tuning: Tuning,
    test: Test,
    /// Requests started so far.
    pub(super) turn: u64,
    /// Round robin's place.
    pub(super) cursor: usize,
    pub(super) typical: f64,
    typical_due: Nanos,
    usual: Baseline,
    /// Active endpoints that fail.
    pub(super) failing: usize,
    /// The endpoint picked last, if as a probe; and from when, and from which request on, the next one is due.
    pub(super) probing: Option<u32>,
    pub(super) probe_at: Nanos,
    pub(super) probe_turn: u64,
    pub(super) recent: Recent,
}

impl<T> Pool<T> {
    /// An empty pool; one seed gives one sequence of picks.
    pub fn new(tuning: Tuning, seed: u64) -> Self {
        Self {
            entries: vec![],
            active: vec![],
            free: vec![],
            rng: Rng::new(seed),
            tuning,
            test: Test::new(tuning.lift, tuning.false_alarm),
            turn: 0,
            cursor: 0,
            typical: UNKNOWN,
            typical_due: 0,
            usual: Baseline::default(),
            failing: 0,
            probing: None,
            probe_at: 0,
            probe_turn: 0,
            recent: Recent::default(),
        }
    }

    /// Adds an endpoint and returns its index. Nothing is known of it: it is thought to be like the others.
    pub fn add(&mut self, info: T, now: Nanos) -> u32 {
        let entry = Endpoint {
            info,
            in_flight: 0,
            estimate: Estimate::new(),
            peak: PeakEwma::new(now),
            unanswered: 0,
            silent_since: now,
            picked: 0,
            started: now,
            down_until: 0,
            suspicion: Suspicion::default(),
            held_until: 0,
            refusals: 0,
            place: self.active.len() as u32,
            added: now,
            active: true,
            used: true,
        };
        let index = match self.free.pop() {
            Some(i) => {
                self.entries[i as usize] = entry;
                i
            }
            None => {
                self.entries.push(entry);
                (self.entries.len() - 1) as u32
            }
        };
        self.active.push(index);
        index
    }

    /// Takes an endpoint out of the choice. Its requests go on; its index stays valid until it is reclaimed.
    pub fn remove(&mut self, index: u32) {
        let Some(e) = self.entries.get_mut(index as usize).filter(|e| e.active) else { return };
        e.active = false;
        self.failing -= usize::from(e.suspicion.failing());
        let place = e.place as usize;
        self.active.swap_remove(place);
        if let Some(moved) = self.active.get(place) {
            self.entries[*moved as usize].place = place as u32;
        }
    }

    /// Frees the index of a removed endpoint without requests; true if it did.
    pub fn reclaim(&mut self, index: u32) -> bool {
        match self.entries.get_mut(index as usize) {
            Some(e) if e.used && !e.active && e.in_flight == 0 => {
                e.used = false;
                self.free.push(index);
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

    /// The last picks.
    pub fn recent(&self) -> &Recent {
        &self.recent
    }

    /// The constants.
    pub fn tuning(&self) -> &Tuning {
        &self.tuning
    }

    /// How often requests fail, over all endpoints, from 0 to 1.
    pub fn usual_failures(&self) -> f64 {
        self.usual.rate()
    }

    /// The median of the endpoints' estimates: what a new endpoint is thought to be like.
    pub(super) fn refresh_typical(&mut self, now: Nanos) {
        if now < self.typical_due {
            return;
        }
        // 31 of them are enough for a median, however many there are.
        let n = self.active.len();
        let step = n.div_ceil(31).max(1);
        let start = self.rng.below(step);
        let mut known = [0.0; 31];
        let mut count = 0;
        for i in (start..n).step_by(step) {
            if let Some(mean) = self.entries[self.active[i] as usize].estimate.raw() {
                known[count] = mean;
                count += 1;
            }
        }
        if count > 0 {
            self.typical_due = now + TYPICAL_EVERY;
            let middle = (count - 1) / 2;
            self.typical = *known[..count].select_nth_unstable_by(middle, f64::total_cmp).1;
        }
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
        e.started = now;
        if self.probing == Some(index) {
            self.probe_at = now + self.tuning.probe;
            self.probe_turn = self.turn + self.tuning.probe_every;
        }
    }

    /// It answered: the first byte of the response's head came `latency` ns after the request's head went out.
    pub fn answered(&mut self, index: u32, latency: Nanos, now: Nanos) {
        let (decay, typical) = (self.tuning.decay, self.typical);
        let Some(e) = self.entries.get_mut(index as usize) else { return };
        e.estimate.sample_after_silence(latency as f64, now, typical, decay);
        e.peak.sample(latency as f64, now, decay);
        e.heard(now);
    }

    /// It answered with a failure: how fast that was says nothing of how long an answer takes.
    pub fn failed_answer(&mut self, index: u32, now: Nanos) {
        if let Some(e) = self.entries.get_mut(index as usize) {
            e.heard(now);
        }
    }

    /// How a request ended, as far as that is the endpoint's doing. Not to be reported if the client gave up on it.
    pub fn outcome(&mut self, index: u32, failed: bool) {
        self.usual.note(failed);
        if self.tuning.policy != Policy::Ewma || self.tuning.penalty <= 0.0 {
            return;
        }
        let typical = self.typical as Nanos;
        let Some(e) = self.entries.get_mut(index as usize) else { return };
        if failed {
            // A request that fails at once frees its place no sooner than one that is served: a fast failure must not
            // look like spare capacity, not even before it is known for more than chance.
            e.held_until = e.silent_since + typical;
        }
        let before = e.suspicion.failing();
        e.suspicion.note(failed, self.usual, &self.test);
        if e.active && before != e.suspicion.failing() {
            self.failing = if before { self.failing - 1 } else { self.failing + 1 };
        }
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
        let (first, longest) = self.tuning.back_off;
        let Some(e) = self.entries.get_mut(index as usize) else { return };
        e.down_until = now + (first << e.refusals.min(10)).min(longest);
        e.refusals = e.refusals.saturating_add(1);
    }
}

impl<T> Endpoint<T> {
    /// Requests open, as the choice counts them.
    pub(super) fn load(&self, now: Nanos) -> u32 {
        self.in_flight + u32::from(self.held_until > now)
    }

    /// How long it has owed an answer without giving any, ns: a lower bound of its latency.
    pub(super) fn silence(&self, now: Nanos) -> f64 {
        let silence = now.saturating_sub(self.silent_since);
        if self.unanswered == 0 || silence > LONGEST_SILENCE {
            return 0.0;
        }
        silence as f64
    }

    /// Does it fail more often than the others?
    pub fn failing(&self) -> bool {
        self.suspicion.failing()
    }

    /// When it came, ns.
    pub fn added(&self) -> Nanos {
        self.added
    }

    fn heard(&mut self, now: Nanos) {
        self.unanswered = self.unanswered.saturating_sub(1);
        self.silent_since = now;
        self.refusals = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    fn pool(n: usize) -> Pool<usize> {
        let mut p = Pool::new(Tuning::default(), 1);
        (0..n).for_each(|i| {
            p.add(i, 0);
        });
        p
    }

    #[test]
    fn what_a_pick_looks_at_fills_two_cache_lines() {
        assert_eq!(offset_of!(Endpoint<u8>, peak), 120);
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
    fn after_any_changes_the_active_are_those_that_were_added_and_not_removed() {
        let mut rng = Rng::new(4);
        let (mut p, mut model) = (pool(0), std::collections::BTreeSet::new());
        for step in 0..5_000 {
            if rng.below(3) > 0 {
                model.insert(p.add(step, 0));
            } else if let Some(gone) = model.iter().nth(rng.below(model.len())).copied() {
                (0..20).for_each(|_| p.outcome(gone, true));
                p.remove(gone);
                p.remove(gone);
                assert!(p.reclaim(gone) && !p.reclaim(gone));
                model.remove(&gone);
            }
            assert_eq!(p.failing, 0);
        }
        let mut active: Vec<u32> = p.active().map(|(i, _)| i).collect();
        active.sort_unstable();
        assert!(active.iter().eq(model.iter()));
        assert!(p.active().all(|(i, e)| p.active[e.place as usize] == i));
    }
}
