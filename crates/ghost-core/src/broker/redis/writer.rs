//! Commits of many tasks, written together where they come together.
//!
//! What a script costs Redis is the script more than the tasks in it. So while scripts are under way, commits that come
//! wait for each other and the next script has all of them. Who comes alone waits for nobody.

use std::collections::HashSet;
use std::sync::Arc;

use redis::Value;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::form::Prepared;
use super::keys::Keys;
use super::line::Line;
use super::reply::{array, bytes, unexpected};
use super::scripts;
use crate::broker::{Error, MAX_BATCH, Outcome};
use crate::retry::Retry;

/// Scripts under way at once: while Redis runs one, the next is on its way to it.
const AT_ONCE: usize = 2;
/// Callers that may wait in the queue; more wait before it.
const QUEUE: usize = 1024;

/// The way to the task that writes; it ends with this.
pub(super) struct Writer {
    jobs: mpsc::Sender<Job>,
}

/// The commits of one caller, each of another task.
struct Job {
    commits: Vec<Prepared>,
    reply: oneshot::Sender<Result<Vec<Outcome>, Error>>,
}

impl Writer {
    /// One that writes over this line.
    pub(super) fn start(line: Arc<Line>, keys: Keys) -> Self {
        let (jobs, queue) = mpsc::channel(QUEUE);
        tokio::spawn(run(Arc::new(Script { line, keys }), queue));
        Self { jobs }
    }

    /// Writes commits that each are of another task, [`MAX_BATCH`] at most.
    pub(super) async fn write(&self, commits: Vec<Prepared>) -> Result<Vec<Outcome>, Error> {
        let gone = || Error::Unavailable("the runtime that wrote to Redis has ended".to_owned());
        let (reply, outcomes) = oneshot::channel();
        self.jobs.send(Job { commits, reply }).await.map_err(|_| gone())?;
        outcomes.await.map_err(|_| gone())?
    }
}

async fn run(script: Arc<Script>, mut jobs: mpsc::Receiver<Job>) {
    let under_way = Arc::new(Semaphore::new(AT_ONCE));
    let mut left_over = None;
    loop {
        let permit = under_way.clone().acquire_owned().await.expect("nobody closes this semaphore");
        let first = match left_over.take() {
            Some(job) => job,
            None => match jobs.recv().await {
                Some(job) => job,
                None => return,
            },
        };
        let mut together = vec![first];
        while let Ok(job) = jobs.try_recv() {
            if !fits(&together, &job) {
                left_over = Some(job);
                break;
            }
            together.push(job);
        }
        let script = script.clone();
        tokio::spawn(async move {
            script.write(together).await;
            drop(permit);
        });
    }
}

/// Whether a script may have this job beside these: it is not too large, and no task is written twice.
fn fits(jobs: &[Job], more: &Job) -> bool {
    let commits = || jobs.iter().flat_map(|job| &job.commits);
    if commits().count() + more.commits.len() > MAX_BATCH {
        return false;
    }
    let members: HashSet<&str> = commits().map(Prepared::member).collect();
    more.commits.iter().all(|commit| !members.contains(commit.member()))
}

/// The script that commits, and how it is reached.
struct Script {
    line: Arc<Line>,
    keys: Keys,
}

impl Script {
    /// Writes all jobs and tells each what became of it.
    async fn write(&self, jobs: Vec<Job>) {
        let commits: Vec<&Prepared> = jobs.iter().flat_map(|job| &job.commits).collect();
        let together = self.run(&commits).await;
        if jobs.len() > 1 && together.as_ref().is_err_and(|error| error.retry() == Retry::Never) {
            // One of them cannot be written, and not all callers shall hear that.
            for job in jobs {
                let alone: Vec<&Prepared> = job.commits.iter().collect();
                let outcomes = self.run(&alone).await;
                // Whoever is gone does not want to know.
                let _ = job.reply.send(outcomes);
            }
            return;
        }
        let mut at = 0;
        for job in jobs {
            let own = at..at + job.commits.len();
            at = own.end;
            let outcomes = together.as_ref().map(|outcomes| outcomes[own].to_vec());
            // Whoever is gone does not want to know.
            let _ = job.reply.send(outcomes.map_err(Error::clone));
        }
    }

    /// Writes those that can be written together, without the others.
    async fn run(&self, commits: &[&Prepared]) -> Result<Vec<Outcome>, Error> {
        let mut outcomes = vec![None; commits.len()];
        loop {
            let open: Vec<usize> = (0..commits.len()).filter(|&at| outcomes[at].is_none()).collect();
            if open.is_empty() {
                return Ok(outcomes.into_iter().flatten().collect());
            }
            let (counts, news) = Prepared::together(open.iter().map(|&at| commits[at]));
            let each = open.iter().flat_map(|&at| commits[at].args());
            let args: Vec<&[u8]> =
                [counts.as_str(), news.as_str()].into_iter().chain(each).map(str::as_bytes).collect();
            let reply = array(self.line.run(&self.keys, &scripts::COMMIT, &args).await?)?;
            if reply.len() != open.len() {
                return Err(unexpected());
            }
            for (&at, value) in open.iter().zip(reply) {
                outcomes[at] = outcome(value)?;
            }
        }
    }
}

/// What the script says of one commit; nothing where it is to come again.
fn outcome(value: Value) -> Result<Option<Outcome>, Error> {
    match bytes(value)?.as_slice() {
        b"done" | b"known" => Ok(Some(Outcome::Done)),
        b"conflict" => Ok(Some(Outcome::Conflict)),
        b"gone" => Ok(Some(Outcome::Gone)),
        b"again" => Ok(None),
        _ => Err(unexpected()),
    }
}
