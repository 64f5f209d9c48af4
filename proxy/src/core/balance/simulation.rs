//! The balancer's figures, measured on the shipped code in virtual time. Tests only.
//!
//! One client, Poisson arrivals, pods that serve any number of requests at once (latency does not depend on load)
//! or one at a time (FIFO). Seeded: a run gives the same figures every time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::pool::{Policy, Pool, Tuning};
use crate::core::rng::Rng;

const S: f64 = 1e9;

/// A run's conditions.
struct Run {
    policy: Policy,
    pods: usize,
    rate: f64,
    seconds: f64,
    /// Service time, ns, of pod `i` at time `t`.
    service: fn(&mut Rng, usize, f64) -> f64,
    fifo: bool,
    seed: u64,
}

/// One request: start, pod, latency (s, index, s).
type Served = (f64, usize, f64);

fn lognormal(rng: &mut Rng, median: f64, sigma: f64) -> f64 {
    let (u, v) = (rng.unit().max(1e-12), rng.unit());
    median * (sigma * (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()).exp()
}

fn run(r: &Run) -> Vec<Served> {
    let mut rng = Rng::new(r.seed);
    let decay = if r.policy == Policy::PeakEwma { 10.0 * S } else { Tuning::default().decay };
    let mut pool = Pool::new(Tuning { policy: r.policy, decay, ..Tuning::default() }, r.seed + 1);
    (0..r.pods).for_each(|i| {
        pool.add(i, 0);
    });
    let mut free = vec![0.0f64; r.pods];
    let mut ends: BinaryHeap<Reverse<(u64, u32, u64)>> = BinaryHeap::new();
    let mut served = Vec::new();
    let mut t = 0.0;
    while t < r.seconds * S {
        t -= rng.unit().max(1e-12).ln() * S / r.rate;
        let now = t as u64;
        while let Some(Reverse((end, pod, latency))) = ends.peek().copied() {
            if end > now {
                break;
            }
            ends.pop();
            pool.answered(pod, latency, end);
            pool.finish(pod, true);
        }
        let Some(pod) = pool.pick(now, None) else { continue };
        pool.start(pod, now);
        let i = pod as usize;
        let work = (r.service)(&mut rng, i, t / S);
        let begin = if r.fifo { t.max(free[i]) } else { t };
        free[i] = begin + work;
        let latency = begin + work - t;
        ends.push(Reverse(((t + latency) as u64, pod, latency as u64)));
        served.push((t / S, i, latency / S));
    }
    served
}

/// Standard deviation of the pods' counts over windows of 300 requests, after 10 s.
fn spread(policy: Policy, rate: f64, service: fn(&mut Rng, usize, f64) -> f64) -> f64 {
    let mut squares = 0.0;
    let mut n = 0.0;
    for seed in 0..20 {
        let seconds = 10.0 + 1_200.0 / rate;
        let all = run(&Run { policy, pods: 3, rate, seconds, service, fifo: false, seed });
        let late: Vec<_> = all.iter().filter(|s| s.0 > 10.0).collect();
        for window in late.chunks_exact(300) {
            for pod in 0..3 {
                let count = window.iter().filter(|s| s.1 == pod).count() as f64;
                squares += (count - 100.0).powi(2);
                n += 1.0;
            }
        }
    }
    (squares / n).sqrt()
}

fn p99(latencies: &mut [f64]) -> f64 {
    latencies.sort_by(f64::total_cmp);
    latencies[latencies.len() * 99 / 100]
}

fn log2ms(rng: &mut Rng, _: usize, _: f64) -> f64 {
    lognormal(rng, 2e6, 0.5)
}

fn exp2ms(rng: &mut Rng, _: usize, _: f64) -> f64 {
    -rng.unit().max(1e-12).ln() * 2e6
}

#[test]
fn equal_pods_with_lognormal_times_are_twice_as_even_as_dice() {
    for rate in [15.0, 500.0] {
        let (ours, dice) = (spread(Policy::Ewma, rate, log2ms), spread(Policy::Random, rate, log2ms));
        println!("lognormal {rate} rps: {ours:.1}, dice {dice:.1}");
        assert!(ours <= 0.5 * dice, "{rate} rps: {ours:.1} against {dice:.1}");
    }
}

#[test]
fn equal_pods_with_exponential_times_are_more_even_than_dice() {
    for rate in [15.0, 500.0] {
        let (ours, dice) = (spread(Policy::Ewma, rate, exp2ms), spread(Policy::Random, rate, exp2ms));
        println!("exponential {rate} rps: {ours:.1}, dice {dice:.1}");
        assert!(ours <= 0.8 * dice, "{rate} rps: {ours:.1} against {dice:.1}");
    }
}

#[test]
fn a_pod_that_slows_by_200_ms_is_left_at_once() {
    fn slow(rng: &mut Rng, pod: usize, t: f64) -> f64 {
        lognormal(rng, 2e6, 0.5) + if pod == 0 && t >= 10.0 { 200e6 } else { 0.0 }
    }
    let (mut first, mut total, mut later, mut before) = (0, 0, vec![], vec![]);
    for seed in 0..20 {
        let all =
            run(&Run { policy: Policy::Ewma, pods: 5, rate: 500.0, seconds: 30.0, service: slow, fifo: false, seed });
        for (t, pod, latency) in all {
            match t {
                t if (5.0..10.0).contains(&t) => before.push(latency),
                t if (10.0..11.0).contains(&t) => {
                    total += 1;
                    first += usize::from(pod == 0);
                }
                t if t >= 11.0 => later.push(latency),
                _ => {}
            }
        }
    }
    let share = first as f64 / total as f64;
    let (slow, well) = (p99(&mut later), p99(&mut before));
    println!(
        "slow pod: {:.2} % in the first second, p99 {:.2} against {:.2} ms",
        share * 100.0,
        slow * 1e3,
        well * 1e3
    );
    assert!(share <= 0.01, "{share}");
    assert!(slow <= 1.1 * well, "{slow} against {well}");
}

#[test]
fn a_hiccup_is_forgiven_within_a_second() {
    fn hiccup(_: &mut Rng, pod: usize, t: f64) -> f64 {
        if pod == 0 && (10.0..10.02).contains(&t) {
            100e6
        } else {
            2e6
        }
    }
    let mut after = [0usize; 3];
    for seed in 0..40 {
        let all =
            run(&Run { policy: Policy::Ewma, pods: 3, rate: 200.0, seconds: 13.0, service: hiccup, fifo: false, seed });
        all.iter().filter(|s| (11.1..12.1).contains(&s.0)).for_each(|s| after[s.1] += 1);
    }
    let share = after[0] as f64 / after.iter().sum::<usize>() as f64;
    println!("a second after a hiccup: {:.1} % of the requests", share * 100.0);
    assert!(share >= 0.8 / 3.0, "{share}");
}

#[test]
fn fifo_pods_lose_little_to_peak_ewma() {
    fn equal(rng: &mut Rng, _: usize, _: f64) -> f64 {
        -rng.unit().max(1e-12).ln() * 5e6
    }
    fn one_slow(rng: &mut Rng, pod: usize, _: f64) -> f64 {
        -rng.unit().max(1e-12).ln() * if pod == 0 { 15e6 } else { 5e6 }
    }
    let p99_of = |policy, service, load: f64| {
        let mut all = vec![];
        for seed in 0..10 {
            let r = Run { policy, pods: 5, rate: load * 1_000.0, seconds: 30.0, service, fifo: true, seed };
            all.extend(run(&r).iter().filter(|s| s.0 > 5.0).map(|s| s.2));
        }
        p99(&mut all)
    };
    let (ours, peak) = (p99_of(Policy::Ewma, equal, 0.8), p99_of(Policy::PeakEwma, equal, 0.8));
    println!("FIFO, all equal: p99 {:.1} ms, peak-EWMA {:.1} ms", ours * 1e3, peak * 1e3);
    assert!(ours <= 1.1 * peak, "{ours} against {peak}");
    let (ours, peak) = (p99_of(Policy::Ewma, one_slow, 0.6), p99_of(Policy::PeakEwma, one_slow, 0.6));
    println!("FIFO, one 3 × slower: p99 {:.1} ms, peak-EWMA {:.1} ms", ours * 1e3, peak * 1e3);
    assert!(ours <= 1.25 * peak, "{ours} against {peak}");
}
