//! What a head's fields say of framing and connection, and which of them go on.
//!
//! One Content-Length of digits, or one Transfer-Encoding that is `chunked`, never both (RFC 9112 §6): all else has
//! been read in two ways by somebody. Fields of this hop stay here (RFC 9110 §7.6.1). Knows names and values.

use httparse::{Header, Status};

use super::limits::{MAX_FIELDS, MAX_OPTIONS};
use super::{bad, Fault};
use crate::core::detect::is_token;

/// What the fields of a head say.
#[derive(Debug, Default)]
pub struct Facts<'a> {
    /// `Content-Length`.
    pub length: Option<u64>,
    /// `Transfer-Encoding: chunked`.
    pub chunked: bool,
    /// `Connection: close`.
    pub close: bool,
    /// `Connection: keep-alive`.
    pub keep_alive: bool,
    /// `Connection: upgrade` and an `Upgrade` to something but h2c.
    pub upgrade: bool,
    /// `TE: trailers`.
    pub trailers: bool,
    /// `Host`.
    pub host: Option<&'a [u8]>,
    /// Other fields that Connection names.
    named: Vec<&'a [u8]>,
}

/// A field that has a part in how a message is framed or passed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Known {
    Length,
    Encoding,
    Connection,
    Te,
    Upgrade,
    Host,
    /// Of this hop, without a meaning for us.
    Hop,
    None,
}

fn known(name: &[u8]) -> Known {
    let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
    match name.len() {
        2 if is("te") => Known::Te,
        4 if is("host") => Known::Host,
        7 if is("upgrade") => Known::Upgrade,
        10 if is("connection") => Known::Connection,
        10 if is("keep-alive") => Known::Hop,
        14 if is("content-length") => Known::Length,
        14 if is("http2-settings") => Known::Hop,
        16 if is("proxy-connection") => Known::Hop,
        17 if is("transfer-encoding") => Known::Encoding,
        _ => Known::None,
    }
}

impl<'a> Facts<'a> {
    /// Reads the fields of a head.
    ///
    /// # Errors
    /// Fields that contradict each other, or that servers are known to read differently.
    pub fn read(fields: &[Header<'a>]) -> Result<Self, Fault> {
        let (mut facts, mut offered) = (Self::default(), None);
        let (mut upgrade, mut encodings) = (false, 0);
        for field in fields {
            let value = field.value;
            match known(field.name.as_bytes()) {
                Known::Length if facts.length.is_some() => return Err(bad("two Content-Lengths")),
                Known::Length => facts.length = Some(decimal(value).ok_or(bad("a Content-Length that is no number"))?),
                Known::Encoding if encodings > 0 => return Err(bad("two Transfer-Encodings")),
                Known::Encoding if !value.eq_ignore_ascii_case(b"chunked") => {
                    return Err(bad("a Transfer-Encoding other than chunked"));
                }
                Known::Encoding => encodings += 1,
                Known::Connection => upgrade |= facts.options(value)?,
                Known::Te => facts.trailers |= words(value).any(|w| w.eq_ignore_ascii_case(b"trailers")),
                Known::Upgrade if value.is_empty() => return Err(bad("an Upgrade to nothing")),
                Known::Upgrade => offered = Some(offered.unwrap_or(true) && !words(value).any(is_h2c)),
                Known::Host if facts.host.is_some() => return Err(bad("two Hosts")),
                Known::Host => facts.host = Some(value),
                Known::Hop => {}
                Known::None => look_alike(field.name.as_bytes())?,
            }
        }
        facts.chunked = encodings > 0;
        facts.upgrade = upgrade && offered == Some(true);
        if facts.chunked && facts.length.is_some() {
            return Err(bad("both Content-Length and Transfer-Encoding"));
        }
        Ok(facts)
    }

    /// Reads a Connection field; does it name `upgrade`?
    fn options(&mut self, value: &'a [u8]) -> Result<bool, Fault> {
        let mut upgrade = false;
        for word in words(value) {
            if !word.iter().all(|c| is_token(*c)) {
                return Err(bad("a Connection option that is no token"));
            }
            match known(word) {
                Known::Length | Known::Encoding | Known::Host | Known::Connection => {
                    return Err(bad("Connection names a field that the message cannot do without"));
                }
                Known::Upgrade => upgrade = true,
                Known::Te | Known::Hop => self.keep_alive |= word.eq_ignore_ascii_case(b"keep-alive"),
                Known::None if word.eq_ignore_ascii_case(b"close") => self.close = true,
                Known::None if self.named.len() == MAX_OPTIONS => return Err(bad("too many Connection options")),
                Known::None => self.named.push(word),
            }
        }
        Ok(upgrade)
    }

    /// Does a field go on as it is? Those of this hop do not; framing is written anew.
    pub fn goes_on(&self, name: &[u8]) -> bool {
        match known(name) {
            Known::None => !self.named.iter().any(|n| n.eq_ignore_ascii_case(name)),
            Known::Host => true,
            _ => false,
        }
    }

    /// Does this field go on only with a message that asks for, or makes, an upgrade?
    pub fn is_upgrade(name: &[u8]) -> bool {
        known(name) == Known::Upgrade
    }

    /// Is that Content-Length?
    pub fn is_length(name: &[u8]) -> bool {
        known(name) == Known::Length
    }
}

/// Is this offer h2c? A server may pass it over (RFC 9110 §7.8), and a connection that changed to HTTP/2 behind us
/// would be balanced no longer.
fn is_h2c(word: &[u8]) -> bool {
    word.eq_ignore_ascii_case(b"h2c")
}

/// `content_length` becomes the same CGI variable as `content-length`: for those behind it there would be two.
fn look_alike(name: &[u8]) -> Result<(), Fault> {
    if !name.contains(&b'_') {
        return Ok(());
    }
    let dashed: Vec<u8> = name.iter().map(|c| if *c == b'_' { b'-' } else { *c }).collect();
    match known(&dashed) {
        Known::Length | Known::Encoding => Err(bad("a field name that some servers take for a framing field")),
        _ => Ok(()),
    }
}

/// The elements of a list that are not empty (RFC 9110 §5.6.1).
fn words(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|c| *c == b',').map(<[u8]>::trim_ascii).filter(|w| !w.is_empty())
}

/// Digits and nothing else, at most 19 of them.
fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(value.iter().fold(0, |n, d| n * 10 + u64::from(d - b'0')))
}

/// A trailer section as lines that go on.
///
/// # Errors
/// No fields, or such as belong into a head (RFC 9110 §6.5.1).
pub fn trailers(section: &[u8]) -> Result<Vec<u8>, Fault> {
    if section == b"\r\n" {
        return Ok(vec![]);
    }
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let Ok(Status::Complete((_, fields))) = httparse::parse_headers(section, &mut fields) else {
        return Err(bad("trailers that are no fields"));
    };
    let mut out = Vec::with_capacity(section.len());
    for field in fields {
        if known(field.name.as_bytes()) != Known::None || field.name.eq_ignore_ascii_case("trailer") {
            return Err(bad("a trailer that belongs into a head"));
        }
        look_alike(field.name.as_bytes())?;
        line(&mut out, field.name.as_bytes(), field.value);
    }
    Ok(out)
}

/// Writes a field.
pub fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
