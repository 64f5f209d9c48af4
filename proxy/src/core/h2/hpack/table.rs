//! The table of header fields that both ends know (RFC 7541 §2.3, Appendix A): 61 fixed ones, then those that earlier
//! blocks have put in, newest first, the oldest leaving as room is needed (§4).

use std::collections::VecDeque;

/// The static table; index 1 is the first.
#[rustfmt::skip]
const STATIC: [(&[u8], &[u8]); 61] = [
    (b":authority", b""),
    (b":method", b"GET"),
    (b":method", b"POST"),
    (b":path", b"/"),
    (b":path", b"/index.html"),
    (b":scheme", b"http"),
    (b":scheme", b"https"),
    (b":status", b"200"),
    (b":status", b"204"),
    (b":status", b"206"),
    (b":status", b"304"),
    (b":status", b"400"),
    (b":status", b"404"),
    (b":status", b"500"),
    (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"),
    (b"accept-language", b""),
    (b"accept-ranges", b""),
    (b"accept", b""),
    (b"access-control-allow-origin", b""),
    (b"age", b""),
    (b"allow", b""),
    (b"authorization", b""),
    (b"cache-control", b""),
    (b"content-disposition", b""),
    (b"content-encoding", b""),
    (b"content-language", b""),
    (b"content-length", b""),
    (b"content-location", b""),
    (b"content-range", b""),
    (b"content-type", b""),
    (b"cookie", b""),
    (b"date", b""),
    (b"etag", b""),
    (b"expect", b""),
    (b"expires", b""),
    (b"from", b""),
    (b"host", b""),
    (b"if-match", b""),
    (b"if-modified-since", b""),
    (b"if-none-match", b""),
    (b"if-range", b""),
    (b"if-unmodified-since", b""),
    (b"last-modified", b""),
    (b"link", b""),
    (b"location", b""),
    (b"max-forwards", b""),
    (b"proxy-authenticate", b""),
    (b"proxy-authorization", b""),
    (b"range", b""),
    (b"referer", b""),
    (b"refresh", b""),
    (b"retry-after", b""),
    (b"server", b""),
    (b"set-cookie", b""),
    (b"strict-transport-security", b""),
    (b"transfer-encoding", b""),
    (b"user-agent", b""),
    (b"vary", b""),
    (b"via", b""),
    (b"www-authenticate", b""),
];

/// The first static index of a name, 0 if it has none.
#[rustfmt::skip]
fn static_name(name: &[u8]) -> usize {
    match name {
        b":authority" => 1,
        b":method" => 2,
        b":path" => 4,
        b":scheme" => 6,
        b":status" => 8,
        b"accept-charset" => 15,
        b"accept-encoding" => 16,
        b"accept-language" => 17,
        b"accept-ranges" => 18,
        b"accept" => 19,
        b"access-control-allow-origin" => 20,
        b"age" => 21,
        b"allow" => 22,
        b"authorization" => 23,
        b"cache-control" => 24,
        b"content-disposition" => 25,
        b"content-encoding" => 26,
        b"content-language" => 27,
        b"content-length" => 28,
        b"content-location" => 29,
        b"content-range" => 30,
        b"content-type" => 31,
        b"cookie" => 32,
        b"date" => 33,
        b"etag" => 34,
        b"expect" => 35,
        b"expires" => 36,
        b"from" => 37,
        b"host" => 38,
        b"if-match" => 39,
        b"if-modified-since" => 40,
        b"if-none-match" => 41,
        b"if-range" => 42,
        b"if-unmodified-since" => 43,
        b"last-modified" => 44,
        b"link" => 45,
        b"location" => 46,
        b"max-forwards" => 47,
        b"proxy-authenticate" => 48,
        b"proxy-authorization" => 49,
        b"range" => 50,
        b"referer" => 51,
        b"refresh" => 52,
        b"retry-after" => 53,
        b"server" => 54,
        b"set-cookie" => 55,
        b"strict-transport-security" => 56,
        b"transfer-encoding" => 57,
        b"user-agent" => 58,
        b"vary" => 59,
        b"via" => 60,
        b"www-authenticate" => 61,
        _ => 0,
    }
}

/// What a field costs in the table beside its bytes (§4.1).
pub const OVERHEAD: usize = 32;

struct Entry {
    bytes: Box<[u8]>,
    name_len: usize,
    hash: u32,
}

/// Where a field stands in the tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// Name and value.
    Both(usize),
    /// The name.
    Name(usize),
    /// Neither.
    Nothing,
}

