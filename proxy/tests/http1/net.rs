//! A network without sockets for HTTP/1.x: raw bytes in, raw bytes out, in virtual time.
//!
//! What servers get is read by a reader of its own, small and strict, that shares no line with the code under test.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use ewma_proxy::core::relay::{Action, ConnId, EndpointInfo, Relay, Settings};

pub const MS: u64 = 1_000_000;

pub fn addr(n: u8) -> SocketAddr {
    ([127, 0, 0, n], 8080).into()
}

/// A message as the strict reader understands it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Message {
    pub line: String,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
}

impl Message {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| &v[..])
    }

    pub fn status(&self) -> u16 {
        self.line.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0)
    }
}

fn fields(text: &str) -> Vec<(String, String)> {
    let line = |l: &str| {
        let (name, value) = l.split_once(": ").unwrap_or_else(|| panic!("no field: {l:?}"));
        assert!(!name.is_empty() && !name.contains(char::is_whitespace) && !value.contains('\n'), "{l:?}");
        (name.to_string(), value.to_string())
    };
    text.split("\r\n").filter(|l| !l.is_empty()).map(line).collect()
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|w| w == what)
}

/// The first message of `bytes` and its length; None while it is not whole. `bodiless`: an answer to HEAD and the
/// like. A body of a response without framing is all that follows.
pub fn read(bytes: &[u8], bodiless: bool) -> Option<(Message, usize)> {
    let head = find(bytes, b"\r\n\r\n")?;
    let text = &*String::from_utf8_lossy(&bytes[..head]);
    let (line, rest) = text.split_once("\r\n").unwrap_or((text, ""));
    let mut m = Message { line: line.into(), fields: fields(rest), ..Message::default() };
    let mut at = head + 4;
    let status = m.status();
    if bodiless || (100..200).contains(&status) || status == 204 || status == 304 {
        return Some((m, at));
    }
    let lengths: Vec<usize> = m
        .fields
        .iter()
        .filter(|(n, _)| n.eq_ignore_ascii_case("content-length"))
        .map(|f| f.1.parse().unwrap())
        .collect();
    let encodings = m.fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case("transfer-encoding")).count();
    assert!(lengths.len() + encodings <= 1, "one framing: {m:?}");
    if encodings == 1 {
        loop {
            let n = find(&bytes[at..], b"\r\n")?;
            let size =
                usize::from_str_radix(std::str::from_utf8(&bytes[at..at + n]).unwrap(), 16).expect("a chunk size");
            at += n + 2;
            if size == 0 {
                let end = if bytes[at..].starts_with(b"\r\n") { 0 } else { find(&bytes[at..], b"\r\n\r\n")? + 2 };
                bytes.get(at + end + 1)?;
                m.trailers = fields(&String::from_utf8_lossy(&bytes[at..at + end]));
                return Some((m, at + end + 2));
            }
            m.body.extend_from_slice(bytes.get(at..at + size)?);
            assert_eq!(bytes.get(at + size..at + size + 2)?, b"\r\n");
            at += size + 2;
        }
    }
    match (lengths.first(), status) {
        (Some(n), _) => m.body = bytes.get(at..at + n)?.to_vec(),
        (None, 0) => {}
        (None, _) => m.body = bytes[at..].to_vec(),
    }
    at += m.body.len();
    Some((m, at))
}

/// All messages and what is left.
pub fn read_all(mut bytes: &[u8]) -> (Vec<Message>, Vec<u8>) {
    let mut all = vec![];
    while let Some((m, n)) = (!bytes.is_empty()).then(|| read(bytes, false)).flatten() {
        all.push(m);
        bytes = &bytes[n..];
    }
    (all, bytes.to_vec())
}

/// The far end of a connection.
#[derive(Default, Debug, Clone)]
pub struct End {
    pub addr: Option<SocketAddr>,
    pub got: Vec<u8>,
    pub send: Vec<u8>,
    /// It ends its side once all is sent.
    pub fin: bool,
    fin_sent: bool,
    /// The proxy has ended its side.
    pub shut: bool,
    /// The proxy has closed it.
    pub closed: bool,
    /// It reads nothing.
    pub stalled: bool,
    /// Messages answered so far, and where the next begins.
    pub served: usize,
    at: usize,
}

impl End {
    /// Has it been asked for a tunnel? What follows is no message.
    fn tunnel(&self) -> bool {
        self.got.windows(7).any(|w| w.eq_ignore_ascii_case(b"upgrade") || w == b"CONNECT")
    }
}

