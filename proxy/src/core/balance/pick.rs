//! The choice of an endpoint, and the record of the last choices.
//!
//! Power of two choices (Mitzenmacher 2001): two endpoints by chance, the one with the lower cost gets the request.
//! cost = (latency + penalty) × (in-flight + 1). When the costs differ by no more than their noise explains, the one
//! with fewer in flight wins, then the one picked less recently, which among equal pods comes close to taking turns.
//! What loses by its cost, or fails, is asked now and then all the same (a probe), so that its return is noticed.
//!
//! Every pick is recorded with all it was made from, so that a person can make it again. Reading a cost changes nothing.

use super::pool::{Endpoint, Pool};
use super::tuning::{Policy, Tuning, ALIKE, SURPRISE};
use crate::core::h2::limits::Nanos;

/// Picks that are remembered. 256: a second or so of a busy client, 30 KiB.
pub const REMEMBERED: usize = 256;

/// Why the winner won.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// There was no other.
    Only,
    /// Its cost is lower by more than noise explains.
    Cheaper,
    /// The costs are alike; it has fewer requests in flight.
    Fewer,
    /// The costs are alike and so is the load; it was picked less recently.
    LessRecent,
    /// The other one rests: it fails, refuses connections, or has just failed this very request.
    OtherRests,
    /// It would have lost; it is asked so that its return is noticed.
    Probe,
    /// Its turn (round robin).
    Turn,
    /// By chance (random), or because chance found only endpoints that rest.
    Chance,
}

impl Reason {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Only => "the only one",
            Self::Cheaper => "cheaper",
            Self::Fewer => "alike: fewer in flight",
            Self::LessRecent => "alike: less recently picked",
            Self::OtherRests => "the other rests",
            Self::Probe => "a probe: is it well again?",
            Self::Turn => "its turn",
            Self::Chance => "by chance",
        }
    }
}

/// Whether an endpoint may be chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fitness {
    /// It may.
    Fit,
    /// It fails more often than the others.
    Failing,
    /// It refuses connections.
    Unreachable,
    /// It has just failed this request.
    Avoided,
}

/// A candidate, as it was when it was weighed. Times in ns.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Candidate {
    /// Its index in the pool.
    pub endpoint: u32,
    /// Requests open, a fresh failure among them.
    pub in_flight: u32,
    /// Expected latency: the average, or what its silence or a fresh peak shows, if that is far more.
    pub rtt: f64,
    /// The average's squared standard error; 0 for silence and peaks, which are facts.
    pub error2: f64,
    /// What its failures add.
    pub penalty: f64,
    /// The number of the request it got last; 0 if none.
    pub picked: u64,
    /// May it be chosen?
    pub fitness: Fitness,
}

impl Candidate {
    /// (latency + penalty) × (in-flight + 1).
    pub fn cost(&self) -> f64 {
        (self.rtt + self.penalty) * self.load()
    }

    fn load(&self) -> f64 {
        f64::from(self.in_flight) + 1.0
    }
}

/// One choice.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Pick {
    /// When, ns.
    pub at: Nanos,
    /// The first one drawn.
    pub first: Candidate,
    /// The second one; the first again where only one was drawn.
    pub second: Candidate,
    /// Two were drawn.
    pub pair: bool,
    /// The first won.
    pub first_won: bool,
    /// Why.
    pub reason: Reason,
}

impl Pick {
    /// The winner's index.
    pub fn winner(&self) -> u32 {
        self.winning().endpoint
    }

    /// The winner.
    pub fn winning(&self) -> &Candidate {
        if self.first_won {
            &self.first
        } else {
            &self.second
        }
    }

    /// Costs that differ by no more than this are alike, ns.
    pub fn alike(&self, tuning: &Tuning) -> f64 {
        if tuning.policy != Policy::Ewma || !self.pair {
            return 0.0;
        }
        let (a, b) = (&self.first, &self.second);
        let noise = tuning.noise * noise2(a, b).sqrt();
        noise.max(tuning.grain * a.load().max(b.load())).max(ALIKE * a.cost().min(b.cost()))
    }
}

/// The last picks, oldest overwritten.
#[derive(Clone, Debug, Default)]
pub struct Recent {
    ring: Vec<Pick>,
    next: usize,
}

