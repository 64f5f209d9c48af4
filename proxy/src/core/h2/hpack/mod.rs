//! HPACK: header compression for HTTP/2 (RFC 7541).
//!
//! - `integer`: numbers and strings on the wire;
//! - `huffman`: the fixed code;
//! - `table`: the static table, and the dynamic one that both ends keep in step;
//! - `decoder`, `encoder`: blocks ↔ header lists, each with a memo for lists that repeat.
//!
//! Knows lists and bytes; nothing of frames or of what headers mean.

mod decoder;
mod encoder;
mod huffman;
mod integer;
mod table;

pub use decoder::{DecodeError, Decoder, ListLimits};
pub use encoder::Encoder;
