//! Connections that the pod's rules have redirected to us: where they were going, and so whose they are.
//!
//! Linux remembers the original destination (SO_ORIGINAL_DST, netfilter's connection tracking). A connection that was
//! not redirected, or was going to this very listener, is refused: passing it on would be a loop. Until the discovery
//! has listed once nobody is known: connections are held a while, since one passed through then would stay so.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;

use mio::net::TcpStream;

use super::settle::reset;
use super::{log, Level, Worker};
use crate::core::directory::Directory;
use crate::core::h2::limits::Nanos;
use crate::io::message::Place;

/// Refusals are logged once in this time at most (ns).
const QUIET: Nanos = 1_000_000_000;

/// What a worker keeps for listeners that take redirected connections.
#[derive(Default)]
pub(super) struct Redirected {
    /// There are such listeners.
    on: bool,
    directory: Directory,
    /// The discovery has listed once.
    listed: bool,
    held: VecDeque<(TcpStream, SocketAddr, Nanos)>,
    refused: Option<Nanos>,
}

impl Worker {
    /// Adds a listener for redirected connections before the loop starts.
    ///
    /// # Errors
    /// As the system says: the address is in use, or not ours.
    pub fn listen_redirected(&mut self, addr: SocketAddr) -> io::Result<()> {
        self.redirected.on = true;
        self.listen(addr, None)
    }

    /// A redirected connection has come.
    pub(super) fn divert(&mut self, stream: TcpStream, listener: SocketAddr, now: Nanos) {
        let addr = match original_destination(&stream) {
            Ok(addr) if !is_us(&stream, addr, listener) => addr,
            Ok(addr) => return self.refuse_loop(stream, &format!("it goes to this listener ({addr})"), now),
            Err(e) => return self.refuse_loop(stream, &format!("it was not redirected ({e})"), now),
        };
        if self.redirected.listed {
            let route = self.redirected.directory.find(addr);
            self.welcome(stream, route, now);
        } else if self.relay.takes_client(self.sniffs.len() + self.redirected.held.len()) {
            let until = now + self.relay.settings().wait;
            self.redirected.held.push_back((stream, addr, until));
        }
    }

    fn refuse_loop(&mut self, stream: TcpStream, why: &str, now: Nanos) {
        let peer = stream.peer_addr().map_or_else(|e| e.to_string(), |a| a.to_string());
        reset(stream);
        if self.redirected.refused.is_none_or(|at| now >= at + QUIET) {
            self.redirected.refused = Some(now);
            log::line(Level::Warn, &format!("a connection from {peer} is refused: {why}"));
        }
    }

    /// The discovery has news, so it has listed.
    pub(super) fn listed(&mut self, now: Nanos) {
        if !std::mem::replace(&mut self.redirected.listed, true) {
            self.release(Nanos::MAX, now);
        }
    }

    /// Lets those go that have been held until `due`.
    pub(super) fn release(&mut self, due: Nanos, now: Nanos) {
        while self.redirected.held.front().is_some_and(|(_, _, until)| *until <= due) {
            let Some((stream, addr, _)) = self.redirected.held.pop_front() else { return };
            let route = self.redirected.directory.find(addr);
            self.welcome(stream, route, now);
        }
    }

    /// When the first of those that are held has waited long enough.
    pub(super) fn held_until(&self) -> Option<Nanos> {
        self.redirected.held.front().map(|(_, _, until)| *until)
    }

    pub(super) fn place(&mut self, target: u32, place: &Place) {
        if self.redirected.on {
            self.redirected.directory.set_service(target, &place.service, place.port, &place.ips, place.headless);
        }
    }

    pub(super) fn place_pods(&mut self, target: u32, pods: impl Iterator<Item = SocketAddr>) {
        if self.redirected.on {
            self.redirected.directory.set_pods(target, pods.collect());
        }
    }

    pub(super) fn unplace(&mut self, target: u32) {
        self.redirected.directory.remove(target);
    }

    /// Ends those that are held: nothing has been read from them.
    pub(super) fn dismiss_held(&mut self) {
        self.redirected.held.clear();
    }
}

/// Where a connection was going before it was redirected.
fn original_destination(stream: &TcpStream) -> io::Result<SocketAddr> {
    let socket = socket2::SockRef::from(stream);
    let v4 = stream.peer_addr()?.ip().to_canonical().is_ipv4();
    let addr = if v4 { socket.original_dst_v4()? } else { socket.original_dst_v6()? };
    addr.as_socket().ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

/// Was it going to the listener itself? The port alone does not tell: another host may have the same one. The pod's
/// own addresses are where the connection ended and, for one that the pod made to itself, where it began.
fn is_us(stream: &TcpStream, addr: SocketAddr, listener: SocketAddr) -> bool {
    let ip = addr.ip().to_canonical();
    let own = [stream.local_addr(), stream.peer_addr()].into_iter().flatten().map(|a| a.ip().to_canonical());
    addr.port() == listener.port() && (ip.is_loopback() || ip.is_unspecified() || own.into_iter().any(|o| o == ip))
}
