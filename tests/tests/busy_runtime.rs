//! A worker whose runtime is blocked does not lose its tasks: leases are renewed on a thread of their own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use ghost_core::broker::sqlite::{Options, SqliteBroker};
use ghost_core::broker::{Broker, Submission};
use ghost_core::id::TaskKey;
use ghost_core::inference::hybrid::{self, Engine};
use ghost_core::inference::pricing::Pricing;
use ghost_core::inference::{Backend, Completion, Deltas, Error, Finish, Provider, Request, Usage};
use ghost_core::lifecycle::{Record, Timestamp};
use ghost_core::task::{Status, TaskRequest};
use ghost_orchestrator::Orchestrator;
use ghost_tests::swarm::{complex, taskmaster};
use ghost_worker::Worker;
use tokio_util::sync::CancellationToken;

const LEASE: Duration = Duration::from_millis(300);

/// A model that blocks the thread that asks it, as no model should, until its lease was renewed three times over.
struct Blocking(Arc<SqliteBroker>);

impl Blocking {
    /// When the lease on the one task ends, asked from another runtime, as the caller's is blocked.
    fn lease_end(&self) -> Timestamp {
        let broker = self.0.clone();
        let ask = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            let records = runtime.block_on(broker.list(&Default::default())).expect("a store that answers");
            records[0].lease().expect("a lease").until
        };
        std::thread::spawn(ask).join().expect("an answer")
    }
}

#[async_trait]
impl Backend for Blocking {
    fn provider(&self) -> Provider {
        Provider::Llm
    }

    fn model(&self) -> &str {
        "claude-sonnet-5-5"
    }

    async fn generate(&self, _: Request, _: Option<Deltas>) -> Result<Completion, Error> {
        let (begun, first) = (Instant::now(), self.lease_end());
        while self.lease_end() < first.plus(LEASE) {
            assert!(begun.elapsed() < Duration::from_secs(30), "the lease is not renewed");
        }
        Ok(Completion {
            text: "An essay.".to_owned(),
            finish: Finish::Stop,
            usage: Usage::default(),
            model: self.model().to_owned(),
            request_id: None,
            logprobs: Vec::new(),
            tokens: Vec::new(),
            tool_calls: Vec::new(),
            warnings: Vec::new(),
        })
    }
}

async fn settled(orchestrator: &Orchestrator, key: &TaskKey) -> Record {
    orchestrator.handle().wait(key).await.expect("a task that is settled")
}

#[tokio::test]
async fn a_busy_runtime_does_not_lose_its_leases() {
    let broker = Arc::new(SqliteBroker::in_memory(Options::default()).expect("memory for a store"));
    let llm: Arc<dyn Backend> = Arc::new(Blocking(broker.clone()));
    let engine = Engine::build(hybrid::Config::default(), None, Some(llm), Pricing::builtin());
    let deps = ghost_orchestrator::Deps {
        broker: broker.clone(),
        taskmaster: Arc::new(taskmaster()),
        available: engine.available(),
    };
    let orchestrator = Orchestrator::build(ghost_orchestrator::Config::default(), deps);
    let task = TaskRequest::parse(complex().to_string().as_bytes()).expect("a valid task");
    let submitted = orchestrator.handle().submit(None, vec![task]).await.expect("a store that accepts");
    let [Submission::New(record)] = &submitted[..] else { panic!("not accepted: {submitted:?}") };

    let shutdown = CancellationToken::new();
    let config = ghost_worker::Config { lease: LEASE, ..ghost_worker::Config::default() };
    let worker = Worker::build(config, ghost_worker::Deps { broker, engine: Arc::new(engine) });
    let running = tokio::spawn(worker.run(shutdown.clone()));
    let record = settled(&orchestrator, &record.key).await;
    assert_eq!((record.status(), record.deliveries), (Status::Completed, 1));
    shutdown.cancel();
    running.await.expect("a worker that does not panic").expect("models need no preparation");
}
