//! The two kinds of HTTP/1.x connections and the exchange between them; what they hold, and nothing of what is done.

use std::net::SocketAddr;

use super::super::call::{Code, ConnId};
use super::super::{Peer, Relay};
use crate::core::h1::body::Wire;
use crate::core::h1::head::Asks;
use crate::core::h1::parser::Parser;
use crate::core::h2::limits::Nanos;

/// A buffer's memory is given back when it is empty and holds more than this.
const KEEP: usize = 16 << 10;

/// Bytes that come in at the end and go out at the front.
#[derive(Debug, Default)]
pub struct Buffer {
    pub bytes: Vec<u8>,
    pub at: usize,
}

impl Buffer {
    pub fn len(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub fn rest(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub fn take(&mut self, n: usize) {
        self.at = (self.at + n).min(self.bytes.len());
        self.compact();
    }

    pub fn clear(&mut self) {
        self.at = self.bytes.len();
        self.compact();
    }

    /// Gives memory back: all of it when empty, else what has gone out if that is half or more.
    pub fn compact(&mut self) {
        if self.at == self.bytes.len() {
            self.at = 0;
            self.bytes.clear();
            self.bytes.shrink_to(KEEP);
        } else if self.at > self.bytes.len() / 2 {
            self.bytes.drain(..self.at);
            self.at = 0;
        }
    }
}

/// What follows once the output is out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum After {
    /// Nothing.
    #[default]
    Stay,
    /// Our side ends, the other may go on (a tunnel).
    Shut,
    /// Our side ends; what the client still sends is dropped until it ends, or a while.
    Linger,
    /// The connection ends.
    Close,
}

/// Both directions of a connection, as bytes.
#[derive(Debug, Default)]
pub struct Io {
    pub input: Buffer,
    pub output: Buffer,
    pub after: After,
    /// The peer sends no more.
    pub eof: bool,
    /// The owner was told not to read.
    pub paused: bool,
    /// Our side has ended.
    pub shut: bool,
    /// Nothing can be written any more.
    pub mute: bool,
    /// The owner was told to close it.
    pub closing: bool,
    pub dirty: bool,
}

impl Io {
    /// Bytes that wait.
    pub fn held(&self) -> usize {
        self.input.len() + self.output.len()
    }
}

/// A client's connection.
#[derive(Debug)]
pub struct Client {
    pub io: Io,
    pub parser: Parser,
    pub target: u32,
    /// The pod it was dialled to, of a headless Service.
    pub pod: Option<SocketAddr>,
    pub exchange: Option<Box<Exchange>>,
    /// Another request may follow.
    pub keep: bool,
    /// When it became idle, or its head began.
    pub since: Nanos,
    /// Its answer is out, and it is heard out until then.
    pub linger: Option<Nanos>,
}

/// A connection to an endpoint.
#[derive(Debug)]
pub struct Server {
    pub io: Io,
    pub parser: Parser,
    pub target: u32,
    pub endpoint: u32,
    pub connected: bool,
    /// When it is given up: while connecting, or idle.
    pub deadline: Nanos,
    /// Whose exchange it carries.
    pub client: Option<ConnId>,
    /// A byte of that exchange's request was written.
    pub written: bool,
    /// When the first byte of the answer, or of the head after an interim one, came.
    pub heard_at: Option<Nanos>,
    /// A byte of an answer has been taken.
    pub heard: bool,
    /// It carried another exchange before.
    pub reused: bool,
}

impl Client {
    /// What its connection and its exchange hold, bytes.
    pub fn held(&self) -> usize {
        self.io.held() + self.exchange.as_ref().map_or(0, |x| x.head.len() + x.kept.len())
    }
}

/// What a lost server's connection leaves: enough to decide whether the request may be sent again.
pub struct LastWords {
    pub endpoint: u32,
    pub heard: bool,
    pub reused: bool,
    pub connected: bool,
    /// All that was to be written, if nothing of it was.
    pub unwritten: Option<Vec<u8>>,
}

impl Server {
    /// Takes what the decision needs.
    pub fn last_words(mut self) -> LastWords {
        self.leave()
    }

    /// The same, of one that is still there.
    pub fn leave(&mut self) -> LastWords {
        let unwritten = (!self.written).then(|| self.io.output.rest().to_vec());
        let heard = self.heard || self.heard_at.is_some();
        LastWords { endpoint: self.endpoint, heard, reused: self.reused, connected: self.connected, unwritten }
    }
}

/// A request and its answer.
#[derive(Debug)]
pub struct Exchange {
    /// The request's head as it goes on.
    pub head: Vec<u8>,
    /// It is for the endpoint at this very address.
    pub pod: Option<SocketAddr>,
    pub asks: Asks,
    pub idempotent: bool,
    pub route: u32,
    /// How the request's body goes on.
    pub wire: Wire,
    /// How the answer's does.
    pub answer: Wire,
    /// The body so far as it went on, as long as it may be sent again.
    pub kept: Vec<u8>,
    /// Is `kept` all there was so far?
    pub whole: bool,
    /// What a lost connection never wrote: goes out instead of head and `kept`.
    pub unwritten: Option<Vec<u8>>,
    /// The request has been passed on to its end.
    pub ended: bool,
    /// It waits for an endpoint since then.
    pub waiting: Option<Nanos>,
    /// Only a new connection will do: an old one has failed it.
    pub fresh: bool,
    pub tries: u8,
    pub up: Option<ConnId>,
    /// The endpoint picked last.
    pub endpoint: Option<u32>,
    /// It counts as that endpoint's load.
    pub counted: bool,
    pub started: Nanos,
    pub sent: Nanos,
    /// When the endpoint's answer began.
    pub answer_at: Option<Nanos>,
    /// The endpoint has answered (the pool knows).
    pub answered: bool,
    /// A final head was sent to the client.
    pub responded: bool,
    /// The server's connection may be used again.
    pub reuse: bool,
    pub tunnel: bool,
    pub code: Option<Code>,
    /// Did the endpoint fail it? None until it has told, and for ever if the client gave up before.
    pub failed: Option<bool>,
}

impl Relay {
    pub(super) fn client(&mut self, id: ConnId) -> Option<&mut Client> {
        match self.conns.get_mut(id as usize) {
            Some(Some(Peer::Client(client))) => Some(client),
            _ => None,
        }
    }

    pub(super) fn server(&mut self, id: ConnId) -> Option<&mut Server> {
        match self.conns.get_mut(id as usize) {
            Some(Some(Peer::Server(server))) => Some(server),
            _ => None,
        }
    }

    pub(super) fn exchange(&mut self, client: ConnId) -> Option<&mut Exchange> {
        self.client(client)?.exchange.as_deref_mut()
    }

    pub(in super::super) fn io(&mut self, id: ConnId) -> Option<&mut Io> {
        match self.conns.get_mut(id as usize) {
            Some(Some(Peer::Client(client))) => Some(&mut client.io),
            Some(Some(Peer::Server(server))) => Some(&mut server.io),
            _ => None,
        }
    }
}
