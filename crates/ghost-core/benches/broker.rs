//! How many tasks a second the SQLite broker takes in, and how many it hands out and settles.
//!
//! `cargo bench -p ghost-core`. The file lies in the build directory, hence on the disk that builds are on; what an
//! acknowledged write survives is printed beside each figure, since it decides most of it.

use std::path::Path;
use std::time::Instant;

use common::{rate, say, tasks, work};
use ghost_core::broker::sqlite::{Durability, Options, SqliteBroker};
use ghost_core::broker::{Broker, MAX_BATCH};

mod common;

const TASKS: usize = 16_384;
const CALLERS: usize = 16;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let directory = tempfile::TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let file = |name| Some(directory.path().join(name));
        for (name, path, durability) in [
            ("in memory", None, Durability::Crash),
            ("file, survives SIGKILL (synchronous=NORMAL)", file("normal.db"), Durability::Crash),
            ("file, survives power loss (synchronous=FULL)", file("full.db"), Durability::PowerLoss),
        ] {
            say(format!("{name}:"));
            measure(path.as_deref(), durability).await;
        }
    });
}

async fn measure(path: Option<&Path>, durability: Durability) {
    let options = Options { durability, ..Options::default() };
    let broker = match path {
        Some(path) => SqliteBroker::open(path, options),
        None => SqliteBroker::in_memory(options),
    };
    let broker = broker.expect("a store");

    let started = Instant::now();
    for _ in 0..TASKS / MAX_BATCH {
        broker.submit(tasks(MAX_BATCH)).await.expect("accepted");
    }
    rate("submit, one caller, 64 a call", TASKS, started);

    let started = Instant::now();
    let singly = async || {
        for _ in 0..TASKS / CALLERS / 4 {
            broker.submit(tasks(1)).await.expect("accepted");
        }
    };
    futures_util::future::join_all((0..CALLERS).map(|_| singly())).await;
    rate("submit, 16 callers, 1 a call", TASKS / 4, started);

    let started = Instant::now();
    let done = futures_util::future::join_all((0..2).map(|_| work(&broker, MAX_BATCH, TASKS / 2))).await;
    rate("claim and settle, 2 callers, 64 a call", done.iter().sum(), started);

    let started = Instant::now();
    let done = futures_util::future::join_all((0..CALLERS).map(|_| work(&broker, 1, TASKS))).await;
    rate("claim and settle, 16 callers, 1 a call", done.iter().sum(), started);

    if let Some(path) = path {
        let bytes = std::fs::metadata(path).expect("a file").len() as usize;
        say(format!("  {:>9} bytes on disk a settled task", bytes / (TASKS + TASKS / 4)));
    }
}
