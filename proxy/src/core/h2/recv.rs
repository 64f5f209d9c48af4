//! The receiving half of a [`Connection`]: bytes in, one [`Event`] at a time out.
//!
//! [`Connection::next_event`] takes whole frames off the front of the input and answers what needs no owner
//! (SETTINGS, PING, windows). A fault of one stream resets that stream; a fault of the connection ends it
//! (RFC 9113 §5.4). Knows nothing of where the bytes came from or where events go.

use std::rc::Rc;

use super::connection::{Block, Connection, Event, Fatal, Role};
use super::frame::{self, flag, kind, setting, ErrorCode, FrameHeader, HEADER_LEN, MAX_FRAME};
use super::headers::Headers;
use super::hpack::DecodeError;
use super::limits::Nanos;
use super::message::Part;
use super::stream::Input;
use super::table::Slot;
use super::window::{RecvWindow, SendWindow};

type Step = Result<Option<Event>, Fatal>;

const fn fatal(code: ErrorCode, reason: &'static str) -> Fatal {
    Fatal { code, reason }
}

const PROTOCOL: ErrorCode = ErrorCode::PROTOCOL_ERROR;
const SIZE: ErrorCode = ErrorCode::FRAME_SIZE_ERROR;

impl Connection {
    /// The next event of `input`, whose first `*at` bytes are eaten already. None: more bytes are wanted; what lies
    /// behind `*at` (less than a frame) is to be handed in again, with more behind it.
    ///
    /// # Errors
    /// A fault that ends the connection; GOAWAY is in the output. Nothing more is read afterwards.
    pub fn next_event(&mut self, input: &[u8], at: &mut usize, now: Nanos) -> Step {
        if self.closing.dead {
            *at = input.len();
            return Ok(None);
        }
        match self.step(input, at, now) {
            Err(fault) => {
                self.closing.dead = true;
                self.goaway(fault.code, false, fault.reason);
                Err(fault)
            }
            ok => ok,
        }
    }

