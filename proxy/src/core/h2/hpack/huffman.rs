//! HPACK's Huffman code (RFC 7541 §5.2 and Appendix B).
//!
//! The code is canonical: symbols of one length are consecutive numbers in symbol order. So the lengths are all that
//! must be written down; codes and decoding tables are computed from them at compile time.

/// Code lengths in bits by symbol; 256 is EOS.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28,
    28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11,
    10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8,
    15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5,
    6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7,
    7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23,
    23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21,
    23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25,
    26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26,
    28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

const EOS: usize = 256;
const LONGEST: usize = 30;
/// Codes of up to this many bits are found by one look into [`FAST`]; nearly all text is.
const FAST_BITS: u32 = 8;

struct Tables {
    /// Code by symbol.
    codes: [u32; 257],
    /// Symbols by (length, symbol): the canonical order.
    sorted: [u16; 257],
    /// First code of each length, and where its symbols start in `sorted`.
    first: [u32; LONGEST + 2],
    start: [u16; LONGEST + 2],
    /// Symbol and length by the next [`FAST_BITS`] bits; length 0 for longer codes.
    fast: [(u8, u8); 1 << FAST_BITS],
}

static TABLES: Tables = build();

const fn build() -> Tables {
    let mut t = Tables {
        codes: [0; 257],
        sorted: [0; 257],
        first: [0; LONGEST + 2],
        start: [0; LONGEST + 2],
        fast: [(0, 0); 1 << FAST_BITS],
    };
    let (mut code, mut at, mut len) = (0u32, 0usize, 1usize);
    while len <= LONGEST {
        t.first[len] = code;
        t.start[len] = at as u16;
        let mut symbol = 0;
        while symbol < 257 {
            if LENGTHS[symbol] as usize == len {
                t.codes[symbol] = code;
                t.sorted[at] = symbol as u16;
                if len <= FAST_BITS as usize {
                    let shift = FAST_BITS as usize - len;
                    let mut low = 0;
                    while low < 1 << shift {
                        t.fast[((code as usize) << shift) | low] = (symbol as u8, len as u8);
                        low += 1;
                    }
                }
                code += 1;
                at += 1;
            }
            symbol += 1;
        }
        code <<= 1;
        len += 1;
    }
    t.start[LONGEST + 1] = at as u16;
    t
}

/// Length of `text` once encoded, bytes.
pub fn encoded_len(text: &[u8]) -> usize {
    let bits: usize = text.iter().map(|c| usize::from(LENGTHS[usize::from(*c)])).sum();
    bits.div_ceil(8)
}

/// Appends the encoding of `text`.
pub fn encode(text: &[u8], out: &mut Vec<u8>) {
    let (mut bits, mut n) = (0u64, 0u32);
    for c in text {
        let symbol = usize::from(*c);
        let len = u32::from(LENGTHS[symbol]);
        bits = bits << len | u64::from(TABLES.codes[symbol]);
        n += len;
        while n >= 8 {
            n -= 8;
            out.push((bits >> n) as u8);
        }
    }
    if n > 0 {
        // Padding is the beginning of EOS: ones.
        out.push((bits << (8 - n)) as u8 | (0xff >> n) as u8);
    }
}

/// Appends the decoding of `bytes`; false if they are no Huffman text: EOS inside, or padding that is longer than
/// seven bits or not of ones (RFC 7541 §5.2).
#[must_use]
pub fn decode(bytes: &[u8], out: &mut Vec<u8>) -> bool {
    let (mut bits, mut n) = (0u64, 0u32);
    let mut rest = bytes.iter();
    loop {
        while n <= 56 {
            let Some(byte) = rest.next() else { break };
            bits = bits << 8 | u64::from(*byte);
            n += 8;
        }
        if n == 0 {
            return true;
        }
        // The next bits, on the left of 32, ones behind the end.
        let window = if n >= 32 { (bits >> (n - 32)) as u32 } else { (bits << (32 - n)) as u32 | (u32::MAX >> n) };
        let (symbol, len) = TABLES.fast[(window >> (32 - FAST_BITS)) as usize];
        let (symbol, len) = if len > 0 { (usize::from(symbol), u32::from(len)) } else { slow(window) };
        if len > n || symbol == EOS {
            // What is left is padding: fewer than eight ones.
            return n < 8 && window == u32::MAX;
        }
        out.push(symbol as u8);
        n -= len;
        bits &= (1u64 << n) - 1;
    }
}

/// A code longer than [`FAST_BITS`].
fn slow(window: u32) -> (usize, u32) {
    for len in FAST_BITS as usize + 1..=LONGEST {
        let code = window >> (32 - len);
        let count = u32::from(TABLES.start[len + 1] - TABLES.start[len]);
        if let Some(nth) = code.checked_sub(TABLES.first[len]) {
            if nth < count {
                return (usize::from(TABLES.sorted[usize::from(TABLES.start[len]) + nth as usize]), len as u32);
            }
        }
    }
    (EOS, LONGEST as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rfcs_examples_decode_and_encode() {
        let cases: [(&[u8], &[u8]); 4] = [
            (b"www.example.com", &[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff]),
            (b"no-cache", &[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf]),
            (b"custom-key", &[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xa9, 0x7d, 0x7f]),
            (b"302", &[0x64, 0x02]),
        ];
        for (text, code) in cases {
            let (mut encoded, mut decoded) = (vec![], vec![]);
            encode(text, &mut encoded);
            assert!(decode(code, &mut decoded));
            assert_eq!((&encoded[..], &decoded[..]), (code, text));
            assert_eq!(encoded_len(text), code.len());
        }
    }

    #[test]
    fn every_byte_survives_the_round_trip() {
        let all: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
        for from in 0..all.len() {
            let (mut encoded, mut decoded) = (vec![], vec![]);
            encode(&all[from..], &mut encoded);
            assert!(decode(&encoded, &mut decoded));
            assert_eq!(decoded, &all[from..]);
        }
    }

    #[test]
    fn wrong_padding_and_eos_are_refused() {
        let refused = |bytes: &[u8]| !decode(bytes, &mut vec![]);
        assert!(refused(&[0xff]), "eight bits of padding");
        assert!(refused(&[0x00]), "padding of zeros");
        assert!(refused(&[0xff, 0xff, 0xff, 0xff]), "EOS");
        assert!(!refused(&[]));
        assert!(!refused(&[0x07]), "'0' and three ones");
    }
}
