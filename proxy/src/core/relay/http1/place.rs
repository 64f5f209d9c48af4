//! From an exchange to a server's connection: the pick, the idle connections, the queue, the second try.
//!
//! An exchange is sent again only if no server can have acted on it: nothing of it was written; or nothing of an
//! answer came, its method is idempotent, and the connection had been idle, so that it crossed with the server's
//! close (RFC 9110 §9.2.2, RFC 9112 §9.3.1). A request that kills a server on a new connection kills only one.

use std::net::SocketAddr;

use super::super::call::ConnId;
use super::super::{Action, Peer, Relay};
use super::conn::{Io, LastWords, Server};
use crate::core::h1::parser::Parser;
use crate::core::h2::limits::Nanos;

impl Relay {
    /// Sends an exchange to an endpoint, `avoid` being the one that just failed it; without one it waits.
    pub(super) fn place(&mut self, id: ConnId, avoid: Option<u32>, now: Nanos) {
        let Some(target) = self.client(id).map(|c| c.target) else { return };
        if let Some(pod) = self.exchange(id).and_then(|x| x.pod) {
            return self.place_at_pod(id, target, pod, now);
        }
        let Some(t) = self.targets.get_mut(target as usize) else { return };
        let Some(first) = t.pool.pick(now, avoid) else { return self.queue(id, target, now) };
        if self.attach(id, target, first, now) {
            return;
        }
        let second = self.targets.get_mut(target as usize).and_then(|t| t.pool.pick(now, Some(first)));
        let other = second.filter(|s| *s != first && Some(*s) != avoid);
        if !other.is_some_and(|endpoint| self.attach(id, target, endpoint, now)) {
            self.queue(id, target, now);
        }
    }

    fn place_at_pod(&mut self, id: ConnId, target: u32, pod: SocketAddr, now: Nanos) {
        let Some(endpoint) = self.endpoint_at(target, pod) else {
            if let Some(client) = self.client(id) {
                // It connects anew and finds out what is at that address now.
                client.keep = false;
            }
            return self.fail_http1(id, 503, &format!("the pod at {pod} has left its Service"), now);
        };
        if !self.attach(id, target, endpoint, now) {
            self.queue(id, target, now);
        }
    }

    /// Gives an exchange a connection to this endpoint; false if there is none to be had.
    fn attach(&mut self, id: ConnId, target: u32, endpoint: u32, now: Nanos) -> bool {
        let Some(fresh) = self.exchange(id).map(|x| x.fresh) else { return true };
        let Some(up) = self.idle_or_new(target, endpoint, fresh, now) else { return false };
        let Some(client) = self.client(id) else { return true };
        let Some(x) = client.exchange.as_deref_mut() else { return true };
        (x.up, x.endpoint, x.waiting, x.sent) = (Some(up), Some(endpoint), None, now);
        (x.answered, x.counted) = (false, true);
        x.tries = x.tries.saturating_add(1);
        let bytes = x.unwritten.take().unwrap_or_else(|| [&x.head[..], &x.kept].concat());
        let asks = x.asks;
        self.totals.tries += 1;
        if let Some(t) = self.targets.get_mut(target as usize) {
            t.pool.start(endpoint, now);
        }
        if let Some(server) = self.server(up) {
            server.parser.expect(asks);
            server.io.output.push(&bytes);
            server.client = Some(id);
            (server.written, server.heard, server.heard_at) = (false, false, None);
        }
        self.touch(up);
        true
    }

    /// The connection used last, so that few are kept; else a new one.
    fn idle_or_new(&mut self, target: u32, endpoint: u32, fresh: bool, now: Nanos) -> Option<ConnId> {
        let info = self.targets.get_mut(target as usize)?.pool.info_mut(endpoint)?;
        let full = info.http1 >= self.http1.max_conns;
        let idle = if fresh && !full { None } else { info.idle.pop() };
        let addr = info.addr;
        match idle {
            Some(old) if fresh => self.close_http1(old),
            Some(idle) => return Some(idle),
            None if full => return None,
            None => {}
        }
        let deadline = now + self.settings.connect_timeout;
        let id = self.settle_in(Peer::Server(Box::new(Server {
            io: Io::default(),
            parser: Parser::responses(self.http1.clone()),
            target,
            endpoint,
            connected: false,
            deadline,
            client: None,
            written: false,
            heard_at: None,
            heard: false,
            reused: false,
        })));
        self.targets.get_mut(target as usize)?.pool.info_mut(endpoint)?.http1 += 1;
        self.servers += 1;
        self.totals.connects += 1;
        self.actions.push(Action::Connect(id, addr));
        Some(id)
    }