/// What servers do by themselves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Serve {
    /// Nothing: the test answers.
    No,
    /// 200 with the request's body, its length given.
    Length,
    /// The same in chunks, with a trailer.
    Chunked,
    /// The same, ended by the connection's end.
    Close,
}

pub struct Net {
    pub relay: Relay,
    pub target: u32,
    pub now: u64,
    pub ends: BTreeMap<ConnId, End>,
    /// Ends that are gone, in the order in which they went.
    pub gone: Vec<End>,
    pub serve: Serve,
    pub piece: usize,
    pub refusing: Vec<SocketAddr>,
    pub silent: Vec<SocketAddr>,
    pub held: usize,
    /// What the proxy sends is not read by the strict reader.
    pub lenient: bool,
}

impl Net {
    pub fn new(servers: u8) -> Self {
        Self::with(servers, Settings::default())
    }

    pub fn with(servers: u8, settings: Settings) -> Self {
        let mut relay = Relay::new(settings, 42);
        let target = relay.add_target("lab/web:80");
        let mut net = Self {
            relay,
            target,
            now: 0,
            ends: BTreeMap::new(),
            gone: vec![],
            serve: Serve::Length,
            piece: usize::MAX,
            refusing: vec![],
            silent: vec![],
            held: 0,
            lenient: false,
        };
        net.endpoints(&(1..=servers).collect::<Vec<_>>());
        net
    }

    pub fn endpoints(&mut self, which: &[u8]) {
        let info = |n: &u8| EndpointInfo {
            addr: addr(*n),
            pod: format!("pod-{n}").into(),
            uid: format!("u{n}").into(),
            also: None,
        };
        let all: Vec<_> = which.iter().map(info).collect();
        self.relay.set_endpoints(self.target, &all, self.now);
        self.settle();
    }

    pub fn client(&mut self) -> ConnId {
        let id = self.relay.accepted_http1(self.target, self.now);
        self.ends.insert(id, End::default());
        id
    }

    /// A client says this.
    pub fn say(&mut self, id: ConnId, bytes: impl AsRef<[u8]>) {
        if let Some(end) = self.ends.get_mut(&id) {
            end.send.extend_from_slice(bytes.as_ref());
        }
        self.settle();
    }

    /// A client says this on a connection of its own, and ends; what it gets.
    pub fn ask(&mut self, bytes: impl AsRef<[u8]>) -> Vec<u8> {
        let id = self.client();
        self.say(id, bytes);
        self.fin(id);
        self.pass(3_500);
        self.heard(id)
    }

    pub fn fin(&mut self, id: ConnId) {
        if let Some(end) = self.ends.get_mut(&id) {
            end.fin = true;
        }
        self.settle();
    }

    /// All that a client has got, whether its connection is still there or was the last to go.
    pub fn heard(&self, id: ConnId) -> Vec<u8> {
        let last = || self.gone.iter().rfind(|e| e.addr.is_none());
        self.ends.get(&id).filter(|e| e.addr.is_none()).or_else(last).map(|e| e.got.clone()).unwrap_or_default()
    }

    /// Connections to a server that are open.
    pub fn servers(&self) -> Vec<ConnId> {
        self.ends.iter().filter(|(_, e)| e.addr.is_some()).map(|(id, _)| *id).collect()
    }

    /// The only connection to a server.
    pub fn server(&mut self) -> &mut End {
        let all = self.servers();
        assert_eq!(all.len(), 1, "one server's connection");
        self.ends.get_mut(&all[0]).unwrap()
    }

    /// The only server's connection answers this.
    pub fn answer(&mut self, bytes: impl AsRef<[u8]>) {
        self.server().send.extend_from_slice(bytes.as_ref());
        self.settle();
    }

    /// All connections to servers, gone ones first.
    pub fn upstream(&self) -> Vec<&End> {
        self.gone.iter().chain(self.ends.values()).filter(|e| e.addr.is_some()).collect()
    }

    /// All whole messages that servers got.
    pub fn served(&self) -> Vec<Message> {
        self.upstream().iter().flat_map(|e| read_all(&e.got).0).collect()
    }

    pub fn pass(&mut self, ms: u64) {
        for _ in 0..ms.div_ceil(50) {
            self.now += 50 * MS;
            self.relay.tick(self.now);
            self.settle();
        }
    }

