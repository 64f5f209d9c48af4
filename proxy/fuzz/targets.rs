//! What is fuzzed, and what must hold for any bytes: no panic, no endless loop, no debt, nothing left behind.
//!
//! Shared by cargo-fuzz (`fuzz_targets/`) and by `tests/fuzz.rs`, which runs the same on a stable compiler. Inputs of
//! the connection targets are scripts, so that most of them are well-formed enough to get deep: see [`Op`].
#![allow(dead_code)]

use std::rc::Rc;

use ewma_proxy::core::detect::{detect as detect_protocol, Protocol};
use ewma_proxy::core::h1::{self, head::Asks, parser::Parser};
use ewma_proxy::core::h2::connection::{Connection, Event, Role};
use ewma_proxy::core::h2::frame::{self, ErrorCode, FrameHeader, HEADER_LEN, PREFACE};
use ewma_proxy::core::h2::headers::Headers;
use ewma_proxy::core::h2::hpack::{Decoder, Encoder, ListLimits};
use ewma_proxy::core::h2::limits::Limits;
use ewma_proxy::core::relay::{Action, EndpointInfo, Relay, Settings};

const MS: u64 = 1_000_000;

/// A frame header survives the round trip; padding never reaches outside its payload.
pub fn frames(data: &[u8]) {
    let Some(header) = FrameHeader::parse(data) else {
        assert!(data.len() < HEADER_LEN);
        return;
    };
    let mut out = vec![];
    frame::put_header(&mut out, header.len, header.kind, header.flags, header.stream);
    assert_eq!(FrameHeader::parse(&out), Some(header));
    let payload = &data[HEADER_LEN..];
    for padded in [false, true] {
        if let Some((from, to)) = frame::unpad(payload, padded) {
            assert!(from <= to && to <= payload.len());
        }
    }
    let _ = frame::read_u32(payload);
}

/// A decoder with memo and one without agree about every sequence of blocks, and what was decoded survives an
/// encoder and another decoder. Blocks: a length, then so many bytes; a length above 250 changes the encoder's table.
pub fn hpack(data: &[u8]) {
    let limits = ListLimits { max_bytes: 2_000, max_fields: 40 };
    let (mut memo, mut plain) = (Decoder::new(4096), Decoder::plain(4096));
    let (mut encoder, mut second) = (Encoder::new(), Decoder::new(4096));
    let mut rest = data;
    while let Some((&n, after)) = rest.split_first() {
        if n > 250 {
            encoder.set_peer_max_size(usize::from(n - 251) * 1_024);
            rest = after;
            continue;
        }
        let n = usize::from(n).min(after.len());
        let (block, after) = after.split_at(n);
        rest = after;
        let (a, b) = (memo.decode(block, &limits), plain.decode(block, &limits));
        assert_eq!(a, b);
        match a {
            Ok(list) => {
                assert!(list.list_size() <= limits.max_bytes && list.len() <= limits.max_fields);
                let _ = list.head();
                let mut out = vec![];
                encoder.encode(&list, &mut out);
                let again = second.decode(&out, &limits).expect("what we encode decodes");
                assert_eq!(again.len(), list.len());
                for (new, old) in again.iter().zip(list.iter()) {
                    assert_eq!((new.name, new.value), (old.name, old.value));
                    // The encoder forbids tables to keep some more, short cookies among them.
                    assert!(new.never_indexed || !old.never_indexed);
                }
            }
            // After a real fault the connection is gone.
            Err(ewma_proxy::core::h2::hpack::DecodeError::Compression) => return,
            Err(_) => {}
        }
    }
}

/// Once a prefix has decided, no further byte changes the decision.
pub fn detect(data: &[u8]) {
    let mut decided = None;
    for n in 0..=data.len().min(64) {
        let now = detect_protocol(&data[..n]);
        match decided {
            Some(before) => assert_eq!(now, before),
            None if now != Protocol::More => decided = Some(now),
            None => {}
        }
    }
}

/// HTTP/1.x, either direction: pieces of any size give the same messages as the whole, and a request that goes on is
/// read by the next reader as it was by us. The first byte chooses direction and size of pieces.
pub fn http1(data: &[u8]) {
    let Some((&first, bytes)) = data.split_first() else { return };
    let requests = first % 2 == 0;
    let whole = messages(requests, first, bytes, bytes.len().max(1));
    let pieces = messages(requests, first, bytes, usize::from(first >> 3).max(1));
    assert_eq!(whole, pieces);
}

