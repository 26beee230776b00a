//! Keeps tasks: the one atomic write, the queues and leases over it, and the news about it.
//!
//! A [`Broker`] stores what [`lifecycle::step`] returned and hands records out; it decides nothing about a task
//! itself. [`advance`] is how services send an event. A claim, a commit or a submit may reach the store twice or its
//! acknowledgement be lost: every one of them is safe to repeat. News ([`Subscription`]) may be missed; the record is
//! the truth, so whoever waits subscribes, looks, then waits, with a slow poll behind.
//!
//! The embedded broker is [`sqlite`], the distributed one [`redis`]; [`faulty`] makes any of them misbehave, and
//! [`contract`] is the suite that each must pass. [`testing`] starts a Redis for tests.

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::broadcast;

use crate::id::{AgentId, BatchId, LeaseToken, TaskId, TaskKey};
use crate::lifecycle::{self, Effect, Event, Record, Refusal, Stage, State, Timestamp};
use crate::messages::AgentInfo;
use crate::retry::{Backoff, Retry};
use crate::stats::Counters;
use crate::task::Status;

mod clock;
pub mod contract;
pub mod faulty;
pub mod redis;
pub mod sqlite;
pub mod testing;

pub use clock::Clock;

/// The most records that one call hands over.
pub const MAX_BATCH: usize = 64;

const PATIENCE: u32 = 8;
const BACKOFF: Backoff = Backoff::growing(Duration::from_millis(2), Duration::from_millis(250));

/// A store of tasks.
#[async_trait]
pub trait Broker: Send + Sync + 'static {
    /// The store's own time; every timestamp in a record comes from here.
    async fn now(&self) -> Result<Timestamp, Error>;

    /// Accepts new tasks, each on its own. An id that was seen before returns that task, or a conflict.
    async fn submit(&self, records: Vec<Record>) -> Result<Vec<Submission>, Error>;

    /// Hands out up to `claim.limit` records under fresh leases: higher classes first (the lowest still moves),
    /// tenants of a class in turn, only what the claimant's capabilities match.
    async fn claim(&self, claim: &Claim) -> Result<Vec<Record>, Error>;

    /// Writes what [`lifecycle::step`] returned, each item on its own and whole: record, effects and indexes.
    async fn commit(&self, commits: &[Commit]) -> Result<Vec<Outcome>, Error>;

    /// Up to `limit` records whose lease, timeout or longest wait has passed, for [`reap`] to step.
    async fn overdue(&self, max_wait: Duration, limit: usize) -> Result<Vec<Record>, Error>;

    /// One record.
    async fn get(&self, key: &TaskKey) -> Result<Option<Record>, Error>;

    /// Records, newest first.
    async fn list(&self, query: &Query) -> Result<Vec<Record>, Error>;

    /// How many records of a batch (of all, where none is named) stand where.
    async fn tally(&self, batch: Option<BatchId>) -> Result<Vec<(Status, u64)>, Error>;

    /// When the task was queued that has waited longest, for a worker or an evaluator; none where nothing waits.
    async fn oldest(&self) -> Result<Option<Timestamp>, Error>;

    /// Settled records of a batch in the order of their settlement, after `cursor` (0 for all).
    async fn settled(&self, batch: BatchId, cursor: u64, limit: usize) -> Result<Vec<(u64, Record)>, Error>;

    /// The counters of everything that happened.
    async fn counters(&self) -> Result<Counters, Error>;

    /// Removes settled records that are older than `keep` or surplus to `at_most`, oldest first; says how many.
    async fn purge(&self, keep: Option<Duration>, at_most: Option<u64>) -> Result<u64, Error>;

    /// Frees every lease, as the next owner of a store does whose last owner is known to be dead; says how many.
    async fn release_all(&self) -> Result<u64, Error>;

    /// Says that an agent is alive for the next `lease`.
    async fn announce(&self, agent: &AgentInfo, lease: Duration) -> Result<(), Error>;

    /// Says that an agent is gone.
    async fn withdraw(&self, agent: &AgentId) -> Result<(), Error>;

    /// The agents that are alive.
    async fn agents(&self) -> Result<Vec<AgentInfo>, Error>;

    /// A document that all programs of the swarm share, as experiments are; none where nobody wrote it.
    async fn document(&self, name: &str) -> Result<Option<Document>, Error>;

    /// Writes a document over its version before this one, of which there is none before the first. Says whether it is
    /// written, now or by an earlier try; if not, somebody else was quicker.
    async fn put_document(&self, name: &str, document: &Document) -> Result<bool, Error>;

    /// Tells whoever listens; nothing is stored.
    async fn publish(&self, news: News) -> Result<(), Error>;

    /// Listens from now on.
    async fn subscribe(&self) -> Result<Subscription, Error>;
}

/// What became of a submit.
#[derive(Debug, Clone, PartialEq)]
pub enum Submission {
    /// Accepted.
    New(Record),
    /// The same task was accepted before; this is how it stands.
    Known(Record),
    /// Another task has this id.
    Conflict(TaskKey),
}

