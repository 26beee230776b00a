//! One delivery of one task: from its lease to what became of it.
//!
//! What a model was paid for is written down even where the answer comes too late: it is repeated for as long as the
//! lease runs while the store is away, and a lease that was lost is followed by the bill alone.

use std::time::Duration;

use ghost_core::broker::{AdvanceError, Commit, Error, News, Outcome as Written, advance};
use ghost_core::lifecycle::{Answer, Attempt, Event, Record};
use ghost_core::retry::{Backoff, Retry};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use crate::Inner;
use crate::ghost::{Task, Trouble};
use crate::heart::Hold;

/// Parts of an answer that may wait to be published: about a second of a fast model.
const PARTS: usize = 64;
/// The waits between tries to reach the store.
const BACKOFF: Backoff = Backoff::growing(Duration::from_millis(50), Duration::from_secs(2));

/// How long a ghost may go on once nobody waits for its answer.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Tries to reach the store once the time to drain is over: enough for a lost message, not for an outage.
const HURRIED_TRIES: u32 = 4;
/// How long it is tried to write a bill whose answer came too late.
const BILLING: Duration = Duration::from_secs(300);

pub(crate) async fn run(inner: &Inner, record: Record, asked: Instant) {
    let Some(lease) = record.lease() else { return };
    let token = lease.token;
    let key = record.key.clone();
    let hold = inner.heart.hold(record.clone(), token, asked);
    info!(event = "task_assigned", task.id = %key, agent.id = %inner.config.agent_id, delivery = record.deliveries, "task {key} is with {}", inner.config.agent_id);

    let (answered, attempts) = process(inner, &record, &hold).await;
    let event = match answered {
        Ok(answer) => {
            let then = inner.stand_in.then(&record, &answer).await;
            Event::Answer { token, answer, attempts: attempts.clone(), then }
        }
        Err(Trouble::Later(delay)) => Event::Postpone { token, attempts: attempts.clone(), delay },
        Err(Trouble::Failed(failure)) => Event::Fail { token, failure, attempts: attempts.clone() },
        // Told to hurry: the task goes back at once. Where the lease is lost this is refused, and the bill remains.
        Err(Trouble::Cancelled) => {
            Event::Postpone { token, attempts: attempts.clone(), delay: Duration::ZERO }
        }
    };
    match persist(inner, &record, event, &hold).await {
        Ok(after) => {
            debug!(task.id = %key, status = after.status().name(), "task {key} is {}", after.status())
        }
        // Refused: the lease is lost. Unwritten: it ends by itself, and the task comes back. Either way there is a bill.
        Err(error) => {
            info!(task.id = %key, error = %error, "what came of task {key} was not taken: {error}");
            if !attempts.is_empty() {
                bill(inner, &record, &attempts).await;
            }
        }
    }
}

/// Has the ghost do the task, and publishes the answer as it appears. Says what it cost, whatever came of it.
async fn process(inner: &Inner, record: &Record, hold: &Hold) -> (Result<Answer, Trouble>, Vec<Attempt>) {
    let cancel = hold.lost.child_token();
    let (deltas, mut parts) = mpsc::channel::<String>(PARTS);
    let timeout = match (record.deadline(), inner.swarm.broker.now().await) {
        (Some(deadline), Ok(now)) => deadline.since(now),
        _ => record.request.timeout(),
    };
    let timeout = inner.config.timeout.map_or(timeout, |longest| timeout.min(longest));
    let task = Task::new(record, inner.swarm.clone(), timeout, cancel.clone(), deltas);
    let publish = async {
        let mut waiting = Vec::new();
        while parts.recv_many(&mut waiting, PARTS).await > 0 {
            let news = News::Delta(record.key.clone(), waiting.concat());
            waiting.clear();
            // News may be missed; the record has the whole answer.
            let _ = inner.swarm.broker.publish(news).await;
        }
    };
    let hurry = async {
        inner.hurry.cancelled().await;
        cancel.cancel();
        std::future::pending::<()>().await;
    };
    // The models end at once when they are told to; a ghost of somebody's own may not listen.
    let late = async {
        cancel.cancelled().await;
        sleep(LAST_WORDS).await;
    };
    let process = async {
        let answered = tokio::select! {
            answered = inner.ghost.process_task(&task) => answered,
            () = late => Err(Trouble::Cancelled),
        };
        let attempts = task.attempts();
        // It is the last that can publish anything.
        drop(task);
        (answered, attempts)
    };
    tokio::select! {
        (done, ()) = async { tokio::join!(process, publish) } => done,
        () = hurry => unreachable!("it waits for ever"),
    }
}

/// Sends an event for as long as the lease runs, should the store be away. One and the same commit is repeated, so
/// that the store recognises it where only its word was lost.
async fn persist(inner: &Inner, record: &Record, event: Event, hold: &Hold) -> Result<Record, AdvanceError> {
    let broker = &*inner.swarm.broker;
    let mut record = record.clone();
    loop {
        let now = insist(inner, hold, || broker.now()).await?;
        let commit = Commit::step(&record, event.clone(), now)?;
        match insist(inner, hold, || broker.commit(std::slice::from_ref(&commit))).await?.first() {
            Some(Written::Done) => return Ok(commit.record),
            Some(Written::Conflict) => {}
            Some(Written::Gone) | None => return Err(AdvanceError::Gone),
        }
        record = insist(inner, hold, || broker.get(&record.key)).await?.ok_or(AdvanceError::Gone)?;
    }
}

async fn insist<T, F>(inner: &Inner, hold: &Hold, call: impl Fn() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut failures = 0;
    loop {
        let error = match call().await {
            Err(error) if error.retry() != Retry::Never => error,
            result => return result,
        };
        failures += 1;
        let wait = BACKOFF.wait(failures, &mut fastrand::Rng::new());
        let in_a_hurry = inner.hurry.is_cancelled() && failures >= HURRIED_TRIES;
        if in_a_hurry || Instant::now() + wait >= hold.until() {
            return Err(error);
        }
        sleep(wait).await;
    }
}

/// Writes the bill of an answer that came too late, even where the store is away for a while.
async fn bill(inner: &Inner, before: &Record, attempts: &[Attempt]) {
    let key = &before.key;
    let late = Instant::now() + BILLING;
    let mut failures = 0;
    while let Err(error) = charge(inner, before, attempts).await {
        failures += 1;
        let wait = BACKOFF.wait(failures, &mut fastrand::Rng::new());
        let again = matches!(&error, AdvanceError::Broker(error) if error.retry() != Retry::Never);
        if !again || inner.hurry.is_cancelled() || Instant::now() + wait >= late {
            return warn!(task.id = %key, error = %error, "what task {key} cost could not be written: {error}");
        }
        sleep(wait).await;
    }
}

async fn charge(inner: &Inner, before: &Record, attempts: &[Attempt]) -> Result<(), AdvanceError> {
    let record = inner.swarm.broker.get(&before.key).await?.ok_or(AdvanceError::Gone)?;
    // Our own commit may have come through though the store's word of it was lost.
    let since = record.spent.calls.saturating_sub(before.spent.calls);
    let recent = usize::try_from(since).unwrap_or(usize::MAX).min(record.attempts.len());
    let charged =
        record.attempts[record.attempts.len() - recent..].windows(attempts.len()).any(|w| w == attempts);
    if !charged {
        advance(&*inner.swarm.broker, record, Event::Charge(attempts.to_vec())).await?;
    }
    Ok(())
}
