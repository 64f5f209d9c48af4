//! Where a head or trailer section ends, every line of it ended by CR LF and nothing else.
//!
//! A bare LF, a bare CR, a NUL or a folded line (RFC 9112 §2.2, §5.2) reads differently from one implementation to
//! the next, so each is a fault as soon as it is seen. Each byte is looked at once, however the input is cut.

use super::{bad, Fault};

/// How far a section has been looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Scan {
    at: usize,
    line: usize,
    lines: usize,
}

/// What a section may be.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes of its first line.
    pub first: usize,
    /// Bytes in all.
    pub bytes: usize,
    /// Lines, the empty one not counted.
    pub lines: usize,
}

const TOO_LARGE: Fault = Fault { status: 431, reason: "the header fields are too large" };
const TOO_LONG: Fault = Fault { status: 414, reason: "the request line is too long" };

/// The length of the section that `input` begins with, its empty line included; None if more must come. `scan` goes
/// from call to call while the same section grows.
///
/// # Errors
/// A line that is not ended properly or is folded; too many bytes or lines.
pub fn section(input: &[u8], scan: &mut Scan, bounds: Bounds) -> Result<Option<usize>, Fault> {
    while scan.at < input.len() {
        if scan.at == scan.line && matches!(input[scan.at], b' ' | b'\t') {
            return Err(bad("a line that begins with white space"));
        }
        let Some(n) = input[scan.at..].iter().position(|c| matches!(c, 0 | b'\r' | b'\n')) else {
            scan.at = input.len();
            break;
        };
        scan.at += n;
        match (input[scan.at], input.get(scan.at + 1)) {
            (b'\r', None) => break,
            (b'\r', Some(b'\n')) => {}
            (b'\r', _) => return Err(bad("a CR without LF")),
            (b'\n', _) => return Err(bad("a LF without CR")),
            _ => return Err(bad("a NUL")),
        }
        let empty = scan.at == scan.line;
        let first = scan.line == 0;
        scan.at += 2;
        if scan.at > bounds.bytes || scan.lines > bounds.lines {
            return Err(TOO_LARGE);
        }
        if empty {
            return Ok(Some(scan.at));
        }
        if first && scan.at > bounds.first {
            return Err(TOO_LONG);
        }
        scan.line = scan.at;
        scan.lines += 1;
    }
    match () {
        () if scan.line == 0 && input.len() > bounds.first => Err(TOO_LONG),
        // Not even one more byte: whoever waits for it may have no room for more.
        () if input.len() >= bounds.bytes || scan.lines > bounds.lines => Err(TOO_LARGE),
        () => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { first: 20, bytes: 60, lines: 4 };

    fn whole(input: &[u8]) -> Result<Option<usize>, Fault> {
        section(input, &mut Scan::default(), BOUNDS)
    }

    #[test]
    fn a_section_ends_after_its_empty_line_however_it_is_cut() {
        let input = b"GET / HTTP/1.1\r\nA: b\r\n\r\nrest";
        let mut scan = Scan::default();
        for n in 0..24 {
            assert_eq!(section(&input[..n], &mut scan, BOUNDS), Ok(None), "{n}");
        }
        assert_eq!(section(&input[..24], &mut scan, BOUNDS), Ok(Some(24)));
        assert_eq!(whole(input), Ok(Some(24)));
        assert_eq!(whole(b"\r\n"), Ok(Some(2)));
    }

    #[test]
    fn lines_that_end_otherwise_are_faults_at_once() {
        for input in [&b"GET /\n"[..], b"GET /\rA", b"A\0", b"GET /\r\n folded", b"GET /\r\n\tfolded", b" GET", b"\n"] {
            assert!(whole(input).is_err(), "{:?}", input.escape_ascii().to_string());
        }
    }

    #[test]
    fn sizes_and_numbers_are_bounded_before_the_end_has_come() {
        assert_eq!(whole(&[b'a'; 21]), Err(TOO_LONG));
        assert_eq!(whole(b"a\r\nb\r\nc\r\nd\r\ne\r\n"), Err(TOO_LARGE));
        assert_eq!(whole(&[&b"a\r\n"[..], &[b'b'; 58]].concat()), Err(TOO_LARGE));
        assert_eq!(whole(b"a\r\nb\r\nc\r\nd\r\n\r\n"), Ok(Some(14)));
    }
}
