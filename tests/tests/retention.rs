//! Settled tasks go after RESULT_TTL, on SQLite too, where nothing else removes them. What Redis does stands with its
//! broker's own tests.

use std::sync::Arc;
use std::time::Duration;

use ghost_core::broker::sqlite::{Options, SqliteBroker};
use ghost_core::broker::{Broker, Clock, Submission};
use ghost_core::id::TaskKey;
use ghost_core::lifecycle::Timestamp;
use ghost_core::task::TaskRequest;
use ghost_core::taskmaster::route::Available;
use ghost_core::taskmaster::{TaskMaster, Thresholds};
use ghost_orchestrator::{Config, Deps, Handle, Orchestrator};
use serde_json::json;
use tokio_util::sync::CancellationToken;

const MINUTE: Duration = Duration::from_secs(60);

async fn submitted(handle: &Handle) -> TaskKey {
    let task = json!({"task_type": "llm_inference", "description": "Say hello."});
    let request: TaskRequest = serde_json::from_value(task).expect("a task");
    match handle.submit(None, vec![request]).await.expect("it is taken").pop() {
        Some(Submission::New(record)) => record.key,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_settled_too_long_ago_goes_and_nothing_else() {
    let clock = Clock::manual(Timestamp(1_000_000));
    let options = Options { clock: clock.clone(), ..Options::default() };
    let broker: Arc<dyn Broker> = Arc::new(SqliteBroker::in_memory(options).expect("memory"));
    let config = Config { result_ttl: Some(60 * MINUTE), ..Config::default() };
    let orchestrator = Orchestrator::build(
        config,
        Deps {
            broker: broker.clone(),
            taskmaster: Arc::new(TaskMaster::new(Thresholds::default())),
            available: Available { slm: None, llm: true, hybrid: true },
        },
    );
    let handle = orchestrator.handle();
    let [old, recent, waiting] =
        [submitted(&handle).await, submitted(&handle).await, submitted(&handle).await];
    handle.cancel(&old).await.expect("it waits");
    clock.advance(40 * MINUTE);
    handle.cancel(&recent).await.expect("it waits");
    clock.advance(30 * MINUTE);

    let shutdown = CancellationToken::new();
    let running = tokio::spawn(orchestrator.run(shutdown.clone()));
    while broker.get(&old).await.expect("a store that answers").is_some() {
        tokio::time::sleep(MINUTE).await;
    }
    for key in [recent, waiting] {
        assert!(broker.get(&key).await.expect("a store that answers").is_some(), "{key} is not old");
    }
    shutdown.cancel();
    running.await.expect("it ends");
}
