//! One request on its way: which streams carry it, and what is needed to send it again.
//!
//! Knows slots and numbers; does nothing itself.

use std::net::SocketAddr;
use std::rc::Rc;

use crate::core::h2::headers::Headers;
use crate::core::h2::limits::Nanos;
use crate::core::h2::table::Slot;

/// A connection's number, the same for the core and for whoever owns its socket.
pub type ConnId = u32;
/// A call's number.
pub type CallId = u32;

/// A time that does not come.
pub const NEVER: Nanos = Nanos::MAX;

/// A stream of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leg {
    /// The connection.
    pub conn: ConnId,
    /// The stream's slot in it.
    pub slot: Slot,
}

/// What a call ended with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Code {
    /// A gRPC status, 0 to 16.
    Grpc(u8),
    /// A status of plain HTTP.
    Http(u16),
}

impl Code {
    /// Does it speak against the endpoint? UNKNOWN, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, INTERNAL, UNAVAILABLE and
    /// DATA_LOSS; 5xx and 429 of plain HTTP. All else is the caller's doing, or an answer as good as any.
    pub fn failed(self) -> bool {
        match self {
            Self::Grpc(status) => matches!(status, 2 | 4 | 8 | 13 | 14 | 15),
            Self::Http(status) => status == 429 || (500..600).contains(&status),
        }
    }
}

/// One request and its response.
#[derive(Debug)]
pub struct Call {
    /// Whose endpoints it goes to.
    pub target: u32,
    /// Its client's stream, until that is closed.
    pub down: Option<Leg>,
    /// Its server's stream, from the pick until that is closed.
    pub up: Option<Leg>,
    /// The endpoint picked last.
    pub endpoint: Option<u32>,
    /// It is for the endpoint at this very address.
    pub pod: Option<SocketAddr>,
    /// The request's head.
    pub fields: Option<Rc<Headers>>,
    /// The request's trailers, if they came before there was a stream for them.
    pub trailers: Option<Rc<Headers>>,
    /// The request's body so far, as long as it may be sent again, or until there is a stream for it.
    pub body: Vec<u8>,
    /// Is `body` all there was so far?
    pub whole: bool,
    /// Has the client ended its request?
    pub ended: bool,
    /// When the request came.
    pub started: Nanos,
    /// When its head went to the endpoint picked last.
    pub sent: Nanos,
    /// When the request must have ended ([`NEVER`]: whenever).
    pub deadline: Nanos,
    /// When its answer's head came.
    pub answer_at: Option<Nanos>,
    /// The endpoint has answered (the pool knows).
    pub answered: bool,
    /// A final head was sent to the client: no second try.
    pub responded: bool,
    /// Picks so far.
    pub tries: u8,
    /// Of those, second tries after a failure.
    pub retried: u8,
    /// How it ended, once that is known.
    pub code: Option<Code>,
    /// Did the endpoint fail it? None until the endpoint has told, and for ever if the client gave up before.
    pub failed: Option<bool>,
    /// It waits for an endpoint since then.
    pub waiting: Option<Nanos>,
    /// It came with the bytes being read now and has not been sent anywhere yet.
    pub fresh: bool,
    used: bool,
}

impl Call {
    /// Is it a gRPC call, by its content type?
    pub fn grpc(&self) -> bool {
        self.fields.as_ref().is_some_and(|f| f.head().grpc)
    }

    /// The client gave up. That is how the call ended, unless it had ended already; a gRPC answer that has not told its
    /// status is UNKNOWN (2) only until then.
    pub fn cancel(&mut self) {
        if self.failed.is_none() && matches!(self.code, None | Some(Code::Grpc(2))) {
            self.code = Some(Code::Grpc(1));
        }
    }
}

/// All calls: a slab; a finished call's buffers serve the next one.
#[derive(Debug, Default)]
pub struct Calls {
    calls: Vec<Call>,
    free: Vec<CallId>,
}

/// A finished call's body buffer is kept for the next one up to this many bytes.
const KEEP_BODY: usize = 4 << 10;

impl Calls {
    /// A new call from a client's stream.
    pub fn insert(&mut self, target: u32, down: Leg, fields: Rc<Headers>, ended: bool, now: Nanos) -> CallId {
        let body = Vec::new();
        let mut call = Call {
            target,
            down: Some(down),
            up: None,
            endpoint: None,
            pod: None,
            fields: Some(fields),
            trailers: None,
            body,
            whole: true,
            ended,
            started: now,
            sent: now,
            deadline: NEVER,
            answer_at: None,
            answered: false,
            responded: false,
            tries: 0,
            retried: 0,
            code: None,
            failed: None,
            waiting: Some(now),
            fresh: true,
            used: true,
        };
        let Some(id) = self.free.pop() else {
            self.calls.push(call);
            return (self.calls.len() - 1) as CallId;
        };
        let old = &mut self.calls[id as usize];
        std::mem::swap(&mut call.body, &mut old.body);
        *old = call;
        id
    }

    /// A call in use.
    pub fn get(&self, id: CallId) -> Option<&Call> {
        self.calls.get(id as usize).filter(|c| c.used)
    }

    /// A call in use.
    pub fn get_mut(&mut self, id: CallId) -> Option<&mut Call> {
        self.calls.get_mut(id as usize).filter(|c| c.used)
    }

    /// Calls in use, with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (CallId, &Call)> {
        self.calls.iter().enumerate().filter(|(_, c)| c.used).map(|(i, c)| (i as CallId, c))
    }

    /// Frees a call.
    pub fn remove(&mut self, id: CallId) {
        let Some(call) = self.calls.get_mut(id as usize).filter(|c| c.used) else { return };
        call.used = false;
        call.fresh = false;
        call.fields = None;
        call.trailers = None;
        call.body.clear();
        if call.body.capacity() > KEEP_BODY {
            call.body = Vec::new();
        }
        self.free.push(id);
    }

    /// Calls in use.
    pub fn len(&self) -> usize {
        self.calls.len() - self.free.len()
    }
}
