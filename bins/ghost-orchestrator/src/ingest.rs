//! Takes tasks in from Redis: messages of streams and channels become tasks by the rules of a file ([`rules`]).
//!
//! A message of a stream is acknowledged once its task is accepted, and handled again where this process dies before; the
//! task's id comes from the message, so that it is one task all the same. While the queue is full nothing more is read.
//! Channels cannot wait: what comes faster than it can be taken in is dropped, counted and told. What no rule can make
//! a task of is put aside in a stream of its own, with the reason, and never stops what comes after it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ghost_core::broker::redis::feed::{self, Entry, Feed, Said, Unusable};
use ghost_core::broker::{Error, MAX_BATCH, Submission, redis};
use ghost_core::id::AgentId;
use ghost_core::retry::{Backoff, Retry};
use ghost_core::task::TaskRequest;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::Handle;
use message::Message;
use rules::Rules;

mod message;
pub mod rules;
mod template;
#[cfg(test)]
mod tests;

/// Messages of channels that wait to be taken in: a second or two of a busy sender.
const WAITING: usize = 1024;
/// Bytes of an unusable message that are kept with the reason.
const KEPT: usize = 64 * 1024;
const BACKOFF: Backoff = Backoff::growing(Duration::from_millis(100), Duration::from_secs(5));

/// What is taken in, and from where.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its name among the readers of a stream, which no other has.
    pub agent_id: AgentId,
    /// The Redis that the messages are in.
    pub redis: redis::Config,
    /// What becomes of them.
    pub rules: Rules,
}

/// The way in from Redis, ready to run.
pub struct Ingest {
    intake: Intake,
    redis: redis::Config,
    feed: Feed,
}

/// Makes tasks of messages and hands them over.
#[derive(Clone)]
struct Intake {
    handle: Handle,
    rules: Arc<Rules>,
    aside: Arc<Feed>,
}

/// Whether messages were handled, or have to come again.
#[derive(Debug, PartialEq, Eq)]
enum Taken {
    All,
    /// The process ends first.
    Not,
}

impl Ingest {
    /// A way in through this orchestrator. It connects when it runs.
    ///
    /// # Errors
    /// [`Error::Misconfigured`] where Redis's address makes no sense.
    pub fn build(config: Config, handle: Handle) -> Result<Self, Error> {
        let Config { agent_id, redis, rules } = config;
        let feed = Feed::new(&redis, rules.streams(), &agent_id)?;
        let aside = Arc::new(Feed::new(&redis, Vec::new(), &agent_id)?);
        Ok(Self { intake: Intake { handle, rules: Arc::new(rules), aside }, redis, feed })
    }

    /// Takes in what comes, until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self { intake, redis, feed } = self;
        let (streams, patterns) = (intake.rules.streams(), intake.rules.patterns());
        info!(
            "messages of {} streams and {} channel patterns become tasks; what cannot be used goes to the stream {}",
            streams.len(),
            patterns.len(),
            feed.unusable()
        );
        let reading = async {
            if !streams.is_empty() {
                read(&intake, feed, &shutdown).await;
            }
        };
        let listening = async {
            if !patterns.is_empty() {
                hear(&intake, &redis, patterns, &shutdown).await;
            }
        };
        tokio::join!(reading, listening);
    }
}

/// Takes streams in, entry by entry. A read is never dropped while it waits, so the end may take a second.
async fn read(intake: &Intake, mut feed: Feed, shutdown: &CancellationToken) {
    let mut failures = 0;
    while !shutdown.is_cancelled() {
        let entries = match feed.next().await {
            Ok(entries) => entries,
            Err(error) => {
                failures += 1;
                warn!(error = %error, "{error}; trying again");
                pause(BACKOFF.wait(failures, &mut fastrand::Rng::new()), shutdown).await;
                continue;
            }
        };
        failures = 0;
        for of_stream in entries.chunk_by(|a, b| a.stream == b.stream) {
            let messages: Vec<Message> = of_stream.iter().map(Message::of_entry).collect();
            if intake.take(&messages, shutdown).await == Taken::Not {
                break;
            }
            let ids: Vec<String> = of_stream.iter().map(|Entry { id, .. }| id.clone()).collect();
            if let Err(error) = feed.done(&of_stream[0].stream, &ids).await {
                // They come again and are found to be known.
                debug!(error = %error, "{} entries could not be acknowledged: {error}", ids.len());
            }
        }
    }
    feed.leave().await;
}

