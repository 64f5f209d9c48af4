//! The rules as a value, and as nftables has them. Knows nothing of how they get into the kernel.

use std::fmt;
use std::net::IpAddr;

/// The name of our table, and of our chain in iptables.
pub const TABLE: &str = "ewma-proxy";

/// A range of ports; both ends belong to it.
pub type Ports = (u16, u16);

/// A network: its address, all host bits zero, and its prefix length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cidr {
    /// The network's address.
    pub ip: IpAddr,
    /// Bits that count.
    pub bits: u8,
}

/// What is redirected and what is not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rules {
    /// Where the proxy listens, on loopback.
    pub port: u16,
    /// Whose connections are never redirected: the proxy's own UID first.
    pub uids: Vec<u32>,
    /// Destination ports that are left alone.
    pub ports: Vec<Ports>,
    /// Destinations that are left alone.
    pub cidrs: Vec<Cidr>,
}

impl Cidr {
    /// Reads `10.0.0.0/8`, `fd00::/8`, or an address alone.
    pub fn parse(text: &str) -> Option<Self> {
        let (ip, bits) = text.split_once('/').map_or((text, None), |(ip, bits)| (ip, Some(bits)));
        let ip: IpAddr = ip.parse().ok()?;
        let most = if ip.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Some(most), |b| b.parse().ok()).filter(|b| *b <= most)?;
        let cidr = Self { ip, bits };
        let zero = cidr.octets().iter().zip(cidr.mask()).all(|(octet, mask)| octet & !mask == 0);
        zero.then_some(cidr)
    }

    /// The address's bytes.
    pub fn octets(&self) -> Vec<u8> {
        match self.ip {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        }
    }

    /// The bytes of its mask.
    pub fn mask(&self) -> Vec<u8> {
        let n = if self.ip.is_ipv4() { 4 } else { 16 };
        let bits = |i: u8| self.bits.saturating_sub(8 * i).min(8);
        (0..n).map(|i| 0xff_u8.checked_shl(u32::from(8 - bits(i))).unwrap_or(0)).collect()
    }
}

impl Rules {
    /// The networks of one family.
    pub fn cidrs(&self, v6: bool) -> impl Iterator<Item = &Cidr> {
        self.cidrs.iter().filter(move |c| c.ip.is_ipv6() == v6)
    }

    fn family(&self, f: &mut fmt::Formatter<'_>, family: &str, v6: bool) -> fmt::Result {
        writeln!(f, "table {family} {TABLE} {{\n\tchain output {{")?;
        writeln!(f, "\t\ttype nat hook output priority -100; policy accept;")?;
        for uid in &self.uids {
            writeln!(f, "\t\tmeta skuid {uid} return")?;
        }
        writeln!(f, "\t\toifname \"lo\" return")?;
        for cidr in self.cidrs(v6) {
            writeln!(f, "\t\t{family} daddr {}/{} return", cidr.ip, cidr.bits)?;
        }
        for (low, high) in &self.ports {
            let range = if low == high { low.to_string() } else { format!("{low}-{high}") };
            writeln!(f, "\t\ttcp dport {range} return")?;
        }
        writeln!(f, "\t\tmeta l4proto tcp redirect to :{}\n\t}}\n}}", self.port)
    }
}

/// As `nft -f` reads them.
impl fmt::Display for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.family(f, "ip", false)?;
        self.family(f, "ip6", true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_with_their_masks() {
        let c = Cidr::parse("10.96.0.0/12").unwrap();
        assert_eq!((c.octets(), c.mask()), (vec![10, 96, 0, 0], vec![255, 240, 0, 0]));
        assert_eq!(Cidr::parse("10.1.2.3").unwrap().mask(), [255; 4]);
        assert_eq!(Cidr::parse("0.0.0.0/0").unwrap().mask(), [0; 4]);
        let c = Cidr::parse("fd00::/9").unwrap();
        assert_eq!((c.mask()[0], c.mask()[1], c.mask()[15]), (255, 128, 0));
        for bad in ["10.96.0.1/12", "10.0.0.0/33", "fd00::/129", "fd00::1/64", "x/8", "10.0.0.0/", "", "/8"] {
            assert_eq!(Cidr::parse(bad), None, "{bad}");
        }
    }
}
