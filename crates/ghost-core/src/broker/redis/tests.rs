//! Redis through the contract suite, on good lines and bad, and what only a server of its own can suffer.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::broker::contract::{self, Harness};
use crate::broker::faulty::{Faults, Faulty};
use crate::broker::testing::RedisServer;
use crate::lifecycle::{Event, Stage};

mod cluster;
mod differential;
mod faults;
mod own;
mod tls;

/// The server that all tests share, each with a swarm of its own.
static SERVER: LazyLock<RedisServer> = LazyLock::new(RedisServer::start);
static SWARMS: AtomicU32 = AtomicU32::new(0);

fn swarm() -> String {
    format!("test-{}", SWARMS.fetch_add(1, Ordering::Relaxed))
}

/// A swarm's store that can be put behind a bad line, be left and opened again, and be set back.
struct Redis {
    broker: Option<Box<dyn Broker>>,
    config: Config,
    clock: Clock,
    faults: Option<Faults>,
    saved: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Redis {
    async fn new(faults: Option<Faults>) -> Self {
        Self::over(1, faults).await
    }

    async fn over(shards: usize, faults: Option<Faults>) -> Self {
        let clock = Clock::manual(Timestamp(1_700_000_000_000));
        let config = Config {
            url: SERVER.url(),
            swarm: swarm(),
            shards,
            backlog: contract::BACKLOG * shards as u64,
            clock: Some(clock.clone()),
            // Nothing is removed but by a case that asks for it.
            result_ttl: Duration::from_secs(1_000_000_000),
            ..Config::default()
        };
        let mut harness = Self { broker: None, config, clock, faults, saved: Vec::new() };
        harness.open().await;
        harness
    }

    async fn open(&mut self) {
        let broker = RedisBroker::connect(self.config.clone()).await.expect("the store opens");
        self.broker = Some(match self.faults {
            Some(faults) => Box::new(Faulty::new(broker, faults)),
            None => Box::new(broker),
        });
    }

    async fn raw(&self) -> ::redis::aio::MultiplexedConnection {
        let client = ::redis::Client::open(self.config.url.as_str()).expect("an address");
        client.get_multiplexed_async_connection().await.expect("the server answers")
    }

    async fn keys(&self, raw: &mut ::redis::aio::MultiplexedConnection) -> Vec<Vec<u8>> {
        let pattern = format!("{{gs:{}:*", self.config.swarm);
        ::redis::cmd("KEYS").arg(pattern).query_async(raw).await.expect("the server answers")
    }
}

#[async_trait]
impl Harness for Redis {
    fn broker(&self) -> &dyn Broker {
        self.broker.as_deref().expect("it is open")
    }

    fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }

    async fn restart(&mut self) -> bool {
        self.open().await;
        true
    }

    async fn save(&mut self) -> bool {
        let mut raw = self.raw().await;
        self.saved.clear();
        for key in self.keys(&mut raw).await {
            let value =
                ::redis::cmd("DUMP").arg(&key).query_async(&mut raw).await.expect("a key that is there");
            self.saved.push((key, value));
        }
        true
    }

    async fn roll_back(&mut self) {
        let mut raw = self.raw().await;
        for key in self.keys(&mut raw).await {
            let () = ::redis::cmd("DEL").arg(&key).query_async(&mut raw).await.expect("it is gone");
        }
        for (key, value) in &self.saved {
            let mut restore = ::redis::cmd("RESTORE");
            let () = restore.arg(key).arg(0).arg(value).query_async(&mut raw).await.expect("it is back");
        }
    }
}

#[tokio::test]
async fn redis_keeps_the_contract() {
    contract::suite(async || Redis::new(None).await).await;
}

#[tokio::test]
async fn redis_behind_a_bad_line_keeps_what_can_be_kept() {
    for seed in 0..2 {
        contract::suite_under_faults(async || Redis::new(Some(Faults::one_in_ten(seed))).await).await;
    }
}

#[tokio::test]
async fn redis_keeps_the_contract_over_several_shards() {
    contract::suite_over_shards(async || Redis::over(3, None).await).await;
}
