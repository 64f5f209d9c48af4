//! One thread, one loop, no lock: all connections of a worker and the relay between them.
//!
//! A turn: wait → read all that is ready, a bounded amount from each → let the relay work → one write per connection
//! with output. So the number of system calls per request falls as load rises, and a slow peer costs only itself.
//! The clock is read once a turn. Sockets are edge-triggered: one that was not read to its end is read again in the
//! next turn. What becomes of a new connection is in `settle`. Must not know: HTTP, Kubernetes.

mod redirected;
mod settle;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Registry, Token, Waker};

use super::listener::{bind, Accepted, Listener};
use super::message::{EndpointSnapshot, Message, Snapshot, TargetSnapshot, Update, Why};
use super::opaque::Opaque;
use super::pace::Pace;
use super::slab::Slab;
use super::sniff::Sniff;
use super::watch::{publish, Watcher};
use crate::config::Level;
use crate::core::detect::Hint;
use crate::core::directory::Route;
use crate::core::h2::limits::Nanos;
use crate::core::relay::{Action, ConnId, Ended, Relay};
use crate::log;

/// What is read from one connection in one turn, at most.
const READ: usize = 64 << 10;
/// Ready sockets handled in one turn, at most.
const EVENTS: usize = 1024;
/// While time matters the loop turns at least this often.
const TICK: Duration = Duration::from_millis(50);
/// How long bytes to an endpoint may be under way unacknowledged, or wait while it takes none, before the connection
/// counts as dead: well above a few retransmissions, and so that calls fail within 10 s, although the kernel notices
/// only at the next retransmission. That it knows no difference between the two does no harm with HTTP/2, whose servers
/// read on and have windows to slow a sender.
const HTTP2_PATIENCE: Duration = Duration::from_secs(8);
/// With HTTP/1.x a server that works on what it has leaves the rest unread: nginx's proxy_send_timeout.
/// Connections that are passed through have no such limit; what pauses there, and for how long, is not ours to judge.
const HTTP1_PATIENCE: Duration = Duration::from_secs(60);

/// Tokens: what kind of thing, and its number.
const KIND: usize = 56;
const WAKE: usize = 0;
const LISTENER: usize = 1;
const CONN: usize = 2;
const SNIFF: usize = 3;
const CLIENT: usize = 4;
const SERVER: usize = 5;
const SPARE: usize = 6;

fn token(kind: usize, number: usize) -> Token {
    Token(kind << KIND | number)
}

struct Socket {
    stream: TcpStream,
    connecting: bool,
    /// The last write found the kernel's buffer full.
    blocked: bool,
    /// An event has told of its end; it may be some reads away, and no other event will tell again.
    ended: bool,
}

/// A handle to wake and command a worker from another thread.
#[derive(Clone)]
pub struct Handle {
    sender: Sender<Message>,
    waker: Arc<Waker>,
}

impl Handle {
    /// Sends a message; false if the worker has ended.
    pub fn send(&self, message: Message) -> bool {
        self.sender.send(message).is_ok() && self.waker.wake().is_ok()
    }
}

/// A worker; [`Worker::run`] is its life.
pub struct Worker {
    poll: Poll,
    registry: Registry,
    inbox: Receiver<Message>,
    relay: Relay,
    sockets: Vec<Option<Socket>>,
    listeners: Slab<Listener>,
    sniffs: Slab<Sniff>,
    /// When to look at a sniff again: time, number, serial; the earliest first.
    waits: BinaryHeap<Reverse<(Nanos, usize, u64)>>,
    serial: u64,
    opaques: Slab<Opaque>,
    opaque_total: u64,
    watchers: Vec<Watcher>,
    targets: HashMap<Arc<str>, u32>,
    /// By target.
    hints: Vec<Hint>,
    /// Addresses that could not be bound yet.
    unbound: Vec<(SocketAddr, u32)>,
    redirected: redirected::Redirected,
    /// Sockets that were not read to their end.
    again: Vec<Token>,
    start: Instant,
    buffer: Box<[u8]>,
    drain: Option<Duration>,
    drain_until: Option<Instant>,
    /// Accepting rests until then: no descriptors.
    exhausted: Option<Instant>,
}

