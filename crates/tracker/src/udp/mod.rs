//! Announce and scrape over UDP (BEP 15, with the URL data of BEP 41).
//!
//! [`packet`] writes and reads single packets, [`UdpClient`] carries requests through connecting, losses and
//! retransmissions.

mod client;
pub mod packet;

pub use client::{Answer, Ask, MAX_WAITING, Transmit, UdpClient};
