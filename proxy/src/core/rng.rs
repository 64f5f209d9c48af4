//! The core's only source of chance: SplitMix64 (Steele, Lea, Flood 2014), seeded from outside.
//!
//! A seed gives one sequence, so a run can be repeated. Not for secrets.

/// A small generator; copying it copies the sequence.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator that starts from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n` (0 when `n` is 0), by multiplication: the bias is below n/2^32, far below what any
    /// statistic here could see.
    pub fn below(&mut self, n: usize) -> usize {
        (((self.next_u64() >> 32) * n as u64) >> 32) as usize
    }

    /// A number in [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Two distinct numbers below `n`, which must be at least 2.
    pub fn pair(&mut self, n: usize) -> (usize, usize) {
        let a = self.below(n);
        let b = self.below(n - 1);
        (a, if b >= a { b + 1 } else { b })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_sequence() {
        let take = |seed| {
            let mut r = Rng::new(seed);
            (0..4).map(|_| r.next_u64()).collect::<Vec<_>>()
        };
        assert_eq!(take(7), take(7));
        assert_ne!(take(7), take(8));
    }

    #[test]
    fn pairs_are_distinct_and_even() {
        let mut r = Rng::new(1);
        let mut seen = [[0u32; 3]; 3];
        for _ in 0..60_000 {
            let (a, b) = r.pair(3);
            assert_ne!(a, b);
            seen[a][b] += 1;
        }
        let all: Vec<_> = seen.iter().flatten().filter(|n| **n > 0).collect();
        assert_eq!(all.len(), 6);
        assert!(all.iter().all(|n| (9_500..10_500).contains(*n)), "{seen:?}");
    }
}
