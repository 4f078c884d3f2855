//! Addresses of data connections in commands and replies: six numbers (RFC 959), or between delimiters
//! (RFC 2428). The callers decide whether an address may be used.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};

/// `h1,h2,h3,h4,p1,p2`: the argument of `PORT`, and the address in the reply to `PASV`.
pub struct Numbers(pub SocketAddrV4);

impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d] = self.0.ip().octets();
        let [high, low] = self.0.port().to_be_bytes();
        write!(f, "{a},{b},{c},{d},{high},{low}")
    }
}

/// Returns the text of the reply 227 to `PASV`.
pub fn passive(address: SocketAddrV4) -> String {
    format!("Entering Passive Mode ({}).", Numbers(address))
}

/// Returns the address that `PASV` announces: `public` if it is configured, but the local address `own`
/// if both ends are in a private network, where the public one may not be reachable.
pub fn advertised(own: Ipv4Addr, peer: IpAddr, public: Option<Ipv4Addr>) -> Ipv4Addr {
    public.filter(|_| !(is_private(own.into()) && is_private(peer.to_canonical()))).unwrap_or(own)
}

/// Returns whether `ip` is a loopback, RFC 1918, link-local or unique local address.
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// Returns the text of the reply 229 to `EPSV`.
pub fn extended_passive(port: u16) -> String {
    format!("Entering Extended Passive Mode (|||{port}|)")
}

/// Parses the argument of `PORT`.
pub fn parse_numbers(text: &[u8]) -> Option<SocketAddrV4> {
    let mut numbers = [0; 6];
    let mut parts = text.split(|&byte| byte == b',');
    for number in &mut numbers {
        *number = small_number(parts.next()?)?;
    }
    let [a, b, c, d, high, low] = numbers;
    let address = SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low]));
    parts.next().is_none().then_some(address)
}

/// Why the argument of `EPRT` is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressError {
    /// It is not `|1|a.b.c.d|port|` or `|2|address|port|`.
    Malformed,
    /// A network protocol other than IPv4 and IPv6.
    Protocol,
}

/// Parses the argument of `EPRT`; any printable character may be the delimiter (RFC 2428 section 2).
pub fn parse_extended(text: &[u8]) -> Result<SocketAddr, AddressError> {
    let text = std::str::from_utf8(text).map_err(|_| AddressError::Malformed)?;
    let delimiter = text.chars().next().filter(char::is_ascii_graphic).ok_or(AddressError::Malformed)?;
    let parts: Vec<&str> = text.split(delimiter).collect();
    let ["", protocol, ip, port, ""] = parts[..] else { return Err(AddressError::Malformed) };
    let ip = match protocol {
        "1" => ip.parse::<Ipv4Addr>().map(IpAddr::from),
        "2" => ip.parse::<Ipv6Addr>().map(IpAddr::from),
        other if !other.is_empty() && other.bytes().all(|byte| byte.is_ascii_digit()) => {
            return Err(AddressError::Protocol);
        }
        _ => return Err(AddressError::Malformed),
    };
    let ip = ip.map_err(|_| AddressError::Malformed)?;
    // `parse` alone accepts a sign.
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|_| is_number).ok_or(AddressError::Malformed)?;
    Ok(SocketAddr::new(ip, port))
}

fn small_number(digits: &[u8]) -> Option<u8> {
    let is_number = (1..=3).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    let number =
        digits.iter().fold(0u16, |n, digit| n.wrapping_mul(10).wrapping_add(u16::from(digit.wrapping_sub(b'0'))));
    u8::try_from(number).ok().filter(|_| is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_numbers_are_read_as_they_are_written() {
        for (address, text) in [
            ("127.0.0.1:50000", "127,0,0,1,195,80"),
            ("255.255.255.255:65535", "255,255,255,255,255,255"),
            ("0.0.0.0:0", "0,0,0,0,0,0"),
        ] {
            let address = address.parse().expect("an address");
            assert_eq!(Numbers(address).to_string(), text);
            assert_eq!(parse_numbers(text.as_bytes()), Some(address));
        }
        assert_eq!(parse_numbers(b"127,000,0,01,4,0"), Some("127.0.0.1:1024".parse().expect("an address")));
        for text in ["", "1,2,3,4,5", "1,2,3,4,5,6,7", "1,2,3,4,5,256", "1,2,3,4,5,", "1,2,3,4,+5,6", "1, 2,3,4,5,6"] {
            assert_eq!(parse_numbers(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn extended_addresses_are_those_of_rfc_2428() {
        for (text, address) in [
            ("|1|132.235.1.2|6275|", "132.235.1.2:6275"),
            ("|2|1080::8:800:200C:417A|5282|", "[1080::8:800:200c:417a]:5282"),
            ("#1#127.0.0.1#1#", "127.0.0.1:1"),
        ] {
            assert_eq!(parse_extended(text.as_bytes()), Ok(address.parse().expect("an address")), "{text}");
        }
        assert_eq!(parse_extended(b"|3|x|1|"), Err(AddressError::Protocol));
        for text in [
            "",
            "|",
            "||||",
            "|1|127.0.0.1|1",
            "|1|127.0.0.1|1|x",
            "|1|127.0.0.1|65536|",
            "|1|127.0.0.1|+1|",
            "|1|127.0.0.1||",
            "|1|::1|1|",
            "|2|127.0.0.1|1|",
            "|2|fe80::1%eth0|1|",
            "|x|127.0.0.1|1|",
            "11127.0.0.1111",
            " 1 127.0.0.1 1 ",
            "ä1ä127.0.0.1ä1ä",
        ] {
            assert_eq!(parse_extended(text.as_bytes()), Err(AddressError::Malformed), "{text}");
        }
    }

    #[test]
    fn the_public_address_is_for_peers_from_outside() {
        let public = "192.0.2.7".parse().expect("an address");
        for (own, peer, is_public) in [
            ("127.0.0.1", "127.0.0.1", false),
            ("192.168.1.2", "192.168.1.9", false),
            ("192.168.1.2", "10.9.9.9", false),
            ("172.31.0.1", "172.16.5.5", false),
            ("169.254.3.3", "169.254.4.4", false),
            ("10.0.0.1", "fd00::1", false),
            ("10.0.0.1", "fe80::1", false),
            ("10.0.0.1", "::1", false),
            ("192.168.1.2", "::ffff:192.168.1.9", false),
            ("192.168.1.2", "203.0.113.5", true),
            ("192.168.1.2", "172.32.0.1", true),
            ("192.168.1.2", "2001:db8::1", true),
            ("192.168.1.2", "::ffff:203.0.113.5", true),
            ("198.51.100.3", "192.168.1.9", true),
        ] {
            let own = own.parse().expect("an address");
            let peer = peer.parse().expect("an address");
            let expected = if is_public { public } else { own };
            assert_eq!(advertised(own, peer, Some(public)), expected, "{own} {peer}");
            assert_eq!(advertised(own, peer, None), own);
        }
    }

    #[test]
    fn replies_to_passive_have_the_form_clients_look_for() {
        let address = "192.0.2.7:50001".parse().expect("an address");
        assert_eq!(passive(address), "Entering Passive Mode (192,0,2,7,195,81).");
        assert_eq!(extended_passive(50001), "Entering Extended Passive Mode (|||50001|)");
    }
}