/// Both tables.
pub struct Table {
    entries: VecDeque<Entry>,
    size: usize,
    max: usize,
    generation: u64,
}

/// A cheap hash of a field: it only sorts out what cannot be equal; contents are compared.
pub fn hash(name: &[u8], value: &[u8]) -> u32 {
    let mut h = (name.len() as u64) << 32 | value.len() as u64;
    for part in [name, value] {
        let mut chunks = part.chunks_exact(8);
        for chunk in &mut chunks {
            h = mix(h ^ chunk.first_chunk::<8>().map_or(0, |b| u64::from_le_bytes(*b)));
        }
        let mut last = [0; 8];
        last[..chunks.remainder().len()].copy_from_slice(chunks.remainder());
        h = mix(h ^ u64::from_le_bytes(last));
    }
    (h >> 32) as u32
}

fn mix(h: u64) -> u64 {
    h.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
}

impl Table {
    /// An empty dynamic table of at most `max` bytes.
    pub fn new(max: usize) -> Self {
        Self { entries: VecDeque::new(), size: 0, max, generation: 0 }
    }

    /// Changes with every change of the dynamic table, so that what was read or written under one generation reads
    /// and writes the same again.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Its largest size, bytes.
    pub fn max(&self) -> usize {
        self.max
    }

    /// Sets the largest size; the oldest leave if need be.
    pub fn set_max(&mut self, max: usize) {
        self.max = max;
        self.generation += 1;
        self.evict(0);
    }

    fn evict(&mut self, need: usize) {
        while self.size + need > self.max {
            let Some(old) = self.entries.pop_back() else { return };
            self.size -= old.bytes.len() + OVERHEAD;
        }
    }

    /// Adds a field; one larger than the table empties it (§4.4).
    pub fn insert(&mut self, name: &[u8], value: &[u8]) {
        self.generation += 1;
        let size = name.len() + value.len() + OVERHEAD;
        self.evict(size);
        if size > self.max {
            return;
        }
        let bytes = [name, value].concat().into_boxed_slice();
        self.size += size;
        self.entries.push_front(Entry { bytes, name_len: name.len(), hash: hash(name, value) });
    }

    /// The field at an index from 1 on.
    pub fn get(&self, index: usize) -> Option<(&[u8], &[u8])> {
        if let Some(field) = STATIC.get(index.wrapping_sub(1)) {
            return Some(*field);
        }
        let entry = self.entries.get(index.checked_sub(STATIC.len() + 1)?)?;
        Some(entry.bytes.split_at(entry.name_len))
    }

    /// The index of a field, or of its name. `hash` is [`hash`] of both.
    pub fn find(&self, name: &[u8], value: &[u8], hash: u32) -> Found {
        let first = static_name(name);
        if first > 0 {
            let same = STATIC[first - 1..].iter().take_while(|(n, _)| *n == name);
            if let Some(i) = same.map(|(_, v)| *v).position(|v| v == value) {
                return Found::Both(first + i);
            }
        }
        // At most 4096 / 32 entries, and one comparison of numbers for each.
        for (i, e) in self.entries.iter().enumerate() {
            if e.hash == hash && e.name_len == name.len() && e.bytes.len() == name.len() + value.len() {
                let (n, v) = e.bytes.split_at(e.name_len);
                if n == name && v == value {
                    return Found::Both(STATIC.len() + 1 + i);
                }
            }
        }
        if first > 0 {
            return Found::Name(first);
        }
        match self.entries.iter().position(|e| e.bytes[..e.name_len] == *name) {
            Some(i) => Found::Name(STATIC.len() + 1 + i),
            None => Found::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_static_table_finds_itself() {
        let t = Table::new(4096);
        for (i, (name, value)) in STATIC.iter().enumerate() {
            assert_eq!(t.find(name, value, hash(name, value)), Found::Both(i + 1));
            assert_eq!(t.get(i + 1), Some((*name, *value)));
        }
        assert_eq!((t.get(0), t.get(62)), (None, None));
    }

    #[test]
    fn the_oldest_leave_first_and_the_newest_comes_first() {
        let mut t = Table::new(3 * (OVERHEAD + 2));
        for name in [b"a", b"b", b"c", b"d"] {
            t.insert(name, b"x");
        }
        let names: Vec<_> = (62..66).map(|i| t.get(i).map(|(n, _)| n[0])).collect();
        assert_eq!(names, [Some(b'd'), Some(b'c'), Some(b'b'), None]);
        t.insert(&[0; 200], b"");
        assert_eq!(t.get(62), None);
    }
}
