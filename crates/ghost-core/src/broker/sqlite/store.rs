//! The store as its thread sees it: transactions, and what is written in them.
//!
//! Queues are queries over the columns of `tasks`, counters and the backlog are kept beside them, and what goes out as
//! news waits here until the transaction is written. What changes a task's state is [`crate::lifecycle::step`] alone.

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};
use tokio::sync::broadcast;

use super::Options;
use super::leases::Turns;
use super::row::{Row, Text, batch_text, before, integer, milliseconds};
use super::thread::{Reply, Write};
use crate::broker::{Clock, Commit, Document, Error, News, Outcome};
use crate::id::{AgentId, TaskKey};
use crate::lifecycle::{Effect, Stage, Timestamp};
use crate::stats::{self, Count};
use crate::task::Status;

/// When a full queue may have room again: a guess.
const RETRY_AFTER: Duration = Duration::from_secs(1);

pub(super) struct Store {
    pub(super) connection: Connection,
    pub(super) turns: Turns,
    clock: Clock,
    news: broadcast::Sender<News>,
    limit: u64,
    totals: Totals,
    changes: Changes,
    /// Why SQLite rolled the running transaction back by itself.
    broken: Option<Error>,
}

/// The row of `store` in the running transaction.
#[derive(Default)]
struct Totals {
    now: Timestamp,
    backlog: i64,
    settlements: i64,
    /// How many rows this connection had changed before.
    rows_changed: u64,
}

/// What a write does besides changing rows.
#[derive(Default)]
struct Changes {
    counters: BTreeMap<String, i64>,
    backlog: i64,
    news: Vec<News>,
}

impl Changes {
    fn merge(&mut self, later: Changes) {
        for (name, n) in later.counters {
            add(&mut self.counters, name, n);
        }
        self.backlog += later.backlog;
        self.news.extend(later.news);
    }
}

fn add(counters: &mut BTreeMap<String, i64>, name: String, n: i64) {
    let counter = counters.entry(name).or_default();
    *counter = counter.saturating_add(n);
}

/// What became of a submitted row.
pub(super) enum Seen {
    New,
    Before(Text),
}

/// What the store holds of a task that is about to change.
pub(super) struct Held {
    pub(super) seq: i64,
    version: i64,
    token: Option<String>,
    waits: bool,
    settlement: Option<i64>,
    trail: Vec<u8>,
}

impl Store {
    pub(super) fn new(connection: Connection, options: &Options, news: broadcast::Sender<News>) -> Self {
        Self {
            connection,
            turns: Turns::default(),
            clock: options.clock.clone(),
            news,
            limit: options.backlog,
            totals: Totals::default(),
            changes: Changes::default(),
            broken: None,
        }
    }

    /// Runs `writes` in one transaction, then tells the world, then each caller how it ended.
    pub(super) fn transact(&mut self, writes: Vec<Write>) {
        let begun = self.begin();
        let replies: Vec<Reply> =
            writes.into_iter().map(|write| write(begun.clone().map(|()| &mut *self))).collect();
        let written = begun.and_then(|()| self.end());
        let changes = std::mem::take(&mut self.changes);
        if written.is_ok() {
            for news in changes.news {
                // Nobody listens: news may be missed.
                let _ = self.news.send(news);
            }
        } else if !self.connection.is_autocommit() {
            // What cannot be rolled back either is told by the next transaction.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        for reply in replies {
            reply(written.clone());
        }
    }

    fn begin(&mut self) -> Result<(), Error> {
        self.broken = None;
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute(())?;
        let (now, backlog, settlements) = self
            .connection
            .prepare_cached("SELECT now, backlog, settlements FROM store")?
            .query_row((), |row| Ok((row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?)))?;
        self.clock.at_least(Timestamp(u64::try_from(now).unwrap_or(0)));
        let rows_changed = self.connection.total_changes();
        self.totals = Totals { now: self.clock.now(), backlog, settlements, rows_changed };
        Ok(())
    }

    fn end(&mut self) -> Result<(), Error> {
        if let Some(error) = self.broken.take() {
            return Err(error);
        }
        for (name, n) in &self.changes.counters {
            self.connection
                .prepare_cached(
                    "INSERT INTO counters VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = value + ?2",
                )?
                .execute(params![name, n])?;
        }
        // An idle worker's claim that found nothing writes nothing, and so flushes nothing.
        if self.connection.total_changes() != self.totals.rows_changed {
            let Totals { now, backlog, settlements, .. } = self.totals;
            self.connection
                .prepare_cached("UPDATE store SET now = ?1, backlog = ?2, settlements = ?3")?
                .execute(params![milliseconds(now), backlog + self.changes.backlog, settlements])?;
        }
        self.connection.prepare_cached("COMMIT")?.execute(())?;
        Ok(())
    }

