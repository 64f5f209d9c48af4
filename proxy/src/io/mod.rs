//! Drives the core: sockets, the clock, the event loop.
//!
//! - `worker`: one thread, one loop: read all that is ready, let the core work, write once per connection;
//! - `listener`: where clients connect, and which target that means;
//! - `sniff`: the first bytes of a connection: HTTP/2, HTTP/1.x or neither;
//! - `opaque`: connections that are not HTTP, passed through byte by byte;
//! - `watch`: ended calls on their way to taps and the access log;
//! - `pace`: when a busy loop rests, so that more is done at once;
//! - `message`: what other threads tell a worker and ask of it.

pub mod listener;
pub mod message;
mod opaque;
mod pace;
mod slab;
mod sniff;
pub mod watch;
pub mod worker;
