//! A connection that is not HTTP, passed through to one server byte by byte, both ways, with half-close.
//!
//! Memory is bounded: a side is read only while what it said before has room. Knows nothing of what the bytes mean.

use std::io::{self, Read, Write};
use std::net::Shutdown;

use mio::net::TcpStream;

/// Bytes that wait for one side.
const ROOM: usize = 64 << 10;

/// One direction's bytes.
#[derive(Default)]
struct Pipe {
    bytes: Vec<u8>,
    /// The reader's side has ended.
    ended: bool,
    /// The end has been passed on.
    shut: bool,
}

/// What a turn left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    /// Nothing to do until a socket stirs.
    Idle,
    /// Call again: the sockets may not stir although there is more.
    More,
    /// Both directions have ended.
    Over,
}

/// Two sockets, joined.
pub struct Opaque {
    /// The client's side.
    pub client: TcpStream,
    /// The endpoint's side.
    pub server: TcpStream,
    /// Target and endpoint, if the balancer chose it.
    pub owner: Option<(u32, u32)>,
    up: Pipe,
    down: Pipe,
}

impl Opaque {
    /// Joins a client, who has said `first`, with a server.
    pub fn new(client: TcpStream, server: TcpStream, first: Vec<u8>, owner: Option<(u32, u32)>) -> Self {
        let up = Pipe { bytes: first, ..Pipe::default() };
        Self { client, server, owner, up, down: Pipe::default() }
    }

    /// Moves what can be moved.
    ///
    /// # Errors
    /// Either socket's: the pair is over.
    pub fn turn(&mut self, buffer: &mut [u8]) -> io::Result<Turn> {
        // Bounded, so that one busy pair does not starve the rest.
        for _ in 0..16 {
            let a = step(&mut self.client, &mut self.server, &mut self.up, buffer)?;
            let b = step(&mut self.server, &mut self.client, &mut self.down, buffer)?;
            if self.up.shut && self.down.shut {
                return Ok(Turn::Over);
            }
            if !a && !b {
                return Ok(Turn::Idle);
            }
        }
        Ok(Turn::More)
    }
}

/// Moves bytes one way; true if any moved.
fn step(from: &mut TcpStream, to: &mut TcpStream, pipe: &mut Pipe, buffer: &mut [u8]) -> io::Result<bool> {
    let mut moved = false;
    if !pipe.ended && pipe.bytes.len() < ROOM {
        match from.read(buffer) {
            Ok(0) => pipe.ended = true,
            Ok(n) => {
                pipe.bytes.extend_from_slice(&buffer[..n]);
                moved = true;
            }
            Err(e) if retry(&e) => {}
            Err(e) => return Err(e),
        }
    }
    if !pipe.bytes.is_empty() {
        match to.write(&pipe.bytes) {
            Ok(n) => {
                pipe.bytes.drain(..n);
                moved |= n > 0;
            }
            Err(e) if retry(&e) => {}
            Err(e) => return Err(e),
        }
    }
    if pipe.bytes.is_empty() && pipe.ended && !pipe.shut {
        pipe.shut = true;
        // The other side may be gone already; its own read will tell.
        let _ = to.shutdown(Shutdown::Write);
    }
    Ok(moved)
}

fn retry(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
