//! The distributed broker: Redis 7 or newer, or Valkey, shared by every process of a swarm.
//!
//! A record's head is the truth and queues are indexes of it; each call below is one Lua script, which Redis runs whole
//! and by its own clock. Scripts compare, write, index and count what Rust computed: which keys there are stands in
//! `redis/keys.rs`, what is in them in `redis/form.rs`, the scripts beside it, the connection in `redis/line.rs`, commits that
//! go together in `redis/writer.rs`, news in `redis/news.rs`.
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

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use redis::{Cmd, Value};
use tracing::error;

use self::form::{Prepared, Row, Text};
use self::keys::Keys;
use self::line::Line;
use self::news::Ear;
use self::scripts::Source;
use self::time::LastTime;
use self::writer::Writer;
use super::{
    Broker, Claim, Clock, Commit, Document, Error, MAX_BATCH, News, Outcome, Query, Submission, Subscription,
};
use crate::id::{AgentId, BatchId, LeaseToken, TaskKey};
use crate::lifecycle::{Event, Record, Stage, Timestamp};
use crate::messages::AgentInfo;
use crate::stats::{self, Counters};
use crate::task::Status;

pub mod feed;
mod form;
mod keys;
mod line;
mod listen;
mod news;
mod scripts;
#[cfg(test)]
mod tests;
mod time;
mod writer;

/// When a full queue may have room again: a guess.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Settled records that one script removes, so that it does not hold up the work.
const PURGE_AT_ONCE: u64 = 256;
/// Scripts that one look for what is overdue spends on removing what is past its time.
const PURGES_AT_ONCE: usize = 16;
/// Members of an index that one script looks at.
const SCAN_AT_ONCE: usize = 512;
/// The failed tasks, newest first, among which a query looks for those that failed in one way.
const MOST_FAILED: usize = 10_000;
/// The furthest that a query may skip: more than any store holds, less than Lua's numbers lose digits at.
const FURTHEST: usize = 1 << 50;
/// Records that [`Broker::list`] gives where a query does not say.
const LIST: usize = 100;
/// The layout of the keys; goes up when it changes.
const LAYOUT: u64 = 1;
/// What scripts need: shebangs with flags.
const OLDEST: u32 = 7;

/// How a broker reaches Redis, and what it keeps there.
#[derive(Clone)]
pub struct Config {
    /// Where it is: `redis://[user[:password]@]host[:port][/db]`, `rediss://` over TLS, or `unix:///path`;
    /// `redis://127.0.0.1:6379` by default.
    pub url: String,
    /// A file with the certificates (PEM) of whoever signed Redis's; the system's authorities by default.
    pub ca: Option<PathBuf>,
    /// Its password, where the URL does not say.
    pub password: Option<String>,
    /// Whose tasks: swarms of different names may share a Redis. 1 to 64 letters, digits, dots, dashes or underscores;
    /// `ghost` by default.
    pub swarm: String,
    /// How many tasks may wait before submits are refused; 100,000 by default.
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
            .field("backlog", &self.backlog)
            .finish_non_exhaustive()
    }
}

/// A store of tasks in Redis.
pub struct RedisBroker {
    config: Config,
    keys: Keys,
    line: Arc<Line>,
    ear: Ear,
    writer: Writer,
    time: LastTime,
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
    /// [`Error::Misconfigured`] where an address or a name makes no sense, Redis is too old, or it may evict keys;
    /// [`Error::Unavailable`] where it cannot be reached or does not let us in; [`Error::Damaged`] where its tasks were
    /// written by another version.
    pub async fn connect(config: Config) -> Result<Self, Error> {
        let keys = Keys::of(&config.swarm)?;
        let line = Arc::new(Line::new(&config)?);
        let ear = Ear::new(line.clone(), keys.news());
        let writer = Writer::start(line.clone(), keys.clone());
        let broker = Self { config, keys, line, ear, writer, time: LastTime::default() };
        broker.check().await?;
        Ok(broker)
    }

