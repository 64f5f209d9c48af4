//! Second tries of calls that an endpoint has failed: off unless asked for, on chosen gRPC codes, within a budget.
//!
//! Unlike a replay (see `dispatch`), the server may have processed the first try: whoever switches this on says that
//! the methods may run twice. Only before anything of an answer went to the client, so a head with END_STREAM
//! (trailers-only), a reset or a lost connection; only with the whole body at hand. Each try goes to another endpoint
//! if there is one. A server that sends `grpc-retry-pushback-ms` is obeyed: its client is to decide (proposal A6).

use super::call::{CallId, Code, ConnId};
use super::Relay;
use crate::core::h2::headers::Headers;
use crate::core::h2::limits::Nanos;

/// When a failed call is tried again.
#[derive(Clone, Debug, PartialEq)]
pub struct Retries {
    /// gRPC codes, one bit each; 0 for never.
    pub codes: u32,
    /// Tries that each request adds to the budget. 0.2 as Linkerd and Finagle have it: a service that fails wholly
    /// sees a fifth more requests, not twice as many.
    pub ratio: f64,
    /// Tries that each second adds: 10, so that services with few requests are helped too.
    pub per_second: f64,
    /// The longest body kept for it, bytes.
    pub body: usize,
}

impl Default for Retries {
    fn default() -> Self {
        Self { codes: 0, ratio: 0.2, per_second: 10.0, body: 64 << 10 }
    }
}

/// The budget of one target: a bucket that requests and time fill and second tries empty.
#[derive(Clone, Debug)]
pub struct RetryBudget {
    tokens: f64,
    last: Nanos,
    ratio: f64,
    per_second: f64,
}

/// Seconds of the steady rate that a quiet service saves up.
const SAVED_SECONDS: f64 = 10.0;

impl RetryBudget {
    /// One second's worth to begin with.
    pub fn new(retries: &Retries) -> Self {
        let (ratio, per_second) = (retries.ratio, retries.per_second);
        Self { tokens: per_second, last: 0, ratio, per_second }
    }

    fn add(&mut self, tokens: f64) {
        // The cap leaves room for one request's share even where nothing comes with time.
        let cap = (self.per_second * SAVED_SECONDS).max(10.0);
        self.tokens = (self.tokens + tokens).min(cap);
    }

    /// A request has come.
    pub fn request(&mut self) {
        self.add(self.ratio);
    }

    /// Takes a second try; false if there is none left.
    #[must_use]
    pub fn spend(&mut self, now: Nanos) -> bool {
        let seconds = now.saturating_sub(self.last) as f64 / 1e9;
        self.last = now;
        self.add(seconds * self.per_second);
        let has = self.tokens >= 1.0;
        if has {
            self.tokens -= 1.0;
        }
        has
    }
}

impl Relay {
    /// How much of a body is kept for a second try of either kind, bytes.
    pub(super) fn keep_body(&self) -> usize {
        let retries = &self.settings.retries;
        if retries.codes == 0 {
            self.settings.replay_body
        } else {
            self.settings.replay_body.max(retries.body)
        }
    }

    /// A request has come: it adds to the budget.
    pub(super) fn count_for_retries(&mut self, target: u32) {
        if self.settings.retries.codes != 0 {
            if let Some(t) = self.targets.get_mut(target as usize) {
                t.retries.request();
            }
        }
    }

    /// An answer of one head: if it fails the call with a code that is tried again, it is. The endpoint is charged
    /// for it either way.
    pub(super) fn retry_answer(&mut self, id: ConnId, call: CallId, fields: &Headers, now: Nanos) -> bool {
        let Some(status) = fields.head().grpc_status else { return false };
        if self.settings.retries.codes & 1 << status == 0 || fields.get(b"grpc-retry-pushback-ms").is_some() {
            return false;
        }
        if !self.may_retry(call, status, now) {
            return false;
        }
        if let Some(c) = self.calls.get_mut(call) {
            c.failed = Some(Code::Grpc(status).failed());
        }
        self.charge(call, now);
        self.retry(call, id, now);
        true
    }

    /// A stream or its connection broke, which a client would see as this status: is it tried again?
    pub(super) fn retry_broken(&mut self, id: ConnId, call: CallId, status: u8, now: Nanos) -> bool {
        if !self.may_retry(call, status, now) {
            return false;
        }
        self.blame(call);
        self.retry(call, id, now);
        true
    }

    fn may_retry(&mut self, call: CallId, status: u8, now: Nanos) -> bool {
        if self.settings.retries.codes & 1 << status == 0 || !self.can_replay(call) {
            return false;
        }
        let Some(c) = self.calls.get(call).filter(|c| c.grpc()) else {
            return false;
        };
        let (target, in_time) = (c.target, now < c.deadline);
        let paid = in_time && self.targets.get_mut(target as usize).is_some_and(|t| t.retries.spend(now));
        self.totals.retries_denied += u64::from(in_time && !paid);
        paid
    }

    fn retry(&mut self, call: CallId, from: ConnId, now: Nanos) {
        self.totals.retries += 1;
        if let Some(c) = self.calls.get_mut(call) {
            c.retried = c.retried.saturating_add(1);
        }
        self.send_elsewhere(call, from, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = 1_000_000_000;

    #[test]
    fn a_service_that_fails_wholly_gets_a_fifth_more_and_ten_a_second() {
        let mut budget = RetryBudget::new(&Retries::default());
        let (mut requests, mut tries) = (0.0, 0.0);
        for i in 0..100_000u64 {
            // 1,000 requests a second, each wants to be tried again.
            let now = i * SECOND / 1_000;
            requests += 1.0;
            budget.request();
            tries += f64::from(u8::from(budget.spend(now)));
        }
        let most = 10.0 + 0.2 * requests + 10.0 * 100.0;
        assert!(tries <= most && tries > most * 0.99, "{tries} of {most}");
    }

    #[test]
    fn a_quiet_service_saves_ten_seconds_worth_and_no_more() {
        let mut budget = RetryBudget::new(&Retries::default());
        let now = 3_600 * SECOND;
        let burst = (0..1_000).filter(|_| budget.spend(now)).count();
        assert_eq!(burst, 100);
    }
}