impl Worker {
    /// A worker around a relay. `drain`: how long SIGTERM waits for calls under way.
    ///
    /// # Errors
    /// The system gives no epoll instance.
    pub fn new(relay: Relay, drain: Duration) -> io::Result<(Self, Handle)> {
        let poll = Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let waker = Arc::new(Waker::new(&registry, token(WAKE, 0))?);
        let (sender, inbox) = std::sync::mpsc::channel();
        let worker = Self {
            poll,
            registry,
            inbox,
            relay,
            sockets: vec![],
            listeners: Slab::new(),
            sniffs: Slab::new(),
            waits: BinaryHeap::new(),
            serial: 0,
            opaques: Slab::new(),
            opaque_total: 0,
            watchers: vec![],
            targets: HashMap::new(),
            hints: vec![],
            unbound: vec![],
            redirected: redirected::Redirected::default(),
            again: vec![],
            start: Instant::now(),
            buffer: vec![0; READ].into_boxed_slice(),
            drain: Some(drain),
            drain_until: None,
            exhausted: None,
        };
        Ok((worker, Handle { sender, waker }))
    }

    /// Adds a target with its listeners before the loop starts.
    ///
    /// # Errors
    /// An address that cannot be bound, with the address in the message.
    pub fn add_target(&mut self, key: &str, listen: &[SocketAddr]) -> io::Result<u32> {
        let target = self.target(&key.into());
        for addr in listen {
            self.listen(*addr, Some(target))
                .map_err(|e| io::Error::new(e.kind(), format!("cannot listen on {addr}: {e}")))?;
        }
        Ok(target)
    }

    /// Tells this one of calls as they end, from the start.
    pub fn watch(&mut self, watcher: Watcher) {
        self.watchers.push(watcher);
        self.relay.watch(true);
    }

    /// The relay, to be set up before the loop starts.
    pub fn relay(&mut self) -> &mut Relay {
        &mut self.relay
    }

    /// Addresses that are listened on.
    pub fn listening(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(|(_, l)| l.addr).collect()
    }

    fn now(&self) -> Nanos {
        self.start.elapsed().as_nanos() as Nanos
    }

