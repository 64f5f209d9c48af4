//! The relay's behaviour, told as stories between clients and servers in memory and virtual time.

mod world;

use ewma_proxy::core::h2::frame::ErrorCode;
use ewma_proxy::core::relay::Settings;
use world::{addr, grpc_head, grpc_request, list, Answers, World};

#[test]
fn a_call_comes_back_with_its_body_and_status() {
    let mut w = World::new(3);
    let c = w.client();
    w.echo(c, b"hello");
    assert_eq!(w.relay.calls(), 0);
}

#[test]
fn bytes_may_be_split_anywhere() {
    for piece in [1, 2, 3, 7, 9, 10, 100] {
        let mut w = World::new(2);
        w.piece = piece;
        let c = w.client();
        w.echo(c, b"hello");
        w.echo(c, &[7; 1_000]);
    }
}

#[test]
fn one_connection_is_spread_evenly_over_equal_servers() {
    let mut w = World::new(3);
    let c = w.client();
    for _ in 0..300 {
        w.now += 10 * world::MS;
        w.echo(c, b"vote");
    }
    let counts: Vec<_> = (1..=3).map(|n| w.served(n)).collect();
    assert!(counts.iter().all(|n| (75..=125).contains(n)), "{counts:?}");
}

#[test]
fn a_big_message_passes_both_ways_and_memory_stays_bounded() {
    let mut w = World::new(1);
    let c = w.client();
    let body: Vec<u8> = (0..8 << 20).map(|i: u32| i.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    w.echo(c, &body);
}

#[test]
fn a_stalled_stream_stops_its_sender_and_nobody_else() {
    let mut w = World::new(1);
    w.answers.insert(addr(1), Answers::No);
    let c = w.client();
    let slow = w.call(c, "/slow", b"first", false);
    w.server(1).stalled = true;
    w.clients.get_mut(&c).unwrap().h2.send_data(slow, &vec![1; 4 << 20], false);
    w.settle();
    let got = w.server(1).seen.values().map(|s| s.body.len()).sum::<usize>();
    assert!(got < 2 << 20, "{got} bytes passed a server that reads nothing");
    w.server(1).answers = Answers::Echo;
    for _ in 0..20 {
        w.server(1).stalled = false;
        w.echo(c, b"quick");
    }
    assert!(w.seen(c, slow).reset.is_none());
}

#[test]
fn trailers_only_answers_keep_their_status() {
    let mut w = World::new(1);
    w.answers.insert(addr(1), Answers::No);
    let c = w.client();
    let slot = w.call(c, "/x", b"a", true);
    let s = w.server(1).order[0];
    w.server(1).h2.send_head(
        s,
        &list(&[(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "5")]),
        true,
    );
    w.settle();
    let seen = w.seen(c, slot);
    assert_eq!((seen.get("grpc-status").as_deref(), seen.heads.len(), seen.ended), (Some("5"), 1, true));
    assert_eq!(w.relay.targets()[0].pool.get(0).unwrap().info.stats.routes[1].as_ref().unwrap().grpc[5], 1);
}

#[test]
fn interim_answers_pass_before_the_final_one() {
    let mut w = World::new(1);
    w.answers.insert(addr(1), Answers::No);
    let c = w.client();
    let slot = w.get(c, "/x");
    let s = w.server(1).order[0];
    w.server(1).h2.send_head(s, &list(&[(":status", "103"), ("link", "x")]), false);
    w.server(1).h2.send_head(s, &list(&[(":status", "204")]), true);
    w.settle();
    let statuses: Vec<_> = w.seen(c, slot).heads.iter().map(|h| h[0].1.clone()).collect();
    assert_eq!(statuses, ["103", "204"]);
}

#[test]
fn a_grpc_client_sees_no_interim_answers() {
    let mut w = World::new(1);
    w.answers.insert(addr(1), Answers::No);
    let c = w.client();
    let slot = w.call(c, "/x", b"a", true);
    let s = w.server(1).order[0];
    for _ in 0..3 {
        w.server(1).h2.send_head(s, &list(&[(":status", "103"), ("link", "x")]), false);
    }
    let last = list(&[(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "0")]);
    w.server(1).h2.send_head(s, &last, true);
    w.settle();
    assert_eq!((w.seen(c, slot).heads.len(), w.seen(c, slot).get("grpc-status").as_deref()), (1, Some("0")));
}

#[test]
fn both_sides_stream_at_once() {
    let mut w = World::new(1);
    w.answers.insert(addr(1), Answers::No);
    let c = w.client();
    let slot = w.call(c, "/chat", b"1", false);
    let s = w.server(1).order[0];
    w.server(1).h2.send_head(s, &grpc_head(), false);
    for i in 0..10u8 {
        w.clients.get_mut(&c).unwrap().h2.send_data(slot, &[i], i == 9);
        w.server(1).h2.send_data(s, &[i, i], false);
        w.settle();
        assert_eq!(w.server(1).seen[&s].body.len(), 2 + usize::from(i));
        assert_eq!(w.seen(c, slot).body.len(), 2 * (1 + usize::from(i)));
    }
    assert!(w.server(1).seen[&s].ended);
    w.server(1).h2.send_trailers(s, &list(&[("grpc-status", "0")]));
    w.settle();
    assert!(w.seen(c, slot).ended);
    assert_eq!(w.relay.calls(), 0);
}

#[test]
fn a_client_that_cancels_frees_the_server() {
    let mut w = World::new(1);
    w.answers.insert(addr(1), Answers::No);
    let c = w.client();
    let slot = w.call(c, "/x", b"a", true);
    let s = w.server(1).order[0];
    w.clients.get_mut(&c).unwrap().h2.reset(slot, ErrorCode::CANCEL);
    w.settle();
    assert_eq!(w.server(1).seen[&s].reset, Some(ErrorCode::CANCEL));
    assert_eq!((w.relay.calls(), w.relay.targets()[0].pool.get(0).unwrap().in_flight), (0, 0));
}

#[test]
fn calls_reset_in_the_same_breath_cost_no_server_anything() {
    let mut w = World::new(1);
    let c = w.client();
    w.echo(c, b"the connection is there");
    for round in 0..20 {
        let peer = w.clients.get_mut(&c).unwrap();
        for _ in 0..100 {
            let slot = peer.h2.open(0, &grpc_request("/x"), false).expect("room");
            peer.h2.reset(slot, ErrorCode::CANCEL);
            peer.h2.remove(slot);
        }
        let honest = w.call(c, "/x", b"among them", true);
        assert!(w.seen(c, honest).ended, "round {round}");
    }
    assert_eq!(w.served(1), 21);
    assert_eq!(w.relay.calls(), 0);
}

#[test]
fn a_client_that_disconnects_frees_its_servers() {
    let mut w = World::new(2);
    for n in 1..=2 {
        w.answers.insert(addr(n), Answers::No);
    }
    let c = w.client();
    for _ in 0..10 {
        w.call(c, "/x", b"a", true);
    }
    w.drop_client(c);
    assert_eq!(w.relay.calls(), 0);
    assert!(w.relay.targets()[0].pool.all().all(|(_, e)| e.in_flight == 0));
}

#[test]
fn a_reset_of_the_server_reaches_the_client_with_its_code() {
    let mut w = World::new(1);
    w.answers.insert(addr(1), Answers::No);
    let c = w.client();
    let slot = w.call(c, "/x", b"a", true);
    let s = w.server(1).order[0];
    w.server(1).h2.reset(s, ErrorCode::ENHANCE_YOUR_CALM);
    w.settle();
    assert_eq!(w.seen(c, slot).reset, Some(ErrorCode::ENHANCE_YOUR_CALM));
}

#[test]
fn an_early_answer_arrives_whole_and_stops_the_upload() {
    let mut w = World::new(1);
    w.answers.insert(addr(1), Answers::No);
    let c = w.client();
    let slot = w.call(c, "/upload", &[0; 1000], false);
    let s = w.server(1).order[0];
    w.server(1).h2.send_head(s, &list(&[(":status", "413")]), false);
    w.server(1).h2.send_data(s, b"too big", true);
    w.server(1).h2.reset(s, ErrorCode::NO_ERROR);
    w.settle();
    let seen = w.seen(c, slot);
    assert_eq!((&seen.body[..], seen.ended, seen.reset), (&b"too big"[..], true, Some(ErrorCode::NO_ERROR)));
    assert_eq!(w.relay.calls(), 0);
}

#[test]
fn a_refused_stream_goes_elsewhere_and_no_other_call_is_sent_twice() {
    let mut w = World::new(2);
    w.answers.insert(addr(1), Answers::Refuse);
    let c = w.client();
    for _ in 0..50 {
        w.echo(c, b"once");
    }
    assert_eq!(w.served(2), 50);
}

#[test]
fn calls_above_goaways_last_are_sent_again_and_those_below_finish() {
    let mut w = World::new(1);
    w.answers.insert(addr(1), Answers::No);
    let c = w.client();
    let first = w.call(c, "/a", b"a", true);
    let s = w.server(1).order[0];
    // The server has seen one stream and says so while a second is on its way.
    w.server(1).h2.goaway(ErrorCode::NO_ERROR, false, "");
    w.answers.insert(addr(1), Answers::Echo);
    let second = w.call(c, "/b", b"b", true);
    assert_eq!(w.seen(c, second).get("grpc-status").as_deref(), Some("0"));
    let old = w.servers.values_mut().find(|(_, p)| p.answers == Answers::No).unwrap();
    old.1.h2.send_head(
        s,
        &list(&[(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "0")]),
        true,
    );
    w.settle();
    assert_eq!(w.seen(c, first).get("grpc-status").as_deref(), Some("0"));
    assert_eq!(w.servers.len(), 1, "the connection that was going away is closed");
}

#[test]
fn a_server_that_refuses_connections_costs_no_call() {
    let mut w = World::new(3);
    w.refusing = vec![addr(2)];
    let c = w.client();
    for _ in 0..100 {
        w.echo(c, b"x");
    }
}

#[test]
fn a_long_body_survives_a_connection_that_never_came() {
    let mut w = World::new(2);
    w.silent = vec![addr(1), addr(2)];
    let c = w.client();
    let body = vec![5; 200 << 10];
    let slot = w.call(c, "/x", &body, true);
    w.silent.clear();
    w.pass(1_200);
    let seen = w.seen(c, slot);
    assert_eq!((seen.body.len(), seen.get("grpc-status").as_deref()), (body.len(), Some("0")));
}

#[test]
fn a_lost_connection_fails_its_calls_with_unavailable_and_is_not_replayed() {
    let mut w = World::new(1);
    w.answers.insert(addr(1), Answers::No);
    let c = w.client();
    let slot = w.call(c, "/x", b"a", true);
    w.drop_server(1);
    assert_eq!(w.seen(c, slot).get("grpc-status").as_deref(), Some("14"));
}

#[test]
fn without_endpoints_a_call_waits_and_then_says_why() {
    let mut w = World::new(0);
    let c = w.client();
    let slot = w.call(c, "/x", b"a", true);
    w.pass(2_900);
    assert!(w.seen(c, slot).heads.is_empty());
    w.pass(200);
    let seen = w.seen(c, slot);
    assert_eq!(seen.get("grpc-status").as_deref(), Some("14"));
    assert!(seen.get("grpc-message").unwrap().contains("no endpoint is ready for lab/voting:8080"));
}

#[test]
fn a_waiting_call_is_served_as_soon_as_an_endpoint_comes() {
    let mut w = World::new(0);
    let c = w.client();
    let slot = w.call(c, "/x", &[3; 50_000], true);
    w.pass(500);
    w.endpoints(&[1]);
    assert_eq!(w.seen(c, slot).body.len(), 50_000);
}

#[test]
fn plain_http_gets_a_503_when_nobody_is_there() {
    let mut w = World::new(0);
    let c = w.client();
    let peer = w.clients.get_mut(&c).unwrap();
    let get = list(&[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")]);
    let slot = peer.h2.open(0, &get, true).unwrap();
    w.settle();
    w.pass(3_200);
    assert_eq!(w.seen(c, slot).get(":status").as_deref(), Some("503"));
}

#[test]
fn the_servers_stream_limit_is_kept_and_all_calls_are_served() {
    let settings = Settings { max_conns: 2, ..Settings::default() };
    let mut w = World::with(1, settings);
    w.server_limits.max_streams = 3;
    let c = w.client();
    w.answers.insert(addr(1), Answers::No);
    let warm = w.call(c, "/warm", b"w", true);
    let slots: Vec<_> = (0..20).map(|_| w.call(c, "/x", b"a", true)).collect();
    assert!(w.servers.len() <= 2);
    for _ in 0..20 {
        for (_, peer) in w.servers.values_mut() {
            assert!(peer.h2.streams() <= 3);
            peer.answers = Answers::Echo;
            let open: Vec<u32> = peer.h2.calls().into_iter().map(|(s, _)| s).collect();
            for s in open {
                peer.h2.send_head(
                    s,
                    &list(&[(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "0")]),
                    true,
                );
                peer.sweep(s);
            }
        }
        w.settle();
    }
    for slot in slots.into_iter().chain([warm]) {
        assert_eq!(w.seen(c, slot).get("grpc-status").as_deref(), Some("0"));
    }
}

#[test]
fn an_endpoint_that_leaves_finishes_its_calls_and_gets_no_new_ones() {
    let mut w = World::new(2);
    w.answers.insert(addr(1), Answers::No);
    let c = w.client();
    let mut open = vec![];
    while w.served(1) == 0 {
        open.push(w.call(c, "/x", b"a", true));
    }
    w.endpoints(&[2]);
    let before = w.served(1);
    for _ in 0..50 {
        w.echo(c, b"y");
    }
    assert_eq!(w.served(1), before);
    let s = w.server(1).order[0];
    w.server(1).h2.send_head(
        s,
        &list(&[(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "0")]),
        true,
    );
    w.settle();
    assert!(open.iter().all(|slot| w.seen(c, *slot).get("grpc-status").as_deref() == Some("0")));
    assert!(!w.servers.values().any(|(a, _)| *a == addr(1)), "its connection is closed");
}

#[test]
fn an_address_that_another_pod_took_over_is_another_endpoint() {
    let mut w = World::new(1);
    let c = w.client();
    w.echo(c, b"x");
    let info =
        ewma_proxy::core::relay::EndpointInfo { addr: addr(1), pod: "pod-9".into(), uid: "u9".into(), also: None };
    w.relay.set_endpoints(w.target, &[info], w.now);
    w.settle();
    w.echo(c, b"y");
    assert_eq!(w.relay.targets()[0].pool.active().next().unwrap().1.info.pod.as_ref(), "pod-9");
}

#[test]
fn draining_tells_clients_finishes_their_calls_and_ends() {
    let mut w = World::new(1);
    w.answers.insert(addr(1), Answers::No);
    let c = w.client();
    let slot = w.call(c, "/x", b"a", true);
    w.relay.drain(w.now);
    w.settle();
    w.pass(1_100);
    assert!(w.clients[&c].goaway.is_some());
    assert!(!w.relay.drained());
    let s = w.server(1).order[0];
    w.server(1).h2.send_head(
        s,
        &list(&[(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "0")]),
        true,
    );
    let mut peer = None;
    for _ in 0..10 {
        w.settle();
        peer = w.clients.remove(&c).or(peer);
    }
    let _ = slot;
    assert!(w.relay.drained());
}

#[test]
fn after_any_mixture_nothing_is_left_behind() {
    for seed in 0..30u64 {
        let mut w = World::new(3);
        let mut rng = ewma_proxy::core::rng::Rng::new(seed);
        w.piece = [usize::MAX, 1_000, 37][rng.below(3)];
        let c = w.client();
        let mut open = vec![];
        for _ in 0..120 {
            w.now += world::MS;
            match rng.below(10) {
                0..=4 => {
                    let body = vec![1; rng.below(40_000)];
                    let end = rng.below(4) > 0;
                    let slot = w.call(c, "/x", &body, end);
                    if !end {
                        open.push(slot);
                    }
                }
                5 | 6 if !open.is_empty() => {
                    let slot = open.swap_remove(rng.below(open.len()));
                    w.clients.get_mut(&c).unwrap().h2.send_data(slot, b"end", true);
                }
                7 if !open.is_empty() => {
                    let slot = open.swap_remove(rng.below(open.len()));
                    w.clients.get_mut(&c).unwrap().h2.reset(slot, ErrorCode::CANCEL);
                }
                8 => w.drop_server(1 + rng.below(3) as u8),
                _ => w.endpoints(&[1, 2, 3][..1 + rng.below(3)]),
            }
            w.settle();
        }
        for slot in open {
            w.clients.get_mut(&c).unwrap().h2.reset(slot, ErrorCode::CANCEL);
        }
        w.settle();
        w.pass(3_500);
        assert_eq!(w.relay.calls(), 0, "seed {seed}");
        assert!(w.relay.targets()[0].pool.all().all(|(_, e)| e.in_flight == 0), "seed {seed}");
        for (connection, held, slots) in w.relay.debts() {
            assert_eq!((connection, held, slots), (0, 0, 0), "seed {seed}: windows restored, no stream left");
        }
    }
}
