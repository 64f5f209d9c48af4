//! The deadline that a client sets with `grpc-timeout`: at its end the server is told to stop and the client gets
//! DEADLINE_EXCEEDED, wherever the call is just then. Waiting for an endpoint and second tries stay within it.
//!
//! No timer per call: the relay keeps the earliest deadline that may be due, a lower bound. When it comes, all calls
//! are looked through for those whose time is over and the bound is taken anew. Most calls end long before their
//! deadline, so that is a few passes a second, and a call costs one comparison.

use std::rc::Rc;

use super::call::{Call, CallId, Code, NEVER};
use super::Relay;
use crate::core::h2::headers::Headers;
use crate::core::h2::limits::Nanos;

/// Passes are at least this far apart (ns), and a little more for each call: the error of a deadline.
const APART: Nanos = 2_000_000;
const APART_PER_CALL: Nanos = 200;

impl Relay {
    /// When [`Relay::expire`] has something to do, if at all; a lower bound.
    pub fn due(&self) -> Option<Nanos> {
        (self.due != NEVER).then_some(self.due)
    }

    /// A call has come: its deadline counts from now.
    pub(super) fn set_deadline(&mut self, call: CallId, now: Nanos) {
        let Some(c) = self.calls.get_mut(call) else { return };
        let timeout = c.fields.as_ref().map(|f| f.head()).filter(|h| h.grpc).and_then(|h| h.timeout);
        if let Some(timeout) = timeout {
            c.deadline = now.saturating_add(timeout);
            self.due = self.due.min(c.deadline);
        }
    }

    /// Ends the calls whose deadline has come.
    pub fn expire(&mut self, now: Nanos) {
        if now < self.due {
            return;
        }
        let mut next = NEVER;
        let mut over = std::mem::take(&mut self.over);
        for (id, call) in self.calls.iter() {
            if call.deadline <= now {
                over.push(id);
            } else {
                next = next.min(call.deadline);
            }
        }
        let apart = APART + APART_PER_CALL * self.calls.len() as Nanos;
        self.due = if next == NEVER { NEVER } else { next.max(now + apart) };
        for call in over.drain(..) {
            self.expired(call, now);
        }
        self.over = over;
        self.feed(now);
    }

    /// A call's time is over.
    pub(super) fn expired(&mut self, call: CallId, now: Nanos) {
        let Some(c) = self.calls.get_mut(call) else { return };
        c.deadline = NEVER;
        let (up, down, unanswered) = (c.up, c.down, c.answer_at.is_none());
        // A complete answer on its way out stays what it is: the client will see whether it comes in time.
        let Some(down) = down else { return };
        if self.conn(down.conn).is_none_or(|conn| conn.h2.ending(down.slot)) {
            return;
        }
        if up.is_some() && unanswered {
            self.blame(call);
        }
        let why = if up.is_some() { "the deadline passed at the endpoint" } else { "the deadline passed in the queue" };
        self.fail(call, 4, why, now);
    }
}

impl Call {
    /// Is it the deadline that makes the client give up now? Its clock started a little before ours, and clients
    /// round a timeout up by a percent or two to say it in few digits.
    pub(super) fn at_deadline(&self, now: Nanos) -> bool {
        let slack = 5_000_000 + self.deadline.saturating_sub(self.started) / 50;
        self.deadline != NEVER && now.saturating_add(slack) >= self.deadline
    }

    /// The client gave up because its deadline passed: that is the code, and if the endpoint has said nothing by
    /// then, its failure.
    pub(super) fn overdue(&mut self) {
        if self.failed.is_none() && matches!(self.code, None | Some(Code::Grpc(2))) {
            self.code = Some(Code::Grpc(4));
            if self.up.is_some() && self.answer_at.is_none() {
                self.failed = Some(true);
            }
        }
    }

    /// The head to send now: as it came, or, if time has passed since, with what is left of the timeout.
    pub(super) fn head_for(&self, now: Nanos) -> Option<Rc<Headers>> {
        let fields = self.fields.as_ref()?;
        let late = self.deadline != NEVER && now.saturating_sub(self.started) >= 1_000_000;
        if !late && self.retried == 0 {
            return Some(fields.clone());
        }
        let mut list = Headers::with_capacity(fields.list_size(), fields.len() + 1);
        for f in fields.iter() {
            match f.name {
                b"grpc-timeout" if late => {
                    list.push(f.name, timeout_text(self.deadline.saturating_sub(now)).as_bytes())
                }
                b"grpc-previous-rpc-attempts" if self.retried > 0 => {}
                name if f.never_indexed => list.push_never_indexed(name, f.value),
                name => list.push(name, f.value),
            }
        }
        if self.retried > 0 {
            // gRPC proposal A6: the server may know that it is asked again.
            list.push(b"grpc-previous-rpc-attempts", self.retried.to_string().as_bytes());
        }
        Some(Rc::new(list))
    }
}

/// A duration as `grpc-timeout` has it, at most 8 digits, rounded down but never to nothing.
fn timeout_text(ns: Nanos) -> String {
    const MOST: Nanos = 99_999_999;
    let units = [(1, 'n'), (1_000, 'u'), (1_000_000, 'm'), (1_000_000_000, 'S'), (3_600_000_000_000, 'H')];
    let (scale, unit) = units.into_iter().find(|(scale, _)| ns / scale <= MOST).unwrap_or((3_600_000_000_000, 'H'));
    format!("{}{unit}", (ns / scale).clamp(1, MOST))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::h2::message::grpc_timeout;

    #[test]
    fn a_timeout_is_written_in_eight_digits_and_read_back_as_little_less() {
        for ns in [0, 1, 99_999_999, 100_000_000, 2_999_000_000, 86_400_000_000_000, u64::MAX] {
            let text = timeout_text(ns);
            let back = grpc_timeout(text.as_bytes()).expect("well-formed");
            assert!(text.len() <= 9 && back <= ns.max(1) && back as f64 >= ns as f64 * 0.99, "{ns} {text} {back}");
        }
    }
}
