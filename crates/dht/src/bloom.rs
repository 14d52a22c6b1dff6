//! The filters that a scrape counts addresses with (BEP 33).

use core::net::IpAddr;
use quelea_digest::sha1;

/// Bytes of a filter.
pub const LENGTH: usize = 256;
const BITS: usize = LENGTH * 8;

/// A set of addresses that can be joined with others and whose size can be estimated.
#[derive(Clone, PartialEq, Eq)]
pub struct Bloom(pub [u8; LENGTH]);

impl Default for Bloom {
    fn default() -> Self {
        Self([0; LENGTH])
    }
}

impl Bloom {
    /// A filter as a packet carries it; `None` when its length is another than 256 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Adds an address.
    pub fn insert(&mut self, ip: IpAddr) {
        let hash = match ip.to_canonical() {
            IpAddr::V4(ip) => sha1(&ip.octets()),
            IpAddr::V6(ip) => sha1(&ip.octets()),
        };
        for pair in [[hash[0], hash[1]], [hash[2], hash[3]]] {
            let index = usize::from(u16::from_le_bytes(pair)) % BITS;
            self.0[index / 8] |= 1 << (index % 8);
        }
    }

    /// Adds everything that another filter holds.
    pub fn join(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(to, from)| *to |= from);
    }

    /// About how many addresses it holds. Beyond some 6,000 it says little.
    pub fn estimate(&self) -> f64 {
        let set: u32 = self.0.iter().map(|byte| byte.count_ones()).sum();
        let zeros = (BITS as u32 - set).min(BITS as u32 - 1).max(1);
        // ln(1 - 1/m) is -1/m to far beyond the estimate's own error, and the logarithm below is a series:
        // `core` has none.
        let share = f64::from(zeros) / BITS as f64;
        -natural_log(share) * f64::from(BITS as u32 - 1) / 2.0 * CORRECTION
    }
}

/// `-1 / (ln(1 - 1/m) * (m - 1))` for m = 2048.
const CORRECTION: f64 = 1.000_244_240_01;

/// The natural logarithm of a number above zero.
fn natural_log(value: f64) -> f64 {
    // value = mantissa * 2^exponent with a mantissa of 1 to 2.
    let bits = value.to_bits();
    let exponent = ((bits >> 52) & 0x7ff) as i32 - 1_023;
    let mantissa = f64::from_bits((bits & 0x000f_ffff_ffff_ffff) | 0x3ff0_0000_0000_0000);
    // ln(m) = 2 artanh((m - 1) / (m + 1)), whose series in a third at most ends soon.
    let ratio = (mantissa - 1.0) / (mantissa + 1.0);
    let square = ratio * ratio;
    let (mut power, mut sum) = (ratio, 0.0);
    for odd in 0..24 {
        sum += power / f64::from(2 * odd + 1);
        power *= square;
    }
    f64::from(exponent) * core::f64::consts::LN_2 + 2.0 * sum
}

impl core::fmt::Debug for Bloom {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Bloom(about {:.0})", self.estimate())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logarithm_agrees_with_the_standard_library() {
        for value in [0.000_5, 0.1, 0.5, 0.999, 1.0, 2.0, 1e9] {
            assert!((natural_log(value) - f64::ln(value)).abs() < 1e-12, "{value}");
        }
    }

    #[test]
    fn a_full_filter_has_an_estimate() {
        assert!(Bloom([0xff; LENGTH]).estimate().is_finite());
        assert!(Bloom::default().estimate() < 1.1);
    }
}
