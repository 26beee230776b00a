//! One agent's line to a store in memory. It keeps the store's clock with tokio's, which a test can pause, and it can
//! be cut.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ghost_core::broker::Clock;
use ghost_core::broker::sqlite::{Options, SqliteBroker};
use ghost_core::broker::{
    Broker, Claim, Commit, Document, Error, News, Outcome, Query, Submission, Subscription,
};
use ghost_core::id::{AgentId, BatchId, TaskKey};
use ghost_core::lifecycle::{Record, Timestamp};
use ghost_core::messages::AgentInfo;
use ghost_core::stats::Counters;
use ghost_core::task::Status;
use tokio::time::Instant;

/// The line. Clones share the store and its clock; each can be cut on its own.
#[derive(Debug)]
pub struct Line {
    store: Arc<Store>,
    cut: AtomicBool,
    silent: AtomicBool,
}

#[derive(Debug)]
struct Store {
    broker: SqliteBroker,
    clock: Clock,
    begun: Instant,
    /// How far the store's clock was moved.
    moved: Mutex<Duration>,
}

impl Line {
    /// A line to a new store.
    pub fn to_new_store() -> Self {
        let clock = Clock::manual(Timestamp(1_000_000));
        let options = Options { clock: clock.clone(), ..Options::default() };
        let broker = SqliteBroker::in_memory(options).expect("memory for a store");
        let store = Store { broker, clock, begun: Instant::now(), moved: Mutex::default() };
        Self { store: Arc::new(store), cut: AtomicBool::new(false), silent: AtomicBool::new(false) }
    }

    /// Cuts the line, or mends it.
    pub fn cut(&self, cut: bool) {
        self.cut.store(cut, Ordering::SeqCst);
    }

    /// Whatever is asked while it is silent is never answered, not even that it cannot be.
    pub fn silence(&self, silent: bool) {
        self.silent.store(silent, Ordering::SeqCst);
    }

    async fn call<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        if self.cut.load(Ordering::SeqCst) {
            return Err(Error::Unavailable("the line is cut".to_owned()));
        }
        if self.silent.load(Ordering::SeqCst) {
            return std::future::pending().await;
        }
        {
            let mut moved = self.store.moved.lock().unwrap_or_else(PoisonError::into_inner);
            let elapsed = self.store.begun.elapsed();
            self.store.clock.advance(elapsed.saturating_sub(*moved));
            *moved = elapsed;
        }
        // A paused clock moves on whenever the runtime has nothing to do, and so it would while the store's own thread
        // works. A blocking task holds it.
        let (done, working) = std::sync::mpsc::channel::<()>();
        tokio::task::spawn_blocking(move || working.recv().is_ok());
        let result = call.await;
        drop(done);
        result
    }
}

impl Clone for Line {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), cut: AtomicBool::new(false), silent: AtomicBool::new(false) }
    }
}

#[async_trait]
impl Broker for Line {
    async fn now(&self) -> Result<Timestamp, Error> {
        self.call(self.store.broker.now()).await
    }

    async fn submit(&self, records: Vec<Record>) -> Result<Vec<Submission>, Error> {
        self.call(self.store.broker.submit(records)).await
    }

    async fn claim(&self, claim: &Claim) -> Result<Vec<Record>, Error> {
        self.call(self.store.broker.claim(claim)).await
    }

    async fn commit(&self, commits: &[Commit]) -> Result<Vec<Outcome>, Error> {
        self.call(self.store.broker.commit(commits)).await
    }

    async fn overdue(&self, max_wait: Duration, limit: usize) -> Result<Vec<Record>, Error> {
        self.call(self.store.broker.overdue(max_wait, limit)).await
    }

    async fn get(&self, key: &TaskKey) -> Result<Option<Record>, Error> {
        self.call(self.store.broker.get(key)).await
    }

    async fn list(&self, query: &Query) -> Result<Vec<Record>, Error> {
        self.call(self.store.broker.list(query)).await
    }

    async fn tally(&self, batch: Option<BatchId>) -> Result<Vec<(Status, u64)>, Error> {
        self.call(self.store.broker.tally(batch)).await
    }

    async fn oldest(&self) -> Result<Option<Timestamp>, Error> {
        self.call(self.store.broker.oldest()).await
    }

    async fn settled(&self, batch: BatchId, cursor: u64, limit: usize) -> Result<Vec<(u64, Record)>, Error> {
        self.call(self.store.broker.settled(batch, cursor, limit)).await
    }

    async fn counters(&self) -> Result<Counters, Error> {
        self.call(self.store.broker.counters()).await
    }

    async fn purge(&self, keep: Option<Duration>, at_most: Option<u64>) -> Result<u64, Error> {
        self.call(self.store.broker.purge(keep, at_most)).await
    }

    async fn release_all(&self) -> Result<u64, Error> {
        self.call(self.store.broker.release_all()).await
    }

    async fn announce(&self, agent: &AgentInfo, lease: Duration) -> Result<(), Error> {
        self.call(self.store.broker.announce(agent, lease)).await
    }

    async fn withdraw(&self, agent: &AgentId) -> Result<(), Error> {
        self.call(self.store.broker.withdraw(agent)).await
    }

    async fn agents(&self) -> Result<Vec<AgentInfo>, Error> {
        self.call(self.store.broker.agents()).await
    }

    async fn document(&self, name: &str) -> Result<Option<Document>, Error> {
        self.call(self.store.broker.document(name)).await
    }

    async fn put_document(&self, name: &str, document: &Document) -> Result<bool, Error> {
        self.call(self.store.broker.put_document(name, document)).await
    }

    async fn publish(&self, news: News) -> Result<(), Error> {
        self.call(self.store.broker.publish(news)).await
    }

    async fn subscribe(&self) -> Result<Subscription, Error> {
        self.call(self.store.broker.subscribe()).await
    }
}
