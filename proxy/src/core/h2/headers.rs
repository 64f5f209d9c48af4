//! A header list: names and values in order, in one allocation.
//!
//! Knows bytes; what they mean is read by `message` and kept here, so that a list that repeats is read once.

use std::cell::{Cell, OnceCell};
use std::fmt;

use super::message::Head;

#[derive(Clone, Copy, PartialEq, Eq)]
struct Field {
    start: u32,
    name_len: u32,
    value_len: u32,
    never_indexed: bool,
}

/// One field of a list.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HeaderRef<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
    /// The sender forbade every table on the way to keep it (RFC 7541 §7.1.3).
    pub never_indexed: bool,
}

/// A header list.
#[derive(Clone)]
pub struct Headers {
    bytes: Vec<u8>,
    fields: Vec<Field>,
    head: OnceCell<Head>,
    tag: Cell<u32>,
}

impl Headers {
    /// An empty list.
    pub fn new() -> Self {
        Self::with_capacity(0, 0)
    }

    /// An empty list with room for so many bytes and fields.
    pub fn with_capacity(bytes: usize, fields: usize) -> Self {
        let (bytes, fields) = (Vec::with_capacity(bytes), Vec::with_capacity(fields));
        Self { bytes, fields, head: OnceCell::new(), tag: Cell::new(u32::MAX) }
    }

    /// Adds a field.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        self.add(name, value, false);
    }

    /// Adds a field that no table may keep.
    pub fn push_never_indexed(&mut self, name: &[u8], value: &[u8]) {
        self.add(name, value, true);
    }

    fn add(&mut self, name: &[u8], value: &[u8], never_indexed: bool) {
        let (start, name_len, value_len) = (self.bytes.len() as u32, name.len() as u32, value.len() as u32);
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(value);
        self.fields.push(Field { start, name_len, value_len, never_indexed });
        self.head = OnceCell::new();
        self.tag.set(u32::MAX);
    }

    /// The fields in order.
    pub fn iter(&self) -> impl Iterator<Item = HeaderRef<'_>> {
        self.fields.iter().map(|f| {
            let (start, middle) = (f.start as usize, (f.start + f.name_len) as usize);
            let end = middle + f.value_len as usize;
            let (name, value) = (&self.bytes[start..middle], &self.bytes[middle..end]);
            HeaderRef { name, value, never_indexed: f.never_indexed }
        })
    }

    /// The first value of a name.
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.iter().find(|f| f.name == name).map(|f| f.value)
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Is there no field?
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Empties the list and keeps its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.fields.clear();
        self.head = OnceCell::new();
        self.tag.set(u32::MAX);
    }

    /// Its size as RFC 9113 §6.5.2 and RFC 7541 §4.1 count it: 32 bytes a field on top of names and values.
    pub fn list_size(&self) -> usize {
        self.bytes.len() + 32 * self.fields.len()
    }

    /// What the list says; read at the first call.
    pub fn head(&self) -> &Head {
        self.head.get_or_init(|| Head::read(self))
    }

    /// A number for the owner's use, u32::MAX until it is set: what it looked up for this list once.
    pub fn tag(&self) -> &Cell<u32> {
        &self.tag
    }
}

impl Default for Headers {
    fn default() -> Self {
        Self::new()
    }
}

impl PartialEq for Headers {
    fn eq(&self, other: &Self) -> bool {
        self.fields == other.fields && self.bytes == other.bytes
    }
}

impl Eq for Headers {}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |h: HeaderRef| {
            let value = if h.never_indexed { "…".into() } else { String::from_utf8_lossy(h.value).into_owned() };
            (String::from_utf8_lossy(h.name).into_owned(), value)
        };
        f.debug_map().entries(self.iter().map(shown)).finish()
    }
}
