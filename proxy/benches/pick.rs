//! What a pick costs, with the record of it and the counting of the request, whatever the number of endpoints.
//!
//! `cargo bench --bench pick`

// The macros make functions without documentation.
#![allow(missing_docs)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{criterion_group, BenchmarkId, Criterion};
use ewma_proxy::core::balance::pool::Pool;
use ewma_proxy::core::balance::tuning::{Policy, Tuning};
use ewma_proxy::core::relay::{EndpointInfo, Relay, Settings};

const SIZES: [usize; 3] = [3, 1_000, 10_000];

/// As large as what the relay remembers of an endpoint.
type Info = [u8; 136];

/// A pool whose endpoints have all answered a few times.
fn pool(n: usize, policy: Policy) -> (Pool<Info>, u64) {
    let mut pool = Pool::new(Tuning { policy, ..Tuning::default() }, 7);
    (0..n).for_each(|_| {
        pool.add([0; 136], 0);
    });
    let mut now = 0;
    for round in 0..20u64 {
        for i in 0..n as u32 {
            now += 1_000;
            pool.start(i, now);
            pool.answered(i, 2_000_000 + (u64::from(i) * 7_919 + round * 104_729) % 1_000_000, now);
            pool.outcome(i, false);
            pool.finish(i, true);
        }
    }
    (pool, now)
}

fn picks(c: &mut Criterion) {
    let mut group = c.benchmark_group("pick");
    for (policy, name) in Policy::ALL {
        for n in SIZES {
            let (mut pool, mut now) = pool(n, policy);
            group.bench_function(BenchmarkId::new(name, n), |b| {
                b.iter(|| {
                    now += 10_000;
                    black_box(pool.pick(now, None))
                });
            });
        }
    }
    group.finish();
}

/// The whole of what the balancer does for a request.
fn requests(c: &mut Criterion) {
    let mut group = c.benchmark_group("request");
    for n in SIZES {
        let (mut pool, mut now) = pool(n, Policy::Ewma);
        group.bench_function(BenchmarkId::new("ewma", n), |b| {
            b.iter(|| {
                now += 10_000;
                let Some(i) = pool.pick(now, None) else { return };
                pool.start(i, now);
                pool.answered(i, 2_000_000, now + 2_000_000);
                pool.outcome(i, false);
                pool.finish(i, true);
            });
        });
    }
    group.finish();
}

/// An endpoint set that changes as a whole.
fn changes(c: &mut Criterion) {
    let mut group = c.benchmark_group("set_endpoints");
    group.sample_size(10);
    let info = |port: usize, generation: u8| {
        let name = format!("pod-{generation}-{port}");
        let addr = ([10, generation, (port >> 8) as u8, port as u8], 8080).into();
        EndpointInfo { addr, pod: name.as_str().into(), uid: name.as_str().into(), also: None }
    };
    for n in SIZES {
        let sets = [1, 2].map(|g| (0..n).map(|i| info(i, g)).collect::<Vec<_>>());
        group.bench_function(BenchmarkId::new("all change", n), |b| {
            let mut relay = Relay::new(Settings::default(), 1);
            let target = relay.add_target("bench");
            let (mut at, mut now) = (0, 0);
            b.iter(|| {
                at = 1 - at;
                now += 200_000_000_000;
                relay.set_endpoints(target, &sets[at], now);
                relay.tick(now);
            });
        });
    }
    group.finish();
}

fn brief() -> Criterion {
    Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_millis(700))
}

/// What a pick costs when nobody else wants the core: of many batches, each far shorter than a time slice, the one at
/// the tenth percentile. On a shared machine criterion's means tell of the neighbours.
fn undisturbed(n: usize) -> f64 {
    let (mut pool, mut now) = pool(n, Policy::Ewma);
    let mut batches: Vec<f64> = (0..5_000)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..200 {
                now += 10_000;
                black_box(pool.pick(now, None));
            }
            start.elapsed().as_nanos() as f64 / 200.0
        })
        .collect();
    batches.sort_by(f64::total_cmp);
    batches[batches.len() / 10]
}

criterion_group!(name = benches; config = brief(); targets = picks, requests, changes);

fn main() {
    for n in SIZES {
        println!("pick, undisturbed, {n} endpoints: {:.0} ns", undisturbed(n));
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}
