//! One HTTP/2 connection as a state machine, either side of it: bytes in, events out; orders in, bytes out.
//!
//! - [`Connection::next_event`] (in `recv.rs`) eats received bytes frame by frame.
//! - [`Connection::send_head`] and the other orders (in `send.rs`) write frames into [`Connection::output`].
//!
//! The owner holds streams by slot and removes them itself ([`Connection::remove`]); until then a slot stays valid.
//! Received DATA counts as held until the owner releases it: that is what pushes back on the peer.
//! Must not know: sockets, clocks (`now` is an argument), who is at the other end, what is balanced where.
//! RFC 9113; one idea per file: `frame`, `table`, `stream`, `window`, `limits`, `message`, `hpack`.

use std::collections::VecDeque;
use std::rc::Rc;

use super::frame::{self, setting, ErrorCode};
use super::headers::Headers;
use super::hpack::{Decoder, Encoder};
use super::limits::{Budgets, Limits};
use super::stream::State;
use super::table::{End, Slot, Stream, Table};
use super::window::{RecvWindow, SendWindow};

/// Which side of the connection we are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The peer opens streams (our downstream).
    Server,
    /// We open streams (our upstream).
    Client,
}

/// What the peer announced in its SETTINGS, with the protocol's initial values until then.
#[derive(Clone, Copy, Debug)]
pub struct PeerSettings {
    /// SETTINGS_INITIAL_WINDOW_SIZE, bytes.
    pub initial_window: u32,
    /// SETTINGS_MAX_FRAME_SIZE, bytes, at most what we use.
    pub max_frame: usize,
    /// SETTINGS_MAX_CONCURRENT_STREAMS. 1 until the peer has spoken: gRPC's C core resets streams above its limit
    /// with ENHANCE_YOUR_CALM, which forbids a second try.
    pub max_streams: u32,
    /// SETTINGS_MAX_HEADER_LIST_SIZE, bytes as [`Headers::list_size`] counts them.
    pub max_list: usize,
}

/// What came in.
#[derive(Debug)]
pub enum Event {
    /// A request's head (we are the server): a new stream, whose owner is to be set.
    Request {
        /// The new stream.
        slot: Slot,
        /// Its fields; [`Headers::head`] has been read.
        fields: Rc<Headers>,
        /// No body follows.
        end: bool,
    },
    /// A response's head (we are the client). With a 1xx status more heads follow.
    Response {
        /// The stream.
        slot: Slot,
        /// Its fields.
        fields: Rc<Headers>,
        /// No body follows.
        end: bool,
    },
    /// Trailers; the peer has ended.
    Trailers {
        /// The stream.
        slot: Slot,
        /// The fields.
        fields: Rc<Headers>,
    },
    /// Payload: `start..end` within the input handed to [`Connection::next_event`].
    Data {
        /// The stream.
        slot: Slot,
        /// First byte.
        from: usize,
        /// One past the last byte.
        to: usize,
        /// The peer has ended.
        end: bool,
    },
    /// The stream is closed: the peer reset it, or we did because of what the peer sent.
    Reset {
        /// The stream, closed but not removed.
        slot: Slot,
        /// The peer's code, or ours.
        code: ErrorCode,
        /// It was us.
        ours: bool,
    },
    /// A window opened: [`Connection::pump`] may have something to do.
    Writable,
    /// The peer's SETTINGS arrived: the number of streams may have changed.
    Settings,
    /// The peer takes no more streams; those above `last` were not processed.
    Goaway {
        /// Highest stream the peer may have processed.
        last: u32,
        /// Its reason.
        code: ErrorCode,
    },
    /// Our PING came back.
    Pong([u8; 8]),
}

/// A fault of the peer's that ends the connection. GOAWAY has been written; close once the output is flushed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fatal {
    /// What GOAWAY says.
    pub code: ErrorCode,
    /// For the log.
    pub reason: &'static str,
}

/// A header block under way over several frames.
pub(super) struct Block {
    pub(super) stream: u32,
    pub(super) end_stream: bool,
    pub(super) bytes: Vec<u8>,
    pub(super) frames: u32,
}

/// How far the end of the connection has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Closing {
    /// We sent GOAWAY; streams above this one are ignored.
    pub(super) sent_last: Option<u32>,
    /// It was the last GOAWAY, not the gentle one before it.
    pub(super) final_goaway: bool,
    /// The peer sent GOAWAY.
    pub(super) received: bool,
    /// A fatal fault has been answered: nothing more is read.
    pub(super) dead: bool,
}

