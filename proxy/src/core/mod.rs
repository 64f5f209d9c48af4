//! The pure core: bytes, `now` and a seed in, actions out. No sockets, clocks, threads or global chance in here; a
//! test (`tests/purity.rs`) looks for them.
//!
//! - `slices`, `catalog`: what Kubernetes reports → endpoint sets;
//! - `detect`: HTTP/2, HTTP/1.x, or neither;
//! - `authority`, `directory`: whose a redirected connection is, and a request on it;
//! - `h1`, `h2`: one connection of HTTP/1.x or HTTP/2 as a state machine;
//! - `balance`: which endpoint gets the next request;
//! - `relay`: joins clients' streams to servers' streams by those two.

pub mod authority;
pub mod balance;
pub mod catalog;
pub mod detect;
pub mod directory;
pub mod h1;
pub mod h2;
pub mod relay;
pub mod rng;
pub mod slices;
