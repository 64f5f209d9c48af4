//! What clients send: requests become exchanges, bodies go on to servers.

use super::super::call::ConnId;
use super::super::Relay;
use super::conn::{After, Exchange};
use crate::core::h1::body::{Framing, Wire};
use crate::core::h1::head::{host, Request};
use crate::core::h1::parser::Event;
use crate::core::h1::{bad, Fault};
use crate::core::h2::limits::Nanos;

impl Relay {
    /// Takes what a client has sent as far as it can go on; true if anything was taken.
    pub(super) fn take_requests(&mut self, id: ConnId, now: Nanos) -> bool {
        let mut moved = false;
        while self.has_room(id) {
            let Some(client) = self.client(id) else { break };
            let input = &mut client.io.input;
            match client.parser.next(&input.bytes, &mut input.at) {
                Ok(Some(Event::Request(request))) => self.begin(id, *request, now),
                Ok(Some(Event::Data { from, to })) => self.pass_request(id, from, to),
                Ok(Some(Event::End { trailers })) => self.end_request(id, &trailers),
                Ok(Some(Event::Response(_))) => {}
                Ok(None) => return self.client_silent(id, now) || moved,
                Err(fault) => {
                    self.reject(id, fault, now);
                    return true;
                }
            }
            moved = true;
        }
        moved
    }

    /// May more of a client's input be taken? Only what has somewhere to go: a head when none is under way, a body
    /// when its server's connection is there and has room.
    fn has_room(&mut self, id: ConnId) -> bool {
        let buffer = self.http1.buffer;
        let Some(client) = self.client(id) else { return false };
        if client.linger.is_some() || client.io.closing {
            return false;
        }
        let Some(x) = client.exchange.as_deref() else { return client.io.after == After::Stay };
        let up = x.up.filter(|_| !x.ended);
        up.and_then(|up| self.server(up)).is_some_and(|s| s.connected && s.io.output.len() < buffer)
    }

    fn begin(&mut self, id: ConnId, request: Request, now: Nanos) {
        let route = self.routes.number(&request.path);
        let Some(client) = self.client(id) else { return };
        client.keep &= request.keep;
        let (target, pod) = (client.target, client.pod);
        let pod = pod.and_then(|pod| self.pod_meant(target, pod, host(&request.bytes)));
        let Some(client) = self.client(id) else { return };
        let wire = if request.framing == Framing::Chunked { Wire::Chunked } else { Wire::Raw };
        client.exchange = Some(Box::new(Exchange {
            head: request.bytes,
            pod,
            asks: request.asks,
            idempotent: request.idempotent,
            route,
            wire,
            answer: Wire::Raw,
            kept: vec![],
            whole: true,
            unwritten: None,
            ended: matches!(request.framing, Framing::None | Framing::Length(0)),
            waiting: Some(now),
            fresh: false,
            tries: 0,
            up: None,
            endpoint: None,
            counted: false,
            started: now,
            sent: now,
            answer_at: None,
            answered: false,
            responded: false,
            reuse: false,
            tunnel: false,
            code: None,
            failed: None,
        }));
        self.exchanges += 1;
        if self.held.full {
            self.totals.shed += 1;
            return self.fail_http1(id, 503, "too much is held for others", now);
        }
        self.place(id, None, now);
    }

    /// Passes a piece of a body on, or of what a tunnel carries.
    fn pass_request(&mut self, id: ConnId, from: usize, to: usize) {
        let Some(client) = self.client(id) else { return };
        let input = std::mem::take(&mut client.io.input);
        self.pass_on(id, |wire, out| wire.data(out, &input.bytes[from..to]));
        if let Some(client) = self.client(id) {
            client.io.input = input;
        }
    }

    fn end_request(&mut self, id: ConnId, trailers: &[u8]) {
        self.pass_on(id, |wire, out| wire.end(out, trailers));
        if let Some(x) = self.exchange(id) {
            x.ended = true;
        }
    }

    /// Writes into the server's output, and beside it what may have to be sent again.
    fn pass_on(&mut self, id: ConnId, write: impl Fn(Wire, &mut Vec<u8>)) {
        let cap = self.settings.replay_body;
        let Some(x) = self.exchange(id) else { return };
        let (wire, up) = (x.wire, x.up);
        if x.whole && !x.responded {
            write(wire, &mut x.kept);
            if x.kept.len() > cap {
                x.whole = false;
            }
        }
        if !x.whole || x.responded {
            x.whole = false;
            x.kept = vec![];
        }
        let Some(server) = up.and_then(|up| self.server(up)) else { return };
        // What cannot be written is still taken, so that the answer is not held up by it.
        if !server.io.mute {
            write(wire, &mut server.io.output.bytes);
        }
    }

    /// All of a client's input is taken. Is it all there will be?
    fn client_silent(&mut self, id: ConnId, now: Nanos) -> bool {
        let Some(client) = self.client(id) else { return false };
        if !client.io.eof || client.io.after != After::Stay {
            return false;
        }
        let waiting = client.io.input.len();
        let Some(x) = client.exchange.as_deref() else {
            if waiting > 0 {
                self.reject(id, bad("a request that was cut off"), now);
            } else {
                client.io.after = After::Close;
            }
            return true;
        };
        let (tunnel, up) = (x.tunnel, x.up);
        if !tunnel {
            self.reject(id, bad("a body that was cut off"), now);
            return true;
        }
        if let Some(x) = self.exchange(id) {
            x.ended = true;
        }
        if let Some(server) = up.and_then(|up| self.server(up)) {
            server.io.after = After::Shut;
        }
        true
    }

    /// A client's fault: it is told, and its connection ends. What its server has of the request stays unfinished.
    pub(super) fn reject(&mut self, id: ConnId, fault: Fault, now: Nanos) {
        self.note_fault(id, fault);
        if let Some(client) = self.client(id) {
            client.keep = false;
        }
        if self.exchange(id).is_some() {
            self.fail_http1(id, fault.status, fault.reason, now);
        } else {
            self.own_answer(id, fault.status, fault.reason, false, true);
        }
    }
}