/// One connection. See the module's text.
pub struct Connection {
    pub(super) role: Role,
    pub(super) limits: Rc<Limits>,
    pub(super) budgets: Budgets,
    pub(super) decoder: Decoder,
    pub(super) encoder: Encoder,
    pub(super) table: Table,
    pub(super) peer: PeerSettings,
    pub(super) send: SendWindow,
    pub(super) recv: RecvWindow,
    pub(super) credit: Credit,
    pub(super) out: Output,
    pub(super) ready: VecDeque<Slot>,
    pub(super) block: Option<Block>,
    pub(super) ids: Ids,
    pub(super) closing: Closing,
}

/// Received bytes between arrival and release, all streams together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Credit {
    /// Bytes that streams hold.
    pub(super) held: usize,
    /// Bytes whose connection-level credit is withheld because too much is held.
    pub(super) withheld: usize,
}

/// Stream identifiers used so far, and what the first bytes still lack.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ids {
    /// Highest the peer opened.
    pub(super) peer: u32,
    /// Next of ours.
    pub(super) next: u32,
    /// Bytes of the client preface still to come (server), and whether SETTINGS came.
    pub(super) preface: usize,
    pub(super) settings: bool,
    /// Streams we reset lately: what the peer had under way for them is ignored.
    pub(super) reset: [u32; 32],
    pub(super) reset_at: usize,
}

/// Bytes to be written to the socket.
#[derive(Debug, Default)]
pub(super) struct Output {
    pub(super) bytes: Vec<u8>,
    pub(super) sent: usize,
    /// DATA is held back: the connection is not there yet.
    pub(super) corked: bool,
}

impl Output {
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }
}

impl Connection {
    /// A new connection; its first frames are in the output at once.
    pub fn new(role: Role, limits: Rc<Limits>) -> Self {
        let mut c = Self {
            role,
            budgets: Budgets::default(),
            decoder: Decoder::new(4096),
            encoder: Encoder::new(),
            table: Table::default(),
            peer: PeerSettings {
                initial_window: 65_535,
                max_frame: frame::MAX_FRAME,
                max_streams: 1,
                max_list: usize::MAX,
            },
            send: SendWindow::new(65_535),
            recv: RecvWindow::new(limits.conn_window.max(65_535)),
            credit: Credit::default(),
            out: Output::default(),
            ready: VecDeque::new(),
            block: None,
            ids: Ids {
                peer: 0,
                next: limits.first_stream,
                preface: if role == Role::Server { frame::PREFACE.len() } else { 0 },
                settings: false,
                reset: [0; 32],
                reset_at: 0,
            },
            closing: Closing::default(),
            limits,
        };
        c.greet();
        c
    }

    fn greet(&mut self) {
        let l = &self.limits;
        let window = (setting::INITIAL_WINDOW_SIZE, l.stream_window);
        let list = (setting::MAX_HEADER_LIST_SIZE, l.list.max_bytes as u32);
        let out = &mut self.out.bytes;
        match self.role {
            Role::Server => {
                let streams = (setting::MAX_CONCURRENT_STREAMS, l.max_streams);
                frame::put_settings(out, &[streams, window, list]);
            }
            Role::Client => {
                out.extend_from_slice(frame::PREFACE);
                frame::put_settings(out, &[(setting::ENABLE_PUSH, 0), window, list]);
            }
        }
        let grow = l.conn_window.saturating_sub(65_535);
        if grow > 0 {
            frame::put_window_update(out, 0, grow);
        }
    }

    /// Which side we are.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Bytes to write to the socket; [`Connection::written`] says how many were.
    pub fn output(&self) -> &[u8] {
        &self.out.bytes[self.out.sent..]
    }

    /// `n` bytes of the output went out.
    pub fn written(&mut self, n: usize) {
        self.out.sent += n;
        if self.out.sent >= self.out.bytes.len() {
            self.out.sent = 0;
            if self.out.bytes.capacity() > 16 << 10 && self.table.is_empty() {
                self.out.bytes = Vec::new();
            } else {
                self.out.bytes.clear();
            }
        } else if self.out.sent > 256 << 10 {
            self.out.bytes.drain(..self.out.sent);
            self.out.sent = 0;
        }
    }

    /// Streams that are not removed yet.
    pub fn streams(&self) -> usize {
        self.table.len()
    }

    /// All slots in use with their owner's number.
    pub fn calls(&self) -> Vec<(Slot, u32)> {
        self.table.slots().map(|(slot, s)| (slot, s.call)).collect()
    }

    /// The identifier and owner of a stream.
    pub fn stream(&self, slot: Slot) -> Option<&Stream> {
        self.table.get(slot)
    }

    /// Sets whose a stream is.
    pub fn set_call(&mut self, slot: Slot, call: u32) {
        if let Some(s) = self.table.get_mut(slot) {
            s.call = call;
        }
    }

