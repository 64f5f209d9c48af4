//! What a header list says: request line, status, gRPC status; and whether HTTP/2 allows it (RFC 9113 §8).
//!
//! A list is read once and the result kept with it, so a list that repeats (the decoder hands out the same one)
//! costs nothing. Knows header lists; nothing of streams, frames or where a message goes.

use super::headers::Headers;
use super::limits::Nanos;

/// A message's head, read and checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    /// What is wrong with a field, if anything; see [`Head::fault`].
    field_fault: Option<&'static str>,
    /// Which pseudo-headers there are, as bits.
    pseudo: u8,
    bad_path: bool,
    /// `:status`, or 0 when there is none.
    pub status: u16,
    /// `grpc-status`; 2 (UNKNOWN) when it is there and no number from 0 to 16.
    pub grpc_status: Option<u8>,
    /// Is the content type one of gRPC's?
    pub grpc: bool,
    /// `grpc-timeout`, if given and well-formed; see [`grpc_timeout`].
    pub timeout: Option<Nanos>,
    /// `content-length`, if given.
    pub length: Option<u64>,
    /// Is the method CONNECT?
    pub connect: bool,
}

/// What a list is supposed to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// A request's head.
    Request,
    /// A response's head, 1xx included.
    Response,
    /// Trailers of either.
    Trailers,
}

impl Head {
    /// Reads and checks a list. Never fails: faults are reported by [`Head::fault`].
    pub fn read(list: &Headers) -> Head {
        let mut reader = Reader::default();
        for field in list.iter() {
            if let Err(fault) = reader.field(field.name, field.value) {
                reader.fault.get_or_insert(fault);
            }
        }
        Head {
            field_fault: reader.fault,
            pseudo: reader.seen,
            bad_path: reader.scheme_http && !reader.path_ok(),
            status: reader.status,
            grpc_status: reader.grpc_status,
            grpc: reader.grpc,
            timeout: reader.timeout,
            length: reader.length,
            connect: reader.connect,
        }
    }

    /// What is wrong with the list as this part of a message, if anything: it is malformed (RFC 9113 §8.1.1).
    pub fn fault(&self, part: Part) -> Option<&'static str> {
        if self.field_fault.is_some() {
            return self.field_fault;
        }
        match part {
            Part::Request if self.connect => {
                (self.pseudo != METHOD | AUTHORITY).then_some("CONNECT wants :method and :authority only")
            }
            Part::Request if self.pseudo & !AUTHORITY != METHOD | SCHEME | PATH => {
                Some("a request wants :method, :scheme and :path")
            }
            Part::Request if self.bad_path => Some("a path without a slash in front"),
            Part::Response if self.pseudo != STATUS => Some("a response wants :status"),
            Part::Trailers if self.pseudo != 0 => Some("pseudo-headers in trailers"),
            _ => None,
        }
    }
}

#[derive(Default)]
struct Reader<'a> {
    fault: Option<&'static str>,
    regular: bool,
    seen: u8,
    path: &'a [u8],
    authority: Option<&'a [u8]>,
    options: bool,
    connect: bool,
    scheme_http: bool,
    status: u16,
    grpc_status: Option<u8>,
    grpc: bool,
    timeout: Option<Nanos>,
    length: Option<u64>,
}

const METHOD: u8 = 1;
const SCHEME: u8 = 2;
const PATH: u8 = 4;
const AUTHORITY: u8 = 8;
const STATUS: u8 = 16;

impl<'a> Reader<'a> {
    /// A path begins with a slash, but for `OPTIONS *` (RFC 9113 §8.3.1; CVE-2026-33186).
    fn path_ok(&self) -> bool {
        self.path.first() == Some(&b'/') || (self.options && self.path == b"*")
    }

