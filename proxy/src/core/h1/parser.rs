//! One direction of an HTTP/1.x connection: bytes in, messages out, one after the other.
//!
//! [`Parser::next`] eats input as far as it makes a whole head, a piece of a body or its end. After the end it takes
//! nothing until [`Parser::again`]: messages are served in order, and what a client sends ahead waits. The owner
//! keeps what is not taken and offers it again with more behind it.

use std::rc::Rc;

use super::body::{Body, Framing, Step};
use super::head::{self, Asks, Request, Response};
use super::limits::{Limits, MAX_FIELDS};
use super::lines::{section, Bounds, Scan};
use super::{bad, Fault};

/// Empty lines that may stand before a request (RFC 9112 §2.2); some clients send one behind a body.
const EMPTY_LINES: u8 = 4;

/// What comes in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A request's head.
    Request(Box<Request>),
    /// A response's head. After an interim one another follows.
    Response(Box<Response>),
    /// Payload: `from..to` of the input.
    Data {
        /// First byte.
        from: usize,
        /// One past the last byte.
        to: usize,
    },
    /// The message is over.
    End {
        /// Trailers as lines that go on, or nothing.
        trailers: Vec<u8>,
    },
}

#[derive(Clone, Debug)]
enum State {
    Head,
    Body(Body),
    Done,
}

/// See the module's text.
#[derive(Clone, Debug)]
pub struct Parser {
    limits: Rc<Limits>,
    state: State,
    scan: Scan,
    /// What the next message answers; None where requests are read.
    answers: Option<Asks>,
    framing: Framing,
    empty: u8,
    interim: u32,
}

impl Parser {
    /// Reads requests.
    pub fn requests(limits: Rc<Limits>) -> Self {
        Self {
            limits,
            state: State::Head,
            scan: Scan::default(),
            answers: None,
            framing: Framing::None,
            empty: 0,
            interim: 0,
        }
    }

    /// Reads responses; [`Parser::expect`] says to what.
    pub fn responses(limits: Rc<Limits>) -> Self {
        Self { state: State::Done, answers: Some(Asks::default()), ..Self::requests(limits) }
    }

    /// A message may follow.
    pub fn again(&mut self) {
        (self.state, self.scan, self.empty, self.interim) = (State::Head, Scan::default(), 0, 0);
    }

    /// An answer to such a request follows.
    pub fn expect(&mut self, asks: Asks) {
        self.answers = Some(asks);
        self.again();
    }

    /// From here on all bytes are payload.
    pub fn tunnel(&mut self) {
        (self.state, self.framing) = (State::Body(Body::new(Framing::Tunnel)), Framing::Tunnel);
    }

    /// Has a head begun that is not whole yet?
    pub fn in_head(&self, waiting: usize) -> bool {
        matches!(self.state, State::Head) && waiting > 0
    }

    /// Is the end of the connection the end of the message?
    pub fn ends_by_close(&self) -> bool {
        matches!(self.state, State::Body(_)) && matches!(self.framing, Framing::Close | Framing::Tunnel)
    }

    /// Takes from `input` at `at`, which moves: the next event, or None until there is more.
    ///
    /// # Errors
    /// A message that is none, or an ambiguous one: nothing more can be read here.
    pub fn next(&mut self, input: &[u8], at: &mut usize) -> Result<Option<Event>, Fault> {
        match &mut self.state {
            State::Head => self.head(input, at),
            State::Body(body) => Ok(match body.next(input, at, &self.limits)? {
                Step::Data { from, to } => Some(Event::Data { from, to }),
                Step::More => None,
                Step::End { trailers } => {
                    self.state = State::Done;
                    Some(Event::End { trailers })
                }
            }),
            State::Done => Ok(None),
        }
    }

    fn head(&mut self, input: &[u8], at: &mut usize) -> Result<Option<Event>, Fault> {
        while self.answers.is_none() && self.scan == Scan::default() && input[*at..].starts_with(b"\r\n") {
            *at += 2;
            self.empty += 1;
            if self.empty > EMPTY_LINES {
                return Err(bad("empty lines instead of a request"));
            }
        }
        let rest = &input[*at..];
        if self.answers.is_none() && rest == b"\r" {
            return Ok(None);
        }
        let bounds = Bounds { first: self.limits.line, bytes: self.limits.head, lines: MAX_FIELDS + 1 };
        let Some(n) = section(rest, &mut self.scan, bounds)? else { return Ok(None) };
        let section = &rest[..n];
        self.scan = Scan::default();
        *at += n;
        let Some(asks) = self.answers else {
            let request = head::request(section)?;
            self.framing = request.framing;
            self.state = State::Body(Body::new(self.framing));
            return Ok(Some(Event::Request(Box::new(request))));
        };
        let response = head::response(section, asks)?;
        if response.interim() {
            self.interim += 1;
            if self.interim > self.limits.interim {
                return Err(bad("interim answers without end"));
            }
        } else {
            self.framing = response.framing;
            self.state = State::Body(Body::new(self.framing));
        }
        Ok(Some(Event::Response(Box::new(response))))
    }
}
