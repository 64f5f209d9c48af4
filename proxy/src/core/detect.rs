//! The first bytes of a connection: HTTP/2 by its preface, or something else.
//!
//! Decided from any prefix: as soon as the bytes differ from the preface they are not HTTP/2 (RFC 9113 §3.4).

use super::h2::frame::PREFACE;

/// What a connection speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// HTTP/2 with prior knowledge.
    Http2,
    /// Anything else: bytes.
    Opaque,
    /// Too few bytes to tell.
    More,
}

/// What `bytes`, the first of a connection, begin.
pub fn detect(bytes: &[u8]) -> Protocol {
    let n = bytes.len().min(PREFACE.len());
    if bytes[..n] != PREFACE[..n] {
        Protocol::Opaque
    } else if n == PREFACE.len() {
        Protocol::Http2
    } else {
        Protocol::More
    }
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
    fn one_differing_byte_anywhere_is_opaque() {
        for i in 0..PREFACE.len() {
            let mut bytes = *PREFACE;
            bytes[i] ^= 1;
            assert_eq!(detect(&bytes[..=i]), Protocol::Opaque);
        }
        assert_eq!(detect(b"GET / HTTP/1.1\r\n"), Protocol::Opaque);
    }
}