    /// Runs until drained or stopped.
    ///
    /// # Errors
    /// Waiting fails: nothing a connection or a peer does brings that about.
    pub fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        let mut dirty: Vec<ConnId> = vec![];
        let mut actions: Vec<Action> = vec![];
        let mut ended: Vec<Ended> = vec![];
        let mut ticked: Nanos = 0;
        let mut pace = Pace::default();
        loop {
            match self.poll.poll(&mut events, self.patience()) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            let now = self.now();
            let open = self.relay.calls();
            // What is not read to its end now is added behind those.
            let stale = self.again.len();
            for i in 0..stale {
                self.stirred(self.again[i], true, true, false, now);
            }
            self.again.drain(..stale);
            let mut woken = false;
            for event in &events {
                let ended = event.is_read_closed() || event.is_error();
                woken |= event.token() == token(WAKE, 0);
                self.stirred(event.token(), event.is_readable(), event.is_writable(), ended, now);
            }
            if woken && self.read_inbox(now) {
                return Ok(());
            }
            self.waited(now);
            self.release(now, now);
            if now.saturating_sub(ticked) >= TICK.as_nanos() as Nanos {
                ticked = now;
                self.tick(now);
            } else {
                self.relay.expire(now);
            }
            // Writing frees room and may bring about more of both.
            for _ in 0..4 {
                self.relay.take_actions(&mut actions);
                for action in actions.drain(..) {
                    self.act(action, now);
                }
                self.relay.take_dirty(&mut dirty);
                if dirty.is_empty() {
                    break;
                }
                for id in &dirty {
                    self.flush(*id, now);
                }
            }
            if !self.watchers.is_empty() {
                self.relay.take_records(&mut ended);
                self.publish(&ended, now);
            }
            if self.finished() {
                return Ok(());
            }
            let handled = self.relay.take_handled();
            if self.again.is_empty() {
                if let Some(rest) = pace.rest(now, handled, open.max(self.relay.calls()), self.now()) {
                    std::thread::sleep(rest);
                }
            }
        }
    }

    fn publish(&mut self, ended: &[Ended], now: Nanos) {
        if ended.is_empty() {
            return;
        }
        let lost = publish(&mut self.watchers, ended, now);
        self.relay.lost_records(lost);
        if self.watchers.is_empty() {
            self.relay.watch(false);
        }
    }

    /// How long to wait for something to stir.
    fn patience(&self) -> Option<Duration> {
        if !self.again.is_empty() {
            return Some(Duration::ZERO);
        }
        let timed = self.relay.needs_tick() || !self.unbound.is_empty();
        let tick = if timed || self.exhausted.is_some() || self.drain_until.is_some() {
            Some(TICK)
        } else {
            self.relay.needs_care().then_some(Duration::from_secs(1))
        };
        let due = [self.relay.due(), self.waits.peek().map(|Reverse((due, ..))| *due), self.held_until()];
        let Some(due) = due.into_iter().flatten().min() else { return tick };
        let due = Duration::from_nanos(due.saturating_sub(self.now()));
        Some(tick.map_or(due, |tick| tick.min(due)))
    }

    fn finished(&self) -> bool {
        let Some(until) = self.drain_until else { return false };
        let idle = self.relay.drained() && self.opaques.len() == 0 && self.sniffs.len() == 0;
        idle || Instant::now() >= until
    }

    fn stirred(&mut self, token: Token, readable: bool, writable: bool, ended: bool, now: Nanos) {
        let number = token.0 & ((1 << KIND) - 1);
        match token.0 >> KIND {
            LISTENER => self.accept(number, now),
            CONN => {
                if writable {
                    self.writable(number as ConnId, now);
                }
                if readable || ended {
                    self.readable(number as ConnId, ended, now);
                }
            }
            SNIFF => self.sniff(number, now),
            SPARE => self.spare(number, now),
            CLIENT | SERVER => self.pass(number),
            _ => {}
        }
    }

    fn accept(&mut self, number: usize, now: Nanos) {
        loop {
            let Some(listener) = self.listeners.get_mut(number) else { return };
            let (target, addr) = (listener.target, listener.addr);
            match listener.accept() {
                Accepted::Client(stream) => match target {
                    Some(target) => self.welcome(stream, Route::Service(target), now),
                    None => self.divert(stream, addr, now),
                },
                Accepted::None => return,
                Accepted::Exhausted(e) => {
                    log::line(Level::Warn, &format!("accepting rests for 100 ms: {e}"));
                    self.exhausted = Some(Instant::now() + Duration::from_millis(100));
                    return;
                }
            }
        }
    }

    /// Takes a socket for a connection of the relay's.
    fn adopt(&mut self, id: ConnId, mut stream: TcpStream, connecting: bool, known: bool) -> bool {
        let interest = Interest::READABLE | Interest::WRITABLE;
        let at = token(CONN, id as usize);
        let done = if known {
            self.registry.reregister(&mut stream, at, interest)
        } else {
            self.registry.register(&mut stream, at, interest)
        };
        if done.is_err() {
            self.relay.closed(id, self.now());
            return false;
        }
        let i = id as usize;
        if self.sockets.len() <= i {
            self.sockets.resize_with(i + 1, || None);
        }
        self.sockets[i] = Some(Socket { stream, connecting, blocked: false, ended: false });
        true
    }

    fn writable(&mut self, id: ConnId, now: Nanos) {
        let Some(Some(socket)) = self.sockets.get_mut(id as usize) else { return };
        if socket.connecting {
            match connection_state(&socket.stream) {
                Ok(false) => return,
                Ok(true) => {
                    socket.connecting = false;
                    self.relay.connected(id, now);
                }
                Err(_) => {
                    self.gone(id, now);
                    return;
                }
            }
        } else if !std::mem::take(&mut socket.blocked) {
            return;
        }
        self.flush(id, now);
    }

    fn readable(&mut self, id: ConnId, ended: bool, now: Nanos) {
        let Some(Some(socket)) = self.sockets.get_mut(id as usize) else { return };
        if socket.connecting {
            if ended {
                self.gone(id, now);
            }
            return;
        }
        socket.ended |= ended;
        if !self.relay.wants_bytes(id) {
            // It is read again when the relay says so; only if it is broken there is nothing to wait for.
            if ended && !matches!(socket.stream.take_error(), Ok(None)) {
                self.gone(id, now);
            }
            return;
        }
        let cut = self.relay.unread(id, &mut self.buffer);
        match socket.stream.read(&mut self.buffer[cut..]) {
            Ok(0) if self.relay.ended(id, now) => {}
            Ok(0) => self.gone(id, now),
            Ok(n) => {
                self.relay.received_behind(id, &self.buffer[..cut + n], cut, now);
                // A short read has emptied the socket; its end, if it is there, must still be fetched.
                let ended = matches!(self.sockets.get(id as usize), Some(Some(socket)) if socket.ended);
                if cut + n == self.buffer.len() || ended {
                    self.again.push(token(CONN, id as usize));
                }
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) if e.kind() == io::ErrorKind::Interrupted => self.again.push(token(CONN, id as usize)),
            Err(_) => self.gone(id, now),
        }
    }

    /// Writes what a connection has, as far as it goes.
    fn flush(&mut self, id: ConnId, now: Nanos) {
        loop {
            let Some(Some(socket)) = self.sockets.get_mut(id as usize) else { return };
            if socket.connecting || socket.blocked {
                return;
            }
            let output = self.relay.output(id);
            if output.is_empty() {
                return;
            }
            match socket.stream.write(output) {
                Ok(n) => {
                    let all = n == output.len();
                    self.relay.wrote(id, n, now);
                    if all && self.relay.output(id).is_empty() {
                        return;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    socket.blocked = true;
                    return;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) if self.relay.write_failed(id) => {
                    self.again.push(token(CONN, id as usize));
                    return;
                }
                Err(_) => {
                    self.gone(id, now);
                    return;
                }
            }
        }
    }

    /// A socket has ended or broken.
    fn gone(&mut self, id: ConnId, now: Nanos) {
        if let Some(slot) = self.sockets.get_mut(id as usize) {
            if slot.take().is_some() {
                self.relay.closed(id, now);
            }
        }
    }

    fn patience_with(&self, id: ConnId) -> Duration {
        if self.relay.speaks_http2(id) {
            HTTP2_PATIENCE
        } else {
            HTTP1_PATIENCE
        }
    }

    fn act(&mut self, action: Action, now: Nanos) {
        match action {
            Action::Connect(id, addr) => match connect(addr, Some(self.patience_with(id))) {
                Ok(stream) => {
                    self.adopt(id, stream, true, false);
                }
                Err(_) => self.relay.closed(id, now),
            },
            Action::Close(id) => {
                self.flush(id, now);
                match self.sockets.get_mut(id as usize).and_then(Option::take) {
                    Some(socket) => {
                        linger(socket.stream);
                        self.relay.closed(id, now);
                    }
                    None => self.relay.closed(id, now),
                }
            }
            Action::Shut(id) => {
                if let Some(Some(socket)) = self.sockets.get(id as usize) {
                    // The peer may be gone already; reading will tell.
                    let _ = socket.stream.shutdown(std::net::Shutdown::Write);
                }
            }
            Action::Read(id) => self.again.push(token(CONN, id as usize)),
        }
    }

    fn target(&mut self, key: &Arc<str>) -> u32 {
        if let Some(target) = self.targets.get(key) {
            return *target;
        }
        let target = self.relay.add_target(key);
        self.hints.resize(target as usize + 1, Hint::None);
        self.targets.insert(key.clone(), target);
        target
    }

    fn listen(&mut self, addr: SocketAddr, target: Option<u32>) -> io::Result<()> {
        let mut listener = bind(addr, target)?;
        let number = self.listeners.next();
        self.registry.register(&mut listener.socket, token(LISTENER, number), Interest::READABLE)?;
        self.listeners.insert(listener);
        Ok(())
    }

    /// Messages of other threads; true to stop at once.
    fn read_inbox(&mut self, now: Nanos) -> bool {
        while let Ok(message) = self.inbox.try_recv() {
            match message {
                Message::Updates(updates) => {
                    updates.into_iter().for_each(|u| self.update(u, now));
                    self.listed(now);
                }
                Message::Snapshot(to) => {
                    // Whoever asked may have given up.
                    let _ = to.send(self.snapshot(now));
                }
                Message::Why(part, n, to) => {
                    let picks = self.relay.why(part.as_deref(), n);
                    let _ = to.send(Why { now, tuning: *self.relay.tuning(), picks });
                }
                Message::Watch(watcher) => self.watch(watcher),
                Message::Drain => self.begin_drain(now),
                Message::Stop => return true,
            }
        }
        false
    }

    fn update(&mut self, update: Update, now: Nanos) {
        match update {
            Update::Target { key, listen, hint, place } => {
                let target = self.target(&key);
                if let Some(known) = self.hints.get_mut(target as usize) {
                    *known = hint;
                }
                self.place(target, &place);
                let Some(listen) = listen else { return };
                let stale = |l: &Listener| l.target == Some(target) && !listen.contains(&l.addr);
                let stale: Vec<usize> = self.listeners.iter().filter(|(_, l)| stale(l)).map(|(i, _)| i).collect();
                stale.into_iter().for_each(|i| drop(self.listeners.remove(i)));
                self.unbound.retain(|(addr, t)| *t != target || listen.contains(addr));
                for addr in listen {
                    if !self.listeners.iter().any(|(_, l)| l.addr == addr) && self.drain_until.is_none() {
                        self.try_listen(addr, target, &key);
                    }
                }
            }
            Update::Endpoints { key, endpoints } => {
                let target = self.target(&key);
                self.relay.set_gone(target, false);
                let pods = endpoints.iter().flat_map(|e| [Some(e.addr), e.also]).flatten();
                self.place_pods(target, pods);
                self.relay.set_endpoints(target, &endpoints, now);
            }
            Update::Gone { key } => {
                let Some(target) = self.targets.get(&key).copied() else { return };
                let own: Vec<usize> =
                    self.listeners.iter().filter(|(_, l)| l.target == Some(target)).map(|(i, _)| i).collect();
                own.into_iter().for_each(|i| drop(self.listeners.remove(i)));
                self.unbound.retain(|(_, t)| *t != target);
                self.relay.set_gone(target, true);
                self.unplace(target);
                self.relay.set_endpoints(target, &[], now);
            }
        }
    }

    fn try_listen(&mut self, addr: SocketAddr, target: u32, key: &str) {
        if let Err(e) = self.listen(addr, Some(target)) {
            log::line(Level::Warn, &format!("cannot listen on {addr} for {key}, will try again: {e}"));
            self.unbound.push((addr, target));
        }
    }

    fn begin_drain(&mut self, now: Nanos) {
        let Some(patience) = self.drain.take() else { return };
        self.drain_until = Some(Instant::now() + patience);
        let all: Vec<usize> = self.listeners.iter().map(|(i, _)| i).collect();
        all.into_iter().for_each(|i| drop(self.listeners.remove(i)));
        self.unbound.clear();
        self.dismiss_silent();
        self.dismiss_held();
        self.relay.drain(now);
    }

    fn tick(&mut self, now: Nanos) {
        self.relay.tick(now);
        for (id, fault) in self.relay.take_faults() {
            log::line(Level::Debug, &format!("connection {id}: {} (code {})", fault.reason, fault.code.0));
        }
        if self.exhausted.is_some_and(|until| Instant::now() >= until) {
            self.exhausted = None;
            let all: Vec<usize> = self.listeners.iter().map(|(i, _)| i).collect();
            all.into_iter().for_each(|i| self.accept(i, now));
        }
        for (addr, target) in std::mem::take(&mut self.unbound) {
            if self.listen(addr, Some(target)).is_err() {
                self.unbound.push((addr, target));
            }
        }
    }

    fn snapshot(&self, now: Nanos) -> Snapshot {
        let shown = self.relay.targets().iter().filter(|t| !t.gone || t.pool.all().next().is_some());
        let targets = shown.map(|t| TargetSnapshot {
            name: t.name.clone(),
            unserved: t.unserved.clone(),
            endpoints: t
                .pool
                .all()
                .map(|(i, e)| EndpointSnapshot {
                    addr: e.info.addr,
                    pod: e.info.pod.clone(),
                    in_flight: e.in_flight,
                    latency: e.estimate.raw().map(|ns| ns / 1e9),
                    cost: t.pool.cost(i, now) / 1e9,
                    connections: e.info.conns.len() + e.info.http1,
                    active: e.info.gone.is_none(),
                    stats: e.info.stats.clone(),
                })
                .collect(),
        });
        Snapshot {
            targets: targets.collect(),
            routes: self.relay.routes().names().to_vec(),
            totals: self.relay.totals().clone(),
            calls: self.relay.calls(),
            held: self.relay.held(),
            opaque: (self.opaques.len(), self.opaque_total),
        }
    }
}

