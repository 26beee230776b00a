//! The embedded broker: SQLite in the process, in a file or in memory.
//!
//! A laptop needs nothing else installed and keeps its tasks across a crash. Callers turn records into rows and back
//! (`sqlite/row.rs`); one thread owns the connection and writes what waits together in one transaction
//! (`sqlite/thread.rs`, `sqlite/store.rs`); whose turn it is stands in `sqlite/turns.rs`. Several processes may have
//! the same file open: each sees what the others wrote, but news stays within a process, so they poll.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::types::Value;
use tokio::sync::broadcast;

use self::row::{Row, batch_text, before, integer, milliseconds};
use self::store::{Prepared, Seen, Store};
use self::thread::Thread;
use super::{
    Broker, Claim, Clock, Commit, Document, Error, MAX_BATCH, News, Outcome, Query, Submission, Subscription,
};
use crate::id::{AgentId, BatchId, TaskKey};
use crate::lifecycle::{Record, Timestamp};
use crate::messages::AgentInfo;
use crate::stats::Counters;
use crate::task::Status;

mod leases;
mod row;
mod schema;
mod store;
#[cfg(test)]
mod tests;
mod thread;

/// News that a slow listener may fall behind before it misses some: a few seconds of tokens from a few models.
const NEWS: usize = 1024;
/// Records that one transaction removes, so that a purge does not hold up the work.
const PURGE_AT_ONCE: usize = 1000;
/// Records that [`Broker::list`] gives where a query does not say.
const LIST: usize = 100;

/// How a store behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// What an acknowledged write survives; a power loss by default.
    pub durability: Durability,
    /// How many tasks may wait before submits are refused; 100,000 by default.
    pub backlog: u64,
    /// How long to wait for another process that is writing; 5 s by default.
    pub lock_wait: Duration,
    /// Where the time comes from; the wall clock by default.
    pub clock: Clock,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            durability: Durability::PowerLoss,
            backlog: 100_000,
            lock_wait: Duration::from_secs(5),
            clock: Clock::system(),
        }
    }
}

/// What an acknowledged write survives. Neither loses anything to a SIGKILL, and neither leaves a torn file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// A power loss: every transaction waits for the disk (`synchronous=FULL`).
    PowerLoss,
    /// A crash of the process; the last moments before a power loss may be missing (`synchronous=NORMAL`).
    Crash,
}

/// A store of tasks in SQLite.
#[derive(Debug)]
pub struct SqliteBroker {
    thread: Thread,
    news: broadcast::Sender<News>,
    clock: Clock,
}

impl SqliteBroker {
    /// Opens the store in this file, which is made where there is none.
    ///
    /// # Errors
    /// [`Error::Damaged`] where the file is something else, [`Error::Unavailable`] where it cannot be opened,
    /// [`Error::Locked`] where another process does not let go of it.
    pub fn open(path: &Path, options: Options) -> Result<Self, Error> {
        Self::start(Some(path), options)
    }

    /// A store that is gone with the process.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where there is no memory or no thread for it.
    pub fn in_memory(options: Options) -> Result<Self, Error> {
        Self::start(None, options)
    }

    fn start(path: Option<&Path>, options: Options) -> Result<Self, Error> {
        let connection = schema::connect(path, &options)?;
        let (news, _) = broadcast::channel(NEWS);
        let thread = Thread::start(Store::new(connection, &options, news.clone()))?;
        Ok(Self { thread, news, clock: options.clock })
    }

    async fn records(&self, sql: String, values: Vec<Value>) -> Result<Vec<(i64, Record)>, Error> {
        let texts = self.thread.read(move |store| store.texts(&sql, values)).await?;
        texts.into_iter().map(|(number, text)| Ok((number, text.parse()?))).collect()
    }
}

#[async_trait]
impl Broker for SqliteBroker {
    async fn now(&self) -> Result<Timestamp, Error> {
        Ok(self.clock.now())
    }

