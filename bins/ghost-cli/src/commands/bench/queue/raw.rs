//! What Redis alone does: the references, by its own tools, and its own counters.

use std::process::Command;
use std::time::Instant;

use anyhow::Context as _;
use ghost_core::broker::MAX_BATCH;
use ghost_core::broker::testing::RedisServer;

/// Reads, acknowledges and deletes 64 entries: the least that a queue on a stream can do for a batch.
const DRAIN: &str =
    "local found = redis.call('XREADGROUP', 'GROUP', 'g', 'c', 'COUNT', 64, 'STREAMS', KEYS[1], '>')
    if not found then return 0 end
    local ids = {}
    for i, entry in ipairs(found[1][2]) do ids[i] = entry[1] end
    redis.call('XACK', KEYS[1], 'g', unpack(ids))
    return redis.call('XDEL', KEYS[1], unpack(ids))";
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

/// What `redis-server` is called; none where it is not there.
pub(super) fn version() -> Option<String> {
    let output = Command::new("redis-server").arg("--version").output().ok()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let version = said.split_whitespace().find_map(|word| word.strip_prefix("v="))?;
    Some(format!("Redis {version}"))
}

/// Measures this server; none where `redis-benchmark` is not there or fails.
pub(super) async fn measure(server: &RedisServer, tasks: usize) -> Option<Raw> {
    tokio::task::block_in_place(|| {
        let entries = tasks.next_multiple_of(MAX_BATCH) * TIMES;
        let rate = |calls: usize, arguments: &[&str]| {
            let begin = Instant::now();
            let mut command = Command::new("redis-benchmark");
            command.args(["-p", &server.port().to_string(), "-q", "-n", &calls.to_string()]).args(arguments);
            let output = command.output().ok()?;
            output.status.success().then(|| entries as f64 / begin.elapsed().as_secs_f64())
        };
        let added = rate(entries, &["-P", "16", "XADD", "raw", "*", "task", "12345678"])?;
        cli(server, &["XGROUP", "CREATE", "raw", "g", "0"]).ok()?;
        let sha = cli(server, &["SCRIPT", "LOAD", DRAIN]).ok()?;
        let drained = rate(entries / MAX_BATCH, &["-c", "4", "EVALSHA", sha.trim(), "1", "raw"])?;
        cli(server, &["DEL", "raw"]).ok()?;
        Some(Raw { added, drained })
    })
}

/// What one [`commands`] adds to what it counts: a command, and the end of its connection.
pub(super) const QUESTION: u64 = 2;

/// How often this server heard from somebody; commands that a script holds are not counted.
pub(super) fn commands(server: &RedisServer) -> anyhow::Result<u64> {
    let stats = cli(server, &["INFO", "stats"])?;
    let count = stats.lines().find_map(|line| line.strip_prefix("total_reads_processed:"));
    Ok(count.context("Redis does not count what it reads")?.trim().parse()?)
}

fn cli(server: &RedisServer, arguments: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new("redis-cli");
    command.args(["-p", &server.port().to_string()]).args(arguments);
    let output = command.output().context("redis-cli, which comes with redis-server, cannot be started")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
