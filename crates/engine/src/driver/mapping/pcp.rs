//! PCP: a datagram to the gateway's port, one back. The gateway must see our address, so the socket is bound to it: on
//! the way to a router of its link the system would choose another one for IPv6.

use super::{seconds, words};
use quelea_discovery::mapping::pcp::{MAX_LENGTH, PORT, Request};
use quelea_discovery::mapping::{Ask, Gateway, Grant, LEASE, Mapping, Trouble};
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::time::Duration;

/// How long an answer is waited for after each datagram. Most routers that do not speak PCP say so at once, as nobody
/// listens there.
const WAITS: [Duration; 3] =
    [Duration::from_millis(500), Duration::from_millis(1_000), Duration::from_millis(2_000)];
/// In the end there is less time.
const LAST_WAITS: [Duration; 2] = [Duration::from_millis(250), Duration::from_millis(500)];

pub(super) async fn ask(gateway: Gateway, ask: &Ask, nonce: [u8; 12]) -> Result<Grant, Trouble> {
    let request = Request {
        client: ask.route.local,
        nonce,
        transport: ask.transport,
        port: ask.port,
        external_port: ask.external_port,
        // It knows no mappings for good either.
        lifetime: seconds(ask.lease.unwrap_or(LEASE)),
    };
    exchange(gateway, &request, &WAITS).await.map_err(Trouble::Failed)
}

pub(super) async fn release(gateway: Gateway, mapping: &Mapping, nonce: [u8; 12]) -> Result<(), String> {
    let request = Request {
        client: mapping.local.ip(),
        nonce,
        transport: mapping.transport,
        port: mapping.local.port(),
        external_port: 0,
        lifetime: 0,
    };
    exchange(gateway, &request, &LAST_WAITS).await.map(drop)
}

/// Sends the request, once for each wait, until it is answered.
async fn exchange(gateway: Gateway, request: &Request, waits: &[Duration]) -> Result<Grant, String> {
    let failed = |error: io::Error| words(&error);
    let socket = quelea_net::udp_socket(SocketAddr::new(request.client, 0)).map_err(failed)?;
    let to = match gateway.address {
        IpAddr::V4(_) => SocketAddr::new(gateway.address, PORT),
        IpAddr::V6(address) => SocketAddrV6::new(address, PORT, 0, gateway.interface).into(),
    };
    socket.connect(to).await.map_err(failed)?;
    let bytes = request.encode();
    let answered = async {
        let mut datagram = [0; MAX_LENGTH + 1];
        loop {
            let length = socket.recv(&mut datagram).await.map_err(failed)?;
            if let Some(answer) = request.read(&datagram[..length]) {
                return answer.map_err(|refusal| words(&refusal));
            }
        }
    };
    tokio::pin!(answered);
    for wait in waits {
        socket.send(&bytes).await.map_err(failed)?;
        if let Ok(answer) = tokio::time::timeout(*wait, &mut answered).await {
            return answer;
        }
    }
    Err("no answer".to_owned())
}
