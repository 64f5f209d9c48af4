//! Events of clients' connections: requests come in, calls start, bodies go on to servers.

use super::call::{CallId, ConnId, Leg};
use super::{Relay, Side};
use crate::core::h2::connection::Event;
use crate::core::h2::frame::ErrorCode;
use crate::core::h2::limits::Nanos;

impl Relay {
    pub(super) fn on_downstream(&mut self, id: ConnId, event: Event, input: &[u8], now: Nanos) {
        match event {
            Event::Request { slot, fields, end } => {
                let Some(Side::Down { target, pod }) = self.conn(id).map(|c| c.side) else { return };
                if self.held.grow(fields.list_size()) {
                    self.measure(now);
                }
                if self.held.full {
                    return self.shed(id, slot);
                }
                let call = self.calls.insert(target, Leg { conn: id, slot }, fields.clone(), end, now);
                if let Some(pod) = pod {
                    self.aim(call, target, pod, &fields);
                }
                if let Some(conn) = self.conn(id) {
                    conn.h2.set_call(slot, call);
                }
                self.set_deadline(call, now);
                self.count_for_retries(target);
                self.fresh.push(call);
            }
            Event::Data { slot, from, to, end } => {
                if let Some(call) = self.call_of(id, slot) {
                    self.request_data(call, &input[from..to], end, now);
                }
            }
            Event::Trailers { slot, fields } => {
                let Some(call) = self.call_of(id, slot) else { return };
                let Some(c) = self.calls.get_mut(call) else { return };
                c.ended = true;
                match c.up {
                    Some(leg) => {
                        if let Some(up) = self.conn(leg.conn) {
                            up.h2.send_trailers(leg.slot, &fields);
                        }
                        self.touch(leg.conn);
                    }
                    None => c.trailers = Some(fields.clone()),
                }
                if let Some(c) = self.calls.get_mut(call) {
                    c.trailers = Some(fields);
                }
                self.tidy(call, now);
            }
            Event::Reset { slot, code, .. } => {
                if let Some(call) = self.call_of(id, slot) {
                    self.abandoned(call, code, now);
                }
            }
            Event::Writable | Event::Settings => self.pump(id, now),
            Event::Pong(_) => self.drained_ping(id, now),
            // The client takes no new calls from itself; it closes when its own are done.
            Event::Goaway { .. } | Event::Response { .. } => {}
        }
    }

    /// More of a request's body. It is kept while it might have to be sent again; it waits in the server's stream
    /// if windows are shut, and the client gets credit only for what has gone on.
    fn request_data(&mut self, call: CallId, bytes: &[u8], end: bool, now: Nanos) {
        let cap = self.keep_body();
        let Some(c) = self.calls.get_mut(call) else { return };
        c.ended |= end;
        if c.up.is_none() {
            // Nowhere to send it yet: all of it is kept, within the stream's window. If the call is over, it goes
            // nowhere at all.
            if c.waiting.is_some() {
                c.body.extend_from_slice(bytes);
            }
        } else if c.whole && !c.responded && c.body.len() + bytes.len() <= cap {
            c.body.extend_from_slice(bytes);
        } else {
            c.whole = false;
            c.body.clear();
        }
        let (up, down) = (c.up, c.down);
        let Some(leg) = up else { return };
        let sent = match self.conn(leg.conn) {
            Some(conn) => conn.h2.send_data(leg.slot, bytes, end),
            None => bytes.len(),
        };
        self.touch(leg.conn);
        if let Some(down) = down {
            if let Some(conn) = self.conn(down.conn) {
                conn.h2.release(down.slot, sent);
            }
        }
        if end {
            self.tidy(call, now);
        }
    }

    /// The client gave up on a call, or broke it: the server is told, and it counts as cancelled.
    fn abandoned(&mut self, call: CallId, code: ErrorCode, now: Nanos) {
        let Some(c) = self.calls.get_mut(call) else { return };
        // A client that has the whole answer may reset what it no longer wants to send.
        if c.at_deadline(now) {
            c.overdue();
        } else {
            c.cancel();
        }
        let up = c.up;
        if let Some(leg) = up {
            let code = if code == ErrorCode::NO_ERROR { code } else { ErrorCode::CANCEL };
            if let Some(conn) = self.conn(leg.conn) {
                conn.h2.reset(leg.slot, code);
            }
            self.touch(leg.conn);
        }
        self.tidy(call, now);
    }
}
