//! The thread that owns a model, seen from outside: it is started, given jobs and waited for.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ghost_core::inference::{self, Provider};
use tokio::sync::mpsc;

use crate::Error;

/// What the thread's stack holds: llama.cpp builds its graphs on it, and grammars are read there.
const STACK: usize = 16 << 20;

/// A thread with a model and the queue of its jobs. Dropped, it ends what is in the making and waits for its thread.
#[derive(Debug)]
pub(crate) struct Owner<Job> {
    /// What it owns, in words.
    of: &'static str,
    /// Taken when the handle is dropped, which ends the thread.
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl<Job: Send + 'static> Owner<Job> {
    /// Starts a thread that loads a model, reports what it loaded, and does jobs until there can be no more; waits for
    /// the report.
    pub(crate) fn start<Facts: Send + 'static>(
        name: &str,
        of: &'static str,
        queue: usize,
        run: impl FnOnce(&SyncSender<Result<Facts, Error>>, mpsc::Receiver<Job>) + Send + 'static,
    ) -> Result<(Self, Facts), Error> {
        let (jobs, queue) = mpsc::channel(queue);
        let (ready, loaded) = std::sync::mpsc::sync_channel(1);
        let thread = thread::Builder::new()
            .name(name.into())
            .stack_size(STACK)
            .spawn(move || run(&ready, queue))
            .map_err(|error| Error::Start(error.to_string()))?;
        let facts = loaded.recv().map_err(|_| Error::Start("its thread ended while loading".into()))??;
        Ok((Self { of, jobs: Some(jobs), thread: Some(thread) }, facts))
    }

    /// Queues a job; refused as overload where the queue is full, until `pace` milliseconds from now.
    pub(crate) fn submit(&self, job: Job, pace: &AtomicU64) -> Result<(), inference::Error> {
        self.jobs().try_send(job).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => inference::Error::Overloaded {
                provider: Provider::Slm.name().into(),
                retry_after: Some(Duration::from_millis(pace.load(Ordering::Relaxed).clamp(50, 30_000))),
            },
            mpsc::error::TrySendError::Closed(_) => self.gone(),
        })
    }

    /// How many jobs the thread has not taken up.
    pub(crate) fn queued(&self) -> usize {
        self.jobs().max_capacity() - self.jobs().capacity()
    }

    /// That the thread ended before its work did.
    pub(crate) fn gone(&self) -> inference::Error {
        inference::Error::Unavailable(format!("the thread of the {} has ended; see the log", self.of))
    }

    /// One whose thread takes no job; the test that holds the queue does.
    #[cfg(test)]
    pub(crate) fn idle(of: &'static str, queue: usize) -> (Self, mpsc::Receiver<Job>) {
        let (jobs, queue) = mpsc::channel(queue);
        (Self { of, jobs: Some(jobs), thread: None }, queue)
    }

    #[cfg(test)]
    pub(crate) fn thread_id(&self) -> Option<thread::ThreadId> {
        self.thread.as_ref().map(|thread| thread.thread().id())
    }

    fn jobs(&self) -> &mpsc::Sender<Job> {
        self.jobs.as_ref().expect("only dropping takes it")
    }
}

impl<Job> Drop for Owner<Job> {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has nothing more to say.
            let _ = thread.join();
        }
    }
}
