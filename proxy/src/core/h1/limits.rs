//! What one HTTP/1.x connection may make us hold, and for how long, each with its reason.
//!
//! A connection carries one message at a time, so these are all there is: nothing here grows with the number of
//! requests. Knows numbers.

use crate::core::detect::MAX_LINE;
use crate::core::h2::limits::Nanos;

const SECOND: Nanos = 1_000_000_000;

/// Fields of a head or of trailers, as for HTTP/2: browsers send about 20, gateways double that.
pub const MAX_FIELDS: usize = 256;
/// Names that Connection may list; more is nobody's honest request.
pub const MAX_OPTIONS: usize = 32;

/// Sizes in bytes, times in ns.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The first line: as much as detection recognises.
    pub line: usize,
    /// A head, as for HTTP/2: servers take 8 to 64 KiB.
    pub head: usize,
    /// Trailers: a checksum and a signature.
    pub trailers: usize,
    /// Chunk extensions of one body, all chunks together (CVE-2023-39326: they cost the sender nothing).
    pub extensions: usize,
    /// What waits on one side of a connection before nothing more is read or passed on: fills a socket buffer, and
    /// is all that a stalled peer costs. One read (64 KiB) may go beyond it. No less than a head may have.
    pub buffer: usize,
    /// 1xx answers to one request: a server that sends them without end is cut.
    pub interim: u32,
    /// Connections to one endpoint: one for each request under way, beyond which requests wait.
    pub max_conns: usize,
    /// How long a begun head may take (slow loris).
    pub head_time: Nanos,
    /// How long a connection to a server waits for its next request: less than the 5 s after which uvicorn and Node
    /// close theirs, a second of which the look-out may take, so that a request seldom meets a server that is closing.
    pub idle_server: Nanos,
    /// How long what a client still sends after its answer is read and dropped, so that the answer is not lost to a
    /// reset (RFC 9112 §9.6).
    pub linger: Nanos,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            line: MAX_LINE,
            head: 64 << 10,
            trailers: 16 << 10,
            extensions: 16 << 10,
            buffer: 64 << 10,
            interim: 32,
            max_conns: 1_024,
            head_time: 30 * SECOND,
            idle_server: 3 * SECOND,
            linger: 2 * SECOND,
        }
    }
}
