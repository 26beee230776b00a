//! The four programs over a real Redis: they answer, they lose nothing when one dies, they hand over when one ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ghost_core::broker::redis::{Config, RedisBroker};
use ghost_core::broker::testing::RedisServer;
use ghost_core::broker::{Broker, Submission};
use ghost_core::id::TaskKey;
use ghost_core::lifecycle::{Record, State};
use ghost_core::stats::Statistics;
use ghost_core::task::{Status, TaskRequest};
use ghost_core::taskmaster::route::Available;
use ghost_core::taskmaster::{TaskMaster, Thresholds};
use ghost_orchestrator::{Deps, Handle, Orchestrator};
use ghost_tests::gated_claude::Claude;
use ghost_tests::programs::{self, Program};
use serde_json::{Value, json};

/// A Redis, and the settings that programs need to meet there.
struct Place {
    redis: RedisServer,
    url: String,
    data: tempfile::TempDir,
    claude: Claude,
}

impl Place {
    fn new() -> Self {
        let redis = RedisServer::start();
        let url = redis.url();
        Self { redis, url, data: tempfile::tempdir().expect("a folder"), claude: Claude::open_for(0) }
    }

    fn program(&self, name: &str, more: &[(&str, &str)]) -> Program {
        let data = self.data.path().to_str().expect("a path in UTF-8");
        let common = [("REDIS_URL", self.url.as_str()), ("GHOST_DATA", data)];
        Program::start(name, &[common.as_slice(), more].concat())
    }

    /// A worker that has Claude alone.
    async fn worker(&self, more: &[(&str, &str)]) -> Program {
        let claude = [
            ("SLM_PROVIDER", "none"),
            ("ANTHROPIC_API_KEY", "test-key"),
            ("ANTHROPIC_BASE_URL", self.claude.url()),
        ];
        let mut worker = self.program("ghost-worker", &[claude.as_slice(), more].concat());
        worker.wait_for("tasks at once").await;
        worker
    }

    /// A way in, of an orchestrator that knows nothing of models itself.
    async fn door(&self) -> (Arc<dyn Broker>, Handle) {
        let config = Config { url: self.url.clone(), ..Config::default() };
        let broker: Arc<dyn Broker> = Arc::new(RedisBroker::connect(config).await.expect("it is there"));
        let deps = Deps {
            broker: broker.clone(),
            taskmaster: Arc::new(TaskMaster::new(Thresholds::default())),
            available: Available { slm: None, llm: false, hybrid: true },
        };
        let config = ghost_orchestrator::Config { ask_workers: true, ..Default::default() };
        (broker, Orchestrator::build(config, deps).handle())
    }
}

async fn submit(door: &Handle, tasks: impl IntoIterator<Item = Value>) -> Vec<TaskKey> {
    let requests = tasks.into_iter().map(|task| serde_json::from_value::<TaskRequest>(task).expect("a task"));
    let submissions = door.submit(None, requests.collect()).await.expect("the broker takes them");
    let key = |submission| match submission {
        Submission::New(record) => record.key,
        other => panic!("{other:?}"),
    };
    submissions.into_iter().map(key).collect()
}

/// Tasks that only Claude may answer.
fn for_claude(number: usize) -> impl Iterator<Item = Value> {
    (1..=number).map(|n| {
        json!({"task_id": format!("task-{n}"), "task_type": "llm_inference",
               "description": format!("Say something about task-{n}."), "parameters": {"force_llm": true}})
    })
}

async fn all_settled(door: &Handle, keys: &[TaskKey]) -> Vec<Record> {
    let mut records = Vec::new();
    for key in keys {
        records.push(door.wait(key).await.expect("a store that answers"));
    }
    records
}

