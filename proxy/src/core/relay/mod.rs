//! Joins clients' streams to servers' streams: the whole proxy but its sockets.
//!
//! Both kinds of connections live here side by side, over the same pools: HTTP/2's in this folder, HTTP/1.x's in
//! `http1`. Life of an HTTP/2 request: bytes of a client's connection come in by [`Relay::received`] → `h2` makes events of them →
//! `downstream` starts a call → `dispatch` picks an endpoint and opens a stream to it → the answer's events arrive
//! in `upstream` and go to the client's stream → `finish` counts the call, once. Output waits in the connections;
//! [`Relay::take_dirty`] says which have some, [`Relay::take_actions`] what to connect and close.
//!
//! Must not know: sockets, clocks, threads; Kubernetes. Time is an argument everywhere.

mod call;
mod care;
mod deadline;
mod dispatch;
mod downstream;
mod drain;
mod endpoints;
mod finish;
mod http1;
mod memory;
mod pods;
mod record;
mod respond;
mod retry;
mod stats;
mod upstream;
mod why;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

pub use call::{Call, CallId, Code, ConnId, Leg};
pub use endpoints::EndpointInfo;
pub use record::{Ended, MAX_RECORDS};
pub use retry::{Retries, RetryBudget};
pub use stats::{EndpointStats, RouteStats, Routes, Totals, BOUNDS};
pub use why::Explained;

use super::balance::pool::{Pool, Tuning};
use super::h1;
use super::h2::connection::{Connection, Event, Fatal, Role};
use super::h2::limits::{Limits, Nanos};
use call::Calls;

/// What bounds the relay and how it waits. Times in ns, sizes in bytes.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The balancer's.
    pub tuning: Tuning,
    /// HTTP/2's.
    pub limits: Limits,
    /// HTTP/1.x's.
    pub http1: h1::limits::Limits,
    /// Connections to one endpoint: a second one is opened only when the first has no room for a stream.
    pub max_conns: usize,
    /// How long a connection attempt may take. 1 s: within a cluster it takes a millisecond or never succeeds.
    pub connect_timeout: Nanos,
    /// How long a request waits for an endpoint or for room, before it fails with UNAVAILABLE.
    pub wait: Nanos,
    /// Requests of one service port that may wait so.
    pub max_waiting: usize,
    /// How much of a request's body is kept so that it can be sent again if the first try was not processed.
    pub replay_body: usize,
    /// Second tries after a failure.
    pub retries: Retries,
    /// Client connections at a time; one more is accepted and closed at once, so that its client learns it. 10,000: a
    /// sidecar's clients are one pod's; at some 8 KiB each they cost 80 MB.
    pub max_clients: usize,
    /// What may be held for peers, all connections together, before new streams are refused. 64 MiB is 256 streams
    /// that stall with full windows, far from what an honest pod does, and fits in a usual sidecar's memory limit.
    pub max_held: usize,
    /// How long a client's connection may be without a stream; 0 for ever. An hour, as Envoy has it: gRPC clients
    /// keep connections for bursts, and connect anew by themselves.
    pub idle: Nanos,
    /// The same for connections to endpoints, which it costs less to open again.
    pub upstream_idle: Nanos,
    /// How long a connection to an endpoint may be silent, with calls open, before a PING asks
    /// whether it is alive; 0 for never. 10 s, the patience that unacknowledged bytes get.
    pub ping_after: Nanos,
    /// How long the answer to that PING may take.
    pub ping_wait: Nanos,
    /// Picks for one request.
    pub max_tries: u8,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            tuning: Tuning::default(),
            limits: Limits::default(),
            http1: h1::limits::Limits::default(),
            max_conns: 8,
            connect_timeout: 1_000_000_000,
            wait: 3_000_000_000,
            max_waiting: 10_000,
            replay_body: 16 << 10,
            retries: Retries::default(),
            max_clients: 10_000,
            max_held: 64 << 20,
            idle: 3_600_000_000_000,
            upstream_idle: 600_000_000_000,
            ping_after: 10_000_000_000,
            ping_wait: 5_000_000_000,
            max_tries: 4,
        }
    }
}

/// What the owner of the sockets is to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Connect to this address, then call [`Relay::connected`] or [`Relay::closed`].
    Connect(ConnId, SocketAddr),
    /// Write what is left of the output, as far as it goes at once, and close.
    Close(ConnId),
    /// The output is out and no more will follow: end our side, and go on reading.
    Shut(ConnId),
    /// Read on: [`Relay::wants_bytes`] would say yes again.
    Read(ConnId),
}

