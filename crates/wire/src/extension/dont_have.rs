//! A piece that a peer has no longer (BEP 54, "DontHave"): its number, and nothing else.

use crate::Fault;

/// Reads the payload of an extended message: the number of the piece.
///
/// # Errors
/// [`Fault::Entry`] when it is not four bytes.
pub fn parse(payload: &[u8]) -> Result<u32, Fault> {
    let number = payload.try_into().map_err(|_| Fault::Entry { message: "lt_donthave", entry: "index" })?;
    Ok(u32::from_be_bytes(number))
}

/// The payload of an extended message.
pub const fn encode(piece: u32) -> [u8; 4] {
    piece.to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_four_bytes() {
        assert_eq!(parse(&encode(0x0102_0304)), Ok(0x0102_0304));
        assert_eq!(encode(0x0102_0304), [1, 2, 3, 4]);
        for payload in [&[][..], &[0; 3], &[0; 5]] {
            assert!(parse(payload).is_err());
        }
    }
}
