//! From an accepted connection to what becomes of it: a connection of the relay's, or a pair whose bytes are passed.
//!
//! The client's first bytes tell. If it is silent, a connection to an endpoint is opened meanwhile, and if the server
//! speaks first there, that was the answer; so nobody waits for a timer but who waits for nothing. A pair begins when
//! its server's connection is there: until then another endpoint can be tried, and nothing was lost.

use std::cmp::Reverse;
use std::io;

use mio::net::TcpStream;
use mio::Interest;

use super::{alive, connect, token, Worker, CLIENT, SERVER, SNIFF, SPARE};
use crate::core::detect::{Hint, Protocol};
use crate::core::directory::Route;
use crate::core::h2::limits::Nanos;
use crate::core::relay::ConnId;
use crate::io::opaque::{Opaque, Turn};
use crate::io::sniff::{News, Sniff, Spare};

/// How long a client may be silent before a connection is opened on the suspicion that the server is to speak first
/// (ns). Clients that begin do so within a round trip of connecting, here within the node: well below 1 ms, a few
/// under load. A wrong guess costs one connection; 20 ms are less than a person or a handshake notices.
const GRACE: Nanos = 20_000_000;
/// First bytes that might still become HTTP, but have not for this long, are none (ns).
const STALLED: Nanos = 1_000_000_000;
/// How soon it is looked again whether there is an endpoint (ns).
const AGAIN: Nanos = 50_000_000;
/// Attempts to reach a server; the balancer leaves those alone that failed.
const TRIES: u8 = 3;

impl Worker {
    pub(super) fn welcome(&mut self, mut stream: TcpStream, route: Route, now: Nanos) {
        if !self.relay.takes_client(self.sniffs.len() + self.opaques.len()) {
            return;
        }
        alive(&stream);
        // Small frames must not wait for an acknowledgement (Nagle); a socket that refuses is as good as gone.
        let _ = stream.set_nodelay(true);
        let hint = match route {
            Route::Service(target) | Route::Pod(target, _) => {
                self.hints.get(target as usize).copied().unwrap_or_default()
            }
            Route::Elsewhere(_) => Hint::Opaque,
        };
        let number = self.sniffs.next();
        let interest = Interest::READABLE | Interest::WRITABLE;
        if self.registry.register(&mut stream, token(SNIFF, number), interest).is_err() {
            return;
        }
        self.serial += 1;
        let (opaque, bytes, serial) = (hint == Hint::Opaque, Vec::new(), self.serial);
        self.sniffs.insert(Sniff { stream, route, hint, bytes, opaque, spare: None, failures: 0, since: now, serial });
        if opaque {
            self.open(number, now);
            return;
        }
        self.sniff(number, now);
        if self.sniffs.get_mut(number).is_some_and(|s| s.serial == serial) {
            self.wait(number, now + GRACE);
        }
    }

    /// The client has said something.
    pub(super) fn sniff(&mut self, number: usize, now: Nanos) {
        let Some(sniff) = self.sniffs.get_mut(number).filter(|s| !s.opaque) else { return };
        let silent = sniff.bytes.is_empty();
        let protocol = sniff.read();
        let route = sniff.route;
        match (protocol, route) {
            (Ok(Protocol::More), _) => {
                if silent && !sniff.bytes.is_empty() {
                    self.wait(number, now + STALLED);
                }
            }
            (Err(_), _) => drop(self.unsettle(number)),
            (Ok(Protocol::Http2), Route::Service(target)) => {
                let Some(sniff) = self.unsettle(number) else { return };
                let id = self.relay.accepted(target, now);
                self.hand_over(id, sniff, now);
            }
            (Ok(Protocol::Http1), Route::Service(target)) => {
                let Some(sniff) = self.unsettle(number) else { return };
                let id = self.relay.accepted_http1(target, now);
                self.hand_over(id, sniff, now);
            }
            (Ok(Protocol::Http1), Route::Pod(target, pod)) => {
                let Some(sniff) = self.unsettle(number) else { return };
                let id = self.relay.accepted_http1_for_pod(target, pod, now);
                self.hand_over(id, sniff, now);
            }
            (Ok(Protocol::Http2), Route::Pod(target, pod)) => {
                let Some(sniff) = self.unsettle(number) else { return };
                let id = self.relay.accepted_for_pod(target, pod, now);
                self.hand_over(id, sniff, now);
            }
            _ => {
                sniff.opaque = true;
                self.open(number, now);
            }
        }
    }

