//! TCP sockets.

use crate::Binding;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Connections that wait to be accepted, at most.
const BACKLOG: i32 = 128;

/// Listens on `address`. An IPv6 socket takes IPv6 alone, so that both families can share a port.
///
/// Must be called inside a tokio runtime.
///
/// # Errors
/// Those of the system: the port is taken, the address is not ours, no right to a port below 1024.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A port whose last connections are still in TIME_WAIT can be listened on again at once.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Connects to `remote` from the bound address of its family.
///
/// # Errors
/// [`io::ErrorKind::TimedOut`] after `patience`, else those of the system.
pub async fn connect(binding: &Binding, remote: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    let local = binding.local_for(remote.ip())?;
    let socket = match remote {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if !local.is_unspecified() {
        socket.bind(SocketAddr::new(local, 0))?;
    }
    let connected = tokio::time::timeout(patience, socket.connect(remote)).await;
    let stream = connected.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    // Requests are small and must not wait for each other; blocks are written whole.
    stream.set_nodelay(true)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    #[test]
    fn connects_from_the_bound_address() {
        run(async {
            let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
            let remote = listener.local_addr().unwrap();
            let binding = Binding::new(vec!["127.0.0.9".parse().unwrap()]);
            let mut out = connect(&binding, remote, Duration::from_secs(60)).await.unwrap();
            let (mut accepted, from) = listener.accept().await.unwrap();
            assert_eq!(from.ip().to_string(), "127.0.0.9");
            out.write_all(b"x").await.unwrap();
            assert_eq!(accepted.read_u8().await.unwrap(), b'x');
        });
    }

    #[test]
    fn both_families_share_a_port() {
        run(async {
            let four = listen("127.0.0.1:0".parse().unwrap()).unwrap();
            let port = four.local_addr().unwrap().port();
            match listen(SocketAddr::new("::1".parse().unwrap(), port)) {
                Ok(six) => assert_eq!(six.local_addr().unwrap().port(), port),
                // Somebody else may have that port, and a machine may lack IPv6.
                Err(error) => assert_ne!(error.kind(), io::ErrorKind::InvalidInput),
            }
        });
    }

    #[test]
    fn a_taken_port_is_refused() {
        run(async {
            let first = listen("127.0.0.1:0".parse().unwrap()).unwrap();
            let error = listen(first.local_addr().unwrap()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        });
    }
}
