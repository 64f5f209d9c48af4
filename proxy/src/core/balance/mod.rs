//! Which endpoint gets the next request.
//!
//! - `estimate`: how long an endpoint takes, and how sure that is;
//! - `pool`: the endpoints of one service port, with their load; the pick.
//!
//! Pure: `now` and a seed in, an endpoint out. A fixed seed gives a fixed sequence of picks.
//! Must not know: connections, HTTP, where endpoints come from.

pub mod estimate;
pub mod pool;
#[cfg(test)]
mod simulation;