    /// Gives a client's socket, and what it has said, to a connection of the relay's.
    fn hand_over(&mut self, id: ConnId, sniff: Sniff, now: Nanos) {
        if self.adopt(id, sniff.stream, false, true) {
            self.relay.received(id, &sniff.bytes, now);
            self.readable(id, false, now);
        }
    }

    fn wait(&mut self, number: usize, until: Nanos) {
        if let Some(sniff) = self.sniffs.get_mut(number) {
            self.waits.push(Reverse((until, number, sniff.serial)));
        }
    }

    /// What was waited for has not come.
    pub(super) fn waited(&mut self, now: Nanos) {
        while let Some(Reverse((due, number, serial))) = self.waits.peek().copied() {
            if due > now {
                return;
            }
            self.waits.pop();
            let Some(sniff) = self.sniffs.get_mut(number).filter(|s| s.serial == serial) else { continue };
            match &sniff.spare {
                Some(spare) => {
                    let late = spare.owner.is_some() && now >= spare.since + self.relay.settings().connect_timeout;
                    if late && spare.news() == News::Connecting {
                        self.unreachable(number, now);
                    }
                }
                None if sniff.opaque => self.open(number, now),
                None if sniff.bytes.is_empty() && sniff.hint == Hint::None => self.open(number, now),
                None => {}
            }
            let stalled =
                |s: &Sniff| s.serial == serial && !s.opaque && !s.bytes.is_empty() && now >= s.since + STALLED;
            if let Some(sniff) = self.sniffs.get_mut(number).filter(|s| stalled(s)) {
                sniff.opaque = true;
                self.open(number, now);
            }
        }
    }

    /// Opens a connection to a server, if there is none yet; joins the two if that is all that was missing.
    fn open(&mut self, number: usize, now: Nanos) {
        let Some(sniff) = self.sniffs.get_mut(number) else { return };
        if sniff.spare.is_some() {
            self.spare(number, now);
            return;
        }
        let (route, since) = (sniff.route, sniff.since);
        let Some((addr, owner)) = self.choose(route, now) else {
            if now.saturating_sub(since) >= self.relay.settings().wait {
                self.refuse(number);
            } else {
                self.wait(number, now + AGAIN);
            }
            return;
        };
        let interest = Interest::READABLE | Interest::WRITABLE;
        let stream = connect(addr, None).and_then(|mut stream| {
            self.registry.register(&mut stream, token(SPARE, number), interest)?;
            Ok(stream)
        });
        let Some(sniff) = self.sniffs.get_mut(number) else { return };
        match stream {
            Ok(stream) => {
                sniff.spare = Some(Spare { stream, owner, since: now });
                self.wait(number, now + self.relay.settings().connect_timeout);
            }
            Err(_) => {
                if let Some((target, endpoint)) = owner {
                    self.relay.end_connection(target, endpoint);
                }
                self.refuse(number);
            }
        }
    }

    /// Where a connection that is passed through goes; None if there is no endpoint.
    fn choose(&mut self, route: Route, now: Nanos) -> Option<(std::net::SocketAddr, Option<(u32, u32)>)> {
        match route {
            Route::Service(target) => {
                let (endpoint, addr) = self.relay.pick_connection(target, now)?;
                Some((addr, Some((target, endpoint))))
            }
            Route::Pod(_, addr) | Route::Elsewhere(addr) => Some((addr, None)),
        }
    }

