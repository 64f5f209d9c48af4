//! What the proxy tells about itself over HTTP: metrics, health, endpoints, picks, configuration. GET only, loopback by
//! default, nothing that changes anything.
//!
//! - `server`: a small blocking server on a thread of its own;
//! - `metrics`: a snapshot of the worker as Prometheus text;
//! - `why`: the last picks, explained;
//! - `process`: CPU and memory of this process.

mod metrics;
mod process;
pub mod server;
mod why;