impl Recent {
    fn note(&mut self, pick: Pick) {
        if self.ring.len() < REMEMBERED {
            self.ring.push(pick);
        } else {
            self.ring[self.next] = pick;
        }
        self.next = (self.next + 1) % REMEMBERED;
    }

    /// Newest first.
    pub fn iter(&self) -> impl Iterator<Item = &Pick> {
        let (older, newer) = if self.ring.len() < REMEMBERED {
            (&self.ring[..0], &self.ring[..])
        } else {
            (&self.ring[self.next..], &self.ring[..self.next])
        };
        newer.iter().rev().chain(older.iter().rev())
    }
}

/// The variance of the difference of two costs.
fn noise2(a: &Candidate, b: &Candidate) -> f64 {
    a.error2 * a.load() * a.load() + b.error2 * b.load() * b.load()
}

impl<T> Pool<T> {
    /// Chooses an endpoint, if possible other than `avoid`. Changes nothing but the sequence of chance and the record;
    /// [`Pool::start`] counts the request.
    pub fn pick(&mut self, now: Nanos, avoid: Option<u32>) -> Option<u32> {
        let n = self.active.len();
        if n == 0 {
            return None;
        }
        self.probing = None;
        let pick = if n == 1 { self.alone(0, now, avoid, Reason::Only) } else { self.choose(n, now, avoid) };
        self.recent.note(pick);
        Some(pick.winner())
    }

    /// What a request more would cost on this endpoint, as of `now`, ns.
    pub fn cost(&self, index: u32, now: Nanos) -> f64 {
        self.entries.get(index as usize).map_or(0.0, |_| self.weigh(index, now, None).cost())
    }

    fn choose(&mut self, n: usize, now: Nanos, avoid: Option<u32>) -> Pick {
        self.refresh_typical(now);
        let mut found = None;
        // A few tries, should the first find only endpoints that rest.
        for _ in 0..4 {
            let pick = self.draw(n, now, avoid);
            found = Some(pick);
            if pick.winning().fitness == Fitness::Fit || pick.reason == Reason::Probe {
                return pick;
            }
        }
        // None found by chance: look at all, and if none is fit, take what there is.
        let start = self.rng.below(n);
        let fit = |k: &usize| self.fitness(self.active[(start + k) % n], now, avoid) == Fitness::Fit;
        match ((0..n).find(fit), found) {
            (Some(k), _) => self.alone((start + k) % n, now, avoid, Reason::Chance),
            (None, Some(pick)) => pick,
            (None, None) => self.alone(start, now, avoid, Reason::Chance),
        }
    }

    fn draw(&mut self, n: usize, now: Nanos, avoid: Option<u32>) -> Pick {
        match self.tuning.policy {
            Policy::Random => {
                let at = self.rng.below(n);
                return self.alone(at, now, avoid, Reason::Chance);
            }
            Policy::RoundRobin => {
                self.cursor = (self.cursor + 1) % n;
                return self.alone(self.cursor, now, avoid, Reason::Turn);
            }
            _ => {}
        }
        let (a, b) = self.rng.pair(n);
        let first = self.weigh(self.active[a], now, avoid);
        let second = self.weigh(self.active[b], now, avoid);
        let (first_won, reason) = match (first.fitness == Fitness::Fit, second.fitness == Fitness::Fit) {
            (true, false) => (true, Reason::OtherRests),
            (false, true) => (false, Reason::OtherRests),
            _ if self.differ(&first, &second) => (first.cost() < second.cost(), Reason::Cheaper),
            _ if first.in_flight != second.in_flight => (first.in_flight < second.in_flight, Reason::Fewer),
            _ => (first.picked < second.picked, Reason::LessRecent),
        };
        let mut pick = Pick { at: now, first, second, pair: true, first_won, reason };
        let loser = if first_won { &second } else { &first };
        if avoid.is_none() && matches!(reason, Reason::OtherRests | Reason::Cheaper) && self.wants_probe(loser, now) {
            self.probing = Some(loser.endpoint);
            pick.first_won = !first_won;
            pick.reason = Reason::Probe;
        }
        pick
    }

    fn alone(&self, at: usize, now: Nanos, avoid: Option<u32>, reason: Reason) -> Pick {
        let first = self.weigh(self.active[at], now, avoid);
        Pick { at: now, first, second: first, pair: false, first_won: true, reason }
    }

