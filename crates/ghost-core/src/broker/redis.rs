//! The distributed broker: Redis 7 or newer, or Valkey, shared by every process of a swarm.
//!
//! A record's head is the truth and queues are indexes of it; each call below is one Lua script, which Redis runs whole
//! and by its own clock. Scripts compare, write, index and count what Rust computed: which keys there are stands in
//! `redis/keys.rs`, what is in them in `redis/form.rs`, the scripts beside it, the connection in `redis/line.rs`, commits that
//! go together in `redis/writer.rs`, news in `redis/news.rs`.
//!
//! **Shards.** A task and all that belongs to it lie in one shard, which has its queues, leases and counters to itself; a
//! Redis Cluster keeps each shard on one of its nodes. `redis/shard.rs` is what happens in one; here they are put together:
//! what concerns a task goes to its shard, claims take the shards in turn, and what concerns all is asked of each. Order
//! is kept within a shard only. A swarm has one unless it is told otherwise.
//!
//! **Why a claim writes an event.** Its candidates are known only inside Redis, and [`lifecycle::step`] is in Rust. To
//! hand candidates out and commit them afterwards costs a second script for each batch and leaves tasks in between when
//! a claimant dies; to change the state in Lua would make a second state machine. So the script appends the claim, with
//! its token, time and holder, to the head, and whoever reads the record steps it with that event. A claim and a commit
//! are one script each, and every state that anybody sees was computed by `step`.
//!
//! **Why a task has no hash of its own.** A script costs the commands in it more than their size. Heads, records and
//! requests in a hash each are read and written for 64 tasks by one command; a hash for each task takes 64.
//!
//! [`feed`] reads what others put into Redis for the swarm.
//!
//! News goes over pub/sub, on a connection of its own, and may be missed like all news. Nothing here blocks inside
//! Redis, so no reply can be abandoned with a task in it: who waits, waits for news, and polls slowly behind it.
//!
//! [`lifecycle::step`]: crate::lifecycle::step

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{join_all, select_ok, try_join_all};
use tracing::warn;

use self::news::Ear;
use self::shard::Shard;
use self::time::LastTime;
use super::{
    Broker, Claim, Clock, Commit, Document, Error, MAX_BATCH, News, Outcome, Query, Submission, Subscription,
};
use crate::id::{AgentId, BatchId, TaskKey};
use crate::lifecycle::{Record, Timestamp};
use crate::messages::AgentInfo;
use crate::stats::Counters;
use crate::task::Status;

pub mod feed;
mod form;
mod keys;
mod line;
mod listen;
mod lists;
mod news;
mod reply;
mod scripts;
mod shard;
#[cfg(test)]
mod tests;
mod time;
mod writer;

/// The most shards of a swarm; each is a connection of every process, and is looked through for what is overdue.
pub const MOST_SHARDS: usize = 64;
/// Records that [`Broker::list`] gives where a query does not say.
const LIST: usize = 100;

/// How a broker reaches Redis, and what it keeps there.
#[derive(Clone)]
pub struct Config {
    /// Where it is: `redis://[user[:password]@]host[:port][/db]`, `rediss://` over TLS, or `unix:///path`;
    /// `redis://127.0.0.1:6379` by default. Of a Cluster, any node.
    pub url: String,
    /// A file with the certificates (PEM) of whoever signed Redis's; the system's authorities by default.
    pub ca: Option<PathBuf>,
    /// Its password, where the URL does not say.
    pub password: Option<String>,
    /// Whose tasks: swarms of different names may share a Redis. 1 to 64 letters, digits, dots, dashes or underscores;
    /// `ghost` by default.
    pub swarm: String,
    /// How many shards its tasks lie in, 1 to [`MOST_SHARDS`]; 1 by default. More are for a Cluster, which keeps each on
    /// one of its nodes. All programs of a swarm say the same, for ever.
    pub shards: usize,
    /// How many tasks may wait before submits are refused; 100,000 by default. Each shard takes its part.
    pub backlog: u64,
    /// How long settled records are kept; a day by default.
    pub result_ttl: Duration,
    /// How long a call waits for a Redis that restarts or changes its master before it says so; half a second by
    /// default. Its sender may wait longer, as [`super::patiently`] does.
    pub patience: Duration,
    /// Where the time comes from; Redis's own `TIME` by default. Tests hold a clock that they move.
    pub clock: Option<Clock>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: "redis://127.0.0.1:6379".to_owned(),
            ca: None,
            password: None,
            swarm: "ghost".to_owned(),
            shards: 1,
            backlog: 100_000,
            result_ttl: Duration::from_secs(86_400),
            patience: Duration::from_millis(500),
            clock: None,
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither the URL nor the password: both may hold a secret.
        f.debug_struct("Config")
            .field("swarm", &self.swarm)
            .field("shards", &self.shards)
            .field("backlog", &self.backlog)
            .finish_non_exhaustive()
    }
}

