//! `ewma-proxy`: a sidecar that balances gRPC requests, not connections.
//!
//! Read in this order: `core::relay` (life of a request), `core::h2::connection`, `core::balance::pool`, `io::worker`.
//! The core is pure: bytes, `now` and a seed in, actions out. `io` drives it, `kube` finds endpoints, `admin` tells, `init` redirects.

#![forbid(unsafe_code)]

pub mod admin;
pub mod config;
pub mod core;
pub mod discover;
pub mod init;
pub mod io;
pub mod kube;

pub mod log;
pub mod run;
pub mod simulate;
