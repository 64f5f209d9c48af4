//! A message's head: checked, understood, and rewritten for the next hop (RFC 9112 §3 to §6).
//!
//! What goes on is written from what was understood, never copied: the request line, the fields that are not this
//! hop's, one field of framing. So a server cannot read it otherwise than we did. Knows one message at a time.

use std::mem::MaybeUninit;

use httparse::{Error, Header, Status};

use super::body::{Framing, Wire};
use super::fields::{line, Facts};
use super::limits::MAX_FIELDS;
use super::{bad, Fault};
use crate::core::detect::MAX_METHOD;

/// A request's head.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// As it goes on, ready to be sent.
    pub bytes: Vec<u8>,
    /// Where the body ends.
    pub framing: Framing,
    /// What an answer to it is allowed to be.
    pub asks: Asks,
    /// May it be sent twice without harm (RFC 9110 §9.2.2)?
    pub idempotent: bool,
    /// May the client's connection go on after it?
    pub keep: bool,
    /// Its path without the query, for counting.
    pub path: Vec<u8>,
}

/// What must be known of a request to read its answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Asks {
    /// It is HEAD: the answer has no body.
    pub head: bool,
    /// It is CONNECT: 2xx begins a tunnel.
    pub connect: bool,
    /// It offers an upgrade: 101 begins a tunnel.
    pub upgrade: bool,
    /// It is HTTP/1.0: no 1xx, no chunks.
    pub old: bool,
}

/// A response's head.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Response {
    /// As it goes on, without what [`Response::write`] adds.
    bytes: Vec<u8>,
    /// The status.
    pub status: u16,
    /// Where the body ends.
    pub framing: Framing,
    /// May the server's connection carry another request after it?
    pub keep: bool,
}

impl Response {
    /// Does another head follow?
    pub fn interim(&self) -> bool {
        self.status < 200 && self.framing != Framing::Tunnel
    }

    /// How its body goes on to a client.
    pub fn wire(&self, asks: Asks) -> Wire {
        match self.framing {
            Framing::Chunked | Framing::Close if !asks.old => Wire::Chunked,
            _ => Wire::Raw,
        }
    }

