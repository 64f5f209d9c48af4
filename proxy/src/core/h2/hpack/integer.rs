//! Numbers and strings as HPACK writes them (RFC 7541 §5).

use super::huffman;

/// A number with a prefix of `bits` bits at `*at`; None if the bytes end first or it passes 2^28, far above any
/// length or index that can be right (§5.1: "excessively large" is an error).
pub fn read(bytes: &[u8], at: &mut usize, bits: u32) -> Option<usize> {
    let mask = (1usize << bits) - 1;
    let first = usize::from(*bytes.get(*at)?) & mask;
    *at += 1;
    if first < mask {
        return Some(first);
    }
    let mut value = first;
    for shift in [0, 7, 14, 21] {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Appends a number with a prefix of `bits` bits; `flags` are the bits above the prefix.
pub fn write(out: &mut Vec<u8>, flags: u8, bits: u32, value: usize) {
    let mask = (1usize << bits) - 1;
    if value < mask {
        out.push(flags | value as u8);
        return;
    }
    out.push(flags | mask as u8);
    let mut rest = value - mask;
    while rest >= 0x80 {
        out.push(0x80 | (rest & 0x7f) as u8);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// A string at `*at`, appended to `into`. None if the bytes end first or the Huffman text is wrong.
pub fn read_string(bytes: &[u8], at: &mut usize, into: &mut Vec<u8>) -> Option<()> {
    let huffman = bytes.get(*at)? & 0x80 != 0;
    let len = read(bytes, at, 7)?;
    let text = bytes.get(*at..at.checked_add(len)?)?;
    *at += len;
    if !huffman {
        into.extend_from_slice(text);
    } else if !huffman::decode(text, into) {
        return None;
    }
    Some(())
}

/// Appends a string, in Huffman code if that is shorter.
pub fn write_string(out: &mut Vec<u8>, text: &[u8]) {
    let short = huffman::encoded_len(text);
    if short < text.len() {
        write(out, 0x80, 7, short);
        huffman::encode(text, out);
    } else {
        write(out, 0, 7, text.len());
        out.extend_from_slice(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rfcs_numbers() {
        for (value, bits, bytes) in [(10, 5, vec![10]), (1337, 5, vec![31, 154, 10]), (42, 8, vec![42])] {
            let mut out = vec![];
            write(&mut out, 0, bits, value);
            assert_eq!(out, bytes);
            assert_eq!(read(&bytes, &mut 0, bits), Some(value));
        }
    }

    #[test]
    fn numbers_without_end_are_refused() {
        assert_eq!(read(&[0xff; 20], &mut 0, 7), None);
        assert_eq!(read(&[0xff, 0x80, 0x80], &mut 0, 7), None);
    }

    #[test]
    fn a_string_longer_than_its_block_is_refused() {
        assert!(read_string(&[5, b'a'], &mut 0, &mut vec![]).is_none());
        assert!(read_string(&[0x7f, 0xff, 0xff, 0xff, 0x7f], &mut 0, &mut vec![]).is_none());
    }
}