    async fn check(&self) -> Result<(), Error> {
        let info = form::text(bytes(self.command(&["INFO"]).await?)?)?;
        let says = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let version = says("redis_version").unwrap_or_default().trim();
        let major: u32 = version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
        if major < OLDEST {
            return Err(Error::Misconfigured(format!(
                "Redis {version} is too old; version {OLDEST} is the oldest"
            )));
        }
        let policy = says("maxmemory_policy").unwrap_or_default().trim();
        if policy.starts_with("allkeys") {
            return Err(Error::Misconfigured(format!(
                "Redis evicts keys (maxmemory-policy {policy}), which loses tasks; set it to noeviction"
            )));
        }
        let layout = self.keys.layout();
        self.command(&["SET", &layout, &LAYOUT.to_string(), "NX"]).await?;
        let found = form::text(bytes(self.command(&["GET", &layout]).await?)?)?;
        if found != LAYOUT.to_string() {
            return Err(Error::Damaged(format!(
                "its keys are of version {found}, this program's of {LAYOUT}"
            )));
        }
        Ok(())
    }

    async fn command(&self, words: &[&str]) -> Result<Value, Error> {
        let mut command = Cmd::new();
        for word in words {
            command.arg(*word);
        }
        self.line.command(&command).await
    }

    async fn run<'a>(
        &self,
        script: &Source,
        args: impl IntoIterator<Item = &'a str>,
    ) -> Result<Value, Error> {
        let args: Vec<&[u8]> = args.into_iter().map(str::as_bytes).collect();
        self.line.run(&self.keys, script, &args).await
    }

    /// The time where it is not Redis's, as scripts read it.
    fn held_time(&self) -> String {
        self.config.clock.as_ref().map(|clock| clock.now().0.to_string()).unwrap_or_default()
    }

    async fn submit_some(&self, records: Vec<Record>) -> Result<Vec<Submission>, Error> {
        let (held, backlog, keep) =
            (self.held_time(), self.config.backlog.to_string(), milliseconds(self.config.result_ttl));
        let count = stats::submitted();
        let counts = form::lines(count.0.iter().map(|(name, n)| (name.as_str(), *n)));
        let (changed, work) = (form::changed(Status::Pending), form::work(Stage::Infer));
        let texts: Vec<(Text, String)> =
            records.iter().map(|record| (Text::of(record), form::fixed(record))).collect();
        let first = [&held, &backlog, &keep, &counts, &changed, &work];
        let each = texts
            .iter()
            .flat_map(|(text, fixed)| [&text.member, &text.head, &text.mark, &text.record, fixed]);
        let reply = self.run(&scripts::SUBMIT, first.into_iter().chain(each).map(String::as_str)).await?;
        let mut reply = array(reply)?.into_iter();
        let mut seen = Vec::with_capacity(records.len());
        for _ in 0..records.len() {
            match form::text(bytes(reply.next().unwrap_or_default())?)?.as_str() {
                "new" => seen.push(true),
                "known" => seen.push(false),
                "full" => {
                    let backlog = number(reply.next().unwrap_or_default())?;
                    return Err(Error::Full { backlog, retry_after: RETRY_AFTER });
                }
                _ => return Err(unexpected()),
            }
        }
        let mut known = rows(reply)?.into_iter();
        let submission = |(record, new): (Record, bool)| {
            if new {
                return Ok(Submission::New(record));
            }
            let row = known.next().ok_or_else(unexpected)?;
            let known = row.record()?.ok_or_else(unexpected)?;
            Ok(if known.fingerprint == record.fingerprint {
                Submission::Known(known)
            } else {
                Submission::Conflict(record.key)
            })
        };
        records.into_iter().zip(seen).map(submission).collect()
    }

    /// The records of these members, as far as they are there, in their order.
    async fn read(&self, members: &[String]) -> Result<Vec<(u64, Record)>, Error> {
        let mut records = Vec::with_capacity(members.len());
        for members in members.chunks(MAX_BATCH) {
            let reply = self.run(&scripts::READ, members.iter().map(String::as_str)).await?;
            for row in rows(array(reply)?.into_iter())? {
                let number = row.number;
                if let Some((number, record)) = number.zip(row.record()?) {
                    records.push((number, record));
                }
            }
        }
        Ok(records)
    }

    /// The tasks of this id, in whatever batch, newest first.
    async fn of_id(&self, query: &Query, id: &crate::id::TaskId) -> Result<Vec<Record>, Error> {
        let batches = match query.batch {
            Some(batch) => vec![Some(batch)],
            None => {
                let named = array(self.command(&["ZRANGE", &self.keys.batches(), "0", "-1"]).await?)?;
                let batch = |value| form::parsed(&form::text(bytes(value)?)?, "a batch").map(Some);
                let mut batches = named.into_iter().map(batch).collect::<Result<Vec<_>, _>>()?;
                batches.push(None);
                batches
            }
        };
        let members: Vec<String> =
            batches.into_iter().map(|batch| keys::member(&TaskKey { batch, id: id.clone() })).collect();
        let mut found = self.read(&members).await?;
        found.retain(|(_, record)| query.fits(record));
        found.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
        Ok(found.into_iter().map(|(_, record)| record).collect())
    }

    /// The members of an index that a query asks for, newest first.
    async fn scan(&self, query: &Query, mut skip: usize, limit: usize) -> Result<Vec<String>, Error> {
        let batch = query.batch.map(|batch| batch.to_string()).unwrap_or_default();
        let status = query.status().map(|status| form::letter(status).to_string()).unwrap_or_default();
        // How many there are to be found: when all are, older members need not be looked at.
        let mut left = match query.status() {
            Some(status) => {
                let counted = self.tally(query.batch).await?;
                counted.into_iter().find(|(of, _)| *of == status).map_or(0, |(_, n)| n)
            }
            None => u64::MAX,
        };
        // Where the index holds nothing else, what is skipped need not be read.
        let mut offset = if query.status().is_none() { std::mem::take(&mut skip) } else { 0 };
        let mut found = Vec::new();
        while found.len() < limit && left > 0 {
            let page =
                if query.status().is_none() { (limit - found.len()).min(SCAN_AT_ONCE) } else { SCAN_AT_ONCE };
            let (offset_text, page_text) = (offset.to_string(), page.to_string());
            let args = [batch.as_str(), &status, &offset_text, &page_text];
            let mut reply = array(self.run(&scripts::SCAN, args).await?)?.into_iter();
            let looked_at = number(reply.next().unwrap_or_default())?;
            for value in reply {
                left = left.saturating_sub(1);
                if skip > 0 {
                    skip -= 1;
                } else if found.len() < limit {
                    found.push(form::text(bytes(value)?)?);
                }
            }
            offset += page;
            if looked_at < page as u64 {
                break;
            }
        }
        Ok(found)
    }

    /// The records that failed in one way, newest first. No index knows the ways, so the records tell.
    async fn failed(&self, query: &Query, limit: usize) -> Result<Vec<Record>, Error> {
        let members = self.scan(query, 0, MOST_FAILED).await?;
        let (mut skip, mut found) = (query.offset, Vec::new());
        for members in members.chunks(MAX_BATCH) {
            for (_, record) in self.read(members).await? {
                if !query.fits(&record) {
                    continue;
                }
                if skip > 0 {
                    skip -= 1;
                    continue;
                }
                found.push(record);
                if found.len() == limit {
                    return Ok(found);
                }
            }
        }
        Ok(found)
    }

    async fn purge_some(&self, keep: Option<Duration>, at_most: Option<u64>) -> Result<u64, Error> {
        let keep = keep.map(milliseconds).unwrap_or_default();
        let at_most = at_most.map(|n| n.to_string()).unwrap_or_default();
        let limit = PURGE_AT_ONCE.to_string();
        number(self.run(&scripts::PURGE, [self.held_time().as_str(), &keep, &at_most, &limit]).await?)
    }

    /// Frees the leases of these members.
    async fn release(&self, members: &[String]) -> Result<u64, Error> {
        let now = self.now().await?;
        let mut commits = Vec::new();
        for (_, record) in self.read(members).await? {
            let Some(lease) = record.lease() else { continue };
            // As if its time were over: a task that kills its process time and again must run out of deliveries too.
            let renewed = Commit::step(&record, Event::Renew(lease.token, Duration::ZERO), now);
            let expired = renewed.and_then(|renewed| {
                let after = Commit::step(&renewed.record, Event::Expire, now)?;
                let effects = renewed.effects.into_iter().chain(after.effects).collect();
                Ok(Commit { version: renewed.version, token: renewed.token, effects, ..after })
            });
            // Refused where its holder was quicker.
            commits.extend(expired.ok());
        }
        let outcomes = self.commit(&commits).await?;
        Ok(outcomes.iter().filter(|outcome| **outcome == Outcome::Done).count() as u64)
    }
}

