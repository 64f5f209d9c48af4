//! From a call to an endpoint's stream: the pick, the connection, the queue of those that wait, the second try.
//!
//! A call is sent again only if its first try cannot have been processed: nothing was written, REFUSED_STREAM, or
//! an identifier above GOAWAY's last (RFC 9113 §8.7). Each try goes to an endpoint of its own if there are others.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::call::{CallId, ConnId, Leg};
use super::{Action, Peer, Relay, Side};
use crate::core::h2::connection::Role;
use crate::core::h2::frame::ErrorCode;
use crate::core::h2::limits::Nanos;
use crate::core::h2::stream::State;

impl Relay {
    /// Sends a call to an endpoint, `avoid` being the one that just failed it; without one it waits.
    pub(super) fn dispatch(&mut self, call: CallId, avoid: Option<u32>, now: Nanos) {
        let Some(c) = self.calls.get(call) else { return };
        if c.deadline <= now {
            return self.expired(call, now);
        }
        let target = c.target;
        if let Some(pod) = c.pod {
            return self.dispatch_to_pod(call, target, pod, now);
        }
        let Some(t) = self.targets.get_mut(target as usize) else { return };
        let Some(first) = t.pool.pick(now, avoid) else {
            self.wait(call, now);
            return;
        };
        if let Some(conn) = self.conn_with_room(target, first, now) {
            self.send(call, first, conn, now);
            return;
        }
        // It is full, or its connection is still being made: another one may take the call.
        let second = self.targets.get_mut(target as usize).and_then(|t| t.pool.pick(now, Some(first)));
        let other = second.filter(|s| *s != first && Some(*s) != avoid);
        match other.and_then(|e| self.conn_with_room(target, e, now).map(|conn| (e, conn))) {
            Some((endpoint, conn)) => self.send(call, endpoint, conn, now),
            None => self.wait(call, now),
        }
    }

    fn dispatch_to_pod(&mut self, call: CallId, target: u32, pod: SocketAddr, now: Nanos) {
        let Some(endpoint) = self.endpoint_at(target, pod) else { return self.pod_gone(call, pod, now) };
        match self.conn_with_room(target, endpoint, now) {
            Some(conn) => self.send(call, endpoint, conn, now),
            None => self.wait(call, now),
        }
    }

    /// Sends what came in with the last bytes. Only now, so that a call which is reset in the same breath costs no
    /// server anything (rapid reset), and a request that is whole goes out whole.
    pub(super) fn dispatch_fresh(&mut self, now: Nanos) {
        let mut fresh = std::mem::take(&mut self.fresh);
        for call in fresh.drain(..) {
            // Its number may be there twice, if its first bearer is gone.
            if self.calls.get_mut(call).is_some_and(|c| std::mem::take(&mut c.fresh) && c.waiting.is_some()) {
                self.dispatch(call, None, now);
            }
        }
        self.fresh = fresh;
    }

    /// A connection to the endpoint with room for a stream: the fullest one that has some, so that few are used;
    /// else a new one.
    fn conn_with_room(&mut self, target: u32, endpoint: u32, now: Nanos) -> Option<ConnId> {
        let info = &self.targets.get(target as usize)?.pool.get(endpoint)?.info;
        let mut usable = 0;
        for id in &info.conns {
            let Some(Some(Peer::Http2(conn))) = self.conns.get(*id as usize) else { continue };
            let open = !conn.closing && !conn.lost;
            usable += usize::from(conn.h2.usable() && open);
            if conn.h2.room() > 0 && open {
                return Some(*id);
            }
            if open && !conn.h2.greeted() {
                // How many streams it takes is about to be known: not worth another connection.
                return None;
            }
        }
        if usable >= self.settings.max_conns {
            return None;
        }
        let addr = info.addr;
        let deadline = now + self.settings.connect_timeout;
        let id = self.insert(Role::Client, Side::Up { target, endpoint, connected: false, deadline });
        if let Some(conn) = self.conn(id) {
            conn.h2.cork(true);
        }
        self.targets[target as usize].pool.info_mut(endpoint)?.conns.push(id);
        self.totals.connects += 1;
        self.actions.push(Action::Connect(id, addr));
        Some(id)
    }

