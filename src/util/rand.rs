//! The one source of randomness: a small generator for choices that only have
//! to be spread, such as which worker a foreign thread prefers.

use std::cell::Cell;

use crate::loom::{
    global::{AtomicU64, Ordering},
    shared_static,
};

/// xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift
/// generators, scrambled", 2016). Not for secrets.
#[derive(Debug)]
pub(crate) struct Rng(Cell<u64>);

impl Rng {
    /// A generator of its own stream: successive calls give unrelated streams.
    pub(crate) fn new() -> Self {
        shared_static! { static STREAMS: AtomicU64 = AtomicU64::new(1); }
        // Relaxed: only the uniqueness of the number matters.
        let stream = STREAMS.fetch_add(1, Ordering::Relaxed);
        Self(Cell::new(stream.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1))
    }

    /// The generator of a seed, and of one of its streams: the same numbers each time.
    pub(crate) fn from_seed(seed: u64, stream: u64) -> Self {
        // Mixed as splitmix64 does, so that seeds which differ little give other numbers from the first.
        let mut x = seed ^ stream.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self(Cell::new((x ^ x >> 31) | 1))
    }

    /// A number below `bound`, which must not be 0.
    pub(crate) fn below(&self, bound: usize) -> usize {
        let mut x = self.0.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.0.set(x);
        let high = x.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        ((high * bound as u64) >> 32) as usize
    }
}
