//! Does an endpoint fail more often than the others do? Page's CUSUM test (Page 1954) against the pool's own rate.
//!
//! What all endpoints share (a route with a bug, a database that is down) says nothing of one of them and must move
//! no request, so each outcome is weighed by how likely it is at the pool's rate and at a rate that is clearly worse.
//! The sum of those weights stays near 0 while an endpoint is like the others and climbs as soon as it is not; no test
//! with as few false alarms is faster (Lorden 1971). Knows outcomes; nothing of statuses, time or endpoints.

/// The pool's failure rate is taken to be within these: below, one failure among thousands would weigh like five; above,
/// there is nothing left to be worse than.
const RATE: (f64, f64) = (0.02, 0.9);
/// Weight of one request in the pool's rate: a hundred requests tell what all endpoints share, and the few that a
/// failing one answers before it is found out do not make it the rule.
const WEIGHT: f64 = 0.01;

/// How often requests fail, over all endpoints.
#[derive(Clone, Copy, Debug)]
pub struct Baseline(f64);

impl Default for Baseline {
    fn default() -> Self {
        Self(RATE.0)
    }
}

impl Baseline {
    /// Takes the outcome of a request.
    pub fn note(&mut self, failed: bool) {
        self.0 += WEIGHT * (f64::from(u8::from(failed)) - self.0);
    }

    /// The rate, from 0 to 1.
    pub fn rate(self) -> f64 {
        self.0.clamp(RATE.0, RATE.1)
    }
}

/// The test's two constants, as its steps need them.
#[derive(Clone, Copy, Debug)]
pub struct Test {
    lift: f64,
    /// The sum at which an endpoint counts as failing: chance takes e^alarm requests to it on average, at least.
    alarm: f64,
    /// The step of a request that worked.
    relief: f64,
}

impl Test {
    /// `lift` and `false_alarm` as in [`super::tuning::Tuning`].
    pub fn new(lift: f64, false_alarm: f64) -> Self {
        Self { lift, alarm: false_alarm.ln(), relief: (1.0 - lift).ln() }
    }
}

/// The evidence against one endpoint.
#[derive(Clone, Copy, Debug, Default)]
pub struct Suspicion {
    /// Log-likelihood ratio of "worse than the pool" to "like the pool", never below 0.
    sum: f64,
    failing: bool,
}

impl Suspicion {
    /// Takes an outcome. "Worse" is a failure rate of usual + (1 − usual) × lift, so a request that worked weighs
    /// ln(1 − lift) whatever is usual.
    pub fn note(&mut self, failed: bool, pool: Baseline, test: &Test) {
        if failed {
            let usual = pool.rate();
            let worse = usual + (1.0 - usual) * test.lift;
            self.sum = (self.sum + (worse / usual).ln()).min(test.alarm);
            self.failing |= self.sum >= test.alarm;
        } else if std::mem::take(&mut self.failing) {
            // A probe that worked. It is trusted again, but half of what stood against it still does.
            self.sum = test.alarm / 2.0;
        } else {
            self.sum = (self.sum + test.relief).max(0.0);
        }
    }

    /// It fails more often than the others, and no request has worked since that is known.
    pub fn failing(self) -> bool {
        self.failing
    }

    /// The evidence, from 0 to the alarm.
    pub fn sum(self) -> f64 {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::rng::Rng;

    fn test() -> Test {
        Test::new(0.2, 1e6)
    }

    /// Requests until an endpoint that fails at `rate` among others that fail at `usual` is found out.
    fn found_after(rate: f64, usual: f64, limit: usize, seed: u64) -> usize {
        let (mut rng, mut pool, mut one) = (Rng::new(seed), Baseline::default(), Suspicion::default());
        (0..2_000).for_each(|_| pool.note(rng.unit() < usual));
        for i in 0..limit {
            pool.note(rng.unit() < usual);
            pool.note(rng.unit() < usual);
            let failed = rng.unit() < rate;
            pool.note(failed);
            one.note(failed, pool, &test());
            if one.failing() {
                return i + 1;
            }
        }
        limit
    }

    #[test]
    fn what_always_fails_is_found_out_within_ten_requests_or_twenty_where_others_fail_at_times() {
        assert!((0..100).all(|seed| found_after(1.0, 0.0, 1_000, seed) <= 10));
        assert!((0..100).all(|seed| found_after(1.0, 0.033, 1_000, seed) <= 20));
    }

    #[test]
    fn what_fails_a_third_more_often_is_found_out_within_a_few_hundred() {
        assert!((0..100).all(|seed| found_after(0.33, 0.0, 1_000, seed) < 200));
    }

    #[test]
    fn what_fails_like_the_others_is_not_found_out() {
        for shared in [0.0, 0.01, 1.0 / 30.0, 0.3, 0.9] {
            let alarms = (0..20).filter(|seed| found_after(shared, shared, 20_000, *seed) < 20_000).count();
            assert!(alarms <= 1, "{alarms} alarms in 400,000 requests of which {shared} fail");
        }
    }

    #[test]
    fn one_request_that_works_ends_it_and_a_few_that_fail_bring_it_back() {
        let (pool, mut one) = (Baseline::default(), Suspicion::default());
        (0..10).for_each(|_| one.note(true, pool, &test()));
        assert!(one.failing());
        one.note(false, pool, &test());
        assert!(!one.failing());
        (0..4).for_each(|_| one.note(true, pool, &test()));
        assert!(one.failing());
    }
}
