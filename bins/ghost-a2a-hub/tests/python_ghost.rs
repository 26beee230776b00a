//! A ghost in Python over the real hub, as a process of its own: every task is answered once, though the hub is killed
//! and started again in the middle.
//!
//! The ghost lives in a virtual environment under `target/python` with the one package that it needs.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use ghost_core::broker::sqlite::{Options, SqliteBroker};
use ghost_core::broker::{Broker, Submission};
use ghost_core::id::TaskKey;
use ghost_core::lifecycle::State;
use ghost_core::stats::Statistics;
use ghost_core::task::TaskRequest;
use ghost_core::taskmaster::route::Available;
use ghost_core::taskmaster::{TaskMaster, Thresholds};
use ghost_evaluator::Evaluator;
use ghost_orchestrator::{Handle, Orchestrator};
use ghost_tests::python;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const TASKS: usize = 24;

#[tokio::test]
async fn a_ghost_in_python_answers_every_task_once_though_the_hub_is_killed() {
    let list = here("../../examples/python-ghost/requirements.txt");
    let python = python::environment("python-ghost", &list).await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let store = SqliteBroker::open(&folder.path().join("ghost.db"), Options::default()).expect("a new store");
    let broker: Arc<dyn Broker> = Arc::new(store);
    let (mut hub, url) = start_hub(folder.path(), 0).await;
    let port: u16 = url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let shutdown = CancellationToken::new();
    let (handle, mut services) = services(&broker, &shutdown);
    let keys = submit(&handle).await;

    let mut ghost = Command::new(python)
        .arg(here("../../examples/python-ghost/ghost.py"))
        .args(["--url", &url, "--lease-ms", "3000", "--pace", "0.2", "--max-load", "4"])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the environment has a Python");
    let mut said = BufReader::new(ghost.stdout.take().expect("it is piped")).lines();
    let mut journal = Vec::new();
    // A third is done, and four are under way.
    while journal.iter().filter(|line: &&String| line.starts_with("reported")).count() < TASKS / 3 {
        journal.push(next(&mut said).await);
    }
    hub.kill().await.expect("it can be killed");
    let (_hub, again) = start_hub(folder.path(), port).await;
    assert_eq!(again, url);

    for (n, key) in keys.iter().enumerate() {
        let record = handle.wait(key).await.expect("a store that answers");
        match &record.state {
            State::Completed(answer) => assert_eq!(answer.text, format!("WORD {n}")),
            other => panic!("task {key}: {other:?}"),
        }
        assert_eq!((record.generation, record.judgements.len()), (0, 1), "task {key} was answered once");
    }
    let statistics = Statistics::from(&broker.counters().await.expect("a store that answers"));
    assert_eq!(statistics.tasks.completed, i64::try_from(TASKS).expect("a few"));

    // Told to end, it takes its leave; its last words complete the journal.
    let id = ghost.id().expect("it runs").to_string();
    let told = Command::new("kill").args(["-TERM", &id]).status().await.expect("there is a `kill`");
    assert!(told.success());
    while let Some(line) = said.next_line().await.expect("text") {
        journal.push(line);
    }
    assert!(ghost.wait().await.expect("it ended").success(), "{journal:#?}");
    let mut reports = HashMap::new();
    for line in journal.iter().filter_map(|line| line.strip_prefix("reported ")) {
        *reports.entry(line.split(' ').next().unwrap_or_default()).or_insert(0) += 1;
    }
    assert!(reports.values().all(|times| *times == 1), "no report was taken twice: {journal:#?}");
    let joined = journal.iter().filter(|line| line.starts_with("registered")).count();
    assert_eq!(joined, 2, "once at each hub: {journal:#?}");
    let agents = broker.agents().await.expect("a store that answers");
    assert!(agents.iter().all(|agent| agent.agent_id.as_str() != "python-ghost"), "it left: {agents:?}");

    shutdown.cancel();
    while let Some(ended) = services.join_next().await {
        ended.expect("no panic");
    }
}

/// The rest of the swarm. What the killed hub had handed out, and nobody heard of, comes back after its lease.
fn services(broker: &Arc<dyn Broker>, shutdown: &CancellationToken) -> (Handle, JoinSet<()>) {
    let mut services = JoinSet::new();
    let config = ghost_orchestrator::Config {
        lease: Duration::from_secs(1),
        poll: Duration::from_millis(50),
        ..ghost_orchestrator::Config::default()
    };
    let deps = ghost_orchestrator::Deps {
        broker: broker.clone(),
        taskmaster: Arc::new(TaskMaster::new(Thresholds::default())),
        available: Available { slm: None, llm: false, hybrid: true },
    };
    let orchestrator = Orchestrator::build(config, deps);
    let handle = orchestrator.handle();
    services.spawn(orchestrator.run(shutdown.clone()));
    let config =
        ghost_evaluator::Config { poll: Duration::from_millis(50), ..ghost_evaluator::Config::default() };
    let deps = ghost_evaluator::Deps { broker: broker.clone(), llm_available: false };
    services.spawn(Evaluator::build(config, deps).run(shutdown.clone()));
    (handle, services)
}

async fn submit(handle: &Handle) -> Vec<TaskKey> {
    let task = |n: usize| {
        let task = json!({
            "task_id": format!("t-{n}"), "task_type": "shout", "description": format!("word {n}"),
            "parameters": {"capability": "shout"},
        });
        TaskRequest::parse(task.to_string().as_bytes()).expect("a valid task")
    };
    let accepted = handle.submit(None, (0..TASKS).map(task).collect()).await.expect("a store that answers");
    let key = |submission| match submission {
        Submission::New(record) => record.key,
        other => panic!("not accepted: {other:?}"),
    };
    accepted.into_iter().map(key).collect()
}

/// A hub over the store in this folder, and where it listens.
async fn start_hub(folder: &Path, port: u16) -> (Child, String) {
    let mut hub = Command::new(env!("CARGO_BIN_EXE_ghost-a2a-hub"))
        .arg("--data")
        .arg(folder)
        .args(["--port", &port.to_string()])
        .env_remove("GHOST_API_TOKEN")
        .env("A2A_HOST", "127.0.0.1")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the hub was built for this test");
    let mut said = BufReader::new(hub.stdout.take().expect("it is piped")).lines();
    let url = next(&mut said).await;
    (hub, url)
}

async fn next(said: &mut Lines<BufReader<ChildStdout>>) -> String {
    let line = tokio::time::timeout(Duration::from_secs(60), said.next_line()).await;
    line.expect("it is not stuck").expect("text").expect("it goes on")
}

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
