//! Second tries on chosen codes: when, how often, and never more than a client could tell.

mod world;

use ewma_proxy::core::h2::frame::ErrorCode;
use ewma_proxy::core::relay::{Retries, Settings};
use world::{addr, grpc_head, Answers, World, MS};

const UNAVAILABLE: u32 = 1 << 14;

fn world(servers: u8, codes: u32) -> World {
    World::with(servers, Settings { retries: Retries { codes, ..Retries::default() }, ..Settings::default() })
}

/// Servers 1 to `bad` answer so, the others echo.
fn some_fail(bad: u8, servers: u8, codes: u32, answers: Answers) -> World {
    let mut w = world(servers, codes);
    for n in 1..=bad {
        w.answers.insert(addr(n), answers);
    }
    w
}

fn run(w: &mut World, n: usize) -> usize {
    let c = w.client();
    let mut ok = 0;
    for _ in 0..n {
        w.now += 20 * MS;
        let slot = w.call(c, "/voting.v1.Voting/Vote", b"body", true);
        ok += usize::from(w.seen(c, slot).get("grpc-status").as_deref() == Some("0"));
        w.clients.get_mut(&c).unwrap().sweep(slot);
    }
    ok
}

#[test]
fn without_the_option_nothing_is_tried_twice() {
    let mut w = some_fail(1, 2, 0, Answers::Only("14"));
    let ok = run(&mut w, 100);
    assert!(ok < 100);
    assert_eq!((w.served(1) + w.served(2), w.relay.totals().retries), (100, 0));
}

#[test]
fn a_trailers_only_failure_goes_to_another_endpoint_and_the_client_sees_none_of_it() {
    let mut w = some_fail(1, 2, UNAVAILABLE, Answers::Only("14"));
    assert_eq!(run(&mut w, 200), 200);
    let t = w.relay.totals().clone();
    assert!(t.retries > 0);
    assert_eq!(t.tries, 200 + t.retries);
    assert_eq!((w.served(1) + w.served(2)) as u64, t.tries);
    assert_eq!((t.replays, w.relay.calls()), (0, 0));
    assert!(w.relay.targets()[0].pool.all().all(|(_, e)| e.in_flight == 0));
}

#[test]
fn a_code_that_was_not_chosen_is_passed_on() {
    let mut w = some_fail(2, 2, UNAVAILABLE, Answers::Only("13"));
    assert_eq!(run(&mut w, 20), 0);
    assert_eq!(w.relay.totals().tries, 20);
}

#[test]
fn once_a_head_went_to_the_client_there_is_no_second_try() {
    for answers in [Answers::Trailers("14"), Answers::Break] {
        let mut w = some_fail(2, 2, UNAVAILABLE | 1 << 13, answers);
        assert_eq!(run(&mut w, 20), 0);
        assert_eq!((w.relay.totals().tries, w.relay.totals().retries), (20, 0), "{answers:?}");
    }
}

#[test]
fn the_same_body_comes_again_up_to_64_kib_and_a_longer_one_is_not_kept() {
    for (len, status) in [(64 << 10, "0"), ((64 << 10) + 1, "14")] {
        let mut w = some_fail(1, 2, UNAVAILABLE, Answers::Only("14"));
        let c = w.client();
        let body: Vec<u8> = (0..len).map(|i| i as u8).collect();
        let slot = loop {
            let before = w.relay.totals().tries;
            let served = w.served(1);
            let slot = w.call(c, "/x", &body, true);
            assert!(w.relay.totals().tries > before);
            if w.served(1) > served {
                break slot;
            }
            w.now += 20 * MS;
        };
        assert_eq!(w.seen(c, slot).get("grpc-status").as_deref(), Some(status), "{len} bytes");
        assert!(status != "0" || w.seen(c, slot).body == body);
    }
}

#[test]
fn a_service_that_fails_wholly_sees_a_fifth_more_and_ten_a_second() {
    let mut w = some_fail(3, 3, UNAVAILABLE, Answers::Only("14"));
    assert_eq!(run(&mut w, 2_000), 0);
    let t = w.relay.totals();
    let (requests, seconds) = (2_000.0, 2_000.0 * 0.02);
    assert!(t.retries as f64 <= 10.0 + 0.2 * requests + 10.0 * seconds, "{}", t.retries);
    assert!(t.retries as f64 >= 0.95 * (0.2 * requests + 10.0 * seconds), "{}", t.retries);
    assert!(t.retries_denied > 0);
}

#[test]
fn a_call_has_four_tries_at_most() {
    let mut w = some_fail(8, 8, UNAVAILABLE, Answers::Only("14"));
    run(&mut w, 1);
    assert_eq!(w.relay.totals().tries, 4);
}

