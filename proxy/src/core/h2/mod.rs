//! HTTP/2 (RFC 9113) and HPACK (RFC 7541) without I/O.
//!
//! Start reading at `connection`; the other files are its parts, one idea each.

pub mod connection;
pub mod frame;
pub mod headers;
pub mod hpack;
pub mod limits;
pub mod message;
mod recv;
mod send;
pub mod stream;
pub mod table;
pub mod window;