impl Action {
    /// Whose.
    pub fn conn(&self) -> ConnId {
        match self {
            Action::Connect(id, _) | Action::Close(id) | Action::Shut(id) | Action::Read(id) => *id,
        }
    }
}

/// An endpoint as the pool remembers it.
#[derive(Debug)]
pub struct Upstream {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Its pod's name, or its address.
    pub pod: Arc<str>,
    /// Its pod's UID, or its address: an address that another pod took over is another endpoint.
    pub uid: Arc<str>,
    /// Its address of the other family.
    pub also: Option<SocketAddr>,
    /// Open HTTP/2 connections to it.
    pub conns: Vec<ConnId>,
    /// Idle HTTP/1.x connections to it, the one used last at the end.
    pub idle: Vec<ConnId>,
    /// Open HTTP/1.x connections to it, idle or not.
    pub http1: usize,
    /// Connections passed through to it as a whole.
    pub tcp: usize,
    /// Its calls.
    pub stats: EndpointStats,
    /// When it left the pool.
    pub gone: Option<Nanos>,
}

/// One service port: where clients' requests go.
pub struct Target {
    /// `namespace/name:port`, or the list of addresses.
    pub name: Arc<str>,
    /// Its endpoints.
    pub pool: Pool<Upstream>,
    /// Calls that found no endpoint.
    pub unserved: EndpointStats,
    /// The Service is no more; kept for its return, shown as long as its endpoints are remembered.
    pub gone: bool,
    retries: RetryBudget,
    waiting: VecDeque<CallId>,
    /// Clients' HTTP/1.x connections whose exchange waits.
    waiting_http1: VecDeque<ConnId>,
}

/// Which way a connection goes, and to whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    /// A client's; `pod`: the one it was dialled to, of a headless Service.
    Down {
        target: u32,
        pod: Option<SocketAddr>,
    },
    Up {
        target: u32,
        endpoint: u32,
        connected: bool,
        deadline: Nanos,
    },
}

struct Conn {
    h2: Connection,
    side: Side,
    /// Received bytes that are less than a frame.
    rest: Vec<u8>,
    dirty: bool,
    /// The owner was told to close it.
    closing: bool,
    /// Its calls have ended; it takes no more.
    lost: bool,
    /// The second GOAWAY is due then, if no PING has come back.
    drain_due: Option<Nanos>,
    signs: care::Signs,
}

/// A connection by what it speaks.
enum Peer {
    Http2(Box<Conn>),
    /// HTTP/1.x, a client's.
    Client(Box<http1::Client>),
    /// HTTP/1.x, to an endpoint.
    Server(Box<http1::Server>),
}

/// The proxy's core. See the module's text.
pub struct Relay {
    settings: Settings,
    limits: Rc<Limits>,
    http1: Rc<h1::limits::Limits>,
    conns: Vec<Option<Peer>>,
    free: Vec<ConnId>,
    calls: Calls,
    /// HTTP/1.x exchanges under way, and open connections to servers.
    exchanges: usize,
    servers: usize,
    targets: Vec<Target>,
    routes: Routes,
    totals: Totals,
    actions: Vec<Action>,
    dirty: Vec<ConnId>,
    faults: Vec<(ConnId, Fatal)>,
    hungry: Vec<u32>,
    /// Ended calls are recorded, and those that have been.
    watched: bool,
    records: Vec<Ended>,
    held: memory::Held,
    /// When connections were last looked after.
    cared: Nanos,
    /// No deadline is due before.
    due: Nanos,
    /// Calls whose deadline has come, while they are being ended.
    over: Vec<CallId>,
    /// Calls that came with the bytes being read now.
    fresh: Vec<CallId>,
    /// Heads of requests and answers since the owner last asked.
    handled: u32,
    seed: u64,
    draining: bool,
}

impl Relay {
    /// A relay without targets; `seed` decides all its picks.
    pub fn new(settings: Settings, seed: u64) -> Self {
        let (limits, held) = (Rc::new(settings.limits.clone()), memory::Held::new(settings.max_held));
        let http1 = Rc::new(settings.http1.clone());
        Self {
            settings,
            limits,
            http1,
            conns: vec![],
            free: vec![],
            calls: Calls::default(),
            exchanges: 0,
            servers: 0,
            targets: vec![],
            routes: Routes::default(),
            totals: Totals::default(),
            actions: vec![],
            dirty: vec![],
            faults: vec![],
            hungry: vec![],
            watched: false,
            records: vec![],
            held,
            cared: 0,
            due: call::NEVER,
            over: vec![],
            fresh: vec![],
            handled: 0,
            seed,
            draining: false,
        }
    }