#[test]
fn a_server_that_asks_for_a_pause_is_obeyed() {
    let mut w = some_fail(2, 2, UNAVAILABLE, Answers::No);
    let c = w.client();
    let slot = w.call(c, "/x", b"a", true);
    let (_, peer) = w.servers.values_mut().find(|(_, p)| !p.order.is_empty()).unwrap();
    let fields = [
        (":status", "200"),
        ("content-type", "application/grpc"),
        ("grpc-status", "14"),
        ("grpc-retry-pushback-ms", "5000"),
    ];
    peer.h2.send_head(peer.order[0], &world::list(&fields), true);
    w.settle();
    assert_eq!(w.seen(c, slot).get("grpc-status").as_deref(), Some("14"));
    assert_eq!(w.relay.totals().tries, 1);
}

#[test]
fn the_server_is_told_that_it_is_asked_again() {
    let mut w = some_fail(1, 2, UNAVAILABLE, Answers::Only("14"));
    run(&mut w, 100);
    let peer = w.server(2);
    let told = peer.seen.values().filter_map(|s| s.get("grpc-previous-rpc-attempts")).all(|n| n == "1");
    assert!(told && w.relay.totals().retries > 0);
}

#[test]
fn a_lost_connection_and_a_reset_are_tried_again_if_their_code_was_chosen() {
    let mut w = some_fail(1, 2, UNAVAILABLE, Answers::No);
    let c = w.client();
    let slot = loop {
        let slot = w.call(c, "/x", b"a", true);
        if w.seen(c, slot).heads.is_empty() {
            break slot;
        }
        w.now += 20 * MS;
    };
    w.drop_server(1);
    assert_eq!(w.seen(c, slot).get("grpc-status").as_deref(), Some("0"));
    assert_eq!(w.relay.totals().retries, 1);

    let mut w = some_fail(2, 2, 1 << 13, Answers::No);
    let c = w.client();
    let slot = w.call(c, "/x", b"a", true);
    let first = *w.servers.iter().find(|(_, (_, p))| !p.order.is_empty()).unwrap().0;
    let (_, peer) = w.servers.get_mut(&first).unwrap();
    peer.h2.reset(peer.order[0], ErrorCode::INTERNAL_ERROR);
    w.settle();
    let (_, peer) = w.servers.iter_mut().find(|(id, _)| **id != first).expect("another server is asked").1;
    peer.h2.send_head(peer.order[0], &grpc_head(), false);
    peer.h2.send_trailers(peer.order[0], &world::list(&[("grpc-status", "0")]));
    w.settle();
    assert_eq!(w.seen(c, slot).get("grpc-status").as_deref(), Some("0"));
}

#[test]
fn a_deadline_ends_the_tries() {
    let mut w = some_fail(2, 2, UNAVAILABLE, Answers::No);
    let c = w.client();
    let slot = w.call_with(c, &[("grpc-timeout", "100m")], b"a", true);
    w.now = 60 * MS;
    let refuse = |w: &mut World| {
        for (_, peer) in w.servers.values_mut() {
            for s in std::mem::take(&mut peer.order) {
                let fields = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "14")];
                peer.h2.send_head(s, &world::list(&fields), true);
                peer.sweep(s);
            }
        }
        w.settle();
    };
    refuse(&mut w);
    assert_eq!(w.relay.totals().retries, 1);
    let second = w
        .servers
        .values()
        .flat_map(|(_, p)| p.seen.values())
        .find_map(|s| s.get("grpc-timeout").filter(|t| t != "100m"));
    assert_eq!(second.as_deref(), Some("40000000n"));
    w.now = 110 * MS;
    refuse(&mut w);
    let seen = w.seen(c, slot);
    assert_eq!(seen.heads.len(), 1);
    assert_eq!(w.relay.totals().retries, 1);
}

#[test]
fn a_request_still_being_sent_goes_on_at_the_second_server() {
    let mut w = some_fail(1, 2, UNAVAILABLE, Answers::No);
    let c = w.client();
    let slot = loop {
        let slot = w.call(c, "/x", b"first ", false);
        if w.servers.values().any(|(a, p)| *a == addr(1) && !p.order.is_empty()) {
            break slot;
        }
        w.clients.get_mut(&c).unwrap().h2.reset(slot, ErrorCode::CANCEL);
        w.settle();
        w.now += 20 * MS;
    };
    let peer = w.server(1);
    let s = *peer.order.last().unwrap();
    let fields = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "14")];
    peer.h2.send_head(s, &world::list(&fields), true);
    w.settle();
    w.clients.get_mut(&c).unwrap().h2.send_data(slot, b"second", true);
    w.settle();
    assert_eq!(w.seen(c, slot).body, b"first second");
    assert!(w.seen(c, slot).get("grpc-status").as_deref() == Some("0"));
    w.clients.get_mut(&c).unwrap().sweep(slot);
    w.pass(100);
    assert!(w.relay.debts().iter().all(|(connection, held, streams)| (*connection, *held, *streams) == (0, 0, 0)));
}
