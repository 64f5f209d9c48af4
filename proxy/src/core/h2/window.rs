//! Flow-control arithmetic (RFC 9113 §5.2, §6.9). Numbers only; knows no frames and no streams.

use super::frame::MAX_WINDOW;

/// What we may still send, bytes. Goes negative when the peer lowers SETTINGS_INITIAL_WINDOW_SIZE (§6.9.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SendWindow(i64);

impl SendWindow {
    /// A window of `size` bytes.
    pub fn new(size: u32) -> Self {
        Self(i64::from(size))
    }

    /// Bytes that may be sent now.
    pub fn available(self) -> usize {
        usize::try_from(self.0).unwrap_or(0)
    }

    /// Takes `n` bytes that are being sent.
    pub fn take(&mut self, n: usize) {
        self.0 -= n as i64;
    }

    /// WINDOW_UPDATE or a change of the initial size; false if the window would pass 2^31-1 (§6.9.1).
    #[must_use]
    pub fn grow(&mut self, delta: i64) -> bool {
        self.0 += delta;
        self.0 <= MAX_WINDOW
    }
}

/// What the peer may still send us, and what we owe it back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecvWindow {
    left: i64,
    owed: u32,
    size: u32,
}

impl RecvWindow {
    /// A window of `size` bytes, as announced.
    pub fn new(size: u32) -> Self {
        Self { left: i64::from(size), owed: 0, size }
    }

    /// The peer sent `n` bytes; false if that was more than it may (FLOW_CONTROL_ERROR).
    #[must_use]
    pub fn receive(&mut self, n: usize) -> bool {
        self.left -= n as i64;
        self.left >= 0
    }

    /// `n` received bytes are dealt with. Returns the WINDOW_UPDATE to send, if it is worth one: at half the
    /// window, so that a fast sender never waits and a small message costs no frame.
    pub fn release(&mut self, n: usize) -> Option<u32> {
        self.owed += n as u32;
        if self.owed < self.size / 2 {
            return None;
        }
        let credit = self.owed;
        self.left += i64::from(credit);
        self.owed = 0;
        Some(credit)
    }

    /// Bytes not yet given back to the peer: 0 when everything has been released and credited.
    pub fn outstanding(self) -> i64 {
        i64::from(self.size) - self.left - i64::from(self.owed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_send_window_may_go_negative_and_recovers() {
        let mut w = SendWindow::new(100);
        w.take(100);
        assert!(w.grow(-50));
        assert_eq!(w.available(), 0);
        assert!(w.grow(60));
        assert_eq!(w.available(), 10);
    }

    #[test]
    fn a_send_window_refuses_to_pass_the_largest_value() {
        let mut w = SendWindow::new(1);
        assert!(w.grow(MAX_WINDOW - 1));
        assert!(!w.grow(1));
    }

    #[test]
    fn credit_is_given_at_half_the_window_and_sums_up() {
        let mut w = RecvWindow::new(100);
        assert!(w.receive(80));
        assert_eq!(w.release(49), None);
        assert_eq!(w.release(31), Some(80));
        assert_eq!(w.outstanding(), 0);
        assert!(w.receive(100));
        assert!(!w.receive(1));
    }
}
