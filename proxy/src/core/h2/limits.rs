//! Budgets against floods: what one peer may make us hold or do, each with its reason.
//!
//! A budget is a token bucket over virtual time: honest bursts pass, a flood runs dry and ends the connection with
//! ENHANCE_YOUR_CALM. Over-strict limits have hurt honest gRPC traffic before (half of all calls cancelled is
//! ordinary), so each rate is set an order of magnitude above what honest peers were seen to do.
//! Knows numbers and `now`; nothing of frames.

use super::hpack::ListLimits;

/// Time in nanoseconds since an arbitrary start, handed in by whoever drives the core.
pub type Nanos = u64;

const SECOND: u64 = 1_000_000_000;

/// What one connection may hold and do. Bytes unless named otherwise.
#[derive(Clone, Debug)]
pub struct Limits {
    /// SETTINGS_INITIAL_WINDOW_SIZE we announce: what one stream may have under way to us. 256 KiB keeps a stream
    /// at 2 Gbit/s over a 1 ms network and is the most a stalled stream can make us hold.
    pub stream_window: u32,
    /// Our connection window. Bytes are credited when they arrive, so it limits what is under way, not what waits.
    pub conn_window: u32,
    /// Received bytes of all streams of a connection that wait for the other side; above it the connection's window
    /// is no longer credited, and all its streams stand. A server's connection is shared by many clients, so this
    /// must not be what a few that read slowly can reach: it is as much as all connections together may hold
    /// (`max_held` of the relay), where the streams that hold most are reset.
    pub conn_held: usize,
    /// SETTINGS_MAX_CONCURRENT_STREAMS we announce to clients. grpc-go's and Envoy's default is 100, too few for one
    /// connection that carries a whole service's traffic.
    pub max_streams: u32,
    /// SETTINGS_MAX_HEADER_LIST_SIZE and the number of fields: gRPC metadata is limited to 8 KiB by default, 16 KiB
    /// hard in C-core; 64 KiB leaves room for cookies of browsers.
    pub list: ListLimits,
    /// HPACK bytes of one header block, over all its CONTINUATION frames (CVE-2024-27316 and its kin).
    pub block: usize,
    /// CONTINUATION frames of one block, empty ones included.
    pub continuations: u32,
    /// 1xx heads of one answer. 32, as with HTTP/1.x: honest ones are one or two, no window holds them back, and all that
    /// is passed on lands at a client that did not ask for it.
    pub interim: u32,
    /// Output at which DATA waits: enough to fill a socket buffer, little enough that a stalled peer costs little.
    pub out_soft: usize,
    /// Output at which the peer is cut: DATA never passes `out_soft`, so this is answers to a peer that floods us
    /// and does not read (CVE-2019-9512, -9515).
    pub out_hard: usize,
    /// The identifier of the first stream we open; 1, but for tests of what happens when they run out at 2^31.
    pub first_stream: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            stream_window: 256 << 10,
            conn_window: 1 << 20,
            conn_held: 64 << 20,
            max_streams: 1_000,
            list: ListLimits { max_bytes: 64 << 10, max_fields: 256 },
            block: 64 << 10,
            continuations: 16,
            interim: 32,
            out_soft: 256 << 10,
            out_hard: 2 << 20,
            first_stream: 1,
        }
    }
}

/// A token bucket in virtual time.
#[derive(Clone, Debug)]
pub struct Budget {
    tokens: u64,
    cap: u64,
    per_second: u64,
    last: Nanos,
}

impl Budget {
    /// `cap` at once, `per_second` for ever.
    pub fn new(cap: u64, per_second: u64) -> Self {
        Self { tokens: cap, cap, per_second, last: 0 }
    }

    /// Takes one token; false when there is none.
    #[must_use]
    pub fn spend(&mut self, now: Nanos) -> bool {
        if self.tokens == 0 {
            let due = u128::from(now.saturating_sub(self.last)) * u128::from(self.per_second);
            let due = u64::try_from(due / u128::from(SECOND)).unwrap_or(u64::MAX);
            if due == 0 {
                return false;
            }
            self.tokens = due.min(self.cap);
            self.last = now;
        } else if self.tokens == self.cap {
            self.last = now;
        }
        self.tokens -= 1;
        true
    }
}

/// The budgets of one connection.
#[derive(Clone, Debug)]
pub struct Budgets {
    /// Streams that ended by a reset, whoever sent it, and streams we refused (CVE-2023-44487, CVE-2025-8671).
    /// Half of 2,000 calls a second cancelled, for ever, is honest, and so is all of a connection's streams at once.
    pub resets: Budget,
    /// Frames that carry no payload of a call: PING, SETTINGS, PRIORITY, empty DATA, WINDOW_UPDATE of closed streams
    /// (CVE-2019-9511 to -9518). C-core pings once for every message or so when it measures bandwidth.
    pub control: Budget,
}

impl Default for Budgets {
    fn default() -> Self {
        Self { resets: Budget::new(3_000, 2_000), control: Budget::new(20_000, 10_000) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_lets_its_rate_pass_for_ever() {
        let mut b = Budget::new(10, 100);
        assert!((0..10_000u64).all(|i| b.spend(i * SECOND / 100)));
    }

    #[test]
    fn a_flood_runs_dry_after_the_burst() {
        let mut b = Budget::new(10, 100);
        assert_eq!((0..1_000).filter(|_| b.spend(5)).count(), 10);
        assert!(b.spend(5 + SECOND));
    }
}