/// The messages as text, payload joined, and whether a fault ended them. (Of two limits that a line passes, the one
/// met first depends on the pieces, and the fault's status with it.)
fn messages(requests: bool, choice: u8, bytes: &[u8], piece: usize) -> (Vec<String>, bool) {
    let limits = Rc::new(h1::limits::Limits { head: 2_000, trailers: 200, extensions: 60, ..Default::default() });
    let asks = Asks { head: choice & 2 != 0, upgrade: choice & 4 != 0, ..Asks::default() };
    let mut parser = if requests { Parser::requests(limits) } else { Parser::responses(limits) };
    if !requests {
        parser.expect(asks);
    }
    let (mut said, mut body, mut rest) = (vec![], vec![], vec![]);
    for piece in bytes.chunks(piece) {
        rest.extend_from_slice(piece);
        let mut at = 0;
        loop {
            let event = parser.next(&rest, &mut at);
            assert!(at <= rest.len());
            match event {
                Ok(None) => break,
                Ok(Some(h1::parser::Event::Data { from, to })) => {
                    assert!(from <= to && to <= at);
                    body.extend_from_slice(&rest[from..to]);
                }
                Ok(Some(h1::parser::Event::End { trailers })) => {
                    said.push(format!("{body:?} {trailers:?}"));
                    body.clear();
                    if requests {
                        parser.again();
                    } else {
                        parser.expect(asks);
                    }
                }
                Ok(Some(h1::parser::Event::Request(request))) => {
                    understood_alike(&request);
                    said.push(format!("{request:?}"));
                }
                Ok(Some(h1::parser::Event::Response(response))) => said.push(format!("{response:?}")),
                Err(_) => {
                    said.push(format!("{body:?}"));
                    return (said, true);
                }
            }
        }
        rest.drain(..at);
    }
    said.push(format!("{body:?}"));
    (said, false)
}

/// A server of our own kind reads the rewritten head as we read the first.
fn understood_alike(request: &h1::head::Request) {
    let mut parser = Parser::requests(Rc::new(h1::limits::Limits::default()));
    let mut at = 0;
    match parser.next(&request.bytes, &mut at) {
        Ok(Some(h1::parser::Event::Request(again))) => {
            assert_eq!(at, request.bytes.len());
            // It goes on as HTTP/1.1, whatever it came as.
            let asks = Asks { old: false, ..request.asks };
            assert_eq!((again.framing, again.asks, &again.path), (request.framing, asks, &request.path));
        }
        other => panic!("{:?} is read as {other:?}", String::from_utf8_lossy(&request.bytes)),
    }
}

/// One step of a script.
enum Op<'a> {
    /// A frame of the peer's: its kind, flags, stream 0 to 15, payload.
    Frame(u8, u8, u32, &'a [u8]),
    /// Bytes of the peer's as they are.
    Raw(&'a [u8]),
    /// Something else: what, on which stream or connection, with which number.
    Do(u8, u8, u8),
}

/// Reads a script: a byte says which step (below 11 a frame of that kind, 11 raw bytes, above that an action).
struct Script<'a>(&'a [u8]);

impl<'a> Iterator for Script<'a> {
    type Item = Op<'a>;

    fn next(&mut self) -> Option<Op<'a>> {
        let (&op, rest) = self.0.split_first()?;
        let byte = |i: usize| rest.get(i).copied().unwrap_or(0);
        let take = |from: usize, n: u8| {
            let from = from.min(rest.len());
            let to = (from + usize::from(n)).min(rest.len());
            (&rest[from..to], &rest[to..])
        };
        match op % 20 {
            kind @ 0..=10 => {
                let (payload, after) = take(3, byte(2));
                self.0 = after;
                Some(Op::Frame(kind, byte(0), u32::from(byte(1) % 16), payload))
            }
            11 => {
                let (bytes, after) = take(1, byte(0));
                self.0 = after;
                Some(Op::Raw(bytes))
            }
            what => {
                self.0 = take(2, 0).1;
                Some(Op::Do(what - 12, byte(0), byte(1)))
            }
        }
    }
}

/// Small limits, so that scripts of a few hundred bytes reach them.
fn narrow() -> Limits {
    Limits {
        stream_window: 1_000,
        conn_held: 1_500,
        max_streams: 5,
        list: ListLimits { max_bytes: 1_000, max_fields: 20 },
        block: 400,
        continuations: 3,
        interim: 3,
        out_soft: 2_000,
        out_hard: 20_000,
        ..Limits::default()
    }
}

