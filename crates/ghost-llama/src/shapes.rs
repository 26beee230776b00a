//! How many rows a batch should have: kernels work in tiles, so that 15 rows can take longer than 16.
//!
//! What each number of rows takes is measured once, at load, for models that are large enough for it to matter; the
//! rest is arithmetic over that table. Rows that only fill a batch up are computed and thrown away.

use std::time::Duration;

use crate::layout::PADDING;

/// A larger batch must be faster by more than this, since measurements waver.
const CLEARLY: f32 = 0.95;

/// What batches of 1, 2, 3… rows take, in any unit.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shapes {
    costs: Vec<f32>,
}

impl Shapes {
    /// A guess that never fills a tile, but rather fills gaps than decodes twice.
    pub(crate) fn assumed() -> Self {
        Self { costs: (1..=PADDING).map(|rows| 1.0 + rows as f32 / 32.0).collect() }
    }

    /// What was measured for 1, 2, 3… rows, at least one of them.
    pub(crate) fn measured(times: &[Duration]) -> Self {
        Self { costs: times.iter().map(Duration::as_secs_f32).collect() }
    }

    /// The time of so many rows. Beyond the table, whole tables and a rest.
    fn cost(&self, rows: usize) -> f32 {
        let whole = (rows - 1) / self.costs.len();
        whole as f32 * self.costs[self.costs.len() - 1] + self.costs[(rows - 1) % self.costs.len()]
    }

    /// How many rows to add to so many, at most `room`.
    pub(crate) fn padding(&self, rows: usize, room: usize) -> usize {
        let exact = self.cost(rows) * CLEARLY;
        (1..=room.min(PADDING))
            .map(|more| (self.cost(rows + more), more))
            .filter(|(cost, _)| *cost < exact)
            .min_by(|a, b| a.0.total_cmp(&b.0))
            .map_or(0, |(_, more)| more)
    }

    /// The sequences that should add a row to a batch with a row of each of those that take part, of those that `empty`
    /// says may. llama.cpp decodes sequences with cells of their own in one go only where their numbers follow each
    /// other.
    pub(crate) fn fillers(&self, taking_part: &[usize], empty: &[bool]) -> Vec<usize> {
        let mut fillers = Vec::new();
        let mut runs = taking_part.chunk_by(|a, b| a + 1 == *b).map(|run| (run[0], run.len()));
        let Some((mut start, mut length)) = runs.next() else { return fillers };
        for (next, more) in runs {
            let bridged = next + more - start;
            let gap = start + length..next;
            if gap.clone().all(|at| empty[at]) && self.cost(bridged) <= self.cost(length) + self.cost(more) {
                fillers.extend(gap);
                length = bridged;
            } else {
                (start, length) = (next, more);
            }
        }
        // Whatever fills the last run up lies right behind it, or else before it.
        let end = start + length;
        let free = |beside: &mut dyn Iterator<Item = &bool>| beside.take_while(|empty| **empty).count();
        let (before, behind) = (free(&mut empty[..start].iter().rev()), free(&mut empty[end..].iter()));
        let padding = self.padding(length, before + behind);
        let behind = padding.min(behind);
        fillers.extend((end..end + behind).chain(start - (padding - behind)..start));
        fillers.sort_unstable();
        fillers
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Tiles of four rows: 3 rows take as long as 6, 4 take as long as 2.
    fn tiles() -> Shapes {
        let times = (1..=16u64).map(|rows| Duration::from_millis(10 + rows / 4 * 5 + rows % 4 * 10));
        Shapes::measured(&times.collect::<Vec<_>>())
    }

    #[test]
    fn a_tile_that_is_nearly_full_is_filled() {
        assert_eq!(tiles().padding(3, 16), 1);
        assert_eq!(tiles().padding(4, 16), 0);
        assert_eq!(tiles().padding(3, 0), 0, "where there is room");
        assert_eq!(tiles().padding(19, 16), 1, "beyond the table too");
        assert!((1..60).all(|rows| Shapes::assumed().padding(rows, 16) == 0));
    }

    #[test]
    fn gaps_are_filled_where_that_is_cheaper_than_decoding_twice() {
        assert_eq!(Shapes::assumed().fillers(&[0, 2, 3], &[true; 8]), [1]);
        assert!(Shapes::assumed().fillers(&[0, 60], &[true; 64]).is_empty());
        assert_eq!(tiles().fillers(&[4, 5, 6], &[true; 8]), [7]);
        assert_eq!(tiles().fillers(&[5, 6, 7], &[true; 8]), [4], "before it where there is no room behind");
        assert!(tiles().fillers(&[5, 6, 7], &[false; 8]).is_empty());
        assert!(tiles().fillers(&[], &[true; 8]).is_empty());
    }

    proptest! {
        #[test]
        fn fillers_are_empty_sequences_that_exist(
            taking_part in prop::collection::btree_set(0usize..32, 0..32), measured in any::<bool>(),
            mut empty in prop::collection::vec(any::<bool>(), 32),
        ) {
            taking_part.iter().for_each(|at| empty[*at] = false);
            let shapes = if measured { tiles() } else { Shapes::assumed() };
            let taking_part: Vec<usize> = taking_part.into_iter().collect();
            let fillers = shapes.fillers(&taking_part, &empty);
            prop_assert!(fillers.iter().all(|filler| empty[*filler]));
            prop_assert!(fillers.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }
}
