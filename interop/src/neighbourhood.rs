//! One who hears what neighbours announce (BEP 14) and says nothing.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use anyhow::{Context, Result};

use crate::network::Host;
use crate::torrent::Torrent;
use crate::wait;

/// Where neighbours announce.
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 192, 152, 143);
const PORT: u16 = 6_771;

/// It hears until it goes.
pub struct Ear {
    socket: UdpSocket,
}

impl Ear {
    /// Opens it on this host.
    pub fn open(host: &Host) -> Result<Self> {
        let socket = host.within(|| -> std::io::Result<UdpSocket> {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
            socket.join_multicast_v4(&GROUP, &host.address)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        })?;
        Ok(Self { socket: socket.context("cannot hear the neighbours")? })
    }

    /// Waits until `neighbour` has announced the torrent.
    pub fn await_word(&self, neighbour: &Host, torrent: &Torrent) -> Result<()> {
        let hash = torrent.announced.first().context("a torrent without a hash")?;
        let mut datagram = [0; 2_048];
        wait::until(&format!("{} to announce its torrent", neighbour.address), wait::LIMIT, || {
            loop {
                match self.socket.recv_from(&mut datagram) {
                    Ok((length, from)) => {
                        let text = String::from_utf8_lossy(datagram.get(..length).unwrap_or_default());
                        let names = text.to_lowercase().contains(&hash.to_lowercase());
                        if names && from.ip() == IpAddr::from(neighbour.address) {
                            return Ok(Some(()));
                        }
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                    Err(error) => return Err(error.into()),
                }
            }
        })
    }
}