fn list(fields: &[(&str, &str)]) -> Rc<Headers> {
    let mut h = Headers::new();
    fields.iter().for_each(|(n, v)| h.push(n.as_bytes(), v.as_bytes()));
    Rc::new(h)
}

/// A client is heard by our server side.
pub fn connection_server(data: &[u8]) {
    let mut hello = PREFACE.to_vec();
    frame::put_settings(&mut hello, &[]);
    connection(Role::Server, &hello, data);
}

/// A server is heard by our client side.
pub fn connection_client(data: &[u8]) {
    let mut hello = vec![];
    frame::put_settings(&mut hello, &[]);
    connection(Role::Client, &hello, data);
}

/// Feeds a script to one connection, whose owner does as the script says. In the end nothing is owed or left.
fn connection(role: Role, hello: &[u8], data: &[u8]) {
    let Some((&first, script)) = data.split_first() else { return };
    let piece = usize::from(first).max(1);
    let mut owner = Owner { h2: Connection::new(role, Rc::new(narrow())), rest: vec![], slots: vec![], now: 0 };
    owner.feed(hello);
    for op in Script(script) {
        match op {
            Op::Frame(kind, flags, stream, payload) => {
                let mut bytes = vec![];
                frame::put_header(&mut bytes, payload.len(), kind, flags, stream);
                bytes.extend_from_slice(payload);
                bytes.chunks(piece).for_each(|c| owner.feed(c));
            }
            Op::Raw(bytes) => bytes.chunks(piece).for_each(|c| owner.feed(c)),
            Op::Do(what, which, n) => owner.act(what, which, n),
        }
        assert!(owner.h2.output().len() < 64 << 10, "the output grows without bound");
    }
    owner.close();
}

struct Owner {
    h2: Connection,
    rest: Vec<u8>,
    slots: Vec<u32>,
    now: u64,
}

impl Owner {
    fn feed(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        let input = std::mem::take(&mut self.rest);
        let mut at = 0;
        while let Ok(Some(event)) = self.h2.next_event(&input, &mut at, self.now) {
            assert!(at <= input.len());
            match event {
                Event::Request { slot, .. } => self.slots.push(slot),
                Event::Data { from, to, .. } => assert!(from <= to && to <= input.len()),
                _ => {}
            }
        }
        assert!(at <= input.len());
        self.rest = input[at..].to_vec();
    }

    fn act(&mut self, what: u8, which: u8, n: u8) {
        let slot = self.slots.get(usize::from(which) % self.slots.len().max(1)).copied();
        match (what, slot) {
            (0, _) if self.h2.role() == Role::Client => {
                let head = [(":method", "POST"), (":scheme", "http"), (":path", "/x"), (":authority", "a")];
                if self.h2.room() > 0 && self.slots.len() < 8 {
                    self.slots.extend(self.h2.open(u32::from(n), &list(&head), n % 2 == 0));
                }
            }
            (0, Some(slot)) => self.h2.send_head(slot, &list(&[(":status", "200")]), n % 2 == 0),
            (1, Some(slot)) if self.h2.buffered() < 30_000 => {
                self.h2.send_data(slot, &vec![7; usize::from(n) * 8], n % 4 == 0);
            }
            (2, Some(slot)) => self.h2.send_trailers(slot, &list(&[("grpc-status", "0")])),
            (3, Some(slot)) => self.h2.reset(slot, ErrorCode::CANCEL),
            (4, Some(slot)) => self.h2.release(slot, usize::from(n) * 4),
            (5, Some(slot)) => {
                self.h2.remove(slot);
                self.slots.retain(|s| *s != slot);
            }
            (6, _) => {
                let out = self.h2.output().len().min(usize::from(n) * 64);
                self.h2.written(out);
                while self.h2.pump().is_some() {}
            }
            (7, _) if n == 0 => self.h2.goaway(ErrorCode::NO_ERROR, which % 2 == 0, ""),
            _ => self.now += u64::from(n) * MS,
        }
    }

    /// The owner lets go of all streams: windows are restored, nothing is left.
    fn close(mut self) {
        for slot in std::mem::take(&mut self.slots) {
            self.h2.reset(slot, ErrorCode::CANCEL);
            self.h2.remove(slot);
        }
        assert_eq!(self.h2.streams(), 0);
        let (connection, streams, held) = self.h2.window_debt();
        assert_eq!((streams, held), (0, 0));
        assert!(self.h2.dead() || connection == 0, "{connection} bytes are owed to the peer");
    }
}

