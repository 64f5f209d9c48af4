//! HTTP/1.x between clients and servers: each request goes to the endpoint that the balancer picks.
//!
//! Life of a request: a client's bytes come in by `received` → `requests` reads a head and begins an exchange →
//! `place` picks an endpoint and takes an idle connection to it, or a new one → `requests` passes the body on,
//! `answers` the response → `end` counts the exchange, once, and both connections are free for the next.
//! A client's connection carries one exchange at a time: what it sends ahead waits in its input, in order.
//!
//! Bytes stand in two places: what was received and is not taken yet, and what is to be written. Neither grows beyond
//! a bound: while one side's output is full the other side's input is not taken, and while an input is full its
//! socket is not read ([`Relay::wants_bytes`]). Must not know: sockets, clocks.

mod answers;
mod conn;
mod end;
mod place;
mod requests;
mod time;

pub(super) use conn::{Client, Io, Server};

use std::net::SocketAddr;

use super::call::ConnId;
use super::{Action, Peer, Relay};
use crate::core::h1::parser::Parser;
use crate::core::h2::limits::Nanos;
use conn::After;

impl Relay {
    /// A client connected for this target and speaks HTTP/1.x; the number names its connection from now on.
    pub fn accepted_http1(&mut self, target: u32, now: Nanos) -> ConnId {
        self.accepted_http1_at(target, None, now)
    }

    /// Like [`Relay::accepted_http1`], for a connection that was dialled to `pod`, one of the target's.
    pub fn accepted_http1_for_pod(&mut self, target: u32, pod: SocketAddr, now: Nanos) -> ConnId {
        self.accepted_http1_at(target, Some(pod), now)
    }

    fn accepted_http1_at(&mut self, target: u32, pod: Option<SocketAddr>, now: Nanos) -> ConnId {
        self.totals.accepted += 1;
        self.totals.downstream += 1;
        let parser = Parser::requests(self.http1.clone());
        self.settle_in(Peer::Client(Box::new(Client {
            io: Io::default(),
            parser,
            target,
            pod,
            exchange: None,
            keep: !self.draining,
            since: now,
            linger: None,
        })))
    }

    /// May more bytes of a connection be read? If not, [`Action::Read`] says when.
    pub fn wants_bytes(&mut self, id: ConnId) -> bool {
        let buffer = self.http1.buffer;
        let Some(io) = self.io(id) else { return true };
        io.paused = io.input.len() >= buffer && !io.eof;
        !io.paused && !io.eof && !io.closing
    }

    /// The most bytes that any one HTTP/1.x connection holds now, input and output; for tests of bounds.
    pub fn most_held_http1(&mut self) -> usize {
        let ids = 0..self.conns.len() as ConnId;
        ids.filter_map(|id| self.io(id).map(|io| io.held())).max().unwrap_or(0)
    }

    pub(super) fn received_http1(&mut self, id: ConnId, bytes: &[u8], now: Nanos) {
        if self.held.grow(bytes.len()) {
            self.measure(now);
        }
        match self.conns.get_mut(id as usize) {
            Some(Some(Peer::Client(client))) if client.linger.is_none() => {
                if client.io.input.len() == 0 {
                    client.since = now;
                }
                client.io.input.push(bytes);
            }
            // Said before it was asked: a farewell that crossed with the request.
            Some(Some(Peer::Server(server))) if server.client.is_some() && !server.written => server.io.eof = true,
            Some(Some(Peer::Server(server))) => {
                server.heard_at.get_or_insert(now);
                server.io.input.push(bytes);
            }
            _ => return,
        }
        self.move_on(id, now);
    }

    /// A connection's peer will send no more. False if that is the end of the connection.
    pub fn ended(&mut self, id: ConnId, now: Nanos) -> bool {
        let Some(io) = self.io(id) else { return false };
        io.eof = true;
        self.move_on(id, now);
        true
    }

    /// Writing to a connection failed. True if what the peer has said before may still be read: a server may have
    /// answered a request that it did not want to the end.
    pub fn write_failed(&mut self, id: ConnId) -> bool {
        let Some(server) = self.server(id) else { return false };
        if server.io.eof || !server.written || server.client.is_none() {
            return false;
        }
        server.io.mute = true;
        server.io.output.clear();
        true
    }

    pub(super) fn wrote_http1(&mut self, id: ConnId, n: usize, now: Nanos) {
        let Some(io) = self.io(id) else { return };
        io.output.take(n);
        if let Some(server) = self.server(id) {
            server.written |= n > 0;
        }
        self.move_on(id, now);
    }

