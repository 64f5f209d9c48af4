//! The rules into nf_tables over netlink: our table in the families `ip` and `ip6`, replaced or dropped as a whole.
//!
//! One batch per family, which the kernel takes as one transaction: create the table (so that there is one to drop),
//! drop it, and, unless this is the undoing, create it with its chain and rules. So twice is once, and connections
//! never see half the rules. Messages and numbers: linux/netlink.h, linux/netfilter/nf_tables.h; the byte order of
//! headers is the host's, of numbers in attributes the network's. nft(8) shows what has come of it.

use std::fmt;
use std::io::{self, Read};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::rules::{Rules, TABLE};

/// What went wrong.
#[derive(Debug)]
pub enum Error {
    /// The kernel has no nf_tables, or not what the rules need of it.
    Missing(String),
    /// Anything else.
    Other(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Missing(why) | Error::Other(why) => f.write_str(why),
        }
    }
}

const AF_NETLINK: i32 = 16;
const NETLINK_NETFILTER: i32 = 12;
/// Address families as nf_tables numbers them.
const IPV4: u8 = 2;
const IPV6: u8 = 10;
/// What the kernel says when it lacks something: ENOENT (no such chain type or expression), EOPNOTSUPP,
/// EPROTONOSUPPORT, EAFNOSUPPORT.
const LACKING: [i32; 4] = [2, 95, 93, 97];

/// Writes the rules, or removes them; returns what was done, for the log.
pub fn apply(rules: &Rules, undo: bool) -> Result<String, Error> {
    exchange(&batch(rules, IPV4, undo)).map_err(|e| failed(&e, undo))?;
    match exchange(&batch(rules, IPV6, undo)) {
        Ok(()) => Ok(format!("nf_tables, table {TABLE}, IPv4 and IPv6")),
        // A kernel without IPv6 has no connections to redirect there either.
        Err(e) if lacking(&e) => Ok(format!("nf_tables, table {TABLE}, IPv4; this kernel has no IPv6 NAT")),
        Err(e) => {
            if !undo {
                // Half the rules are none.
                let _ = exchange(&batch(rules, IPV4, true));
            }
            Err(failed(&e, undo))
        }
    }
}

fn lacking(e: &io::Error) -> bool {
    e.raw_os_error().is_some_and(|code| LACKING.contains(&code))
}

fn failed(e: &io::Error, undo: bool) -> Error {
    let what = if undo { "remove" } else { "write" };
    match e.raw_os_error() {
        Some(1 | 13) => Error::Other(format!("cannot {what} redirect rules: {e}; the container needs CAP_NET_ADMIN")),
        _ if lacking(e) => Error::Missing(format!("this kernel's nf_tables cannot redirect: {e}")),
        _ => Error::Other(format!("cannot {what} redirect rules: {e}")),
    }
}

