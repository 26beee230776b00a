//! How often something took how long, as Prometheus wants to hear it.

use ghost_core::stats::{self, Counters};

/// A histogram in seconds.
#[derive(Debug, Clone)]
pub(super) struct Times {
    /// Upper bounds, each with how many lie between it and the one before.
    pub(super) buckets: Vec<(f64, u64)>,
    pub(super) sum: f64,
    pub(super) count: u64,
}

/// The bounds in milliseconds: from a task that waits for nobody to one that takes half an hour.
const BOUNDS: [u64; 17] =
    [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 120_000, 600_000, 1_800_000];

impl Times {
    /// Those that were counted under this name.
    pub(super) fn read(counters: &Counters, of: &str) -> Self {
        let mut buckets: Vec<(f64, u64)> = BOUNDS.map(|bound| (seconds(bound), 0)).to_vec();
        buckets.push((f64::INFINITY, 0));
        let (mut sum, mut total) = (0.0, 0);
        for (ms, count) in stats::latencies(counters, of) {
            buckets[BOUNDS.partition_point(|bound| *bound < ms)].1 += count;
            sum += seconds(ms) * count as f64;
            total += count;
        }
        Self { buckets, sum, count: total }
    }
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1e3
}
