//! Stories of many streams on few connections: identifiers that run out, limits, stalls, servers that drain.

mod world;

use std::collections::HashMap;

use ewma_proxy::core::h2::connection::Role;
use ewma_proxy::core::h2::frame::ErrorCode;
use ewma_proxy::core::h2::limits::Limits;
use ewma_proxy::core::relay::Settings;
use world::{addr, grpc_head, grpc_request, list, Answers, World};

/// The tenth stream from here is the last that a connection can have.
const NEAR_THE_END: u32 = (1 << 31) - 19;

fn near_the_end() -> Limits {
    Limits { first_stream: NEAR_THE_END, ..Limits::default() }
}

fn ok(fields: &[(&str, &str)]) -> std::rc::Rc<ewma_proxy::core::h2::headers::Headers> {
    list(&[&[(":status", "200"), ("content-type", "application/grpc")], fields].concat())
}

#[test]
fn more_calls_than_a_servers_connection_has_identifiers_all_succeed() {
    let mut w = World::with(2, Settings { limits: near_the_end(), ..Settings::default() });
    let c = w.client();
    for i in 0..200u8 {
        w.echo(c, &[i; 30]);
    }
    assert!(w.relay.totals().connects >= 20, "ten streams a connection: {}", w.relay.totals().connects);
    assert!(w.servers.len() <= 2, "used-up connections are closed: {}", w.servers.len());
}

#[test]
fn calls_under_way_on_a_used_up_connection_finish() {
    let mut w = World::with(1, Settings { limits: near_the_end(), ..Settings::default() });
    w.answers.insert(addr(1), Answers::No);
    let c = w.client();
    let slots: Vec<u32> = (0..15).map(|_| w.call(c, "/x", b"a", true)).collect();
    assert_eq!(w.servers.len(), 2);
    for (_, peer) in w.servers.values_mut() {
        for (slot, _) in peer.h2.calls() {
            peer.h2.send_head(slot, &ok(&[("grpc-status", "0")]), true);
            peer.sweep(slot);
        }
    }
    w.settle();
    assert!(slots.iter().all(|s| w.seen(c, *s).get("grpc-status").as_deref() == Some("0")));
    assert_eq!(w.servers.len(), 1, "the used-up one is closed, the other stays");
}

#[test]
fn a_client_whose_identifiers_run_out_is_served_to_the_last_and_comes_back() {
    let mut w = World::new(1);
    w.client_limits = near_the_end();
    for _ in 0..3 {
        let c = w.client();
        while w.clients[&c].h2.room() > 0 {
            w.echo(c, b"x");
        }
        w.drop_client(c);
    }
    assert_eq!(w.served(1), 30);
}

#[test]
fn a_client_on_its_last_identifier_can_still_be_drained() {
    let mut w = World::new(1);
    w.client_limits = near_the_end();
    let c = w.client();
    while w.clients[&c].h2.room() > 0 {
        w.echo(c, b"x");
    }
    w.relay.drain(w.now);
    w.settle();
    w.pass(1_100);
    assert!(w.closed.contains(&c) && w.relay.drained());
}

#[test]
fn one_stalled_reader_of_100_streams_leaves_99_at_full_speed() {
    let mut w = World::new(1);
    w.answers.insert(addr(1), Answers::No);
    let c = w.client();
    let slots: Vec<u32> = (0..100).map(|_| w.call(c, "/watch", b"a", true)).collect();
    w.clients.get_mut(&c).unwrap().stalled_slot = Some(slots[0]);
    let streams = w.server(1).order.clone();
    assert_eq!(streams.len(), 100);
    for s in &streams {
        w.server(1).h2.send_head(*s, &grpc_head(), false);
    }
    for _ in 0..40 {
        for s in &streams {
            w.server(1).h2.send_data(*s, &[1; 32 << 10], false);
        }
        w.settle();
    }
    let got: Vec<usize> = slots.iter().map(|s| w.seen(c, *s).body.len()).collect();
    assert!(got[1..].iter().all(|n| *n == 40 * (32 << 10)), "{got:?}");
    assert!(got[0] <= 256 << 10, "the stalled one got {}: no more than its window", got[0]);
    let held: usize = w.relay.debts().iter().map(|d| d.1).sum();
    assert!(held <= 512 << 10, "{held} bytes are held for one stalled stream");
}