#[async_trait]
impl Broker for RedisBroker {
    async fn now(&self) -> Result<Timestamp, Error> {
        if let Some(clock) = &self.config.clock {
            return Ok(clock.now());
        }
        if let Some(time) = self.time.at(Instant::now()) {
            return Ok(time);
        }
        let time = array(self.command(&["TIME"]).await?)?;
        let [seconds, micros] = <[Value; 2]>::try_from(time).map_err(|_| unexpected())?;
        let time = Timestamp(number(seconds)?.saturating_mul(1000).saturating_add(number(micros)? / 1000));
        self.time.note(time, Instant::now());
        Ok(time)
    }

    async fn submit(&self, mut records: Vec<Record>) -> Result<Vec<Submission>, Error> {
        let mut submissions = Vec::with_capacity(records.len());
        while !records.is_empty() {
            let rest = records.split_off(records.len().min(MAX_BATCH));
            submissions.extend(self.submit_some(records).await?);
            records = rest;
        }
        Ok(submissions)
    }

    async fn claim(&self, claim: &Claim) -> Result<Vec<Record>, Error> {
        let limit = claim.limit.min(MAX_BATCH);
        if limit == 0 {
            return Ok(Vec::new());
        }
        let tokens: Vec<LeaseToken> = (0..limit).map(|_| LeaseToken::generate()).collect();
        // What `step` makes of a claim at either stage, as far as indexes and listeners need to know.
        let (status, news) = match claim.stage {
            Stage::Infer if claim.begins => {
                let both = [Status::Assigned, Status::InProgress].map(form::changed);
                (Status::InProgress, both.join("\n"))
            }
            Stage::Infer => (Status::Assigned, form::changed(Status::Assigned)),
            Stage::Evaluate => (Status::InProgress, String::new()),
        };
        // Each once: a queue that is looked at twice would give its tasks twice.
        let capabilities: BTreeSet<String> = match claim.stage {
            Stage::Infer => claim.capabilities.iter().map(|name| keys::capability(name)).collect(),
            Stage::Evaluate => BTreeSet::from([form::EVALUATION.to_owned()]),
        };
        let lease = claim.lease.min(form::LONGEST);
        let first = [
            self.held_time(),
            claim.stage.name().to_owned(),
            limit.to_string(),
            milliseconds(lease),
            form::letter(status).to_string(),
            news,
            claim.holder.to_string(),
            tokens.iter().map(LeaseToken::to_string).collect(),
        ];
        let args = first.iter().chain(&capabilities).map(String::as_str);
        let mut reply = array(self.run(&scripts::CLAIM, args).await?)?.into_iter();
        let now = Timestamp(number(reply.next().unwrap_or_default())?);
        // Whoever begins now asks for the time next.
        self.time.note(now, Instant::now());
        let mut records = Vec::new();
        for token in tokens {
            let Some(member) = reply.next() else { break };
            let (record, request) = (reply.next().unwrap_or_default(), reply.next().unwrap_or_default());
            let event = Event::Claim { holder: claim.holder.clone(), token, lease, begins: claim.begins };
            let member = form::text(bytes(member)?)?;
            let record = form::record(&member, &bytes(record)?, &bytes(request)?);
            records.extend(readable(record.and_then(|record| form::claimed(&record, event, now))));
        }
        Ok(records)
    }

