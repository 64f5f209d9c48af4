//! How long an endpoint takes to answer: an exponentially weighted moving average that knows its own noise.
//!
//! Plain peak-EWMA (Finagle, Linkerd) takes every peak for news: among equal pods it is less even than dice, and one
//! hiccup costs a pod half a minute. Here the average carries its variance (West 1979, exponentially weighted), so
//! that two endpoints count as different only when their difference is more than noise. Linkerd's estimate stands
//! beside it for comparison. Knows samples and `now`; nothing of endpoints or requests.

use crate::core::h2::limits::Nanos;

/// Least weight of a sample. 0.07: fifteen samples tell a slow endpoint from a fast one at any rate, and the standard
/// error stays at a fifth of a single sample's deviation.
const MIN_WEIGHT: f64 = 0.07;

/// A sample is far out of the ordinary if it is this many standard deviations above the mean, of at least so many
/// samples. 10: among exponential times one in fifty thousand; a stalled pod passes it at once.
const PEAK_DEVIATIONS: f64 = 10.0;
const PEAK_SAMPLES: u32 = 8;
/// Deviations at which a sample's say in the variance is cut. A little above what counts as a peak: otherwise the
/// first slow answer makes the second look ordinary, and a slow pod is left only after ten of them.
const CLIP: f64 = 12.0;
/// Time constant (ns) with which such a sample fades: a peak of 50 times the mean is forgotten after 0.8 s.
const PEAK_DECAY: f64 = 0.2e9;

/// A moving average of latencies with its variance.
#[derive(Clone, Copy, Debug)]
pub struct Estimate {
    mean: f64,
    variance: f64,
    /// Sum of squared weights: the share of a single sample's variance that the mean's own variance is.
    spread: f64,
    last: Nanos,
    samples: u32,
    peak: f64,
    peak_at: Nanos,
}

impl Estimate {
    /// Nothing known yet: the pool's typical latency is taken for granted.
    pub fn new() -> Self {
        Self { mean: 0.0, variance: 0.0, spread: 1.0, last: 0, samples: 0, peak: 0.0, peak_at: 0 }
    }

    /// Samples taken so far.
    pub fn samples(&self) -> u32 {
        self.samples
    }

    /// Takes a latency (ns). After a silence of half a time constant or more the old mean is hearsay: an answer nearer
    /// to `typical` (the pool's median) than to that begins anew, so that a pod that was slow and is well again
    /// is like the others after one answer.
    pub fn sample_after_silence(&mut self, latency: f64, now: Nanos, typical: f64, decay: f64) {
        let idle = now.saturating_sub(self.last) as f64;
        if self.samples > 0 && idle >= decay / 2.0 && (latency - typical).abs() < (latency - self.mean).abs() {
            *self = Self::new();
        }
        self.sample(latency, now, decay);
    }

    /// Takes a latency (nanoseconds). The weight is 1−e^(−Δt/decay), at least the least, and at first 1/n, so that
    /// the first samples count alike.
    pub fn sample(&mut self, latency: f64, now: Nanos, decay: f64) {
        self.samples = self.samples.saturating_add(1);
        let idle = now.saturating_sub(self.last) as f64;
        let recent = (1.0 - (-idle / decay).exp()).clamp(MIN_WEIGHT, 0.5);
        let w = recent.max(1.0 / f64::from(self.samples));
        let d = latency - self.mean;
        if self.samples > PEAK_SAMPLES && d > PEAK_DEVIATIONS * self.deviation() && latency > self.peak(now) {
            self.peak = latency;
            self.peak_at = now;
        }
        // What is out of the ordinary says little of how much the ordinary varies.
        let bound = CLIP * self.deviation().max(latency * 0.01);
        let v = if self.samples > PEAK_SAMPLES { d.min(bound) } else { d };
        self.mean += w * d;
        self.variance = (1.0 - w) * (self.variance + w * v * v);
        self.spread = (1.0 - w) * (1.0 - w) * self.spread + w * w;
        self.last = now;
    }

    /// The mean as of `now`: without news it drifts towards `typical` (the pool's median) with the time constant
    /// `decay`, so that what was once slow is tried again. `typical` while there is no sample.
    pub fn mean(&self, now: Nanos, typical: f64, decay: f64) -> f64 {
        if self.samples == 0 {
            return typical;
        }
        let idle = now.saturating_sub(self.last) as f64;
        typical + (self.mean - typical) * fade(idle / decay)
    }

    /// The raw mean (nanoseconds), without drift; None before the first sample.
    pub fn raw(&self) -> Option<f64> {
        (self.samples > 0).then_some(self.mean)
    }

