//! The sending half of a [`Connection`]: heads, payload under two windows, resets, GOAWAY.
//!
//! Payload goes into the output while the stream's window, the connection's window and the output have room; the
//! rest waits in the stream and is sent by [`Connection::pump`], a frame per stream in turn, so that no stream
//! starves another. Knows nothing of who produced the bytes.

use std::rc::Rc;

use super::connection::{Connection, Role};
use super::frame::{self, flag, kind, ErrorCode};
use super::headers::Headers;
use super::stream::{Input, State};
use super::table::{End, Slot};
use super::window::{RecvWindow, SendWindow};

impl Connection {
    /// Opens a stream with a request's head (client only). None if no stream can be opened: see
    /// [`Connection::room`].
    pub fn open(&mut self, call: u32, fields: &Rc<Headers>, end: bool) -> Option<Slot> {
        if self.role != Role::Client || self.room() == 0 {
            return None;
        }
        let id = self.ids.next;
        self.ids.next += 2;
        let send = SendWindow::new(self.peer.initial_window);
        let slot = self.table.insert(id, call, send, RecvWindow::new(self.limits.stream_window));
        self.head(slot, fields, end);
        Some(slot)
    }

    /// Sends a head: a response's, or 1xx. Ignored on a stream that may not send. No window holds heads back, so
    /// towards a peer that does not read, 1xx are dropped once DATA would wait, and beyond `out_hard` the stream is
    /// reset instead.
    pub fn send_head(&mut self, slot: Slot, fields: &Rc<Headers>, end: bool) {
        let interim = !end && (100..200).contains(&fields.head().status);
        if !self.state(slot).can_send() || (interim && self.out.len() > self.limits.out_soft) {
            return;
        }
        if self.out.len() > self.limits.out_hard {
            self.reset(slot, ErrorCode::ENHANCE_YOUR_CALM);
        } else {
            self.head(slot, fields, end);
        }
    }

    fn head(&mut self, slot: Slot, fields: &Rc<Headers>, end: bool) {
        let Some(s) = self.table.get_mut(slot) else { return };
        let input = if end { Input::SendEnd } else { Input::Send };
        let Some(next) = s.state.next(input) else { return };
        s.state = next;
        let (id, max) = (s.id, self.peer.max_frame);
        let out = &mut self.out.bytes;
        let at = out.len();
        frame::put_header(out, 0, kind::HEADERS, 0, id);
        self.encoder.encode(fields, out);
        let flags = if end { flag::END_STREAM } else { 0 };
        finish_head(out, at, id, flags, max);
    }

    /// Sends payload, and with `end` the stream's end after it. Returns how many bytes went into the output; the
    /// rest waits and is reported by [`Connection::pump`].
    pub fn send_data(&mut self, slot: Slot, bytes: &[u8], end: bool) -> usize {
        let Some(s) = self.table.get_mut(slot) else { return bytes.len() };
        if !s.state.can_send() || !matches!(s.pending.end, End::None) {
            return bytes.len();
        }
        if !s.pending.bytes().is_empty() {
            s.pending.push(bytes);
            s.pending.end = if end { End::Data } else { End::None };
            self.enqueue(slot);
            return 0;
        }
        let n = self.put_data(slot, bytes, end);
        if n < bytes.len() {
            if let Some(s) = self.table.get_mut(slot) {
                s.pending.push(&bytes[n..]);
                s.pending.end = if end { End::Data } else { End::None };
            }
            self.enqueue(slot);
        } else if bytes.is_empty() && end {
            self.put_end(slot);
        }
        n
    }

    /// Ends the stream with trailers, after whatever still waits.
    pub fn send_trailers(&mut self, slot: Slot, fields: &Rc<Headers>) {
        let Some(s) = self.table.get_mut(slot) else { return };
        if !s.state.can_send() || !matches!(s.pending.end, End::None) {
            return;
        }
        if s.pending.bytes().is_empty() {
            self.head(slot, fields, true);
        } else {
            s.pending.end = End::Trailers(fields.clone());
        }
    }

    /// Sends what waits, as far as windows and output allow: one frame of one stream. Returns the stream and how
    /// many bytes left it; None when nothing can be sent now. Call until None.
    pub fn pump(&mut self) -> Option<(Slot, usize)> {
        while !self.out.corked && self.out.len() < self.limits.out_soft && self.send.available() > 0 {
            let slot = self.ready.pop_front()?;
            let Some(s) = self.table.get_mut(slot) else { continue };
            if !std::mem::take(&mut s.queued) {
                continue;
            }
            let mut chunk = std::mem::take(&mut s.pending);
            let cut = chunk.bytes().len().min(frame::MAX_FRAME);
            let ends = cut == chunk.bytes().len() && matches!(chunk.end, End::Data);
            let n = self.put_data(slot, &chunk.bytes()[..cut], ends);
            chunk.advance(n);
            if !chunk.bytes().is_empty() {
                if let Some(s) = self.table.get_mut(slot) {
                    s.pending = chunk;
                    if s.send.available() > 0 {
                        self.enqueue(slot);
                    }
                }
            } else if let End::Trailers(fields) = chunk.end {
                self.head(slot, &fields, true);
            }
            if n > 0 {
                return Some((slot, n));
            }
        }
        None
    }

