//! The first bytes of a connection: HTTP/2 by its preface, HTTP/1.x by its request line, or something else.
//!
//! Decided from any prefix, by the first byte that tells. Not HTTP/2 as soon as the bytes differ from the preface
//! (RFC 9113 §3.4); not HTTP/1.x as soon as they cannot become `METHOD SP target SP HTTP/1.` any more (RFC 9112 §3).
//! A known method alone tells nothing: `GET key` is a command of Redis. What a Service says of its port (`appProtocol`)
//! goes before what bytes and silence tell; see [`Hint`].

use super::h2::frame::PREFACE;

/// What a connection speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// HTTP/2 with prior knowledge.
    Http2,
    /// HTTP/1.x.
    Http1,
    /// Anything else: bytes.
    Opaque,
    /// Too few bytes to tell.
    More,
}

/// What a Service says of its port's protocol, and what it means to a connection that has said nothing yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Hint {
    /// Nothing, or nothing that is known: bytes tell, and a long silence means that the server is to speak first.
    #[default]
    None,
    /// Some HTTP: bytes tell which, and however long the client is silent, it is the one to begin.
    Http,
    /// Bytes that are not to be looked at.
    Opaque,
}

impl Hint {
    /// Reads `appProtocol` (Kubernetes' own names by KEP-3726, the usual short ones, IANA's) and the mark `opaque`.
    pub fn read(app_protocol: Option<&str>, opaque: bool) -> Self {
        match app_protocol.map(str::to_ascii_lowercase).as_deref() {
            _ if opaque => Hint::Opaque,
            Some("http" | "http2" | "h2c" | "grpc" | "grpc-web" | "kubernetes.io/h2c" | "kubernetes.io/ws" | "ws") => {
                Hint::Http
            }
            // TLS hides what is inside.
            Some("tcp" | "tls" | "https" | "wss" | "kubernetes.io/wss" | "grpcs" | "h2") => Hint::Opaque,
            _ => Hint::None,
        }
    }
}

/// Do the first bytes of a server's begin HTTP/2? Its SETTINGS may come before the client has said anything (RFC 9113
/// §3.4), as those of gRPC servers do: it is not a protocol in which the server speaks first. None: too few to tell.
pub fn server_speaks_http2(bytes: &[u8]) -> Option<bool> {
    // Length, type 4, no flags, stream 0; six bytes a setting (§6.5), a frame's length below 2^14.
    let fits = |i: usize, c: u8| match i {
        0 => c == 0,
        1 => c < 0x40,
        3 => c == 4,
        4..=8 => c == 0,
        _ => true,
    };
    if !bytes.iter().take(9).enumerate().all(|(i, c)| fits(i, *c)) {
        return Some(false);
    }
    (bytes.len() >= 9).then(|| (usize::from(bytes[1]) << 8 | usize::from(bytes[2])) % 6 == 0)
}

/// The longest request line that is recognised, bytes: RFC 9112 §3 asks for 8,000 at least, browsers go to 8 KiB and
/// some gateways to 16 KiB.
pub const MAX_LINE: usize = 16 << 10;
/// The longest method, bytes; the longest that is registered is UPDATEREDIRECTREF.
pub const MAX_METHOD: usize = 32;

/// What `bytes`, the first of a connection, begin.
pub fn detect(bytes: &[u8]) -> Protocol {
    let n = bytes.len().min(PREFACE.len());
    if bytes[..n] != PREFACE[..n] {
        request_line(bytes)
    } else if n == PREFACE.len() {
        Protocol::Http2
    } else {
        Protocol::More
    }
}

/// Do they begin `METHOD SP target SP HTTP/1.`?
fn request_line(bytes: &[u8]) -> Protocol {
    let mut words = bytes.splitn(3, |c| *c == b' ');
    let (method, target, version) = (words.next().unwrap_or_default(), words.next(), words.next());
    let is_method = method.len() <= MAX_METHOD && method.iter().all(|c| is_token(*c));
    let Some(target) = target.filter(|_| is_method && !method.is_empty()) else {
        return if is_method && target.is_none() { Protocol::More } else { Protocol::Opaque };
    };
    if !target.iter().all(u8::is_ascii_graphic) || bytes.len() - version.map_or(0, <[u8]>::len) > MAX_LINE {
        return Protocol::Opaque;
    }
    let Some(version) = version else { return Protocol::More };
    let n = version.len().min(VERSION.len());
    if target.is_empty() || version[..n] != VERSION[..n] {
        Protocol::Opaque
    } else if n == VERSION.len() {
        Protocol::Http1
    } else {
        Protocol::More
    }
}

const VERSION: &[u8] = b"HTTP/1.";