fn answer(record: &Record) -> &str {
    match &record.state {
        State::Completed(answer) => &answer.text,
        other => panic!("task {}: {other:?}", record.key),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_four_programs_answer_tasks_with_the_model_that_the_worker_announced() {
    let place = Place::new();
    let mut orchestrator = place.program("ghost-orchestrator", &[]);
    let listens = orchestrator.wait_for("the orchestrator listens on http://").await;
    let mut another = place.program("ghost-orchestrator", &[]);
    let another_health = another.health().await;
    let mut evaluator = place.program("ghost-evaluator", &[]);
    let (mut hub, mut another_hub) =
        (place.program("ghost-a2a-hub", &[]), place.program("ghost-a2a-hub", &[]));
    another_hub.wait_for("the hub listens on").await;
    let mut worker = place.program("ghost-worker", &[("AGENT_ID", "ann"), ("MAX_WORKERS", "3")]);
    let came = orchestrator.wait_for("worker_registered").await;
    assert!(came.contains("ann is there: it does inference, up to 3 tasks at once"), "{came}");
    hub.wait_for("the hub listens on").await;
    evaluator.wait_for("judges up to").await;

    let (broker, door) = place.door().await;
    let task = json!({"task_type": "json_field", "description": "Get the carrier",
                      "parameters": {"prompt": "{\"id\": 4711, \"carrier\": \"DHL\"}"}});
    let keys = submit(&door, std::iter::repeat_n(task.clone(), 20)).await;
    let records = all_settled(&door, &keys).await;
    for record in &records {
        assert_eq!(answer(record).trim(), "DHL", "{record:?}");
        assert_eq!(record.decision.route.name(), "slm", "the worker's announcement decided the route");
        assert_eq!(record.judgements.len(), 1, "the evaluator judged it");
    }
    let statistics = Statistics::from(&broker.counters().await.expect("a store that answers"));
    assert_eq!((statistics.tasks.submitted, statistics.tasks.completed), (20, 20));

    // Both orchestrators take tasks in, and whoever is asked tells the same numbers.
    for door in [&listens, &another.wait_for("the orchestrator listens on http://").await] {
        let url = door.rsplit(' ').next().expect("an address");
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let post = client.post(format!("{url}/v1/tasks?wait=30")).json(&task);
        let result: Value = post.send().await.expect("it answers").json().await.expect("JSON");
        assert_eq!(
            (&result["status"], &result["result"]["text"]),
            (&json!("completed"), &json!("DHL")),
            "{result}"
        );
        assert_eq!(client.get(format!("{url}/readyz")).send().await.expect("it answers").status(), 200);
    }
    let metrics =
        reqwest::get(format!("http://127.0.0.1:{another_health}/metrics")).await.expect("it answers");
    let metrics = metrics.text().await.expect("text");
    for line in [
        "ghost_tasks_completed_total{status=\"completed\"} 22.0",
        "ghost_evaluations_total{verdict=\"valid\"} 22.0",
        "ghost_route_decisions_total{target=\"slm\"} 22.0",
        "ghost_agents{role=\"orchestrator\"} 2.0",
        "ghost_agent_capacity{role=\"worker\"} 3.0",
    ] {
        assert!(metrics.lines().any(|told| told == line), "{line} is not in:\n{metrics}");
    }

    worker.signal("TERM");
    worker.wait_for("worker ann has ended").await;
    assert_eq!(worker.end().await.0, Some(0));
    orchestrator.wait_for("worker_unregistered").await;
    for program in [orchestrator, another, evaluator, hub, another_hub] {
        program.signal("TERM");
        let (code, said) = program.end().await;
        assert_eq!(code, Some(0), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_share_the_engine_of_a_server_that_came_after_them() {
    let place = Place::new();
    let data = place.data.path().to_str().expect("a path in UTF-8");
    // A port that was free a moment ago, as the workers must know it before the server is there.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port().to_string();
    let url = format!("http://127.0.0.1:{port}/v1");
    drop(listener);
    let settings =
        [("SLM_ENDPOINT", url.as_str()), ("SLM_MODEL", "ghost-tiny"), ("SLM_API_KEY", "opensesame")];
    let (mut ann, mut bob) =
        (place.program("ghost-worker", &settings), place.program("ghost-worker", &settings));
    let waits = ann.health().await;
    ann.wait_for("waiting for the local model").await;
    bob.wait_for("waiting for the local model").await;
    let get = async |url: String| {
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let response = client.get(url).bearer_auth("opensesame").send().await.expect("it answers");
        (response.status().as_u16(), response.text().await.expect("text"))
    };
    let (status, why) = get(format!("http://127.0.0.1:{waits}/readyz")).await;
    assert!(status == 503 && why.contains("it waits for its model"), "{why}");

    let served =
        [("SLM_SERVER_PORT", port.as_str()), ("GHOST_API_TOKEN", "opensesame"), ("GHOST_DATA", data)];
    let mut server = Program::typed("ghost-worker", &["serve"], &served);
    let health = server.health().await;
    server.wait_for("the local model ghost-tiny answers").await;
    for worker in [&mut ann, &mut bob] {
        worker.wait_for("the local model ghost-tiny is there").await;
        worker.wait_for("tasks at once").await;
    }
    let (status, models) = get(format!("{url}/models")).await;
    assert!(status == 200 && models.contains("\"ghost-tiny\""), "{models}");

    let _orchestrator = place.program("ghost-orchestrator", &[]);
    let (_, door) = place.door().await;
    let task = json!({"task_type": "json_field", "description": "Get the carrier",
                      "parameters": {"prompt": "{\"id\": 4711, \"carrier\": \"DHL\"}"}});
    let keys = submit(&door, std::iter::repeat_n(task, 10)).await;
    for record in all_settled(&door, &keys).await {
        assert_eq!(answer(&record).trim(), "DHL", "{record:?}");
        assert_eq!(
            record.decision.route.name(),
            "slm",
            "what the server said of its model decided the route"
        );
    }
    let (_, metrics) = get(format!("http://127.0.0.1:{health}/metrics")).await;
    assert!(metrics.lines().any(|told| told == "ghost_slm_requests_total 10.0"), "{metrics}");
    assert!(!metrics.contains("ghost_broker_up"), "it has no broker:\n{metrics}");

    let asked = tokio::process::Command::new(programs::path("ghost-worker"))
        .arg("health")
        .env_clear()
        .env("HEALTH_PORT", health.to_string())
        .output()
        .await
        .expect("it starts");
    assert_eq!(asked.status.code(), Some(0));
    server.signal("TERM");
    let (code, said) = server.end().await;
    assert_eq!(code, Some(0), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_with_an_llm_does_not_wait_for_the_local_models_server() {
    let place = Place::new();
    let (settings, nobody) = ([("SLM_MODEL", "ghost-tiny")], ("SLM_ENDPOINT", "http://127.0.0.1:1/v1"));
    let claude = [("ANTHROPIC_API_KEY", "test-key"), ("ANTHROPIC_BASE_URL", place.claude.url())];
    let mut worker = place.program("ghost-worker", &[settings.as_slice(), &claude, &[nobody]].concat());
    let warned = worker.wait_for("the local model is not there yet").await;
    assert!(warned.contains("the LLM takes everything until then"), "{warned}");
    worker.wait_for("tasks at once").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_killed_costs_no_task_and_settles_none_twice() {
    const TASKS: usize = 60;
    let place = Place::new();
    let _orchestrator = place.program("ghost-orchestrator", &[("LEASE_SECONDS", "1")]);
    let settings = [("LEASE_SECONDS", "1"), ("MAX_WORKERS", "10")];
    let (doomed, _other) = (place.worker(&settings).await, place.worker(&settings).await);
    let (broker, door) = place.door().await;
    let keys = submit(&door, for_claude(TASKS)).await;
    place.claude.wait_for_calls(20);

    doomed.kill().await;
    let killed = Instant::now();
    place.claude.open_up();
    let records = all_settled(&door, &keys).await;
    let took = killed.elapsed();
    eprintln!("all {TASKS} tasks were settled {took:?} after the SIGKILL, under leases of 1 s");
    for (record, n) in records.iter().zip(1..) {
        assert_eq!(answer(record), format!("All about task-{n}."));
        assert_eq!(record.generation, 0, "settled once");
        let calls = place.claude.calls_for(&format!("task-{n}"));
        assert_eq!(calls, record.deliveries as usize, "one call for each delivery of task-{n}");
    }
    let statistics = Statistics::from(&broker.counters().await.expect("a store that answers"));
    let tasks = statistics.tasks;
    assert_eq!((tasks.completed, tasks.failed, tasks.redelivered), (TASKS as i64, 0, 10));
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_told_to_end_hands_over_what_it_cannot_finish() {
    let place = Place::new();
    let mut first = place.worker(&[("DRAIN_SECONDS", "1")]).await;
    let (broker, door) = place.door().await;
    let keys = submit(&door, for_claude(3)).await;
    place.claude.wait_for_calls(3);
    first.signal("TERM");
    first.wait_for("hands 3 unfinished tasks back").await;
    let (code, said) = first.end().await;
    assert_eq!(code, Some(0), "{said}");
    for key in &keys {
        let record = broker.get(key).await.expect("a store that answers").expect("it is there");
        assert_eq!(record.status(), Status::Pending, "under a lease of 30 s it is free at once");
    }

    let _second = place.worker(&[]).await;
    place.claude.open_up();
    for record in all_settled(&door, &keys).await {
        assert_eq!(record.deliveries, 1, "an orderly hand-over is no crash");
        assert_eq!(place.claude.calls_for(record.key.id.as_str()), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_leaves_at_once() {
    let place = Place::new();
    let mut worker = place.worker(&[]).await;
    let (_, door) = place.door().await;
    submit(&door, for_claude(1)).await;
    place.claude.wait_for_calls(1);
    worker.signal("INT");
    worker.wait_for("takes nothing new").await;
    worker.signal("TERM");
    assert_eq!(worker.end().await.0, Some(130));
}

#[tokio::test(flavor = "multi_thread")]
async fn health_follows_redis_and_programs_wait_for_one_that_is_not_there_yet() {
    let mut place = Place::new();
    place.redis.kill();
    let mut orchestrator = place.program("ghost-orchestrator", &[]);
    let port = orchestrator.health().await.to_string();
    let healthy = async || {
        let asked = tokio::process::Command::new(programs::path("ghost-orchestrator"))
            .arg("health")
            .env_clear()
            .env("HEALTH_PORT", &port)
            .output()
            .await
            .expect("it starts");
        (asked.status.code(), String::from_utf8_lossy(&asked.stderr).into_owned())
    };
    orchestrator.wait_for("waiting for the broker").await;
    let (code, said) = healthy().await;
    assert!(code == Some(1) && said.contains("it waits for the broker"), "{said}");
    place.redis.restart();
    orchestrator.wait_for("the broker is there").await;
    orchestrator.wait_for("ghost-orchestrator starts over Redis").await;
    assert_eq!(healthy().await, (Some(0), String::new()));

    place.redis.kill();
    let (code, said) = healthy().await;
    assert!(code == Some(1) && said.contains("cannot be reached"), "{said}");
    place.redis.restart();
    assert_eq!(healthy().await, (Some(0), String::new()), "it came back by itself");
    orchestrator.signal("TERM");
    assert_eq!(orchestrator.end().await.0, Some(0));
}
