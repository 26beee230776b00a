//! Owns the CPUs of a process, and says who may compute where.
//!
//! Whoever needs cores for as long as the process lives takes a [`Place`] ([`Executor::dedicated`]: the llama thread
//! does); a rayon pool has the rest, for [`Executor::run_cpu_bound`]. Calls that only wait go through
//! [`Executor::run_io_bound`], so many at once and no more. A panic in either is an error for its caller alone.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::available_parallelism;

use futures_util::FutureExt;
use rayon::{ThreadPool, ThreadPoolBuilder};
use tokio::sync::{Semaphore, oneshot};

/// What a process may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExecutorConfig {
    /// Threads for computing, dedicated ones included (MAX_PROCESS_WORKERS).
    pub cpus: usize,
    /// How many calls may wait for the network at once (MAX_THREAD_WORKERS).
    pub io: usize,
}

impl Default for ExecutorConfig {
    /// The cores that the process may use (its affinity and cgroup quota count), at most 4, and 20 calls.
    fn default() -> Self {
        Self { cpus: available_parallelism().map_or(1, usize::from).min(4), io: 20 }
    }
}

/// A cheap handle; all clones share the same threads.
#[derive(Debug, Clone)]
pub struct Executor(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    config: ExecutorConfig,
    pool: Mutex<Pool>,
    calls: Semaphore,
    cpu: Meter,
    io: Meter,
}

#[derive(Debug, Default)]
struct Pool {
    dedicated: usize,
    /// Built when the first work comes, and again after a place was taken or given back.
    threads: Option<Arc<ThreadPool>>,
}

/// Why there is no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The work panicked; nothing else is harmed.
    #[error("{name} panicked: {message}")]
    Panicked {
        /// The name of the work.
        name: String,
        /// What the panic said.
        message: String,
    },
    /// The system gave us no threads.
    #[error("no threads for {name}: {message}")]
    NoThreads {
        /// The name of the work.
        name: String,
        /// What the system said.
        message: String,
    },
}

impl Executor {
    /// An executor with these limits; zero counts as one.
    pub fn new(config: ExecutorConfig) -> Self {
        let config = ExecutorConfig { cpus: config.cpus.max(1), io: config.io.max(1) };
        Self(Arc::new(Shared {
            config,
            pool: Mutex::default(),
            calls: Semaphore::new(config.io.min(Semaphore::MAX_PERMITS)),
            cpu: Meter::default(),
            io: Meter::default(),
        }))
    }

