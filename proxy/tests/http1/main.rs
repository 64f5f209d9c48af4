//! HTTP/1.x through the relay, in memory and virtual time.
//!
//! - `framing`: every framing and split; no byte of a body is lost or doubled;
//! - `smuggling`: what could be read in two ways never reaches a server;
//! - `noise`: bytes of any kind, from both sides;
//! - `conduct`: stories: keep-alive, 100-continue, upgrades, early answers, half-close, replay, drain;
#![allow(clippy::unwrap_used)]

mod conduct;
mod framing;
mod net;
mod noise;
mod smuggling;