/// Who wants work.
#[derive(Debug, Clone)]
pub struct Claim {
    /// At which stage.
    pub stage: Stage,
    /// Who asks.
    pub holder: AgentId,
    /// What they can do; evaluators are asked for nothing.
    pub capabilities: Vec<String>,
    /// How many they have room for; at most [`MAX_BATCH`] are given.
    pub limit: usize,
    /// How long the leases run.
    pub lease: Duration,
    /// Whether the claimant begins with them at once, so that no other write need say so. Evaluators do in any case.
    pub begins: bool,
}

/// One compare-and-set: what the record was, and what it becomes.
#[derive(Debug, Clone)]
pub struct Commit {
    /// The version that the store must hold.
    pub version: u64,
    /// The lease that the store must hold. Versions alone would let a zombie through after a store came back with
    /// older data and counted up to the same version again.
    pub token: Option<LeaseToken>,
    /// What it becomes.
    pub record: Record,
    /// What goes with it.
    pub effects: Vec<Effect>,
}

/// What became of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is written, now or by an earlier try of the same commit.
    Done,
    /// The store holds something else: load and step again.
    Conflict,
    /// The store knows no such task.
    Gone,
}

/// What all programs of a swarm share beside its tasks. It stays until somebody writes another version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// 1 at first; goes up by one with every write.
    pub version: u64,
    /// What is in it.
    pub content: Vec<u8>,
}

/// Which records to list.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Of this batch only.
    pub batch: Option<BatchId>,
    /// With this id, in whatever batch.
    pub id: Option<TaskId>,
    /// In this status only.
    pub status: Option<Status>,
    /// Failed with this code only, as in [`lifecycle::DELIVERIES_EXHAUSTED`].
    pub failure: Option<String>,
    /// At most so many; 0 means 100.
    pub limit: usize,
    /// Skip so many.
    pub offset: usize,
}

impl Query {
    /// The status that records must have.
    fn status(&self) -> Option<Status> {
        self.status.or(self.failure.as_ref().map(|_| Status::Failed))
    }

    /// Whether a record stands where it must, and failed as it must.
    fn fits(&self, record: &Record) -> bool {
        let code = match &record.state {
            State::Failed(failure) => Some(failure.code.as_str()),
            _ => None,
        };
        self.status().is_none_or(|status| record.status() == status)
            && self.failure.as_deref().is_none_or(|failure| code == Some(failure))
    }
}

/// Something happened.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// There is work at this stage.
    Work(Stage),
    /// A task has a new status.
    Changed(TaskKey, Status),
    /// A model wrote this much more of an answer.
    Delta(TaskKey, String),
}

/// News from a broker, from the moment of subscribing.
#[derive(Debug)]
pub struct Subscription(broadcast::Receiver<News>);

impl Subscription {
    /// Wraps the receiving end of a broker's channel.
    pub fn new(receiver: broadcast::Receiver<News>) -> Self {
        Self(receiver)
    }

    /// The next news, or none where some were missed or the broker is gone: then look at the record.
    pub async fn next(&mut self) -> Option<News> {
        self.0.recv().await.ok()
    }

    /// Waits for news that `interesting` says yes to, at most for `poll`. Either way the record decides: look again.
    pub async fn wait(&mut self, poll: Duration, interesting: impl Fn(&News) -> bool) {
        let heard = async {
            loop {
                match self.0.recv().await {
                    Ok(news) if interesting(&news) => return,
                    Ok(_) => {}
                    Err(broadcast::error::RecvError::Lagged(_)) => return,
                    // A closed channel returns at once, so the caller's loop would spin without this wait.
                    Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
                }
            }
        };
        // Both ways of waking mean the same to the caller.
        let _ = tokio::time::timeout(poll, heard).await;
    }
}

/// Why a store did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The backlog is at its limit.
    #[error("the queue is full ({backlog} tasks wait); try again in {retry_after:?}")]
    Full {
        /// How many tasks wait.
        backlog: u64,
        /// When there may be room.
        retry_after: Duration,
    },
    /// Somebody else is writing for longer than we wait.
    #[error("the store is locked by another process: {0}")]
    Locked(String),
    /// There is no room on the disk.
    #[error("the disk is full: {0}; free some space, nothing accepted is lost")]
    DiskFull(String),
    /// The store cannot be reached just now.
    #[error("the store cannot be reached: {0}")]
    Unavailable(String),
    /// The store holds what it should not: another version, or damage.
    #[error("the store is damaged or not ours: {0}")]
    Damaged(String),
    /// The store cannot be used with these settings.
    #[error("the store cannot be used: {0}")]
    Misconfigured(String),
}

impl Error {
    /// Whether the same call may succeed later.
    pub fn retry(&self) -> Retry {
        match self {
            Error::Full { retry_after, .. } => Retry::After(*retry_after),
            Error::Locked(_) | Error::DiskFull(_) | Error::Unavailable(_) => Retry::Now,
            Error::Damaged(_) | Error::Misconfigured(_) => Retry::Never,
        }
    }
}