    /// Computes on the pool; inside `work`, rayon's own functions use that pool too. Work whose caller has gone away
    /// before it began is never begun.
    ///
    /// # Errors
    /// [`Error`] where `work` panicked.
    pub async fn run_cpu_bound<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (answer, outcome) = oneshot::channel();
        let mut ticket = Ticket::queue(&self.0, |shared| &shared.cpu);
        self.pool(name)?.spawn(move || {
            if answer.is_closed() {
                return;
            }
            ticket.start();
            let outcome = catch_unwind(AssertUnwindSafe(work));
            ticket.end(&outcome);
            // A caller that stopped waiting wants no answer.
            let _ = answer.send(outcome);
        });
        let outcome = outcome.await.expect("a job whose caller waits always answers");
        outcome.map_err(|panic| panicked(name, &*panic))
    }

    /// Awaits a call over the network once fewer than the allowed number run.
    ///
    /// # Errors
    /// [`Error`] where `call` panicked.
    pub async fn run_io_bound<T>(&self, name: &str, call: impl Future<Output = T>) -> Result<T, Error> {
        let mut ticket = Ticket::queue(&self.0, |shared| &shared.io);
        let _permit = self.0.calls.acquire().await.expect("the semaphore is never closed");
        ticket.start();
        let outcome = AssertUnwindSafe(call).catch_unwind().await;
        ticket.end(&outcome);
        outcome.map_err(|panic| panicked(name, &*panic))
    }

    /// Takes up to `threads` CPUs out of the pool until the place is dropped. At least one is given and at least one
    /// is left, so a machine with a single CPU shares it.
    pub fn dedicated(&self, name: &str, threads: usize) -> Place {
        let mut pool = self.lock();
        let free = self.0.config.cpus.saturating_sub(pool.dedicated + 1);
        let threads = threads.min(free).max(1);
        pool.dedicated += threads;
        pool.threads = None;
        tracing::debug!(name, threads, "gave {name} a place of {threads} threads");
        Place { threads, executor: self.clone() }
    }

    /// What it has done and is doing.
    pub fn statistics(&self) -> Statistics {
        let dedicated = self.lock().dedicated;
        let Shared { config, cpu, io, .. } = &*self.0;
        Statistics { cpus: config.cpus, dedicated, cpu: cpu.read(), io: io.read() }
    }

    fn pool(&self, name: &str) -> Result<Arc<ThreadPool>, Error> {
        let mut pool = self.lock();
        if let Some(threads) = &pool.threads {
            return Ok(threads.clone());
        }
        let count = self.0.config.cpus.saturating_sub(pool.dedicated).max(1);
        let threads = ThreadPoolBuilder::new()
            .num_threads(count)
            .thread_name(|number| format!("cpu-{number}"))
            .build()
            .map_err(|error| Error::NoThreads { name: name.to_owned(), message: error.to_string() })?;
        Ok(pool.threads.insert(Arc::new(threads)).clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Pool> {
        // Nothing panics while it is held, and a count and a handle are whole at any time.
        self.0.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// CPUs that one part of the process has for itself until it drops this.
#[derive(Debug)]
pub struct Place {
    /// How many threads it may run.
    pub threads: usize,
    executor: Executor,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut pool = self.executor.lock();
        pool.dedicated -= self.threads;
        pool.threads = None;
    }
}

/// What an [`Executor`] has done and is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statistics {
    /// All threads for computing.
    pub cpus: usize,
    /// Those of them in places.
    pub dedicated: usize,
    /// Work on the pool.
    pub cpu: Counts,
    /// Calls over the network.
    pub io: Counts,
}

/// Counts of one sort of work; `submitted` is the sum of the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Ever asked for.
    pub submitted: u64,
    /// Done.
    pub completed: u64,
    /// Ended by a panic.
    pub panicked: u64,
    /// Given up by its caller before it was done.
    pub abandoned: u64,
    /// Going on.
    pub running: u64,
    /// Waiting for its turn.
    pub queued: u64,
}

/// Counts of one sort of work, which [`Ticket`]s move from one to the next.
#[derive(Debug, Default)]
struct Meter(Mutex<Counts>);

