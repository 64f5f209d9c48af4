//! Limits over all connections, idle connections, and endpoints that hang: what the proxy does by itself in time.

mod world;

use ewma_proxy::core::h2::frame::ErrorCode;
use ewma_proxy::core::relay::{Retries, Settings};
use world::{addr, grpc_head, list, Answers, World};

const SECOND: u64 = 1_000_000_000;

fn world(servers: u8, answers: Answers, settings: Settings) -> World {
    let mut w = World::with(servers, settings);
    for n in 1..=servers {
        w.answers.insert(addr(n), answers);
    }
    w
}

#[test]
fn a_client_that_is_idle_for_long_is_told_and_then_closed() {
    let mut w = world(1, Answers::Echo, Settings { idle: 60 * SECOND, ..Settings::default() });
    let c = w.client();
    w.echo(c, b"x");
    w.pass(59_000);
    w.echo(c, b"y");
    w.pass(59_000);
    assert!(w.clients.contains_key(&c), "it was used a minute ago");
    w.pass(4_000);
    assert!(!w.clients.contains_key(&c) && w.closed.contains(&c));
    assert_eq!(w.relay.totals().idle_closed, 1);
}

#[test]
fn a_client_with_a_call_open_is_never_idle() {
    let mut w = world(1, Answers::No, Settings { idle: 60 * SECOND, ..Settings::default() });
    let c = w.client();
    let slot = w.call(c, "/watch", b"", true);
    w.pass(200_000);
    let s = w.server(1).order[0];
    w.server(1).h2.send_head(s, &grpc_head(), false);
    w.server(1).h2.send_trailers(s, &list(&[("grpc-status", "0")]));
    w.settle();
    assert_eq!(w.seen(c, slot).get("grpc-status").as_deref(), Some("0"));
}

#[test]
fn an_idle_connection_to_an_endpoint_is_closed_and_a_new_one_made_when_needed() {
    let mut w = world(1, Answers::Echo, Settings { upstream_idle: 30 * SECOND, ..Settings::default() });
    let c = w.client();
    w.echo(c, b"x");
    assert_eq!(w.servers.len(), 1);
    w.pass(32_000);
    assert!(w.servers.is_empty());
    w.echo(c, b"y");
    assert_eq!(w.relay.totals().connects, 2);
}

#[test]
fn an_endpoint_that_hangs_is_asked_once_and_its_calls_fail() {
    let mut w = world(1, Answers::No, Settings::default());
    let c = w.client();
    let slot = w.call(c, "/x", b"a", true);
    w.frozen = vec![addr(1)];
    w.pass(9_000);
    assert_eq!(w.relay.totals().pings, 0);
    w.pass(3_000);
    assert_eq!((w.relay.totals().pings, w.relay.totals().stalled), (1, 0));
    w.pass(6_000);
    assert_eq!((w.relay.totals().pings, w.relay.totals().stalled), (1, 1));
    assert_eq!(w.seen(c, slot).get("grpc-status").as_deref(), Some("14"));
}

#[test]
fn calls_of_a_hanging_endpoint_are_tried_elsewhere_if_that_was_asked_for() {
    let retries = Retries { codes: 1 << 14, ..Retries::default() };
    let mut w = world(2, Answers::No, Settings { retries, ..Settings::default() });
    let c = w.client();
    let slot = w.call(c, "/x", b"a", true);
    let (id, hanging) = w.servers.iter().find(|(_, (_, p))| !p.order.is_empty()).map(|(i, (a, _))| (*i, *a)).unwrap();
    w.frozen = vec![hanging];
    w.pass(17_000);
    let (_, other) = w.servers.iter_mut().find(|(i, (_, p))| **i != id && !p.order.is_empty()).unwrap().1;
    let s = other.order[0];
    other.h2.send_head(s, &grpc_head(), false);
    other.h2.send_trailers(s, &list(&[("grpc-status", "0")]));
    w.settle();
    assert_eq!(w.seen(c, slot).get("grpc-status").as_deref(), Some("0"));
}

#[test]
fn a_server_is_pinged_again_only_after_data_or_five_minutes() {
    let mut w = world(1, Answers::No, Settings::default());
    let c = w.client();
    let slot = w.call(c, "/bidi", b"first", false);
    // The client speaks every 15 s, the server answers nothing but PINGs.
    for _ in 0..19 {
        w.pass(15_000);
        w.clients.get_mut(&c).unwrap().h2.send_data(slot, b"more", false);
        w.settle();
    }
    assert_eq!(w.relay.totals().pings, 1, "within 285 s");
    w.pass(45_000);
    assert_eq!(w.relay.totals().pings, 2, "after 310 s");
    let s = w.server(1).order[0];
    w.server(1).h2.send_head(s, &grpc_head(), false);
    w.settle();
    w.clients.get_mut(&c).unwrap().h2.send_data(slot, b"more", false);
    w.settle();
    w.pass(13_000);
    assert_eq!(w.relay.totals().pings, 3, "the server sent HEADERS, which clears its count");
    assert_eq!(w.relay.totals().stalled, 0);
}