    /// A client connected for this target and speaks HTTP/2; the number names its connection from now on.
    pub fn accepted(&mut self, target: u32, now: Nanos) -> ConnId {
        self.accepted_at(target, None, now)
    }

    fn accepted_at(&mut self, target: u32, pod: Option<SocketAddr>, now: Nanos) -> ConnId {
        self.totals.accepted += 1;
        self.totals.downstream += 1;
        let id = self.insert(Role::Server, Side::Down { target, pod });
        if self.draining {
            self.drain_conn(id, drain::SHUTDOWN, now);
        }
        id
    }

    fn insert(&mut self, role: Role, side: Side) -> ConnId {
        let h2 = Connection::new(role, self.limits.clone());
        let (rest, drain_due, signs) = (vec![], None, care::Signs::default());
        let conn = Conn { h2, side, rest, dirty: false, closing: false, lost: false, drain_due, signs };
        let id = self.settle_in(Peer::Http2(Box::new(conn)));
        self.touch(id);
        id
    }

    /// Gives a connection a number.
    fn settle_in(&mut self, peer: Peer) -> ConnId {
        match self.free.pop() {
            Some(id) => {
                self.conns[id as usize] = Some(peer);
                id
            }
            None => {
                self.conns.push(Some(peer));
                (self.conns.len() - 1) as ConnId
            }
        }
    }

    /// Bytes came in on a connection.
    pub fn received(&mut self, id: ConnId, bytes: &[u8], now: Nanos) {
        let Some(conn) = self.conn(id) else { return self.received_http1(id, bytes, now) };
        if conn.rest.is_empty() {
            self.received_behind(id, bytes, 0, now);
        } else {
            let mut joined = std::mem::take(&mut conn.rest);
            let cut = joined.len();
            joined.extend_from_slice(bytes);
            self.received_behind(id, &joined, cut, now);
        }
    }

    /// Copies the beginning of a frame whose end is still to come to the front of `into`, where the owner reads on;
    /// returns its length. [`Relay::received_behind`] takes both together, so that a cut frame is copied and the
    /// rest is not.
    pub fn unread(&self, id: ConnId, into: &mut [u8]) -> usize {
        let Some(Some(Peer::Http2(conn))) = self.conns.get(id as usize) else { return 0 };
        let Some(front) = into.get_mut(..conn.rest.len()) else { return 0 };
        front.copy_from_slice(&conn.rest);
        front.len()
    }

    /// Bytes came in on a connection: `input` without its first `cut` bytes, which are [`Relay::unread`]'s.
    pub fn received_behind(&mut self, id: ConnId, input: &[u8], cut: usize, now: Nanos) {
        let Some(conn) = self.conn(id) else { return self.received_http1(id, &input[cut..], now) };
        if conn.rest.len() > cut {
            // It found no room at the front.
            return self.received(id, &input[cut..], now);
        }
        if conn.closing || conn.lost {
            return;
        }
        conn.signs.heard(now);
        if self.held.grow(input.len() - cut) {
            self.measure(now);
        }
        let (mut at, mut heads) = (0, 0);
        loop {
            let Some(conn) = self.conn(id) else { return };
            let next = conn.h2.next_event(input, &mut at, now);
            heads += u32::from(matches!(next, Ok(Some(Event::Request { .. } | Event::Response { .. }))));
            match next {
                Ok(Some(event)) => match conn.side {
                    Side::Down { .. } => self.on_downstream(id, event, input, now),
                    Side::Up { .. } => {
                        conn.signs.forgiven |=
                            matches!(event, Event::Response { .. } | Event::Data { .. } | Event::Trailers { .. });
                        self.on_upstream(id, event, input, now);
                    }
                },
                Ok(None) => break,
                Err(fault) => {
                    self.totals.faults += 1;
                    if self.faults.len() < 100 {
                        self.faults.push((id, fault));
                    }
                    self.close(id, now);
                    break;
                }
            }
        }
        self.handled = self.handled.saturating_add(heads);
        if let Some(conn) = self.conn(id) {
            conn.rest.clear();
            if at < input.len() {
                conn.rest.extend_from_slice(&input[at..]);
            } else if conn.rest.capacity() > 0 && conn.h2.streams() == 0 {
                conn.rest = Vec::new();
            }
        }
        self.dispatch_fresh(now);
        self.touch(id);
        self.close_if_done(id);
        self.feed(now);
    }

