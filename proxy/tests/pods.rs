//! Connections dialled to one pod of a headless Service: whom each request means, told between clients and servers in
//! memory and virtual time.

mod world;

use std::rc::Rc;

use ewma_proxy::core::h2::connection::Role;
use ewma_proxy::core::h2::headers::Headers;
use ewma_proxy::core::relay::{ConnId, EndpointInfo};
use world::{addr, Answers, Peer, Seen, World};

const SERVICE: [&str; 4] = ["voting", "voting:8080", "voting.lab.svc:8080", "voting.lab.svc.cluster.local:8080"];
const POD: [&str; 4] = ["pod-2.voting.lab.svc.cluster.local:8080", "127.0.0.2:8080", "other:8080", ""];

fn dial(w: &mut World, pod: u8) -> ConnId {
    let id = w.relay.accepted_for_pod(w.target, addr(pod), w.now);
    w.clients.insert(id, Peer::new(Role::Client, w.client_limits.clone(), Answers::No));
    w.settle();
    id
}

fn call(w: &mut World, client: ConnId, name: &str, authority: &str) -> u32 {
    let mut fields = Headers::new();
    for (n, v) in [(":method", "POST"), (":scheme", "http"), (":path", "/voting.v1.Voting/Vote")] {
        fields.push(n.as_bytes(), v.as_bytes());
    }
    if !authority.is_empty() {
        fields.push(name.as_bytes(), authority.as_bytes());
    }
    fields.push(b"content-type", b"application/grpc");
    let peer = w.clients.get_mut(&client).unwrap();
    let slot = peer.h2.open(0, &Rc::new(fields), true).expect("room for a stream");
    peer.seen.insert(slot, Seen::default());
    w.settle();
    slot
}

fn status(w: &World, client: ConnId, slot: u32) -> Option<String> {
    w.seen(client, slot).get("grpc-status")
}

#[test]
fn a_request_that_names_the_service_is_balanced_and_one_that_names_the_pod_goes_there() {
    let mut w = World::new(3);
    let c = dial(&mut w, 2);
    for _ in 0..15 {
        for authority in POD {
            w.now += 10 * world::MS;
            let slot = call(&mut w, c, ":authority", authority);
            assert_eq!(status(&w, c, slot).as_deref(), Some("0"));
        }
    }
    assert_eq!((1..=3).map(|n| w.served(n)).collect::<Vec<_>>(), [0, 60, 0]);
    for _ in 0..15 {
        for authority in SERVICE {
            w.now += 10 * world::MS;
            call(&mut w, c, ":authority", authority);
            call(&mut w, c, "host", authority);
        }
    }
    let counts: Vec<_> = (1..=3).map(|n| w.served(n)).collect();
    assert_eq!(counts.iter().sum::<usize>(), 180);
    assert!(counts[0] >= 25 && counts[2] >= 25, "{counts:?}");
}

#[test]
fn a_pod_that_does_not_answer_keeps_those_waiting_that_mean_it_and_nobody_else() {
    let mut w = World::new(3);
    w.silent.push(addr(2));
    let c = dial(&mut w, 2);
    let stuck = call(&mut w, c, ":authority", "127.0.0.2:8080");
    for _ in 0..10 {
        w.now += 10 * world::MS;
        let slot = call(&mut w, c, ":authority", "voting");
        assert_eq!(status(&w, c, slot).as_deref(), Some("0"));
    }
    assert_eq!(status(&w, c, stuck), None);
    w.pass(10_000);
    assert_eq!(status(&w, c, stuck).as_deref(), Some("14"));
}

#[test]
fn a_pod_that_has_left_fails_its_request_and_sends_the_client_away_to_find_out() {
    let mut w = World::new(3);
    let c = dial(&mut w, 2);
    w.endpoints(&[1, 3]);
    call(&mut w, c, ":authority", "127.0.0.2:8080");
    let unavailable: u64 = w.relay.targets()[0].unserved.routes.iter().flatten().map(|r| r.grpc[14]).sum();
    assert_eq!((unavailable, w.relay.calls()), (1, 0));
    assert!(w.closed.contains(&c), "GOAWAY, and with the last stream the end");
}

#[test]
fn a_pods_address_of_the_other_family_is_that_pod() {
    let mut w = World::new(0);
    let also = "[fd00::2]:8080".parse().unwrap();
    let pods: Vec<_> = (1..=3u8)
        .map(|n| EndpointInfo {
            addr: addr(n),
            pod: format!("pod-{n}").into(),
            uid: format!("u{n}").into(),
            also: (n == 2).then_some(also),
        })
        .collect();
    w.relay.set_endpoints(w.target, &pods, w.now);
    let c = w.relay.accepted_for_pod(w.target, also, w.now);
    w.clients.insert(c, Peer::new(Role::Client, w.client_limits.clone(), Answers::No));
    let slot = call(&mut w, c, ":authority", "[fd00::2]:8080");
    assert_eq!(status(&w, c, slot).as_deref(), Some("0"));
    assert_eq!(w.served(2), 1);
}
