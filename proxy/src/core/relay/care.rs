//! What is looked after once a second: connections that are idle, and connections to endpoints that have fallen
//! silent with calls open.
//!
//! A PING would tell at once whether a peer is alive, but gRPC servers count PINGs that come without data in between
//! and end the connection at the third within five minutes (`too_many_pings`; grpc-go's and C-core's default). So one
//! is sent only if calls are open and nothing at all has come for a while, and never a second one before the
//! server has sent HEADERS or DATA again or those five minutes are over. Bytes that a vanished peer does not
//! acknowledge are noticed by the kernel (TCP_USER_TIMEOUT); what a PING finds besides is a peer that hangs while its
//! kernel goes on. Connections without calls are never pinged.

use super::call::ConnId;
use super::{Conn, Peer, Relay, Settings, Side};
use crate::core::h2::frame::ErrorCode;
use crate::core::h2::limits::Nanos;

const SECOND: Nanos = 1_000_000_000;
/// What servers tolerate: a PING every five minutes, and a little for clocks.
const TOLERATED: Nanos = 310 * SECOND;
const PING: [u8; 8] = *b"stalled\0";

/// What a connection did lately, as far as its care needs to know.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Signs {
    /// The highest stream seen at the last look, and since when it has been idle.
    stream: u32,
    idle: Option<Nanos>,
    /// When something was last received, or first sent after it: it has been quiet since.
    quiet: Nanos,
    asked: bool,
    /// When the last PING was sent, and whether nothing has come since.
    pinged: Option<Nanos>,
    unanswered: bool,
    /// HEADERS or DATA have come since the last PING: the server has forgiven it.
    pub(super) forgiven: bool,
}

impl Signs {
    /// Bytes came in.
    pub(super) fn heard(&mut self, now: Nanos) {
        self.quiet = now;
        self.asked = false;
        self.unanswered = false;
    }

    /// Bytes went out.
    pub(super) fn spoke(&mut self, now: Nanos) {
        if !self.asked {
            self.quiet = now;
            self.asked = true;
        }
    }
}

enum Need {
    Nothing,
    Ping,
    /// It does not answer.
    Dead,
    /// Nobody has used it for long.
    Idle,
}

impl Conn {
    fn need(&mut self, settings: &Settings, now: Nanos) -> Need {
        let up = match self.side {
            Side::Up { connected, .. } if !connected => return Need::Nothing,
            Side::Up { .. } => true,
            Side::Down { .. } => false,
        };
        let (used, last) = (self.h2.streams() > 0, self.h2.last_stream());
        let signs = &mut self.signs;
        if used || last != signs.stream || signs.idle.is_none() {
            (signs.stream, signs.idle) = (last, Some(now));
        }
        let patience = if up { settings.upstream_idle } else { settings.idle };
        let idle = signs.idle.is_some_and(|since| patience > 0 && now.saturating_sub(since) >= patience);
        if idle && self.drain_due.is_none() {
            return Need::Idle;
        }
        if !up || settings.ping_after == 0 {
            return Need::Nothing;
        }
        if signs.unanswered {
            let late = signs.pinged.is_some_and(|at| now.saturating_sub(at) >= settings.ping_wait);
            return if late { Need::Dead } else { Need::Nothing };
        }
        let stalled = used && now.saturating_sub(signs.quiet) >= settings.ping_after;
        let allowed = signs.forgiven || signs.pinged.is_none_or(|at| now.saturating_sub(at) >= TOLERATED);
        if !stalled || !allowed {
            return Need::Nothing;
        }
        (signs.pinged, signs.unanswered, signs.forgiven) = (Some(now), true, false);
        Need::Ping
    }
}

impl Relay {
    /// Looks after all connections, once a second.
    pub(super) fn care(&mut self, now: Nanos) {
        if now.saturating_sub(self.cared) < SECOND {
            return;
        }
        self.cared = now;
        for id in 0..self.conns.len() as ConnId {
            let settings = &self.settings;
            let Some(Some(Peer::Http2(conn))) = self.conns.get_mut(id as usize) else { continue };
            if conn.closing || conn.lost {
                continue;
            }
            match conn.need(settings, now) {
                Need::Nothing => {}
                Need::Ping => {
                    conn.h2.ping(PING);
                    self.totals.pings += 1;
                    self.touch(id);
                }
                Need::Dead => {
                    self.totals.stalled += 1;
                    self.close(id, now);
                }
                Need::Idle => self.close_idle(id, now),
            }
        }
        self.measure(now);
    }

    fn close_idle(&mut self, id: ConnId, now: Nanos) {
        self.totals.idle_closed += 1;
        if self.is_down(id) {
            // It may have a request on its way: GOAWAY in two steps.
            self.drain_conn(id, "idle for long", now);
        } else {
            if let Some(conn) = self.conn(id) {
                conn.h2.goaway(ErrorCode::NO_ERROR, false, "idle for long");
            }
            self.close(id, now);
        }
    }
}