    /// The output of a connection; hand [`Relay::wrote`] what went out.
    pub fn output(&self, id: ConnId) -> &[u8] {
        match self.conns.get(id as usize) {
            Some(Some(Peer::Http2(conn))) => conn.h2.output(),
            Some(Some(Peer::Client(client))) => client.io.output.rest(),
            Some(Some(Peer::Server(server))) => server.io.output.rest(),
            _ => &[],
        }
    }

    /// `n` bytes of a connection's output went out. What waited for room in it follows.
    pub fn wrote(&mut self, id: ConnId, n: usize, now: Nanos) {
        let Some(conn) = self.conn(id) else { return self.wrote_http1(id, n, now) };
        conn.h2.written(n);
        if n > 0 {
            conn.signs.spoke(now);
        }
        if conn.h2.wants_pump() {
            self.pump(id, now);
        }
    }

    /// Connections whose output may have grown since the last call, into `into`.
    pub fn take_dirty(&mut self, into: &mut Vec<ConnId>) {
        into.clear();
        std::mem::swap(into, &mut self.dirty);
        for id in into.iter() {
            if let Some(dirty) = self.dirty_mark(*id) {
                *dirty = false;
            }
        }
    }

    /// What to connect and close, in order.
    pub fn take_actions(&mut self, into: &mut Vec<Action>) {
        into.clear();
        std::mem::swap(into, &mut self.actions);
    }

    /// How many heads of requests and answers came in since the last call: how busy things are.
    pub fn take_handled(&mut self) -> u32 {
        std::mem::take(&mut self.handled)
    }

    /// Peers' faults since the last call, for the log.
    pub fn take_faults(&mut self) -> Vec<(ConnId, Fatal)> {
        std::mem::take(&mut self.faults)
    }

    /// Sends what windows and output now allow; whoever sent those bytes gets credit for them.
    fn pump(&mut self, id: ConnId, now: Nanos) {
        while let Some((slot, n)) = self.conn(id).and_then(|c| c.h2.pump()) {
            let Some(call) = self.call_of(id, slot) else { continue };
            self.credit_other(id, call, n);
            self.tidy(call, now);
        }
        self.touch(id);
    }

    /// `n` bytes have left a call's stream on `id`: its other stream may receive as many.
    fn credit_other(&mut self, id: ConnId, call: CallId, n: usize) {
        let Some(c) = self.calls.get(call) else { return };
        let other = if c.down.is_some_and(|l| l.conn == id) { c.up } else { c.down };
        if let Some(leg) = other {
            if let Some(conn) = self.conn(leg.conn) {
                conn.h2.release(leg.slot, n);
            }
            self.touch(leg.conn);
        }
    }

    /// An HTTP/2 connection.
    fn conn(&mut self, id: ConnId) -> Option<&mut Conn> {
        match self.conns.get_mut(id as usize) {
            Some(Some(Peer::Http2(conn))) => Some(conn),
            _ => None,
        }
    }

    fn call_of(&mut self, id: ConnId, slot: u32) -> Option<CallId> {
        self.conn(id)?.h2.stream(slot).map(|s| s.call)
    }

    /// Notes that a connection has output.
    fn touch(&mut self, id: ConnId) {
        if self.dirty_mark(id).is_some_and(|dirty| !std::mem::replace(dirty, true)) {
            self.dirty.push(id);
        }
    }

    fn dirty_mark(&mut self, id: ConnId) -> Option<&mut bool> {
        match self.conns.get_mut(id as usize)?.as_mut()? {
            Peer::Http2(conn) => Some(&mut conn.dirty),
            Peer::Client(client) => Some(&mut client.io.dirty),
            Peer::Server(server) => Some(&mut server.io.dirty),
        }
    }

    /// What bounds it.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Does this connection speak HTTP/2?
    pub fn speaks_http2(&self, id: ConnId) -> bool {
        matches!(self.conns.get(id as usize), Some(Some(Peer::Http2(_))))
    }

    /// Counters for whoever reports them.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// The routes seen.
    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// All targets by number.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// Calls under way.
    pub fn calls(&self) -> usize {
        self.calls.len() + self.exchanges
    }
}

impl Relay {
    /// For each HTTP/2 connection: bytes received and not credited by it, bytes its streams hold, streams; all 0 once all
    /// calls have ended, whatever became of them. For tests of leaks.
    pub fn debts(&self) -> Vec<(i64, usize, usize)> {
        let debt = |c: &Conn| {
            let (connection, _, held) = c.h2.window_debt();
            (connection, held, c.h2.streams())
        };
        let http2 = |peer: &Peer| match peer {
            Peer::Http2(conn) => Some(debt(conn)),
            _ => None,
        };
        self.conns.iter().flatten().filter_map(http2).collect()
    }
}
