//! A recorded conversation, cut in every way: the same events and the same answers, whatever the pieces.

use std::rc::Rc;

use ewma_proxy::core::h2::connection::{Connection, Event, Role};
use ewma_proxy::core::h2::frame::{self, flag, kind, PREFACE};
use ewma_proxy::core::h2::headers::Headers;
use ewma_proxy::core::h2::limits::Limits;

fn put(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    frame::put_header(out, payload.len(), kind, flags, stream);
    out.extend_from_slice(payload);
}

/// Three requests with everything a client may say: continued and padded heads, trailers, priorities, pings,
/// windows, an unknown frame, a reset, GOAWAY.
fn client() -> Vec<u8> {
    let mut out = PREFACE.to_vec();
    let post: &[u8] = &[0x83, 0x86, 0x44, 2, b'/', b'x', 0x41, 1, b'a'];
    put(&mut out, kind::SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0, 0, 3, 0, 0, 0, 9]);
    put(&mut out, kind::WINDOW_UPDATE, 0, 0, &[0, 0, 64, 0]);
    put(&mut out, kind::HEADERS, 0, 1, &post[..4]);
    put(&mut out, kind::CONTINUATION, 0, 1, &[]);
    put(&mut out, kind::CONTINUATION, flag::END_HEADERS, 1, &post[4..]);
    put(&mut out, kind::PING, 0, 0, b"12345678");
    put(&mut out, kind::DATA, flag::PADDED, 1, b"\x04body\0\0\0\0");
    let padded = [&[3, 0, 0, 0, 9, 20], &[0x83, 0x86, 0xbf, 0xbe][..], &[0, 0, 0]].concat();
    put(&mut out, kind::HEADERS, flag::END_HEADERS | flag::PADDED | flag::PRIORITY, 3, &padded);
    put(&mut out, 0x42, 0xff, 3, b"unknown");
    put(&mut out, kind::DATA, 0, 3, &[7; 40]);
    put(&mut out, kind::PRIORITY, 0, 5, &[0, 0, 0, 1, 1]);
    put(&mut out, kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 7]);
    put(&mut out, kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, &[0x40, 1, b't', 1, b'v']);
    put(&mut out, kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 7, &[0x83, 0x86, 0xc0, 0xbf]);
    put(&mut out, kind::DATA, flag::END_STREAM, 3, b"");
    put(&mut out, kind::RST_STREAM, 0, 7, &[0, 0, 0, 8]);
    put(&mut out, kind::SETTINGS, flag::ACK, 0, &[]);
    put(&mut out, kind::GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 0, b'b', b'y', b'e']);
    out
}

/// Answers to two requests: interim and final heads, body, trailers, trailers-only, GOAWAY.
fn server() -> Vec<u8> {
    let mut out = vec![];
    put(&mut out, kind::SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 9]);
    put(&mut out, kind::SETTINGS, flag::ACK, 0, &[]);
    put(&mut out, kind::HEADERS, flag::END_HEADERS, 1, &[0x48, 3, b'1', b'0', b'3']);
    put(&mut out, kind::HEADERS, 0, 1, &[0x88]);
    put(&mut out, kind::CONTINUATION, flag::END_HEADERS, 1, &[0x40, 1, b'n', 1, b'v']);
    put(&mut out, kind::DATA, 0, 1, b"half");
    put(&mut out, kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 3, &[0x88, 0xbe]);
    put(&mut out, kind::GOAWAY, 0, 0, &[0, 0, 0, 3, 0, 0, 0, 0]);
    put(&mut out, kind::DATA, flag::PADDED, 1, b"\x02half\0\0");
    put(&mut out, kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, &[0x40, 1, b's', 1, b'0']);
    out
}

/// What the connection tells its owner, in words that do not depend on where a piece began, and what it answers.
fn listen(role: Role, pieces: &[&[u8]]) -> (Vec<String>, Vec<u8>) {
    let mut h2 = Connection::new(role, Rc::new(Limits::default()));
    let (mut said, mut rest) = (vec![], vec![]);
    if role == Role::Client {
        // The peer's limit is one stream until its SETTINGS come, so the second waits for them.
        open(&mut h2);
    }
    for piece in pieces {
        rest.extend_from_slice(piece);
        let mut at = 0;
        while let Some(event) = h2.next_event(&rest, &mut at, 0).expect("the conversation is well-formed") {
            if let (Event::Settings, Role::Client) = (&event, role) {
                open(&mut h2);
            }
            said.push(match event {
                Event::Data { slot, from, to, end } => {
                    h2.release(slot, to - from);
                    format!("data {slot} {:?} {end}", &rest[from..to])
                }
                other => format!("{other:?}"),
            });
        }
        rest.drain(..at);
    }
    (said, h2.output().to_vec())
}

fn open(h2: &mut Connection) {
    let mut h = Headers::new();
    for (name, value) in [(":method", "GET"), (":scheme", "http"), (":path", "/")] {
        h.push(name.as_bytes(), value.as_bytes());
    }
    h2.open(0, &Rc::new(h), true).expect("room for a stream");
}

fn both() -> [(Role, Vec<u8>); 2] {
    [(Role::Server, client()), (Role::Client, server())]
}

#[test]
fn a_cut_at_any_place_changes_nothing() {
    for (role, bytes) in both() {
        let whole = listen(role, &[&bytes]);
        assert!(whole.0.len() >= 6, "{:?}", whole.0);
        for cut in 0..=bytes.len() {
            let (a, b) = bytes.split_at(cut);
            assert_eq!(listen(role, &[a, b]), whole, "{role:?} cut at {cut}");
        }
    }
}

#[test]
fn pieces_of_any_size_change_nothing() {
    for (role, bytes) in both() {
        let whole = listen(role, &[&bytes]);
        for size in 1..bytes.len() {
            let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
            assert_eq!(listen(role, &pieces), whole, "{role:?} in pieces of {size}");
        }
    }
}

#[test]
fn a_prefix_tells_a_prefix_of_the_story() {
    for (role, bytes) in both() {
        let whole = listen(role, &[&bytes]).0;
        let mut told = 0;
        for n in 0..=bytes.len() {
            let part = listen(role, &[&bytes[..n]]).0;
            assert!(part.len() >= told && whole.starts_with(&part), "{role:?}, the first {n} bytes");
            told = part.len();
        }
        assert_eq!(told, whole.len());
    }
}
