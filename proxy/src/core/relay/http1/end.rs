//! Where exchanges end: the endpoint's load falls, the exchange is counted, the connections are free or close.

use super::super::call::{Code, ConnId};
use super::super::record::Ending;
use super::super::{Peer, Relay};
use super::conn::{After, Exchange};
use crate::core::h1::fields::line;
use crate::core::h1::Fault;
use crate::core::h2::connection::Fatal;
use crate::core::h2::frame::ErrorCode;
use crate::core::h2::limits::Nanos;

/// How a request counts whose client left before its answer (nginx's number for it; no status of HTTP's).
const CLIENT_LEFT: Code = Code::Http(499);

impl Relay {
    /// The answer is whole.
    pub(super) fn complete(&mut self, id: ConnId, up: ConnId, now: Nanos) {
        let Some(client) = self.client(id) else { return };
        let target = client.target;
        let Some(x) = client.exchange.take() else { return };
        client.since = now;
        if client.keep && x.ended {
            client.parser.again();
        } else {
            client.keep = false;
            // A tunnel's client has ended by itself; any other may still be sending.
            client.io.after = if x.tunnel { After::Close } else { After::Linger };
        }
        let quiet = self.server(up).is_some_and(|s| {
            !s.io.eof && !s.io.mute && !s.io.closing && s.io.input.len() == 0 && s.io.output.len() == 0
        });
        if x.reuse && x.ended && quiet {
            self.release(up, now);
        } else {
            self.dismiss(up, now);
        }
        self.count(target, *x, now);
    }

    /// Ends an exchange with an answer of our own; if one has begun, by cutting it off.
    pub(super) fn fail_http1(&mut self, id: ConnId, status: u16, why: &str, now: Nanos) {
        let draining = self.draining;
        let Some(client) = self.client(id) else { return };
        let target = client.target;
        let Some(mut x) = client.exchange.take() else { return };
        client.since = now;
        let keep = client.keep && x.ended && !draining;
        if let Some(up) = x.up {
            self.dismiss(up, now);
        }
        if x.responded {
            if let Some(client) = self.client(id) {
                client.keep = false;
                client.io.after = After::Close;
            }
        } else {
            x.code = Some(Code::Http(status));
            self.own_answer(id, status, why, keep, !x.asks.head);
        }
        self.count(target, *x, now);
    }

    /// The client is gone before the end of its exchange.
    pub(super) fn abandoned_http1(&mut self, target: u32, mut x: Exchange, now: Nanos) {
        if !x.responded {
            x.code = Some(CLIENT_LEFT);
        }
        if let Some(up) = x.up {
            self.dismiss(up, now);
        }
        self.count(target, x, now);
    }

    /// Writes an answer of our own. Without `keep` the connection ends after it.
    pub(super) fn own_answer(&mut self, id: ConnId, status: u16, why: &str, keep: bool, body: bool) {
        let text = format!("ewma-proxy: {why}\n");
        let Some(client) = self.client(id) else { return };
        client.keep &= keep;
        let out = &mut client.io.output.bytes;
        out.extend_from_slice(format!("HTTP/1.1 {status} {}\r\n", phrase(status)).as_bytes());
        line(out, b"content-type", b"text/plain");
        line(out, b"content-length", text.len().to_string().as_bytes());
        if keep {
            client.parser.again();
        } else {
            line(out, b"connection", b"close");
            client.io.after = After::Linger;
        }
        out.extend_from_slice(b"\r\n");
        if body {
            out.extend_from_slice(text.as_bytes());
        }
    }

    /// Closes a server's connection that cannot be used again.
    fn dismiss(&mut self, up: ConnId, now: Nanos) {
        let deadline = now + self.http1.linger;
        let Some(server) = self.server(up) else { return };
        (server.client, server.deadline) = (None, deadline);
        if server.io.output.len() > 0 && server.connected && server.parser.ends_by_close() {
            // The rest of a tunnel.
            server.io.after = After::Close;
            self.settle(up, now);
        } else {
            server.io.output.clear();
            self.close_http1(up);
        }
    }

    /// Takes an exchange off its endpoint's load.
    pub(super) fn uncount(&mut self, id: ConnId) {
        let Some(client) = self.client(id) else { return };
        let target = client.target;
        let Some(x) = client.exchange.as_deref_mut() else { return };
        let (endpoint, answered) = (x.endpoint, x.answered);
        if std::mem::take(&mut x.counted) {
            if let (Some(t), Some(endpoint)) = (self.targets.get_mut(target as usize), endpoint) {
                t.pool.finish(endpoint, answered);
            }
        }
    }

    /// The end: load and statistics, here and nowhere else.
    fn count(&mut self, target: u32, x: Exchange, now: Nanos) {
        self.exchanges -= 1;
        if let (Some(t), Some(endpoint), true) = (self.targets.get_mut(target as usize), x.endpoint, x.counted) {
            t.pool.finish(endpoint, x.answered);
        }
        if let (Some(t), Some(endpoint), Some(failed)) = (self.targets.get_mut(target as usize), x.endpoint, x.failed) {
            t.pool.outcome(endpoint, failed);
        }
        let code = x.code.unwrap_or(CLIENT_LEFT);
        let Exchange { endpoint, route, started, sent, answer_at, tries, .. } = x;
        self.tally(&Ending { target, endpoint, route, code, started, sent, answer_at, tries }, now);
    }

    /// An exchange's end, whatever its code, is the endpoint's doing.
    pub(super) fn blame_http1(&mut self, id: ConnId) {
        if let Some(x) = self.exchange(id) {
            x.failed = Some(true);
        }
    }

    /// Ends the exchanges that hold most until what is held is below the cap; who sent that much, or does not read,
    /// is not told.
    pub(in super::super) fn relieve_http1(&mut self, now: Nanos) {
        let mut heavy: Vec<(usize, ConnId)> = vec![];
        for (id, peer) in self.conns.iter().enumerate() {
            if let Some(Peer::Client(client)) = peer {
                let up = client.exchange.as_ref().and_then(|x| x.up).and_then(|up| self.conns.get(up as usize));
                let server = match up {
                    Some(Some(Peer::Server(server))) => server.io.held(),
                    _ => 0,
                };
                heavy.push((client.held() + server, id as ConnId));
            }
        }
        heavy.sort_unstable_by(|a, b| b.cmp(a));
        for (held, id) in heavy {
            if held == 0 || !self.held.above() {
                return;
            }
            self.held.drop(held);
            self.totals.shed += 1;
            if let Some(x) = self.exchange(id) {
                x.responded = true;
                x.code.get_or_insert(Code::Http(503));
            }
            self.fail_http1(id, 503, "", now);
            if let Some(io) = self.io(id) {
                io.output.clear();
                io.input.clear();
            }
            self.close_http1(id);
        }
    }

    /// Notes a peer's fault for the log; for HTTP/1.x its code is a status.
    pub(super) fn note_fault(&mut self, id: ConnId, fault: Fault) {
        self.totals.faults += 1;
        if self.faults.len() < 100 {
            self.faults.push((id, Fatal { code: ErrorCode(u32::from(fault.status)), reason: fault.reason }));
        }
    }
}

fn phrase(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        408 => "Request Timeout",
        414 => "URI Too Long",
        431 => "Request Header Fields Too Large",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}
