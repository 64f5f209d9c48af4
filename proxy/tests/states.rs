//! Every state of a stream × every type of frame, on both sides of a connection, against RFC 9113 §5.1 and §6.
//!
//! A cell says what a frame of that type does to a stream in that state:
//! `ev` it reaches the owner · `-` it is passed over or answered without the owner · `sN` the stream is reset with
//! error code N · `cN` the connection ends with error code N (1 PROTOCOL_ERROR, 5 STREAM_CLOSED).
//! Where the RFC leaves a choice the gentler one is taken: a connection to a server is shared by many clients, so
//! what comes late on a stream that is over is passed over.

use std::rc::Rc;

use ewma_proxy::core::h2::connection::{Connection, Event, Role};
use ewma_proxy::core::h2::frame::{self, flag, kind, ErrorCode, FrameHeader, HEADER_LEN, PREFACE};
use ewma_proxy::core::h2::headers::Headers;
use ewma_proxy::core::h2::limits::Limits;

/// `:method GET`, `:scheme http`, `:path /`; `:status 200`; `a: b`: all from the static table or literal.
const REQUEST: &[u8] = &[0x82, 0x86, 0x84];
const RESPONSE: &[u8] = &[0x88];
const TRAILERS: &[u8] = &[0, 1, b'a', 1, b'b'];

fn put(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![];
    frame::put_header(&mut out, payload.len(), kind, flags, stream);
    out.extend_from_slice(payload);
    out
}

/// One connection whose peer is the test.
struct Scene {
    h2: Connection,
    slot: u32,
}

impl Scene {
    fn new(role: Role) -> Self {
        let mut h2 = Connection::new(role, Rc::new(Limits::default()));
        let mut hello = if role == Role::Server { PREFACE.to_vec() } else { vec![] };
        hello.extend(put(kind::SETTINGS, 0, 0, &[]));
        let mut scene = Self {
            h2: {
                h2.written(h2.output().len());
                h2
            },
            slot: 0,
        };
        scene.eat(&hello).expect("a polite greeting");
        scene
    }

    /// Feeds bytes; the events' streams, or the code the connection ended with.
    fn eat(&mut self, bytes: &[u8]) -> Result<Vec<u32>, u32> {
        let (mut at, mut slots) = (0, vec![]);
        loop {
            match self.h2.next_event(bytes, &mut at, 0) {
                Ok(Some(Event::Request { slot, .. })) => {
                    self.slot = slot;
                    slots.push(slot);
                }
                Ok(Some(
                    Event::Response { slot, .. }
                    | Event::Trailers { slot, .. }
                    | Event::Data { slot, .. }
                    | Event::Reset { slot, .. },
                )) => slots.push(slot),
                Ok(Some(_)) => slots.push(u32::MAX),
                Ok(None) => return Ok(slots),
                Err(fault) => return Err(fault.code.0),
            }
        }
    }

    fn request(&mut self, id: u32, end: bool) {
        let flags = flag::END_HEADERS | if end { flag::END_STREAM } else { 0 };
        self.eat(&put(kind::HEADERS, flags, id, REQUEST)).expect("a request");
    }

    fn open(&mut self, end: bool) {
        let mut h = Headers::new();
        [(":method", "GET"), (":scheme", "http"), (":path", "/")]
            .iter()
            .for_each(|(n, v)| h.push(n.as_bytes(), v.as_bytes()));
        self.slot = self.h2.open(7, &Rc::new(h), end).expect("room for a stream");
    }

    fn answer(&mut self, end: bool) {
        let mut h = Headers::new();
        h.push(b":status", b"200");
        self.h2.send_head(self.slot, &Rc::new(h), end);
    }

    fn receive_head(&mut self, end: bool) {
        let flags = flag::END_HEADERS | if end { flag::END_STREAM } else { 0 };
        self.eat(&put(kind::HEADERS, flags, 1, RESPONSE)).expect("a response");
    }

    /// What one frame brings about, in the table's words.
    fn outcome(&mut self, bytes: &[u8]) -> String {
        self.h2.written(self.h2.output().len());
        match self.eat(bytes) {
            Err(code) => {
                assert!(self.h2.dead());
                format!("c{code}")
            }
            Ok(events) => match self.reset_sent() {
                Some(code) => format!("s{code}"),
                None if events.is_empty() => "-".into(),
                None => "ev".into(),
            },
        }
    }