    async fn commit(&self, commits: &[Commit]) -> Result<Vec<Outcome>, Error> {
        let mut outcomes = Vec::with_capacity(commits.len());
        let mut rest: Vec<&Commit> = commits.iter().collect();
        while !rest.is_empty() {
            // The second write of a task must see the first one's.
            let mut named = HashSet::new();
            let together =
                rest.iter().take(MAX_BATCH).take_while(|commit| named.insert(&commit.record.key)).count();
            let later = rest.split_off(together);
            outcomes.extend(self.writer.write(rest.into_iter().map(Prepared::of).collect()).await?);
            rest = later;
        }
        Ok(outcomes)
    }

    async fn overdue(&self, max_wait: Duration, limit: usize) -> Result<Vec<Record>, Error> {
        for _ in 0..PURGES_AT_ONCE {
            if self.purge_some(Some(self.config.result_ttl), None).await? < PURGE_AT_ONCE {
                break;
            }
        }
        let args = [self.held_time(), milliseconds(max_wait), limit.min(MAX_BATCH).to_string()];
        let reply = self.run(&scripts::OVERDUE, args.iter().map(String::as_str)).await?;
        let overdue = rows(array(reply)?.into_iter())?;
        Ok(overdue.into_iter().filter_map(|row| readable(row.record())?).collect())
    }

