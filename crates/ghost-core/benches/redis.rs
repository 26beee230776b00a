//! How many tasks a second the Redis broker takes in and settles, beside what the same Redis does for nobody.
//!
//! `cargo bench -p ghost-core --bench redis`. It starts a Redis of its own for each way of keeping the append-only file,
//! which is printed beside the figures. The references are measured right before on the same server, by
//! `redis-benchmark`: XADD pipelined by 16, and one script that reads, acknowledges and deletes 64 entries of a stream.
//!
//! Redis has one core for commands, so what a task takes of it is the ceiling of all workers together. The ratio to raw
//! compares that time and holds on a busy machine too, where rates are those of whoever else computes.

use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use common::{rate, say, tasks, work};
use ghost_core::broker::redis::{Config, RedisBroker};
use ghost_core::broker::testing::RedisServer;
use ghost_core::broker::{Broker, MAX_BATCH, Query};
use ghost_core::lifecycle::Record;
use ghost_core::task::Status;

mod common;

const TASKS: usize = 65_536;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    for (name, settings) in [
        ("no append-only file", &["--appendonly", "no"]),
        ("append-only file, everysec", &["--appendfsync", "everysec"]),
        ("append-only file, always", &["--appendfsync", "always"]),
    ] {
        say(format!("{name}:"));
        let server = RedisServer::with(settings);
        let (added, drained) = raw(&server);
        runtime.block_on(measure(&server, added, drained));
    }
}

/// What Redis spent on each of so many, in microseconds of its own processor time.
struct Cost(f64);

/// Watches how much processor time a server takes.
struct Watch<'a> {
    server: &'a RedisServer,
    before: f64,
}

impl<'a> Watch<'a> {
    fn start(server: &'a RedisServer) -> Self {
        Self { server, before: cpu(server) }
    }

    fn cost(&self, n: usize) -> Cost {
        Cost((cpu(self.server) - self.before) * 1e6 / n as f64)
    }
}

fn cpu(server: &RedisServer) -> f64 {
    let info = server.cli(&["INFO", "cpu"]).expect("redis-cli, which comes with redis-server");
    let of = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
    of("used_cpu_user:")
        .zip(of("used_cpu_sys:"))
        .map(|(user, sys)| user + sys)
        .expect("Redis says what it used")
}

/// What the server itself does: adding an entry, and reading, acknowledging and deleting it.
fn raw(server: &RedisServer) -> (Cost, Cost) {
    let entries = 16 * TASKS;
    let mut names = ["XADD, pipelined by 16", "a script reads, acknowledges, deletes 64"].into_iter();
    let measure = |mut command: Command| {
        let what = names.next()?;
        let watch = Watch::start(server);
        let started = Instant::now();
        let output = command.output().expect("redis-benchmark, which comes with redis-server");
        assert!(output.status.success());
        let cost = watch.cost(entries);
        rate(&format!("raw: {what}, {:.1} µs of Redis each", cost.0), entries, started);
        Some(cost)
    };
    let [added, drained] = server.raw(entries, measure).expect("redis-cli, which comes with redis-server");
    (added, drained)
}

async fn measure(server: &RedisServer, added: Cost, drained: Cost) {
    let config = Config { url: server.url(), backlog: 1_000_000, ..Config::default() };
    let broker = Arc::new(RedisBroker::connect(config).await.expect("a store"));

    for callers in [1, 4] {
        let batches: Vec<Vec<Record>> = (0..TASKS / MAX_BATCH).map(|_| tasks(MAX_BATCH)).collect();
        let shares = batches.chunks(TASKS / MAX_BATCH / callers).map(<[Vec<Record>]>::to_vec);
        let shares: Vec<Vec<Vec<Record>>> = shares.collect();
        let (watch, started) = (Watch::start(server), Instant::now());
        let submits = shares.into_iter().map(|share| {
            let broker = broker.clone();
            tokio::spawn(async move {
                for records in share {
                    broker.submit(records).await.expect("accepted");
                }
            })
        });
        futures_util::future::join_all(submits).await;
        report(&format!("submit, {callers} callers, 64 a call"), TASKS, started, &watch, &added);
    }
    for callers in [1, 4] {
        let (watch, started) = (Watch::start(server), Instant::now());
        let workers = (0..callers).map(|_| {
            let broker = broker.clone();
            tokio::spawn(async move { work(&*broker, MAX_BATCH, TASKS / callers).await })
        });
        let done = futures_util::future::join_all(workers).await;
        let done = done.into_iter().map(|done| done.expect("no worker fails")).sum();
        report(&format!("claim and settle, {callers} callers, 64 a call"), done, started, &watch, &drained);
    }
    every_record_is_there(&broker).await;
}

fn report(what: &str, n: usize, started: Instant, watch: &Watch<'_>, raw: &Cost) {
    let cost = watch.cost(n);
    rate(&format!("{what}, {:.1} µs of Redis each: {:.2} of raw", cost.0, raw.0 / cost.0), n, started);
}

/// Reads every record back, so that no figure is of tasks that are not there.
async fn every_record_is_there(broker: &RedisBroker) {
    assert_eq!(broker.tally(None).await.expect("a tally"), [(Status::Completed, 2 * TASKS as u64)]);
    let started = Instant::now();
    let mut read = 0;
    while read < 2 * TASKS {
        let query = Query { limit: 1024, offset: read, ..Query::default() };
        let records = broker.list(&query).await.expect("a list");
        assert!(!records.is_empty() && records.iter().all(|record| record.status() == Status::Completed));
        read += records.len();
    }
    rate("read back, one caller", read, started);
}