    fn field(&mut self, name: &[u8], value: &'a [u8]) -> Result<(), &'static str> {
        if name.first() == Some(&b':') {
            return self.pseudo(name, value);
        }
        self.regular = true;
        if !name_ok(name) {
            return Err("a field name has a character that HTTP/2 forbids");
        }
        if !value_ok(value) {
            return Err("a field value has a character that HTTP forbids");
        }
        match name {
            b"connection" | b"proxy-connection" | b"keep-alive" | b"transfer-encoding" | b"upgrade" => {
                return Err("a connection-specific field");
            }
            b"te" if !value.eq_ignore_ascii_case(b"trailers") => return Err("te is not trailers"),
            // Whoever routes by one and whoever routes by the other must not be told different things.
            b"host" if self.authority.is_some_and(|a| !a.eq_ignore_ascii_case(value)) => {
                return Err("host is not :authority");
            }
            b"content-type" => self.grpc = value.starts_with(b"application/grpc"),
            b"grpc-timeout" => self.timeout = grpc_timeout(value),
            b"grpc-status" => self.grpc_status = Some(grpc_code(value)),
            b"content-length" => {
                let n = decimal(value).ok_or("content-length is no number")?;
                if self.length.is_some_and(|old| old != n) {
                    return Err("two content-lengths");
                }
                self.length = Some(n);
            }
            _ => {}
        }
        Ok(())
    }

    fn pseudo(&mut self, name: &[u8], value: &'a [u8]) -> Result<(), &'static str> {
        let bit = match name {
            b":method" => METHOD,
            b":scheme" => SCHEME,
            b":path" => PATH,
            b":authority" => AUTHORITY,
            b":status" => STATUS,
            _ => return Err("an unknown pseudo-header"),
        };
        if self.regular {
            return Err("a pseudo-header after a field");
        }
        if self.seen & bit != 0 {
            return Err("a pseudo-header twice");
        }
        if !value_ok(value) {
            return Err("a pseudo-header with a character that HTTP forbids");
        }
        self.seen |= bit;
        match bit {
            METHOD => {
                self.connect = value == b"CONNECT";
                self.options = value == b"OPTIONS";
            }
            AUTHORITY => self.authority = Some(value),
            SCHEME => self.scheme_http = matches!(value, b"http" | b"https"),
            PATH => self.path = value,
            STATUS => {
                self.status = match (value.len(), decimal(value)) {
                    (3, Some(n)) if n >= 100 => n as u16,
                    _ => return Err("a status that is no number"),
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Lower-case token characters only (RFC 9113 §8.2.1); an empty name is refused (CVE-2023-25725).
fn name_ok(name: &[u8]) -> bool {
    !name.is_empty()
        && name.iter().all(|&c| {
            matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'!' | b'#' | b'$' | b'%'
                | b'&' | b'\'' | b'*' | b'+' | b'^' | b'`' | b'|' | b'~')
        })
}

/// No NUL, CR, LF, and no white space at the ends (RFC 9113 §8.2.1).
fn value_ok(value: &[u8]) -> bool {
    let edge = |c: Option<&u8>| matches!(c, Some(b' ' | b'\t'));
    !edge(value.first()) && !edge(value.last()) && !value.iter().any(|c| matches!(c, 0 | b'\r' | b'\n'))
}

fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(value.iter().fold(0, |n, d| n * 10 + u64::from(d - b'0')))
}

/// The number of a `grpc-status` value; anything that is none of the 17 codes is UNKNOWN (2).
pub fn grpc_code(value: &[u8]) -> u8 {
    match decimal(value) {
        Some(n @ 0..=16) => n as u8,
        _ => 2,
    }
}

/// A `grpc-timeout` value in ns: 1 to 8 digits and a unit, H M S m u n (gRPC over HTTP/2, "Requests"). What does not
/// fit saturates: 99999999H is legal. None for a malformed one, which means no deadline here and goes on as it is:
/// servers differ (grpc-go answers INTERNAL, C-core ignores it), and the client is to see what its server does.
pub fn grpc_timeout(value: &[u8]) -> Option<Nanos> {
    let (unit, digits) = value.split_last()?;
    let n = decimal(digits).filter(|_| digits.len() <= 8)?;
    let scale: Nanos = match unit {
        b'H' => 3_600_000_000_000,
        b'M' => 60_000_000_000,
        b'S' => 1_000_000_000,
        b'm' => 1_000_000,
        b'u' => 1_000,
        b'n' => 1,
        _ => return None,
    };
    Some(n.saturating_mul(scale))
}

/// The names of gRPC's status codes, by number.
pub const GRPC_NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn list(fields: &[(&str, &str)]) -> Headers {
        let mut h = Headers::new();
        for (n, v) in fields {
            h.push(n.as_bytes(), v.as_bytes());
        }
        h
    }

    const GET: [(&str, &str); 3] = [(":method", "GET"), (":scheme", "http"), (":path", "/")];

    fn request_with(extra: &[(&str, &str)]) -> Head {
        Head::read(&list(&[&GET[..], extra].concat()))
    }

    fn fault(fields: &[(&str, &str)], part: Part) -> bool {
        Head::read(&list(fields)).fault(part).is_some()
    }

    #[test]
    fn an_ordinary_grpc_request_is_fine() {
        let head = request_with(&[("te", "trailers"), ("content-type", "application/grpc+proto")]);
        assert_eq!((head.fault(Part::Request), head.grpc), (None, true));
    }

    #[test]
    fn malformed_requests_are_refused() {
        for extra in [
            [("connection", "close")],
            [("transfer-encoding", "chunked")],
            [("te", "gzip")],
            [("Upper", "x")],
            [("", "x")],
            [("a b", "x")],
            [("x", "a\r\nb")],
            [("x", " a")],
            [("content-length", "-1")],
            [(":path", "/again")],
            [(":status", "200")],
            [(":unknown", "x")],
        ] {
            assert!(request_with(&extra).fault(Part::Request).is_some(), "{extra:?}");
        }
        for extra in [[("content-length", "1"), ("content-length", "2")], [("x", "y"), (":authority", "a")]] {
            assert!(request_with(&extra).fault(Part::Request).is_some(), "{extra:?}");
        }
    }

    #[test]
    fn a_path_without_a_slash_and_a_second_authority_are_refused() {
        let request = |method, path, extra: &[(&str, &str)]| {
            let head = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "a")];
            fault(&[&head[..], extra].concat(), Part::Request)
        };
        assert!(request("POST", "", &[]) && request("POST", "x/y", &[]) && request("GET", "*", &[]));
        assert!(!request("OPTIONS", "*", &[]) && !request("POST", "/x", &[]));
        assert!(request("POST", "/x", &[("host", "b")]) && !request("POST", "/x", &[("host", "A")]));
    }

    #[test]
    fn each_missing_pseudo_header_is_noticed() {
        for skip in 0..3 {
            let some: Vec<_> = GET.iter().enumerate().filter(|(i, _)| *i != skip).map(|(_, f)| *f).collect();
            assert!(fault(&some, Part::Request));
        }
        assert!(fault(&[("x", "y")], Part::Response));
        assert!(fault(&[(":status", "200")], Part::Trailers));
        assert!(fault(&[(":status", "2000")], Part::Response));
    }

    #[test]
    fn timeouts_of_all_units_are_read_and_saturate() {
        let all: [(&[u8], Nanos); 7] = [
            (b"1H", 3_600_000_000_000),
            (b"2M", 120_000_000_000),
            (b"3S", 3_000_000_000),
            (b"4m", 4_000_000),
            (b"5u", 5_000),
            (b"6n", 6),
            (b"99999999H", u64::MAX),
        ];
        for (text, ns) in all {
            assert_eq!(grpc_timeout(text), Some(ns), "{text:?}");
        }
        assert_eq!(request_with(&[("grpc-timeout", "00000100m")]).timeout, Some(100_000_000));
    }

    #[test]
    fn a_malformed_timeout_is_no_deadline() {
        for text in ["", "m", "1", "1x", "-1m", "1.5S", "123456789m", " 1m", "1 m", "1mm"] {
            assert_eq!(grpc_timeout(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn a_grpc_status_that_is_no_code_is_unknown() {
        let trailers = |v| Head::read(&list(&[("grpc-status", v)])).grpc_status;
        assert_eq!(trailers("14"), Some(14));
        assert_eq!(trailers("17"), Some(2));
        assert_eq!(trailers("x"), Some(2));
        assert_eq!(trailers("99999999999999999999"), Some(2));
    }
}
