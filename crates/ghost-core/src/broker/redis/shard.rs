//! One shard of a swarm in Redis: tasks whose keys lie together, each call on them one script.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{Cmd, Value};
use tracing::error;

use super::form::{self, Prepared, Row, Text};
use super::keys::{self, Keys};
use super::line::Line;
use super::reply::{array, bytes, number, pairs, rows, unexpected};
use super::scripts::{self, Source};
use super::time::LastTime;
use super::writer::Writer;
use super::{Claim, Commit, Config, Document, Error, MAX_BATCH, News, Outcome, Submission};
use crate::id::{AgentId, BatchId, LeaseToken, TaskKey};
use crate::lifecycle::{Event, Record, Stage, Timestamp};
use crate::messages::AgentInfo;
use crate::stats::{self, Counters};
use crate::task::Status;

/// When a full queue may have room again: a guess.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Settled records that one script removes, so that it does not hold up the work.
const PURGE_AT_ONCE: u64 = 256;
/// Scripts that one look for what is overdue spends on removing what is past its time.
const PURGES_AT_ONCE: usize = 16;
/// The layout of the keys; goes up when it changes.
const LAYOUT: u64 = 1;
/// What scripts need: shebangs with flags.
const OLDEST: u32 = 7;

/// Where some of a swarm's tasks are.
pub(super) struct Shard {
    config: Config,
    pub(super) keys: Keys,
    line: Arc<Line>,
    writer: Writer,
    /// What any of the shards last said the time was.
    time: Arc<LastTime>,
}

impl Shard {
    /// The shard of this number, once it is checked that its Redis can keep tasks.
    pub(super) async fn open(config: &Config, number: usize, time: Arc<LastTime>) -> Result<Self, Error> {
        let keys = Keys::of(&config.swarm, number)?;
        let line = Arc::new(Line::new(config)?);
        let writer = Writer::start(line.clone(), keys.clone());
        let config = Config { backlog: config.backlog.div_ceil(config.shards as u64), ..config.clone() };
        let shard = Self { config, keys, line, writer, time };
        shard.check().await?;
        Ok(shard)
    }

    /// How its Redis is reached.
    pub(super) fn line(&self) -> &Arc<Line> {
        &self.line
    }

    async fn check(&self) -> Result<(), Error> {
        // First what has a key: it finds the node of a Cluster that has this shard.
        let (layout, ours) = (self.keys.layout(), self.layout());
        self.command(&["SET", &layout, &ours, "NX"]).await?;
        let found = form::text(bytes(self.command(&["GET", &layout]).await?)?)?;
        let (version, shards) = found.split_once('/').unwrap_or((&found, "1"));
        if version != LAYOUT.to_string() {
            return Err(Error::Damaged(format!(
                "its keys are of version {version}, this program's of {LAYOUT}"
            )));
        }
        if found != ours {
            return Err(Error::Misconfigured(format!(
                "the tasks of this swarm lie in {shards} shards, and REDIS_SHARDS says {}; set it to {shards}, or take another GHOST_SWARM",
                self.config.shards
            )));
        }
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
        Ok(())
    }

    /// What the store says of itself: its version and, where there are more than one, how many shards it has.
    fn layout(&self) -> String {
        match self.config.shards {
            1 => LAYOUT.to_string(),
            shards => format!("{LAYOUT}/{shards}"),
        }
    }

    pub(super) async fn command(&self, words: &[&str]) -> Result<Value, Error> {
        let mut command = Cmd::new();
        for word in words {
            command.arg(*word);
        }
        self.line.command(&command).await
    }

    pub(super) async fn run<'a>(
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
    pub(super) async fn read(&self, members: &[String]) -> Result<Vec<(u64, Record)>, Error> {
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
        let outcomes = self.commit(commits.iter().collect()).await?;
        Ok(outcomes.iter().filter(|outcome| **outcome == Outcome::Done).count() as u64)
    }

