//! apalis-redis as its README shows it: it acknowledges after the work, and keeps each task's result.
//!
//! `apalis-peer worker` runs what is in the queue; `apalis-peer driver` enqueues for `run`, line by line as `driver.py` does.

use std::io::{BufRead, Write};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use apalis::prelude::*;
use apalis_redis::{Config, ConnectionManager, RedisStorage};
use serde::{Deserialize, Serialize};

/// Tasks a call of `bulk`, as many as our own benchmark sends.
const BATCH: usize = 64;

#[derive(Debug, Serialize, Deserialize)]
enum Work {
    Nothing,
    /// Says how long it took to start; holds the Unix time just before it was sent, in seconds.
    Stamp(f64),
}

#[tokio::main]
async fn main() -> Result<(), BoxDynError> {
    let url = std::env::var("PEERS_REDIS_URL")?;
    let connection = apalis_redis::connect(url).await?;
    // The name is ours so that `run` finds the keys; the rest is the default.
    let storage = RedisStorage::new(connection.clone()).with_config(Config::default().queue("peers"));
    match std::env::args().nth(1).as_deref() {
        Some("worker") => {
            // By itself a worker that found nothing looks again with its next heartbeat, half a minute later.
            let storage = storage.poll_with_interval(Duration::from_millis(100));
            WorkerBuilder::new("peer").backend(storage).data(connection).build(work).run().await?;
            Ok(())
        }
        Some("driver") => drive(storage).await,
        _ => Err("say `worker` or `driver`".into()),
    }
}

async fn work(work: Work, connection: Data<ConnectionManager>) -> Result<(), BoxDynError> {
    if let Work::Stamp(sent) = work {
        let waited = now() - sent;
        let mut connection = (*connection).clone();
        let _: i64 = redis::cmd("RPUSH").arg("stamps").arg(waited).query_async(&mut connection).await?;
    }
    Ok(())
}

async fn drive(mut storage: RedisStorage<Work>) -> Result<(), BoxDynError> {
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let answer = match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["enqueue", number] => {
                let began = Instant::now();
                for _ in 0..number.parse::<usize>()? {
                    storage.push(Work::Nothing).await?;
                }
                began.elapsed().as_secs_f64().to_string()
            }
            ["bulk", number] => {
                let began = Instant::now();
                let mut left = number.parse::<usize>()?;
                while left > 0 {
                    let batch = left.min(BATCH);
                    storage.push_bulk((0..batch).map(|_| Work::Nothing).collect()).await?;
                    left -= batch;
                }
                began.elapsed().as_secs_f64().to_string()
            }
            ["stamp"] => {
                storage.push(Work::Stamp(now())).await?;
                "sent".to_owned()
            }
            _ => return Err(format!("{line:?} is none of `enqueue N`, `bulk N` and `stamp`").into()),
        };
        println!("{answer}");
        std::io::stdout().flush()?;
    }
    Ok(())
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_secs_f64()
}
