//! Where clients connect. A listener belongs to one target, or takes what was redirected to it; the accept loop survives a lack of descriptors.

use std::io;
use std::net::SocketAddr;

use mio::net::{TcpListener, TcpStream};
use socket2::{Domain, Protocol, Socket, Type};

/// Connections that wait to be accepted; the kernel cuts it to net.core.somaxconn.
const BACKLOG: i32 = 4096;

/// A bound socket and whose clients it takes.
pub struct Listener {
    /// The socket.
    pub socket: TcpListener,
    /// Its address.
    pub addr: SocketAddr,
    /// The target's number; None: each connection's original destination tells.
    pub target: Option<u32>,
}

/// Binds an address.
///
/// # Errors
/// As the system says: in use, not ours, not allowed.
pub fn bind(addr: SocketAddr, target: Option<u32>) -> io::Result<Listener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    // A restarted proxy must not wait for old connections in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    let socket = TcpListener::from_std(socket.into());
    let addr = socket.local_addr()?;
    Ok(Listener { socket, addr, target })
}

/// What came of an accept.
pub enum Accepted {
    /// A client.
    Client(TcpStream),
    /// Nobody is waiting.
    None,
    /// The process or system is out of descriptors or memory: try again in a while.
    Exhausted(io::Error),
}

impl Listener {
    /// Takes the next client that waits. Errors of a single connection are passed over (accept(2): treat them like
    /// EAGAIN by retrying).
    pub fn accept(&self) -> Accepted {
        loop {
            match self.socket.accept() {
                Ok((stream, _)) => return Accepted::Client(stream),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Accepted::None,
                Err(e) if exhausted(&e) => return Accepted::Exhausted(e),
                Err(_) => {}
            }
        }
    }
}

/// EMFILE, ENFILE, ENOBUFS, ENOMEM.
fn exhausted(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(24 | 23 | 105 | 12)) || e.kind() == io::ErrorKind::OutOfMemory
}
