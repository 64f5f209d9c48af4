//! What servers send: answers go on to their clients.

use super::super::call::{Code, ConnId};
use super::super::Relay;
use super::conn::After;
use crate::core::h1::body::{Framing, Wire};
use crate::core::h1::head::Response;
use crate::core::h1::parser::Event;
use crate::core::h2::limits::Nanos;

impl Relay {
    /// Takes what a client's server has sent as far as it can go on; true if anything was taken.
    pub(super) fn take_answers(&mut self, id: ConnId, now: Nanos) -> bool {
        let (mut moved, buffer) = (false, self.http1.buffer);
        loop {
            let Some(client) = self.client(id) else { return moved };
            let full = client.io.output.len() >= buffer || client.io.closing;
            let Some(up) = client.exchange.as_ref().and_then(|x| x.up).filter(|_| !full) else { return moved };
            let Some(server) = self.server(up).filter(|s| s.connected) else { return moved };
            let input = &mut server.io.input;
            match server.parser.next(&input.bytes, &mut input.at) {
                Ok(Some(Event::Response(response))) => self.answer_head(id, up, &response, now),
                Ok(Some(Event::Data { from, to })) => self.pass_answer(id, up, from, to),
                Ok(Some(Event::End { trailers })) => self.answer_end(id, up, &trailers, now),
                Ok(Some(Event::Request(_))) => {}
                Ok(None) => return self.server_silent(id, up, now) || moved,
                Err(fault) => {
                    self.note_fault(up, fault);
                    self.blame_http1(id);
                    self.fail_http1(id, 502, &format!("the endpoint's answer: {}", fault.reason), now);
                    return true;
                }
            }
            moved = true;
        }
    }

    fn answer_head(&mut self, id: ConnId, up: ConnId, response: &Response, now: Nanos) {
        let Some(server) = self.server(up) else { return };
        server.heard = true;
        let heard_at = server.heard_at.take().unwrap_or(now);
        let more = server.io.input.len() > 0;
        let draining = self.draining;
        let Some(client) = self.client(id) else { return };
        let Some(x) = client.exchange.as_deref_mut() else { return };
        if response.interim() {
            // HTTP/1.0 knows none (RFC 9110 §15.2).
            if !x.asks.old {
                response.write(&mut client.io.output.bytes, x.asks, false);
            }
            if let Some(server) = self.server(up).filter(|_| more) {
                server.heard_at = Some(heard_at);
            }
            return;
        }
        x.responded = true;
        x.answer_at = Some(heard_at);
        let code = Code::Http(response.status);
        (x.code, x.failed) = (Some(code), Some(code.failed()));
        x.reuse = response.keep;
        x.answer = response.wire(x.asks);
        x.kept = vec![];
        x.whole = false;
        // A client that has not sent all may never do so: only the end of the connection tells it from the next.
        client.keep &= x.ended && !draining;
        response.write(&mut client.io.output.bytes, x.asks, !client.keep);
        if response.framing == Framing::Tunnel {
            (x.tunnel, x.ended, x.wire, client.keep) = (true, false, Wire::Raw, false);
            client.parser.tunnel();
        }
        let (endpoint, latency, target) = (x.endpoint, heard_at.saturating_sub(x.sent), client.target);
        if let (Some(endpoint), false) = (endpoint, std::mem::replace(&mut x.answered, true)) {
            if let Some(t) = self.targets.get_mut(target as usize) {
                if code.failed() {
                    t.pool.failed_answer(endpoint, now);
                } else {
                    t.pool.answered(endpoint, latency, now);
                }
            }
        }
    }

    fn pass_answer(&mut self, id: ConnId, up: ConnId, from: usize, to: usize) {
        let Some(server) = self.server(up) else { return };
        let input = std::mem::take(&mut server.io.input);
        if let Some(client) = self.client(id) {
            if let Some(x) = client.exchange.as_deref() {
                x.answer.data(&mut client.io.output.bytes, &input.bytes[from..to]);
            }
        }
        if let Some(server) = self.server(up) {
            server.io.input = input;
        }
    }

    fn answer_end(&mut self, id: ConnId, up: ConnId, trailers: &[u8], now: Nanos) {
        if let Some(client) = self.client(id) {
            if let Some(x) = client.exchange.as_deref() {
                x.answer.end(&mut client.io.output.bytes, trailers);
            }
        }
        self.complete(id, up, now);
    }

    /// All of a server's input is taken. Is it all there will be?
    fn server_silent(&mut self, id: ConnId, up: ConnId, now: Nanos) -> bool {
        let Some(server) = self.server(up) else { return false };
        if !server.io.eof {
            return false;
        }
        if !server.parser.ends_by_close() {
            let words = server.leave();
            server.client = None;
            self.close_http1(up);
            self.lost(id, words, now);
            return true;
        }
        let Some(client) = self.client(id) else { return false };
        let heard_out = client.io.eof && client.io.input.len() == 0;
        let Some(x) = client.exchange.as_deref() else { return false };
        if !x.tunnel || (heard_out && x.ended) {
            self.answer_end(id, up, b"", now);
            return true;
        }
        // One half of a tunnel; the other goes on.
        if !client.io.shut {
            client.io.after = After::Shut;
        }
        false
    }
}
