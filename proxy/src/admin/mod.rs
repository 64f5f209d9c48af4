//! What the proxy tells about itself over HTTP: metrics, health, endpoints, picks, configuration. GET only, loopback by
//! default, nothing that changes anything.
//!
//! - `server`: a small blocking server on a thread of its own;
//! - `metrics`: a snapshot of the worker as Prometheus text;
//! - `why`: the last picks, explained;
//! - `tap`, `access`, `lines`: calls as they end, one line of JSON each;
//! - `process`: CPU and memory of this process.

pub mod access;
mod lines;
mod metrics;
mod process;
pub mod server;
pub mod tap;
mod why;
