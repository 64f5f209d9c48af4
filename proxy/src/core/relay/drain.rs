//! The end of the relay, and everything that time alone brings about.
//!
//! Draining follows RFC 9113 §6.8: GOAWAY with the highest number and a PING; when that comes back, or after a
//! second, GOAWAY with the last stream seen; the connection closes with its last stream.

use super::call::ConnId;
use super::{Relay, Side};
use crate::core::h2::frame::ErrorCode;
use crate::core::h2::limits::Nanos;

/// How long the second GOAWAY waits for the PING (ns).
const GRACE: Nanos = 1_000_000_000;
/// What a GOAWAY says at the proxy's end.
pub(super) const SHUTDOWN: &str = "the proxy is shutting down";
const PING: [u8; 8] = *b"drain\0\0\0";

impl Relay {
    /// No new requests: clients are told, those under way are finished.
    pub fn drain(&mut self, now: Nanos) {
        self.draining = true;
        self.drain_http1(now);
        for id in 0..self.conns.len() as ConnId {
            if self.conn(id).is_some_and(|c| matches!(c.side, Side::Down { .. })) {
                self.drain_conn(id, SHUTDOWN, now);
            }
        }
    }

    pub(super) fn drain_conn(&mut self, id: ConnId, why: &str, now: Nanos) {
        let Some(conn) = self.conn(id) else { return };
        conn.h2.goaway(ErrorCode::NO_ERROR, true, why);
        conn.h2.ping(PING);
        conn.drain_due = Some(now + GRACE);
        self.touch(id);
    }

    pub(super) fn drained_ping(&mut self, id: ConnId, now: Nanos) {
        if self.conn(id).is_some_and(|c| c.drain_due.is_some()) {
            self.drain_fully(id, now);
        }
    }

    fn drain_fully(&mut self, id: ConnId, _now: Nanos) {
        let Some(conn) = self.conn(id) else { return };
        conn.drain_due = None;
        conn.h2.goaway(ErrorCode::NO_ERROR, false, "");
        self.touch(id);
        self.close_if_done(id);
    }

    /// Is there no client left?
    pub fn drained(&self) -> bool {
        self.totals.downstream == 0
    }

    /// Does time matter now? If so [`Relay::tick`] wants to be called within a tenth of a second or so.
    pub fn needs_tick(&self) -> bool {
        self.draining || self.calls() > 0 || self.held.full
    }

    /// Is there something to look after? If so [`Relay::tick`] wants to be called once a second.
    pub fn needs_care(&self) -> bool {
        self.conns.len() > self.free.len()
            || self.targets.iter().any(|t| t.pool.all().any(|(_, e)| e.info.gone.is_some()))
    }

    /// What is due by now: connection attempts and waiting requests that took too long, second GOAWAYs.
    pub fn tick(&mut self, now: Nanos) {
        for id in 0..self.conns.len() as ConnId {
            let Some(conn) = self.conn(id) else {
                self.tick_http1(id, now);
                continue;
            };
            let late = matches!(conn.side, Side::Up { connected: false, deadline, .. } if now >= deadline);
            if late && !conn.lost {
                self.close(id, now);
            } else if conn.drain_due.is_some_and(|due| now >= due) {
                self.drain_fully(id, now);
            }
        }
        if self.held.full {
            self.measure(now);
        }
        self.care(now);
        self.expire(now);
        self.expire_waiting(now);
        self.expire_waiting_http1(now);
        self.reclaim(now);
        self.feed(now);
    }

    /// Targets for whose waiting requests room may have come.
    pub(super) fn hungry(&mut self, target: u32) {
        if !self.hungry.contains(&target) {
            self.hungry.push(target);
        }
    }

    pub(super) fn feed(&mut self, now: Nanos) {
        // Each round may free more; the number of rounds is bounded by tries per call.
        for _ in 0..8 {
            let targets = std::mem::take(&mut self.hungry);
            if targets.is_empty() {
                return;
            }
            for target in targets {
                self.serve_waiting(target, now);
            }
        }
    }
}