    /// Writes the head for a client; with `close` its connection ends with the body.
    pub fn write(&self, out: &mut Vec<u8>, asks: Asks, close: bool) {
        out.extend_from_slice(&self.bytes);
        if self.wire(asks) == Wire::Chunked {
            line(out, b"transfer-encoding", b"chunked");
        }
        if close && !self.interim() && self.framing != Framing::Tunnel {
            line(out, b"connection", b"close");
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// Reads a request's head, the whole of it and nothing else.
///
/// # Errors
/// What HTTP/1.1 forbids, and what is ambiguous.
pub fn request(section: &[u8]) -> Result<Request, Fault> {
    let mut fields = [const { MaybeUninit::<Header>::uninit() }; MAX_FIELDS];
    let mut head = httparse::Request::new(&mut []);
    match head.parse_with_uninit_headers(section, &mut fields) {
        Ok(Status::Complete(n)) if n == section.len() => {}
        Err(Error::Version) if other_version(section) => {
            return Err(Fault { status: 505, reason: "a version other than HTTP/1.0 and 1.1" });
        }
        Err(Error::Token | Error::Version) => return Err(bad("a malformed request line")),
        Err(Error::TooManyHeaders) => return Err(Fault { status: 431, reason: "too many header fields" }),
        _ => return Err(bad("a malformed header field")),
    }
    let (Some(method), Some(target), Some(version)) = (head.method, head.path, head.version) else {
        return Err(bad("a malformed request line"));
    };
    let facts = Facts::read(head.headers)?;
    let old = version == 0;
    let place = Target::read(method, target)?;
    check_host(&facts, &place, old)?;
    if old && facts.chunked {
        return Err(bad("Transfer-Encoding in HTTP/1.0"));
    }
    let framing = match facts.length {
        _ if facts.chunked => Framing::Chunked,
        Some(n) => Framing::Length(n),
        None => Framing::None,
    };
    let (connect, upgrade) = (method == "CONNECT", facts.upgrade && !old);
    if (connect || upgrade) && !matches!(framing, Framing::None | Framing::Length(0)) {
        return Err(bad("a body before the protocol changes"));
    }
    let mut bytes = Vec::with_capacity(section.len() + 32);
    for part in [method, " ", target, " HTTP/1.1\r\n"] {
        bytes.extend_from_slice(part.as_bytes());
    }
    if facts.host.is_none() {
        // RFC 9112 §3.2: HTTP/1.1 wants one, though it be empty.
        line(&mut bytes, b"host", place.authority.unwrap_or_default().as_bytes());
    }
    pass_on(&mut bytes, head.headers, &facts, upgrade, true);
    if facts.chunked {
        line(&mut bytes, b"transfer-encoding", b"chunked");
    }
    if facts.trailers {
        line(&mut bytes, b"te", b"trailers");
    }
    let option: Option<&[u8]> = match (upgrade, facts.trailers) {
        (true, true) => Some(b"upgrade, te"),
        (true, false) => Some(b"upgrade"),
        (false, true) => Some(b"te"),
        (false, false) => None,
    };
    if let Some(option) = option {
        line(&mut bytes, b"connection", option);
    }
    bytes.extend_from_slice(b"\r\n");
    Ok(Request {
        bytes,
        framing,
        asks: Asks { head: method == "HEAD", connect, upgrade, old },
        idempotent: matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE"),
        // A proxy does not keep connections of HTTP/1.0 (RFC 9112 §9.3).
        keep: !old && !facts.close,
        path: place.path.as_bytes().to_vec(),
    })
}

/// Is it a request line but for the number of its version?
fn other_version(section: &[u8]) -> bool {
    let line = section.split(|c| *c == b'\r').next().unwrap_or_default();
    let words: Vec<&[u8]> = line.split(|c| *c == b' ').collect();
    words.len() == 3 && words.iter().all(|w| !w.is_empty()) && words[2].starts_with(b"HTTP/")
}

/// Reads a response's head, the whole of it and nothing else. `asks` tells of the request.
///
/// # Errors
/// What HTTP/1.1 forbids, and what is ambiguous.
pub fn response(section: &[u8], asks: Asks) -> Result<Response, Fault> {
    let mut fields = [const { MaybeUninit::<Header>::uninit() }; MAX_FIELDS];
    let mut head = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut head, section, &mut fields) {
        Ok(Status::Complete(n)) if n == section.len() => {}
        _ => return Err(bad("a malformed response head")),
    }
    let (Some(version), Some(status), reason) = (head.version, head.code, head.reason.unwrap_or_default()) else {
        return Err(bad("a malformed status line"));
    };
    let facts = Facts::read(head.headers)?;
    if status < 100 || (version == 0 && facts.chunked) {
        return Err(bad("a status below 100, or Transfer-Encoding in HTTP/1.0"));
    }
    let framing = match status {
        101 if asks.upgrade && facts.upgrade => Framing::Tunnel,
        101 => return Err(bad("an upgrade that nobody asked for")),
        200..=299 if asks.connect => Framing::Tunnel,
        100..=199 | 204 | 304 => Framing::None,
        _ if asks.head => Framing::None,
        _ if facts.chunked => Framing::Chunked,
        _ => facts.length.map_or(Framing::Close, Framing::Length),
    };
    let mut bytes = Vec::with_capacity(section.len() + 64);
    bytes.extend_from_slice(format!("HTTP/1.1 {status} {reason}\r\n").as_bytes());
    let upgrade = facts.upgrade && matches!(status, 101 | 426);
    // Where there is no body, a length tells of the one that GET would have got, or nothing (RFC 9110 §8.6).
    let length = !matches!(status, 100..=199 | 204) && framing != Framing::Tunnel;
    pass_on(&mut bytes, head.headers, &facts, upgrade, length);
    if upgrade {
        line(&mut bytes, b"connection", b"upgrade");
    }
    let ends = matches!(framing, Framing::Close | Framing::Tunnel);
    Ok(Response { bytes, status, framing, keep: !facts.close && !ends && (version == 1 || facts.keep_alive) })
}

fn pass_on(out: &mut Vec<u8>, fields: &[Header], facts: &Facts, upgrade: bool, length: bool) {
    for field in fields {
        let name = field.name.as_bytes();
        if facts.goes_on(name) || (upgrade && Facts::is_upgrade(name)) {
            line(out, name, field.value);
        } else if let (true, true, Some(n)) = (length, Facts::is_length(name), facts.length) {
            line(out, name, n.to_string().as_bytes());
        }
    }
}

/// A request target (RFC 9112 §3.2).
struct Target<'a> {
    authority: Option<&'a str>,
    path: &'a str,
}

impl<'a> Target<'a> {
    fn read(method: &str, target: &'a str) -> Result<Self, Fault> {
        if method.len() > MAX_METHOD || !target.bytes().all(|c| c.is_ascii_graphic()) || target.contains('#') {
            return Err(bad("a malformed request line"));
        }
        if method == "CONNECT" {
            let plain = target.contains(':') && host_ok(target.as_bytes());
            return if plain { Ok(Self { authority: Some(target), path: target }) } else { Err(FORM) };
        }
        if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
            return Ok(Self { authority: None, path: before(target, &['?']) });
        }
        let Some((scheme, rest)) = target.split_once("://") else { return Err(FORM) };
        if scheme.is_empty() || !scheme.bytes().all(|c| c.is_ascii_alphanumeric()) {
            return Err(FORM);
        }
        let authority = before(rest, &['/', '?']);
        let path = before(&rest[authority.len()..], &['?']);
        Ok(Self { authority: Some(authority), path: if path.is_empty() { "/" } else { path } })
    }
}

const FORM: Fault = Fault { status: 400, reason: "a request target of no known form" };

fn before<'a>(text: &'a str, ends: &[char]) -> &'a str {
    text.split(ends).next().unwrap_or_default()
}

/// The value of `Host` in a request's head as it goes on.
pub fn host(head: &[u8]) -> Option<&[u8]> {
    let named = |line: &&[u8]| line.get(..5).is_some_and(|name| name.eq_ignore_ascii_case(b"host:"));
    Some(head.split(|c| *c == b'\n').find(named)?[5..].trim_ascii())
}

/// One Host, well formed, that agrees with the target (RFC 9112 §3.2): routing by one and serving by the other is
/// how requests reach what they should not.
fn check_host(facts: &Facts, target: &Target, old: bool) -> Result<(), Fault> {
    let Some(host) = facts.host else {
        let named = target.authority.is_none_or(|a| host_ok(a.as_bytes()));
        return if old && named { Ok(()) } else { Err(bad("no Host")) };
    };
    if !host_ok(host) {
        return Err(bad("a malformed Host"));
    }
    match target.authority {
        Some(authority) if !authority.as_bytes().eq_ignore_ascii_case(host) => Err(bad("Host is not the target's")),
        _ => Ok(()),
    }
}

/// The characters of `uri-host [ ":" port ]` but the comma, by which lists are told.
fn host_ok(host: &[u8]) -> bool {
    host.iter().all(|c| c.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=:[]".contains(c))
}
