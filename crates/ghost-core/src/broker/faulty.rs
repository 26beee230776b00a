//! A broker that misbehaves: it delays, loses and repeats, as networks and stores do, by a seed.
//!
//! Whoever works with it must work with any broker, since each may do what this one does often: lose a call before it
//! took effect, lose the reply after it did, hear a call twice, and miss or repeat news.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::broadcast;

use super::{Broker, Claim, Commit, Document, Error, News, Outcome, Query, Submission, Subscription};
use crate::id::{AgentId, BatchId, TaskKey};
use crate::lifecycle::{Record, Timestamp};
use crate::messages::AgentInfo;
use crate::stats::Counters;
use crate::task::Status;

/// What goes wrong, how often. Probabilities from 0 to 1, each drawn on its own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Faults {
    /// The same seed and the same order of calls give the same faults.
    pub seed: u64,
    /// Of a call that never arrives.
    pub lost_calls: f64,
    /// Of a call that takes effect and whose reply never arrives.
    pub lost_replies: f64,
    /// Of a call that takes effect twice.
    pub repeated_calls: f64,
    /// Of news that one listener misses.
    pub lost_news: f64,
    /// Of news that one listener hears twice.
    pub repeated_news: f64,
    /// Of a call that waits for up to [`Self::longest_delay`].
    pub delays: f64,
    /// On tokio's clock, so that a test can pause it.
    pub longest_delay: Duration,
}

impl Faults {
    /// Everything goes wrong one time in ten, some calls a millisecond late.
    pub fn one_in_ten(seed: u64) -> Self {
        Self {
            seed,
            lost_calls: 0.1,
            lost_replies: 0.1,
            repeated_calls: 0.1,
            lost_news: 0.1,
            repeated_news: 0.1,
            delays: 0.1,
            longest_delay: Duration::from_millis(1),
        }
    }
}

/// A broker behind a bad line.
#[derive(Debug)]
pub struct Faulty<B> {
    inner: B,
    faults: Faults,
    chance: Arc<Mutex<fastrand::Rng>>,
}

impl<B: Broker> Faulty<B> {
    /// Puts `inner` behind a line with these faults.
    pub fn new(inner: B, faults: Faults) -> Self {
        Self { inner, faults, chance: Arc::new(Mutex::new(fastrand::Rng::with_seed(faults.seed))) }
    }

    /// The broker behind the line.
    pub fn inner(&self) -> &B {
        &self.inner
    }

    async fn disturbed<T, F>(&self, call: impl Fn() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let faults = &self.faults;
        if draw(&self.chance, faults.delays) {
            let share = self.chance.lock().unwrap_or_else(PoisonError::into_inner).f64();
            tokio::time::sleep(faults.longest_delay.mul_f64(share)).await;
        }
        if draw(&self.chance, faults.lost_calls) {
            return Err(Error::Unavailable("the call was lost".to_owned()));
        }
        if draw(&self.chance, faults.repeated_calls) {
            // Its sender hears the second reply only.
            let _ = call().await;
        }
        let result = call().await;
        if draw(&self.chance, faults.lost_replies) {
            return Err(Error::Unavailable("the reply was lost".to_owned()));
        }
        result
    }
}

fn draw(chance: &Mutex<fastrand::Rng>, probability: f64) -> bool {
    chance.lock().unwrap_or_else(PoisonError::into_inner).f64() < probability
}

#[async_trait]
impl<B: Broker> Broker for Faulty<B> {
    async fn now(&self) -> Result<Timestamp, Error> {
        self.disturbed(|| self.inner.now()).await
    }

    async fn submit(&self, records: Vec<Record>) -> Result<Vec<Submission>, Error> {
        self.disturbed(|| self.inner.submit(records.clone())).await
    }

    async fn claim(&self, claim: &Claim) -> Result<Vec<Record>, Error> {
        self.disturbed(|| self.inner.claim(claim)).await
    }

    async fn commit(&self, commits: &[Commit]) -> Result<Vec<Outcome>, Error> {
        self.disturbed(|| self.inner.commit(commits)).await
    }

    async fn overdue(&self, max_wait: Duration, limit: usize) -> Result<Vec<Record>, Error> {
        self.disturbed(|| self.inner.overdue(max_wait, limit)).await
    }

    async fn get(&self, key: &TaskKey) -> Result<Option<Record>, Error> {
        self.disturbed(|| self.inner.get(key)).await
    }

    async fn list(&self, query: &Query) -> Result<Vec<Record>, Error> {
        self.disturbed(|| self.inner.list(query)).await
    }

    async fn tally(&self, batch: Option<BatchId>) -> Result<Vec<(Status, u64)>, Error> {
        self.disturbed(|| self.inner.tally(batch)).await
    }

    async fn oldest(&self) -> Result<Option<Timestamp>, Error> {
        self.disturbed(|| self.inner.oldest()).await
    }

    async fn settled(&self, batch: BatchId, cursor: u64, limit: usize) -> Result<Vec<(u64, Record)>, Error> {
        self.disturbed(|| self.inner.settled(batch, cursor, limit)).await
    }

    async fn counters(&self) -> Result<Counters, Error> {
        self.disturbed(|| self.inner.counters()).await
    }

    async fn purge(&self, keep: Option<Duration>, at_most: Option<u64>) -> Result<u64, Error> {
        self.disturbed(|| self.inner.purge(keep, at_most)).await
    }

    async fn release_all(&self) -> Result<u64, Error> {
        self.disturbed(|| self.inner.release_all()).await
    }

    async fn announce(&self, agent: &AgentInfo, lease: Duration) -> Result<(), Error> {
        self.disturbed(|| self.inner.announce(agent, lease)).await
    }

    async fn withdraw(&self, agent: &AgentId) -> Result<(), Error> {
        self.disturbed(|| self.inner.withdraw(agent)).await
    }

    async fn agents(&self) -> Result<Vec<AgentInfo>, Error> {
        self.disturbed(|| self.inner.agents()).await
    }

    async fn document(&self, name: &str) -> Result<Option<Document>, Error> {
        self.disturbed(|| self.inner.document(name)).await
    }

    async fn put_document(&self, name: &str, document: &Document) -> Result<bool, Error> {
        self.disturbed(|| self.inner.put_document(name, document)).await
    }

    async fn publish(&self, news: News) -> Result<(), Error> {
        self.disturbed(|| self.inner.publish(news.clone())).await
    }

    async fn subscribe(&self) -> Result<Subscription, Error> {
        let mut source = self.disturbed(|| self.inner.subscribe()).await?;
        let (line, listener) = broadcast::channel(1024);
        let (faults, chance) = (self.faults, self.chance.clone());
        // Ends with its listener, or with the broker.
        tokio::spawn(async move {
            loop {
                let news = tokio::select! {
                    news = source.0.recv() => news,
                    () = line.closed() => return,
                };
                match news {
                    Ok(_) if draw(&chance, faults.lost_news) => {}
                    Ok(news) => {
                        if draw(&chance, faults.repeated_news) {
                            let _ = line.send(news.clone());
                        }
                        let _ = line.send(news);
                    }
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return,
                }
            }
        });
        Ok(Subscription::new(listener))
    }
}
