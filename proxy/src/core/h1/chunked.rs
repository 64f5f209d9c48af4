//! The chunked coding, read (RFC 9112 §7.1): sizes, data, trailers.
//!
//! A size is hexadecimal digits and nothing else: no sign, no prefix, no white space. Extensions are passed over,
//! within a budget; they concern this hop only. Knows nothing of who sent it.

use super::body::Step;
use super::fields::trailers;
use super::limits::{Limits, MAX_FIELDS};
use super::lines::{section, Bounds, Scan};
use super::{bad, Fault};

/// How far a chunked body has come.
#[derive(Clone, Debug)]
pub struct Chunked {
    state: State,
    /// Extension bytes so far.
    extensions: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// In a size, after so many digits.
    Size {
        digits: u8,
        size: u64,
    },
    Extension {
        size: u64,
    },
    /// The LF that ends a size's line.
    SizeLf {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    Trailers(Scan),
}

const START: State = State::Size { digits: 0, size: 0 };
/// Digits of the largest size: 2^60 - 1 is more than anybody sends and never overflows.
const MAX_DIGITS: u8 = 15;

impl Chunked {
    /// Before the first chunk.
    pub fn new() -> Self {
        Self { state: START, extensions: 0 }
    }

    /// Takes from `input` at `at`, which moves, until there is data, the end, or nothing more to take.
    ///
    /// # Errors
    /// What is not the coding, or too much of it.
    pub fn next(&mut self, input: &[u8], at: &mut usize, limits: &Limits) -> Result<Step, Fault> {
        loop {
            match self.state {
                State::Data { left } => {
                    let n = usize::try_from(left).unwrap_or(usize::MAX).min(input.len() - *at);
                    if n == 0 {
                        return Ok(Step::More);
                    }
                    let from = *at;
                    *at += n;
                    let left = left - n as u64;
                    self.state = if left == 0 { State::DataCr } else { State::Data { left } };
                    return Ok(Step::Data { from, to: *at });
                }
                State::Trailers(mut scan) => {
                    let bounds = Bounds { first: limits.trailers, bytes: limits.trailers, lines: MAX_FIELDS };
                    let found = section(&input[*at..], &mut scan, bounds)?;
                    self.state = State::Trailers(scan);
                    let Some(n) = found else { return Ok(Step::More) };
                    let fields = trailers(&input[*at..*at + n])?;
                    *at += n;
                    return Ok(Step::End { trailers: fields });
                }
                _ => {}
            }
            let Some(byte) = input.get(*at).copied() else { return Ok(Step::More) };
            *at += 1;
            self.state = self.byte(byte, limits)?;
        }
    }

    /// One byte of what is not data.
    fn byte(&mut self, byte: u8, limits: &Limits) -> Result<State, Fault> {
        match (self.state, byte) {
            (State::Size { digits, size }, c) if c.is_ascii_hexdigit() => {
                if digits == MAX_DIGITS {
                    return Err(bad("a chunk size that is too large"));
                }
                let digit = char::from(c).to_digit(16).unwrap_or(0);
                Ok(State::Size { digits: digits + 1, size: size << 4 | u64::from(digit) })
            }
            (State::Size { digits: 0, .. }, _) => Err(bad("a chunk without a size")),
            (State::Size { size, .. } | State::Extension { size }, b'\r') => Ok(State::SizeLf { size }),
            (State::Size { size, .. }, b';') => Ok(State::Extension { size }),
            (State::Size { .. }, _) => Err(bad("a chunk size that is no number")),
            (State::Extension { size }, b'\t' | b' '..=b'~' | 0x80..) => {
                self.extensions += 1;
                if self.extensions > limits.extensions {
                    return Err(bad("too many chunk extensions"));
                }
                Ok(State::Extension { size })
            }
            (State::Extension { .. }, _) => Err(bad("a control character in a chunk extension")),
            (State::SizeLf { size: 0 }, b'\n') => Ok(State::Trailers(Scan::default())),
            (State::SizeLf { size }, b'\n') => Ok(State::Data { left: size }),
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => Ok(START),
            (State::DataCr | State::DataLf, _) => Err(bad("a chunk that is longer than its size")),
            _ => Err(bad("a CR without LF in the chunked coding")),
        }
    }
}

impl Default for Chunked {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Read = (Vec<u8>, Option<Vec<u8>>, usize);

    /// Reads it in pieces of `piece` bytes, what is not taken being offered again: (data, trailers if ended, taken).
    fn read(input: &[u8], piece: usize) -> Result<Read, Fault> {
        let (mut body, mut data, mut at) = (Chunked::new(), vec![], 0);
        for end in (0..input.len()).step_by(piece).map(|n| (n + piece).min(input.len())) {
            loop {
                match body.next(&input[..end], &mut at, &Limits::default())? {
                    Step::Data { from, to } => data.extend_from_slice(&input[from..to]),
                    Step::End { trailers } => return Ok((data, Some(trailers), at)),
                    Step::More => break,
                }
            }
        }
        Ok((data, None, at))
    }

    #[test]
    fn data_and_trailers_come_out_whole_from_every_split() {
        let input = b"5\r\nhello\r\n00A;a=b;c=\"d\"\r\n 0\r\n world\r\n0\r\nSum: 1\r\n\r\nGET /";
        for piece in 1..=input.len() {
            let (data, trailers, at) = read(input, piece).unwrap();
            assert_eq!((&data[..], trailers.as_deref()), (&b"hello 0\r\n world"[..], Some(&b"Sum: 1\r\n"[..])));
            assert_eq!(&input[at..], b"GET /");
        }
    }

    #[test]
    fn no_prefix_ends_the_body() {
        let input = b"5\r\nhello\r\n0\r\n\r\n";
        for n in 0..input.len() {
            assert_eq!(read(&input[..n], 3).unwrap().1, None, "{n}");
        }
    }

    #[test]
    fn what_could_be_read_as_another_size_is_refused() {
        let sizes = [
            "",
            " 5",
            "5 ",
            "5\t",
            "+5",
            "-5",
            "0x5",
            "5h",
            "5,",
            "0 ",
            "5 ;a",
            "\n",
            "5\n",
            "5\r5",
            "1000000000000000",
            "0000000000000005",
            "５",
            "5;a\nb",
            "5;a\0",
            "5;\x7f",
        ];
        for size in sizes {
            let input = format!("{size}\r\nhello\r\n0\r\n\r\n");
            assert!(read(input.as_bytes(), 4).is_err(), "{size:?}");
        }
        for input in
            ["5\r\nhello!\r\n0\r\n\r\n", "5\r\nhello\n0\r\n\r\n", "5\r\nhello\r0\r\n\r\n", "5\r\nhelloX\n0\r\n\r\n"]
        {
            assert!(read(input.as_bytes(), 4).is_err(), "{input:?}");
        }
    }

    #[test]
    fn trailers_that_would_change_the_message_are_refused() {
        for name in ["Transfer-Encoding", "content-length", "Host", "connection", "Upgrade", "a b", ""] {
            let input = format!("0\r\n{name}: x\r\n\r\n");
            assert!(read(input.as_bytes(), 9).is_err(), "{name:?}");
        }
    }

    #[test]
    fn extensions_have_a_budget() {
        let chunk = format!("1;{}\r\nx\r\n", "e".repeat(200));
        assert!(read(chunk.repeat(80).as_bytes(), 1000).is_ok());
        assert!(read(chunk.repeat(90).as_bytes(), 1000).is_err());
    }
}
