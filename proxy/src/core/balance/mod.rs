//! Which endpoint gets the next request.
//!
//! - `tuning`: the policies and the balancer's constants;
//! - `estimate`: how long an endpoint takes, and how sure that is;
//! - `failure`: whether an endpoint fails more often than the others;
//! - `pool`: the endpoints of one service port, with their load;
//! - `pick`: the choice among them, and the record of it;
//! - `connections`: the choice for a connection that is passed through as a whole;
//! - `simulation`, `figures`: all of this measured in virtual time.
//!
//! Pure: `now` and a seed in, an endpoint out. A fixed seed gives a fixed sequence of picks.
//! Must not know: connections, HTTP, where endpoints come from.

mod connections;
pub mod estimate;
pub mod failure;
pub mod figures;
pub mod pick;
pub mod pool;
pub mod simulation;
pub mod tuning;