/// Starts a connection to an endpoint; `patience` with bytes that it does not take.
fn connect(addr: SocketAddr, patience: Option<Duration>) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(addr)?;
    let _ = stream.set_nodelay(true);
    alive(&stream);
    // A peer that vanished without a word is noticed by unacknowledged bytes, not by PINGs, which gRPC servers
    // punish (too_many_pings).
    let _ = socket2::SockRef::from(&stream).set_tcp_user_timeout(patience);
    Ok(stream)
}

/// A peer that has vanished while nobody had anything to say is noticed by the kernel, after two minutes: that costs
/// no frame, and no peer counts it as a PING.
fn alive(stream: &TcpStream) {
    let probes = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15))
        .with_retries(4);
    let _ = socket2::SockRef::from(stream).set_tcp_keepalive(&probes);
}

/// Is the connection there (true), still on its way (false), or refused?
fn connection_state(stream: &TcpStream) -> io::Result<bool> {
    if let Some(e) = stream.take_error()? {
        return Err(e);
    }
    match stream.peer_addr() {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotConnected => Ok(false),
        Err(e) => Err(e),
    }
}

/// Closes a socket so that what was written arrives: a close with unread input would reset the connection and take
/// the last GOAWAY with it.
fn linger(mut stream: TcpStream) {
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut scrap = [0; 4096];
    for _ in 0..16 {
        match stream.read(&mut scrap) {
            Ok(n) if n > 0 => {}
            _ => break,
        }
    }
}
