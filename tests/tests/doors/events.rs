//! A task's life, live.

use std::time::Duration;

use ghost_core::inference::scripted::Script;
use ghost_orchestrator::api::Config;
use ghost_tests::TestSwarm;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::support::{Server, checked, config, document, fits};

/// One event: its name and what it says.
type Event = (String, Value);

/// A stream of events that is read line by line.
struct Stream {
    response: Response,
    read: Vec<u8>,
}

impl Stream {
    async fn of(server: &Server, id: &str) -> Self {
        let response =
            server.request(Method::GET, &format!("/v1/tasks/{id}/events")).send().await.expect("an answer");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, read: Vec::new() }
    }

    /// What stands before the next empty line; none at the end.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.read.windows(2).position(|two| two == b"\n\n") {
                let rest = self.read.split_off(at + 2);
                let block = std::mem::replace(&mut self.read, rest);
                return Some(String::from_utf8(block).expect("UTF-8"));
            }
            let more = self.response.chunk().await.expect("the stream ends in good order")?;
            self.read.extend_from_slice(&more);
        }
    }

    async fn next(&mut self) -> Option<Event> {
        loop {
            let block = self.block().await?;
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            if let Some(data) = field("data:") {
                let name = field("event:").expect("each event has a name").to_owned();
                return Some((name, serde_json::from_str(data).expect("each event is JSON")));
            }
        }
    }

    async fn rest(mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }
}

fn task() -> Value {
    json!({ "task_id": "a", "task_type": "llm_inference", "description": "Say something.", "parameters": { "force_llm": true } })
}

#[tokio::test]
async fn a_task_is_seen_from_its_submit_to_its_end() {
    let mut swarm = TestSwarm::in_memory().workers(0).llm(Script::always("one two three")).start().await;
    let server = Server::to(swarm.handle.clone()).await;
    server.post("/v1/tasks", task()).await.with(202);
    let mut stream = Stream::of(&server, "a").await;
    let (name, first) = stream.next().await.expect("the task as it stands");
    assert_eq!((name.as_str(), &first["status"]), ("task", &json!("pending")));
    swarm.add_worker();
    let events = stream.rest().await;
    let (name, last) = events.last().expect("the task as it ended");
    assert_eq!((name.as_str(), &last["result"]["text"]), ("task", &json!("one two three")));
    fits(&document(), json!({ "$ref": "#/components/schemas/Task" }), last);
    let of = |sort: &str| {
        events.iter().filter(move |(name, _)| name == sort).map(|(_, data)| data).collect::<Vec<_>>()
    };
    let written: String = of("delta").iter().filter_map(|delta| delta["text"].as_str()).collect();
    assert_eq!(written, "one two three");
    assert!(of("status").contains(&&json!({ "status": "in_progress" })), "{events:?}");
}

#[tokio::test]
async fn what_is_settled_is_told_once_and_a_browser_that_comes_back_is_sent_home() {
    let swarm = TestSwarm::in_memory().llm(Script::always("four")).start().await;
    let server = Server::to(swarm.handle.clone()).await;
    server.post("/v1/tasks?wait=30", task()).await.with(200);
    let mut stream = Stream::of(&server, "a").await;
    let block = stream.block().await.expect("an event");
    let id = block.lines().find_map(|line| line.strip_prefix("id:")).expect("it has an id").trim().to_owned();
    assert!(block.contains("four"), "{block}");
    assert_eq!(stream.rest().await, []);
    let again =
        |id: &str| server.request(Method::GET, "/v1/tasks/a/events").header("last-event-id", id.to_owned());
    assert_eq!(again(&id).send().await.expect("an answer").status(), 204);
    assert_eq!(again("settled-7").send().await.expect("an answer").status(), 200);
    server.get("/v1/tasks/b/events").await.says(404, "task_not_found");
}

#[tokio::test]
async fn a_stream_shows_that_it_lives() {
    let swarm = TestSwarm::in_memory().workers(0).llm(Script::default()).start().await;
    let config = Config { heartbeat: Duration::from_millis(20), ..config(None) };
    let server = Server::with(config, swarm.handle.clone()).await;
    server.post("/v1/tasks", task()).await.with(202);
    let mut stream = Stream::of(&server, "a").await;
    while !stream.block().await.expect("it goes on").starts_with(':') {}
}

#[tokio::test]
async fn watchers_are_bounded_and_leave_their_place_to_others() {
    let swarm = TestSwarm::in_memory().workers(0).llm(Script::default()).start().await;
    let server = Server::with(Config { watchers: 1, ..config(None) }, swarm.handle.clone()).await;
    server.post("/v1/tasks", task()).await.with(202);
    let mut stream = Stream::of(&server, "a").await;
    stream.next().await.expect("the task as it stands");
    let refused = server.get("/v1/tasks/a/events").await.says(503, "too_many_watchers");
    assert_eq!(refused.header("retry-after"), "5");
    server.get("/v1/tasks/a?wait=30").await.says(503, "too_many_watchers");
    server.delete("/v1/tasks/a").await.with(200);
    assert_eq!(stream.rest().await.last().expect("an end").1["status"], "cancelled");
    // The place is free once the stream has ended on the door's side as well.
    loop {
        let response = server.request(Method::GET, "/v1/tasks/a/events").send().await.expect("an answer");
        if checked(&Method::GET, "/v1/tasks/a/events", response).await.status == 200 {
            break;
        }
    }
}

#[tokio::test]
async fn whoever_waits_is_told_how_things_stand_when_the_door_closes() {
    let swarm = TestSwarm::in_memory().workers(0).llm(Script::default()).start().await;
    let server = Server::to(swarm.handle.clone()).await;
    server.post("/v1/tasks", task()).await.with(202);
    let mut stream = Stream::of(&server, "a").await;
    stream.next().await.expect("the task as it stands");
    server.shutdown.cancel();
    assert_eq!(stream.rest().await, [], "it ends in good order");
}
