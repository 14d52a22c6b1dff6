//! Eight streams in the lanes of 256-bit registers.
#![expect(unsafe_code, reason = "loads through pointers, and calls of functions that need AVX2")]

use super::rounds::{compress_block, round, twenty_rounds};
use super::{Runs, Words};
use core::arch::x86_64::{
    __m256i, _mm256_add_epi32, _mm256_and_si256, _mm256_loadu_si256, _mm256_or_si256,
    _mm256_permute2x128_si256, _mm256_set_epi64x, _mm256_set1_epi32, _mm256_shuffle_epi8, _mm256_sllv_epi32,
    _mm256_srlv_epi32, _mm256_storeu_si256, _mm256_unpackhi_epi32, _mm256_unpackhi_epi64,
    _mm256_unpacklo_epi32, _mm256_unpacklo_epi64, _mm256_xor_si256,
};

/// Advances eight streams by their runs, which all have the length of the shortest.
///
/// # Panics
/// Where the machine has no AVX2.
pub(crate) fn compress(words: &mut Words<8>, runs: &Runs<'_, 8>) {
    assert!(super::has_avx2::get(), "chosen on a machine without AVX2");
    let blocks = runs.iter().map(|run| run.len()).min().unwrap_or(0);
    // SAFETY: the assertion above says that the machine has the feature that the function is compiled for.
    unsafe { compress_blocks(words, runs, blocks) }
}

#[target_feature(enable = "avx2")]
fn compress_blocks(words: &mut Words<8>, runs: &Runs<'_, 8>, blocks: usize) {
    let [a, b, c, d, e] = &*words;
    let mut state = [load(a), load(b), load(c), load(d), load(e)];
    for block in 0..blocks {
        let [w0, w1, w2, w3, w4, w5, w6, w7] = half_blocks::<0>(runs, block);
        let [w8, w9, w10, w11, w12, w13, w14, w15] = half_blocks::<1>(runs, block);
        let mut w = [w0, w1, w2, w3, w4, w5, w6, w7, w8, w9, w10, w11, w12, w13, w14, w15];
        compress_block!(w, state);
    }
    for (lane, vector) in words.iter_mut().zip(state) {
        // SAFETY: `lane` is 32 writable bytes, and the store needs no alignment.
        unsafe { _mm256_storeu_si256(lane.as_mut_ptr().cast(), vector) }
    }
}

/// The eight message words in this half of the blocks, one word of all streams a register.
#[target_feature(enable = "avx2")]
#[inline]
fn half_blocks<const HALF: usize>(runs: &Runs<'_, 8>, block: usize) -> [__m256i; 8] {
    let [r0, r1, r2, r3] = transpose_words([
        half_block::<HALF>(runs[0], block),
        half_block::<HALF>(runs[1], block),
        half_block::<HALF>(runs[2], block),
        half_block::<HALF>(runs[3], block),
    ]);
    let [r4, r5, r6, r7] = transpose_words([
        half_block::<HALF>(runs[4], block),
        half_block::<HALF>(runs[5], block),
        half_block::<HALF>(runs[6], block),
        half_block::<HALF>(runs[7], block),
    ]);
    [
        _mm256_permute2x128_si256::<0x20>(r0, r4),
        _mm256_permute2x128_si256::<0x20>(r1, r5),
        _mm256_permute2x128_si256::<0x20>(r2, r6),
        _mm256_permute2x128_si256::<0x20>(r3, r7),
        _mm256_permute2x128_si256::<0x31>(r0, r4),
        _mm256_permute2x128_si256::<0x31>(r1, r5),
        _mm256_permute2x128_si256::<0x31>(r2, r6),
        _mm256_permute2x128_si256::<0x31>(r3, r7),
    ]
}

/// Half of this block, its words in the machine's byte order.
#[target_feature(enable = "avx2")]
#[inline]
fn half_block<const HALF: usize>(run: &[[u8; 64]], block: usize) -> __m256i {
    let swap = _mm256_set_epi64x(
        0x0c0d_0e0f_0809_0a0b,
        0x0405_0607_0001_0203,
        0x0c0d_0e0f_0809_0a0b,
        0x0405_0607_0001_0203,
    );
    _mm256_shuffle_epi8(load(&run[block].as_chunks::<32>().0[HALF]), swap)
}

/// Inside each half, from one stream a register to one word a register: half `h` of result `k` holds word
/// `4 * h + k` of the four streams.
#[target_feature(enable = "avx2")]
#[inline]
fn transpose_words([a, b, c, d]: [__m256i; 4]) -> [__m256i; 4] {
    let low_ab = _mm256_unpacklo_epi32(a, b);
    let high_ab = _mm256_unpackhi_epi32(a, b);
    let low_cd = _mm256_unpacklo_epi32(c, d);
    let high_cd = _mm256_unpackhi_epi32(c, d);
    [
        _mm256_unpacklo_epi64(low_ab, low_cd),
        _mm256_unpackhi_epi64(low_ab, low_cd),
        _mm256_unpacklo_epi64(high_ab, high_cd),
        _mm256_unpackhi_epi64(high_ab, high_cd),
    ]
}

/// The 32 bytes of an array, however it is aligned.
#[target_feature(enable = "avx2")]
#[inline]
fn load<T, const COUNT: usize>(from: &[T; COUNT]) -> __m256i {
    const { assert!(size_of::<[T; COUNT]>() == 32) };
    // SAFETY: `from` is 32 readable bytes, as just asserted, and the load needs no alignment.
    unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn splat(word: u32) -> __m256i {
    _mm256_set1_epi32(word.cast_signed())
}

#[target_feature(enable = "avx2")]
#[inline]
fn add(a: __m256i, b: __m256i) -> __m256i {
    _mm256_add_epi32(a, b)
}

#[target_feature(enable = "avx2")]
#[inline]
fn rotate<const BITS: i32>(a: __m256i) -> __m256i {
    let left = _mm256_sllv_epi32(a, _mm256_set1_epi32(BITS));
    _mm256_or_si256(left, _mm256_srlv_epi32(a, _mm256_set1_epi32(32 - BITS)))
}

#[target_feature(enable = "avx2")]
#[inline]
fn xor(a: __m256i, b: __m256i) -> __m256i {
    _mm256_xor_si256(a, b)
}

#[target_feature(enable = "avx2")]
#[inline]
fn xor3(a: __m256i, b: __m256i, c: __m256i) -> __m256i {
    xor(xor(a, b), c)
}

#[target_feature(enable = "avx2")]
#[inline]
fn choose(a: __m256i, b: __m256i, c: __m256i) -> __m256i {
    xor(c, _mm256_and_si256(a, xor(b, c)))
}

#[target_feature(enable = "avx2")]
#[inline]
fn majority(a: __m256i, b: __m256i, c: __m256i) -> __m256i {
    _mm256_or_si256(_mm256_and_si256(a, b), _mm256_and_si256(c, _mm256_or_si256(a, b)))
}
