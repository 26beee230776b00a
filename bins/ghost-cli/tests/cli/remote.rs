//! The commands on a running swarm (`--url`), which a thread of the test hosts.

use std::sync::mpsc;
use std::thread::JoinHandle;

use ghost_core::config::{Config as Settings, Sources};
use ghost_core::inference::scripted::Script;
use ghost_orchestrator::api::{Api, Config, Deps};
use ghost_tests::TestSwarm;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::{Place, ids, results};

/// A swarm whose LLM says `four`, and its door.
struct RunningSwarm {
    url: String,
    shutdown: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl RunningSwarm {
    fn start(workers: usize, token: Option<&str>) -> Self {
        let mut flags = vec![("ORCHESTRATOR_PORT".to_owned(), "0".to_owned())];
        flags.extend(token.map(|token| ("GHOST_API_TOKEN".to_owned(), token.to_owned())));
        let settings = Settings::load(Sources { flags, ..Sources::default() }).expect("good settings");
        let shutdown = CancellationToken::new();
        let (ready, opened) = mpsc::channel();
        let stop = shutdown.clone();
        let serve = async move {
            let swarm = TestSwarm::in_memory().workers(workers).llm(Script::always("four")).start().await;
            let deps = Deps { handle: swarm.handle.clone(), open: Default::default() };
            let api = Api::build(Config::from(&settings), deps).await.expect("a free port");
            ready.send(format!("http://{}", api.address())).expect("the test waits for it");
            api.run(stop).await;
        };
        let thread = std::thread::spawn(|| {
            tokio::runtime::Runtime::new().expect("threads").block_on(serve);
        });
        Self { url: opened.recv().expect("it starts"), shutdown, thread: Some(thread) }
    }

    /// A place whose commands go to this swarm.
    fn place(&self) -> Place {
        Place::new().with("GHOST_URL", &self.url)
    }
}

impl Drop for RunningSwarm {
    fn drop(&mut self) {
        self.shutdown.cancel();
        if let Some(thread) = self.thread.take() {
            // A panic in there has failed the test already, or does no harm to it.
            let _ = thread.join();
        }
    }
}

const SUBMIT: [&str; 5] = ["submit", "--force-llm", "--id", "a", "Say something."];

fn submit(more: &[&'static str]) -> Vec<&'static str> {
    [&SUBMIT[..], more].concat()
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).expect("one JSON document")
}

#[test]
fn a_task_is_submitted_waited_for_and_told() {
    let swarm = RunningSwarm::start(1, None);
    let place = swarm.place();
    let said = place.ghost(&submit(&["--wait"])).with_code(0).said("claude-sonnet-5-5 (llm)").stdout;
    assert_eq!(said, "four\n");
    place.ghost(&["feedback", "a", "--rating", "0.75"]).with_code(0).said("noted: a was 0.75 of 1");
    let told = json_of(&place.ghost(&["explain", "a", "--output", "json"]).with_code(0).stdout);
    assert_eq!(told["record"]["feedback"]["rating"], 0.75);
    let lines =
        place.ghost(&["submit", "--force-llm", "Hello", "--stream", "--output", "jsonl"]).with_code(0);
    let lines = results(&lines.stdout);
    let heard: String = lines.iter().filter_map(|line| line["delta"].as_str()).collect();
    assert!(heard.is_empty() || heard == "four", "{heard}");
    assert_eq!(lines.last().expect("a result")["status"], "completed");
    let story = place.ghost(&["explain", "a"]).with_code(0).stdout;
    for verb in ["submitted", "classified", "dispatched", "inferred", "evaluated", "settled", "counted"] {
        assert!(story.lines().any(|line| line.starts_with(verb)), "`{verb}` is missing in:\n{story}");
    }
    let stats = json_of(&place.ghost(&["stats", "--output", "json"]).with_code(0).stdout);
    assert_eq!((&stats["tasks"]["completed"], &stats["llm"]["answers"]), (&json!(2), &json!(2)));
    place.ghost(&["cancel", "a"]).with_code(1).said("a is completed already");
    place.ghost(&["retry", "a"]).with_code(2).said("only a failed task can be retried");
    let watched = place.ghost(&["watch", "a"]).with_code(0).said("a is completed");
    assert_eq!(watched.stdout, "four\n");
}

#[test]
fn what_waits_is_listed_counted_and_withdrawn() {
    let swarm = RunningSwarm::start(0, None);
    let place = Place::new();
    let there = |words: &[&'static str]| place.ghost(&[words, &["--url", &swarm.url]].concat());
    assert_eq!(there(&SUBMIT).with_code(0).said("`ghost watch a` waits for it").stdout, "a\n");
    assert_eq!(there(&SUBMIT).with_code(0).stdout, "a\n", "the same name is the same task");
    there(&["submit", "--force-llm", "--id", "a", "Something else."])
        .with_code(2)
        .said("another task has the id a");
    let listed = there(&["ps", "--status", "pending", "--output", "jsonl"]).with_code(0);
    assert_eq!(ids(&results(&listed.stdout)), ["a"]);
    let queue = json_of(&there(&["queue", "--output", "json"]).with_code(0).stdout);
    assert_eq!((&queue["pending"], &queue["completed"]), (&json!(1), &json!(0)));
    let agents = results(&there(&["agents", "--output", "jsonl"]).with_code(0).stdout);
    assert!(agents.iter().any(|agent| agent["role"] == "orchestrator"), "{agents:?}");
    there(&["dlq", "list"]).with_code(0).said("there are no dead letters");
    there(&["dlq", "replay", "a"]).with_code(2).said("a is no dead letter but pending");
    there(&["cancel", "a"]).with_code(0).said("withdrew a");
    let watched = there(&["watch", "--settled"]).with_code(0);
    assert_eq!(watched.stdout, "cancelled a\n");
    there(&["explain", "b"]).with_code(1).said("there is no task `b` at http://127.0.0.1:");
}

#[test]
fn the_same_commands_work_on_the_data_directory() {
    let place = Place::new();
    place.ghost(&SUBMIT).with_code(3).said("llm_unavailable");
    let queue = json_of(&place.ghost(&["queue", "--output", "json"]).with_code(0).stdout);
    assert_eq!(queue["failed"], 1);
    place.ghost(&["agents"]).with_code(0).said("nobody is alive here");
    place.ghost(&["dlq", "list"]).with_code(0).said("there are no dead letters");
    place.ghost(&["dlq", "replay", "a"]).with_code(2).said("a is no dead letter but failed");
    assert_eq!(place.ghost(&["watch", "--settled"]).with_code(0).stdout, "failed a\n");
    place.ghost(&["watch", "a"]).with_code(3).said("a is failed");
}

#[test]
fn experiments_are_started_watched_and_stopped() {
    let swarm = RunningSwarm::start(1, None);
    let place = swarm.place();
    let start = ["experiment", "start", "e", "--control", "a", "--arm", "b,weight=3", "--output", "json"];
    let started = json_of(&place.ghost(&start).with_code(0).said("e runs;").stdout);
    assert_eq!((&started["running"], &started["arms"][1]["arm"]["weight"]), (&true.into(), &3.into()));
    place.ghost(&start).with_code(0).said("e runs already");
    place
        .ghost(&["experiment", "start", "f", "--control", "a", "--arm", "b"])
        .with_code(2)
        .said("e runs; stop it first");
    let status = json_of(&place.ghost(&["experiment", "status", "--output", "json"]).with_code(0).stdout);
    assert_eq!(status[0], started);
    place.ghost(&["experiment", "stop", "f"]).with_code(2).said("there is no experiment f");
    let stopped = json_of(&place.ghost(&["experiment", "stop", "e", "--output", "json"]).with_code(0).stdout);
    assert_eq!(stopped["running"], false);
}

#[test]
fn a_token_is_asked_for_and_sent() {
    let swarm = RunningSwarm::start(0, Some("s3cret"));
    let refused = swarm.place().ghost(&["ps"]).with_code(1).said("set GHOST_API_TOKEN to that of the swarm");
    assert_eq!(refused.stdout, "");
    let wrong = swarm.place().with("GHOST_API_TOKEN", "other").ghost(&["ps"]).with_code(1);
    wrong.said("set GHOST_API_TOKEN to the right one");
    swarm.place().with("GHOST_API_TOKEN", "s3cret").ghost(&["ps"]).with_code(0);
}

#[test]
fn a_swarm_that_is_not_there_is_told_with_the_next_step() {
    let place = Place::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|free| free.local_addr())
        .expect("a free port")
        .port();
    let url = format!("http://127.0.0.1:{port}");
    for command in [&["ps"][..], &["stats"], &["watch"], &["agents"], &SUBMIT] {
        let said = place.ghost(&[command, &["--url", &url]].concat()).with_code(1);
        said.said("is it running? `ghost up`");
    }
    place.ghost(&["ps", "--url", "ftp://x"]).with_code(2).said("GHOST_URL");
    place
        .ghost(&["gc", "--keep", "1", "--url", &url])
        .with_code(2)
        .said("works on the data directory of this machine");
}
