//! The choice for a connection that is passed through as a whole: two reachable endpoints by chance; the caller takes
//! the one with fewer connections (Mitzenmacher 2001). Latency says nothing here: nobody knows what is spoken.

use super::pool::Pool;
use crate::core::h2::limits::Nanos;

impl<T> Pool<T> {
    /// Two endpoints by chance, those left out that refused connections lately; the same twice if there is one only.
    /// If none is reachable all count as reachable.
    pub fn two(&mut self, now: Nanos) -> Option<(u32, u32)> {
        let first = self.reachable(now, None)?;
        Some((first, self.reachable(now, Some(first)).unwrap_or(first)))
    }

    fn reachable(&mut self, now: Nanos, but: Option<u32>) -> Option<u32> {
        let n = self.active.len();
        if n == 0 {
            return None;
        }
        let start = self.rng.below(n);
        let mut order = (0..n).map(|k| self.active[(start + k) % n]).filter(|i| Some(*i) != but);
        let found = order.find(|i| self.entries[*i as usize].down_until <= now);
        found.or_else(|| but.is_none().then(|| self.active[start]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::balance::tuning::Tuning;

    #[test]
    fn those_that_refuse_are_left_out_while_there_are_others() {
        let mut pool = Pool::new(Tuning::default(), 1);
        assert_eq!(pool.two(0), None);
        let ids: Vec<u32> = (0..3).map(|i| pool.add(i, 0)).collect();
        pool.unreachable(ids[0], 0);
        for _ in 0..100 {
            let (a, b) = pool.two(1).unwrap();
            assert!(a != b && a != ids[0] && b != ids[0]);
        }
        pool.unreachable(ids[1], 0);
        assert_eq!(pool.two(1), Some((ids[2], ids[2])));
        pool.unreachable(ids[2], 0);
        assert!(pool.two(1).is_some(), "none is left: try what there is");
    }
}