#[test]
fn one_stalled_upload_of_100_leaves_99_at_full_speed() {
    let mut w = World::new(1);
    w.answers.insert(addr(1), Answers::No);
    let c = w.client();
    let slots: Vec<u32> = (0..100).map(|_| w.call(c, "/put", b"a", false)).collect();
    let streams = w.server(1).order.clone();
    w.server(1).stalled_slot = Some(streams[0]);
    for _ in 0..40 {
        for slot in &slots {
            w.clients.get_mut(&c).unwrap().h2.send_data(*slot, &[1; 32 << 10], false);
        }
        w.settle();
    }
    let got: Vec<usize> = streams.iter().map(|s| w.server(1).seen[s].body.len()).collect();
    assert!(got[1..].iter().all(|n| *n == 40 * (32 << 10) + 1), "{got:?}");
    assert!(got[0] <= 257 << 10, "{}", got[0]);
}

#[test]
fn a_servers_resets_reach_the_client_with_the_same_code() {
    for code in (0..=13).map(ErrorCode).filter(|c| *c != ErrorCode::REFUSED_STREAM) {
        let mut w = World::new(1);
        w.answers.insert(addr(1), Answers::No);
        let c = w.client();
        let slot = w.call(c, "/x", b"a", false);
        let s = w.server(1).order[0];
        w.server(1).h2.send_head(s, &grpc_head(), false);
        w.server(1).h2.reset(s, code);
        w.settle();
        assert_eq!(w.seen(c, slot).reset, Some(code));
        assert_eq!(w.relay.calls(), 0);
    }
}

#[test]
fn a_clients_resets_reach_the_server_as_cancel() {
    for code in (1..=13).map(ErrorCode) {
        let mut w = World::new(1);
        w.answers.insert(addr(1), Answers::No);
        let c = w.client();
        let slot = w.call(c, "/x", b"a", false);
        let s = w.server(1).order[0];
        w.clients.get_mut(&c).unwrap().h2.reset(slot, code);
        w.settle();
        assert_eq!(w.server(1).seen[&s].reset, Some(ErrorCode::CANCEL));
        assert_eq!(w.relay.calls(), 0);
    }
}

#[test]
fn a_clients_goaway_ends_nothing_that_is_under_way() {
    let mut w = World::new(1);
    w.answers.insert(addr(1), Answers::No);
    let c = w.client();
    let slot = w.call(c, "/x", b"a", true);
    w.clients.get_mut(&c).unwrap().h2.goaway(ErrorCode::NO_ERROR, false, "");
    w.settle();
    let s = w.server(1).order[0];
    w.server(1).h2.send_head(s, &ok(&[("grpc-status", "0")]), true);
    w.settle();
    assert_eq!(w.seen(c, slot).get("grpc-status").as_deref(), Some("0"));
}

#[test]
fn a_server_that_drains_every_50_calls_fails_none_and_sees_none_twice() {
    for piece in [usize::MAX, 97, 33] {
        let mut w = World::new(2);
        w.piece = piece;
        let c = w.client();
        let mut open = vec![];
        let mut counted: HashMap<String, u32> = HashMap::new();
        for i in 0..3_000 {
            let request = grpc_request(&format!("/call/{i}"));
            let peer = w.clients.get_mut(&c).unwrap();
            let slot = peer.h2.open(0, &request, false).expect("room");
            peer.seen.insert(slot, world::Seen::default());
            peer.h2.send_data(slot, b"body", true);
            open.push(slot);
            if i % 25 == 24 {
                // Half of the servers say goodbye while 25 calls are on their way to them.
                for (_, peer) in w.servers.values_mut().filter(|(_, p)| p.served >= 50) {
                    if !peer.h2.over() {
                        peer.h2.goaway(ErrorCode::NO_ERROR, false, "drain");
                    }
                }
                w.settle();
                for slot in open.drain(..) {
                    assert_eq!(w.seen(c, slot).get("grpc-status").as_deref(), Some("0"), "call {i}, {piece}");
                    w.clients.get_mut(&c).unwrap().sweep(slot);
                }
            }
        }
        for path in w.paths.iter().chain(w.servers.values().flat_map(|(_, p)| &p.paths)) {
            *counted.entry(path.clone()).or_default() += 1;
        }
        assert_eq!(counted.len(), 3_000);
        assert!(counted.values().all(|n| *n == 1), "a call was answered twice");
        assert!(w.relay.totals().connects > 20);
    }
}

