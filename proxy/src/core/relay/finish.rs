//! Where calls and connections end: streams are removed, the call is counted (here and nowhere else).

use super::call::{CallId, Code, ConnId};
use super::record::Ending;
use super::{Action, Relay, Side};
use crate::core::h2::frame::ErrorCode;
use crate::core::h2::limits::Nanos;
use crate::core::h2::stream::State;

impl Relay {
    /// Looks whether a call's streams have closed, removes those, and ends the call with the last one.
    pub(super) fn tidy(&mut self, call: CallId, now: Nanos) {
        let Some(c) = self.calls.get(call) else { return };
        let (mut up, mut down) = (c.up, c.down);
        if let Some(leg) = up {
            if self.conn(leg.conn).is_none_or(|conn| conn.h2.state(leg.slot) == State::Closed) {
                self.drop_up(call);
                up = None;
            }
        }
        if let Some(leg) = down {
            if let Some(conn) = self.conn(leg.conn) {
                let state = conn.h2.state(leg.slot);
                if up.is_none() && state == State::HalfLocal {
                    // The answer is out and nobody reads the rest of the request (RFC 9113 §8.1).
                    conn.h2.reset(leg.slot, ErrorCode::NO_ERROR);
                    self.touch(leg.conn);
                    down = None;
                } else if state == State::Closed {
                    down = None;
                }
            } else {
                down = None;
            }
            if down.is_none() {
                self.drop_down(call);
            }
        }
        if down.is_none() {
            if let Some(leg) = up {
                // The client is done, the server is not: it is told to stop.
                if let Some(conn) = self.conn(leg.conn) {
                    conn.h2.reset(leg.slot, ErrorCode::CANCEL);
                }
                self.touch(leg.conn);
                self.drop_up(call);
            }
            self.finish(call, now);
        }
    }

    fn drop_up(&mut self, call: CallId) {
        let Some(c) = self.calls.get_mut(call) else { return };
        let Some(leg) = c.up.take() else { return };
        let (target, endpoint, answered, failed) = (c.target, c.endpoint, c.answered, c.failed);
        if let Some(conn) = self.conn(leg.conn) {
            conn.h2.remove(leg.slot);
        }
        if let (Some(t), Some(endpoint)) = (self.targets.get_mut(target as usize), endpoint) {
            if let Some(failed) = failed {
                t.pool.outcome(endpoint, failed);
            }
            t.pool.finish(endpoint, answered);
        }
        self.freed(leg.conn);
    }

    fn drop_down(&mut self, call: CallId) {
        let Some(c) = self.calls.get_mut(call) else { return };
        let Some(leg) = c.down.take() else { return };
        if let Some(conn) = self.conn(leg.conn) {
            conn.h2.remove(leg.slot);
        }
        self.close_if_done(leg.conn);
    }

    /// A stream to an endpoint has become free: someone may wait for it, or the connection be done.
    pub(super) fn freed(&mut self, id: ConnId) {
        let Some(Side::Up { target, .. }) = self.conn(id).map(|c| c.side) else { return };
        if self.targets.get(target as usize).is_some_and(|t| !t.waiting.is_empty()) {
            self.hungry(target);
        }
        self.close_if_done(id);
    }

    fn finish(&mut self, call: CallId, now: Nanos) {
        let Some(c) = self.calls.get(call) else { return };
        let code = c.code.unwrap_or(Code::Grpc(1));
        let route = c.fields.as_ref().map_or(0, |f| self.routes.of(f));
        let ending = Ending {
            target: c.target,
            endpoint: c.endpoint,
            route,
            code,
            started: c.started,
            sent: c.sent,
            answer_at: c.answer_at,
            tries: c.tries,
        };
        self.tally(&ending, now);
        self.calls.remove(call);
    }

    /// Counts what has ended, and records it if somebody watches.
    pub(super) fn tally(&mut self, e: &Ending, now: Nanos) {
        let Some(t) = self.targets.get_mut(e.target as usize) else { return };
        let duration = now.saturating_sub(e.started);
        match e.endpoint.and_then(|i| t.pool.info_mut(i)) {
            Some(info) => info.stats.record(e.route, e.code, duration),
            None => t.unserved.record(e.route, e.code, duration),
        }
        if self.watched {
            self.record(e, now);
        }
    }

    /// A client's connection is gone: its call is over, the server is told.
    pub(super) fn client_gone(&mut self, id: ConnId, slot: u32, call: CallId, now: Nanos) {
        if let Some(conn) = self.conn(id) {
            conn.h2.reset(slot, ErrorCode::CANCEL);
        }
        if let Some(c) = self.calls.get_mut(call) {
            c.cancel();
        }
        self.tidy(call, now);
    }

    /// Closes a connection for a fault of its peer's; GOAWAY is in its output.
    pub(super) fn close(&mut self, id: ConnId, now: Nanos) {
        self.lose(id, now);
        self.touch(id);
        self.close_now(id);
    }

    fn close_now(&mut self, id: ConnId) {
        let Some(conn) = self.conn(id) else { return };
        if !std::mem::replace(&mut conn.closing, true) {
            self.actions.push(Action::Close(id));
        }
    }

    /// Closes a connection that takes no more streams and has none left.
    pub(super) fn close_if_done(&mut self, id: ConnId) {
        let Some(conn) = self.conn(id) else { return };
        if conn.h2.over() && conn.h2.streams() == 0 {
            self.close_now(id);
            self.touch(id);
        }
    }
}
