//! A backend over the network, with no more calls under way than the process may have (MAX_THREAD_WORKERS).
//!
//! A worker may have more tasks at once than that, and one task may ask for several samples. A call that waits for its turn
//! has not begun: the provider's silence is reckoned from the turn on, the task's own time goes on meanwhile.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Backend, Completion, Deltas, Error, Provider, Request};
use crate::executor::Executor;

/// One of the backends that share an executor's calls.
pub struct Limited<B> {
    backend: B,
    executor: Executor,
}

impl<B: Backend> Limited<B> {
    /// This backend, within the calls of `executor`.
    pub fn new(backend: B, executor: Executor) -> Arc<Self> {
        Arc::new(Self { backend, executor })
    }
}

#[async_trait]
impl<B: Backend> Backend for Limited<B> {
    fn provider(&self) -> Provider {
        self.backend.provider()
    }

    fn model(&self) -> &str {
        self.backend.model()
    }

    async fn generate(&self, request: Request, deltas: Option<Deltas>) -> Result<Completion, Error> {
        let call = self.backend.generate(request, deltas);
        let done = self.executor.run_io_bound(self.backend.model(), call).await;
        done.unwrap_or_else(|panicked| Err(Error::Engine(panicked.to_string())))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use futures_util::future::join_all;

    use super::*;
    use crate::executor::ExecutorConfig;
    use crate::inference::scripted::{Script, Scripted};

    /// Takes a second, and notes how many do so at once.
    struct Slow {
        answers: Scripted,
        now: AtomicUsize,
        most: Arc<AtomicUsize>,
    }

    #[async_trait]
    impl Backend for Slow {
        fn provider(&self) -> Provider {
            self.answers.provider()
        }

        fn model(&self) -> &str {
            self.answers.model()
        }

        async fn generate(&self, request: Request, deltas: Option<Deltas>) -> Result<Completion, Error> {
            let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
            self.most.fetch_max(now, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.now.fetch_sub(1, Ordering::Relaxed);
            assert!(request.max_tokens > 0, "a backend with a bug");
            self.answers.generate(request, deltas).await
        }
    }

    fn limited(io: usize) -> (Arc<Limited<Slow>>, Arc<AtomicUsize>) {
        let most = Arc::new(AtomicUsize::new(0));
        let answers = Scripted::new(Provider::Llm, "claude", Script::always("four"));
        let slow = Slow { answers, now: AtomicUsize::new(0), most: most.clone() };
        (Limited::new(slow, Executor::new(ExecutorConfig { cpus: 1, io })), most)
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_calls_run_at_once_than_allowed_and_all_are_answered() {
        let (backend, most) = limited(3);
        let calls = (0..10).map(|_| backend.generate(Request::new("2 + 2?"), None));
        let texts: Vec<_> =
            join_all(calls).await.into_iter().map(|done| done.expect("it answers").text).collect();
        assert_eq!(texts, ["four"; 10]);
        assert_eq!(most.load(Ordering::Relaxed), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_is_an_error_for_its_caller_alone() {
        let (backend, _) = limited(1);
        let broken = Request { max_tokens: 0, ..Request::new("2 + 2?") };
        let failed = backend.generate(broken, None).await.expect_err("it panics");
        assert!(
            matches!(&failed, Error::Engine(words) if words.contains("a backend with a bug")),
            "{failed}"
        );
        assert!(backend.generate(Request::new("2 + 2?"), None).await.is_ok());
    }
}
