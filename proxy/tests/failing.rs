//! Endpoints that fail fast, in every way an endpoint can: they are left, probed, and back once they work.

mod world;

use ewma_proxy::core::h2::frame::ErrorCode;
use world::{addr, grpc_head, Answers, World, MS};

/// Calls by one client, 2 ms apart; how many each of three servers got.
fn calls(w: &mut World, n: usize) -> [usize; 3] {
    let before = [1, 2, 3].map(|n| w.served(n));
    let c = w.client();
    for _ in 0..n {
        w.now += 2 * MS;
        let slot = w.call(c, "/voting.v1.Voting/Vote", b"x", true);
        w.clients.get_mut(&c).unwrap().sweep(slot);
    }
    let after = [1, 2, 3].map(|n| w.served(n));
    [0, 1, 2].map(|i| after[i] - before[i])
}

/// A world whose first server answers so.
fn world(first: Answers) -> World {
    let mut w = World::new(3);
    w.answers.insert(addr(1), first);
    w
}

fn switch(w: &mut World, to: Answers) {
    w.answers.insert(addr(1), to);
    w.server(1).answers = to;
}

#[test]
fn whatever_way_an_endpoint_fails_it_is_left() {
    let statuses = ["2", "4", "8", "13", "14", "15"];
    let only = statuses.map(Answers::Only);
    let trailers = statuses.map(Answers::Trailers);
    let other = [Answers::Http("500"), Answers::Http("503"), Answers::Http("429"), Answers::Break, Answers::Refuse];
    for answers in only.into_iter().chain(trailers).chain(other) {
        let mut w = world(answers);
        let early = calls(&mut w, 100)[0];
        let late = calls(&mut w, 1_000)[0];
        assert!(early <= 34, "{answers:?}: {early} of the first 100");
        assert!(late < 20, "{answers:?}: {late} of the next 1000");
    }
}

#[test]
fn answers_that_are_the_callers_doing_count_as_any_other() {
    for status in ["0", "1", "3", "5", "6", "7", "9", "10", "11", "12", "16"] {
        let got = calls(&mut world(Answers::Trailers(status)), 300);
        assert!(got[0] >= 75, "{status}: {got:?}");
    }
    let got = calls(&mut world(Answers::Http("404")), 300);
    assert!(got[0] >= 75, "{got:?}");
}

#[test]
fn an_endpoint_that_works_again_is_back_within_two_seconds() {
    let mut w = world(Answers::Only("14"));
    calls(&mut w, 1_000);
    switch(&mut w, Answers::Echo);
    calls(&mut w, 750);
    let got = calls(&mut w, 300);
    assert!((80..=120).contains(&got[0]), "{got:?}");
}

#[test]
fn calls_that_clients_cancel_do_not_speak_against_an_endpoint() {
    let mut w = world(Answers::No);
    let c = w.client();
    for i in 0..200 {
        w.now += 2 * MS;
        let slot = w.call(c, "/x", b"x", true);
        if w.seen(c, slot).ended {
            w.clients.get_mut(&c).unwrap().sweep(slot);
            continue;
        }
        // Half of them after the answer has begun, as a client does that has seen enough of a stream.
        if i % 2 == 0 {
            let s = *w.server(1).order.last().unwrap();
            w.server(1).h2.send_head(s, &grpc_head(), false);
            w.settle();
        }
        let peer = w.clients.get_mut(&c).unwrap();
        peer.h2.reset(slot, ErrorCode::CANCEL);
        peer.h2.remove(slot);
        w.settle();
    }
    let endpoint = w.relay.targets()[0].pool.get(0).unwrap();
    assert!(!endpoint.failing());
    let stats = endpoint.info.stats.routes[1].as_ref().unwrap();
    assert_eq!(stats.grpc[1] as usize, w.served(1), "all of them count as cancelled: {:?}", stats.grpc);
    assert!(stats.grpc[1] > 20);
}

#[test]
fn a_call_that_fails_on_all_alike_moves_nothing() {
    let mut w = World::new(3);
    for n in 1..=3 {
        w.answers.insert(addr(n), Answers::Echo);
    }
    let mut total = [0; 3];
    for _ in 0..60 {
        let got = calls(&mut w, 29);
        (1..=3).for_each(|n| w.server(n).answers = Answers::Trailers("13"));
        let failed = calls(&mut w, 1);
        (1..=3).for_each(|n| w.server(n).answers = Answers::Echo);
        (0..3).for_each(|i| total[i] += got[i] + failed[i]);
    }
    assert!(total.iter().all(|n| (570..=630).contains(n)), "{total:?} of 1800");
}