    fn step(&mut self, input: &[u8], at: &mut usize, now: Nanos) -> Step {
        if self.ids.preface > 0 && !self.eat_preface(input, at)? {
            return Ok(None);
        }
        while let Some(header) = FrameHeader::parse(&input[*at..]) {
            if header.len > MAX_FRAME {
                return Err(fatal(SIZE, "a frame longer than 16384 bytes"));
            }
            let from = *at + HEADER_LEN;
            let Some(payload) = input.get(from..from + header.len) else { break };
            *at = from + header.len;
            if self.out.len() > self.limits.out_hard {
                return Err(fatal(ErrorCode::ENHANCE_YOUR_CALM, "answers are not being read"));
            }
            if let Some(event) = self.frame(header, payload, from, now)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    fn eat_preface(&mut self, input: &[u8], at: &mut usize) -> Result<bool, Fatal> {
        let want = &frame::PREFACE[frame::PREFACE.len() - self.ids.preface..];
        let n = want.len().min(input.len() - *at);
        if input[*at..*at + n] != want[..n] {
            return Err(fatal(PROTOCOL, "not the HTTP/2 preface"));
        }
        *at += n;
        self.ids.preface -= n;
        Ok(self.ids.preface == 0)
    }

    fn frame(&mut self, h: FrameHeader, payload: &[u8], from: usize, now: Nanos) -> Step {
        if let Some(block) = &self.block {
            if h.kind != kind::CONTINUATION || h.stream != block.stream {
                return Err(fatal(PROTOCOL, "a header block was interrupted"));
            }
        }
        if !self.ids.settings && (h.kind != kind::SETTINGS || h.has(flag::ACK)) {
            return Err(fatal(PROTOCOL, "the first frame was not SETTINGS"));
        }
        match h.kind {
            kind::DATA => self.on_data(h, payload, from, now),
            kind::HEADERS => self.on_headers(h, payload, now),
            kind::CONTINUATION => self.on_continuation(h, payload, now),
            kind::RST_STREAM => self.on_reset(h, payload, now),
            kind::WINDOW_UPDATE => self.on_window_update(h, payload, now),
            kind::SETTINGS => self.on_settings(h, payload, now),
            kind::PING => self.on_ping(h, payload, now),
            kind::GOAWAY => self.on_goaway(h, payload, now),
            kind::PRIORITY => self.on_priority(h, payload, now),
            kind::PUSH_PROMISE => Err(fatal(PROTOCOL, "PUSH_PROMISE, which nobody allowed")),
            _ => self.spend_control(now).map(|()| None),
        }
    }

    fn spend_control(&mut self, now: Nanos) -> Result<(), Fatal> {
        if self.budgets.control.spend(now) {
            return Ok(());
        }
        Err(fatal(ErrorCode::ENHANCE_YOUR_CALM, "a flood of control frames"))
    }

    fn spend_reset(&mut self, now: Nanos) -> Result<(), Fatal> {
        if self.budgets.resets.spend(now) {
            return Ok(());
        }
        Err(fatal(ErrorCode::ENHANCE_YOUR_CALM, "a flood of resets"))
    }

    /// Resets a stream for a fault of the peer's and tells the owner.
    fn fault(&mut self, slot: Slot, code: ErrorCode, now: Nanos) -> Step {
        self.spend_reset(now)?;
        self.reset(slot, code);
        Ok(Some(Event::Reset { slot, code, ours: true }))
    }

    /// Resets a stream that has no owner.
    fn refuse(&mut self, id: u32, code: ErrorCode, now: Nanos) -> Step {
        self.spend_reset(now)?;
        self.note_reset(id);
        frame::put_reset(&mut self.out.bytes, id, code);
        Ok(None)
    }

    /// Was the stream never opened? Then a frame on it is a fault of the connection (RFC 9113 §5.1).
    fn idle(&self, id: u32) -> bool {
        let ours = id % 2 == u32::from(self.role == Role::Client);
        if ours {
            id >= self.ids.next || self.role == Role::Server
        } else {
            id > self.ids.peer
        }
    }

    fn on_data(&mut self, h: FrameHeader, payload: &[u8], from: usize, now: Nanos) -> Step {
        if h.stream == 0 || self.idle(h.stream) {
            return Err(fatal(PROTOCOL, "DATA on an idle stream"));
        }
        let Some((start, stop)) = frame::unpad(payload, h.has(flag::PADDED)) else {
            return Err(fatal(PROTOCOL, "padding longer than its frame"));
        };
        if !self.recv.receive(h.len) {
            return Err(fatal(ErrorCode::FLOW_CONTROL_ERROR, "the connection's window was overrun"));
        }
        let end = h.has(flag::END_STREAM);
        let found = self.table.find(h.stream);
        if h.len == 0 && (!end || found.is_none()) {
            self.spend_control(now)?;
        }
        let Some(slot) = found else {
            self.credit_connection(h.len);
            if self.role == Role::Client || self.was_reset(h.stream) {
                return Ok(None);
            }
            return self.refuse(h.stream, ErrorCode::STREAM_CLOSED, now);
        };
        let n = stop - start;
        let Some(s) = self.table.get_mut(slot) else { return Ok(None) };
        if !s.state.can_recv() {
            let reset = self.was_reset(h.stream);
            self.credit_connection(h.len);
            return if reset { Ok(None) } else { self.fault(slot, ErrorCode::STREAM_CLOSED, now) };
        }
        let fits = s.recv.receive(h.len);
        let due = s.due.map(|d| d.checked_sub(n as u64));
        let late = !s.head_received;
        if !fits || late || due.is_some_and(|d| d.is_none() || (end && d != Some(0))) {
            self.credit_connection(h.len);
            let code = if fits { PROTOCOL } else { ErrorCode::FLOW_CONTROL_ERROR };
            return self.fault(slot, code, now);
        }
        s.due = due.flatten();
        s.held += h.len;
        if end {
            s.state = s.state.next(Input::RecvEnd).unwrap_or(s.state);
        }
        self.hold(h.len);
        // Padding is dealt with at once.
        self.release(slot, h.len - n);
        Ok(Some(Event::Data { slot, from: from + start, to: from + stop, end }))
    }

    /// Received payload is held by a stream: the connection's window is credited at once, unless too much waits.
    fn hold(&mut self, n: usize) {
        self.credit.held += n;
        if self.credit.held <= self.limits.conn_held {
            self.credit_connection(n);
        } else {
            self.credit.withheld += n;
        }
    }

    fn on_headers(&mut self, h: FrameHeader, payload: &[u8], now: Nanos) -> Step {
        if h.stream == 0 {
            return Err(fatal(PROTOCOL, "HEADERS on stream 0"));
        }
        let Some((mut start, stop)) = frame::unpad(payload, h.has(flag::PADDED)) else {
            return Err(fatal(PROTOCOL, "padding longer than its frame"));
        };
        if h.has(flag::PRIORITY) {
            if stop - start < 5 {
                return Err(fatal(SIZE, "HEADERS too short for its priority"));
            }
            if frame::read_u32(&payload[start..]) & 0x7fff_ffff == h.stream {
                return Err(fatal(PROTOCOL, "a stream that depends on itself"));
            }
            start += 5;
        }
        let end_stream = h.has(flag::END_STREAM);
        let bytes = &payload[start..stop];
        if h.has(flag::END_HEADERS) {
            return self.on_block(h.stream, end_stream, bytes, now);
        }
        self.block = Some(Block { stream: h.stream, end_stream, bytes: bytes.to_vec(), frames: 0 });
        Ok(None)
    }

    fn on_continuation(&mut self, h: FrameHeader, payload: &[u8], now: Nanos) -> Step {
        let Some(block) = &mut self.block else {
            return Err(fatal(PROTOCOL, "CONTINUATION without HEADERS"));
        };
        block.frames += 1;
        if block.frames > self.limits.continuations || block.bytes.len() + payload.len() > self.limits.block {
            return Err(fatal(ErrorCode::ENHANCE_YOUR_CALM, "a header block without end"));
        }
        block.bytes.extend_from_slice(payload);
        if !h.has(flag::END_HEADERS) {
            return Ok(None);
        }
        match self.block.take() {
            Some(b) => self.on_block(b.stream, b.end_stream, &b.bytes, now),
            None => Ok(None),
        }
    }

    /// A whole header block: decoded whatever becomes of the stream, so that the table stays in step.
    fn on_block(&mut self, id: u32, end: bool, bytes: &[u8], now: Nanos) -> Step {
        let decoded = self.decoder.decode(bytes, &self.limits.list);
        let fields = match decoded {
            Ok(fields) => Some(fields),
            Err(DecodeError::ListTooLarge) => None,
            Err(_) => return Err(fatal(ErrorCode::COMPRESSION_ERROR, "a header block that does not decode")),
        };
        match self.table.find(id) {
            Some(slot) => self.on_later_head(slot, end, fields, now),
            None => self.on_first_head(id, end, fields, now),
        }
    }

    /// HEADERS on a stream without entry: a new request, or something late.
    fn on_first_head(&mut self, id: u32, end: bool, fields: Option<Rc<Headers>>, now: Nanos) -> Step {
        if self.role == Role::Client {
            let late = id % 2 == 1 && id < self.ids.next;
            self.spend_control(now)?;
            return if late { Ok(None) } else { Err(fatal(PROTOCOL, "HEADERS on a stream nobody opened")) };
        }
        if id % 2 == 0 {
            return Err(fatal(PROTOCOL, "a client's stream with an even number"));
        }
        if id <= self.ids.peer {
            let reset = self.was_reset(id);
            self.spend_control(now)?;
            return if reset { Ok(None) } else { Err(fatal(ErrorCode::STREAM_CLOSED, "HEADERS on a closed stream")) };
        }
        self.ids.peer = id;
        if self.closing.sent_last.is_some_and(|last| id > last) {
            // Sent before our GOAWAY was seen; what follows on it is passed over as well.
            self.note_reset(id);
            return Ok(None);
        }
        if self.table.len() >= self.limits.max_streams as usize {
            return self.refuse(id, ErrorCode::REFUSED_STREAM, now);
        }
        let Some(fields) = fields else {
            return self.refuse(id, ErrorCode::ENHANCE_YOUR_CALM, now);
        };
        let head = fields.head();
        if head.fault(Part::Request).is_some() || (end && head.length.is_some_and(|n| n > 0)) {
            return self.refuse(id, PROTOCOL, now);
        }
        let length = head.length;
        let send = SendWindow::new(self.peer.initial_window);
        let slot = self.table.insert(id, u32::MAX, send, RecvWindow::new(self.limits.stream_window));
        if let Some(s) = self.table.get_mut(slot) {
            s.head_received = true;
            s.due = length;
            if end {
                s.state = s.state.next(Input::RecvEnd).unwrap_or(s.state);
            }
        }
        Ok(Some(Event::Request { slot, fields, end }))
    }

    /// HEADERS on a known stream: a response's head, or trailers.
    fn on_later_head(&mut self, slot: Slot, end: bool, fields: Option<Rc<Headers>>, now: Nanos) -> Step {
        let Some(s) = self.table.get(slot) else { return Ok(None) };
        if !s.state.can_recv() {
            let reset = self.was_reset(s.id);
            self.spend_control(now)?;
            return if reset { Ok(None) } else { self.fault(slot, ErrorCode::STREAM_CLOSED, now) };
        }
        let response = self.role == Role::Client && !s.head_received;
        let Some(fields) = fields else {
            return self.fault(slot, ErrorCode::ENHANCE_YOUR_CALM, now);
        };
        let part = if response { Part::Response } else { Part::Trailers };
        let head = fields.head();
        let interim = response && (100..200).contains(&head.status);
        let short = end && s.due.is_some_and(|d| d > 0);
        let open_end = !response && !end;
        if head.fault(part).is_some() || short || open_end || (interim && end) || head.status == 101 {
            return self.fault(slot, PROTOCOL, now);
        }
        let most = self.limits.interim;
        if interim {
            self.spend_control(now)?;
        }
        if let Some(s) = self.table.get_mut(slot) {
            s.interim += u32::from(interim);
            if s.interim > most {
                return self.fault(slot, PROTOCOL, now);
            }
            if response && !interim {
                s.head_received = true;
            }
            if end {
                s.state = s.state.next(Input::RecvEnd).unwrap_or(s.state);
            }
        }
        Ok(Some(if response { Event::Response { slot, fields, end } } else { Event::Trailers { slot, fields } }))
    }

    fn on_reset(&mut self, h: FrameHeader, payload: &[u8], now: Nanos) -> Step {
        if payload.len() != 4 {
            return Err(fatal(SIZE, "RST_STREAM of a wrong length"));
        }
        if h.stream == 0 || self.idle(h.stream) {
            return Err(fatal(PROTOCOL, "RST_STREAM on an idle stream"));
        }
        self.spend_reset(now)?;
        let Some(slot) = self.table.find(h.stream) else { return Ok(None) };
        let Some(s) = self.table.get_mut(slot) else { return Ok(None) };
        let gone = !s.state.can_recv() && !s.state.can_send();
        s.state = s.state.next(Input::Reset).unwrap_or(s.state);
        s.pending = Default::default();
        let code = ErrorCode(frame::read_u32(payload));
        Ok((!gone).then_some(Event::Reset { slot, code, ours: false }))
    }

    fn on_window_update(&mut self, h: FrameHeader, payload: &[u8], now: Nanos) -> Step {
        if payload.len() != 4 {
            return Err(fatal(SIZE, "WINDOW_UPDATE of a wrong length"));
        }
        let n = i64::from(frame::read_u32(payload) & 0x7fff_ffff);
        if h.stream == 0 {
            if n == 0 {
                return Err(fatal(PROTOCOL, "WINDOW_UPDATE by 0"));
            }
            let stalled = self.send.available() == 0;
            if !self.send.grow(n) {
                return Err(fatal(ErrorCode::FLOW_CONTROL_ERROR, "the connection's window overflows"));
            }
            return Ok((stalled && !self.ready.is_empty()).then_some(Event::Writable));
        }
        if self.idle(h.stream) {
            return Err(fatal(PROTOCOL, "WINDOW_UPDATE on an idle stream"));
        }
        let Some(slot) = self.table.find(h.stream) else { return self.spend_control(now).map(|()| None) };
        let Some(s) = self.table.get_mut(slot) else { return Ok(None) };
        if n == 0 {
            return self.fault(slot, PROTOCOL, now);
        }
        if !s.send.grow(n) {
            return self.fault(slot, ErrorCode::FLOW_CONTROL_ERROR, now);
        }
        if s.pending.is_idle() {
            return Ok(None);
        }
        self.enqueue(slot);
        Ok(Some(Event::Writable))
    }

    fn on_settings(&mut self, h: FrameHeader, payload: &[u8], now: Nanos) -> Step {
        if h.stream != 0 {
            return Err(fatal(PROTOCOL, "SETTINGS on a stream"));
        }
        self.spend_control(now)?;
        if h.has(flag::ACK) {
            return if payload.is_empty() { Ok(None) } else { Err(fatal(SIZE, "SETTINGS ACK with a payload")) };
        }
        if payload.len() % 6 != 0 {
            return Err(fatal(SIZE, "SETTINGS of a wrong length"));
        }
        if !self.ids.settings {
            self.ids.settings = true;
            // Silence about the number of streams means that there is no limit; ours stays finite.
            self.peer.max_streams = u32::MAX;
        }
        for entry in payload.chunks_exact(6) {
            let id = u16::from_be_bytes([entry[0], entry[1]]);
            self.apply_setting(id, frame::read_u32(&entry[2..]))?;
        }
        frame::put_settings_ack(&mut self.out.bytes);
        Ok(Some(Event::Settings))
    }

    fn apply_setting(&mut self, id: u16, value: u32) -> Result<(), Fatal> {
        match id {
            setting::HEADER_TABLE_SIZE => self.encoder.set_peer_max_size(value as usize),
            setting::ENABLE_PUSH if value > 1 => return Err(fatal(PROTOCOL, "ENABLE_PUSH is neither 0 nor 1")),
            setting::ENABLE_PUSH if value == 1 && self.role == Role::Client => {
                return Err(fatal(PROTOCOL, "a server that enables push"))
            }
            setting::MAX_CONCURRENT_STREAMS => self.peer.max_streams = value,
            setting::MAX_HEADER_LIST_SIZE => self.peer.max_list = value as usize,
            setting::INITIAL_WINDOW_SIZE => return self.resize_windows(value),
            setting::MAX_FRAME_SIZE => {
                if !(16_384..=16_777_215).contains(&value) {
                    return Err(fatal(PROTOCOL, "MAX_FRAME_SIZE out of range"));
                }
                self.peer.max_frame = (value as usize).min(MAX_FRAME);
            }
            _ => {}
        }
        Ok(())
    }

    /// A new SETTINGS_INITIAL_WINDOW_SIZE moves the windows of all streams (RFC 9113 §6.9.2).
    fn resize_windows(&mut self, value: u32) -> Result<(), Fatal> {
        let overflow = fatal(ErrorCode::FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE overflows a window");
        if i64::from(value) > frame::MAX_WINDOW {
            return Err(overflow);
        }
        let delta = i64::from(value) - i64::from(self.peer.initial_window);
        self.peer.initial_window = value;
        let mut woken = Vec::new();
        for s in self.table.iter_mut() {
            if !s.send.grow(delta) {
                return Err(overflow);
            }
            if !s.pending.is_idle() {
                woken.push(s.id);
            }
        }
        for id in woken {
            if let Some(slot) = self.table.find(id) {
                self.enqueue(slot);
            }
        }
        Ok(())
    }

    fn on_ping(&mut self, h: FrameHeader, payload: &[u8], now: Nanos) -> Step {
        let Some(bytes) = payload.first_chunk::<8>().filter(|_| payload.len() == 8) else {
            return Err(fatal(SIZE, "PING of a wrong length"));
        };
        if h.stream != 0 {
            return Err(fatal(PROTOCOL, "PING on a stream"));
        }
        self.spend_control(now)?;
        if h.has(flag::ACK) {
            return Ok(Some(Event::Pong(*bytes)));
        }
        frame::put_ping(&mut self.out.bytes, *bytes, true);
        Ok(None)
    }

    fn on_goaway(&mut self, h: FrameHeader, payload: &[u8], now: Nanos) -> Step {
        if h.stream != 0 {
            return Err(fatal(PROTOCOL, "GOAWAY on a stream"));
        }
        if payload.len() < 8 {
            return Err(fatal(SIZE, "GOAWAY of a wrong length"));
        }
        self.spend_control(now)?;
        self.closing.received = true;
        let last = frame::read_u32(payload) & 0x7fff_ffff;
        let code = ErrorCode(frame::read_u32(&payload[4..]));
        Ok(Some(Event::Goaway { last, code }))
    }

    fn on_priority(&mut self, h: FrameHeader, payload: &[u8], now: Nanos) -> Step {
        if h.stream == 0 {
            return Err(fatal(PROTOCOL, "PRIORITY on stream 0"));
        }
        self.spend_control(now)?;
        if payload.len() == 5 && frame::read_u32(payload) & 0x7fff_ffff != h.stream {
            return Ok(None);
        }
        let code = if payload.len() == 5 { PROTOCOL } else { SIZE };
        match self.table.find(h.stream) {
            Some(slot) => self.fault(slot, code, now),
            None => self.refuse(h.stream, code, now),
        }
    }
}
