//! The streams of one connection: a slab with stable slots, and the map from stream identifier to slot.
//!
//! A slot stays valid until its owner removes it, whatever the peer does meanwhile; so whoever holds a slot never
//! meets another stream in it. Knows nothing of frames or of what a stream carries.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;

use super::headers::Headers;
use super::stream::State;
use super::window::{RecvWindow, SendWindow};

/// A stream's place in its connection's table.
pub type Slot = u32;

/// How a stream's output ends once what is pending has been sent.
#[derive(Clone, Debug, Default)]
pub enum End {
    /// Not yet known.
    #[default]
    None,
    /// With END_STREAM on the last DATA frame.
    Data,
    /// With trailers.
    Trailers(Rc<Headers>),
}

/// Output of a stream that waits for a window or for room in the connection's output.
#[derive(Debug, Default)]
pub struct Pending {
    bytes: Vec<u8>,
    head: usize,
    /// What follows the last byte.
    pub end: End,
}

impl Pending {
    /// The bytes that wait.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.head..]
    }

    /// Adds bytes at the end.
    pub fn push(&mut self, more: &[u8]) {
        if self.head == self.bytes.len() {
            self.bytes.clear();
            self.head = 0;
        }
        self.bytes.extend_from_slice(more);
    }

    /// Drops `n` bytes from the front; frees the memory once a stalled stream has caught up.
    pub fn advance(&mut self, n: usize) {
        self.head += n;
        if self.head == self.bytes.len() {
            self.bytes = Vec::new();
            self.head = 0;
        } else if self.head > 64 << 10 {
            self.bytes.drain(..self.head);
            self.head = 0;
        }
    }

    /// Is there neither a byte nor an end to send?
    pub fn is_idle(&self) -> bool {
        self.bytes().is_empty() && matches!(self.end, End::None)
    }
}

/// One stream.
#[derive(Debug)]
pub struct Stream {
    /// The stream identifier.
    pub id: u32,
    /// RFC 9113 §5.1.
    pub state: State,
    /// Whose it is: the owner's own number.
    pub call: u32,
    /// What we may send.
    pub send: SendWindow,
    /// What the peer may send.
    pub recv: RecvWindow,
    /// Received bytes that the owner has not released yet.
    pub held: usize,
    /// Output that waits.
    pub pending: Pending,
    /// Is it in the connection's ready queue?
    pub queued: bool,
    /// Has the first head (for a client: the final response's) been received?
    pub head_received: bool,
    /// 1xx heads before it.
    pub interim: u32,
    /// DATA bytes still due by `content-length`, if it was given.
    pub due: Option<u64>,
    used: bool,
}

/// Hash of a stream identifier: one multiplication; identifiers are chosen by the peer but strictly grow, so there
/// is nothing to gain from collisions that 1,000 entries could show.
#[derive(Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for b in bytes {
            self.write_u32(u32::from(*b));
        }
    }
    fn write_u32(&mut self, n: u32) {
        self.0 = (self.0 ^ u64::from(n)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26);
    }
}

/// All streams of a connection.
#[derive(Default)]
pub struct Table {
    slots: Vec<Stream>,
    free: Vec<Slot>,
    ids: HashMap<u32, Slot, BuildHasherDefault<IdHasher>>,
}

impl Table {
    /// Adds an open stream.
    pub fn insert(&mut self, id: u32, call: u32, send: SendWindow, recv: RecvWindow) -> Slot {
        let stream = Stream {
            id,
            state: State::Open,
            call,
            send,
            recv,
            held: 0,
            pending: Pending::default(),
            queued: false,
            head_received: false,
            interim: 0,
            due: None,
            used: true,
        };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = stream;
                slot
            }
            None => {
                self.slots.push(stream);
                (self.slots.len() - 1) as Slot
            }
        };
        self.ids.insert(id, slot);
        slot
    }

    /// Frees a slot; what it held and its connection-level debts are the caller's to settle first.
    pub fn remove(&mut self, slot: Slot) {
        let stream = &mut self.slots[slot as usize];
        debug_assert!(stream.used);
        if stream.used {
            stream.used = false;
            stream.pending = Pending::default();
            self.ids.remove(&stream.id);
            self.free.push(slot);
        }
        if self.ids.is_empty() && self.slots.len() > 64 {
            // A burst is over: give its memory back.
            *self = Self::default();
        }
    }

    /// The slot of a stream identifier.
    pub fn find(&self, id: u32) -> Option<Slot> {
        self.ids.get(&id).copied()
    }

    /// The stream in a slot, if the slot is in use.
    pub fn get(&self, slot: Slot) -> Option<&Stream> {
        self.slots.get(slot as usize).filter(|s| s.used)
    }

    /// The stream in a slot, if the slot is in use.
    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut Stream> {
        self.slots.get_mut(slot as usize).filter(|s| s.used)
    }

    /// Streams in use.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Is none in use?
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// All slots in use, by rising slot.
    pub fn slots(&self) -> impl Iterator<Item = (Slot, &Stream)> {
        self.slots.iter().enumerate().filter(|(_, s)| s.used).map(|(i, s)| (i as Slot, s))
    }

    /// All streams in use.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.slots.iter_mut().filter(|s| s.used)
    }
}
