//! What Redis alone does: the references, by its own tools, and its own counters.

use std::process::Command;
use std::time::Instant;

use anyhow::Context as _;
use ghost_core::broker::MAX_BATCH;
use ghost_core::broker::testing::RedisServer;

/// Entries for each task of ours: Redis is so much faster that as many would be over in no time.
const TIMES: usize = 8;

/// Entries a second.
#[derive(Debug, Clone, Copy)]
pub(super) struct Raw {
    /// Added to a stream, pipelined by 16.
    pub(super) added: f64,
    /// Read, acknowledged and deleted by a script, 64 at a time.
    pub(super) drained: f64,
}

/// Measures this server; none where `redis-benchmark` is not there or fails.
pub(super) fn measure(server: &RedisServer, tasks: usize) -> Option<Raw> {
    let entries = tasks.next_multiple_of(MAX_BATCH) * TIMES;
    let rate = |mut command: Command| {
        let begin = Instant::now();
        let output = command.output().ok()?;
        output.status.success().then(|| entries as f64 / begin.elapsed().as_secs_f64())
    };
    let [added, drained] = tokio::task::block_in_place(|| server.raw(entries, rate))?;
    Some(Raw { added, drained })
}

/// What one [`commands`] adds to what it counts: a command, and the end of its connection.
pub(super) const QUESTION: u64 = 2;

/// How often this server heard from somebody; commands that a script holds are not counted.
pub(super) fn commands(server: &RedisServer) -> anyhow::Result<u64> {
    let stats = server.cli(&["INFO", "stats"]).context("redis-cli cannot be started")?;
    let count = stats.lines().find_map(|line| line.strip_prefix("total_reads_processed:"));
    Ok(count.context("Redis does not count what it reads")?.trim().parse()?)
}
