//! Sixteen streams in the lanes of 512-bit registers.
#![expect(unsafe_code, reason = "loads through pointers, and calls of functions that need AVX-512")]

use super::rounds::{compress_block, round, twenty_rounds};
use super::{Runs, Words};
use core::arch::x86_64::{
    __m512i, _mm512_add_epi32, _mm512_loadu_si512, _mm512_rol_epi32, _mm512_set1_epi32, _mm512_set4_epi32,
    _mm512_shuffle_epi8, _mm512_shuffle_i32x4, _mm512_storeu_si512, _mm512_ternarylogic_epi32,
    _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
    _mm512_xor_si512,
};

/// Advances sixteen streams by their runs, which all have the length of the shortest.
///
/// # Panics
/// Where the machine has no AVX-512 F and BW.
pub(crate) fn compress(words: &mut Words<16>, runs: &Runs<'_, 16>) {
    assert!(super::has_avx512::get(), "chosen on a machine without AVX-512");
    let blocks = runs.iter().map(|run| run.len()).min().unwrap_or(0);
    // SAFETY: the assertion above says that the machine has the features that the function is compiled for.
    unsafe { compress_blocks(words, runs, blocks) }
}

#[target_feature(enable = "avx512f,avx512bw")]
fn compress_blocks(words: &mut Words<16>, runs: &Runs<'_, 16>, blocks: usize) {
    let [a, b, c, d, e] = &*words;
    let mut state = [load(a), load(b), load(c), load(d), load(e)];
    for block in 0..blocks {
        let rows = four_blocks(&runs[..4], block);
        let [r0, r1, r2, r3] = transpose_words(rows);
        let rows = four_blocks(&runs[4..8], block);
        let [r4, r5, r6, r7] = transpose_words(rows);
        let rows = four_blocks(&runs[8..12], block);
        let [r8, r9, r10, r11] = transpose_words(rows);
        let rows = four_blocks(&runs[12..], block);
        let [r12, r13, r14, r15] = transpose_words(rows);
        let [w0, w4, w8, w12] = transpose_quarters([r0, r4, r8, r12]);
        let [w1, w5, w9, w13] = transpose_quarters([r1, r5, r9, r13]);
        let [w2, w6, w10, w14] = transpose_quarters([r2, r6, r10, r14]);
        let [w3, w7, w11, w15] = transpose_quarters([r3, r7, r11, r15]);
        let mut w = [w0, w1, w2, w3, w4, w5, w6, w7, w8, w9, w10, w11, w12, w13, w14, w15];
        compress_block!(w, state);
    }
    for (lane, vector) in words.iter_mut().zip(state) {
        // SAFETY: `lane` is 64 writable bytes, and the store needs no alignment.
        unsafe { _mm512_storeu_si512(lane.as_mut_ptr().cast(), vector) }
    }
}

/// This block of the four runs, their words in the machine's byte order.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn four_blocks(runs: &[&[[u8; 64]]], block: usize) -> [__m512i; 4] {
    let swap = _mm512_set4_epi32(0x0c0d_0e0f, 0x0809_0a0b, 0x0405_0607, 0x0001_0203);
    [
        _mm512_shuffle_epi8(load(&runs[0][block]), swap),
        _mm512_shuffle_epi8(load(&runs[1][block]), swap),
        _mm512_shuffle_epi8(load(&runs[2][block]), swap),
        _mm512_shuffle_epi8(load(&runs[3][block]), swap),
    ]
}

/// Inside each quarter, from one stream a register to one word a register: quarter `q` of result `k` holds
/// word `4 * q + k` of the four streams.
#[target_feature(enable = "avx512f")]
#[inline]
fn transpose_words([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    let low_ab = _mm512_unpacklo_epi32(a, b);
    let high_ab = _mm512_unpackhi_epi32(a, b);
    let low_cd = _mm512_unpacklo_epi32(c, d);
    let high_cd = _mm512_unpackhi_epi32(c, d);
    [
        _mm512_unpacklo_epi64(low_ab, low_cd),
        _mm512_unpackhi_epi64(low_ab, low_cd),
        _mm512_unpacklo_epi64(high_ab, high_cd),
        _mm512_unpackhi_epi64(high_ab, high_cd),
    ]
}

/// Result `q` is made of the quarters `q` of the four arguments, in their order.
#[target_feature(enable = "avx512f")]
#[inline]
fn transpose_quarters([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    let even_ab = _mm512_shuffle_i32x4::<0b10_00_10_00>(a, b);
    let odd_ab = _mm512_shuffle_i32x4::<0b11_01_11_01>(a, b);
    let even_cd = _mm512_shuffle_i32x4::<0b10_00_10_00>(c, d);
    let odd_cd = _mm512_shuffle_i32x4::<0b11_01_11_01>(c, d);
    [
        _mm512_shuffle_i32x4::<0b10_00_10_00>(even_ab, even_cd),
        _mm512_shuffle_i32x4::<0b10_00_10_00>(odd_ab, odd_cd),
        _mm512_shuffle_i32x4::<0b11_01_11_01>(even_ab, even_cd),
        _mm512_shuffle_i32x4::<0b11_01_11_01>(odd_ab, odd_cd),
    ]
}

/// The 64 bytes of an array, however it is aligned.
#[target_feature(enable = "avx512f")]
#[inline]
fn load<T, const COUNT: usize>(from: &[T; COUNT]) -> __m512i {
    const { assert!(size_of::<[T; COUNT]>() == 64) };
    // SAFETY: `from` is 64 readable bytes, as just asserted, and the load needs no alignment.
    unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn splat(word: u32) -> __m512i {
    _mm512_set1_epi32(word.cast_signed())
}

#[target_feature(enable = "avx512f")]
#[inline]
fn add(a: __m512i, b: __m512i) -> __m512i {
    _mm512_add_epi32(a, b)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn rotate<const BITS: i32>(a: __m512i) -> __m512i {
    _mm512_rol_epi32::<BITS>(a)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn xor(a: __m512i, b: __m512i) -> __m512i {
    _mm512_xor_si512(a, b)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn xor3(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<0x96>(a, b, c)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn choose(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<0xca>(a, b, c)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn majority(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<0xe8>(a, b, c)
}
