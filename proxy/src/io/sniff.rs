//! A connection whose protocol is not known yet: its first bytes are kept until they tell.

use std::io::{self, Read};

use mio::net::TcpStream;

use crate::core::detect::{detect, Protocol};
use crate::core::h2::limits::Nanos;

/// A client that has said little or nothing so far.
pub struct Sniff {
    /// Its socket.
    pub stream: TcpStream,
    /// Whose client it is.
    pub target: u32,
    /// What it has said.
    pub bytes: Vec<u8>,
    /// When its silence means that the server is to speak first.
    pub deadline: Nanos,
}

impl Sniff {
    /// Reads what there is and tells what it is. The end of the stream counts as opaque: it is passed on.
    ///
    /// # Errors
    /// The socket's.
    pub fn read(&mut self) -> io::Result<Protocol> {
        // What is read is bounded: a request line that has not told by then never will (`detect::MAX_LINE`).
        let mut buffer = [0; 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(Protocol::Opaque),
                Ok(n) => self.bytes.extend_from_slice(&buffer[..n]),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Protocol::More),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            }
            match detect(&self.bytes) {
                Protocol::More => {}
                told => return Ok(told),
            }
        }
    }
}