    fn send(&mut self, call: CallId, endpoint: u32, id: ConnId, now: Nanos) {
        let Some(c) = self.calls.get_mut(call) else { return };
        let Some(fields) = c.head_for(now) else { return };
        let body = std::mem::take(&mut c.body);
        let trailers = c.trailers.clone();
        let bare = c.ended && body.is_empty() && trailers.is_none();
        let ends = c.ended && trailers.is_none();
        let Some(conn) = self.conn(id) else { return };
        if !conn.h2.takes(&fields) {
            self.fail(call, 8, "the endpoint does not take so many header fields", now);
            return;
        }
        let Some(slot) = conn.h2.open(call, &fields, bare) else { return };
        let mut sent = 0;
        if !body.is_empty() {
            sent = conn.h2.send_data(slot, &body, ends);
        }
        if let Some(trailers) = trailers {
            conn.h2.send_trailers(slot, &trailers);
        }
        self.touch(id);
        let keep = body.len() <= self.keep_body();
        self.totals.tries += 1;
        let Some(c) = self.calls.get_mut(call) else { return };
        c.up = Some(Leg { conn: id, slot });
        c.endpoint = Some(endpoint);
        c.sent = now;
        c.answered = false;
        c.waiting = None;
        c.tries = c.tries.saturating_add(1);
        c.body = body;
        if !keep {
            c.whole = false;
            c.body.clear();
        }
        let (target, down) = (c.target, c.down);
        if let Some(t) = self.targets.get_mut(target as usize) {
            t.pool.start(endpoint, now);
        }
        if let (Some(down), true) = (down, sent > 0) {
            if let Some(conn) = self.conn(down.conn) {
                conn.h2.release(down.slot, sent);
            }
            self.touch(down.conn);
        }
    }

    /// No endpoint, or none with room: the call waits a while, if not too many do already.
    fn wait(&mut self, call: CallId, now: Nanos) {
        let max = self.settings.max_waiting;
        let Some(c) = self.calls.get_mut(call) else { return };
        let since = *c.waiting.get_or_insert(now);
        let target = c.target;
        let Some(t) = self.targets.get_mut(target as usize) else { return };
        if t.waiting.len() >= max {
            self.fail(call, 14, "too many requests wait for an endpoint", now);
        } else if now.saturating_sub(since) >= self.settings.wait {
            self.fail_waiting(call, now);
        } else {
            self.targets[target as usize].waiting.push_back(call);
        }
    }

    fn fail_waiting(&mut self, call: CallId, now: Nanos) {
        let Some(target) = self.calls.get(call).map(|c| c.target) else { return };
        let Some(t) = self.targets.get(target as usize) else { return };
        let why = if t.pool.is_empty() { "no endpoint is ready" } else { "all endpoints are at their stream limit" };
        let text = format!("{why} for {}", t.name);
        self.fail(call, 14, &text, now);
    }

    /// Room or endpoints have come: those that wait try again, oldest first.
    pub(super) fn serve_waiting(&mut self, target: u32, now: Nanos) {
        self.serve_waiting_http1(target, now);
        let Some(t) = self.targets.get_mut(target as usize) else { return };
        let mut queue = std::mem::take(&mut t.waiting);
        let mut for_pods = VecDeque::new();
        while let Some(call) = queue.pop_front() {
            if self.calls.get(call).is_some_and(|c| c.waiting.is_some() && c.target == target) {
                self.dispatch(call, None, now);
            }
            let Some(t) = self.targets.get_mut(target as usize) else { return };
            if t.waiting.is_empty() {
                continue;
            }
            if self.calls.get(call).is_some_and(|c| c.pod.is_some()) {
                // One pod has no room: that is nobody else's concern.
                for_pods.append(&mut t.waiting);
                continue;
            }
            // Still none: keep the order, this one first.
            t.waiting.append(&mut queue);
            break;
        }
        if let (false, Some(t)) = (for_pods.is_empty(), self.targets.get_mut(target as usize)) {
            for_pods.append(&mut t.waiting);
            t.waiting = for_pods;
        }
    }

    /// Those that have waited too long fail.
    pub(super) fn expire_waiting(&mut self, now: Nanos) {
        for target in 0..self.targets.len() {
            while let Some(call) = self.targets[target].waiting.front().copied() {
                let since = self.calls.get(call).and_then(|c| c.waiting);
                match since {
                    Some(since) if now.saturating_sub(since) < self.settings.wait => break,
                    Some(_) => {
                        self.targets[target].waiting.pop_front();
                        self.fail_waiting(call, now);
                    }
                    None => {
                        self.targets[target].waiting.pop_front();
                    }
                }
            }
        }
    }

