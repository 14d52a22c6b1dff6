//! The 80 rounds of SHA-1 (FIPS 180-4, section 6.1.2), written once for every width of vector.
//!
//! The macro stands on functions that the calling module defines for its vector type: `add`, `xor`, `xor3`,
//! `choose`, `majority`, `rotate::<BITS>` and `splat`.

/// One round. The caller rotates the names of the five words instead of moving their values.
macro_rules! round {
    ($w:ident, $t:expr, $f:ident, $k:ident, $a:ident, $b:ident, $c:ident, $d:ident, $e:ident) => {
        if $t >= 16 {
            let mixed = xor(xor3($w[($t + 13) % 16], $w[($t + 8) % 16], $w[($t + 2) % 16]), $w[$t % 16]);
            $w[$t % 16] = rotate::<1>(mixed);
        }
        // The word that is ready last, `$a`, is added last: that keeps the chain between rounds short.
        $e = add(add(add($e, $k), $w[$t % 16]), $f($b, $c, $d));
        $e = add($e, rotate::<5>($a));
        $b = rotate::<30>($b);
    };
}

/// Twenty rounds that share a function and a constant.
macro_rules! twenty_rounds {
    ($w:ident, $first:expr, $f:ident, $k:expr, $a:ident, $b:ident, $c:ident, $d:ident, $e:ident) => {
        let k = splat($k);
        twenty_rounds!(@five $w, $first, $f, k, $a, $b, $c, $d, $e);
        twenty_rounds!(@five $w, $first + 5, $f, k, $a, $b, $c, $d, $e);
        twenty_rounds!(@five $w, $first + 10, $f, k, $a, $b, $c, $d, $e);
        twenty_rounds!(@five $w, $first + 15, $f, k, $a, $b, $c, $d, $e);
    };
    (@five $w:ident, $t:expr, $f:ident, $k:ident, $a:ident, $b:ident, $c:ident, $d:ident, $e:ident) => {
        round!($w, $t, $f, $k, $a, $b, $c, $d, $e);
        round!($w, $t + 1, $f, $k, $e, $a, $b, $c, $d);
        round!($w, $t + 2, $f, $k, $d, $e, $a, $b, $c);
        round!($w, $t + 3, $f, $k, $c, $d, $e, $a, $b);
        round!($w, $t + 4, $f, $k, $b, $c, $d, $e, $a);
    };
}

/// The compression of one block in every lane: `$w` are the sixteen message words, `$state` the five
/// chaining words.
macro_rules! compress_block {
    ($w:ident, $state:ident) => {{
        let [mut a, mut b, mut c, mut d, mut e] = $state;
        twenty_rounds!($w, 0, choose, 0x5a82_7999, a, b, c, d, e);
        twenty_rounds!($w, 20, xor3, 0x6ed9_eba1, a, b, c, d, e);
        twenty_rounds!($w, 40, majority, 0x8f1b_bcdc, a, b, c, d, e);
        twenty_rounds!($w, 60, xor3, 0xca62_c1d6, a, b, c, d, e);
        $state =
            [add($state[0], a), add($state[1], b), add($state[2], c), add($state[3], d), add($state[4], e)];
    }};
}

pub(super) use {compress_block, round, twenty_rounds};