impl Meter {
    fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn read(&self) -> Counts {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One piece of work in the counts; dropped before its end, it counts as abandoned.
struct Ticket {
    shared: Arc<Shared>,
    meter: fn(&Shared) -> &Meter,
    running: bool,
    outcome: fn(&mut Counts) -> &mut u64,
}

impl Ticket {
    fn queue(shared: &Arc<Shared>, meter: fn(&Shared) -> &Meter) -> Self {
        meter(shared).count(|counts| {
            counts.submitted += 1;
            counts.queued += 1;
        });
        Self { shared: shared.clone(), meter, running: false, outcome: |counts| &mut counts.abandoned }
    }

    fn start(&mut self) {
        self.running = true;
        (self.meter)(&self.shared).count(|counts| {
            counts.queued -= 1;
            counts.running += 1;
        });
    }

    fn end<T>(mut self, outcome: &std::thread::Result<T>) {
        self.outcome = match outcome {
            Ok(_) => |counts| &mut counts.completed,
            Err(_) => |counts| &mut counts.panicked,
        };
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        (self.meter)(&self.shared).count(|counts| {
            *(if self.running { &mut counts.running } else { &mut counts.queued }) -= 1;
            *(self.outcome)(counts) += 1;
        });
    }
}

fn panicked(name: &str, panic: &(dyn Any + Send)) -> Error {
    Error::Panicked { name: name.to_owned(), message: words_of(panic).to_owned() }
}

/// What a panic said, for whoever contains one.
pub fn words_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no words")
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    fn executor(cpus: usize, io: usize) -> Executor {
        Executor::new(ExecutorConfig { cpus, io })
    }

    #[tokio::test]
    async fn work_comes_back_with_its_result() {
        let executor = executor(2, 1);
        assert_eq!(executor.run_cpu_bound("add", || 2 + 2).await, Ok(4));
        assert_eq!(executor.run_io_bound("wait", async { 5 }).await, Ok(5));
        let done = Counts { submitted: 1, completed: 1, ..Counts::default() };
        assert_eq!(executor.statistics(), Statistics { cpus: 2, dedicated: 0, cpu: done, io: done });
    }

    #[tokio::test]
    async fn a_panic_is_an_error_for_its_caller_and_the_pool_goes_on() {
        let executor = executor(1, 1);
        let error = Error::Panicked { name: "divide".to_owned(), message: "by zero".to_owned() };
        let divide = || -> u32 { panic!("by {}", "zero") };
        assert_eq!(executor.run_cpu_bound("divide", divide).await, Err(error.clone()));
        assert_eq!(executor.run_io_bound("divide", async { divide() }).await, Err(error));
        assert_eq!(executor.run_cpu_bound("add", || 1 + 1).await, Ok(2));
        assert_eq!(executor.statistics().cpu.panicked, 1);
        assert_eq!(executor.statistics().io.panicked, 1);
    }

    #[tokio::test]
    async fn as_many_threads_compute_at_once_as_are_configured() {
        let executor = executor(3, 1);
        // Three jobs that wait for each other end only if three run at once.
        let barrier = Arc::new(Barrier::new(3));
        let job = || {
            let barrier = barrier.clone();
            executor.run_cpu_bound("meet", move || barrier.wait().is_leader())
        };
        let (a, b, c) = tokio::join!(job(), job(), job());
        assert_eq!([a, b, c].iter().filter(|leader| **leader == Ok(true)).count(), 1);
    }

    #[tokio::test]
    async fn a_place_comes_out_of_the_pool_and_goes_back_when_it_is_dropped() {
        let executor = executor(4, 1);
        let pool = || executor.run_cpu_bound("count", rayon::current_num_threads);
        assert_eq!(pool().await, Ok(4));
        let llama = executor.dedicated("llama", 2);
        assert_eq!((llama.threads, pool().await), (2, Ok(2)));
        let greedy = executor.dedicated("greedy", 9);
        assert_eq!((greedy.threads, pool().await), (1, Ok(1)), "one is left to the pool");
        let late = executor.dedicated("late", 1);
        assert_eq!((late.threads, pool().await), (1, Ok(1)), "nobody goes without");
        drop((llama, greedy, late));
        assert_eq!(pool().await, Ok(4));
    }

    #[tokio::test]
    async fn work_that_was_queued_before_a_place_was_taken_still_ends() {
        let executor = executor(2, 1);
        let (go, gate) = std::sync::mpsc::channel::<()>();
        let job = tokio::spawn({
            let executor = executor.clone();
            async move { executor.run_cpu_bound("wait", move || gate.recv().is_ok()).await }
        });
        while executor.statistics().cpu.running == 0 {
            tokio::task::yield_now().await;
        }
        let _place = executor.dedicated("llama", 1);
        go.send(()).expect("the job listens");
        assert_eq!(job.await.expect("no panic"), Ok(true));
    }

    #[tokio::test]
    async fn no_more_calls_wait_at_once_than_allowed() {
        let executor = executor(1, 2);
        let (open, gate) = tokio::sync::watch::channel(false);
        let calls: Vec<_> = (0..5)
            .map(|_| {
                let (executor, mut gate) = (executor.clone(), gate.clone());
                tokio::spawn(async move {
                    executor
                        .run_io_bound("call", async move { gate.wait_for(|open| *open).await.is_ok() })
                        .await
                })
            })
            .collect();
        while executor.statistics().io.submitted < 5 {
            tokio::task::yield_now().await;
        }
        let Counts { running, queued, .. } = executor.statistics().io;
        assert_eq!((running, queued), (2, 3));
        open.send_replace(true);
        for call in calls {
            assert_eq!(call.await.expect("no panic"), Ok(true));
        }
        assert_eq!(executor.statistics().io.completed, 5);
    }

    #[tokio::test]
    async fn what_its_caller_gave_up_is_never_begun() {
        let executor = executor(1, 1);
        let (go, gate) = std::sync::mpsc::channel::<()>();
        let first = tokio::spawn({
            let executor = executor.clone();
            async move { executor.run_cpu_bound("first", move || gate.recv().is_ok()).await }
        });
        while executor.statistics().cpu.running == 0 {
            tokio::task::yield_now().await;
        }
        let second = executor.run_cpu_bound("second", || unreachable!("nobody waits for it"));
        assert!(second.now_or_never().is_none(), "the only thread is taken");
        go.send(()).expect("the job listens");
        assert_eq!(first.await.expect("no panic"), Ok(true));
        assert_eq!(executor.run_cpu_bound("third", || 3).await, Ok(3));
        let counts = Counts { submitted: 3, completed: 2, abandoned: 1, ..Counts::default() };
        assert_eq!(executor.statistics().cpu, counts);
    }
}