    /// The server's connection has stirred.
    pub(super) fn spare(&mut self, number: usize, now: Nanos) {
        let Some(sniff) = self.sniffs.get_mut(number) else { return };
        let Some(spare) = &sniff.spare else { return };
        match spare.news() {
            News::Connecting => {}
            News::Failed => self.unreachable(number, now),
            News::Http2 if !sniff.opaque => {
                sniff.hint = Hint::Http;
                self.drop_spare(number);
            }
            News::Silent if !sniff.opaque => {}
            _ => self.join(number),
        }
    }

    /// A server could not be reached: another one, or the client is told.
    fn unreachable(&mut self, number: usize, now: Nanos) {
        let owner = self.drop_spare(number);
        if let Some((target, endpoint)) = owner {
            self.relay.connection_failed(target, endpoint, now);
        }
        let Some(sniff) = self.sniffs.get_mut(number) else { return };
        sniff.failures += 1;
        if owner.is_some() && sniff.failures < TRIES {
            self.open(number, now);
        } else {
            self.refuse(number);
        }
    }

    fn drop_spare(&mut self, number: usize) -> Option<(u32, u32)> {
        let spare = self.sniffs.get_mut(number)?.spare.take()?;
        let (target, endpoint) = spare.owner?;
        self.relay.end_connection(target, endpoint);
        spare.owner
    }

    /// Takes a connection that is not to be passed through, or is no more.
    pub(super) fn unsettle(&mut self, number: usize) -> Option<Sniff> {
        self.drop_spare(number);
        self.sniffs.remove(number)
    }

    /// There is no server: the client gets a reset, as close to a refused connection as one that was accepted can be.
    fn refuse(&mut self, number: usize) {
        if let Some(sniff) = self.unsettle(number) {
            reset(sniff.stream);
        }
    }

    /// Joins a client with its server: from now on bytes are passed.
    fn join(&mut self, number: usize) {
        let Some(sniff) = self.sniffs.remove(number) else { return };
        let (mut client, Some(mut spare)) = (sniff.stream, sniff.spare) else { return };
        let number = self.opaques.next();
        let interest = Interest::READABLE | Interest::WRITABLE;
        let a = self.registry.reregister(&mut client, token(CLIENT, number), interest);
        let b = self.registry.reregister(&mut spare.stream, token(SERVER, number), interest);
        if a.is_err() || b.is_err() {
            if let Some((target, endpoint)) = spare.owner {
                self.relay.end_connection(target, endpoint);
            }
            return;
        }
        self.opaque_total += 1;
        self.opaques.insert(Opaque::new(client, spare.stream, sniff.bytes, spare.owner));
        // What they have said already may stir no event any more.
        self.pass(number);
    }

    pub(super) fn pass(&mut self, number: usize) {
        let Some(pair) = self.opaques.get_mut(number) else { return };
        match pair.turn(&mut self.buffer) {
            Ok(Turn::Idle) => {}
            Ok(Turn::More) => self.again.push(token(CLIENT, number)),
            Ok(Turn::Over) | Err(_) => {
                if let Some((target, endpoint)) = self.opaques.remove(number).and_then(|pair| pair.owner) {
                    self.relay.end_connection(target, endpoint);
                }
            }
        }
    }

    /// Ends clients that have said nothing, since no more requests are taken.
    pub(super) fn dismiss_silent(&mut self) {
        let silent = |s: &Sniff| !s.opaque && s.bytes.is_empty();
        let all: Vec<usize> = self.sniffs.iter().filter(|(_, s)| silent(s)).map(|(i, _)| i).collect();
        all.into_iter().for_each(|i| drop(self.unsettle(i)));
    }
}

/// Closes with a reset.
pub(super) fn reset(stream: TcpStream) {
    let done: io::Result<()> = socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO));
    // A socket that refuses is as good as gone.
    drop(done);
}
