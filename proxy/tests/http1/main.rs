//! HTTP/1.x through the relay, in memory and virtual time.
//!
//! - `conduct`: stories: keep-alive, 100-continue, upgrades, early answers, half-close, replay, drain;
#![allow(clippy::unwrap_used)]

mod conduct;
mod net;
