//! Bytes of any kind, from clients and servers: the relay stands, stays bounded, and leaves nothing behind.
//!
//! Deterministic: seeds that mean something, changed a few times each. More of them: `FUZZ_INPUTS=1000000`.

use ewma_proxy::core::rng::Rng;

use crate::net::{Net, Serve};

const ASKED: [&str; 10] = [
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "HEAD /x?y=z HTTP/1.1\r\nHost: a:80\r\nConnection: close\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\nA\r\n0123456789\r\n0\r\nSum: 1\r\n\r\n",
    "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n\x01\x02",
    "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
    "GET http://a/b HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\nraw",
    "OPTIONS * HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE, X-A\r\nX-A: b\r\n\r\n",
    "\r\nDELETE /1 HTTP/1.1\r\nHost:\r\nX: \t a \t\r\n\r\n",
];

const ANSWERED: [&str; 8] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: 1\r\n\r\n",
    "HTTP/1.0 200 OK\r\n\r\nuntil the end",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n\x03\x04",
    "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
    "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 9\r\n\r\n",
    "HTTP/1.1 502 Bad Gateway\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\nContent-Length: 0\r\n\r\n",
];

const EDGES: &[u8] = b"\0\r\n\t :;,0123456789abcdefF-+_/*\x7f\x80\xff";

fn mutated(seeds: &[&str], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = seeds[rng.below(seeds.len())].as_bytes().to_vec();
    for _ in 0..rng.below(6) {
        let at = rng.below(bytes.len() + 1);
        let end = (at + rng.below(20)).min(bytes.len());
        match rng.below(8) {
            0 if at < bytes.len() => bytes[at] = EDGES[rng.below(EDGES.len())],
            1 if at < bytes.len() => bytes[at] = rng.next_u64() as u8,
            2 => bytes.insert(at, EDGES[rng.below(EDGES.len())]),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            5 => bytes.truncate(at),
            6 => bytes.extend_from_slice(seeds[rng.below(seeds.len())].as_bytes()),
            _ => {
                let other = seeds[rng.below(seeds.len())].as_bytes();
                let from = rng.below(other.len());
                bytes.splice(at..at, other[from..].iter().copied());
            }
        }
        bytes.truncate(4_096);
    }
    bytes
}

fn one(rng: &mut Rng) {
    let mut net = Net::new(2);
    net.serve = [Serve::No, Serve::No, Serve::No, Serve::Length][rng.below(4)];
    net.lenient = true;
    net.piece = [usize::MAX, usize::MAX, 17, 3][rng.below(4)];
    let c = net.client();
    for _ in 0..1 + rng.below(3) {
        net.say(c, mutated(&ASKED, rng));
        for up in net.servers() {
            net.say(up, mutated(&ANSWERED, rng));
        }
        let all: Vec<_> = net.ends.keys().copied().collect();
        match (rng.below(10), all.get(rng.below(all.len().max(1))).copied()) {
            (0, Some(id)) => net.cut(id),
            (1 | 2, Some(id)) => net.fin(id),
            (3, Some(id)) => net.ends.get_mut(&id).unwrap().stalled = true,
            (4, _) => net.pass(1_100),
            (5, _) => net.endpoints(&[1]),
            _ => {}
        }
    }
    assert!(net.held <= 256 << 10);
    for id in net.ends.keys().copied().collect::<Vec<_>>() {
        net.cut(id);
    }
    net.pass(100);
    for id in net.ends.keys().copied().collect::<Vec<_>>() {
        net.cut(id);
    }
    assert!(net.idle(), "something is left behind");
    assert_eq!(net.relay.totals().downstream, 0);
}

#[test]
fn no_bytes_from_either_side_break_the_relay_or_leave_anything_behind() {
    let inputs = std::env::var("FUZZ_INPUTS").ok().and_then(|n| n.parse().ok()).unwrap_or(100_000u64);
    for seed in 0..inputs {
        let run = || one(&mut Rng::new(seed));
        if std::panic::catch_unwind(run).is_err() {
            panic!("seed {seed} breaks it");
        }
    }
}