/// Takes channels in, as fast as it goes.
async fn hear(intake: &Intake, redis: &redis::Config, patterns: Vec<String>, shutdown: &CancellationToken) {
    let (told, mut said) = mpsc::channel::<Said>(WAITING);
    let dropped = AtomicU64::new(0);
    let listening = feed::channels(redis, patterns, |message| {
        if told.try_send(message).is_err() {
            dropped.fetch_add(1, Ordering::Relaxed);
        }
    });
    let taking = async {
        let mut batch = Vec::with_capacity(MAX_BATCH);
        while said.recv_many(&mut batch, MAX_BATCH).await > 0 {
            let messages: Vec<Message> = batch.drain(..).map(Message::of_channel).collect();
            if intake.take(&messages, shutdown).await == Taken::Not {
                warn!("{} messages of channels were lost at the end", messages.len() + said.len());
                return;
            }
            let lost = dropped.swap(0, Ordering::Relaxed);
            if lost > 0 {
                warn!(
                    lost,
                    "{lost} messages of channels came too fast and were dropped; use a stream, which waits"
                );
            }
        }
    };
    tokio::select! {
        ended = listening => {
            if let Err(error) = ended {
                warn!(error = %error, "no channel is heard: {error}");
            }
        }
        () = taking => {}
        () = shutdown.cancelled() => {}
    }
}

impl Intake {
    /// Makes tasks of messages, and waits until the broker has them or they are put aside.
    async fn take(&self, messages: &[Message], shutdown: &CancellationToken) -> Taken {
        let mut tasks: Vec<(&Message, TaskRequest)> = Vec::with_capacity(messages.len());
        let mut unusable: Vec<(&Message, String)> = Vec::new();
        for message in messages {
            match self.rules.task(message) {
                Ok(request) => tasks.push((message, request)),
                Err(reason) => unusable.push((message, reason.to_string())),
            }
        }
        let mut rest = tasks.as_slice();
        while !rest.is_empty() {
            let (some, submissions) = match self.submit(rest, shutdown).await {
                Some(submitted) => submitted,
                None => return Taken::Not,
            };
            for ((message, _), submission) in rest[..some].iter().zip(submissions) {
                if let Submission::Conflict(key) = submission {
                    unusable.push((message, format!("another task has the id {}", key.id)));
                }
            }
            rest = &rest[some..];
        }
        for (message, reason) in unusable {
            // The reason may quote the message, so it stands beside it and not in the log.
            warn!(source = message.source, "a message of {} is no task and was put aside", message.source);
            let kept = &message.bytes[..message.bytes.len().min(KEPT)];
            let unusable =
                Unusable { source: &message.source, entry: &message.entry, reason: &reason, message: kept };
            let mut failures = 0;
            while let Err(error) = self.aside.put_aside(&unusable).await {
                if !again("an unusable message waits", &error, &mut failures, shutdown).await {
                    return Taken::Not;
                }
            }
        }
        Taken::All
    }

    /// Hands over some of the tasks, the first ones: fewer where the queue has no room for more. How many, and what became of
    /// them; none where `shutdown` comes first.
    async fn submit(
        &self,
        tasks: &[(&Message, TaskRequest)],
        shutdown: &CancellationToken,
    ) -> Option<(usize, Vec<Submission>)> {
        let mut some = tasks.len().min(MAX_BATCH);
        let mut failures = 0;
        loop {
            let requests = tasks[..some].iter().map(|(_, request)| request.clone()).collect();
            let error = match self.handle.submit(None, requests).await {
                Ok(submissions) => return Some((some, submissions)),
                Err(error) => error,
            };
            if let Error::Full { .. } = error {
                some = some.div_ceil(2);
            }
            if !again("tasks from Redis wait", &error, &mut failures, shutdown).await {
                return None;
            }
        }
    }
}

/// Waits before a call that failed is made again; false where `shutdown` comes first.
async fn again(what: &str, error: &Error, failures: &mut u32, shutdown: &CancellationToken) -> bool {
    *failures += 1;
    if *failures == 1 {
        warn!(error = %error, "{what}: {error}");
    }
    let wait = match error.retry() {
        Retry::After(wait) => wait,
        Retry::Now | Retry::Never => BACKOFF.wait(*failures, &mut fastrand::Rng::new()),
    };
    pause(wait, shutdown).await;
    !shutdown.is_cancelled()
}

async fn pause(wait: Duration, shutdown: &CancellationToken) {
    // Either way the caller looks whether to go on.
    let _ = shutdown.run_until_cancelled(sleep(wait)).await;
}