/// A relay between hostile clients and hostile servers. Once all connections are closed, no call is left and no
/// endpoint counts one.
pub fn relay(data: &[u8]) {
    let settings = Settings { limits: narrow(), max_waiting: 4, replay_body: 200, ..Settings::default() };
    let mut relay = Relay::new(settings, 1);
    let target = relay.add_target("t");
    let mut world = World { relay, target, open: vec![], now: 0 };
    world.endpoints(3);
    for op in Script(data) {
        match op {
            Op::Frame(kind, flags, stream, payload) => {
                let mut bytes = vec![];
                // The upper bits of the stream's byte would choose a connection, but are gone: the flags' do.
                frame::put_header(&mut bytes, payload.len(), kind, flags & 0x2d, stream);
                bytes.extend_from_slice(payload);
                world.received(usize::from(flags >> 6), &bytes);
            }
            Op::Raw(bytes) => world.received(0, bytes),
            Op::Do(what, which, n) => world.act(what, usize::from(which), n),
        }
        world.turn();
    }
    world.close();
}

struct World {
    relay: Relay,
    target: u32,
    /// Connections with a socket: the relay's number.
    open: Vec<u32>,
    now: u64,
}

impl World {
    fn endpoints(&mut self, mask: u8) {
        let info = |n: u8| EndpointInfo {
            addr: ([127, 0, 0, n], 1).into(),
            pod: format!("{n}").into(),
            uid: format!("{n}").into(),
            also: None,
        };
        let all: Vec<_> = (0..3).filter(|n| mask & (1 << n) != 0).map(info).collect();
        self.relay.set_endpoints(self.target, &all, self.now);
    }

    fn received(&mut self, which: usize, bytes: &[u8]) {
        if let Some(id) = self.open.get(which % self.open.len().max(1)) {
            self.relay.received(*id, bytes, self.now);
        }
    }

    fn act(&mut self, what: u8, which: usize, n: u8) {
        let id = self.open.get(which % self.open.len().max(1)).copied();
        match (what, id) {
            (0, _) if self.open.len() < 8 => {
                let id = self.relay.accepted(self.target, self.now);
                self.open.push(id);
                let mut hello = PREFACE.to_vec();
                frame::put_settings(&mut hello, &[(4, u32::from(n) * 100)]);
                self.relay.received(id, &hello, self.now);
            }
            (1, Some(id)) => self.relay.connected(id, self.now),
            (2, Some(id)) => {
                let mut hello = vec![];
                frame::put_settings(&mut hello, &[(3, u32::from(n))]);
                self.relay.received(id, &hello, self.now);
            }
            (3, Some(id)) => {
                self.open.retain(|o| *o != id);
                self.relay.closed(id, self.now);
            }
            (4, Some(id)) => {
                let out = self.relay.output(id).len().min(usize::from(n) * 64);
                self.relay.wrote(id, out, self.now);
            }
            (5, _) => self.endpoints(n),
            (6, _) if n == 0 => self.relay.drain(self.now),
            _ => {
                self.now += u64::from(n) * 20 * MS;
                self.relay.tick(self.now);
            }
        }
    }

    /// Does what the relay orders, as the owner of the sockets would.
    fn turn(&mut self) {
        let (mut actions, mut dirty) = (vec![], vec![]);
        for _ in 0..100 {
            self.relay.take_dirty(&mut dirty);
            self.relay.take_actions(&mut actions);
            if actions.is_empty() {
                return;
            }
            for action in actions.drain(..) {
                match action {
                    Action::Connect(id, _) => self.open.push(id),
                    // HTTP/1.x's alone.
                    Action::Shut(_) | Action::Read(_) => {}
                    Action::Close(id) => {
                        self.open.retain(|o| *o != id);
                        self.relay.closed(id, self.now);
                    }
                }
            }
        }
        panic!("the relay orders something for ever");
    }

    fn close(mut self) {
        self.endpoints(0);
        for _ in 0..4 {
            self.turn();
            for id in std::mem::take(&mut self.open) {
                self.relay.closed(id, self.now);
            }
            self.now += 10_000 * MS;
            self.relay.tick(self.now);
        }
        assert_eq!(self.relay.calls(), 0);
        assert!(self.relay.targets()[0].pool.all().all(|(_, e)| e.in_flight == 0));
        assert!(self.relay.debts().is_empty(), "a connection is left");
        assert_eq!(self.relay.totals().downstream, 0);
    }
}
