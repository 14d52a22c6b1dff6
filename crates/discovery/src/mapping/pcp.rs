//! What is said to a router by PCP (RFC 6887): a request to map one port, and what it answers.
//!
//! Addresses have 16 bytes; those of IPv4 stand in them as mapped ones (section 5). Options are not used.

use super::{Grant, Transport};
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;

/// Where routers listen (section 19.1).
pub const PORT: u16 = 5351;
/// A request to map a port has so many bytes, and an answer to it at least as many (sections 7.1, 7.2 and 11.1).
pub const LENGTH: usize = 60;
/// No packet is longer (section 7).
pub const MAX_LENGTH: usize = 1100;

const VERSION: u8 = 2;
/// The version of NAT-PMP, which answers what it does not know at the same port (RFC 6886, section 3.5).
const NAT_PMP: u8 = 0;
const MAP: u8 = 1;
/// Set in the operation of an answer.
const ANSWER: u8 = 0x80;

/// A request to map one port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Our address, which the packet must come from.
    pub client: IpAddr,
    /// Names our mappings; who does not know it cannot change them (section 11.2).
    pub nonce: [u8; 12],
    /// What runs over the port.
    pub transport: Transport,
    /// The port that we listen on.
    pub port: u16,
    /// The port that others should see.
    pub external_port: u16,
    /// For how many seconds; 0 gives the port back (section 15).
    pub lifetime: u32,
}

/// What a router refused with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It speaks NAT-PMP alone, or another version of this.
    #[error("it does not speak PCP of version 2")]
    Version,
    /// A code of section 7.4.
    #[error("{}", Code(*.0))]
    Code(u8),
}

/// A code, in words.
struct Code(u8);

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            2 => "it lets nobody have ports",
            3 => "it takes the request for malformed",
            4 => "it maps no ports",
            7 => "its own network is out of order",
            8 => "it has no room for more ports",
            9 => "it does not map this transport",
            10 => "this machine has too many ports already",
            11 => "the port outside is taken",
            12 => "it sees us at another address: there is a translation in between",
            code => return write!(f, "it refused with code {code}"),
        })
    }
}