/// A character of a token (RFC 9110 §5.6.2).
pub fn is_token(c: u8) -> bool {
    c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prefix_of_the_preface_wants_more_and_the_whole_is_http2() {
        assert!((0..PREFACE.len()).all(|n| detect(&PREFACE[..n]) == Protocol::More));
        assert_eq!(detect(&[&PREFACE[..], b"more"].concat()), Protocol::Http2);
    }

    #[test]
    fn a_preface_with_one_differing_byte_anywhere_is_not_http2() {
        for i in 0..PREFACE.len() {
            let mut bytes = *PREFACE;
            bytes[i] ^= 1;
            assert_ne!(detect(&bytes), Protocol::Http2);
            assert_ne!(detect(&bytes), Protocol::More);
        }
    }

    #[test]
    fn every_prefix_of_a_request_line_wants_more_until_its_version_tells() {
        for line in ["GET / HTTP/1.1", "PROPFIND http://a/b?c HTTP/1.0", "P * HTTP/1.1", "CONNECT a:1 HTTP/1.9"] {
            let enough = line.len() - 1;
            assert!((0..enough).all(|n| detect(&line.as_bytes()[..n]) == Protocol::More), "{line}");
            assert!((enough..=line.len()).all(|n| detect(&line.as_bytes()[..n]) == Protocol::Http1), "{line}");
        }
    }

    #[test]
    fn other_protocols_are_opaque_by_the_byte_that_tells() {
        for (bytes, at) in [
            (&b"\x16\x03\x01\x02\x00"[..], 1), // TLS
            (b"GET key\r\n", 8),               // Redis, inline
            (b"*1\r\n$4\r\nPING\r\n", 3),      // Redis
            (b"EHLO mail.example\r\n", 18),    // SMTP
            (b"SSH-2.0-OpenSSH_9.2\r\n", 20),
            (b"GET / HTTP/2.0\r\n", 12),
            (b"GET /\r\n", 6), // HTTP/0.9
            (b"GET  / HTTP/1.1", 5),
            (b" / HTTP/1.1", 1),
            (b"\r\nGET / HTTP/1.1", 1),
            (b"AMQP\x00\x00\x09\x01", 5),
            (b"\x00\x00\x00\x08\x04\xd2\x16\x2f", 1), // PostgreSQL
            (b"GET /\xc3\xbc HTTP/1.1", 6),
        ] {
            for n in 0..bytes.len() {
                let wanted = if n < at { Protocol::More } else { Protocol::Opaque };
                assert_eq!(detect(&bytes[..n]), wanted, "{n} bytes of {:?}", bytes.escape_ascii().to_string());
            }
        }
    }

    #[test]
    fn app_protocol_and_the_annotation_say_whether_bytes_are_looked_at() {
        for http in ["http", "HTTP", "grpc", "kubernetes.io/h2c", "kubernetes.io/ws"] {
            assert_eq!(Hint::read(Some(http), false), Hint::Http, "{http}");
            assert_eq!(Hint::read(Some(http), true), Hint::Opaque, "{http}");
        }
        for opaque in ["tcp", "https", "tls", "kubernetes.io/wss"] {
            assert_eq!(Hint::read(Some(opaque), false), Hint::Opaque, "{opaque}");
        }
        assert_eq!(Hint::read(Some("mysql"), false), Hint::None);
        assert_eq!(Hint::read(None, false), Hint::None);
        assert_eq!(Hint::read(None, true), Hint::Opaque);
    }

    #[test]
    fn a_servers_settings_are_told_from_a_greeting_by_any_prefix() {
        for length in [0, 6, 30] {
            let settings = [&[0, 0, length, 4, 0, 0, 0, 0, 0][..], &[0, 3, 0, 0, 0, 100]].concat();
            assert!((0..9).all(|n| server_speaks_http2(&settings[..n]).is_none()));
            assert!((9..=settings.len()).all(|n| server_speaks_http2(&settings[..n]) == Some(true)));
        }
        for other in
            [&b"220 mail\r\n"[..], b"\x4a\0\0\0\x0a8.0", b"\0\0\x07\x04\0\0\0\0\0", b"\0\0\x06\x04\x01\0\0\0\0"]
        {
            assert_eq!(server_speaks_http2(other), Some(false));
        }
    }

    #[test]
    fn a_line_without_end_is_opaque_in_the_end() {
        let line = [b"GET /".to_vec(), vec![b'a'; MAX_LINE]].concat();
        assert_eq!(detect(&line[..MAX_LINE - 10]), Protocol::More);
        assert_eq!(detect(&line), Protocol::Opaque);
        assert_eq!(detect(&[b'A'; MAX_METHOD]), Protocol::More);
        assert_eq!(detect(&[b'A'; MAX_METHOD + 1]), Protocol::Opaque);
    }
}