    /// A candidate with all that its cost is made of.
    fn weigh(&self, index: u32, now: Nanos, avoid: Option<u32>) -> Candidate {
        let e = &self.entries[index as usize];
        let (rtt, error2) = self.latency(e, now);
        let penalty = if e.suspicion.failing() { self.tuning.penalty } else { 0.0 };
        let fitness = self.fitness(index, now, avoid);
        Candidate { endpoint: index, in_flight: e.load(now), rtt, error2, penalty, picked: e.picked, fitness }
    }

    /// What is expected of an endpoint (ns), and the square of how unsure that is.
    fn latency(&self, e: &Endpoint<T>, now: Nanos) -> (f64, f64) {
        match self.tuning.policy {
            Policy::Ewma => {
                let mean = e.estimate.mean(now, self.typical, self.tuning.decay);
                let floor = e.silence(now).max(e.estimate.peak(now));
                let above = floor - mean;
                if above > 0.0 && above * above > SURPRISE * SURPRISE * e.estimate.variance() {
                    // A fact, not an estimate: nothing about it is noise.
                    return (floor, 0.0);
                }
                (mean, e.estimate.error2())
            }
            Policy::PeakEwma => (e.peak.value(now, self.tuning.decay), 0.0),
            // The load alone decides.
            _ => (1.0, 0.0),
        }
    }

    fn fitness(&self, index: u32, now: Nanos, avoid: Option<u32>) -> Fitness {
        let e = &self.entries[index as usize];
        if avoid == Some(index) {
            Fitness::Avoided
        } else if e.down_until > now {
            Fitness::Unreachable
        // If more than half fail all are used (Envoy's panic threshold): the rest could not carry their load, and
        // what half of the endpoints do is hardly their own fault. Their penalty still makes them the second choice.
        } else if e.suspicion.failing() && self.failing * 2 <= self.active.len() {
            Fitness::Failing
        } else {
            Fitness::Fit
        }
    }

    /// Do the costs differ by more than [`Pick::alike`]?
    fn differ(&self, a: &Candidate, b: &Candidate) -> bool {
        let (ca, cb, t) = (a.cost(), b.cost(), &self.tuning);
        let by = (ca - cb).abs();
        if t.policy != Policy::Ewma {
            return by > 0.0;
        }
        by > t.grain * a.load().max(b.load()) && by > ALIKE * ca.min(cb) && by * by > t.noise * t.noise * noise2(a, b)
    }

    /// Is a probe due, and is this endpoint, which would lose, one to be probed? One that has requests open will be
    /// heard of anyway.
    fn wants_probe(&self, loser: &Candidate, now: Nanos) -> bool {
        if self.tuning.policy != Policy::Ewma || now < self.probe_at {
            return false;
        }
        let e = &self.entries[loser.endpoint as usize];
        let failing = loser.fitness == Fitness::Failing;
        let enough = self.turn >= self.probe_turn || (failing && now >= e.started + self.tuning.probe_latest);
        let idle = e.in_flight == 0 || failing;
        enough && idle && (failing || loser.fitness == Fitness::Fit) && now >= e.started + self.tuning.probe
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Nanos = 1_000_000;
    const S: Nanos = 1_000_000_000;

    fn pool(n: usize) -> Pool<usize> {
        with(n, Tuning::default())
    }

    fn with(n: usize, tuning: Tuning) -> Pool<usize> {
        let mut p = Pool::new(tuning, 1);
        (0..n).for_each(|i| {
            p.add(i, 0);
        });
        p
    }

    /// A request from its pick to its end, `ms` later.
    fn serve(p: &mut Pool<usize>, now: Nanos, ms: u64, failed: impl Fn(u32) -> bool) -> u32 {
        let i = p.pick(now, None).unwrap();
        p.start(i, now);
        let end = now + ms * MS;
        if failed(i) {
            p.failed_answer(i, end);
        } else {
            p.answered(i, ms * MS, end);
        }
        p.outcome(i, failed(i));
        p.finish(i, true);
        i
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
            (0..100).map(|t| serve(&mut p, t * 10 * MS, 1, |_| false)).collect::<Vec<_>>()
        };
        assert_eq!(run(), run());
    }

