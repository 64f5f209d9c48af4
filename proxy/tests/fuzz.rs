//! The fuzz targets under a deterministic mutator: what a stable compiler can run everywhere, always the same.
//!
//! Inputs are the seeds of `fuzz/seeds/`, changed a few times each. For coverage-guided fuzzing: `make fuzz`.
//! `FUZZ_INPUTS=1000000 cargo test --release --test fuzz` runs more of them than the 25,000 per target.

#[path = "../fuzz/targets.rs"]
mod targets;

use std::fs;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::Path;

use ewma_proxy::core::rng::Rng;

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut paths: Vec<_> = fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|p| fs::read(p).unwrap()).collect()
}

/// Numbers at which arithmetic breaks.
const EDGES: [u8; 12] = [0, 1, 4, 5, 8, 9, 0x20, 0x3f, 0x7f, 0x80, 0xfe, 0xff];

fn mutate(input: &mut Vec<u8>, other: &[u8], rng: &mut Rng) {
    let at = rng.below(input.len() + 1);
    let end = (at + 1 + rng.below(12)).min(input.len());
    match rng.below(8) {
        0 if at < input.len() => input[at] ^= 1 << rng.below(8),
        1 if at < input.len() => input[at] = EDGES[rng.below(EDGES.len())],
        2 if at < input.len() => input[at] = rng.next_u64() as u8,
        3 => input.insert(at, rng.next_u64() as u8),
        4 if at < end => drop(input.drain(at..end)),
        5 if at < end => {
            let again = input[at..end].to_vec();
            input.splice(at..at, again);
        }
        6 => input.truncate(at),
        _ => {
            let from = rng.below(other.len() + 1);
            let to = (from + rng.below(40)).min(other.len());
            input.splice(at..at, other[from..to].iter().copied());
        }
    }
    input.truncate(4_096);
}

fn run(target: &str, check: fn(&[u8])) {
    let seeds = seeds(target);
    assert!(!seeds.is_empty());
    let inputs = std::env::var("FUZZ_INPUTS").ok().and_then(|n| n.parse().ok()).unwrap_or(25_000);
    let mut rng = Rng::new(0x5eed);
    for n in 0..inputs {
        let mut input = seeds[n % seeds.len()].clone();
        if n >= seeds.len() {
            for _ in 0..1 + rng.below(8) {
                let other = &seeds[rng.below(seeds.len())];
                mutate(&mut input, other, &mut rng);
            }
        }
        if catch_unwind(AssertUnwindSafe(|| check(&input))).is_err() {
            panic!("{target}: input {n} breaks it: {input:02x?}");
        }
    }
}

#[test]
fn no_bytes_break_frames() {
    run("frames", targets::frames);
}

#[test]
fn no_blocks_break_hpack() {
    run("hpack", targets::hpack);
}

#[test]
fn no_client_breaks_a_connection() {
    run("connection_server", targets::connection_server);
}

#[test]
fn no_server_breaks_a_connection() {
    run("connection_client", targets::connection_client);
}

#[test]
fn no_peers_break_the_relay() {
    run("relay", targets::relay);
}

#[test]
fn no_bytes_break_detection() {
    run("detect", targets::detect);
}

#[test]
fn no_peer_breaks_http1() {
    run("http1", targets::http1);
}
