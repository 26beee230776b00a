//! How many tasks a second the Redis broker takes in and settles, beside what the same Redis does for nobody.
//!
//! `cargo bench -p ghost-core --bench redis`. It starts a Redis of its own for each way of keeping the append-only file,
//! which decides most of it and is printed beside the figures. The references are measured right before on the same
//! server, by `redis-benchmark`: XADD pipelined by 16, and one script that reads, acknowledges and deletes 64 entries of
//! a stream. Ratios travel from machine to machine, rates do not.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{rate, say, tasks, work};
use ghost_core::broker::redis::{Config, RedisBroker};
use ghost_core::broker::testing::RedisServer;
use ghost_core::broker::{Broker, MAX_BATCH, Query};
use ghost_core::lifecycle::Record;
use ghost_core::task::Status;

mod common;

const TASKS: usize = 65_536;
/// Reads, acknowledges and deletes 64 entries: the least that a queue on a stream can do for a batch.
const RAW: &str =
    "local found = redis.call('XREADGROUP', 'GROUP', 'g', 'c', 'COUNT', 64, 'STREAMS', KEYS[1], '>')
    if not found then return 0 end
    local ids = {}
    for i, entry in ipairs(found[1][2]) do ids[i] = entry[1] end
    redis.call('XACK', KEYS[1], 'g', unpack(ids))
    return redis.call('XDEL', KEYS[1], unpack(ids))";

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    for (name, settings) in [
        ("no append-only file", &["--appendonly", "no"]),
        ("append-only file, everysec", &["--appendfsync", "everysec"]),
        ("append-only file, always", &["--appendfsync", "always"]),
    ] {
        say(format!("{name}:"));
        let server = RedisServer::with(settings);
        let (enqueue, drain) = raw(&server);
        runtime.block_on(measure(&server, enqueue, drain));
    }
}

/// What the server itself does: entries added a second, entries read, acknowledged and deleted a second.
fn raw(server: &RedisServer) -> (f64, f64) {
    let port = server.port().to_string();
    let benchmark = |n: usize, arguments: &[&str]| -> f64 {
        let mut command = Command::new("redis-benchmark");
        command.args(["-p", &port, "--csv", "-n", &n.to_string()]).args(arguments);
        let output = command.output().expect("redis-benchmark, which comes with redis-server");
        let text = String::from_utf8_lossy(&output.stdout);
        let figure = text.lines().last().and_then(|line| line.rsplit("\",\"").nth(6)?.parse().ok());
        figure.expect("redis-benchmark prints a row with its rate")
    };
    let added = benchmark(16 * TASKS, &["-P", "16", "XADD", "raw", "*", "task", "12345678"]);
    let group = ["XGROUP", "CREATE", "raw", "g", "0"];
    let made = Command::new("redis-cli").args(["-p", &port]).args(group).output().expect("redis-cli");
    assert!(made.status.success());
    let scripts = benchmark(16 * TASKS / MAX_BATCH, &["-c", "4", "EVAL", RAW, "1", "raw"]);
    let drained = scripts * MAX_BATCH as f64;
    say(format!("  {added:>9.0} entries/s  raw: XADD, pipelined by 16"));
    say(format!("  {drained:>9.0} entries/s  raw: one script reads, acknowledges and deletes 64"));
    (added, drained)
}

async fn measure(server: &RedisServer, enqueue: f64, drain: f64) {
    let config = Config { url: server.url(), backlog: 1_000_000, ..Config::default() };
    let broker = Arc::new(RedisBroker::connect(config).await.expect("a store"));

    for callers in [1, 4] {
        let batches: Vec<Vec<Record>> = (0..TASKS / MAX_BATCH).map(|_| tasks(MAX_BATCH)).collect();
        let shares: Vec<Vec<Vec<Record>>> =
            batches.chunks(TASKS / MAX_BATCH / callers).map(<[Vec<Record>]>::to_vec).collect();
        drop(batches);
        let started = Instant::now();
        let submits = shares.into_iter().map(|share| {
            let broker = broker.clone();
            tokio::spawn(async move {
                for records in share {
                    broker.submit(records).await.expect("accepted");
                }
            })
        });
        futures_util::future::join_all(submits).await;
        let reached = rate(&format!("submit, {callers} callers, 64 a call"), TASKS, started);
        ratio(reached, enqueue);
    }
    for callers in [1, 4] {
        let started = Instant::now();
        let workers = (0..callers).map(|_| {
            let broker = broker.clone();
            tokio::spawn(async move { work(&*broker, MAX_BATCH, TASKS / callers).await })
        });
        let done: usize =
            futures_util::future::join_all(workers).await.into_iter().map(|done| done.expect("done")).sum();
        let reached = rate(&format!("claim and settle, {callers} callers, 64 a call"), done, started);
        ratio(reached, drain);
    }
    while work(&*broker, MAX_BATCH, usize::MAX).await > 0 {}
    every_record_is_there(&broker).await;
}

/// Reads a thousand records from all over the store, and the tally of all.
async fn every_record_is_there(broker: &RedisBroker) {
    assert_eq!(broker.tally(None).await.expect("a tally"), [(Status::Completed, 2 * TASKS as u64)]);
    let started = Instant::now();
    let mut read = 0;
    loop {
        let query = Query { limit: 1024, offset: read, ..Query::default() };
        let records = broker.list(&query).await.expect("a list");
        if records.is_empty() {
            break;
        }
        assert!(records.iter().all(|record| record.status() == Status::Completed));
        read += records.len();
    }
    assert_eq!(read, 2 * TASKS);
    rate("read back, one caller", read, started);
    broker.purge(Some(Duration::ZERO), Some(0)).await.expect("they are removed");
}

fn ratio(reached: f64, raw: f64) {
    say(format!("  {:>9.2} of raw", reached / raw));
}