    pub(super) fn connected_http1(&mut self, id: ConnId, now: Nanos) {
        let Some(server) = self.server(id) else { return };
        server.connected = true;
        let client = server.client;
        if let Some(x) = client.and_then(|c| self.exchange(c)) {
            x.sent = now;
        }
        self.move_on(id, now);
    }

    /// A connection's socket is gone.
    pub(super) fn closed_http1(&mut self, id: ConnId, peer: Peer, now: Nanos) {
        match peer {
            Peer::Http2(_) => {}
            Peer::Client(client) => {
                self.totals.downstream -= 1;
                if let Some(x) = client.exchange {
                    self.abandoned_http1(client.target, *x, now);
                }
            }
            Peer::Server(server) => {
                self.servers -= 1;
                // If nobody waits for it any more it was given up, not refused.
                let refused = !server.connected && server.client.is_some();
                self.totals.connect_failures += u64::from(refused);
                if let Some(t) = self.targets.get_mut(server.target as usize) {
                    if refused {
                        t.pool.unreachable(server.endpoint, now);
                    }
                    if let Some(info) = t.pool.info_mut(server.endpoint) {
                        info.http1 -= 1;
                        info.idle.retain(|c| *c != id);
                    }
                }
                let client = server.client;
                self.room_came(server.target);
                if let Some(client) = client {
                    self.lost(client, server.last_words(), now);
                    self.drive(client, now);
                }
            }
        }
    }

    /// Something has changed on a connection: moves what can be moved.
    fn move_on(&mut self, id: ConnId, now: Nanos) {
        match self.conns.get_mut(id as usize) {
            Some(Some(Peer::Client(_))) => self.drive(id, now),
            Some(Some(Peer::Server(server))) => match server.client {
                Some(client) => self.drive(client, now),
                None => {
                    // An idle server has nothing to say: what it says would be taken for the next one's answer.
                    if server.connected && (server.io.eof || server.io.input.len() > 0) {
                        server.io.after = After::Close;
                        self.forget_idle(id);
                    }
                    self.settle(id, now);
                }
            },
            _ => {}
        }
        self.feed(now);
    }

    /// Moves all that can be moved between a client and its server.
    fn drive(&mut self, client: ConnId, now: Nanos) {
        let mut server = None;
        // Each round moves something out of a bounded input.
        loop {
            let moved = self.take_requests(client, now);
            server = self.exchange(client).and_then(|x| x.up).or(server);
            if !self.take_answers(client, now) && !moved {
                break;
            }
        }
        self.settle(client, now);
        if let Some(server) = server {
            self.settle(server, now);
        }
    }

    /// Tells the owner of a connection's socket what there is to do.
    fn settle(&mut self, id: ConnId, now: Nanos) {
        let (buffer, linger) = (self.http1.buffer, now + self.http1.linger);
        let Some(io) = self.io(id) else { return };
        io.input.compact();
        let resume = io.paused && io.input.len() < buffer;
        io.paused &= !resume;
        if io.output.len() > 0 {
            self.touch(id);
        } else {
            let after = std::mem::take(&mut io.after);
            match after {
                After::Stay => {}
                After::Close => return self.close_http1(id),
                After::Shut | After::Linger => {
                    io.shut = true;
                    self.actions.push(Action::Shut(id));
                }
            }
            if let (After::Linger, Some(client)) = (after, self.client(id)) {
                client.linger = Some(linger);
                client.io.input.clear();
                if client.io.eof {
                    return self.close_http1(id);
                }
            }
        }
        if resume {
            self.actions.push(Action::Read(id));
        }
        if self.client(id).is_some_and(|c| c.linger.is_some() && c.io.eof) {
            self.close_http1(id);
        }
    }

    /// Closes a connection; its output is as far out as it will get.
    fn close_http1(&mut self, id: ConnId) {
        let Some(io) = self.io(id) else { return };
        if !std::mem::replace(&mut io.closing, true) {
            self.actions.push(Action::Close(id));
            self.forget_idle(id);
        }
    }

    /// Takes a server's connection out of the choice.
    fn forget_idle(&mut self, id: ConnId) {
        let Some(server) = self.server(id) else { return };
        let (target, endpoint) = (server.target, server.endpoint);
        if let Some(info) = self.targets.get_mut(target as usize).and_then(|t| t.pool.info_mut(endpoint)) {
            info.idle.retain(|c| *c != id);
        }
    }

    /// A server's connection may be had: for those that wait.
    fn room_came(&mut self, target: u32) {
        if self.targets.get(target as usize).is_some_and(|t| !t.waiting_http1.is_empty()) {
            self.hungry(target);
        }
    }
}
