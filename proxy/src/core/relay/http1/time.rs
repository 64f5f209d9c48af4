//! What time alone brings about for HTTP/1.x connections, and the end of the relay.

use super::super::call::ConnId;
use super::super::{Peer, Relay};
use super::conn::After;
use crate::core::h1::Fault;
use crate::core::h2::limits::Nanos;

const SLOW: Fault = Fault { status: 408, reason: "the request's head did not come in time" };

impl Relay {
    /// No new requests: idle clients go, the others with their answer, which says so.
    pub(in super::super) fn drain_http1(&mut self, now: Nanos) {
        for id in 0..self.conns.len() as ConnId {
            let Some(client) = self.client(id) else { continue };
            if client.exchange.is_none() && client.io.input.len() == 0 && client.io.after == After::Stay {
                client.io.after = After::Close;
            }
            client.keep = false;
            self.settle(id, now);
        }
    }

    /// What is due on one connection.
    pub(in super::super) fn tick_http1(&mut self, id: ConnId, now: Nanos) {
        let limits = self.http1.clone();
        match self.conns.get_mut(id as usize) {
            Some(Some(Peer::Client(client))) => {
                let waited = now.saturating_sub(client.since);
                let over = client.linger.is_some_and(|due| now >= due);
                let forgotten = self.settings.idle > 0 && waited >= self.settings.idle;
                let idle = client.exchange.is_none() && client.linger.is_none();
                let begun = client.io.after == After::Stay && client.parser.in_head(client.io.input.len());
                if over || (idle && forgotten) {
                    self.close_http1(id);
                } else if idle && begun && waited >= limits.head_time {
                    self.reject(id, SLOW, now);
                    self.settle(id, now);
                }
            }
            Some(Some(Peer::Server(server)))
                if (!server.connected || server.client.is_none()) && now >= server.deadline =>
            {
                self.close_http1(id);
            }
            _ => {}
        }
    }
}