    /// Runs one caller's work so that its failure undoes its own writes and nobody else's.
    pub(super) fn attempt<T>(
        &mut self,
        work: impl FnOnce(&mut Store) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        self.connection.prepare_cached("SAVEPOINT caller")?.execute(())?;
        let others = std::mem::take(&mut self.changes);
        let result = work(self);
        let own = std::mem::replace(&mut self.changes, others);
        match &result {
            Ok(_) => self.changes.merge(own),
            // A full disk may have ended the whole transaction.
            Err(error) if self.connection.is_autocommit() => self.broken = Some(error.clone()),
            Err(_) => {
                self.connection.prepare_cached("ROLLBACK TO caller")?.execute(())?;
            }
        }
        if !self.connection.is_autocommit() {
            self.connection.prepare_cached("RELEASE caller")?.execute(())?;
        }
        result
    }

    /// When the running transaction happens.
    pub(super) fn now(&self) -> Timestamp {
        self.totals.now
    }

    pub(super) fn submit(&mut self, rows: Vec<(Row, String)>) -> Result<Vec<Seen>, Error> {
        let mut seen = Vec::with_capacity(rows.len());
        let mut accepted = 0;
        for (row, request) in rows {
            if let Some(text) = self.text(&row.key)? {
                seen.push(Seen::Before(text));
                continue;
            }
            self.insert(&row, &request)?;
            self.changed(row.key, row.status);
            accepted += 1;
            seen.push(Seen::New);
        }
        let backlog = self.totals.backlog + self.changes.backlog;
        let backlog = u64::try_from(backlog).unwrap_or(0);
        if accepted > 0 {
            // Refused as a whole: the caller's savepoint takes back what was written above.
            if backlog + accepted > self.limit {
                return Err(Error::Full { backlog, retry_after: RETRY_AFTER });
            }
            self.changes.backlog += i64::try_from(accepted).unwrap_or(i64::MAX);
            self.changes.news.push(News::Work(Stage::Infer));
        }
        Ok(seen)
    }

