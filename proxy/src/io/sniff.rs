//! A connection whose way is not settled yet: who it is for is known, what it speaks is not, or the server that it is
//! to be joined with is not there yet. Its first bytes are kept until they tell.

use std::io::{self, Read};

use mio::net::TcpStream;

use crate::core::detect::{detect, server_speaks_http2, Hint, Protocol};
use crate::core::directory::Route;
use crate::core::h2::limits::Nanos;

/// A client that has said little or nothing so far, or waits for a server.
pub struct Sniff {
    /// Its socket.
    pub stream: TcpStream,
    /// Whose client it is.
    pub route: Route,
    /// What the Service says of its protocol.
    pub hint: Hint,
    /// What it has said.
    pub bytes: Vec<u8>,
    /// It is bytes: nothing more is read until there is a server.
    pub opaque: bool,
    /// The connection that it is joined with if it is bytes.
    pub spare: Option<Spare>,
    /// Attempts to open one that failed.
    pub failures: u8,
    /// When it came.
    pub since: Nanos,
    /// Tells it from others that had its number.
    pub serial: u64,
}

/// A connection to a server, opened because bytes are to go there, or because the client is silent.
pub struct Spare {
    /// Its socket.
    pub stream: TcpStream,
    /// Target and endpoint, if the balancer chose it.
    pub owner: Option<(u32, u32)>,
    /// When the attempt began.
    pub since: Nanos,
}

/// What has become of a spare connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum News {
    /// It is still on its way.
    Connecting,
    /// It is there; the server is silent.
    Silent,
    /// The server has spoken first, or ended: it is no HTTP.
    Spoke,
    /// The server has sent HTTP/2 SETTINGS and waits for the client's.
    Http2,
    /// It never came to be.
    Failed,
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

impl Spare {
    /// Looks at it without taking anything out.
    pub fn news(&self) -> News {
        match self.stream.take_error() {
            Ok(None) => {}
            _ => return News::Failed,
        }
        match self.stream.peer_addr() {
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::NotConnected => return News::Connecting,
            Err(_) => return News::Failed,
        }
        let mut first = [0; 9];
        match self.stream.peek(&mut first) {
            Ok(n) if n > 0 => match server_speaks_http2(&first[..n]) {
                None => News::Silent,
                Some(true) => News::Http2,
                Some(false) => News::Spoke,
            },
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => News::Silent,
            // Its end, or its reset: passed on.
            _ => News::Spoke,
        }
    }
}
