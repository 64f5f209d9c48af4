//! What frames and header lists cost: parse, decode, encode, for lists seen before and for ones that are new each time.
//!
//! `cargo bench --bench wire`

// The macros make functions without documentation.
#![allow(missing_docs)]

use std::hint::black_box;
use std::rc::Rc;

use criterion::{criterion_group, Criterion, Throughput};
use ewma_proxy::core::h2::frame::{put_header, put_ping, put_window_update, FrameHeader, HEADER_LEN};
use ewma_proxy::core::h2::headers::Headers;
use ewma_proxy::core::h2::hpack::{Decoder, Encoder, ListLimits};

const LIMITS: ListLimits = ListLimits { max_bytes: 64 << 10, max_fields: 256 };

/// A gRPC request's head; `trace` makes a `traceparent` of its own.
fn head(trace: Option<u64>) -> Rc<Headers> {
    let mut list = Headers::new();
    for (name, value) in [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/emojivote.v1.VotingService/VotePizza"),
        (":authority", "voting.balance-lab.svc:8080"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("user-agent", "grpc-python/1.85.1 grpc-c/45.0.0 (linux; chttp2)"),
        ("grpc-accept-encoding", "identity, deflate, gzip"),
    ] {
        list.push(name.as_bytes(), value.as_bytes());
    }
    if let Some(n) = trace {
        list.push(b"traceparent", format!("00-{n:032x}-{:016x}-01", n.wrapping_mul(31)).as_bytes());
    }
    Rc::new(list)
}

fn frames(c: &mut Criterion) {
    let mut group = c.benchmark_group("frames");
    let mut bytes = vec![];
    for stream in 0..100 {
        put_header(&mut bytes, 15, 0, 1, 2 * stream + 1);
        bytes.extend_from_slice(&[0; 15]);
        put_window_update(&mut bytes, 0, 15);
        put_ping(&mut bytes, [7; 8], false);
    }
    group.throughput(Throughput::Elements(300));
    group.bench_function("parse 300", |b| {
        b.iter(|| {
            let (mut at, mut sum) = (0, 0usize);
            while let Some(frame) = FrameHeader::parse(black_box(&bytes[at..])) {
                sum += frame.len;
                at += HEADER_LEN + frame.len;
            }
            sum
        });
    });
    let mut out = Vec::with_capacity(16 << 10);
    group.bench_function("write 300", |b| {
        b.iter(|| {
            out.clear();
            for stream in 0..150 {
                put_window_update(&mut out, stream, 15);
                put_ping(&mut out, [7; 8], true);
            }
            out.len()
        });
    });
    group.finish();
}

fn headers(c: &mut Criterion) {
    let mut group = c.benchmark_group("hpack");
    // With the memo and without: what a head costs that came before.
    for (name, mut encoder) in [("encode, seen before", Encoder::new()), ("encode, plain", Encoder::plain())] {
        let (list, mut out) = (head(None), Vec::with_capacity(1024));
        // Held elsewhere too, as a decoder's memo holds it: only such a list can come again.
        let _held = list.clone();
        group.bench_function(name, |b| {
            b.iter(|| {
                out.clear();
                encoder.encode(&list, &mut out);
                out.len()
            });
        });
    }
    for (name, mut decoder) in [("decode, seen before", Decoder::new(4096)), ("decode, plain", Decoder::plain(4096))] {
        let (mut encoder, list) = (Encoder::new(), head(None));
        let mut block = vec![];
        // A field goes into the table when it is seen again: the third block is what a connection then sees for ever.
        for _ in 0..3 {
            block.clear();
            encoder.encode(&list, &mut block);
            let _ = decoder.decode(&block, &LIMITS);
        }
        group.bench_function(name, |b| b.iter(|| decoder.decode(black_box(&block), &LIMITS).is_ok()));
    }
    // A `traceparent` of its own in each request, as tracing has it: written and read again.
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(4096));
    let lists: Vec<Rc<Headers>> = (0..10_000).map(|n| head(Some(n))).collect();
    let (mut out, mut n) = (Vec::with_capacity(1024), 0);
    group.bench_function("encode and decode, a new traceparent each", |b| {
        b.iter(|| {
            n = (n + 1) % lists.len();
            out.clear();
            encoder.encode(&lists[n], &mut out);
            decoder.decode(&out, &LIMITS).is_ok()
        });
    });
    group.finish();
}

criterion_group!(benches, frames, headers);

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
}