    /// Is payload waiting for room in the output (not for a window)?
    pub fn wants_pump(&self) -> bool {
        !self.out.corked && !self.ready.is_empty() && self.send.available() > 0
    }

    /// Resets a stream unless it is closed. What waited is dropped.
    pub fn reset(&mut self, slot: Slot, code: ErrorCode) {
        let Some(s) = self.table.get_mut(slot) else { return };
        if s.state == State::Closed {
            return;
        }
        s.state = State::Closed;
        s.pending = Default::default();
        let id = s.id;
        self.note_reset(id);
        frame::put_reset(&mut self.out.bytes, id, code);
    }

    /// Sends a PING.
    pub fn ping(&mut self, payload: [u8; 8]) {
        frame::put_ping(&mut self.out.bytes, payload, false);
    }

    /// Announces the end: no stream above those already seen, or with `gently` not even that yet (RFC 9113 §6.8:
    /// first 2^31-1, and the true number a round trip later).
    pub fn goaway(&mut self, code: ErrorCode, gently: bool, text: &str) {
        let last = if gently { (1 << 31) - 1 } else { self.ids.peer };
        self.closing.sent_last = Some(last);
        self.closing.final_goaway |= !gently;
        frame::put_goaway(&mut self.out.bytes, last, code, text);
    }

    /// What waits in a stream and its end, taken away from it: for moving a request whose connection never was.
    pub fn take_pending(&mut self, slot: Slot) -> (Vec<u8>, End) {
        self.table.get_mut(slot).map_or_else(Default::default, |s| {
            let pending = std::mem::take(&mut s.pending);
            (pending.bytes().to_vec(), pending.end)
        })
    }

    pub(super) fn enqueue(&mut self, slot: Slot) {
        if let Some(s) = self.table.get_mut(slot) {
            if !s.queued && !s.pending.is_idle() {
                s.queued = true;
                self.ready.push_back(slot);
            }
        }
    }

    /// Writes DATA frames for as much of `bytes` as may go now. If all of it goes and `ends`, the last frame carries
    /// END_STREAM.
    fn put_data(&mut self, slot: Slot, bytes: &[u8], ends: bool) -> usize {
        let Some(s) = self.table.get_mut(slot) else { return bytes.len() };
        let room =
            if self.out.corked { 0 } else { self.limits.out_soft.saturating_sub(self.out.bytes.len() - self.out.sent) };
        let may = bytes.len().min(s.send.available()).min(self.send.available()).min(room);
        let ends = ends && may == bytes.len() && may > 0;
        let mut done = 0;
        while done < may {
            let n = (may - done).min(self.peer.max_frame);
            let flags = if ends && done + n == may { flag::END_STREAM } else { 0 };
            frame::put_header(&mut self.out.bytes, n, kind::DATA, flags, s.id);
            self.out.bytes.extend_from_slice(&bytes[done..done + n]);
            done += n;
        }
        s.send.take(may);
        self.send.take(may);
        if ends {
            s.state = s.state.next(Input::SendEnd).unwrap_or(State::Closed);
        }
        may
    }

    /// Ends a stream on which nothing waits with an empty DATA frame.
    fn put_end(&mut self, slot: Slot) {
        let Some(s) = self.table.get_mut(slot) else { return };
        if let Some(next) = s.state.next(Input::SendEnd) {
            s.state = next;
            frame::put_header(&mut self.out.bytes, 0, kind::DATA, flag::END_STREAM, s.id);
        }
    }
}

/// Fills in the header of a block that was encoded behind `at`, cutting it into CONTINUATION frames if need be.
fn finish_head(out: &mut Vec<u8>, at: usize, id: u32, flags: u8, max: usize) {
    let start = at + frame::HEADER_LEN;
    let len = out.len() - start;
    if len <= max {
        let l = (len as u32).to_be_bytes();
        out[at..at + 3].copy_from_slice(&l[1..]);
        out[at + 4] = flags | flag::END_HEADERS;
        return;
    }
    let first = len.min(max);
    let mut header = Vec::with_capacity(frame::HEADER_LEN);
    let rest = out.split_off(start + first);
    frame::put_header(&mut header, first, kind::HEADERS, flags, id);
    out[at..start].copy_from_slice(&header);
    let mut pieces = rest.chunks(max).peekable();
    while let Some(piece) = pieces.next() {
        let last = if pieces.peek().is_none() { flag::END_HEADERS } else { 0 };
        frame::put_header(out, piece.len(), kind::CONTINUATION, last, id);
        out.extend_from_slice(piece);
    }
}
