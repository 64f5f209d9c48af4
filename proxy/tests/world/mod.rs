//! A network without sockets: clients, the relay and servers joined in memory, in virtual time.
//!
//! Clients and servers are the crate's own HTTP/2 connections, driven by the test. Bytes travel in pieces of a
//! chosen size, so that frames are split in every way. Nothing waits; time moves when the test says so.
#![allow(dead_code)]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;

use ewma_proxy::core::h2::connection::{Connection, Event, Role};
use ewma_proxy::core::h2::frame::ErrorCode;
use ewma_proxy::core::h2::headers::Headers;
use ewma_proxy::core::h2::limits::Limits;
use ewma_proxy::core::relay::{Action, ConnId, EndpointInfo, Relay, Settings};

pub const MS: u64 = 1_000_000;

/// What a peer has seen on a stream.
#[derive(Default, Debug, Clone)]
pub struct Seen {
    pub heads: Vec<Vec<(String, String)>>,
    pub body: Vec<u8>,
    pub trailers: Option<Vec<(String, String)>>,
    pub ended: bool,
    pub reset: Option<ErrorCode>,
}

impl Seen {
    pub fn get(&self, name: &str) -> Option<String> {
        let all = self.heads.iter().flatten().chain(self.trailers.iter().flatten());
        all.filter(|(n, _)| n == name).map(|(_, v)| v.clone()).next_back()
    }
}

/// One end of a connection that the test holds.
pub struct Peer {
    pub h2: Connection,
    pub seen: HashMap<u32, Seen>,
    /// Slots in the order in which streams appeared.
    pub order: Vec<u32>,
    pub goaway: Option<(u32, ErrorCode)>,
    rest: Vec<u8>,
    /// Received bodies get no credit: a slow reader.
    pub stalled: bool,
    /// As `stalled`, for one stream.
    pub stalled_slot: Option<u32>,
    pub answers: Answers,
    pub served: usize,
    /// Paths of the requests that were answered.
    pub paths: Vec<String>,
}