    /// The socket breaks.
    pub fn cut(&mut self, id: ConnId) {
        if let Some(end) = self.ends.remove(&id) {
            self.gone.push(end);
        }
        self.relay.closed(id, self.now);
        self.settle();
    }

    pub fn idle(&self) -> bool {
        self.relay.calls() == 0 && self.relay.targets().iter().all(|t| t.pool.all().all(|(_, e)| e.in_flight == 0))
    }

    pub fn settle(&mut self) {
        let (mut actions, mut dirty) = (vec![], vec![]);
        for round in 0.. {
            assert!(round < 3_000_000, "the network never comes to rest");
            self.held = self.held.max(self.relay.most_held_http1());
            let mut moved = false;
            self.relay.take_actions(&mut actions);
            for action in actions.drain(..) {
                moved = true;
                self.act(action);
            }
            self.relay.take_dirty(&mut dirty);
            for id in self.ends.keys().copied().collect::<Vec<_>>() {
                moved |= self.travel(id);
            }
            if !moved {
                return;
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Connect(_, a) if self.silent.contains(&a) => {}
            Action::Connect(id, a) if self.refusing.contains(&a) => self.relay.closed(id, self.now),
            Action::Connect(id, a) => {
                self.ends.insert(id, End { addr: Some(a), ..End::default() });
                self.relay.connected(id, self.now);
            }
            Action::Shut(id) => {
                if let Some(end) = self.ends.get_mut(&id) {
                    end.shut = true;
                }
            }
            Action::Read(_) => {}
            Action::Close(id) => {
                if let Some(mut end) = self.ends.remove(&id) {
                    end.closed = true;
                    self.gone.push(end);
                }
                self.relay.closed(id, self.now);
            }
        }
    }

    fn travel(&mut self, id: ConnId) -> bool {
        let (now, piece, serve) = (self.now, self.piece, self.serve);
        let Some(end) = self.ends.get_mut(&id) else { return false };
        let mut moved = false;
        if end.addr.is_some() && serve != Serve::No && !(self.lenient && end.tunnel()) {
            serve_one(end, serve);
        }
        let wants = self.relay.wants_bytes(id);
        if !end.send.is_empty() && wants {
            let n = end.send.len().min(piece).min(64 << 10);
            let bytes: Vec<u8> = end.send.drain(..n).collect();
            self.relay.received(id, &bytes, now);
            moved = true;
        } else if end.send.is_empty() && end.fin && !end.fin_sent && wants {
            end.fin_sent = true;
            if !self.relay.ended(id, now) {
                self.cut(id);
            }
            return true;
        }
        let Some(end) = self.ends.get_mut(&id) else { return moved };
        let output = self.relay.output(id);
        if !end.stalled && !output.is_empty() {
            let n = output.len().min(piece);
            end.got.extend_from_slice(&output[..n]);
            self.relay.wrote(id, n, now);
            moved = true;
        }
        moved
    }
}

fn serve_one(end: &mut End, serve: Serve) {
    let Some((m, n)) = (end.at < end.got.len()).then(|| read(&end.got[end.at..], false)).flatten() else { return };
    end.at += n;
    end.served += 1;
    let head = m.line.starts_with("HEAD");
    let body = m.body;
    let line = m.line;
    let echo = format!("x-line: {line}\r\n");
    match serve {
        Serve::Length => {
            end.send.extend_from_slice(
                format!("HTTP/1.1 200 OK\r\n{echo}Content-Length: {}\r\n\r\n", body.len()).as_bytes(),
            );
            end.send.extend_from_slice(if head { b"" } else { &body });
        }
        Serve::Chunked => {
            end.send
                .extend_from_slice(format!("HTTP/1.1 200 OK\r\n{echo}Transfer-Encoding: chunked\r\n\r\n").as_bytes());
            for chunk in body.chunks(1_000).filter(|_| !head) {
                end.send.extend_from_slice(format!("{:X};ext=1\r\n", chunk.len()).as_bytes());
                end.send.extend_from_slice(chunk);
                end.send.extend_from_slice(b"\r\n");
            }
            if !head {
                end.send.extend_from_slice(b"0\r\nX-Sum: 1\r\n\r\n");
            }
        }
        Serve::Close => {
            end.send.extend_from_slice(format!("HTTP/1.1 200 OK\r\n{echo}\r\n").as_bytes());
            end.send.extend_from_slice(if head { b"" } else { &body });
            end.fin = true;
        }
        Serve::No => {}
    }
}