    async fn submit(&self, records: Vec<Record>) -> Result<Vec<Submission>, Error> {
        let rows = records
            .iter()
            .map(|record| {
                let request = serde_json::to_string(&record.request).expect("a request is always JSON");
                (Row::of(record), request)
            })
            .collect();
        let seen = self.thread.write(move |store| store.submit(rows)).await?;
        let submission = |(record, seen): (Record, Seen)| {
            Ok(match seen {
                Seen::New => Submission::New(record),
                Seen::Before(text) => {
                    let known = text.parse()?;
                    if known.fingerprint == record.fingerprint {
                        Submission::Known(known)
                    } else {
                        Submission::Conflict(record.key)
                    }
                }
            })
        };
        records.into_iter().zip(seen).map(submission).collect()
    }

    async fn claim(&self, claim: &Claim) -> Result<Vec<Record>, Error> {
        let claim = claim.clone();
        self.thread.write(move |store| store.claim(&claim)).await
    }

    async fn commit(&self, commits: &[Commit]) -> Result<Vec<Outcome>, Error> {
        let prepared: Vec<Prepared> = commits.iter().map(Prepared::from).collect();
        self.thread
            .write(move |store| prepared.into_iter().map(|commit| store.commit(commit)).collect())
            .await
    }

    async fn overdue(&self, max_wait: Duration, limit: usize) -> Result<Vec<Record>, Error> {
        let now = self.clock.now();
        let sql = "SELECT 0, record, request FROM tasks JOIN requests USING (seq) WHERE seq IN (
                SELECT * FROM (SELECT seq FROM tasks WHERE lease_until <= ?1 LIMIT ?3)
                UNION SELECT * FROM (SELECT seq FROM tasks WHERE deadline <= ?1 LIMIT ?3)
                UNION SELECT * FROM (SELECT seq FROM tasks WHERE stage IS NOT NULL AND queued_at <= ?2 LIMIT ?3)
            ) LIMIT ?3";
        let values = vec![
            milliseconds(now).into(),
            before(now, max_wait).into(),
            integer(limit.min(MAX_BATCH) as u64).into(),
        ];
        let records = self.records(sql.to_owned(), values).await?;
        Ok(records.into_iter().map(|(_, record)| record).collect())
    }

    async fn get(&self, key: &TaskKey) -> Result<Option<Record>, Error> {
        let key = key.clone();
        let text = self.thread.read(move |store| store.text(&key)).await?;
        text.map(|text| text.parse()).transpose()
    }

    async fn list(&self, query: &Query) -> Result<Vec<Record>, Error> {
        let mut sql = "SELECT 0, record, request FROM tasks JOIN requests USING (seq) WHERE true".to_owned();
        let mut values: Vec<Value> = Vec::new();
        let mut only = |column: &str, value: Option<String>| {
            if let Some(value) = value {
                sql.push_str(&format!(" AND {column} = ?"));
                values.push(value.into());
            }
        };
        only("batch", query.batch.map(|batch| batch_text(Some(batch))));
        only("id", query.id.as_ref().map(|id| id.as_str().to_owned()));
        only("status", query.status().map(|status| status.name().to_owned()));
        only("json_extract(record, '$.state.failed.code')", query.failure.clone());
        sql.push_str(" ORDER BY seq DESC LIMIT ? OFFSET ?");
        let limit = if query.limit == 0 { LIST } else { query.limit };
        values.extend([integer(limit as u64).into(), integer(query.offset as u64).into()]);
        Ok(self.records(sql, values).await?.into_iter().map(|(_, record)| record).collect())
    }

    async fn tally(&self, batch: Option<BatchId>) -> Result<Vec<(Status, u64)>, Error> {
        let (sql, values) = match batch {
            Some(_) => (
                "SELECT status, count(*) FROM tasks WHERE batch = ?1 GROUP BY status",
                vec![batch_text(batch).into()],
            ),
            None => ("SELECT status, count(*) FROM tasks GROUP BY status", Vec::new()),
        };
        let counted = self.thread.read(move |store| store.numbers(sql, values)).await?;
        let count = |status: Status| {
            let (_, n) = counted.iter().find(|(name, _)| name == status.name())?;
            Some((status, u64::try_from(*n).unwrap_or(0)))
        };
        Ok(Status::ALL.into_iter().filter_map(count).collect())
    }

    async fn oldest(&self) -> Result<Option<Timestamp>, Error> {
        let sql = "SELECT '', queued_at FROM tasks WHERE stage IS NOT NULL ORDER BY queued_at LIMIT 1";
        let oldest = self.thread.read(move |store| store.numbers(sql, Vec::new())).await?;
        Ok(oldest.first().map(|(_, queued_at)| Timestamp(u64::try_from(*queued_at).unwrap_or(0))))
    }

    async fn settled(&self, batch: BatchId, cursor: u64, limit: usize) -> Result<Vec<(u64, Record)>, Error> {
        let sql = "SELECT settlement, record, request FROM tasks JOIN requests USING (seq)
             WHERE batch = ?1 AND settlement > ?2 ORDER BY settlement LIMIT ?3";
        let values =
            vec![batch_text(Some(batch)).into(), integer(cursor).into(), integer(limit as u64).into()];
        let records = self.records(sql.to_owned(), values).await?;
        Ok(records.into_iter().map(|(at, record)| (u64::try_from(at).unwrap_or(0), record)).collect())
    }

    async fn counters(&self) -> Result<Counters, Error> {
        let sql = "SELECT name, value FROM counters";
        let counters = self.thread.read(move |store| store.numbers(sql, Vec::new())).await?;
        Ok(counters.into_iter().collect())
    }

    async fn purge(&self, keep: Option<Duration>, at_most: Option<u64>) -> Result<u64, Error> {
        let mut removed = 0;
        loop {
            let some = self.thread.write(move |store| store.purge(keep, at_most, PURGE_AT_ONCE)).await?;
            removed += some as u64;
            if some < PURGE_AT_ONCE {
                return Ok(removed);
            }
        }
    }

    async fn release_all(&self) -> Result<u64, Error> {
        self.thread.write(Store::release_all).await
    }

    async fn announce(&self, agent: &AgentInfo, lease: Duration) -> Result<(), Error> {
        let id = agent.agent_id.clone();
        let info = serde_json::to_string(agent).expect("an agent is always JSON");
        self.thread.write(move |store| store.announce(&id, &info, lease)).await
    }

    async fn withdraw(&self, agent: &AgentId) -> Result<(), Error> {
        let id = agent.clone();
        self.thread.write(move |store| store.withdraw(&id)).await
    }

    async fn agents(&self) -> Result<Vec<AgentInfo>, Error> {
        let now = milliseconds(self.clock.now());
        let sql = "SELECT info, until FROM agents WHERE until > ?1 ORDER BY agent_id";
        let agents = self.thread.read(move |store| store.numbers(sql, vec![now.into()])).await?;
        let parse = |(info, _): (String, i64)| {
            serde_json::from_str(&info)
                .map_err(|error| Error::Damaged(format!("an agent cannot be read: {error}")))
        };
        agents.into_iter().map(parse).collect()
    }

    async fn document(&self, name: &str) -> Result<Option<Document>, Error> {
        let name = name.to_owned();
        self.thread.read(move |store| store.document(&name)).await
    }

    async fn put_document(&self, name: &str, document: &Document) -> Result<bool, Error> {
        let (name, document) = (name.to_owned(), document.clone());
        self.thread.write(move |store| store.put_document(&name, &document)).await
    }

    async fn publish(&self, news: News) -> Result<(), Error> {
        // Nobody listens: news may be missed.
        let _ = self.news.send(news);
        Ok(())
    }

    async fn subscribe(&self) -> Result<Subscription, Error> {
        Ok(Subscription::new(self.news.subscribe()))
    }
}