/// A store of tasks in Redis.
pub struct RedisBroker {
    config: Config,
    /// One at least. The first also has what belongs to no task: agents and documents.
    shards: Vec<Shard>,
    /// Counts claims: each looks into another shard first.
    turn: AtomicUsize,
    ear: Ear,
}

impl fmt::Debug for RedisBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBroker").field("config", &self.config).finish_non_exhaustive()
    }
}

impl RedisBroker {
    /// Connects, and checks that this Redis can keep tasks.
    ///
    /// # Errors
    /// [`Error::Misconfigured`] where an address, a name or a number makes no sense, Redis is too old, or it may evict
    /// keys; [`Error::Unavailable`] where it cannot be reached or does not let us in; [`Error::Damaged`] where its tasks
    /// were written by another version.
    pub async fn connect(config: Config) -> Result<Self, Error> {
        if !(1..=MOST_SHARDS).contains(&config.shards) {
            return Err(Error::Misconfigured(format!(
                "a swarm has 1 to {MOST_SHARDS} shards, not {}",
                config.shards
            )));
        }
        let time = Arc::new(LastTime::default());
        let open = |number| Shard::open(&config, number, time.clone());
        // The first knows how many there are, before a wrong number is noted in others.
        let mut shards = vec![open(0).await?];
        shards.extend(try_join_all((1..config.shards).map(open)).await?);
        let channels = shards.iter().map(|shard| shard.keys.news()).collect();
        let ear = Ear::new(shards[0].line().clone(), channels);
        Ok(Self { config, shards, turn: AtomicUsize::new(0), ear })
    }

    /// The shard of a task. A batch lies in one whole, so that its settlements have one order.
    fn shard_of(&self, key: &TaskKey) -> usize {
        match key.batch {
            Some(batch) => self.shard_of_batch(batch),
            None => keys::shard_of(key.id.as_str(), self.shards.len()),
        }
    }

    fn shard_of_batch(&self, batch: BatchId) -> usize {
        keys::shard_of(&batch.to_string(), self.shards.len())
    }

    /// The shards that may hold tasks of a batch; all where none is named.
    fn shards_for(&self, batch: Option<BatchId>) -> &[Shard] {
        match batch {
            Some(batch) => std::slice::from_ref(&self.shards[self.shard_of_batch(batch)]),
            None => &self.shards,
        }
    }

    /// What the shards make of these, each of its own; the answers are in the order of the items.
    async fn each<'a, T, R, F>(
        &'a self,
        items: Vec<T>,
        key: impl Fn(&T) -> &TaskKey,
        call: impl Fn(&'a Shard, Vec<T>) -> F,
    ) -> Result<Vec<R>, Error>
    where
        F: Future<Output = Result<Vec<R>, Error>>,
    {
        if let [only] = &self.shards[..] {
            return call(only, items).await;
        }
        let mut parts: BTreeMap<usize, (Vec<usize>, Vec<T>)> = BTreeMap::new();
        for (place, item) in items.into_iter().enumerate() {
            let (places, part) = parts.entry(self.shard_of(key(&item))).or_default();
            places.push(place);
            part.push(item);
        }
        // Each to its end, whatever becomes of the others: what was written shall not be cut off from its answer.
        let answered = join_all(parts.into_iter().map(|(shard, (places, part))| {
            let answers = call(&self.shards[shard], part);
            async move { Ok(places.into_iter().zip(answers.await?).collect::<Vec<_>>()) }
        }));
        let answered: Vec<Vec<(usize, R)>> = answered.await.into_iter().collect::<Result<_, Error>>()?;
        let mut placed: Vec<(usize, R)> = answered.into_iter().flatten().collect();
        placed.sort_by_key(|(place, _)| *place);
        Ok(placed.into_iter().map(|(_, answer)| answer).collect())
    }
}

/// What shards gave, where those that do not answer shall not hold up the others.
#[derive(Default)]
struct Found {
    records: Vec<Record>,
    failure: Option<Error>,
}

impl Found {
    fn add(&mut self, found: Result<Vec<Record>, Error>) {
        match found {
            Ok(records) => self.records.extend(records),
            Err(error) => self.failure = Some(error),
        }
    }

    /// The records; the failure only where there are none.
    fn or_failure(self) -> Result<Vec<Record>, Error> {
        match self.failure {
            Some(error) if self.records.is_empty() => Err(error),
            Some(error) => {
                warn!(error = %error, "a shard does not answer: {error}");
                Ok(self.records)
            }
            None => Ok(self.records),
        }
    }
}

#[async_trait]
impl Broker for RedisBroker {
    async fn now(&self) -> Result<Timestamp, Error> {
        // Whichever answers first: a node that is down shall not stop the clock of the others.
        select_ok(self.shards.iter().map(|shard| Box::pin(shard.now()))).await.map(|(time, _)| time)
    }