    /// The time, by this shard's Redis where it was not read from any just now.
    pub(super) async fn now(&self) -> Result<Timestamp, Error> {
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

    pub(super) async fn submit(&self, mut records: Vec<Record>) -> Result<Vec<Submission>, Error> {
        let mut submissions = Vec::with_capacity(records.len());
        while !records.is_empty() {
            let rest = records.split_off(records.len().min(MAX_BATCH));
            submissions.extend(self.submit_some(records).await?);
            records = rest;
        }
        Ok(submissions)
    }

    pub(super) async fn claim(&self, claim: &Claim) -> Result<Vec<Record>, Error> {
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

    pub(super) async fn commit(&self, mut rest: Vec<&Commit>) -> Result<Vec<Outcome>, Error> {
        let mut outcomes = Vec::with_capacity(rest.len());
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

    pub(super) async fn overdue(&self, max_wait: Duration, limit: usize) -> Result<Vec<Record>, Error> {
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

    pub(super) async fn get(&self, key: &TaskKey) -> Result<Option<Record>, Error> {
        let mut found = self.read(&[keys::member(key)]).await?;
        Ok(found.pop().map(|(_, record)| record))
    }

    pub(super) async fn tally(&self, batch: Option<BatchId>) -> Result<Vec<(Status, u64)>, Error> {
        let counted = pairs(self.command(&["HGETALL", &self.keys.tally(batch)]).await?)?;
        let count = |status: Status| {
            let letter = form::letter(status).to_string();
            let (_, n) = counted.iter().find(|(of, _)| *of == letter)?;
            Some((status, u64::try_from(*n).ok().filter(|n| *n > 0)?))
        };
        Ok(Status::ALL.into_iter().filter_map(count).collect())
    }

    pub(super) async fn oldest(&self) -> Result<Option<Timestamp>, Error> {
        match self.run(&scripts::OLDEST, []).await? {
            Value::Nil => Ok(None),
            queued_at => Ok(Some(Timestamp(number(queued_at)?))),
        }
    }

    pub(super) async fn settled(
        &self,
        batch: BatchId,
        cursor: u64,
        limit: usize,
    ) -> Result<Vec<(u64, Record)>, Error> {
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

    pub(super) async fn counters(&self) -> Result<Counters, Error> {
        Ok(pairs(self.command(&["HGETALL", &self.keys.counters()]).await?)?.into_iter().collect())
    }

    pub(super) async fn purge(&self, keep: Option<Duration>, at_most: Option<u64>) -> Result<u64, Error> {
        let mut removed = 0;
        loop {
            let some = self.purge_some(keep, at_most).await?;
            removed += some;
            if some < PURGE_AT_ONCE {
                return Ok(removed);
            }
        }
    }

    pub(super) async fn release_all(&self) -> Result<u64, Error> {
        let leased = array(self.run(&scripts::LEASED, []).await?)?;
        let members =
            leased.into_iter().map(|value| form::text(bytes(value)?)).collect::<Result<Vec<_>, _>>()?;
        let mut released = 0;
        for some in members.chunks(MAX_BATCH) {
            released += self.release(some).await?;
        }
        Ok(released)
    }

    pub(super) async fn announce(&self, agent: &AgentInfo, lease: Duration) -> Result<(), Error> {
        let info = serde_json::to_string(agent).expect("an agent is always JSON");
        let (held, lease) = (self.held_time(), milliseconds(lease));
        self.run(&scripts::ANNOUNCE, [held.as_str(), agent.agent_id.as_str(), &info, &lease]).await?;
        Ok(())
    }

    pub(super) async fn withdraw(&self, agent: &AgentId) -> Result<(), Error> {
        // Without its time the agent is gone, so a crash between the two leaves nothing that is seen.
        self.command(&["ZREM", &self.keys.agents_until(), agent.as_str()]).await?;
        self.command(&["HDEL", &self.keys.agents(), agent.as_str()]).await?;
        Ok(())
    }

    pub(super) async fn agents(&self) -> Result<Vec<AgentInfo>, Error> {
        let alive = array(self.run(&scripts::AGENTS, [self.held_time().as_str()]).await?)?;
        let agent = |value| {
            serde_json::from_slice(&bytes(value)?)
                .map_err(|error| Error::Damaged(format!("an agent cannot be read: {error}")))
        };
        let mut agents: Vec<AgentInfo> = alive.into_iter().map(agent).collect::<Result<_, _>>()?;
        agents.sort_by(|one, other| one.agent_id.cmp(&other.agent_id));
        Ok(agents)
    }

    pub(super) async fn document(&self, name: &str) -> Result<Option<Document>, Error> {
        let held = match self.command(&["HGET", &self.keys.documents(), name]).await? {
            Value::Nil => return Ok(None),
            held => bytes(held)?,
        };
        let end = held.iter().position(|byte| *byte == b'\n').ok_or_else(unexpected)?;
        let version = form::parsed(&form::text(held[..end].to_vec())?, "a version")?;
        Ok(Some(Document { version, content: held[end + 1..].to_vec() }))
    }

    pub(super) async fn put_document(&self, name: &str, document: &Document) -> Result<bool, Error> {
        let version = document.version.to_string();
        let args = [name.as_bytes(), version.as_bytes(), &document.content];
        Ok(number(self.line.run(&self.keys, &scripts::DOCUMENT, &args).await?)? == 1)
    }

    pub(super) async fn publish(&self, news: News) -> Result<(), Error> {
        self.command(&["PUBLISH", &self.keys.news(), &form::message(&news)]).await?;
        Ok(())
    }
}

/// What can be read of a batch: one damaged record must not hold up the tasks beside it.
fn readable<T>(read: Result<T, Error>) -> Option<T> {
    read.inspect_err(|error| error!(error = %error, "a task is left alone: {error}")).ok()
}

fn milliseconds(time: Duration) -> String {
    time.as_millis().to_string()
}
