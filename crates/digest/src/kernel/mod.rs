//! The kernels that advance many SHA-1 streams in lockstep, and the rule that chooses one.
//!
//! A kernel holds one stream in each 32-bit lane of its vector registers. The five chaining words of all
//! streams lie transposed, so that `words[3][7]` is word 3 of stream 7.
#![cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "only x86-64 has wide kernels"))]

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "x86_64")]
mod rounds;

/// The chaining words of `LANES` streams, transposed.
pub(crate) type Words<const LANES: usize> = [[u32; LANES]; 5];

/// The blocks that each lane consumes; all runs have the same length.
pub(crate) type Runs<'a, const LANES: usize> = [&'a [[u8; 64]]; LANES];

/// A way to hash many streams, which this machine can go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kernel(Which);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    Single,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

#[cfg(target_arch = "x86_64")]
cpufeatures::new!(has_avx2, "avx2");
#[cfg(target_arch = "x86_64")]
cpufeatures::new!(has_avx512, "avx512f", "avx512bw");
#[cfg(target_arch = "x86_64")]
cpufeatures::new!(has_sha, "sha", "sse2", "ssse3", "sse4.1");

impl Kernel {
    /// One stream after the other, through the `sha1` crate; on every machine.
    pub const SINGLE: Self = Self(Which::Single);

    /// Every kernel that this machine can run, the narrowest first.
    pub fn available() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let wide =
            [has_avx2::get().then_some(Self(Which::Avx2)), has_avx512::get().then_some(Self(Which::Avx512))];
        #[cfg(not(target_arch = "x86_64"))]
        let wide = [None; 2];
        core::iter::once(Self::SINGLE).chain(wide.into_iter().flatten())
    }

    /// The widest kernel of this machine; [`Kernel::break_even`] says from how many streams on it is used.
    pub fn best() -> Self {
        Self::available().last().unwrap_or(Self::SINGLE)
    }

    /// A name for logs and benches.
    pub fn name(self) -> &'static str {
        match self.0 {
            Which::Single => "single",
            #[cfg(target_arch = "x86_64")]
            Which::Avx2 => "avx2 x8",
            #[cfg(target_arch = "x86_64")]
            Which::Avx512 => "avx512 x16",
        }
    }

    /// How many streams it advances at a time.
    pub fn lanes(self) -> usize {
        match self.0 {
            Which::Single => 1,
            #[cfg(target_arch = "x86_64")]
            Which::Avx2 => 8,
            #[cfg(target_arch = "x86_64")]
            Which::Avx512 => 16,
        }
    }

    /// With fewer live streams than this, single streams are faster, because a kernel's step costs the same
    /// however many of its lanes are in use.
    ///
    /// A fixed rule, so that a machine behaves the same every day. `examples/throughput.rs` measured on a Zen 5
    /// core: 2.0 GB/s for single streams with the SHA instructions and 0.9 without, 3.6 for eight lanes of
    /// AVX2 (0.45 a lane), 10 for sixteen of AVX-512 (0.65 a lane).
    pub fn break_even(self) -> usize {
        match self.0 {
            Which::Single => 1,
            #[cfg(target_arch = "x86_64")]
            Which::Avx2 => match has_sha::get() {
                true => 5,
                false => 3,
            },
            #[cfg(target_arch = "x86_64")]
            Which::Avx512 => match has_sha::get() {
                true => 4,
                false => 2,
            },
        }
    }

    pub(crate) fn which(self) -> Which {
        self.0
    }
}