    #[test]
    fn round_robin_takes_turns_whatever_their_number() {
        for n in [2, 3, 4, 5] {
            let mut p = with(n, Tuning { policy: Policy::RoundRobin, ..Tuning::default() });
            let mut counts = vec![0; n];
            (0..100 * n as u64).for_each(|t| counts[serve(&mut p, t * MS, 1, |_| false) as usize] += 1);
            assert_eq!(counts, vec![100; n]);
        }
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
        let later = Tuning::default().back_off.0 + 1;
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
    fn a_failing_endpoint_is_left_and_probed_by_at_most_one_request_in_a_hundred() {
        let mut p = pool(3);
        let got: Vec<u32> = (0..20_000).map(|t| serve(&mut p, t * 2 * MS, 1, |i| i == 0)).collect();
        let early = got[..100].iter().filter(|i| **i == 0).count();
        let late = got[100..].iter().filter(|i| **i == 0).count();
        assert!(early <= 20, "{early} of the first hundred");
        assert!((10..=200).contains(&late), "{late} probes in 40 s");
    }

    #[test]
    fn a_failing_endpoint_that_works_again_is_back_after_one_probe() {
        let mut p = pool(3);
        (0..1_000).for_each(|t| {
            serve(&mut p, t * 2 * MS, 1, |i| i == 0);
        });
        let again = (1_000..3_000).map(|t| serve(&mut p, t * 2 * MS, 1, |_| false));
        let share = again.skip(750).filter(|i| *i == 0).count();
        assert!((350..=480).contains(&share), "{share} of 1250");
    }

    #[test]
    fn the_last_is_never_ejected_and_two_of_three_that_fail_are_used_but_less() {
        let mut p = pool(1);
        assert!((0..100).all(|t| serve(&mut p, t * MS, 1, |_| true) == 0));
        let mut p = pool(3);
        let got: Vec<u32> = (0..10_000).map(|t| serve(&mut p, t * 2 * MS, 1, |i| i != 0)).collect();
        let good = got[1_000..].iter().filter(|i| **i == 0).count();
        assert!((5_000..8_950).contains(&good), "{good} of 9000");
    }

    #[test]
    fn failures_that_all_share_move_nothing() {
        let mut p = pool(3);
        let mut rng = crate::core::rng::Rng::new(5);
        let mut counts = [0; 3];
        for t in 0..30_000 {
            let fails = rng.below(30) == 0;
            counts[serve(&mut p, t * 10 * MS, 2, |_| fails) as usize] += 1;
        }
        assert!(counts.iter().all(|n| (9_700..=10_300).contains(n)), "{counts:?}");
    }

    #[test]
    fn a_slow_endpoint_is_probed_and_returns_as_soon_as_it_is_fast_again() {
        let mut p = pool(3);
        let latency = |i: u32, t: Nanos| if i == 0 && (S..20 * S).contains(&t) { 200 } else { 2 };
        let (mut slow, mut back) = (0, 0);
        for t in (0..23 * S).step_by(10 * MS as usize) {
            let i = p.pick(t, None).unwrap();
            p.start(i, t);
            p.answered(i, latency(i, t) * MS, t + latency(i, t) * MS);
            p.finish(i, true);
            slow += usize::from(i == 0 && (2 * S..20 * S).contains(&t));
            back += usize::from(i == 0 && t >= 22 * S);
        }
        assert!((5..=20).contains(&slow), "{slow} of 1800 while it is slow");
        assert!((26..=41).contains(&back), "{back} of 100 two seconds after");
    }

    #[test]
    fn reading_a_cost_changes_nothing() {
        let mut p = pool(2);
        p.start(0, 0);
        p.answered(0, 5_000_000, 5_000_000);
        assert_eq!(p.cost(0, 6_000_000).to_bits(), p.cost(0, 6_000_000).to_bits());
    }

    #[test]
    fn the_last_picks_are_kept_newest_first() {
        let mut p = pool(3);
        for t in 0..1_000 {
            serve(&mut p, t, 1, |_| false);
            assert_eq!(p.recent().iter().count(), (t as usize + 1).min(REMEMBERED));
            assert!(p.recent().iter().zip((0..=t).rev()).all(|(pick, at)| pick.at == at));
        }
    }
}
