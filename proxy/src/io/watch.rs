//! Ended calls on their way out of a worker: to every tap and to the access log, each by a bounded queue. A reader that
//! is slow loses lines, counted; the worker never waits. Knows records; nothing of how they are shown.

use std::sync::mpsc::{sync_channel, Receiver, SyncSender, TrySendError};
use std::time::SystemTime;

use crate::core::h2::limits::Nanos;
use crate::core::relay::Ended;

/// Batches that may wait for a reader; a batch is what one turn of the loop brought.
const QUEUE: usize = 64;

/// What one turn brought a watcher.
pub struct Batch {
    /// The calls.
    pub calls: Vec<Ended>,
    /// The worker's clock and the world's, read together.
    pub now: (Nanos, SystemTime),
}

/// Who watches: all calls, or some.
pub struct Watcher {
    sender: SyncSender<Batch>,
    /// Every so many of those that fit.
    every: usize,
    /// Only routes that contain this.
    route: String,
    seen: usize,
}

impl Watcher {
    /// A watcher and where its batches arrive. It ends when the receiver is dropped.
    pub fn new(every: usize, route: &str) -> (Self, Receiver<Batch>) {
        let (sender, receiver) = sync_channel(QUEUE);
        (Self { sender, every: every.max(1), route: route.into(), seen: 0 }, receiver)
    }

    fn wants(&mut self, call: &Ended) -> bool {
        if !call.route.contains(&self.route) {
            return false;
        }
        self.seen += 1;
        self.seen % self.every == 0
    }

    /// Hands over what fits. None: nobody reads any more. Else how many calls were lost.
    fn offer(&mut self, calls: &[Ended], now: Nanos) -> Option<usize> {
        let calls: Vec<Ended> = calls.iter().filter(|c| self.wants(c)).cloned().collect();
        if calls.is_empty() {
            return Some(0);
        }
        match self.sender.try_send(Batch { calls, now: (now, SystemTime::now()) }) {
            Ok(()) => Some(0),
            Err(TrySendError::Full(batch)) => Some(batch.calls.len()),
            Err(TrySendError::Disconnected(_)) => None,
        }
    }
}

/// Hands calls to all watchers and drops those that have gone. Returns how many calls were lost.
pub fn publish(watchers: &mut Vec<Watcher>, calls: &[Ended], now: Nanos) -> usize {
    let mut lost = 0;
    watchers.retain_mut(|w| w.offer(calls, now).map(|n| lost += n).is_some());
    lost
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::relay::Code;

    fn call(route: &str) -> Ended {
        Ended {
            at: 0,
            service: "s".into(),
            route: route.into(),
            endpoint: None,
            code: Code::Grpc(0),
            duration: 1,
            waited: None,
            answer: None,
            tries: 1,
        }
    }

    #[test]
    fn a_watcher_gets_every_nth_call_of_its_route() {
        let (watcher, from) = Watcher::new(3, "Vote");
        let mut all = vec![watcher];
        let calls: Vec<_> = (0..20).map(|i| call(if i % 2 == 0 { "/v/Vote" } else { "/v/Other" })).collect();
        assert_eq!(publish(&mut all, &calls, 0), 0);
        assert_eq!(from.try_recv().map(|b| b.calls.len()).ok(), Some(3));
    }

    #[test]
    fn a_slow_reader_loses_calls_and_one_that_has_gone_is_forgotten() {
        let (slow, _kept) = Watcher::new(1, "");
        let (gone, dropped) = Watcher::new(1, "");
        drop(dropped);
        let mut all = vec![slow, gone];
        let lost: usize = (0..QUEUE + 10).map(|_| publish(&mut all, &[call("/x"), call("/y")], 0)).sum();
        assert_eq!((lost, all.len()), (20, 1));
    }
}