#[test]
fn a_connection_without_calls_and_a_busy_one_are_never_pinged() {
    let mut w = world(1, Answers::Echo, Settings::default());
    let c = w.client();
    for _ in 0..30 {
        w.echo(c, b"x");
        w.pass(9_000);
    }
    w.pass(300_000);
    assert_eq!(w.relay.totals().pings, 0);
}

#[test]
fn above_the_memory_cap_new_streams_are_refused_until_there_is_room() {
    let mut w = world(1, Answers::No, Settings { max_held: 2 << 20, ..Settings::default() });
    let c = w.client();
    w.call(c, "/warm", b"", true);
    w.server(1).stalled = true;
    let slots: Vec<u32> = (0..20)
        .map(|_| {
            let slot = w.call(c, "/x", &vec![1; 400 << 10], false);
            w.settle();
            slot
        })
        .collect();
    let refused = |w: &World| slots.iter().filter(|s| w.seen(c, **s).reset == Some(ErrorCode::REFUSED_STREAM)).count();
    assert!(refused(&w) > 0, "{} held", w.relay.held());
    assert!(w.relay.held() < 3 << 20, "{} held", w.relay.held());
    for slot in &slots {
        w.clients.get_mut(&c).unwrap().h2.reset(*slot, ErrorCode::CANCEL);
    }
    w.server(1).stalled = false;
    w.settle();
    w.pass(1_100);
    let before = w.relay.totals().shed;
    w.server(1).answers = Answers::Echo;
    w.echo(c, b"room again");
    assert_eq!(w.relay.totals().shed, before);
}

#[test]
fn far_above_the_cap_the_calls_that_hold_most_are_reset_and_small_ones_go_on() {
    let mut w = world(1, Answers::No, Settings { max_held: 1 << 20, ..Settings::default() });
    // The server takes no more than this while it reads nothing.
    w.server_limits.conn_held = 1 << 20;
    let clients: Vec<u32> = (0..8).map(|_| w.client()).collect();
    // Opened while there is room, filled afterwards: refusing new streams is of no help here.
    let open: Vec<(u32, u32)> = clients
        .iter()
        .flat_map(|c| (0..4).map(|_| *c).collect::<Vec<_>>())
        .map(|c| (c, w.call(c, "/x", b"", false)))
        .collect();
    let small = w.call(clients[0], "/small", b"x", false);
    w.server(1).stalled = true;
    for (c, slot) in &open {
        w.clients.get_mut(c).unwrap().h2.send_data(*slot, &vec![1; 256 << 10], false);
        w.settle();
    }
    let cut = open.iter().filter(|(c, s)| w.seen(*c, *s).reset == Some(ErrorCode::ENHANCE_YOUR_CALM)).count();
    assert!(cut > 0 && w.relay.totals().shed as usize >= cut);
    assert!(w.relay.held() < 3 << 20, "{} held", w.relay.held());
    assert!(w.seen(clients[0], small).reset.is_none());
}

#[test]
fn pods_that_come_and_go_without_end_are_forgotten() {
    let mut w = world(1, Answers::Echo, Settings::default());
    for n in 0..2_000u32 {
        let (pod, uid) = (format!("pod-{n}").into(), format!("u{n}").into());
        let info = ewma_proxy::core::relay::EndpointInfo {
            addr: ([10, 0, (n >> 8) as u8, n as u8], 1).into(),
            pod,
            uid,
            also: None,
        };
        w.relay.set_endpoints(w.target, &[info], w.now);
        w.pass(50);
    }
    let kept = w.relay.targets()[0].pool.all().count();
    assert!((50..=101).contains(&kept), "{kept} after 100 s");
    w.pass(130_000);
    assert_eq!(w.relay.targets()[0].pool.all().count(), 1);
}

#[test]
fn the_number_of_clients_is_limited_and_counted() {
    let mut w = world(1, Answers::Echo, Settings { max_clients: 3, ..Settings::default() });
    let a = w.client();
    w.client();
    assert!(w.relay.takes_client(0));
    assert!(!w.relay.takes_client(1), "one more is being looked at");
    w.client();
    assert!(!w.relay.takes_client(0));
    assert_eq!(w.relay.totals().turned_away, 2);
    w.drop_client(a);
    assert!(w.relay.takes_client(0));
}
