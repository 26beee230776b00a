//! The one thread that touches the file, and how calls reach it.
//!
//! Reads are served as they come. Writes that wait together share one transaction, so that a hundred callers pay for
//! one flush to the disk; each has a savepoint of its own, and nobody hears of success before the transaction is
//! written.

use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

use super::store::Store;
use crate::broker::Error;

/// How many calls share a transaction at most: enough to hide the flush, few enough that the first does not wait long.
const GROUP: usize = 64;
/// Calls that may queue up before callers wait: the next group, while one is being written.
const WAITING: usize = 2 * GROUP;

enum Job {
    Read(Box<dyn FnOnce(&Store) + Send>),
    Write(Write),
}

/// A write runs inside the transaction, or hears why there is none; what it returns tells the caller how that ended.
pub(super) type Write = Box<dyn FnOnce(Result<&mut Store, Error>) -> Reply + Send>;
pub(super) type Reply = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// The way to the thread. Dropping it waits until the thread has written what was asked of it.
#[derive(Debug)]
pub(super) struct Thread {
    jobs: Option<mpsc::Sender<Job>>,
    handle: Option<JoinHandle<()>>,
}

impl Thread {
    pub(super) fn start(store: Store) -> Result<Self, Error> {
        let (jobs, waiting) = mpsc::channel(WAITING);
        let handle = std::thread::Builder::new()
            .name("sqlite".to_owned())
            .spawn(move || serve(store, waiting))
            .map_err(|error| Error::Unavailable(format!("its thread cannot start: {error}")))?;
        Ok(Self { jobs: Some(jobs), handle: Some(handle) })
    }

    pub(super) async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Store) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        // A caller that went away needs no reply.
        self.send(Job::Read(Box::new(move |store| drop(reply.send(look(store)))))).await?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Store) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let write: Write = Box::new(move |store| {
            let result = store.and_then(|store| store.attempt(work));
            Box::new(move |written| drop(reply.send(written.and(result))))
        });
        self.send(Job::Write(write)).await?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    async fn send(&self, job: Job) -> Result<(), Error> {
        let jobs = self.jobs.as_ref().ok_or_else(gone)?;
        jobs.send(job).await.map_err(|_| gone())
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(handle) = self.handle.take() {
            // It panicked: whoever called it meanwhile has heard so.
            let _ = handle.join();
        }
    }
}

fn gone() -> Error {
    Error::Unavailable("its thread has ended".to_owned())
}

fn serve(mut store: Store, mut waiting: mpsc::Receiver<Job>) {
    let mut jobs = Vec::with_capacity(GROUP);
    while waiting.blocking_recv_many(&mut jobs, GROUP) > 0 {
        let mut writes = Vec::new();
        for job in jobs.drain(..) {
            match job {
                Job::Read(look) => look(&store),
                Job::Write(write) => writes.push(write),
            }
        }
        if !writes.is_empty() {
            store.transact(writes);
        }
    }
}