    async fn get(&self, key: &TaskKey) -> Result<Option<Record>, Error> {
        let mut found = self.read(&[keys::member(key)]).await?;
        Ok(found.pop().map(|(_, record)| record))
    }

    async fn list(&self, query: &Query) -> Result<Vec<Record>, Error> {
        let limit = if query.limit == 0 { LIST } else { query.limit };
        if let Some(id) = &query.id {
            let found = self.of_id(query, id).await?;
            return Ok(found.into_iter().skip(query.offset).take(limit).collect());
        }
        if query.failure.is_some() {
            return self.failed(query, limit).await;
        }
        let members = self.scan(query, query.offset.min(FURTHEST), limit).await?;
        Ok(self.read(&members).await?.into_iter().map(|(_, record)| record).collect())
    }

    async fn tally(&self, batch: Option<BatchId>) -> Result<Vec<(Status, u64)>, Error> {
        let counted = pairs(self.command(&["HGETALL", &self.keys.tally(batch)]).await?)?;
        let count = |status: Status| {
            let letter = form::letter(status).to_string();
            let (_, n) = counted.iter().find(|(of, _)| *of == letter)?;
            Some((status, u64::try_from(*n).ok().filter(|n| *n > 0)?))
        };
        Ok(Status::ALL.into_iter().filter_map(count).collect())
    }

    async fn settled(&self, batch: BatchId, cursor: u64, limit: usize) -> Result<Vec<(u64, Record)>, Error> {
        let (batch, mut cursor) = (batch.to_string(), cursor);
        let mut settled = Vec::new();
        while settled.len() < limit {
            let page = (limit - settled.len()).min(MAX_BATCH);
            let (from, count) = (cursor.to_string(), page.to_string());
            let reply = array(self.run(&scripts::SETTLED, [batch.as_str(), &from, &count]).await?)?;
            let found = reply.len() / (Row::FIELDS + 1);
            let mut reply = reply.into_iter();
            let numbers = reply.by_ref().take(found).map(number).collect::<Result<Vec<_>, _>>()?;
            for (at, row) in numbers.into_iter().zip(rows(reply)?) {
                cursor = at;
                settled.extend(row.record()?.map(|record| (at, record)));
            }
            if found < page {
                break;
            }
        }
        Ok(settled)
    }

    async fn counters(&self) -> Result<Counters, Error> {
        Ok(pairs(self.command(&["HGETALL", &self.keys.counters()]).await?)?.into_iter().collect())
    }

    async fn purge(&self, keep: Option<Duration>, at_most: Option<u64>) -> Result<u64, Error> {
        let mut removed = 0;
        loop {
            let some = self.purge_some(keep, at_most).await?;
            removed += some;
            if some < PURGE_AT_ONCE {
                return Ok(removed);
            }
        }
    }

    async fn release_all(&self) -> Result<u64, Error> {
        let leased = array(self.run(&scripts::LEASED, []).await?)?;
        let members =
            leased.into_iter().map(|value| form::text(bytes(value)?)).collect::<Result<Vec<_>, _>>()?;
        let mut released = 0;
        for some in members.chunks(MAX_BATCH) {
            released += self.release(some).await?;
        }
        Ok(released)
    }

    async fn announce(&self, agent: &AgentInfo, lease: Duration) -> Result<(), Error> {
        let info = serde_json::to_string(agent).expect("an agent is always JSON");
        let (held, lease) = (self.held_time(), milliseconds(lease));
        self.run(&scripts::ANNOUNCE, [held.as_str(), agent.agent_id.as_str(), &info, &lease]).await?;
        Ok(())
    }