/// Sends a batch and waits for the word on it.
fn exchange(batch: &Batch) -> io::Result<()> {
    let kind = Type::RAW.cloexec();
    let mut socket = Socket::new(Domain::from(AF_NETLINK), kind, Some(Protocol::from(NETLINK_NETFILTER)))?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    socket.send(&batch.bytes)?;
    // Every message that asks for an acknowledgement gets one, an error at the latest for the batch as a whole.
    let mut waiting = batch.acks;
    let mut buffer = vec![0; 64 << 10];
    while waiting > 0 {
        let n = socket.read(&mut buffer)?;
        let mut rest = &buffer[..n];
        while let Some((len, kind, payload)) = message(rest) {
            if kind == NLMSG_ERROR {
                let code = payload.get(..4).and_then(|b| b.try_into().ok()).map_or(0, i32::from_ne_bytes);
                if code != 0 {
                    return Err(io::Error::from_raw_os_error(-code));
                }
                waiting -= 1;
            }
            rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
    }
    Ok(())
}

/// The first netlink message: its length, its type, what it carries.
fn message(bytes: &[u8]) -> Option<(usize, u16, &[u8])> {
    let len = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    Some((len, kind, bytes.get(16..len)?))
}

const NLMSG_ERROR: u16 = 2;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
/// Netfilter's number for nf_tables.
const NFTABLES: u16 = 10;
const NEW_TABLE: u16 = NFTABLES << 8;
const DEL_TABLE: u16 = NFTABLES << 8 | 2;
const NEW_CHAIN: u16 = NFTABLES << 8 | 3;
const NEW_RULE: u16 = NFTABLES << 8 | 6;
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;
const NESTED: u16 = 0x8000;

/// Messages that the kernel takes together.
struct Batch {
    bytes: Vec<u8>,
    acks: usize,
    family: u8,
}

fn batch(rules: &Rules, family: u8, undo: bool) -> Batch {
    let mut b = Batch { bytes: vec![], acks: 0, family };
    let table = [text(1, TABLE)].concat();
    b.push(BATCH_BEGIN, 0, &[]);
    b.push(NEW_TABLE, CREATE | ACK, &table);
    b.push(DEL_TABLE, ACK, &table);
    if !undo {
        b.push(NEW_TABLE, CREATE | ACK, &table);
        // Where locally made packets pass (hook 3), at the priority of destination NAT.
        let hook = nested(4, &[number(1, 3), number(2, -100_i32 as u32)]);
        let chain = [text(1, TABLE), text(3, CHAIN), hook, number(5, ACCEPT), text(7, "nat")].concat();
        b.push(NEW_CHAIN, CREATE | ACK, &chain);
        for expressions in rule_list(rules, family) {
            let rule = [text(1, TABLE), text(2, CHAIN), nested(4, &expressions)].concat();
            b.push(NEW_RULE, CREATE | APPEND | ACK, &rule);
        }
    }
    b.push(BATCH_END, 0, &[]);
    b
}

const CHAIN: &str = "output";
const ACCEPT: u32 = 1;

impl Batch {
    fn push(&mut self, kind: u16, flags: u16, attributes: &[u8]) {
        let seq = self.bytes.len() as u32;
        let len = (20 + attributes.len()) as u32;
        self.acks += usize::from(flags & ACK != 0);
        self.bytes.extend(len.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend((REQUEST | flags).to_ne_bytes());
        self.bytes.extend(seq.to_ne_bytes());
        self.bytes.extend(0_u32.to_ne_bytes());
        // nfgenmsg: family, version, resource; the resource of a batch is its subsystem.
        let (family, resource) = if kind < 0x100 { (0, NFTABLES) } else { (self.family, 0) };
        self.bytes.extend([family, 0]);
        self.bytes.extend(resource.to_be_bytes());
        self.bytes.extend(attributes);
    }
}

/// The rules of one family, each a list of expressions.
fn rule_list(rules: &Rules, family: u8) -> Vec<Vec<Vec<u8>>> {
    let mut all = Vec::new();
    for uid in &rules.uids {
        all.push(vec![meta(SKUID), compare(EQUAL, &uid.to_ne_bytes()), verdict(RETURN)]);
    }
    let mut lo = [0; 16];
    lo[..2].copy_from_slice(b"lo");
    all.push(vec![meta(OIFNAME), compare(EQUAL, &lo), verdict(RETURN)]);
    for cidr in rules.cidrs(family == IPV6) {
        let (offset, octets) = (if family == IPV6 { 24 } else { 16 }, cidr.octets());
        let len = octets.len() as u32;
        let masked = mask(&cidr.mask());
        all.push(vec![payload(NETWORK, offset, len), masked, compare(EQUAL, &octets), verdict(RETURN)]);
    }
    let tcp = || [meta(L4PROTO), compare(EQUAL, &[6])];
    for (low, high) in &rules.ports {
        let mut rule = tcp().to_vec();
        rule.push(payload(TRANSPORT, 2, 2));
        if low == high {
            rule.push(compare(EQUAL, &low.to_be_bytes()));
        } else {
            rule.push(compare(AT_LEAST, &low.to_be_bytes()));
            rule.push(compare(AT_MOST, &high.to_be_bytes()));
        }
        rule.push(verdict(RETURN));
        all.push(rule);
    }
    let mut redirect = tcp().to_vec();
    redirect.push(expression("immediate", &[number(1, REGISTER), nested(2, &[bytes(1, &rules.port.to_be_bytes())])]));
    redirect.push(expression("redir", &[number(1, REGISTER)]));
    all.push(redirect);
    all
}

/// The one register that is used, and the one that takes verdicts.
const REGISTER: u32 = 1;
const VERDICT: u32 = 0;
const RETURN: i32 = -5;
/// Keys of `meta`.
const OIFNAME: u32 = 7;
const SKUID: u32 = 10;
const L4PROTO: u32 = 16;
/// Operators of `cmp`.
const EQUAL: u32 = 0;
const AT_MOST: u32 = 3;
const AT_LEAST: u32 = 5;
/// Headers of `payload`.
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;

fn meta(key: u32) -> Vec<u8> {
    expression("meta", &[number(1, REGISTER), number(2, key)])
}

fn compare(operator: u32, value: &[u8]) -> Vec<u8> {
    expression("cmp", &[number(1, REGISTER), number(2, operator), nested(3, &[bytes(1, value)])])
}

fn payload(header: u32, offset: u32, len: u32) -> Vec<u8> {
    expression("payload", &[number(1, REGISTER), number(2, header), number(3, offset), number(4, len)])
}

fn mask(mask: &[u8]) -> Vec<u8> {
    let (len, zero) = (mask.len() as u32, vec![0; mask.len()]);
    let (mask, xor) = (nested(4, &[bytes(1, mask)]), nested(5, &[bytes(1, &zero)]));
    expression("bitwise", &[number(1, REGISTER), number(2, REGISTER), number(3, len), mask, xor])
}

fn verdict(code: i32) -> Vec<u8> {
    let code = nested(2, &[number(1, code as u32)]);
    expression("immediate", &[number(1, VERDICT), nested(2, &[code])])
}

fn expression(name: &str, attributes: &[Vec<u8>]) -> Vec<u8> {
    nested(1, &[text(1, name), nested(2, attributes)])
}

fn number(kind: u16, value: u32) -> Vec<u8> {
    bytes(kind, &value.to_be_bytes())
}

fn text(kind: u16, value: &str) -> Vec<u8> {
    bytes(kind, &[value.as_bytes(), b"\0"].concat())
}

fn nested(kind: u16, attributes: &[Vec<u8>]) -> Vec<u8> {
    bytes(kind | NESTED, &attributes.concat())
}

/// An attribute: length and type, the value, padding to four bytes.
fn bytes(kind: u16, value: &[u8]) -> Vec<u8> {
    let len = (4 + value.len()) as u16;
    let mut out = [&len.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_whole_messages_between_begin_and_end() {
        let rules = Rules { port: 4140, uids: vec![7], ports: vec![(22, 22), (5000, 5010)], cidrs: vec![] };
        let b = batch(&rules, IPV4, false);
        let (mut rest, mut kinds) = (&b.bytes[..], vec![]);
        while let Some((len, kind, _)) = message(rest) {
            kinds.push(kind);
            rest = &rest[len..];
        }
        assert!(rest.is_empty());
        assert_eq!(kinds[..5], [BATCH_BEGIN, NEW_TABLE, DEL_TABLE, NEW_TABLE, NEW_CHAIN]);
        assert_eq!(kinds[5..], [NEW_RULE, NEW_RULE, NEW_RULE, NEW_RULE, NEW_RULE, BATCH_END]);
        assert_eq!(b.acks, 9);
    }

    #[test]
    fn what_the_kernel_sends_may_be_cut_anywhere() {
        let whole = batch(&Rules { port: 1, uids: vec![], ports: vec![], cidrs: vec![] }, IPV6, true).bytes;
        for n in 0..whole.len().min(20) {
            assert!(message(&whole[..n]).is_none());
        }
    }
}