    /// A server's connection is free: for whoever waits, or for the next.
    pub(super) fn release(&mut self, up: ConnId, now: Nanos) {
        let deadline = now + self.http1.idle_server;
        let Some(server) = self.server(up) else { return };
        (server.client, server.reused, server.deadline) = (None, true, deadline);
        let (target, endpoint) = (server.target, server.endpoint);
        let Some(t) = self.targets.get_mut(target as usize) else { return };
        match t.pool.info_mut(endpoint) {
            Some(info) if info.gone.is_none() => info.idle.push(up),
            _ => self.close_http1(up),
        }
        self.room_came(target);
    }

    /// No endpoint, or none with a connection to spare: it waits a while, if not too many do already.
    fn queue(&mut self, id: ConnId, target: u32, now: Nanos) {
        let (max, wait) = (self.settings.max_waiting, self.settings.wait);
        let Some(x) = self.exchange(id) else { return };
        let since = *x.waiting.get_or_insert(now);
        let Some(t) = self.targets.get_mut(target as usize) else { return };
        if t.waiting_http1.len() >= max {
            self.fail_http1(id, 503, "too many requests wait for an endpoint", now);
        } else if now.saturating_sub(since) >= wait {
            self.fail_waiting_http1(id, target, now);
        } else {
            t.waiting_http1.push_back(id);
        }
    }

    fn fail_waiting_http1(&mut self, id: ConnId, target: u32, now: Nanos) {
        let Some(t) = self.targets.get(target as usize) else { return };
        let why =
            if t.pool.is_empty() { "no endpoint is ready" } else { "all endpoints are at their connection limit" };
        let text = format!("{why} for {}", t.name);
        self.fail_http1(id, 503, &text, now);
    }

    /// Connections or endpoints have come: those that wait try again, oldest first.
    pub(in super::super) fn serve_waiting_http1(&mut self, target: u32, now: Nanos) {
        let Some(t) = self.targets.get_mut(target as usize) else { return };
        let mut queue = std::mem::take(&mut t.waiting_http1);
        while let Some(id) = queue.pop_front() {
            if !self.waits(id, target) {
                continue;
            }
            self.place(id, None, now);
            self.drive(id, now);
            let Some(t) = self.targets.get_mut(target as usize) else { return };
            if !t.waiting_http1.is_empty() {
                // Still none: keep the order, this one first.
                t.waiting_http1.append(&mut queue);
                return;
            }
        }
    }

    /// Those that have waited too long fail.
    pub(in super::super) fn expire_waiting_http1(&mut self, now: Nanos) {
        for target in 0..self.targets.len() as u32 {
            while let Some(id) = self.targets[target as usize].waiting_http1.front().copied() {
                let since = self.exchange(id).and_then(|x| x.waiting).filter(|_| self.waits(id, target));
                if since.is_some_and(|since| now.saturating_sub(since) < self.settings.wait) {
                    break;
                }
                self.targets[target as usize].waiting_http1.pop_front();
                if since.is_some() {
                    self.fail_waiting_http1(id, target, now);
                    self.drive(id, now);
                }
            }
        }
    }

    /// Does this connection's exchange wait for that target? Its number may have changed hands.
    fn waits(&self, id: ConnId, target: u32) -> bool {
        let Some(Some(Peer::Client(client))) = self.conns.get(id as usize) else { return false };
        client.target == target && client.exchange.as_ref().is_some_and(|x| x.waiting.is_some())
    }

    /// A server's connection is gone in the middle of an exchange: it goes elsewhere, or fails.
    pub(super) fn lost(&mut self, id: ConnId, server: LastWords, now: Nanos) {
        let tries = self.settings.max_tries;
        self.uncount(id);
        let Some(client) = self.client(id) else { return };
        let Some(x) = client.exchange.as_deref_mut() else { return };
        x.up = None;
        let stale = server.reused && x.idempotent && x.whole;
        let unacted = !x.responded && !server.heard && (server.unwritten.is_some() || stale);
        if unacted && x.tries < tries {
            x.fresh |= server.reused;
            x.unwritten = server.unwritten;
            x.waiting = Some(now);
            self.totals.replays += 1;
            self.place(id, Some(server.endpoint), now);
        } else if !server.connected {
            self.fail_http1(id, 503, "no connection to an endpoint could be made", now);
        } else {
            self.blame_http1(id);
            self.fail_http1(id, 502, "the connection to the endpoint was lost", now);
        }
    }

    /// Closes the idle connections to an endpoint that has left.
    pub(in super::super) fn close_idle_http1(&mut self, target: u32, endpoint: u32) {
        let Some(t) = self.targets.get_mut(target as usize) else { return };
        let idle = t.pool.info_mut(endpoint).map(|info| std::mem::take(&mut info.idle)).unwrap_or_default();
        idle.into_iter().for_each(|id| self.close_http1(id));
    }
}
