//! Header lists → header blocks (RFC 7541 §6), with a memo on the hot path.
//!
//! What goes into the dynamic table: a field seen before, so that values which never repeat (traceparent,
//! grpc-timeout) do not churn it. What never does: fields whose sender forbade it, and credentials, which an
//! attacker who shares the connection could otherwise guess by the block's length (§7.1). A list that is handed in
//! again (the same `Rc`) under an unchanged table gives the same bytes, which are kept.

use std::rc::Rc;

use super::integer::{write, write_string};
use super::table::{hash, Found, Table, OVERHEAD};
use crate::core::h2::headers::Headers;

/// The largest table we keep, whatever the peer allows: more would cost memory on every connection for little.
const MAX: usize = 4096;
const ENTRIES: usize = 16;
/// Larger lists are not remembered, bytes.
const LARGEST: usize = 1024;
/// How many fields' hashes are remembered to tell a second sighting.
const SEEN: usize = 128;

struct Remembered {
    generation: u64,
    /// Held, so that its address names no other list.
    list: Rc<Headers>,
    block: Vec<u8>,
}

/// One direction of one connection.
pub struct Encoder {
    table: Table,
    seen: Box<[u32; SEEN]>,
    memo: [Option<Box<Remembered>>; ENTRIES],
    memoize: bool,
    /// Size updates due: the lowest since the last block, and the last.
    resize: Option<(usize, usize)>,
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    /// With the table size that holds until the peer's SETTINGS say otherwise.
    pub fn new() -> Self {
        Self {
            table: Table::new(MAX),
            seen: Box::new([0; SEEN]),
            memo: [const { None }; ENTRIES],
            memoize: true,
            resize: None,
        }
    }

    /// An encoder without memo, to hold the other against.
    pub fn plain() -> Self {
        Self { memoize: false, ..Self::new() }
    }

    /// The peer's SETTINGS_HEADER_TABLE_SIZE. The next block tells how much of it is used (§4.2).
    pub fn set_peer_max_size(&mut self, size: usize) {
        let size = size.min(MAX);
        if size == self.table.max() && self.resize.is_none() {
            return;
        }
        let lowest = self.resize.map_or(size, |(low, _)| low.min(size));
        self.resize = Some((lowest, size));
        self.table.set_max(lowest);
        self.table.set_max(size);
    }

    /// Appends the block of a list.
    pub fn encode(&mut self, list: &Rc<Headers>, out: &mut Vec<u8>) {
        if !self.memoize || self.resize.is_some() {
            self.encode_list(list, out);
            return;
        }
        let at = (Rc::as_ptr(list) as usize >> 4) % (ENTRIES / 2) * 2;
        let generation = self.table.generation();
        // Two places for each list, so that two which meet in one do not drive each other out in turn.
        for known in [&self.memo[at], &self.memo[at + 1]].into_iter().flatten() {
            if known.generation == generation && Rc::ptr_eq(&known.list, list) {
                out.extend_from_slice(&known.block);
                return;
            }
        }
        let start = out.len();
        let settled = self.encode_list(list, out);
        // A list that nobody else holds will not come again.
        let again = Rc::strong_count(list) > 1;
        if settled && again && self.table.generation() == generation && list.list_size() <= LARGEST {
            let block = out[start..].to_vec();
            self.memo[at + 1] = self.memo[at].take();
            self.memo[at] = Some(Box::new(Remembered { generation, list: list.clone(), block }));
        }
    }

    /// Appends the block of a list without the memo; true if it would come out the same next time.
    pub fn encode_list(&mut self, list: &Headers, out: &mut Vec<u8>) -> bool {
        if let Some((lowest, last)) = self.resize.take() {
            if lowest < last {
                write(out, 0x20, 5, lowest);
            }
            write(out, 0x20, 5, last);
        }
        let mut settled = true;
        for field in list.iter() {
            settled &= self.field(field.name, field.value, field.never_indexed, out);
        }
        settled
    }

    fn field(&mut self, name: &[u8], value: &[u8], never: bool, out: &mut Vec<u8>) -> bool {
        let h = hash(name, value);
        let found = self.table.find(name, value, h);
        if never || secret(name, value) {
            literal(out, 0x10, 4, found_name(&self.table, found, name), name, value);
            return true;
        }
        if let Found::Both(index) = found {
            write(out, 0x80, 7, index);
            return true;
        }
        let size = name.len() + value.len() + OVERHEAD;
        if size > self.table.max() / 2 {
            literal(out, 0, 4, found_name(&self.table, found, name), name, value);
            return true;
        }
        let slot = &mut self.seen[h as usize % SEEN];
        if std::mem::replace(slot, h) == h {
            literal(out, 0x40, 6, found_name(&self.table, found, name), name, value);
            self.table.insert(name, value);
        } else {
            literal(out, 0, 4, found_name(&self.table, found, name), name, value);
        }
        false
    }
}

/// Credentials, and cookies short enough to be guessed (§7.1.3).
fn secret(name: &[u8], value: &[u8]) -> bool {
    match name {
        b"authorization" | b"proxy-authorization" => true,
        b"cookie" => value.len() < 20,
        _ => false,
    }
}

/// The index by which a literal may name its name; 0 for none.
fn found_name(table: &Table, found: Found, name: &[u8]) -> usize {
    match found {
        Found::Name(index) => index,
        // An index of name and value names the name too.
        Found::Both(index) if table.get(index).is_some_and(|(n, _)| n == name) => index,
        _ => 0,
    }
}

fn literal(out: &mut Vec<u8>, flags: u8, bits: u32, index: usize, name: &[u8], value: &[u8]) {
    write(out, flags, bits, index);
    if index == 0 {
        write_string(out, name);
    }
    write_string(out, value);
}
