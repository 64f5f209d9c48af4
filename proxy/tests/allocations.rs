//! No allocation per request once things are under way: counted, so that it holds on any machine.
//!
//! A client and a server, both the crate's own connections, around a relay; only what the relay does is counted.

mod world;

use std::rc::Rc;

use allocation_counter::measure;
use ewma_proxy::core::h2::connection::{Connection, Event, Role};
use ewma_proxy::core::h2::headers::Headers;
use ewma_proxy::core::h2::limits::Limits;
use ewma_proxy::core::h2::stream::State;
use ewma_proxy::core::relay::{Action, ConnId, EndpointInfo, Relay, Settings};
use world::{grpc_head, grpc_request, list};

/// A relay between one client and one server, and what it has allocated so far.
struct Bench {
    relay: Relay,
    client: Connection,
    server: Connection,
    ids: (ConnId, ConnId),
    head: Rc<Headers>,
    trailers: Rc<Headers>,
    now: u64,
    allocated: u64,
    answered: usize,
    actions: Vec<Action>,
    dirty: Vec<ConnId>,
}

fn deliver(relay: &mut Relay, id: ConnId, from: &mut Connection, now: u64) -> u64 {
    let bytes = from.output().to_vec();
    from.written(bytes.len());
    if bytes.is_empty() {
        return 0;
    }
    measure(|| relay.received_behind(id, &bytes, 0, now)).count_total
}

/// Moves the relay's output into a peer; the peer's events and the relay's allocations.
fn fetch(
    relay: &mut Relay,
    id: ConnId,
    to: &mut Connection,
    now: u64,
    mut on: impl FnMut(&mut Connection, Event),
) -> u64 {
    let bytes = relay.output(id).to_vec();
    let count = measure(|| relay.wrote(id, bytes.len(), now)).count_total;
    let mut at = 0;
    while let Some(event) = to.next_event(&bytes, &mut at, now).expect("the relay keeps to the protocol") {
        on(to, event);
    }
    count
}

impl Bench {
    fn new() -> Self {
        let mut relay = Relay::new(Settings::default(), 7);
        let target = relay.add_target("lab/voting:8080");
        let info = EndpointInfo { addr: world::addr(1), pod: "pod".into(), uid: "uid".into(), also: None };
        relay.set_endpoints(target, &[info], 0);
        let client = relay.accepted(target, 0);
        let limits = Rc::new(Limits::default());
        Self {
            relay,
            client: Connection::new(Role::Client, limits.clone()),
            server: Connection::new(Role::Server, limits),
            ids: (client, client),
            head: grpc_head(),
            trailers: list(&[("grpc-status", "0")]),
            now: 1_000_000,
            allocated: 0,
            answered: 0,
            actions: vec![],
            dirty: vec![],
        }
    }

    /// So many requests at once, there and back.
    fn round(&mut self, requests: usize, head: impl Fn(usize) -> Rc<Headers>) {
        self.now += 300_000;
        let mut slots = vec![];
        for i in 0..requests {
            if let Some(slot) = self.client.open(0, &head(i), false) {
                self.client.send_data(slot, b"ten bytes!", true);
                slots.push(slot);
            }
        }
        for _ in 0..4 {
            self.allocated += deliver(&mut self.relay, self.ids.0, &mut self.client, self.now);
            self.relay.take_actions(&mut self.actions);
            for action in self.actions.drain(..) {
                if let Action::Connect(id, _) = action {
                    self.ids.1 = id;
                    self.relay.connected(id, self.now);
                }
            }
            self.relay.take_dirty(&mut self.dirty);
            if self.ids.1 != self.ids.0 {
                let (head, trailers) = (self.head.clone(), self.trailers.clone());
                self.allocated += fetch(&mut self.relay, self.ids.1, &mut self.server, self.now, |server, event| {
                    if let Event::Data { slot, from, to, end: true } = event {
                        server.release(slot, to - from);
                        server.send_head(slot, &head, false);
                        server.send_data(slot, b"ten bytes!", false);
                        server.send_trailers(slot, &trailers);
                        assert_eq!(server.state(slot), State::Closed);
                        server.remove(slot);
                    }
                });
                self.allocated += deliver(&mut self.relay, self.ids.1, &mut self.server, self.now + 100_000);
            }
            let answered = &mut self.answered;
            self.allocated +=
                fetch(&mut self.relay, self.ids.0, &mut self.client, self.now, |client, event| match event {
                    Event::Data { slot, from, to, .. } => client.release(slot, to - from),
                    Event::Trailers { slot, .. } => {
                        client.remove(slot);
                        *answered += 1;
                    }
                    _ => {}
                });
        }
    }
}

#[test]
fn a_request_like_those_before_allocates_nothing() {
    let mut b = Bench::new();
    let head = grpc_request("/voting.v1.Voting/Vote");
    (0..200).for_each(|_| b.round(16, |_| head.clone()));
    let (allocated, answered) = (b.allocated, b.answered);
    assert!(answered > 2_000, "{answered}");
    (0..1_000).for_each(|_| b.round(16, |_| head.clone()));
    let (allocated, answered) = (b.allocated - allocated, b.answered - answered);
    assert_eq!(answered, 16_000);
    // What is looked at now and then (the pool's median, every 20 ms) may.
    assert!(allocated * 100 <= answered as u64, "{allocated} allocations for {answered} requests");
}

#[test]
fn a_head_never_seen_before_costs_a_bounded_number_of_allocations() {
    let mut b = Bench::new();
    let head = |i: usize| {
        let trace = format!("00-{i:032x}-{:016x}-01", i * 7);
        let mut h = Headers::clone(&grpc_request("/voting.v1.Voting/Vote"));
        h.push(b"traceparent", trace.as_bytes());
        Rc::new(h)
    };
    (0..200).for_each(|n| b.round(16, |i| head(n * 16 + i)));
    let (allocated, answered) = (b.allocated, b.answered);
    (200..1_200).for_each(|n| b.round(16, |i| head(n * 16 + i)));
    let (allocated, answered) = (b.allocated - allocated, b.answered - answered);
    assert_eq!(answered, 16_000);
    assert!(allocated <= 6 * answered as u64, "{allocated} allocations for {answered} requests");
}