impl Request {
    /// The bytes of the request.
    pub fn encode(&self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        // Which address outside is left to the router; the family is not.
        let unspecified = match self.client {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.to_ipv6_mapped(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED,
        };
        bytes[0] = VERSION;
        bytes[1] = MAP;
        bytes[4..8].copy_from_slice(&self.lifetime.to_be_bytes());
        bytes[8..24].copy_from_slice(&wide(self.client).octets());
        bytes[24..36].copy_from_slice(&self.nonce);
        bytes[36] = protocol(self.transport);
        bytes[40..42].copy_from_slice(&self.port.to_be_bytes());
        bytes[42..44].copy_from_slice(&self.external_port.to_be_bytes());
        bytes[44..60].copy_from_slice(&unspecified.octets());
        bytes
    }

    /// What a datagram of the router says to this request; `None` when it is no answer to it.
    pub fn read(&self, datagram: &[u8]) -> Option<Result<Grant, Refusal>> {
        // Lengths are multiples of four (section 7).
        if datagram.len() > MAX_LENGTH || !datagram.len().is_multiple_of(4) {
            return None;
        }
        let (version, operation, result) = (*datagram.first()?, *datagram.get(1)?, *datagram.get(3)?);
        if operation & ANSWER == 0 {
            return None;
        }
        // Neither NAT-PMP nor a later version is bound to have more than this.
        if version == NAT_PMP || (version != VERSION && result == 1) {
            return Some(Err(Refusal::Version));
        }
        let bytes: &[u8; LENGTH] = datagram.first_chunk()?;
        let ours = version == VERSION
            && operation == ANSWER | MAP
            && bytes[24..36] == self.nonce
            && bytes[36] == protocol(self.transport)
            && bytes[40..42] == self.port.to_be_bytes();
        if !ours {
            return None;
        }
        if result == 1 {
            return Some(Err(Refusal::Version));
        }
        if result != 0 {
            return Some(Err(Refusal::Code(result)));
        }
        let number = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let outside = IpAddr::from(<[u8; 16]>::try_from(&bytes[44..60]).ok()?).to_canonical();
        Some(Ok(Grant {
            external_port: u16::from_be_bytes([bytes[42], bytes[43]]),
            external_ip: Some(outside)
                .filter(|ip| !ip.is_unspecified() && ip.is_ipv4() == self.client.is_ipv4()),
            lease: Some(Duration::from_secs(number(4).into())),
            epoch: Some(number(8)),
        }))
    }
}

fn wide(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

/// The number of a transport in IP.
const fn protocol(transport: Transport) -> u8 {
    match transport {
        Transport::Tcp => 6,
        Transport::Udp => 17,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(client: &str) -> Request {
        Request {
            client: client.parse().unwrap(),
            nonce: *b"abcdefghijkl",
            transport: Transport::Tcp,
            port: 6881,
            external_port: 7000,
            lifetime: 3600,
        }
    }

    /// An answer as section 11.1 draws it.
    fn answer(result: u8, outside: [u8; 16]) -> [u8; LENGTH] {
        let mut bytes = request("192.168.1.2").encode();
        bytes[1] = 0x81;
        bytes[2..4].copy_from_slice(&[0, result]);
        bytes[4..24].fill(0);
        bytes[4..8].copy_from_slice(&120_u32.to_be_bytes());
        bytes[8..12].copy_from_slice(&77_u32.to_be_bytes());
        bytes[44..60].copy_from_slice(&outside);
        bytes
    }

    #[test]
    fn a_request_has_the_layout_of_the_rfc() {
        let bytes = request("192.168.1.2").encode();
        assert_eq!(bytes[..8], [2, 1, 0, 0, 0, 0, 14, 16]);
        assert_eq!(bytes[8..24], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 192, 168, 1, 2]);
        assert_eq!(bytes[24..36], *b"abcdefghijkl");
        assert_eq!(bytes[36..44], [6, 0, 0, 0, 0x1a, 0xe1, 0x1b, 0x58]);
        assert_eq!(bytes[44..60], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 0, 0, 0, 0]);
        let bytes = request("2001:db8::2").encode();
        assert_eq!(bytes[8..14], [0x20, 0x01, 0x0d, 0xb8, 0, 0]);
        assert_eq!(bytes[44..60], [0; 16]);
    }

    #[test]
    fn a_grant_is_read() {
        let outside = Ipv4Addr::new(203, 0, 113, 7).to_ipv6_mapped().octets();
        let granted = request("192.168.1.2").read(&answer(0, outside)).unwrap().unwrap();
        assert_eq!(
            granted,
            Grant {
                external_port: 7000,
                external_ip: Some(IpAddr::from([203, 0, 113, 7])),
                lease: Some(Duration::from_secs(120)),
                epoch: Some(77),
            }
        );
        let six: Ipv6Addr = "2001:db8::2".parse().unwrap();
        let granted = request("2001:db8::2").read(&answer(0, six.octets())).unwrap().unwrap();
        assert_eq!(granted.external_ip, Some(six.into()));
        let granted = request("2001:db8::2").read(&answer(0, outside)).unwrap().unwrap();
        assert_eq!(granted.external_ip, None, "of another family");
    }

    #[test]
    fn refusals_are_told_apart() {
        let said = |datagram: &[u8]| request("192.168.1.2").read(datagram);
        assert_eq!(said(&answer(12, [0; 16])), Some(Err(Refusal::Code(12))));
        assert_eq!(said(&answer(1, [0; 16])), Some(Err(Refusal::Version)));
        assert_eq!(said(&[0, 0x81, 0, 1, 0, 0, 0, 0]), Some(Err(Refusal::Version)), "NAT-PMP");
        assert_eq!(said(&[3, 0x81, 0, 1]), Some(Err(Refusal::Version)), "of the future");
        for code in 0..=255 {
            let words = alloc::string::ToString::to_string(&Refusal::Code(code));
            assert!(
                words.starts_with("it ") || words.starts_with("its ") || words.starts_with("th"),
                "{words}"
            );
        }
    }

    #[test]
    fn what_is_no_answer_to_the_request_is_none() {
        let right = answer(0, [0; 16]);
        let said = |datagram: &[u8]| request("192.168.1.2").read(datagram);
        assert!(said(&right).is_some());
        for at in [0, 1, 24, 35, 36, 40, 41] {
            let mut wrong = right;
            wrong[at] ^= 0x40;
            assert_eq!(said(&wrong), None, "byte {at}");
        }
        for length in 0..LENGTH {
            assert_eq!(said(&right[..length]), None, "{length} bytes");
        }
        assert_eq!(said(&[right.as_slice(), &[0; MAX_LENGTH]].concat()), None, "too long");
        assert_eq!(said(&[right.as_slice(), &[0; 2]].concat()), None, "no multiple of four");
        assert!(said(&[right.as_slice(), &[0; 8]].concat()).is_some(), "with an option");
        assert_eq!(said(&request("192.168.1.2").encode()), None, "a request");
    }
}