/// Why an event changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdvanceError {
    /// The task's state does not allow it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store knows no such task.
    #[error("there is no such task")]
    Gone,
    /// The store did not do it; whether the event took effect is unknown, and sending it again is safe.
    #[error(transparent)]
    Broker(#[from] Error),
}

/// Sends an event to a task: steps, commits, and steps again from the stored record on a conflict.
///
/// # Errors
/// [`AdvanceError`]; after a refusal the task is as it was.
pub async fn advance(broker: &dyn Broker, mut record: Record, event: Event) -> Result<Record, AdvanceError> {
    loop {
        let now = patiently(|| broker.now()).await?;
        let commit = Commit::step(&record, event.clone(), now)?;
        // One and the same commit is repeated, which the store recognises. A new step would not do: once the lost
        // commit took effect its sender's lease is over, and what it paid would be charged a second time.
        let outcomes = patiently(|| broker.commit(std::slice::from_ref(&commit))).await?;
        match outcomes.first() {
            Some(Outcome::Done) => return Ok(commit.record),
            Some(Outcome::Conflict) => {}
            Some(Outcome::Gone) | None => return Err(AdvanceError::Gone),
        }
        record = patiently(|| broker.get(&record.key)).await?.ok_or(AdvanceError::Gone)?;
    }
}

/// Changes a document: `change` is given its content and returns the new one, or none where it stays as it is. Where
/// somebody else was quicker, it is asked again.
///
/// # Errors
/// What `change` says, or an [`Error`] of the store; then whether the change took effect is unknown.
pub async fn revise<T, E: From<Error>>(
    broker: &dyn Broker,
    name: &str,
    change: impl Fn(Option<&[u8]>) -> Result<(Option<Vec<u8>>, T), E>,
) -> Result<T, E> {
    loop {
        let held = patiently(|| broker.document(name)).await?;
        let (content, result) = change(held.as_ref().map(|document| &document.content[..]))?;
        let Some(content) = content else { return Ok(result) };
        let next = Document { version: held.map_or(0, |held| held.version) + 1, content };
        if patiently(|| broker.put_document(name, &next)).await? {
            return Ok(result);
        }
    }
}

/// Waits until a task is settled, through absences of the store. It looks at the record at least every `poll`.
///
/// # Errors
/// [`AdvanceError::Gone`] where the store knows no such task, or an error of the store that will not pass.
pub async fn settled(broker: &dyn Broker, key: &TaskKey, poll: Duration) -> Result<Record, AdvanceError> {
    let mut news = None;
    loop {
        if news.is_none() {
            news = broker.subscribe().await.ok();
        }
        match broker.get(key).await {
            Ok(Some(record)) if record.status().is_settled() => return Ok(record),
            Ok(None) => return Err(AdvanceError::Gone),
            Err(error) if error.retry() == Retry::Never => return Err(error.into()),
            Ok(Some(_)) | Err(_) => {}
        }
        let settled = |news: &News| matches!(news, News::Changed(changed, status) if status.is_settled() && changed == key);
        match &mut news {
            Some(news) => news.wait(poll, settled).await,
            None => tokio::time::sleep(poll).await,
        }
    }
}

/// Repeats a call that may succeed later, for half a second at most: longer than a lost message, shorter than a lease.
///
/// # Errors
/// The last [`Error`]; at once where [`Error::retry`] says never, or later than we would wait.
pub async fn patiently<T, F>(call: impl Fn() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut failures = 0;
    loop {
        match call().await {
            Err(error) if error.retry() == Retry::Now && failures < PATIENCE => {
                failures += 1;
                tokio::time::sleep(BACKOFF.wait(failures, &mut fastrand::Rng::new())).await;
            }
            result => return result,
        }
    }
}

impl Commit {
    /// The commit that carries `event` out on `record`.
    ///
    /// # Errors
    /// The [`Refusal`] of [`lifecycle::step`].
    pub fn step(record: &Record, event: Event, now: Timestamp) -> Result<Self, Refusal> {
        let (after, effects) = lifecycle::step(record, event, now)?;
        Ok(Self {
            version: record.version,
            token: record.lease().map(|lease| lease.token),
            record: after,
            effects,
        })
    }
}

/// Takes up what is overdue: frees ended leases, fails what ran or waited too long. Anybody may, at any time.
///
/// # Errors
/// [`Error`] of the store.
pub async fn reap(broker: &dyn Broker, max_wait: Duration) -> Result<usize, Error> {
    let overdue = patiently(|| broker.overdue(max_wait, MAX_BATCH)).await?;
    let now = patiently(|| broker.now()).await?;
    let commits: Vec<Commit> = overdue
        .iter()
        .filter_map(|record| {
            let give_up = Commit::step(record, Event::GiveUp { max_wait }, now);
            give_up.or_else(|_| Commit::step(record, Event::Expire, now)).ok()
        })
        .collect();
    let outcomes = patiently(|| broker.commit(&commits)).await?;
    Ok(outcomes.iter().filter(|outcome| **outcome == Outcome::Done).count())
}