/// What a server does by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answers {
    /// Nothing: the test answers.
    No,
    /// Echoes the body with grpc-status 0 once the request has ended.
    Echo,
    /// Resets every stream with REFUSED_STREAM.
    Refuse,
    /// A gRPC status without a body (trailers-only).
    Only(&'static str),
    /// A head, then a gRPC status in trailers.
    Trailers(&'static str),
    /// An answer of plain HTTP.
    Http(&'static str),
    /// Resets every stream after its head.
    Break,
}

impl Peer {
    pub fn new(role: Role, limits: Limits, answers: Answers) -> Self {
        Self {
            h2: Connection::new(role, Rc::new(limits)),
            seen: HashMap::new(),
            order: vec![],
            goaway: None,
            rest: vec![],
            stalled: false,
            stalled_slot: None,
            answers,
            served: 0,
            paths: vec![],
        }
    }

    fn eat(&mut self, bytes: &[u8], now: u64) {
        self.rest.extend_from_slice(bytes);
        let input = std::mem::take(&mut self.rest);
        let mut at = 0;
        while let Some(event) = self.h2.next_event(&input, &mut at, now).expect("the relay keeps to the protocol") {
            self.event(event, &input);
        }
        self.rest = input[at..].to_vec();
        while let Some((slot, _)) = self.h2.pump() {
            let _ = slot;
        }
    }

    fn event(&mut self, event: Event, input: &[u8]) {
        match event {
            Event::Request { slot, fields, end } | Event::Response { slot, fields, end } => {
                if !self.order.contains(&slot) || self.h2.role() == Role::Server {
                    self.order.push(slot);
                    if self.h2.role() == Role::Server {
                        self.seen.insert(slot, Seen::default());
                    }
                }
                let seen = self.seen.entry(slot).or_default();
                seen.heads.push(pairs(&fields));
                seen.ended |= end;
                self.served += 1;
                if self.answers == Answers::Refuse {
                    self.h2.reset(slot, ErrorCode::REFUSED_STREAM);
                    self.h2.remove(slot);
                }
                self.answer(slot);
            }
            Event::Data { slot, from, to, end } => {
                let seen = self.seen.entry(slot).or_default();
                seen.body.extend_from_slice(&input[from..to]);
                seen.ended |= end;
                if !self.stalled && self.stalled_slot != Some(slot) {
                    self.h2.release(slot, to - from);
                }
                self.answer(slot);
            }
            Event::Trailers { slot, fields } => {
                let seen = self.seen.entry(slot).or_default();
                seen.trailers = Some(pairs(&fields));
                seen.ended = true;
                self.answer(slot);
            }
            Event::Reset { slot, code, .. } => {
                self.seen.entry(slot).or_default().reset = Some(code);
                self.h2.remove(slot);
            }
            Event::Goaway { last, code } => self.goaway = Some((last, code)),
            _ => {}
        }
    }

    fn answer(&mut self, slot: u32) {
        if !self.seen[&slot].ended {
            return;
        }
        match self.answers {
            Answers::No | Answers::Refuse => return,
            Answers::Echo => {
                self.paths.extend(self.seen[&slot].get(":path"));
                let body = self.seen[&slot].body.clone();
                self.h2.send_head(slot, &grpc_head(), false);
                self.h2.send_data(slot, &body, false);
                self.h2.send_trailers(slot, &list(&[("grpc-status", "0")]));
            }
            Answers::Only(status) => {
                let fields = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", status)];
                self.h2.send_head(slot, &list(&fields), true);
            }
            Answers::Trailers(status) => {
                self.h2.send_head(slot, &grpc_head(), false);
                self.h2.send_trailers(slot, &list(&[("grpc-status", status)]));
            }
            Answers::Http(status) => self.h2.send_head(slot, &list(&[(":status", status)]), true),
            Answers::Break => {
                self.h2.send_head(slot, &grpc_head(), false);
                self.h2.reset(slot, ErrorCode::INTERNAL_ERROR);
                self.h2.remove(slot);
                return;
            }
        }
        self.sweep(slot);
    }

    pub fn sweep(&mut self, slot: u32) {
        if self.h2.state(slot) == ewma_proxy::core::h2::stream::State::Closed {
            self.h2.remove(slot);
        }
    }

    fn take_output(&mut self, most: usize) -> Vec<u8> {
        let n = self.h2.output().len().min(most);
        let bytes = self.h2.output()[..n].to_vec();
        self.h2.written(n);
        while let Some((slot, _)) = self.h2.pump() {
            let _ = slot;
        }
        bytes
    }
}

pub fn list(fields: &[(&str, &str)]) -> Rc<Headers> {
    let mut h = Headers::new();
    fields.iter().for_each(|(n, v)| h.push(n.as_bytes(), v.as_bytes()));
    Rc::new(h)
}

pub fn grpc_head() -> Rc<Headers> {
    list(&[(":status", "200"), ("content-type", "application/grpc")])
}

pub fn grpc_request(path: &str) -> Rc<Headers> {
    list(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "voting:8080"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ])
}

fn pairs(h: &Headers) -> Vec<(String, String)> {
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    h.iter().map(|f| (text(f.name), text(f.value))).collect()
}

pub fn addr(n: u8) -> SocketAddr {
    ([127, 0, 0, n], 8080).into()
}

/// The whole network.
pub struct World {
    pub relay: Relay,
    pub target: u32,
    pub now: u64,
    pub clients: HashMap<ConnId, Peer>,
    /// Upstream connections: the relay's number → its server's end.
    pub servers: HashMap<ConnId, (SocketAddr, Peer)>,
    /// Addresses that refuse connections, and those that never answer.
    pub refusing: Vec<SocketAddr>,
    pub silent: Vec<SocketAddr>,
    /// Servers that hang: their kernel takes bytes, they do nothing.
    pub frozen: Vec<SocketAddr>,
    pub answers: HashMap<SocketAddr, Answers>,
    pub server_limits: Limits,
    pub client_limits: Limits,
    /// Bytes that travel at once.
    pub piece: usize,
    pub closed: Vec<ConnId>,
    /// Paths answered by servers whose connections have ended.
    pub paths: Vec<String>,
}

impl World {
    pub fn new(servers: u8) -> Self {
        Self::with(servers, Settings::default())
    }

    pub fn with(servers: u8, settings: Settings) -> Self {
        let mut relay = Relay::new(settings, 42);
        let target = relay.add_target("lab/voting:8080");
        let mut world = Self {
            relay,
            target,
            now: 0,
            clients: HashMap::new(),
            servers: HashMap::new(),
            refusing: vec![],
            silent: vec![],
            frozen: vec![],
            answers: HashMap::new(),
            server_limits: Limits::default(),
            client_limits: Limits::default(),
            piece: usize::MAX,
            closed: vec![],
            paths: vec![],
        };
        world.endpoints(&(1..=servers).collect::<Vec<_>>());
        world
    }

    pub fn endpoints(&mut self, which: &[u8]) {
        let info = |n: &u8| EndpointInfo {
            addr: addr(*n),
            pod: format!("pod-{n}").into(),
            uid: format!("u{n}").into(),
            also: None,
        };
        let all: Vec<_> = which.iter().map(info).collect();
        self.relay.set_endpoints(self.target, &all, self.now);
        self.settle();
    }

    pub fn client(&mut self) -> ConnId {
        let id = self.relay.accepted(self.target, self.now);
        self.clients.insert(id, Peer::new(Role::Client, self.client_limits.clone(), Answers::No));
        self.settle();
        id
    }

    /// Starts a request; returns the client's slot.
    pub fn call(&mut self, client: ConnId, path: &str, body: &[u8], end: bool) -> u32 {
        let peer = self.clients.get_mut(&client).unwrap();
        let slot = peer.h2.open(0, &grpc_request(path), end && body.is_empty()).expect("room for a stream");
        peer.seen.insert(slot, Seen::default());
        if !body.is_empty() {
            peer.h2.send_data(slot, body, end);
        }
        self.settle();
        slot
    }

    /// A GET that is not gRPC's.
    pub fn get(&mut self, client: ConnId, path: &str) -> u32 {
        let peer = self.clients.get_mut(&client).unwrap();
        let head = [(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "voting:8080")];
        let slot = peer.h2.open(0, &list(&head), true).expect("room for a stream");
        peer.seen.insert(slot, Seen::default());
        self.settle();
        slot
    }

    /// A whole gRPC request with further fields.
    pub fn call_with(&mut self, client: ConnId, extra: &[(&str, &str)], body: &[u8], end: bool) -> u32 {
        let mut fields = (*grpc_request("/voting.v1.Voting/Vote")).clone();
        extra.iter().for_each(|(n, v)| fields.push(n.as_bytes(), v.as_bytes()));
        let peer = self.clients.get_mut(&client).unwrap();
        let slot = peer.h2.open(0, &Rc::new(fields), end && body.is_empty()).expect("room for a stream");
        peer.seen.insert(slot, Seen::default());
        if !body.is_empty() {
            peer.h2.send_data(slot, body, end);
        }
        self.settle();
        slot
    }

    /// Moves time on to where the relay says that a deadline may be due, again and again, up to `until`.
    pub fn pass_to_deadlines(&mut self, until: u64) {
        while let Some(due) = self.relay.due().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.relay.expire(self.now);
            self.settle();
        }
        self.now = until;
    }

    pub fn seen(&self, client: ConnId, slot: u32) -> &Seen {
        &self.clients[&client].seen[&slot]
    }

    /// A whole echo call; checks that it worked.
    pub fn echo(&mut self, client: ConnId, body: &[u8]) {
        let slot = self.call(client, "/voting.v1.Voting/Vote", body, true);
        let seen = self.seen(client, slot).clone();
        assert_eq!(seen.get("grpc-status").as_deref(), Some("0"), "{seen:?}");
        assert_eq!(seen.body.len(), body.len());
        assert!(seen.body == body && seen.ended);
        let peer = self.clients.get_mut(&client).unwrap();
        peer.sweep(slot);
    }

    pub fn server(&mut self, n: u8) -> &mut Peer {
        let found = self.servers.iter_mut().find(|(_, (a, _))| *a == addr(n));
        &mut found.expect("a connection to that server").1 .1
    }

    pub fn served(&self, n: u8) -> usize {
        self.servers.values().filter(|(a, _)| *a == addr(n)).map(|(_, p)| p.served).sum()
    }

    pub fn pass(&mut self, ms: u64) {
        for _ in 0..ms.div_ceil(50) {
            self.now += 50 * MS;
            self.relay.tick(self.now);
            self.settle();
        }
    }

    pub fn drop_client(&mut self, client: ConnId) {
        self.clients.remove(&client);
        self.relay.closed(client, self.now);
        self.settle();
    }

    pub fn drop_server(&mut self, n: u8) {
        let ids: Vec<ConnId> = self.servers.iter().filter(|(_, (a, _))| *a == addr(n)).map(|(i, _)| *i).collect();
        for id in ids {
            self.servers.remove(&id);
            self.relay.closed(id, self.now);
        }
        self.settle();
    }

    /// Lets bytes travel until nothing moves.
    pub fn settle(&mut self) {
        let (mut actions, mut dirty) = (vec![], vec![]);
        for round in 0.. {
            assert!(round < 2_000_000, "the network never comes to rest");
            let mut moved = false;
            self.relay.take_actions(&mut actions);
            for action in actions.drain(..) {
                moved = true;
                self.act(action);
            }
            self.relay.take_dirty(&mut dirty);
            let ids: Vec<ConnId> = self.clients.keys().chain(self.servers.keys()).copied().collect();
            for id in ids {
                moved |= self.travel(id);
            }
            if !moved {
                return;
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Connect(_, a) if self.silent.contains(&a) => {}
            Action::Connect(id, a) if self.refusing.contains(&a) => self.relay.closed(id, self.now),
            Action::Connect(id, a) => {
                let answers = self.answers.get(&a).copied().unwrap_or(Answers::Echo);
                self.servers.insert(id, (a, Peer::new(Role::Server, self.server_limits.clone(), answers)));
                self.relay.connected(id, self.now);
            }
            // HTTP/1.x's alone.
            Action::Shut(_) | Action::Read(_) => {}
            Action::Close(id) => {
                while self.travel(id) {}
                self.clients.remove(&id);
                if let Some((_, peer)) = self.servers.remove(&id) {
                    self.paths.extend(peer.paths);
                }
                self.closed.push(id);
                self.relay.closed(id, self.now);
            }
        }
    }

    /// Moves a piece each way on one connection.
    fn travel(&mut self, id: ConnId) -> bool {
        let now = self.now;
        let piece = self.piece;
        if self.servers.get(&id).is_some_and(|(a, _)| self.frozen.contains(a)) {
            let n = self.relay.output(id).len();
            self.relay.wrote(id, n, now);
            return n > 0;
        }
        let Some(peer) = self.clients.get_mut(&id).or_else(|| self.servers.get_mut(&id).map(|(_, p)| p)) else {
            return false;
        };
        let bytes = peer.take_output(piece);
        if !bytes.is_empty() {
            self.relay.received(id, &bytes, now);
        }
        let output = self.relay.output(id);
        let n = output.len().min(piece);
        let back = output[..n].to_vec();
        self.relay.wrote(id, n, now);
        let peer = self.clients.get_mut(&id).or_else(|| self.servers.get_mut(&id).map(|(_, p)| p));
        if let (Some(peer), false) = (peer, back.is_empty()) {
            peer.eat(&back, now);
        }
        !bytes.is_empty() || n > 0
    }
}