    /// The last answer that was far out of the ordinary, fading within a second: as of `now`, ns. It keeps requests
    /// away at once, before the mean has moved beyond its noise, and a lone hiccup is soon forgotten.
    pub fn peak(&self, now: Nanos) -> f64 {
        if self.peak == 0.0 {
            return 0.0;
        }
        self.peak * fade(now.saturating_sub(self.peak_at) as f64 / PEAK_DECAY)
    }

    /// The variance of single samples, ns².
    pub fn variance(&self) -> f64 {
        self.variance
    }

    /// The standard deviation of single samples, ns.
    pub fn deviation(&self) -> f64 {
        self.variance.sqrt()
    }

    /// The squared standard error of the mean.
    pub fn error2(&self) -> f64 {
        if self.samples < 2 {
            // One sample says nothing of its noise: as uncertain as it is large.
            return self.mean * self.mean;
        }
        self.variance * self.spread / (1.0 - self.spread).max(0.1)
    }
}

impl Default for Estimate {
    fn default() -> Self {
        Self::new()
    }
}

/// e^−x. Just now is nearly always: there two terms are enough (off by less than x²/2 = 0.00005), and a tenth of the
/// time.
fn fade(x: f64) -> f64 {
    if x < 0.01 {
        1.0 - x
    } else {
        (-x).exp()
    }
}

/// Linkerd's peak-EWMA, for comparison: a sample above the estimate replaces it, one below is blended in by time;
/// without requests it decays to 0 (tower, `load/peak_ewma`).
#[derive(Clone, Copy, Debug)]
pub struct PeakEwma {
    rtt: f64,
    last: Nanos,
}

impl PeakEwma {
    /// Starts at Linkerd's default of 30 ms.
    pub fn new(now: Nanos) -> Self {
        Self { rtt: 30e6, last: now }
    }

    /// Takes a latency (nanoseconds).
    pub fn sample(&mut self, latency: f64, now: Nanos, decay: f64) {
        let current = self.value(now, decay);
        if latency > current {
            self.rtt = latency;
        } else {
            let w = (-(now.saturating_sub(self.last) as f64) / decay).exp();
            self.rtt = self.rtt * w + latency * (1.0 - w);
        }
        self.last = now;
    }

    /// The estimate (nanoseconds) as of `now`; reading does not change it.
    pub fn value(&self, now: Nanos, decay: f64) -> f64 {
        self.rtt * fade(now.saturating_sub(self.last) as f64 / decay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: f64 = 1e9;

    #[test]
    fn the_mean_of_equal_samples_is_the_sample() {
        let mut e = Estimate::new();
        for i in 0..50u64 {
            e.sample(2e6, i * 10_000_000, S);
        }
        assert!((e.mean(500_000_000, 2e6, S) - 2e6).abs() < 1.0);
        assert!(e.error2() < 1.0);
    }

    #[test]
    fn the_error_covers_the_truth() {
        let mut rng = crate::core::rng::Rng::new(3);
        let mut inside = 0;
        for _ in 0..1_000 {
            let mut e = Estimate::new();
            for i in 0..100u64 {
                e.sample(1e6 + 1e6 * (rng.unit() - 0.5), i * 1_000_000, S);
            }
            let off = (e.raw().unwrap_or(0.0) - 1e6).abs();
            inside += usize::from(off < 3.0 * e.error2().sqrt());
        }
        assert!(inside > 950, "{inside} of 1000 within three standard errors");
    }

    #[test]
    fn what_was_slow_and_answers_like_the_others_after_a_silence_is_like_the_others() {
        let mut e = Estimate::new();
        (0..20u64).for_each(|i| e.sample(200e6, i * 10_000_000, S));
        e.sample_after_silence(2e6, 200_000_000, 2e6, S);
        assert!(e.mean(200_000_000, 2e6, S) > 100e6, "one fast answer in the stream of slow ones");
        e.sample_after_silence(200e6, 1_400_000_000, 2e6, S);
        assert!(e.mean(1_400_000_000, 2e6, S) > 100e6, "still slow");
        e.sample_after_silence(2e6, 2_400_000_000, 2e6, S);
        assert!(e.mean(2_400_000_000, 2e6, S) < 3e6);
    }

    #[test]
    fn an_idle_estimate_drifts_to_what_is_typical() {
        let mut e = Estimate::new();
        e.sample(100e6, 0, S);
        assert!(e.mean(0, 2e6, S) > 99e6);
        assert!(e.mean(5_000_000_000, 2e6, S) < 3e6);
    }

    #[test]
    fn peak_ewma_takes_a_peak_at_once_and_forgives_slowly() {
        let mut e = PeakEwma::new(0);
        e.sample(100e6, 1, 10.0 * S);
        assert!(e.value(1, 10.0 * S) > 99e6);
        assert!(e.value(10_000_000_000, 10.0 * S) > 30e6);
    }
}
