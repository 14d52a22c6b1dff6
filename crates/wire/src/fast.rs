//! The allowed-fast set (BEP 6, "Allowed Fast Set Generation"): pieces that a peer may fetch while it is choked.

use crate::limits;
use alloc::vec::Vec;
use core::net::IpAddr;
use quelea_digest::sha1;

/// The numbers of the `size` pieces that the peer at `ip` may have while choked, in the order they are drawn.
///
/// At most [`limits::ALLOWED_FAST`] numbers, and at most as many as the torrent has pieces; all different.
///
/// The last byte of an IPv4 address does not count, so that whoever holds a small network has one set. BEP 6
/// says nothing of IPv6; there the same is meant by the first 6 bytes, the network that one customer gets, with
/// zeros behind them. The sender alone computes the set and no receiver checks it, so other clients may differ
/// (libtorrent takes the whole address).
pub fn allowed_fast(ip: IpAddr, info_hash: &[u8; 20], pieces: u32, size: usize) -> Vec<u32> {
    let size = size.min(limits::ALLOWED_FAST).min(pieces as usize);
    let mut seed = Vec::with_capacity(36);
    match ip.to_canonical() {
        IpAddr::V4(ip) => seed.extend_from_slice(&(ip.to_bits() & 0xffff_ff00).to_be_bytes()),
        IpAddr::V6(ip) => seed.extend_from_slice(&(ip.to_bits() >> 80 << 80).to_be_bytes()),
    }
    seed.extend_from_slice(info_hash);

    let mut set = Vec::with_capacity(size);
    let mut drawn = sha1(&seed);
    while set.len() < size {
        for word in drawn.chunks_exact(4) {
            let number = word.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)) % pieces;
            if set.len() < size && !set.contains(&number) {
                set.push(number);
            }
        }
        drawn = sha1(&drawn);
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_longer_set_begins_with_the_shorter_one() {
        let ip = IpAddr::from([80, 4, 4, 200]);
        let nine = allowed_fast(ip, &[0xaa; 20], 1313, 9);
        assert_eq!(nine, [1059, 431, 808, 1217, 287, 376, 1188, 353, 508]);
        assert_eq!(allowed_fast(ip, &[0xaa; 20], 1313, 7), nine[..7]);
    }

    #[test]
    fn neighbours_have_one_set() {
        let set = |ip: &str| allowed_fast(ip.parse().unwrap(), &[7; 20], 1000, 10);
        assert_eq!(set("192.0.2.1"), set("192.0.2.254"));
        assert_eq!(set("192.0.2.1"), set("::ffff:192.0.2.1"));
        assert_ne!(set("192.0.2.1"), set("192.0.3.1"));
        assert_eq!(set("2001:db8:1::1"), set("2001:db8:1:ffff::2"));
        assert_ne!(set("2001:db8:1::1"), set("2001:db8:2::1"));
    }

    #[test]
    fn a_small_torrent_is_given_whole_and_an_empty_one_ends() {
        let ip = IpAddr::from([10, 0, 0, 1]);
        let mut all = allowed_fast(ip, &[1; 20], 5, 10);
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3, 4]);
        assert!(allowed_fast(ip, &[1; 20], 0, 10).is_empty());
        assert_eq!(allowed_fast(ip, &[1; 20], u32::MAX, usize::MAX).len(), limits::ALLOWED_FAST);
    }
}
