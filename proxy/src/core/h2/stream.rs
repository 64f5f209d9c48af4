//! The states of one HTTP/2 stream as a table (RFC 9113 §5.1).
//!
//! ```text
//!              open by HEADERS
//!  idle ────────────────────────► open
//!                                │    │
//!                 we end (SendEnd)    peer ends (RecvEnd)
//!                                ▼    ▼
//!                      half_local    half_remote
//!                                │    │
//!                        RecvEnd ▼    ▼ SendEnd
//!                                closed ◄── Reset from any state
//! ```
//! Idle and closed streams have no entry in a connection, so they are not states here; pushes are refused, so
//! the reserved states do not exist. Knows nothing of frames, windows or connections.

/// Where a stream stands, from our side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Both sides may send.
    Open,
    /// We have ended; the peer may send.
    HalfLocal,
    /// The peer has ended; we may send.
    HalfRemote,
    /// Nothing more is to come from either side.
    Closed,
}

/// What can happen to a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Input {
    /// The peer sends HEADERS or DATA.
    Recv,
    /// The peer sends END_STREAM.
    RecvEnd,
    /// We send HEADERS or DATA.
    Send,
    /// We send END_STREAM.
    SendEnd,
    /// RST_STREAM either way.
    Reset,
}

/// All states, for tables and tests.
pub const STATES: [State; 4] = [State::Open, State::HalfLocal, State::HalfRemote, State::Closed];
/// All inputs, for tables and tests.
pub const INPUTS: [Input; 5] = [Input::Recv, Input::RecvEnd, Input::Send, Input::SendEnd, Input::Reset];

impl State {
    /// The next state, or None where RFC 9113 §5.1 forbids the input (STREAM_CLOSED if it came from the peer,
    /// a fault of ours if we were about to send).
    pub fn next(self, input: Input) -> Option<State> {
        use {Input as I, State as S};
        Some(match (self, input) {
            (S::Open, I::Recv | I::Send) => S::Open,
            (S::Open, I::RecvEnd) => S::HalfRemote,
            (S::Open, I::SendEnd) => S::HalfLocal,
            (S::HalfLocal, I::Recv) => S::HalfLocal,
            (S::HalfLocal, I::RecvEnd) => S::Closed,
            (S::HalfRemote, I::Send) => S::HalfRemote,
            (S::HalfRemote, I::SendEnd) => S::Closed,
            (_, I::Reset) => S::Closed,
            (S::HalfLocal, I::Send | I::SendEnd) => return None,
            (S::HalfRemote, I::Recv | I::RecvEnd) => return None,
            (S::Closed, _) => return None,
        })
    }

    /// May the peer still send on this stream?
    pub fn can_recv(self) -> bool {
        matches!(self, State::Open | State::HalfLocal)
    }

    /// May we still send on this stream?
    pub fn can_send(self) -> bool {
        matches!(self, State::Open | State::HalfRemote)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_and_input_is_decided() {
        for state in STATES {
            for input in INPUTS {
                let next = state.next(input);
                let allowed = match input {
                    Input::Recv | Input::RecvEnd => state.can_recv(),
                    Input::Send | Input::SendEnd => state.can_send(),
                    Input::Reset => true,
                };
                assert_eq!(next.is_some(), allowed, "{state:?} {input:?}");
            }
        }
    }

    #[test]
    fn ends_of_both_sides_close_in_either_order() {
        let one = State::Open.next(Input::SendEnd).and_then(|s| s.next(Input::RecvEnd));
        let other = State::Open.next(Input::RecvEnd).and_then(|s| s.next(Input::SendEnd));
        assert_eq!((one, other), (Some(State::Closed), Some(State::Closed)));
    }

    #[test]
    fn a_side_that_has_ended_never_speaks_again() {
        for state in STATES.into_iter().filter(|s| !s.can_recv()) {
            for input in INPUTS {
                assert!(state.next(input).is_none_or(|s| !s.can_recv()));
            }
        }
    }
}
