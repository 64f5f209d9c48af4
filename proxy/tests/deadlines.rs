//! `grpc-timeout` is kept by the proxy itself, wherever a call is: at a server, in the queue, between two tries.

mod world;

use ewma_proxy::core::h2::frame::ErrorCode;
use world::{addr, grpc_head, Answers, World, MS};

fn silent(servers: u8) -> World {
    let mut w = World::new(servers);
    for n in 1..=servers {
        w.answers.insert(addr(n), Answers::No);
    }
    w
}

fn counted(w: &World, code: usize) -> u64 {
    let t = &w.relay.targets()[0];
    let of = |stats: &ewma_proxy::core::relay::EndpointStats| {
        stats.routes.iter().flatten().map(|r| r.grpc[code]).sum::<u64>()
    };
    of(&t.unserved) + t.pool.all().map(|(_, e)| of(&e.info.stats)).sum::<u64>()
}

#[test]
fn at_the_deadline_the_server_is_told_and_the_client_gets_its_code() {
    let mut w = silent(1);
    let c = w.client();
    let slot = w.call_with(c, &[("grpc-timeout", "300m")], b"x", true);
    w.pass_to_deadlines(299 * MS);
    assert!(w.seen(c, slot).heads.is_empty());
    w.pass_to_deadlines(310 * MS);
    assert_eq!(w.seen(c, slot).get("grpc-status").as_deref(), Some("4"));
    assert!(w.seen(c, slot).get("grpc-message").unwrap().contains("deadline"));
    assert_eq!(w.server(1).seen.values().next().unwrap().reset, Some(ErrorCode::CANCEL));
    assert_eq!((w.relay.calls(), counted(&w, 4)), (0, 1));
}

#[test]
fn a_thousand_deadlines_are_each_kept_within_five_milliseconds() {
    let mut w = silent(2);
    let c = w.client();
    let slots: Vec<_> = (0..900u64)
        .map(|i| {
            w.now += MS;
            let at = w.now + (50 + i * 7 % 400) * MS;
            (w.call_with(c, &[("grpc-timeout", &format!("{}m", 50 + i * 7 % 400))], b"", true), at)
        })
        .collect();
    // Those that were due meanwhile are a little late here only because the loop above did not look.
    for now in (w.now / MS)..2_000 {
        w.pass_to_deadlines(now * MS);
        for (slot, at) in &slots {
            let over = w.seen(c, *slot).ended;
            assert!(!over || w.now >= *at, "too early");
            assert!(over || w.now <= at.max(&(900 * MS)) + 5 * MS, "due at {at}, still open at {}", w.now);
        }
    }
    assert!(slots.iter().all(|(slot, _)| w.seen(c, *slot).get("grpc-status").as_deref() == Some("4")));
}

#[test]
fn a_call_that_waits_for_an_endpoint_ends_at_its_deadline() {
    let mut w = World::new(0);
    let c = w.client();
    let slot = w.call_with(c, &[("grpc-timeout", "500m")], b"x", true);
    w.pass_to_deadlines(505 * MS);
    assert_eq!(w.seen(c, slot).get("grpc-status").as_deref(), Some("4"));
    w.endpoints(&[1]);
    assert!(w.servers.is_empty() || w.served(1) == 0);
}

#[test]
fn what_is_left_of_the_timeout_is_what_a_late_server_hears() {
    let mut w = World::new(0);
    let c = w.client();
    let slot = w.call_with(c, &[("grpc-timeout", "2S"), ("x-kept", "yes")], b"x", true);
    w.pass_to_deadlines(500 * MS);
    w.endpoints(&[1]);
    assert_eq!(w.seen(c, slot).get("grpc-status").as_deref(), Some("0"));
    let heard = w.server(1).seen.values().next().unwrap().clone();
    assert_eq!(heard.get("grpc-timeout").as_deref(), Some("1500000u"));
    assert_eq!(heard.get("x-kept").as_deref(), Some("yes"));
}

#[test]
fn a_timeout_goes_on_as_it_came_when_nothing_waited_and_a_malformed_one_too() {
    for text in ["2S", "99999999H", "soon", "123456789m"] {
        let mut w = World::new(1);
        let c = w.client();
        let slot = w.call_with(c, &[("grpc-timeout", text)], b"x", true);
        assert_eq!(w.seen(c, slot).get("grpc-status").as_deref(), Some("0"), "{text}");
        assert_eq!(w.server(1).seen.values().next().unwrap().get("grpc-timeout").as_deref(), Some(text));
    }
}

#[test]
fn an_answer_under_way_is_ended_by_trailers_and_a_complete_one_is_left_alone() {
    let mut w = silent(1);
    let c = w.client();
    let half = w.call_with(c, &[("grpc-timeout", "100m")], b"x", true);
    let whole = w.call_with(c, &[("grpc-timeout", "100m")], b"x", false);
    let slots = w.server(1).order.clone();
    w.server(1).h2.send_head(slots[0], &grpc_head(), false);
    w.server(1).h2.send_data(slots[0], b"part", false);
    w.server(1).h2.send_head(slots[1], &grpc_head(), false);
    w.server(1).h2.send_trailers(slots[1], &world::list(&[("grpc-status", "0")]));
    w.settle();
    w.pass_to_deadlines(200 * MS);
    assert_eq!(
        (w.seen(c, half).body.as_slice(), w.seen(c, half).get("grpc-status").as_deref()),
        (&b"part"[..], Some("4"))
    );
    assert_eq!(w.seen(c, whole).get("grpc-status").as_deref(), Some("0"));
}

#[test]
fn a_client_that_cancels_at_its_deadline_counts_as_one_that_ran_out_of_time() {
    for (at, code) in [(298, 4), (150, 1)] {
        let mut w = silent(1);
        let c = w.client();
        let slot = w.call_with(c, &[("grpc-timeout", "300m")], b"x", true);
        w.now = at * MS;
        w.clients.get_mut(&c).unwrap().h2.reset(slot, ErrorCode::CANCEL);
        w.settle();
        assert_eq!(counted(&w, code), 1, "cancelled at {at} ms");
    }
}

#[test]
fn plain_http_has_no_grpc_timeout() {
    let mut w = silent(1);
    let c = w.client();
    let head = [(":method", "GET"), (":scheme", "http"), (":path", "/"), ("grpc-timeout", "1m")];
    w.clients.get_mut(&c).unwrap().h2.open(0, &world::list(&head), true).unwrap();
    w.settle();
    assert_eq!(w.relay.due(), None);
}
