//! HTTP/1.x (RFC 9112) as a state machine: bytes in, messages out, and messages as they go on.
//!
//! - `parser`: one direction of a connection, message by message;
//! - `head`: a request's or response's head: checked, understood, rewritten for the next hop;
//! - `fields`: what a head's fields say of framing and connection;
//! - `body`, `chunked`: where a body ends, and how it goes on;
//! - `lines`: where a head ends, every line of it ended as it must be;
//! - `limits`: what a peer may make us hold.
//!
//! `httparse` knows the grammar. What two readers could read in two ways is refused, never repaired: that is what
//! request smuggling lives on (RFC 9112 §11.2). Must not know: sockets, clocks, what is balanced where.

pub mod body;
pub mod chunked;
pub mod fields;
pub mod head;
pub mod limits;
pub mod lines;
pub mod parser;

/// What is wrong with a message: the answer its sender gets, and why. A response's fault is 502.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The status that says so.
    pub status: u16,
    /// For the answer and the log.
    pub reason: &'static str,
}

/// A malformed message.
pub(crate) fn bad(reason: &'static str) -> Fault {
    Fault { status: 400, reason }
}