#[test]
fn calls_above_the_servers_stream_limit_wait_in_a_bounded_queue() {
    let settings = Settings { max_conns: 1, max_waiting: 5, ..Settings::default() };
    let mut w = World::with(1, settings);
    w.server_limits.max_streams = 2;
    w.answers.insert(addr(1), Answers::No);
    let c = w.client();
    let slots: Vec<u32> = (0..20).map(|_| w.call(c, "/x", b"a", true)).collect();
    assert_eq!(w.server(1).h2.streams(), 2);
    let refused = slots.iter().filter(|s| w.seen(c, **s).get("grpc-status").as_deref() == Some("14")).count();
    assert_eq!(refused, 20 - 2 - 5);
    w.server(1).answers = Answers::Echo;
    for (slot, _) in w.server(1).h2.calls() {
        w.server(1).h2.send_head(slot, &ok(&[("grpc-status", "0")]), true);
        w.server(1).sweep(slot);
    }
    w.settle();
    let served = slots.iter().filter(|s| w.seen(c, **s).get("grpc-status").as_deref() == Some("0")).count();
    assert_eq!(served, 7);
}

#[test]
fn a_header_list_larger_than_the_server_takes_fails_its_call_and_no_other() {
    let mut w = World::new(1);
    w.server_limits.list.max_bytes = 8 << 10;
    let c = w.client();
    w.echo(c, b"the server's limits are known");
    let neighbour = w.call(c, "/x", b"a", false);
    let big = "y".repeat(20_000);
    let mut fields = (*grpc_request("/x")).clone();
    fields.push(b"x-big", big.as_bytes());
    let peer = w.clients.get_mut(&c).unwrap();
    let slot = peer.h2.open(0, &std::rc::Rc::new(fields), true).unwrap();
    w.settle();
    let seen = w.seen(c, slot);
    assert_eq!(seen.get("grpc-status").as_deref(), Some("8"), "{seen:?}");
    w.clients.get_mut(&c).unwrap().h2.send_data(neighbour, b"b", true);
    w.settle();
    assert_eq!(w.seen(c, neighbour).get("grpc-status").as_deref(), Some("0"));
    assert_eq!(w.server(1).h2.role(), Role::Server);
    assert_eq!(w.relay.calls(), 0);
}

#[test]
fn a_server_that_sends_interim_answers_without_end_is_cut_and_costs_no_memory() {
    let mut w = World::new(1);
    w.answers.insert(addr(1), Answers::No);
    let c = w.client();
    let slot = w.get(c, "/x");
    let s = w.server(1).order[0];
    let early = list(&[(":status", "103"), ("link", &"x".repeat(1_000))]);
    // The client reads nothing: its side is not let travel.
    let id = *w.servers.keys().next().unwrap();
    for _ in 0..30_000 {
        w.server(1).h2.send_head(s, &early, false);
        let bytes = w.server(1).h2.output().to_vec();
        w.server(1).h2.written(bytes.len());
        w.relay.received(id, &bytes, w.now);
        assert!(w.relay.output(c).len() < 48 << 10, "more than 32 heads of a KiB are passed on");
    }
    w.settle();
    assert_eq!(w.relay.totals().faults, 1, "a flood of control frames");
    assert_eq!(w.seen(c, slot).reset, Some(ErrorCode::PROTOCOL_ERROR), "its own call has failed, at the 33rd");
    assert_eq!(w.relay.calls(), 0);
}

#[test]
fn big_answers_to_a_client_that_reads_nothing_are_reset_instead_of_piled_up() {
    let mut w = World::new(1);
    w.answers.insert(addr(1), Answers::No);
    let c = w.client();
    for _ in 0..500 {
        w.call(c, "/x", b"a", true);
    }
    let id = *w.servers.keys().next().unwrap();
    for (i, s) in w.server(1).order.clone().into_iter().enumerate() {
        let big: String = (0..30_000).map(|n| char::from(b'a' + ((n * 7 + i) % 26) as u8)).collect();
        w.server(1).h2.send_head(s, &ok(&[("x-big", &big)]), true);
        let bytes = w.server(1).h2.output().to_vec();
        w.server(1).h2.written(bytes.len());
        w.relay.received(id, &bytes, w.now);
    }
    assert!(w.relay.output(c).len() < 3 << 20, "{}", w.relay.output(c).len());
    w.settle();
    assert_eq!(w.relay.calls(), 0);
    let other = w.client();
    w.answers.insert(addr(1), Answers::Echo);
    w.server(1).answers = Answers::Echo;
    w.echo(other, b"x");
}

