//! Answers of our own: what a client is told when no server can answer.
//!
//! A gRPC client gets a status with a message that says why; any other a 503. Knows the two forms and nothing of
//! when they are due.

use std::rc::Rc;

use super::call::{CallId, Code};
use super::Relay;
use crate::core::h2::frame::ErrorCode;
use crate::core::h2::headers::Headers;
use crate::core::h2::limits::Nanos;

impl Relay {
    /// Ends a call with a gRPC status (or 503), whatever has become of it so far.
    pub(super) fn fail(&mut self, call: CallId, status: u8, why: &str, now: Nanos) {
        let Some(c) = self.calls.get_mut(call) else { return };
        c.waiting = None;
        c.body.clear();
        let grpc = c.grpc();
        let (up, down, responded) = (c.up, c.down, c.responded);
        if !responded || matches!(c.code, Some(Code::Grpc(_))) {
            c.code = Some(if grpc { Code::Grpc(status) } else { Code::Http(503) });
        }
        if let Some(leg) = up {
            if let Some(conn) = self.conn(leg.conn) {
                conn.h2.reset(leg.slot, ErrorCode::CANCEL);
            }
            self.touch(leg.conn);
        }
        if let Some(leg) = down {
            if let Some(conn) = self.conn(leg.conn) {
                match (responded, grpc) {
                    _ if conn.h2.ending(leg.slot) => {}
                    (false, true) => conn.h2.send_head(leg.slot, &Rc::new(grpc_answer(status, why)), true),
                    (false, false) => {
                        conn.h2.send_head(leg.slot, &Rc::new(http_answer(why)), false);
                        conn.h2.send_data(leg.slot, why.as_bytes(), true);
                    }
                    (true, true) => conn.h2.send_trailers(leg.slot, &Rc::new(grpc_trailers(status, why))),
                    (true, false) => conn.h2.reset(leg.slot, ErrorCode::INTERNAL_ERROR),
                }
            }
            self.touch(leg.conn);
        }
        if let Some(c) = self.calls.get_mut(call) {
            c.responded = true;
        }
        self.tidy(call, now);
    }
}

fn grpc_answer(status: u8, why: &str) -> Headers {
    let mut h = Headers::new();
    h.push(b":status", b"200");
    h.push(b"content-type", b"application/grpc");
    push_status(&mut h, status, why);
    h
}

fn grpc_trailers(status: u8, why: &str) -> Headers {
    let mut h = Headers::new();
    push_status(&mut h, status, why);
    h
}

fn push_status(h: &mut Headers, status: u8, why: &str) {
    h.push(b"grpc-status", status.to_string().as_bytes());
    h.push(b"grpc-message", &percent_encoded(&format!("ewma-proxy: {why}")));
}

fn http_answer(why: &str) -> Headers {
    let mut h = Headers::new();
    h.push(b":status", b"503");
    h.push(b"content-type", b"text/plain");
    h.push(b"content-length", why.len().to_string().as_bytes());
    h
}

/// gRPC's encoding of `grpc-message`: printable ASCII but `%` stands for itself.
fn percent_encoded(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for byte in text.bytes() {
        if (b' '..=b'~').contains(&byte) && byte != b'%' {
            out.push(byte);
        } else {
            out.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_encoded_as_grpc_wants_it() {
        assert_eq!(percent_encoded("a%b\nü"), b"a%25b%0A%C3%BC");
    }
}