    /// Where a stream stands; Closed if it is gone.
    pub fn state(&self, slot: Slot) -> State {
        self.table.get(slot).map_or(State::Closed, |s| s.state)
    }

    /// Streams that we may still open: 0 while the peer is at its limit, going away, or identifiers are used up.
    pub fn room(&self) -> usize {
        if !self.usable() {
            return 0;
        }
        (self.peer.max_streams as usize).saturating_sub(self.table.len())
    }

    /// Does the peer take a list of this size (RFC 9113 §10.5.1)? One that does not may end the connection for it,
    /// and with it other clients' calls.
    pub fn takes(&self, fields: &Headers) -> bool {
        fields.list_size() <= self.peer.max_list
    }

    /// May streams be opened here, now or once others have ended?
    pub fn usable(&self) -> bool {
        !self.closing.received && !self.closing.dead && self.closing.sent_last.is_none() && self.ids.next < 1 << 31
    }

    /// Will the peer or we open no more streams here, so that the last one's end is the connection's?
    pub fn over(&self) -> bool {
        match self.role {
            // A client's GOAWAY speaks of streams that we would open; it may go on to open its own.
            Role::Server => self.closing.dead || self.closing.final_goaway,
            Role::Client => !self.usable(),
        }
    }

    /// We open no more streams here (client only; nothing is sent, the connection closes with its last stream).
    pub fn retire(&mut self) {
        self.closing.received = true;
    }

    /// Holds DATA back, or lets it go; HEADERS are written either way.
    pub fn cork(&mut self, corked: bool) {
        self.out.corked = corked;
    }

    /// Has a stream's end been ordered, though it may not be out yet?
    pub fn ending(&self, slot: Slot) -> bool {
        self.table.get(slot).is_none_or(|s| !s.state.can_send() || !matches!(s.pending.end, End::None))
    }

    /// Has a fatal fault been answered?
    pub fn dead(&self) -> bool {
        self.closing.dead
    }

    /// The highest identifier of a stream that a client has opened here; 0 before the first.
    pub fn last_stream(&self) -> u32 {
        match self.role {
            Role::Server => self.ids.peer,
            Role::Client => self.ids.next - 1,
        }
    }

    /// Has the peer's SETTINGS frame arrived?
    pub fn greeted(&self) -> bool {
        self.ids.settings
    }

    /// Memory of the buffers that grow with the peer's doings, bytes.
    pub fn buffered(&self) -> usize {
        self.out.len() + self.credit.held
    }

    /// Ends the care for a stream: its slot may be used anew. What it still held is given back to the connection.
    pub fn remove(&mut self, slot: Slot) {
        let Some(s) = self.table.get(slot) else { return };
        let held = s.held;
        self.table.remove(slot);
        self.let_go(held);
    }

    /// The owner has dealt with `n` received bytes of a stream: credit goes to the peer.
    pub fn release(&mut self, slot: Slot, n: usize) {
        let Some(s) = self.table.get_mut(slot) else { return };
        let n = n.min(s.held);
        s.held -= n;
        if let Some(credit) = s.recv.release(n) {
            if s.state.can_recv() {
                frame::put_window_update(&mut self.out.bytes, s.id, credit);
            }
        }
        self.let_go(n);
    }

    /// `n` bytes are no longer held; connection-level credit that was withheld follows once there is room again.
    pub(super) fn let_go(&mut self, n: usize) {
        self.credit.held -= n;
        if self.credit.withheld > 0 && self.credit.held <= self.limits.conn_held {
            let due = std::mem::take(&mut self.credit.withheld);
            self.credit_connection(due);
        }
    }

    pub(super) fn credit_connection(&mut self, n: usize) {
        if let Some(credit) = self.recv.release(n) {
            frame::put_window_update(&mut self.out.bytes, 0, credit);
        }
    }

    /// Sum of what connection and streams have received and not credited: 0 on a quiet connection, whatever
    /// happened before; for tests of leaks.
    pub fn window_debt(&self) -> (i64, i64, usize) {
        let streams = self.table.slots().map(|(_, s)| s.recv.outstanding()).sum();
        (self.recv.outstanding(), streams, self.credit.held)
    }

    /// Is that a stream which we reset not long ago?
    pub(super) fn was_reset(&self, id: u32) -> bool {
        self.ids.reset.contains(&id)
    }

    pub(super) fn note_reset(&mut self, id: u32) {
        self.ids.reset[self.ids.reset_at % 32] = id;
        self.ids.reset_at = self.ids.reset_at.wrapping_add(1);
    }
}
