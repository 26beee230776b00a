//! How many tasks a second the SQLite broker takes in, and how many it hands out and settles.
//!
//! `cargo bench -p ghost-core`. The file lies in the build directory, hence on the disk that builds are on; what an
//! acknowledged write survives is printed beside each figure, since it decides most of it.

use std::path::Path;
use std::time::{Duration, Instant};

use ghost_core::broker::sqlite::{Durability, Options, SqliteBroker};
use ghost_core::broker::{Broker, Claim, Commit, MAX_BATCH, Outcome};
use ghost_core::id::{AgentId, TaskId, TaskKey};
use ghost_core::inference::{Finish, Provider, Usage};
use ghost_core::lifecycle::{Answer, Attempt, DEFAULT_CAPABILITY, Event, Record, Stage, Then};
use ghost_core::task::TaskRequest;
use ghost_core::taskmaster::route::{Decision, Route};
use ghost_core::taskmaster::{Complexity, Verdict};

const TASKS: usize = 16_384;
const CALLERS: usize = 16;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let directory = tempfile::TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let file = |name| Some(directory.path().join(name));
        for (name, path, durability) in [
            ("in memory", None, Durability::Crash),
            ("file, survives SIGKILL (synchronous=NORMAL)", file("normal.db"), Durability::Crash),
            ("file, survives power loss (synchronous=FULL)", file("full.db"), Durability::PowerLoss),
        ] {
            say(format!("{name}:"));
            measure(path.as_deref(), durability).await;
        }
    });
}

async fn measure(path: Option<&Path>, durability: Durability) {
    let options = Options { durability, ..Options::default() };
    let broker = match path {
        Some(path) => SqliteBroker::open(path, options),
        None => SqliteBroker::in_memory(options),
    };
    let broker = broker.expect("a store");

    let started = Instant::now();
    for _ in 0..TASKS / MAX_BATCH {
        broker.submit(tasks(MAX_BATCH)).await.expect("accepted");
    }
    rate("submit, one caller, 64 a call", TASKS, started);

    let started = Instant::now();
    let singly = async || {
        for _ in 0..TASKS / CALLERS / 4 {
            broker.submit(tasks(1)).await.expect("accepted");
        }
    };
    futures_util::future::join_all((0..CALLERS).map(|_| singly())).await;
    rate("submit, 16 callers, 1 a call", TASKS / 4, started);

    let started = Instant::now();
    let done = futures_util::future::join_all((0..2).map(|_| work(&broker, MAX_BATCH, TASKS))).await;
    rate("claim and settle, 2 callers, 64 a call", done.iter().sum(), started);

    let started = Instant::now();
    let done = futures_util::future::join_all((0..CALLERS).map(|_| work(&broker, 1, TASKS))).await;
    rate("claim and settle, 16 callers, 1 a call", done.iter().sum(), started);

    if let Some(path) = path {
        let bytes = std::fs::metadata(path).expect("a file").len() as usize;
        say(format!("  {:>9} bytes on disk a settled task", bytes / (TASKS + TASKS / 4)));
    }
}

/// Claims and settles until nothing is left, or about this many are done by all.
async fn work(broker: &SqliteBroker, limit: usize, all: usize) -> usize {
    let claim = Claim {
        stage: Stage::Infer,
        holder: AgentId::generate("worker"),
        capabilities: vec![DEFAULT_CAPABILITY.to_owned()],
        limit,
        lease: Duration::from_secs(30),
    };
    let mut done = 0;
    while done * 2 < all || limit == 1 {
        let records = broker.claim(&claim).await.expect("a claim");
        if records.is_empty() {
            break;
        }
        let now = broker.now().await.expect("the time");
        let commits: Vec<Commit> = records.iter().map(|record| settle(record, now)).collect();
        let outcomes = broker.commit(&commits).await.expect("a commit");
        assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Done));
        done += outcomes.len();
    }
    done
}

fn settle(record: &Record, now: ghost_core::lifecycle::Timestamp) -> Commit {
    let usage = Usage { input_tokens: 200, output_tokens: 20, ..Usage::default() };
    let attempt = Attempt {
        provider: Provider::Slm,
        model: "ghost-tiny".to_owned(),
        duration_ms: 14,
        usage,
        cost_micro_usd: 0,
        failure: None,
    };
    let answer = Answer {
        text: "The parcel arrived late and wet.".to_owned(),
        json: None,
        tool_calls: Vec::new(),
        provider: Provider::Slm,
        model: "ghost-tiny".to_owned(),
        finish: Finish::Stop,
        confidence: Some(0.875),
        llm_cost_micro_usd: 900,
    };
    let token = record.lease().expect("it was claimed").token;
    Commit::step(record, Event::Answer { token, answer, attempts: vec![attempt], then: Then::Settle }, now)
        .expect("its holder answers")
}

fn tasks(n: usize) -> Vec<Record> {
    let json = r#"{"task_type": "status_update", "description": "Say in one line what is now the case.",
        "parameters": {"prompt": "The parcel to Mrs Lind left the depot on Tuesday, arrived two days late, and the box was wet."}}"#;
    let request = TaskRequest::parse(json.as_bytes()).expect("a request");
    let verdict = Verdict {
        complexity: Complexity::Simple,
        score: 0.125,
        confidence: 0.875,
        kind: None,
        reasons: vec!["asks for one line".to_owned()],
    };
    let decision = Decision { route: Route::Slm, reason: "simple".to_owned() };
    let now = ghost_core::broker::sqlite::Clock::system().now();
    let task = |_| {
        let key = TaskKey::lone(TaskId::generate());
        Record::new(key, request.clone(), verdict.clone(), decision.clone(), now)
    };
    (0..n).map(task).collect()
}

fn rate(what: &str, n: usize, started: Instant) {
    say(format!("  {:>9.0} tasks/s  {what}", n as f64 / started.elapsed().as_secs_f64()));
}

#[expect(clippy::print_stdout, reason = "its figures are what this program is for")]
fn say(line: String) {
    println!("{line}");
}