    fn reset_sent(&self) -> Option<u32> {
        let mut out = self.h2.output();
        while let Some(h) = FrameHeader::parse(out) {
            let payload = &out[HEADER_LEN..HEADER_LEN + h.len];
            if h.kind == kind::RST_STREAM {
                return Some(frame::read_u32(payload));
            }
            out = &out[HEADER_LEN + h.len..];
        }
        None
    }
}

const FRAMES: [&str; 11] = [
    "DATA",
    "HEADERS",
    "PRIORITY",
    "RST_STREAM",
    "SETTINGS",
    "PUSH_PROMISE",
    "PING",
    "GOAWAY",
    "WINDOW_UPDATE",
    "CONTINUATION",
    "unknown",
];

fn bytes_of(name: &str, stream: u32, block: &[u8]) -> Vec<u8> {
    let ended = flag::END_HEADERS | flag::END_STREAM;
    match name {
        "DATA" => put(kind::DATA, 0, stream, b"x"),
        "HEADERS" => put(kind::HEADERS, ended, stream, block),
        "PRIORITY" => put(kind::PRIORITY, 0, stream, &[0, 0, 0, 99, 16]),
        "RST_STREAM" => put(kind::RST_STREAM, 0, stream, &[0, 0, 0, 8]),
        "SETTINGS" => put(kind::SETTINGS, 0, stream, &[]),
        "PUSH_PROMISE" => put(kind::PUSH_PROMISE, flag::END_HEADERS, stream, &[0, 0, 0, 2, 0x82]),
        "PING" => put(kind::PING, 0, stream, b"12345678"),
        "GOAWAY" => put(kind::GOAWAY, 0, stream, &[0; 8]),
        "WINDOW_UPDATE" => put(kind::WINDOW_UPDATE, 0, stream, &[0, 0, 0, 1]),
        "CONTINUATION" => put(kind::CONTINUATION, flag::END_HEADERS, stream, block),
        _ => put(0x42, 0xff, stream, b"whatever"),
    }
}

