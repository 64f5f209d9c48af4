//! When the loop rests before it looks again, so that what arrives meanwhile is dealt with together.
//!
//! System calls are most of what a request costs. Where many messages come, more are about to: answers of the other
//! endpoints, other clients' requests. Waiting for those a little makes one write of several, and the endpoints'
//! connections, which all clients share, carry more at once. Where few come nothing waits, though they come in bursts.
//! Knows numbers and the time; nothing of sockets.

use std::time::Duration;

use crate::core::h2::limits::Nanos;

/// Messages (heads of requests and answers) in a turn from which on the next one may wait.
const MANY: u32 = 8;
/// Messages that must be likely to come during a pause, going by the last milliseconds: 16,000 requests a second. Of
/// 2,000 a second that come eight at a time every turn has [`MANY`], and each would wait for nothing.
const LIKELY: f64 = 8.0;
/// Requests that must be under way. Each of them may wait for two pauses, so this many still let 64,000 requests a
/// second pass; one client with 16 at a time was held to less than half of what it could send.
const OPEN: usize = 32;
/// From the beginning of a turn to the next one's (ns). About what an endpoint on the same machine takes to answer, and
/// below what a caller of so busy a proxy waits anyway.
const PAUSE: Nanos = 200_000;
/// Less is not worth the system call (ns): the kernel's timers are late by 50 µs.
const LEAST: Nanos = 30_000;
/// Time constant of what counts as lately (ns).
const LATELY: f64 = 2e6;

/// How busy it has been lately.
#[derive(Default)]
pub struct Pace {
    level: f64,
    last: Nanos,
}

impl Pace {
    /// A turn that began at `began` handled so many messages, with at most `open` requests under way: how long to rest
    /// at `now`, its end.
    pub fn rest(&mut self, began: Nanos, handled: u32, open: usize, now: Nanos) -> Option<Duration> {
        let since = began.saturating_sub(self.last) as f64;
        self.last = began;
        self.level = self.level * (-since / LATELY).exp() + f64::from(handled);
        if handled < MANY || open < OPEN || self.level * (PAUSE as f64 / LATELY) < LIKELY {
            return None;
        }
        let left = (began + PAUSE).saturating_sub(now);
        (left >= LEAST).then(|| Duration::from_nanos(left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// Turns of `handled` messages, `every` ns, for a tenth of a second: how many of them were followed by a pause.
    fn pauses(handled: u32, every: Nanos) -> (usize, usize) {
        let mut pace = Pace::default();
        let turns: Vec<Nanos> = (1..).map(|i| i * every).take_while(|t| *t < SECOND / 10).collect();
        let paused = turns.iter().filter(|t| pace.rest(**t, handled, OPEN, **t + 1_000).is_some()).count();
        (paused, turns.len())
    }

    #[test]
    fn few_messages_a_turn_never_wait() {
        assert_eq!(pauses(MANY - 1, 50_000).0, 0);
    }

    #[test]
    fn bursts_at_low_rates_never_wait() {
        // Eight requests at once and their eight answers, at 500, 2,000 and 10,000 requests a second.
        for rate in [500, 2_000, 10_000] {
            assert_eq!(pauses(16, 8 * SECOND / rate).0, 0, "{rate}");
        }
    }

    #[test]
    fn a_flow_of_many_waits_after_nearly_every_turn() {
        let (paused, turns) = pauses(16, PAUSE);
        assert!(paused + 10 > turns, "{paused} of {turns}");
    }

    #[test]
    fn few_requests_under_way_never_wait() {
        let mut pace = Pace::default();
        assert!((1..100).all(|i| pace.rest(i * PAUSE, 500, OPEN - 1, i * PAUSE + 1).is_none()));
    }

    #[test]
    fn a_turn_that_took_long_is_followed_at_once() {
        let mut pace = Pace::default();
        assert_eq!(pace.rest(1_000, 500, OPEN, 1_000 + PAUSE - LEAST + 1), None);
        assert_eq!(pace.rest(2_000, 500, OPEN, 10 * PAUSE), None);
    }

    #[test]
    fn a_pause_is_what_is_left_of_the_turn() {
        let mut pace = Pace::default();
        assert_eq!(pace.rest(1_000, 500, OPEN, 101_000), Some(Duration::from_nanos(PAUSE - 100_000)));
    }
}