#[test]
fn a_million_one_byte_messages_reach_a_slow_reader() {
    const MESSAGES: usize = 1_000_000;
    let mut w = World::new(1);
    w.answers.insert(addr(1), Answers::No);
    let c = w.client();
    let slot = w.call(c, "/drip", b"a", true);
    let s = w.server(1).order[0];
    w.server(1).h2.send_head(s, &grpc_head(), false);
    w.clients.get_mut(&c).unwrap().stalled = true;
    let mut unread = 0;
    for i in 0..MESSAGES {
        w.server(1).h2.send_data(s, b"\0\0\0\0\x01x", false);
        if i % 5_000 == 4_999 {
            w.now += world::MS;
            w.settle();
            // The reader wakes now and then and reads what has come.
            let got = w.seen(c, slot).body.len();
            w.clients.get_mut(&c).unwrap().h2.release(slot, got - unread);
            unread = got;
        }
    }
    w.clients.get_mut(&c).unwrap().stalled = false;
    let got = w.seen(c, slot).body.len();
    w.clients.get_mut(&c).unwrap().h2.release(slot, got - unread);
    w.settle();
    assert_eq!(w.seen(c, slot).body.len(), 6 * MESSAGES);
    assert_eq!(w.relay.totals().faults, 0);
}

#[test]
fn three_rolls_of_all_servers_under_load_fail_no_call() {
    let mut w = World::new(3);
    let c = w.client();
    let mut open = vec![];
    for roll in 1..=3u8 {
        for n in 1..=3u8 {
            let (old, new) = (n + 3 * (roll - 1), n + 3 * roll);
            for i in 0..60 {
                let peer = w.clients.get_mut(&c).unwrap();
                let slot = peer.h2.open(0, &grpc_request("/roll"), false).expect("room");
                peer.seen.insert(slot, world::Seen::default());
                peer.h2.send_data(slot, b"body", true);
                open.push(slot);
                match i {
                    // The new one is ready; the old one says goodbye; it leaves the set; its socket closes.
                    10 => w.endpoints(&(old..=new).collect::<Vec<_>>()),
                    20 => w.servers.values_mut().filter(|(a, _)| *a == addr(old)).for_each(|(_, p)| {
                        p.h2.goaway(ErrorCode::NO_ERROR, false, "");
                    }),
                    30 => w.endpoints(&(old + 1..=new).collect::<Vec<_>>()),
                    _ => {}
                }
                w.now += 2 * world::MS;
                if i % 7 == 0 {
                    w.settle();
                }
            }
            w.settle();
            assert!(!w.servers.values().any(|(a, _)| *a == addr(old)), "its connection is closed");
        }
    }
    assert_eq!(open.len(), 540);
    for slot in open {
        assert_eq!(w.seen(c, slot).get("grpc-status").as_deref(), Some("0"));
    }
}

#[test]
fn many_stalled_readers_on_one_servers_connection_do_not_stall_the_rest() {
    let mut w = World::new(1);
    w.answers.insert(addr(1), Answers::No);
    let (slow, quick) = (w.client(), w.client());
    let stalled: Vec<u32> = (0..60).map(|_| w.call(slow, "/watch", b"a", true)).collect();
    w.clients.get_mut(&slow).unwrap().stalled = true;
    let reading: Vec<u32> = (0..40).map(|_| w.call(quick, "/watch", b"a", true)).collect();
    assert_eq!(w.servers.len(), 1);
    let streams = w.server(1).order.clone();
    for s in &streams {
        w.server(1).h2.send_head(*s, &grpc_head(), false);
    }
    for _ in 0..20 {
        for s in &streams {
            w.server(1).h2.send_data(*s, &[1; 32 << 10], false);
        }
        w.settle();
    }
    let got: Vec<usize> = reading.iter().map(|s| w.seen(quick, *s).body.len()).collect();
    assert!(got.iter().all(|n| *n == 20 * (32 << 10)), "{got:?}");
    assert!(stalled.iter().all(|s| w.seen(slow, *s).reset.is_none()));
}
