//! Frames to bytes and back: the 9-byte header, the fixed payloads and the numbers of RFC 9113 §4, §6, §7.
//!
//! Knows the layout of frames and nothing of connections, streams or what a frame means.

/// Length of every frame header (RFC 9113 §4.1).
pub const HEADER_LEN: usize = 9;
/// The client connection preface (RFC 9113 §3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Largest payload we accept and, unless the peer allows no more, the largest we send (SETTINGS_MAX_FRAME_SIZE's
/// initial value; RFC 9113 §6.5.2). We never raise it: a bigger frame only blocks the streams behind it.
pub const MAX_FRAME: usize = 16_384;
/// Largest flow-control window (RFC 9113 §6.9.1).
pub const MAX_WINDOW: i64 = (1 << 31) - 1;

/// Frame types (RFC 9113 §6).
pub mod kind {
    #![allow(missing_docs)]
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Frame flags (RFC 9113 §6).
pub mod flag {
    #![allow(missing_docs)]
    pub const END_STREAM: u8 = 0x1;
    pub const ACK: u8 = 0x1;
    pub const END_HEADERS: u8 = 0x4;
    pub const PADDED: u8 = 0x8;
    pub const PRIORITY: u8 = 0x20;
}

/// SETTINGS identifiers (RFC 9113 §6.5.2).
pub mod setting {
    #![allow(missing_docs)]
    pub const HEADER_TABLE_SIZE: u16 = 1;
    pub const ENABLE_PUSH: u16 = 2;
    pub const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub const INITIAL_WINDOW_SIZE: u16 = 4;
    pub const MAX_FRAME_SIZE: u16 = 5;
    pub const MAX_HEADER_LIST_SIZE: u16 = 6;
}

/// An error code as it stands on the wire; unknown ones pass through unchanged (RFC 9113 §7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ErrorCode(pub u32);

#[allow(missing_docs)]
impl ErrorCode {
    pub const NO_ERROR: Self = Self(0);
    pub const PROTOCOL_ERROR: Self = Self(1);
    pub const INTERNAL_ERROR: Self = Self(2);
    pub const FLOW_CONTROL_ERROR: Self = Self(3);
    pub const SETTINGS_TIMEOUT: Self = Self(4);
    pub const STREAM_CLOSED: Self = Self(5);
    pub const FRAME_SIZE_ERROR: Self = Self(6);
    pub const REFUSED_STREAM: Self = Self(7);
    pub const CANCEL: Self = Self(8);
    pub const COMPRESSION_ERROR: Self = Self(9);
    pub const ENHANCE_YOUR_CALM: Self = Self(11);
}

/// A frame header; `len` is the payload's length in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameHeader {
    /// Payload length, bytes.
    pub len: usize,
    /// Frame type; see [`kind`].
    pub kind: u8,
    /// Flags; see [`flag`].
    pub flags: u8,
    /// Stream identifier, reserved bit removed.
    pub stream: u32,
}

impl FrameHeader {
    /// Reads the first 9 bytes; None if there are fewer.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let b = bytes.first_chunk::<HEADER_LEN>()?;
        Some(Self {
            len: usize::from(b[0]) << 16 | usize::from(b[1]) << 8 | usize::from(b[2]),
            kind: b[3],
            flags: b[4],
            stream: u32::from_be_bytes([b[5], b[6], b[7], b[8]]) & 0x7fff_ffff,
        })
    }

    /// Is `bit` set?
    pub fn has(&self, bit: u8) -> bool {
        self.flags & bit != 0
    }
}

/// Appends a frame header. `len` must be below 2^24; callers cut payloads at [`MAX_FRAME`].
pub fn put_header(out: &mut Vec<u8>, len: usize, kind: u8, flags: u8, stream: u32) {
    let l = (len as u32).to_be_bytes();
    let s = stream.to_be_bytes();
    out.extend_from_slice(&[l[1], l[2], l[3], kind, flags, s[0], s[1], s[2], s[3]]);
}

/// Appends a SETTINGS frame with these values.
pub fn put_settings(out: &mut Vec<u8>, values: &[(u16, u32)]) {
    put_header(out, values.len() * 6, kind::SETTINGS, 0, 0);
    for (id, value) in values {
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// Appends the acknowledgement of a SETTINGS frame.
pub fn put_settings_ack(out: &mut Vec<u8>) {
    put_header(out, 0, kind::SETTINGS, flag::ACK, 0);
}

/// Appends a PING, or with `ack` the answer to one.
pub fn put_ping(out: &mut Vec<u8>, payload: [u8; 8], ack: bool) {
    put_header(out, 8, kind::PING, if ack { flag::ACK } else { 0 }, 0);
    out.extend_from_slice(&payload);
}

/// Appends a WINDOW_UPDATE; `increment` is 1 to 2^31-1.
pub fn put_window_update(out: &mut Vec<u8>, stream: u32, increment: u32) {
    put_header(out, 4, kind::WINDOW_UPDATE, 0, stream);
    out.extend_from_slice(&increment.to_be_bytes());
}

/// Appends a RST_STREAM.
pub fn put_reset(out: &mut Vec<u8>, stream: u32, code: ErrorCode) {
    put_header(out, 4, kind::RST_STREAM, 0, stream);
    out.extend_from_slice(&code.0.to_be_bytes());
}

/// Appends a GOAWAY with a short debug text (RFC 9113 §6.8).
pub fn put_goaway(out: &mut Vec<u8>, last: u32, code: ErrorCode, text: &str) {
    put_header(out, 8 + text.len(), kind::GOAWAY, 0, 0);
    out.extend_from_slice(&last.to_be_bytes());
    out.extend_from_slice(&code.0.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// A big-endian u32 at the start of `bytes`; 0 if there are fewer than four (callers have checked the length).
pub fn read_u32(bytes: &[u8]) -> u32 {
    bytes.first_chunk::<4>().map_or(0, |b| u32::from_be_bytes(*b))
}

/// The payload without its padding (RFC 9113 §6.1): the range within the payload, or None if the padding is
/// longer than the payload.
pub fn unpad(payload: &[u8], padded: bool) -> Option<(usize, usize)> {
    if !padded {
        return Some((0, payload.len()));
    }
    let pad = usize::from(*payload.first()?);
    let end = payload.len().checked_sub(pad)?;
    (end >= 1).then_some((1, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_the_round_trip() {
        let mut out = Vec::new();
        put_header(&mut out, 0x01_02_03, kind::DATA, 5, 0x7fff_fffe);
        let h = FrameHeader::parse(&out).unwrap();
        assert_eq!((h.len, h.kind, h.flags, h.stream), (0x01_02_03, 0, 5, 0x7fff_fffe));
    }

    #[test]
    fn the_reserved_bit_is_ignored() {
        let h = FrameHeader::parse(&[0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]).unwrap();
        assert_eq!(h.stream, 0x7fff_ffff);
    }

    #[test]
    fn a_short_header_is_not_a_header() {
        assert!((0..HEADER_LEN).all(|n| FrameHeader::parse(&[0; HEADER_LEN][..n]).is_none()));
    }

    #[test]
    fn padding_longer_than_the_payload_is_refused() {
        assert_eq!(unpad(&[2, 1, 0, 0], true), Some((1, 2)));
        assert_eq!(unpad(&[3, 0, 0, 0], true), Some((1, 1)));
        assert_eq!(unpad(&[4, 0, 0, 0], true), None);
        assert_eq!(unpad(&[], true), None);
        assert_eq!(unpad(&[9], false), Some((0, 1)));
    }
}
