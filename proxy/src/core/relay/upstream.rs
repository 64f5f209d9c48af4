//! Events of servers' connections: answers come in and go on to clients.

use super::call::{Call, CallId, Code, ConnId};
use super::{Relay, Side};
use crate::core::h2::connection::Event;
use crate::core::h2::frame::ErrorCode;
use crate::core::h2::headers::Headers;
use crate::core::h2::limits::Nanos;
use crate::core::h2::stream::State;

impl Relay {
    pub(super) fn on_upstream(&mut self, id: ConnId, event: Event, input: &[u8], now: Nanos) {
        match event {
            Event::Response { slot, fields, end } => {
                let Some(call) = self.call_of(id, slot) else { return };
                let interim = (100..200).contains(&fields.head().status);
                if interim && self.calls.get(call).is_some_and(Call::grpc) {
                    // gRPC knows none, and C-core ends the client's whole connection over the second one on a stream.
                    return;
                }
                if !interim {
                    if end && self.settings.retries.codes != 0 && self.retry_answer(id, call, &fields, now) {
                        return;
                    }
                    self.answered(call, &fields, end, now);
                }
                let Some(down) = self.calls.get(call).and_then(|c| c.down) else { return };
                if let Some(conn) = self.conn(down.conn) {
                    conn.h2.send_head(down.slot, &fields, end);
                }
                self.touch(down.conn);
                if end {
                    self.tidy(call, now);
                }
            }
            Event::Data { slot, from, to, end } => {
                let Some(call) = self.call_of(id, slot) else { return };
                let Some(down) = self.calls.get(call).and_then(|c| c.down) else { return };
                let sent = match self.conn(down.conn) {
                    Some(conn) => conn.h2.send_data(down.slot, &input[from..to], end),
                    None => to - from,
                };
                self.touch(down.conn);
                if let Some(conn) = self.conn(id) {
                    conn.h2.release(slot, sent);
                }
                if end {
                    self.silent_end(call);
                    self.tidy(call, now);
                }
            }
            Event::Trailers { slot, fields } => {
                let Some(call) = self.call_of(id, slot) else { return };
                let Some(c) = self.calls.get_mut(call) else { return };
                if let (Some(n), Some(Code::Grpc(_))) = (fields.head().grpc_status, c.code) {
                    c.code = Some(Code::Grpc(n));
                }
                c.failed = c.code.map(Code::failed);
                if let Some(down) = c.down {
                    if let Some(conn) = self.conn(down.conn) {
                        conn.h2.send_trailers(down.slot, &fields);
                    }
                    self.touch(down.conn);
                }
                self.tidy(call, now);
            }
            Event::Reset { slot, code, ours } => {
                if let Some(call) = self.call_of(id, slot) {
                    self.refused(id, call, code, ours, now);
                }
            }
            Event::Writable => self.pump(id, now),
            Event::Settings => {
                self.pump(id, now);
                if let Some(Side::Up { target, .. }) = self.conn(id).map(|c| c.side) {
                    self.serve_waiting(target, now);
                }
            }
            Event::Goaway { last, .. } => self.leaving(id, last, now),
            Event::Pong(_) | Event::Request { .. } => {}
        }
    }

    /// A final head: the latency is known, and how the call ends unless trailers say more.
    fn answered(&mut self, call: CallId, fields: &Headers, end: bool, now: Nanos) {
        let head = fields.head();
        let Some(c) = self.calls.get_mut(call) else { return };
        c.responded = true;
        c.answer_at = Some(now);
        c.body.clear();
        c.whole = false;
        c.code = Some(match head.grpc_status {
            Some(n) => Code::Grpc(n),
            // Until trailers say more: a gRPC answer without a status is UNKNOWN.
            None if head.grpc && head.status == 200 => Code::Grpc(2),
            None => Code::Http(head.status),
        });
        if head.grpc_status.is_some() || end || !matches!(c.code, Some(Code::Grpc(_))) {
            c.failed = c.code.map(Code::failed);
        }
        self.charge(call, now);
    }

    /// Tells the pool of a call's answer, once.
    pub(super) fn charge(&mut self, call: CallId, now: Nanos) {
        let Some(c) = self.calls.get_mut(call) else { return };
        let failed = c.failed == Some(true);
        if let (Some(endpoint), false) = (c.endpoint, c.answered) {
            c.answered = true;
            let latency = now.saturating_sub(c.sent);
            let target = c.target;
            if let Some(t) = self.targets.get_mut(target as usize) {
                if failed {
                    t.pool.failed_answer(endpoint, now);
                } else {
                    t.pool.answered(endpoint, latency, now);
                }
            }
        }
    }

    /// The body has ended and with it the answer: a gRPC one that told no status is UNKNOWN for good.
    fn silent_end(&mut self, call: CallId) {
        if let Some(c) = self.calls.get_mut(call).filter(|c| c.failed.is_none()) {
            c.failed = c.code.map(Code::failed);
        }
    }

    /// The server reset a stream, or broke the protocol on it.
    fn refused(&mut self, id: ConnId, call: CallId, code: ErrorCode, ours: bool, now: Nanos) {
        if code == ErrorCode::REFUSED_STREAM && !ours && self.can_replay(call) {
            self.blame(call);
            self.replay(call, id, now);
            return;
        }
        if !ours && self.retry_broken(id, call, code_of_reset(code), now) {
            return;
        }
        let Some(c) = self.calls.get(call) else { return };
        let (down, mut broken) = (c.down, false);
        if let Some(down) = down {
            if let Some(conn) = self.conn(down.conn) {
                match conn.h2.state(down.slot) {
                    // The answer is complete, or on its way out: the reset only ends the request's body.
                    State::HalfLocal | State::Closed => {}
                    _ if conn.h2.ending(down.slot) => {}
                    _ => {
                        conn.h2.reset(down.slot, code);
                        broken = true;
                    }
                }
            }
            self.touch(down.conn);
        }
        if let Some(c) = self.calls.get_mut(call) {
            // A gRPC answer that has not told its status yet ends with the reset's.
            if c.failed.is_none() {
                c.code = Some(Code::Grpc(code_of_reset(code)));
            }
            if broken {
                c.failed = Some(true);
            }
        }
        self.tidy(call, now);
    }

    /// The call's end, whatever its code, is the endpoint's doing.
    pub(super) fn blame(&mut self, call: CallId) {
        if let Some(c) = self.calls.get_mut(call) {
            c.failed = Some(true);
        }
    }

    /// The server takes no more streams here. What it has not processed goes elsewhere.
    fn leaving(&mut self, id: ConnId, last: u32, now: Nanos) {
        let Some(conn) = self.conn(id) else { return };
        let unseen: Vec<(u32, CallId)> = conn
            .h2
            .calls()
            .into_iter()
            .filter(|(slot, _)| conn.h2.stream(*slot).is_some_and(|s| s.id > last))
            .collect();
        for (slot, call) in unseen {
            if let Some(conn) = self.conn(id) {
                conn.h2.reset(slot, ErrorCode::CANCEL);
            }
            if self.can_replay(call) {
                self.replay(call, id, now);
            } else {
                self.fail(call, 14, "the server went away before it took the request", now);
            }
        }
        self.close_if_done(id);
    }
}

/// gRPC's reading of a reset (its "HTTP2 transport mapping").
fn code_of_reset(code: ErrorCode) -> u8 {
    match code {
        ErrorCode::REFUSED_STREAM => 14,
        ErrorCode::CANCEL => 1,
        ErrorCode::ENHANCE_YOUR_CALM => 8,
        _ => 13,
    }
}