    async fn submit(&self, records: Vec<Record>) -> Result<Vec<Submission>, Error> {
        self.each(records, |record| &record.key, Shard::submit).await
    }

    async fn claim(&self, claim: &Claim) -> Result<Vec<Record>, Error> {
        let limit = claim.limit.min(MAX_BATCH);
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut found = Found::default();
        for number in 0..self.shards.len() {
            let wanted = limit - found.records.len();
            if wanted == 0 {
                break;
            }
            let shard = &self.shards[first.wrapping_add(number) % self.shards.len()];
            found.add(shard.claim(&Claim { limit: wanted, ..claim.clone() }).await);
        }
        found.or_failure()
    }

    async fn commit(&self, commits: &[Commit]) -> Result<Vec<Outcome>, Error> {
        self.each(commits.iter().collect(), |commit| &commit.record.key, Shard::commit).await
    }

    async fn overdue(&self, max_wait: Duration, limit: usize) -> Result<Vec<Record>, Error> {
        let mut found = Found::default();
        let overdue = join_all(self.shards.iter().map(|shard| shard.overdue(max_wait, limit)));
        overdue.await.into_iter().for_each(|overdue| found.add(overdue));
        found.records.truncate(limit);
        found.or_failure()
    }

    async fn get(&self, key: &TaskKey) -> Result<Option<Record>, Error> {
        self.shards[self.shard_of(key)].get(key).await
    }

    async fn list(&self, query: &Query) -> Result<Vec<Record>, Error> {
        let limit = if query.limit == 0 { LIST } else { query.limit };
        let shards = self.shards_for(query.batch);
        if let [only] = shards {
            return only.list(&Query { limit, ..query.clone() }).await;
        }
        // Which of them are skipped is known only once they lie side by side.
        let all = Query { limit: limit.saturating_add(query.offset), offset: 0, ..query.clone() };
        let mut found = try_join_all(shards.iter().map(|shard| shard.list(&all))).await?.concat();
        found.sort_by_key(|record| std::cmp::Reverse(record.submitted_at));
        Ok(found.into_iter().skip(query.offset).take(limit).collect())
    }

    async fn tally(&self, batch: Option<BatchId>) -> Result<Vec<(Status, u64)>, Error> {
        let tallies =
            try_join_all(self.shards_for(batch).iter().map(|shard| shard.tally(batch))).await?.concat();
        let all =
            |status: Status| tallies.iter().filter(|(of, _)| *of == status).map(|(_, n)| n).sum::<u64>();
        Ok(Status::ALL.into_iter().map(|status| (status, all(status))).filter(|(_, n)| *n > 0).collect())
    }

    async fn oldest(&self) -> Result<Option<Timestamp>, Error> {
        let oldest = try_join_all(self.shards.iter().map(Shard::oldest)).await?;
        Ok(oldest.into_iter().flatten().min())
    }

    async fn settled(&self, batch: BatchId, cursor: u64, limit: usize) -> Result<Vec<(u64, Record)>, Error> {
        self.shards[self.shard_of_batch(batch)].settled(batch, cursor, limit).await
    }

    async fn counters(&self) -> Result<Counters, Error> {
        let mut all = Counters::default();
        for (name, n) in try_join_all(self.shards.iter().map(Shard::counters)).await?.into_iter().flatten() {
            *all.entry(name).or_default() += n;
        }
        Ok(all)
    }

    async fn purge(&self, keep: Option<Duration>, at_most: Option<u64>) -> Result<u64, Error> {
        // Tasks lie evenly, so that each shard may keep its part of the most.
        let part = at_most.map(|most| most.div_ceil(self.shards.len() as u64));
        let removed = try_join_all(self.shards.iter().map(|shard| shard.purge(keep, part))).await?;
        Ok(removed.iter().sum())
    }

    async fn release_all(&self) -> Result<u64, Error> {
        Ok(try_join_all(self.shards.iter().map(Shard::release_all)).await?.iter().sum())
    }

    async fn announce(&self, agent: &AgentInfo, lease: Duration) -> Result<(), Error> {
        self.shards[0].announce(agent, lease).await
    }

    async fn withdraw(&self, agent: &AgentId) -> Result<(), Error> {
        self.shards[0].withdraw(agent).await
    }

    async fn agents(&self) -> Result<Vec<AgentInfo>, Error> {
        self.shards[0].agents().await
    }

    async fn document(&self, name: &str) -> Result<Option<Document>, Error> {
        self.shards[0].document(name).await
    }

    async fn put_document(&self, name: &str, document: &Document) -> Result<bool, Error> {
        self.shards[0].put_document(name, document).await
    }

    async fn publish(&self, news: News) -> Result<(), Error> {
        self.shards[0].publish(news).await
    }

    async fn subscribe(&self) -> Result<Subscription, Error> {
        self.ear.subscribe(self.config.patience).await
    }
}
