//! Any bytes as a gateway's answer by PCP to any request: what is granted stands in the datagram, nothing that was
//! granted is taken for an answer to another request, and our own request is never an answer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quelea_discovery::mapping::Transport;
use quelea_discovery::mapping::pcp::{LENGTH, MAX_LENGTH, Request};

fuzz_target!(|input: &[u8]| {
    let Some((chance, datagram)) = input.split_first_chunk::<17>() else { return };
    let port = u16::from_be_bytes([chance[12], chance[13]]);
    let request = Request {
        client: if chance[14] % 2 == 0 { [10, 0, 0, 2].into() } else { [0xfe80, 0, 0, 0, 0, 0, 0, 2].into() },
        nonce: *chance.first_chunk().unwrap(),
        transport: if chance[15] % 2 == 0 { Transport::Tcp } else { Transport::Udp },
        port,
        external_port: port,
        lifetime: u32::from(chance[16]),
    };
    let sent = request.encode();
    assert_eq!(request.read(&sent), None);
    check(&request, datagram);
    // What fits but for a few bytes: the head of the datagram and what is granted are the input's, the rest is asked
    // for.
    let mut near = sent;
    for (to, from) in near[..24].iter_mut().zip(datagram) {
        *to = *from;
    }
    for (to, from) in near[42..].iter_mut().zip(datagram.iter().skip(24)) {
        *to = *from;
    }
    check(&request, &near);
});

fn check(request: &Request, datagram: &[u8]) {
    let Some(Ok(grant)) = request.read(datagram) else { return };
    assert!((LENGTH..=MAX_LENGTH).contains(&datagram.len()));
    assert_eq!(datagram[42..44], grant.external_port.to_be_bytes());
    assert!(grant.external_ip.is_none_or(|ip| !ip.is_unspecified()));
    let mut others = [*request; 3];
    others[0].nonce[5] ^= 1;
    others[1].port ^= 1;
    others[2].transport = if request.transport == Transport::Tcp { Transport::Udp } else { Transport::Tcp };
    assert!(others.iter().all(|other| other.read(datagram).is_none()));
}