/// Makes a stream's state; returns its identifier and the block that HEADERS carries.
type Make = fn(&mut Scene) -> (u32, &'static [u8]);

fn walk(role: Role, states: &[(&str, Make, [&str; 11])]) {
    let mut wrong = vec![];
    for (state, make, expected) in states {
        for (name, cell) in FRAMES.iter().zip(expected) {
            let mut scene = Scene::new(role);
            let (id, block) = make(&mut scene);
            let seen = scene.outcome(&bytes_of(name, id, block));
            if seen != *cell {
                wrong.push(format!("{state} × {name}: {seen}, not {cell}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{role:?}:\n{}", wrong.join("\n"));
}

#[test]
fn a_server_answers_every_frame_in_every_state_as_the_rfc_says() {
    #[rustfmt::skip]
    let states: [(&str, Make, [&str; 11]); 12] = [
        //                                              DATA HEAD  PRIO RST   SET   PUSH  PING  AWAY  WINDOW CONT unknown
        ("the connection", |_| (0, REQUEST),           ["c1", "c1", "c1", "c1", "ev", "c1", "-",  "ev", "-",  "c1", "-"]),
        ("idle",           |_| (1, REQUEST),           ["c1", "ev", "-",  "c1", "c1", "c1", "c1", "c1", "c1", "c1", "-"]),
        ("idle, even",     |_| (2, REQUEST),           ["c1", "c1", "-",  "c1", "c1", "c1", "c1", "c1", "c1", "c1", "-"]),
        ("open",           open,                       ["ev", "ev", "-",  "ev", "c1", "c1", "c1", "c1", "-",  "c1", "-"]),
        ("open, answered", open_answered,              ["ev", "ev", "-",  "ev", "c1", "c1", "c1", "c1", "-",  "c1", "-"]),
        ("half-closed (remote)", half_remote,          ["s5", "s5", "-",  "ev", "c1", "c1", "c1", "c1", "-",  "c1", "-"]),
        ("half-closed (local)", half_local,            ["ev", "ev", "-",  "ev", "c1", "c1", "c1", "c1", "-",  "c1", "-"]),
        ("closed, both ended", ended,                  ["s5", "c5", "-",  "-",  "c1", "c1", "c1", "c1", "-",  "c1", "-"]),
        ("closed, we reset, owner still there", reset_here, ["-", "-", "-", "-", "c1", "c1", "c1", "c1", "-", "c1", "-"]),
        ("closed, we reset, owner gone", reset_gone,   ["-",  "-",  "-",  "-",  "c1", "c1", "c1", "c1", "-",  "c1", "-"]),
        ("closed, the peer reset", reset_by_peer,      ["s5", "c5", "-",  "-",  "c1", "c1", "c1", "c1", "-",  "c1", "-"]),
        ("closed, skipped", skipped,                   ["s5", "c5", "-",  "-",  "c1", "c1", "c1", "c1", "-",  "c1", "-"]),
    ];
    fn open(s: &mut Scene) -> (u32, &'static [u8]) {
        s.request(1, false);
        (1, TRAILERS)
    }
    fn open_answered(s: &mut Scene) -> (u32, &'static [u8]) {
        s.request(1, false);
        s.answer(false);
        (1, TRAILERS)
    }
    fn half_remote(s: &mut Scene) -> (u32, &'static [u8]) {
        s.request(1, true);
        (1, TRAILERS)
    }
    fn half_local(s: &mut Scene) -> (u32, &'static [u8]) {
        s.request(1, false);
        s.answer(true);
        (1, TRAILERS)
    }
    fn ended(s: &mut Scene) -> (u32, &'static [u8]) {
        s.request(1, true);
        s.answer(true);
        s.h2.remove(s.slot);
        (1, TRAILERS)
    }
    fn reset_here(s: &mut Scene) -> (u32, &'static [u8]) {
        s.request(1, false);
        s.h2.reset(s.slot, ErrorCode::CANCEL);
        (1, TRAILERS)
    }
    fn reset_gone(s: &mut Scene) -> (u32, &'static [u8]) {
        reset_here(s);
        s.h2.remove(s.slot);
        (1, TRAILERS)
    }
    fn reset_by_peer(s: &mut Scene) -> (u32, &'static [u8]) {
        s.request(1, false);
        s.eat(&bytes_of("RST_STREAM", 1, &[])).expect("a reset");
        s.h2.remove(s.slot);
        (1, TRAILERS)
    }
    fn skipped(s: &mut Scene) -> (u32, &'static [u8]) {
        s.request(5, true);
        (3, REQUEST)
    }
    walk(Role::Server, &states);
}

#[test]
fn a_client_answers_every_frame_in_every_state_as_the_rfc_says() {
    #[rustfmt::skip]
    let states: [(&str, Make, [&str; 11]); 12] = [
        //                                              DATA HEAD  PRIO RST   SET   PUSH  PING  AWAY  WINDOW CONT unknown
        ("the connection", |_| (0, RESPONSE),          ["c1", "c1", "c1", "c1", "ev", "c1", "-",  "ev", "-",  "c1", "-"]),
        ("idle",           |_| (1, RESPONSE),          ["c1", "c1", "-",  "c1", "c1", "c1", "c1", "c1", "c1", "c1", "-"]),
        ("idle, a push",   |_| (2, RESPONSE),          ["c1", "c1", "-",  "c1", "c1", "c1", "c1", "c1", "c1", "c1", "-"]),
        ("open",           open,                       ["s1", "ev", "-",  "ev", "c1", "c1", "c1", "c1", "-",  "c1", "-"]),
        ("open, answered", open_answered,              ["ev", "ev", "-",  "ev", "c1", "c1", "c1", "c1", "-",  "c1", "-"]),
        ("half-closed (local)", half_local,            ["s1", "ev", "-",  "ev", "c1", "c1", "c1", "c1", "-",  "c1", "-"]),
        ("half-closed (local), answered", local_answered, ["ev", "ev", "-", "ev", "c1", "c1", "c1", "c1", "-", "c1", "-"]),
        ("half-closed (remote)", half_remote,          ["s5", "s5", "-",  "ev", "c1", "c1", "c1", "c1", "-",  "c1", "-"]),
        ("closed, both ended", ended,                  ["-",  "-",  "-",  "-",  "c1", "c1", "c1", "c1", "-",  "c1", "-"]),
        ("closed, we reset, owner still there", reset_here, ["-", "-", "-", "-", "c1", "c1", "c1", "c1", "-", "c1", "-"]),
        ("closed, we reset, owner gone", reset_gone,   ["-",  "-",  "-",  "-",  "c1", "c1", "c1", "c1", "-",  "c1", "-"]),
        ("closed, the peer reset", reset_by_peer,      ["-",  "-",  "-",  "-",  "c1", "c1", "c1", "c1", "-",  "c1", "-"]),
    ];
    fn open(s: &mut Scene) -> (u32, &'static [u8]) {
        s.open(false);
        (1, RESPONSE)
    }
    fn open_answered(s: &mut Scene) -> (u32, &'static [u8]) {
        s.open(false);
        s.receive_head(false);
        (1, TRAILERS)
    }
    fn half_local(s: &mut Scene) -> (u32, &'static [u8]) {
        s.open(true);
        (1, RESPONSE)
    }
    fn local_answered(s: &mut Scene) -> (u32, &'static [u8]) {
        s.open(true);
        s.receive_head(false);
        (1, TRAILERS)
    }
    fn half_remote(s: &mut Scene) -> (u32, &'static [u8]) {
        s.open(false);
        s.receive_head(true);
        (1, TRAILERS)
    }
    fn ended(s: &mut Scene) -> (u32, &'static [u8]) {
        s.open(true);
        s.receive_head(true);
        s.h2.remove(s.slot);
        (1, TRAILERS)
    }
    fn reset_here(s: &mut Scene) -> (u32, &'static [u8]) {
        s.open(false);
        s.h2.reset(s.slot, ErrorCode::CANCEL);
        (1, RESPONSE)
    }
    fn reset_gone(s: &mut Scene) -> (u32, &'static [u8]) {
        reset_here(s);
        s.h2.remove(s.slot);
        (1, RESPONSE)
    }
    fn reset_by_peer(s: &mut Scene) -> (u32, &'static [u8]) {
        s.open(false);
        s.eat(&bytes_of("RST_STREAM", 1, &[])).expect("a reset");
        s.h2.remove(s.slot);
        (1, RESPONSE)
    }
    walk(Role::Client, &states);
}

#[test]
fn inside_a_header_block_every_other_frame_ends_the_connection() {
    for name in FRAMES {
        let mut scene = Scene::new(Role::Server);
        scene.eat(&put(kind::HEADERS, flag::END_STREAM, 1, &REQUEST[..1])).expect("the block's beginning");
        let seen = scene.outcome(&bytes_of(name, 1, &REQUEST[1..]));
        assert_eq!(seen, if name == "CONTINUATION" { "ev" } else { "c1" }, "{name}");
    }
    let mut scene = Scene::new(Role::Server);
    scene.eat(&put(kind::HEADERS, flag::END_STREAM, 1, &REQUEST[..1])).expect("the block's beginning");
    assert_eq!(scene.outcome(&bytes_of("CONTINUATION", 3, &REQUEST[1..])), "c1", "another stream's CONTINUATION");
}

#[test]
fn before_settings_every_other_frame_ends_the_connection() {
    for name in FRAMES.into_iter().filter(|n| *n != "SETTINGS") {
        for role in [Role::Server, Role::Client] {
            let mut scene = Scene { h2: Connection::new(role, Rc::new(Limits::default())), slot: 0 };
            let mut bytes = if role == Role::Server { PREFACE.to_vec() } else { vec![] };
            bytes.extend(bytes_of(name, u32::from(name != "PING" && name != "GOAWAY"), REQUEST));
            assert_eq!(scene.outcome(&bytes), "c1", "{role:?} {name}");
        }
    }
}

#[test]
fn a_payload_of_a_wrong_length_is_a_frame_size_error() {
    type Case = (&'static str, u8, u8, u32, &'static [u8], &'static str);
    let cases: [Case; 9] = [
        ("RST_STREAM of 3", kind::RST_STREAM, 0, 1, &[0; 3], "c6"),
        ("SETTINGS of 5", kind::SETTINGS, 0, 0, &[0; 5], "c6"),
        ("SETTINGS ACK of 6", kind::SETTINGS, flag::ACK, 0, &[0; 6], "c6"),
        ("PING of 7", kind::PING, 0, 0, &[0; 7], "c6"),
        ("GOAWAY of 7", kind::GOAWAY, 0, 0, &[0; 7], "c6"),
        ("WINDOW_UPDATE of 3", kind::WINDOW_UPDATE, 0, 1, &[0; 3], "c6"),
        ("PRIORITY of 4 costs its stream", kind::PRIORITY, 0, 1, &[0; 4], "s6"),
        ("HEADERS shorter than its priority", kind::HEADERS, flag::PRIORITY | flag::END_HEADERS, 3, &[0; 4], "c6"),
        ("padding longer than DATA", kind::DATA, flag::PADDED, 1, &[9, 0, 0], "c1"),
    ];
    for (what, kind, flags, stream, payload, expected) in cases {
        let mut scene = Scene::new(Role::Server);
        scene.request(1, false);
        assert_eq!(scene.outcome(&put(kind, flags, stream, payload)), expected, "{what}");
    }
}
