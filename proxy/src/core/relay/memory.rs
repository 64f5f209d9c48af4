//! What peers make the proxy hold, all connections together, and what happens at the cap: new streams are refused
//! (REFUSED_STREAM: any client may send them again), and a quarter above it the calls that hold most are reset.
//!
//! Each connection has bounds of its own (`h2::limits`); this one is for many of them at once. Counting every byte in
//! and out would cost every frame something, so the sum is taken only when it may have reached the cap: it cannot
//! have grown by more than what has come in since it was last taken.

use super::call::{CallId, Code, ConnId};
use super::{Peer, Relay, Side};
use crate::core::h2::frame::ErrorCode;
use crate::core::h2::limits::Nanos;

/// An upper bound of what is held, bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Held {
    cap: usize,
    /// The last sum.
    measured: usize,
    /// What has come in since.
    since: usize,
    /// The last sum was above the cap.
    pub(super) full: bool,
}

impl Held {
    pub(super) fn new(cap: usize) -> Self {
        Self { cap, ..Self::default() }
    }

    /// Is the sum at the cap or above?
    pub(super) fn above(&self) -> bool {
        self.measured >= self.cap
    }

    /// `n` bytes of the sum are held no longer.
    pub(super) fn drop(&mut self, n: usize) {
        self.measured = self.measured.saturating_sub(n);
    }

    /// `n` bytes have come in. True when the sum is to be taken anew.
    pub(super) fn grow(&mut self, n: usize) -> bool {
        self.since += n;
        self.measured + self.since >= self.cap && self.since >= self.cap / 64
    }
}

impl Peer {
    /// What this connection holds, bytes.
    fn held(&self) -> usize {
        match self {
            Peer::Http2(conn) => conn.h2.buffered() + conn.rest.len(),
            Peer::Client(client) => client.held(),
            Peer::Server(server) => server.io.held(),
        }
    }
}

impl Relay {
    /// Bytes that are held for peers: output, bodies, request heads. As of the last look, at most a second ago.
    pub fn held(&self) -> usize {
        self.held.measured
    }

    /// Takes the sum, and makes room if it is far above the cap.
    pub(super) fn measure(&mut self, now: Nanos) {
        let conns = self.conns.iter().flatten().map(Peer::held).sum::<usize>();
        // A head that repeats is one list with many owners.
        let head = |f: &std::rc::Rc<crate::core::h2::headers::Headers>| f.list_size() / std::rc::Rc::strong_count(f);
        let calls = self.calls.iter().map(|(_, c)| c.body.len() + c.fields.as_ref().map_or(0, head)).sum::<usize>();
        self.held.measured = conns + calls;
        self.held.since = 0;
        self.held.full = self.held.measured >= self.held.cap;
        if self.held.measured >= self.held.cap / 4 * 5 {
            self.relieve(now);
        }
    }

    /// Resets the calls that hold most, until the sum is below the cap.
    fn relieve(&mut self, now: Nanos) {
        let mut heavy: Vec<(usize, ConnId, CallId)> = vec![];
        for id in 0..self.conns.len() as ConnId {
            let Some(conn) = self.conn(id) else { continue };
            let h2 = &conn.h2;
            let held = |slot, call| h2.stream(slot).map(|s| (s.held, id, call)).filter(|(held, ..)| *held > 0);
            heavy.extend(h2.calls().into_iter().filter_map(|(slot, call)| held(slot, call)));
        }
        heavy.sort_unstable_by(|a, b| b.cmp(a));
        for (held, _, call) in heavy {
            if self.held.measured < self.held.cap {
                return;
            }
            self.held.measured = self.held.measured.saturating_sub(held);
            self.totals.shed += 1;
            self.cut(call, now);
        }
        self.relieve_http1(now);
    }

    /// Ends a call without a word in its streams, for words would wait behind what is to be dropped.
    fn cut(&mut self, call: CallId, now: Nanos) {
        let Some(c) = self.calls.get_mut(call) else { return };
        c.code = Some(Code::Grpc(8));
        c.waiting = None;
        let legs = [(c.up, ErrorCode::CANCEL), (c.down, ErrorCode::ENHANCE_YOUR_CALM)];
        for (leg, code) in legs {
            let Some(leg) = leg else { continue };
            if let Some(conn) = self.conn(leg.conn) {
                conn.h2.reset(leg.slot, code);
            }
            self.touch(leg.conn);
        }
        self.tidy(call, now);
    }

    /// A new stream while the cap is reached.
    pub(super) fn shed(&mut self, id: ConnId, slot: u32) {
        self.totals.shed += 1;
        if let Some(conn) = self.conn(id) {
            conn.h2.reset(slot, ErrorCode::REFUSED_STREAM);
            conn.h2.remove(slot);
        }
        self.touch(id);
    }

    /// May one more client connect, `others` being those whose protocol is not known yet or is passed through?
    pub fn takes_client(&mut self, others: usize) -> bool {
        let takes = (self.totals.downstream as usize).saturating_add(others) < self.settings.max_clients;
        self.totals.turned_away += u64::from(!takes);
        takes
    }

    /// For the care of connections: is this one a client's?
    pub(super) fn is_down(&self, id: ConnId) -> bool {
        matches!(self.conns.get(id as usize), Some(Some(Peer::Http2(c))) if matches!(c.side, Side::Down { .. }))
    }
}