    fn insert(&mut self, row: &Row, request: &str) -> Result<(), Error> {
        self.connection
            .prepare_cached(
                "INSERT INTO tasks (id, batch, version, token, status, stage, class, capability, tenant, not_before,
                     queued_at, lease_until, deadline, settled_at, settlement, trail, record)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, NULL, ?15, ?16)",
            )?
            .execute(params![
                row.key.id.as_str(),
                row.batch(),
                row.version,
                row.token,
                row.status.name(),
                row.stage,
                row.class,
                row.capability,
                row.tenant,
                row.not_before,
                row.queued_at,
                row.lease_until,
                row.deadline,
                row.settled_at,
                row.trail(&[]),
                row.json,
            ])?;
        let seq = self.connection.last_insert_rowid();
        self.connection
            .prepare_cached("INSERT INTO requests VALUES (?1, ?2)")?
            .execute(params![seq, request])?;
        self.count(stats::submitted());
        Ok(())
    }

    /// One compare-and-set, with its effects.
    pub(super) fn commit(&mut self, prepared: Prepared) -> Result<Outcome, Error> {
        let Prepared { version, token, row, effects } = prepared;
        let Some(held) = self.held(&row.key)? else {
            return Ok(Outcome::Gone);
        };
        if held.version == version && held.token == token {
            self.update(&held, row, effects)?;
            return Ok(Outcome::Done);
        }
        Ok(if row.is_on(&held.trail) { Outcome::Done } else { Outcome::Conflict })
    }

    fn held(&self, key: &TaskKey) -> Result<Option<Held>, Error> {
        let held = self
            .connection
            .prepare_cached(
                "SELECT seq, version, token, stage IS NOT NULL, settlement, trail FROM tasks
                 WHERE id = ?1 AND batch = ?2",
            )?
            .query_row(params![key.id.as_str(), batch_text(key.batch)], Held::read)
            .optional()?;
        Ok(held)
    }

    /// Writes a row over the one that is held.
    pub(super) fn update(&mut self, held: &Held, row: Row, effects: Vec<Effect>) -> Result<(), Error> {
        let settlement = match (row.status.is_settled(), held.settlement) {
            (false, _) => None,
            (true, Some(settlement)) => Some(settlement),
            (true, None) => {
                self.totals.settlements += 1;
                Some(self.totals.settlements)
            }
        };
        self.connection
            .prepare_cached(
                "UPDATE tasks SET version = ?2, token = ?3, status = ?4, stage = ?5, capability = ?6, not_before = ?7,
                     queued_at = ?8, lease_until = ?9, deadline = ?10, settled_at = ?11, settlement = ?12,
                     trail = ?13, record = ?14
                 WHERE seq = ?1",
            )?
            .execute(params![
                held.seq,
                row.version,
                row.token,
                row.status.name(),
                row.stage,
                row.capability,
                row.not_before,
                row.queued_at,
                row.lease_until,
                row.deadline,
                row.settled_at,
                settlement,
                row.trail(&held.trail),
                row.json,
            ])?;
        self.changes.backlog += i64::from(row.stage.is_some()) - i64::from(held.waits);
        for effect in effects {
            match effect {
                Effect::Publish(status) => self.changed(row.key.clone(), status),
                Effect::Wake(stage) => self.changes.news.push(News::Work(stage)),
                Effect::Count(count) => self.count(count),
            }
        }
        Ok(())
    }

    /// Removes up to `limit` of the oldest settled records that are older than `keep` or surplus to `at_most`.
    pub(super) fn purge(
        &mut self,
        keep: Option<Duration>,
        at_most: Option<u64>,
        limit: usize,
    ) -> Result<usize, Error> {
        let older = keep.map(|keep| before(self.now(), keep));
        let surplus: Option<i64> = match at_most {
            Some(at_most) => self
                .connection
                .prepare_cached(
                    "SELECT settlement FROM tasks WHERE settlement IS NOT NULL
                     ORDER BY settlement DESC LIMIT 1 OFFSET ?1",
                )?
                .query_row([integer(at_most)], |row| row.get(0))
                .optional()?,
            None => None,
        };
        let removed = self
            .connection
            .prepare_cached(
                "DELETE FROM tasks WHERE seq IN (
                     SELECT seq FROM tasks WHERE settlement IS NOT NULL AND (settled_at < ?1 OR settlement <= ?2)
                     ORDER BY settlement LIMIT ?3)",
            )?
            .execute(params![older, surplus, integer(limit as u64)])?;
        Ok(removed)
    }

    pub(super) fn announce(&mut self, id: &AgentId, info: &str, lease: Duration) -> Result<(), Error> {
        let until = milliseconds(self.now().plus(lease));
        self.connection
            .prepare_cached("DELETE FROM agents WHERE until <= ?1")?
            .execute([milliseconds(self.now())])?;
        self.connection
            .prepare_cached("INSERT OR REPLACE INTO agents VALUES (?1, ?2, ?3)")?
            .execute(params![id.as_str(), info, until])?;
        Ok(())
    }

    pub(super) fn withdraw(&mut self, id: &AgentId) -> Result<(), Error> {
        self.connection.prepare_cached("DELETE FROM agents WHERE agent_id = ?1")?.execute([id.as_str()])?;
        Ok(())
    }

    pub(super) fn document(&self, name: &str) -> Result<Option<Document>, Error> {
        let document = self
            .connection
            .prepare_cached("SELECT version, content FROM documents WHERE name = ?1")?
            .query_row([name], |row| {
                let version = u64::try_from(row.get::<_, i64>(0)?).unwrap_or(0);
                Ok(Document { version, content: row.get(1)? })
            })
            .optional()?;
        Ok(document)
    }

    pub(super) fn put_document(&mut self, name: &str, document: &Document) -> Result<bool, Error> {
        let held = self.document(name)?;
        if held.as_ref() == Some(document) {
            return Ok(true);
        }
        if held.map_or(0, |held| held.version) + 1 != document.version {
            return Ok(false);
        }
        self.connection
            .prepare_cached("INSERT OR REPLACE INTO documents VALUES (?1, ?2, ?3)")?
            .execute(params![name, integer(document.version), document.content])?;
        Ok(true)
    }

    /// One record as it is stored.
    pub(super) fn text(&self, key: &TaskKey) -> Result<Option<Text>, Error> {
        let text = self
            .connection
            .prepare_cached(
                "SELECT record, request FROM tasks JOIN requests USING (seq) WHERE id = ?1 AND batch = ?2",
            )?
            .query_row(params![key.id.as_str(), batch_text(key.batch)], |row| Text::read(row, 0))
            .optional()?;
        Ok(text)
    }

    /// The record behind a row that a queue or an index named.
    pub(super) fn take(&self, seq: i64) -> Result<(Held, Text), Error> {
        Ok(self
            .connection
            .prepare_cached(
                "SELECT seq, version, token, stage IS NOT NULL, settlement, trail, record, request
                 FROM tasks JOIN requests USING (seq) WHERE seq = ?1",
            )?
            .query_row([seq], |row| Ok((Held::read(row)?, Text::read(row, 6)?)))?)
    }

    /// Records, each with the number in the first of the three selected columns.
    pub(super) fn texts(&self, sql: &str, values: Vec<Value>) -> Result<Vec<(i64, Text)>, Error> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows =
            statement.query_map(params_from_iter(values), |row| Ok((row.get(0)?, Text::read(row, 1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Names and numbers.
    pub(super) fn numbers(&self, sql: &str, values: Vec<Value>) -> Result<Vec<(String, i64)>, Error> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map(params_from_iter(values), |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn changed(&mut self, key: TaskKey, status: Status) {
        self.changes.news.push(News::Changed(key, status));
    }

    fn count(&mut self, Count(counts): Count) {
        for (name, n) in counts {
            add(&mut self.changes.counters, name, n);
        }
    }
}

impl Held {
    fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            seq: row.get(0)?,
            version: row.get(1)?,
            token: row.get(2)?,
            waits: row.get(3)?,
            settlement: row.get(4)?,
            trail: row.get(5)?,
        })
    }
}

/// A commit as its sender prepared it for the thread.
pub(super) struct Prepared {
    version: i64,
    token: Option<String>,
    row: Row,
    effects: Vec<Effect>,
}

impl From<&Commit> for Prepared {
    fn from(commit: &Commit) -> Self {
        Self {
            version: integer(commit.version),
            token: commit.token.map(|token| token.to_string()),
            row: Row::of(&commit.record),
            effects: commit.effects.clone(),
        }
    }
}