    /// May this call be sent again, its try so far not having been processed?
    pub(super) fn can_replay(&self, call: CallId) -> bool {
        self.calls
            .get(call)
            .is_some_and(|c| c.whole && !c.responded && c.down.is_some() && c.tries < self.settings.max_tries)
    }

    /// Sends a call again whose try so far has not been processed.
    pub(super) fn replay(&mut self, call: CallId, from: ConnId, now: Nanos) {
        self.totals.replays += 1;
        self.send_elsewhere(call, from, now);
    }

    /// Takes a call off its server's stream and sends it elsewhere.
    pub(super) fn send_elsewhere(&mut self, call: CallId, from: ConnId, now: Nanos) {
        let Some(c) = self.calls.get_mut(call) else { return };
        let (target, avoid, answered) = (c.target, c.endpoint.take(), c.answered);
        let failed = c.failed.take();
        let leg = c.up.take();
        if let Some(leg) = leg {
            if let Some(conn) = self.conn(from) {
                // What the server still wants to read or say of it is of no use any more.
                conn.h2.reset(leg.slot, ErrorCode::CANCEL);
                conn.h2.remove(leg.slot);
            }
            self.touch(from);
            self.freed(from);
        }
        if let (Some(t), Some(endpoint)) = (self.targets.get_mut(target as usize), avoid) {
            if let Some(failed) = failed {
                t.pool.outcome(endpoint, failed);
            }
            t.pool.finish(endpoint, answered);
        }
        self.dispatch(call, avoid, now);
    }

    /// The connection to an endpoint is there.
    pub fn connected(&mut self, id: ConnId, now: Nanos) {
        let Some(conn) = self.conn(id) else { return self.connected_http1(id, now) };
        if let Side::Up { connected, .. } = &mut conn.side {
            *connected = true;
        }
        conn.h2.cork(false);
        self.pump(id, now);
        self.feed(now);
    }

    /// A connection's socket is closed, or never came to be. Its number is free from now on.
    pub fn closed(&mut self, id: ConnId, now: Nanos) {
        self.lose(id, now);
        // The number may be given out again before the owner looks at what it was to do with it.
        self.actions.retain(|a| a.conn() != id);
        let Some(peer) = self.conns.get_mut(id as usize).and_then(Option::take) else { return };
        self.free.push(id);
        let Peer::Http2(conn) = peer else {
            self.closed_http1(id, peer, now);
            return self.feed(now);
        };
        match conn.side {
            Side::Down { .. } => self.totals.downstream -= 1,
            Side::Up { target, endpoint, .. } => {
                if let Some(info) = self.targets.get_mut(target as usize).and_then(|t| t.pool.info_mut(endpoint)) {
                    info.conns.retain(|c| *c != id);
                }
                self.serve_waiting(target, now);
            }
        }
        self.feed(now);
    }

    /// Ends all calls of a connection that can carry them no longer.
    pub(super) fn lose(&mut self, id: ConnId, now: Nanos) {
        let Some(conn) = self.conn(id) else { return };
        if std::mem::replace(&mut conn.lost, true) {
            return;
        }
        let side = conn.side;
        let calls = conn.h2.calls();
        match side {
            Side::Down { .. } => calls.into_iter().for_each(|(slot, call)| self.client_gone(id, slot, call, now)),
            Side::Up { target, endpoint, connected, .. } => {
                if !connected {
                    self.totals.connect_failures += 1;
                    if let Some(t) = self.targets.get_mut(target as usize) {
                        t.pool.unreachable(endpoint, now);
                    }
                }
                for (slot, call) in calls {
                    self.server_gone(id, slot, call, connected, now);
                }
            }
        }
    }

    fn server_gone(&mut self, id: ConnId, slot: u32, call: CallId, connected: bool, now: Nanos) {
        if !connected {
            // Nothing was written: what waited in the stream is the body, however long.
            let taken = self.conn(id).map(|c| c.h2.take_pending(slot)).unwrap_or_default();
            if let Some(c) = self.calls.get_mut(call) {
                if !c.whole {
                    c.body = taken.0;
                    c.whole = true;
                }
            }
            if self.can_replay(call) {
                self.replay(call, id, now);
                return;
            }
        }
        // An answer that is complete stays one, even if the request was not read to its end.
        if connected && self.conn(id).is_some_and(|c| c.h2.state(slot) != State::HalfRemote) {
            if self.retry_broken(id, call, 14, now) {
                return;
            }
            self.blame(call);
        }
        self.fail(call, 14, "the connection to the endpoint was lost", now);
    }
}
