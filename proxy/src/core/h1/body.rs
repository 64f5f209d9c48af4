//! Where a body ends (RFC 9112 §6.3), and how it goes on.
//!
//! A body is read and written by its framing alone; chunks are read and written anew, so that nothing of one hop's
//! framing reaches the next. Knows nothing of heads.

use super::chunked::Chunked;
use super::limits::Limits;
use super::Fault;

/// What tells where a message's body ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// There is none.
    None,
    /// Its length.
    Length(u64),
    /// The chunked coding.
    Chunked,
    /// The end of the connection (responses only).
    Close,
    /// No end of a message: from here on the connection carries something else (101, CONNECT).
    Tunnel,
}

/// What reading a body gives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Payload: `from..to` of the input.
    Data {
        /// First byte.
        from: usize,
        /// One past the last byte.
        to: usize,
    },
    /// The body is over.
    End {
        /// Its trailers as lines that go on, or nothing.
        trailers: Vec<u8>,
    },
    /// Nothing more to take from this input.
    More,
}

/// A body being read.
#[derive(Clone, Debug)]
pub enum Body {
    /// So many bytes are still to come.
    Length(u64),
    /// Chunks.
    Chunked(Chunked),
    /// All until the end of the connection.
    Endless,
}

impl Body {
    /// The body of a message with this framing.
    pub fn new(framing: Framing) -> Self {
        match framing {
            Framing::None => Body::Length(0),
            Framing::Length(n) => Body::Length(n),
            Framing::Chunked => Body::Chunked(Chunked::new()),
            Framing::Close | Framing::Tunnel => Body::Endless,
        }
    }

    /// Takes from `input` at `at`, which moves.
    ///
    /// # Errors
    /// Chunks that are none.
    pub fn next(&mut self, input: &[u8], at: &mut usize, limits: &Limits) -> Result<Step, Fault> {
        let rest = input.len() - *at;
        let n = match self {
            Body::Length(0) => return Ok(Step::End { trailers: vec![] }),
            Body::Length(left) => {
                let n = usize::try_from(*left).unwrap_or(usize::MAX).min(rest);
                *left -= n as u64;
                n
            }
            Body::Chunked(chunked) => return chunked.next(input, at, limits),
            Body::Endless => rest,
        };
        if n == 0 {
            return Ok(Step::More);
        }
        let from = *at;
        *at += n;
        Ok(Step::Data { from, to: *at })
    }
}

/// How a body goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wire {
    /// As it is: its length was announced, or the connection's end will tell.
    Raw,
    /// In chunks.
    Chunked,
}

impl Wire {
    /// Writes payload.
    pub fn data(self, out: &mut Vec<u8>, bytes: &[u8]) {
        match self {
            Wire::Chunked if bytes.is_empty() => {}
            Wire::Chunked => {
                out.extend_from_slice(format!("{:x}\r\n", bytes.len()).as_bytes());
                out.extend_from_slice(bytes);
                out.extend_from_slice(b"\r\n");
            }
            Wire::Raw => out.extend_from_slice(bytes),
        }
    }

    /// Writes the end. Trailers are lost where the form has no place for them (RFC 9110 §6.5.1).
    pub fn end(self, out: &mut Vec<u8>, trailers: &[u8]) {
        if self == Wire::Chunked {
            out.extend_from_slice(b"0\r\n");
            out.extend_from_slice(trailers);
            out.extend_from_slice(b"\r\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_takes_its_bytes_and_no_more() {
        let mut body = Body::new(Framing::Length(3));
        let mut at = 1;
        let limits = Limits::default();
        assert_eq!(body.next(b"xab", &mut at, &limits), Ok(Step::Data { from: 1, to: 3 }));
        assert_eq!(body.next(b"xab", &mut at, &limits), Ok(Step::More));
        assert_eq!(body.next(b"xabcd", &mut at, &limits), Ok(Step::Data { from: 3, to: 4 }));
        assert_eq!(body.next(b"xabcd", &mut at, &limits), Ok(Step::End { trailers: vec![] }));
        assert_eq!(at, 4);
    }

    #[test]
    fn chunks_written_are_chunks_read() {
        let mut out = vec![];
        Wire::Chunked.data(&mut out, b"hello");
        Wire::Chunked.data(&mut out, b"");
        Wire::Chunked.data(&mut out, &[7; 300]);
        Wire::Chunked.end(&mut out, b"a: b\r\n");
        let (mut body, mut at, mut data) = (Body::new(Framing::Chunked), 0, vec![]);
        loop {
            match body.next(&out, &mut at, &Limits::default()).unwrap() {
                Step::Data { from, to } => data.extend_from_slice(&out[from..to]),
                Step::End { trailers } => break assert_eq!(trailers, b"a: b\r\n"),
                Step::More => panic!("an end that is none"),
            }
        }
        assert_eq!(data, [&b"hello"[..], &[7; 300]].concat());
    }
}
