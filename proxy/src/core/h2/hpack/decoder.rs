//! Header blocks → header lists (RFC 7541 §3, §6), with a memo on the hot path.
//!
//! The memo: a block that left the dynamic table as it was decodes to the same list when the same bytes come under
//! the same table. gRPC clients send the same few blocks over and over; those cost a comparison. The bytes are
//! compared, never only a hash. Where nothing repeats (a fresh traceparent in each request) the memo is hardly tried.

use std::rc::Rc;

use super::integer::{read, read_string};
use super::table::{hash, Table};
use crate::core::h2::headers::Headers;

/// What a list may hold (RFC 9113 §10.5.1).
#[derive(Clone, Copy, Debug)]
pub struct ListLimits {
    /// Names, values and 32 for each field, bytes.
    pub max_bytes: usize,
    /// Fields.
    pub max_fields: usize,
}

/// Why a block gave no list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DecodeError {
    /// Not HPACK: the connection is lost (COMPRESSION_ERROR).
    Compression,
    /// More than the limits allow; the table is in step, so only the stream is lost.
    ListTooLarge,
}

const ENTRIES: usize = 16;
/// Longer blocks are not remembered.
const LONGEST: usize = 512;

struct Remembered {
    generation: u64,
    block: Vec<u8>,
    list: Rc<Headers>,
}

/// One direction of one connection.
pub struct Decoder {
    table: Table,
    /// The largest table we allow.
    max: usize,
    memo: [Option<Box<Remembered>>; ENTRIES],
    /// How well the memo has done lately: −32 to 32.
    score: i32,
    blocks: u32,
    memoize: bool,
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Decoder {
    /// `max`: our SETTINGS_HEADER_TABLE_SIZE, bytes.
    pub fn new(max: usize) -> Self {
        Self {
            table: Table::new(max),
            max,
            memo: [const { None }; ENTRIES],
            score: 0,
            blocks: 0,
            memoize: true,
            name: vec![],
            value: vec![],
        }
    }

    /// A decoder without memo, to hold the other against.
    pub fn plain(max: usize) -> Self {
        Self { memoize: false, ..Self::new(max) }
    }

    /// Decodes a whole block.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(&mut self, block: &[u8], limits: &ListLimits) -> Result<Rc<Headers>, DecodeError> {
        self.blocks = self.blocks.wrapping_add(1);
        let try_memo = self.memoize && block.len() <= LONGEST && (self.score > -16 || self.blocks % 16 == 0);
        if !try_memo {
            return self.decode_block(block, limits).map(Rc::new);
        }
        let at = hash(block, &[]) as usize % (ENTRIES / 2) * 2;
        let generation = self.table.generation();
        // Two places for each block, so that two which meet in one do not drive each other out in turn.
        for known in [&self.memo[at], &self.memo[at + 1]].into_iter().flatten() {
            if known.generation == generation && known.block == block {
                self.score = (self.score + 1).min(32);
                return Ok(known.list.clone());
            }
        }
        self.score = (self.score - 1).max(-32);
        let list = Rc::new(self.decode_block(block, limits)?);
        if self.table.generation() == generation {
            self.memo[at + 1] = self.memo[at].take();
            self.memo[at] = Some(Box::new(Remembered { generation, block: block.to_vec(), list: list.clone() }));
        }
        Ok(list)
    }

    fn decode_block(&mut self, block: &[u8], limits: &ListLimits) -> Result<Headers, DecodeError> {
        let mut list = Headers::with_capacity(block.len() * 2, 16);
        let (mut at, mut too_large) = (0, false);
        while let Some(first) = block.get(at).copied() {
            if first & 0xe0 == 0x20 {
                if !list.is_empty() || too_large {
                    return Err(DecodeError::Compression);
                }
                self.resize(block, &mut at)?;
                continue;
            }
            let never = first & 0xf0 == 0x10;
            let (name, value) = if first & 0x80 != 0 {
                let index = read(block, &mut at, 7).ok_or(DecodeError::Compression)?;
                self.table.get(index).ok_or(DecodeError::Compression)?
            } else {
                let keep = first & 0x40 != 0;
                self.literal(block, &mut at, if keep { 6 } else { 4 })?;
                if keep {
                    self.table.insert(&self.name, &self.value);
                }
                (&self.name[..], &self.value[..])
            };
            let size = list.list_size() + name.len() + value.len() + 32;
            too_large |= size > limits.max_bytes || list.len() >= limits.max_fields;
            if too_large {
                continue;
            }
            if never {
                list.push_never_indexed(name, value);
            } else {
                list.push(name, value);
            }
        }
        if too_large {
            return Err(DecodeError::ListTooLarge);
        }
        Ok(list)
    }

    /// A size update (§6.3).
    fn resize(&mut self, block: &[u8], at: &mut usize) -> Result<(), DecodeError> {
        let size = read(block, at, 5).filter(|n| *n <= self.max).ok_or(DecodeError::Compression)?;
        if size != self.table.max() {
            self.table.set_max(size);
        }
        Ok(())
    }

    /// A literal field into `self.name` and `self.value`.
    fn literal(&mut self, block: &[u8], at: &mut usize, bits: u32) -> Result<(), DecodeError> {
        let bad = DecodeError::Compression;
        let index = read(block, at, bits).ok_or(bad)?;
        self.name.clear();
        self.value.clear();
        if index == 0 {
            read_string(block, at, &mut self.name).ok_or(bad)?;
        } else {
            let (name, _) = self.table.get(index).ok_or(bad)?;
            self.name.extend_from_slice(name);
        }
        read_string(block, at, &mut self.value).ok_or(bad)
    }
}
