//! What the benches of brokers share: a task as people send them, the worker that settles it, and how they print.

use std::time::{Duration, Instant};

use ghost_core::broker::Clock;
use ghost_core::broker::{Broker, Claim, Commit, Outcome};
use ghost_core::id::{AgentId, TaskId, TaskKey};
use ghost_core::inference::{Finish, Provider, Usage};
use ghost_core::lifecycle::{Answer, Attempt, DEFAULT_CAPABILITY, Event, Record, Stage, Then, Timestamp};
use ghost_core::task::TaskRequest;
use ghost_core::taskmaster::route::{Decision, Route};
use ghost_core::taskmaster::{Complexity, Verdict};

/// Claims and settles until nothing is left, or this many are done.
pub(crate) async fn work(broker: &dyn Broker, limit: usize, enough: usize) -> usize {
    let claim = Claim {
        stage: Stage::Infer,
        holder: AgentId::generate("worker"),
        capabilities: vec![DEFAULT_CAPABILITY.to_owned()],
        limit,
        lease: Duration::from_secs(30),
        begins: true,
    };
    let mut done = 0;
    while done < enough {
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

fn settle(record: &Record, now: Timestamp) -> Commit {
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

/// Tasks that nobody has submitted yet.
pub(crate) fn tasks(n: usize) -> Vec<Record> {
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
    let now = Clock::system().now();
    let task = |_| {
        let key = TaskKey::lone(TaskId::generate());
        Record::new(key, request.clone(), verdict.clone(), decision.clone(), now)
    };
    (0..n).map(task).collect()
}

/// Prints how many a second that were.
pub(crate) fn rate(what: &str, n: usize, started: Instant) {
    say(format!("  {:>9.0} tasks/s  {what}", n as f64 / started.elapsed().as_secs_f64()));
}

/// Prints a line.
#[expect(clippy::print_stdout, reason = "its figures are what this program is for")]
pub(crate) fn say(line: String) {
    println!("{line}");
}