    async fn withdraw(&self, agent: &AgentId) -> Result<(), Error> {
        // Without its time the agent is gone, so a crash between the two leaves nothing that is seen.
        self.command(&["ZREM", &self.keys.agents_until(), agent.as_str()]).await?;
        self.command(&["HDEL", &self.keys.agents(), agent.as_str()]).await?;
        Ok(())
    }

    async fn agents(&self) -> Result<Vec<AgentInfo>, Error> {
        let alive = array(self.run(&scripts::AGENTS, [self.held_time().as_str()]).await?)?;
        let agent = |value| {
            serde_json::from_slice(&bytes(value)?)
                .map_err(|error| Error::Damaged(format!("an agent cannot be read: {error}")))
        };
        let mut agents: Vec<AgentInfo> = alive.into_iter().map(agent).collect::<Result<_, _>>()?;
        agents.sort_by(|one, other| one.agent_id.cmp(&other.agent_id));
        Ok(agents)
    }

    async fn document(&self, name: &str) -> Result<Option<Document>, Error> {
        let held = match self.command(&["HGET", &self.keys.documents(), name]).await? {
            Value::Nil => return Ok(None),
            held => bytes(held)?,
        };
        let end = held.iter().position(|byte| *byte == b'\n').ok_or_else(unexpected)?;
        let version = form::parsed(&form::text(held[..end].to_vec())?, "a version")?;
        Ok(Some(Document { version, content: held[end + 1..].to_vec() }))
    }

    async fn put_document(&self, name: &str, document: &Document) -> Result<bool, Error> {
        let version = document.version.to_string();
        let args = [name.as_bytes(), version.as_bytes(), &document.content];
        Ok(number(self.line.run(&self.keys, &scripts::DOCUMENT, &args).await?)? == 1)
    }

    async fn publish(&self, news: News) -> Result<(), Error> {
        self.command(&["PUBLISH", &self.keys.news(), &form::message(&news)]).await?;
        Ok(())
    }

    async fn subscribe(&self) -> Result<Subscription, Error> {
        self.ear.subscribe(self.config.patience).await
    }
}

/// What can be read of a batch: one damaged record must not hold up the tasks beside it.
fn readable<T>(read: Result<T, Error>) -> Option<T> {
    read.inspect_err(|error| error!(error = %error, "a task is left alone: {error}")).ok()
}

fn milliseconds(time: Duration) -> String {
    time.as_millis().to_string()
}

fn array(value: Value) -> Result<Vec<Value>, Error> {
    match value {
        Value::Array(values) => Ok(values),
        _ => Err(unexpected()),
    }
}

fn bytes(value: Value) -> Result<Vec<u8>, Error> {
    match value {
        Value::BulkString(bytes) => Ok(bytes),
        _ => Err(unexpected()),
    }
}

/// A whole number, as Redis writes it: as such, as text, or as a score.
fn number(value: Value) -> Result<u64, Error> {
    match value {
        Value::Int(number) => u64::try_from(number).map_err(|_| unexpected()),
        Value::BulkString(bytes) => form::parsed(&form::text(bytes)?, "a number"),
        _ => Err(unexpected()),
    }
}

/// Names and their numbers.
fn pairs(value: Value) -> Result<Vec<(String, i64)>, Error> {
    let mut values = array(value)?.into_iter();
    let mut pairs = Vec::new();
    while let Some((name, n)) = values.next().zip(values.next()) {
        pairs.push((form::text(bytes(name)?)?, form::parsed(&form::text(bytes(n)?)?, "a number")?));
    }
    Ok(pairs)
}

/// Tasks as scripts return them.
fn rows(mut values: impl Iterator<Item = Value>) -> Result<Vec<Row>, Error> {
    let mut rows = Vec::new();
    while let Some(member) = values.next() {
        let mut field = || match values.next() {
            Some(Value::BulkString(bytes)) => Some(bytes),
            _ => None,
        };
        let (number, claim, record, request) = (field(), field(), field(), field());
        rows.push(Row::of([Some(bytes(member)?), number, claim, record, request])?);
    }
    Ok(rows)
}

fn unexpected() -> Error {
    Error::Damaged("Redis answered what our scripts never do".to_owned())
}
