//! Ghosts that join over WebSocket: they register, find each other, work, fall silent, and are fenced; through one hub
//! or several, which all stand in front of the same broker.

use std::sync::Arc;
use std::time::Duration;

use ghost_a2a::SUBPROTOCOL;
use ghost_a2a::error::{
    FORBIDDEN, GAP, INTERNAL, INVALID_PARAMS, LEASE_LOST, RpcError, STALE_EPOCH, UNAUTHENTICATED, UNREACHABLE,
};
use ghost_a2a::session::{self, CallError, Ended, Listening, Mute, Peer, Session, websocket_config};
use ghost_a2a_hub::{Config, Deps, Handle};
use ghost_core::broker::{Broker, News, reap};
use ghost_core::config::{Config as Settings, Secret, Sources};
use ghost_core::lifecycle::{Evaluation, Record, State};
use ghost_core::messages::{AgentInfo, AgentStatus, Role};
use ghost_core::task::Status;
use ghost_tests::{Line, TestSwarm};
use serde_json::{Map, Value, json};
use tokio::io::duplex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;
use tokio_util::sync::CancellationToken;

/// A hub in this process, over the line that it is given.
#[derive(Clone)]
struct Hub {
    handle: Handle,
    shutdown: CancellationToken,
}

impl Hub {
    async fn over(line: &Line) -> Self {
        Self::with(Config::default(), line).await
    }

    async fn with(config: Config, line: &Line) -> Self {
        let handle =
            Handle::new(config, Deps { broker: Arc::new(line.clone()) }).await.expect("a store that answers");
        let shutdown = CancellationToken::new();
        let (background, stop) = (handle.clone(), shutdown.clone());
        tokio::spawn(async move { background.look_after(stop).await });
        Self { handle, shutdown }
    }

    /// A caller over a pipe.
    async fn call(&self) -> Caller {
        self.call_with(None).await.expect("a hub that lets us in")
    }

    async fn call_with(&self, bearer: Option<&str>) -> Result<Caller, String> {
        let (near, far) = duplex(256 << 10);
        let (handle, shutdown) = (self.handle.clone(), self.shutdown.clone());
        tokio::spawn(async move { handle.attend(far, shutdown).await });
        let mut request = ClientRequestBuilder::new("ws://hub/".parse().expect("an address"))
            .with_sub_protocol(SUBPROTOCOL);
        if let Some(bearer) = bearer {
            request = request.with_header("Authorization", format!("Bearer {bearer}"));
        }
        let (socket, _) = client_async_with_config(request, near, Some(websocket_config()))
            .await
            .map_err(|error| error.to_string())?;
        let session = Session::new(socket, Arc::new(Mute), session::Config::default());
        Ok(Caller { peer: session.peer(), running: tokio::spawn(session.run()) })
    }
}

struct Caller {
    peer: Peer,
    running: JoinHandle<Ended>,
}

impl Caller {
    async fn ask(&self, method: &str, params: Value) -> Result<Value, RpcError> {
        match self.peer.call(method, object(params)).await {
            Ok(value) => Ok(value),
            Err(CallError::Refused(error)) => Err(error),
            Err(error) => panic!("{method}: {error}"),
        }
    }

    async fn must(&self, method: &str, params: Value) -> Value {
        self.ask(method, params.clone()).await.unwrap_or_else(|error| panic!("{method} {params}: {error}"))
    }

    async fn refused(&self, method: &str, params: Value) -> i64 {
        match self.ask(method, params.clone()).await {
            Ok(value) => panic!("{method} {params} was not refused: {value}"),
            Err(error) => error.code,
        }
    }

    /// Joins as this agent with the capability `shout`; its proof.
    async fn join(&self, agent: &str, instance: &str) -> Value {
        let joins =
            json!({"agentId": agent, "instanceId": instance, "capabilities": ["shout"], "maxLoad": 4});
        let joined = self.must("ghost.registry.register", joins).await;
        json!({"agentId": agent, "leaseId": joined["leaseId"], "epoch": joined["epoch"]})
    }

    /// One task.
    async fn claim(&self) -> Value {
        let claimed = self.must("ghost.work.claim", json!({"waitMs": 30_000})).await;
        claimed["tasks"][0].clone()
    }

    async fn report(&self, task: &Value, said: Value) -> Result<Value, RpcError> {
        self.ask("ghost.work.report", with(held(task), said)).await
    }

    async fn watch(&self) -> Listening {
        self.peer.listen("ghost.registry.watch", Map::new()).await.expect("a stream")
    }

    async fn hang_up(self) {
        self.running.abort();
        // It was aborted: there is nothing to learn from it.
        let _ = self.running.await;
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("{other} is no object"),
    }
}

fn with(mut value: Value, more: Value) -> Value {
    value.as_object_mut().expect("an object").extend(object(more));
    value
}

/// What proves that a task is ours.
fn held(task: &Value) -> Value {
    json!({"taskId": task["taskId"], "lease": task["lease"]})
}

fn shout(text: &str) -> Value {
    json!({"task_type": "shout", "description": text, "parameters": {"capability": "shout"}})
}

fn text(record: &Record) -> String {
    match &record.state {
        State::Completed(answer) => format!("{}: {}", answer.provider.name(), answer.text),
        State::Failed(failure) => failure.to_string(),
        other => format!("{other:?}"),
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn secret() -> Secret {
    let sources = Sources::of_process(vec![("GHOST_API_TOKEN".to_owned(), "s3cret".to_owned())]);
    Settings::load(sources).expect("sound settings").service.api_token.expect("it was set")
}

#[tokio::test(start_paused = true)]
async fn a_hub_counts_who_is_there() {
    let swarm = TestSwarm::in_memory().workers(0).start().await;
    let hub = Hub::over(&swarm.line()).await;
    assert_eq!(hub.handle.connections(), 0);
    let callers = [hub.call().await, hub.call().await];
    assert_eq!(hub.handle.connections(), 2);
    for caller in callers {
        caller.hang_up().await;
    }
    while hub.handle.connections() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_foreign_ghost_claims_reports_and_is_judged_like_any_worker() {
    let swarm = TestSwarm::in_memory().workers(0).start().await;
    let hub = Hub::over(&swarm.line()).await;
    let ghost = hub.call().await;
    ghost.join("ann", "one").await;
    let mut news = swarm.line().subscribe().await.expect("a store that answers");

    let key = swarm.submit(with(shout("hello"), json!({"task_id": "t-1"}))).await;
    let task = ghost.claim().await;
    assert_eq!((&task["taskId"], &task["request"]["description"]), (&json!("t-1"), &json!("hello")));
    assert_eq!(swarm.look(&key).await.status(), Status::InProgress);
    ghost.report(&task, json!({"delta": "HEL"})).await.expect("it is ours");
    ghost.must("ghost.work.renew", with(held(&task), json!({"leaseMs": 60_000}))).await;
    let call = json!({"provider": "llm", "model": "some-model", "inputTokens": 7, "outputTokens": 3, "costMicroUsd": 42});
    let said = json!({"result": {"text": "HELLO", "confidence": 0.9}, "call": call});
    assert_eq!(ghost.report(&task, said).await, Ok(json!({"status": "completed"})));

    let record = swarm.settled(&key).await;
    assert_eq!((text(&record), record.deliveries), ("llm: HELLO".to_owned(), 1));
    assert_eq!((record.spent.cost_micro_usd, record.spent.usage.output_tokens), (42, 3));
    let delta = loop {
        if let Some(News::Delta(_, delta)) = news.next().await {
            break delta;
        }
    };
    assert_eq!(delta, "HEL");

    // An answer that took no model counts as the local model's, and an evaluator judges it.
    let key = swarm.submit(shout("goodbye")).await;
    let task = ghost.claim().await;
    let answered = ghost.report(&task, json!({"result": {"text": "GOODBYE"}})).await;
    assert_eq!(answered, Ok(json!({"status": "in_progress"})));
    let record = swarm.settled(&key).await;
    assert_eq!(text(&record), "slm: GOODBYE");
    assert_eq!(record.judgements[0].evaluation, Evaluation::Full);
}

#[tokio::test(start_paused = true)]
async fn where_no_evaluator_is_alive_the_hub_judges_the_form() {
    let swarm = TestSwarm::in_memory().workers(0).evaluators(0).start().await;
    let hub = Hub::over(&swarm.line()).await;
    let ghost = hub.call().await;
    ghost.join("ann", "one").await;
    // Reported while an evaluator may still come.
    let early = swarm.submit(shout("early")).await;
    let task = ghost.claim().await;
    ghost.report(&task, json!({"result": {"text": "EARLY"}})).await.expect("it is ours");
    let record = swarm.settled(&early).await;
    assert_eq!(record.judgements[0].evaluation, Evaluation::FormalOnly);

    sleep(seconds(5)).await;
    ghost.join("ann", "one").await;
    let schema = json!({"type": "integer"});
    let task = json!({"task_type": "count", "description": "how many?", "parameters": {"capability": "shout", "schema": schema}});
    let late = swarm.submit(task).await;
    let task = ghost.claim().await;
    let rejected = ghost.report(&task, json!({"result": {"text": "many"}})).await;
    assert_eq!(rejected, Ok(json!({"status": "pending"})), "the form is wrong: another try");
    let task = ghost.claim().await;
    assert_eq!((&task["previous"], &task["critique"][0]["kind"]), (&json!("many"), &json!("schema")));
    assert_eq!(ghost.report(&task, json!({"result": {"json": 7}})).await, Ok(json!({"status": "completed"})));
    let State::Completed(answer) = swarm.settled(&late).await.state else { panic!("it was accepted") };
    assert_eq!((answer.text.as_str(), answer.json), ("7", Some(json!(7))));
}

#[tokio::test(start_paused = true)]
async fn only_who_offers_a_capability_gets_its_tasks_and_a_task_that_nobody_takes_names_it() {
    let swarm = TestSwarm::in_memory().workers(0).start().await;
    let line = swarm.line();
    let hub = Hub::over(&line).await;
    let ghost = hub.call().await;
    assert_eq!(ghost.refused("ghost.work.claim", json!({})).await, FORBIDDEN, "it has not registered");
    ghost.join("ann", "one").await;
    let key = swarm
        .submit(json!({"task_type": "x", "description": "y", "parameters": {"capability": "whisper"}}))
        .await;
    assert_eq!(ghost.must("ghost.work.claim", json!({})).await, json!({"tasks": []}));
    let other = json!({"capabilities": ["whisper"]});
    assert_eq!(ghost.refused("ghost.work.claim", other).await, FORBIDDEN);

    sleep(seconds(61)).await;
    reap(&line, seconds(60)).await.expect("a store that answers");
    assert_eq!(
        text(&swarm.look(&key).await),
        "expired: waited 60 s, and nobody offered the capability `whisper`"
    );
}

#[tokio::test(start_paused = true)]
async fn a_claim_waits_for_work_and_gives_up_in_time() {
    let swarm = TestSwarm::in_memory().workers(0).start().await;
    let hub = Hub::over(&swarm.line()).await;
    let ghost = hub.call().await;
    ghost.join("ann", "one").await;
    let began = Instant::now();
    assert_eq!(ghost.must("ghost.work.claim", json!({"waitMs": 3000})).await, json!({"tasks": []}));
    assert!(began.elapsed() >= seconds(3) && began.elapsed() < seconds(4), "{:?}", began.elapsed());

    let began = Instant::now();
    let (task, key) = tokio::join!(ghost.claim(), async {
        sleep(Duration::from_millis(500)).await;
        swarm.submit(shout("hello")).await
    });
    assert_eq!(task["taskId"], json!(key.id));
    assert!(began.elapsed() < seconds(1), "news woke it: {:?}", began.elapsed());
    for nonsense in [
        json!({"limit": 0}),
        json!({"limit": 65}),
        json!({"waitMs": 30_001}),
        json!({"leaseMs": 1}),
        json!({"max": 1}),
    ] {
        assert_eq!(ghost.refused("ghost.work.claim", nonsense).await, INVALID_PARAMS);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_reported_late_changes_nothing_and_its_cost_is_counted_once() {
    let swarm = TestSwarm::in_memory().workers(0).start().await;
    let hub = Hub::over(&swarm.line()).await;
    let (slow, quick) = (hub.call().await, hub.call().await);
    slow.join("slow", "one").await;
    let key = swarm.submit(shout("hello")).await;
    let stale = slow.claim().await;

    // Its lease of 30 s ends, and another ghost gets the task.
    sleep(seconds(61)).await;
    quick.join("quick", "one").await;
    let fresh = quick.claim().await;
    assert_eq!((&fresh["taskId"], &fresh["delivery"]), (&stale["taskId"], &json!(2)));
    let call = json!({"provider": "llm", "model": "m", "durationMs": 5, "costMicroUsd": 10});
    for _ in 0..3 {
        let late = slow.report(&stale, json!({"result": {"text": "STALE"}, "call": call})).await;
        let error = late.expect_err("it has no lease any more");
        assert_eq!((error.code, error.data), (LEASE_LOST, Some(json!({"status": "in_progress"}))));
    }
    assert_eq!(slow.refused("ghost.work.renew", held(&stale)).await, LEASE_LOST);
    assert_eq!(slow.refused("ghost.work.release", held(&stale)).await, LEASE_LOST);
    assert_eq!(slow.report(&stale, json!({"delta": "x"})).await.expect_err("no lease").code, LEASE_LOST);

    quick.report(&fresh, json!({"result": {"text": "FRESH"}})).await.expect("it is ours");
    let record = swarm.settled(&key).await;
    assert_eq!((text(&record), record.spent.cost_micro_usd), ("slm: FRESH".to_owned(), 10));
    // A report that is repeated, as its answer was lost, says how the task ended and changes nothing.
    let again = quick.report(&fresh, json!({"result": {"text": "AGAIN"}})).await.expect_err("it is settled");
    assert_eq!(again.data, Some(json!({"status": "completed"})));
    assert_eq!(text(&swarm.look(&key).await), "slm: FRESH");
}

#[tokio::test(start_paused = true)]
async fn a_task_can_be_failed_put_off_released_and_withdrawn() {
    let swarm = TestSwarm::in_memory().workers(0).start().await;
    let hub = Hub::over(&swarm.line()).await;
    let ghost = hub.call().await;
    ghost.join("ann", "one").await;
    let key = swarm.submit(shout("hello")).await;

    let released = ghost.claim().await;
    assert_eq!(ghost.must("ghost.work.release", held(&released)).await, json!({"status": "pending"}));
    let postponed = ghost.claim().await;
    assert_eq!(postponed["delivery"], 1, "what is given back in good order is no delivery");
    ghost.report(&postponed, json!({"postponeMs": 5000})).await.expect("it is ours");
    let began = Instant::now();
    let task = ghost.claim().await;
    assert!(began.elapsed() >= seconds(5));
    let failure = json!({"failure": {"code": "no_voice", "message": "I am hoarse"}});
    assert_eq!(ghost.report(&task, failure).await, Ok(json!({"status": "failed"})));
    assert_eq!(text(&swarm.look(&key).await), "no_voice: I am hoarse");

    let key = swarm.submit(shout("again")).await;
    let task = ghost.claim().await;
    swarm.handle.cancel(&key).await.expect("it is not settled");
    let withdrawn = ghost.ask("ghost.work.renew", held(&task)).await.expect_err("it was withdrawn");
    assert_eq!(withdrawn.data, Some(json!({"status": "cancelled"})));

    for nonsense in [
        json!({}),
        json!({"delta": "x", "postponeMs": 1}),
        json!({"result": {}}),
        json!({"result": {"text": "x", "confidence": 2}}),
        json!({"failure": {"code": "Not a code", "message": ""}}),
        json!({"postponeMs": 100_000_000}),
        json!({"result": {"text": "x"}, "call": {"provider": "llm", "model": ""}}),
        json!({"results": {"text": "x"}}),
    ] {
        let refused = ghost.report(&task, nonsense.clone()).await.expect_err("it makes no sense");
        assert_eq!(refused.code, INVALID_PARAMS, "{nonsense}");
    }
}

#[tokio::test(start_paused = true)]
async fn two_hubs_are_doors_to_one_swarm() {
    let swarm = TestSwarm::in_memory().workers(0).start().await;
    let (one, other) = (Hub::over(&swarm.line()).await, Hub::over(&swarm.line()).await);
    let (ann, bob) = (one.call().await, other.call().await);
    let proof = ann.join("ann", "one").await;
    sleep(seconds(1)).await;
    assert_eq!(
        bob.must("ghost.registry.resolve", json!({"agentId": "ann"})).await["capabilities"],
        json!(["shout"])
    );
    assert_eq!(bob.refused("ghost.registry.resolve", json!({"agentId": "eve"})).await, UNREACHABLE);

    // What one hub handed out is reported to the other; a registration is renewed there too.
    let key = swarm.submit(shout("hello")).await;
    let task = ann.claim().await;
    ann.hang_up().await;
    let ann = other.call().await;
    ann.must("ghost.registry.renew", proof).await;
    ann.report(&task, json!({"result": {"text": "HELLO"}})).await.expect("the lease lives in the store");
    assert_eq!(text(&swarm.settled(&key).await), "slm: HELLO");
    let key = swarm.submit(shout("more")).await;
    assert_eq!(ann.claim().await["taskId"], json!(key.id));
}

#[tokio::test(start_paused = true)]
async fn a_new_instance_fences_the_old_one_at_every_hub() {
    let swarm = TestSwarm::in_memory().workers(0).start().await;
    let (one, other) = (Hub::over(&swarm.line()).await, Hub::over(&swarm.line()).await);
    let (old, new) = (one.call().await, other.call().await);
    let old_proof = old.join("ann", "first").await;
    let new_proof = new.join("ann", "second").await;
    assert!(new_proof["epoch"].as_u64() > old_proof["epoch"].as_u64());
    // The other hub learns of it within a second.
    sleep(seconds(1)).await;
    swarm.submit(shout("hello")).await;
    assert_eq!(old.refused("ghost.work.claim", json!({})).await, STALE_EPOCH);
    assert_eq!(old.refused("ghost.registry.renew", old_proof.clone()).await, STALE_EPOCH);
    assert_eq!(old.refused("ghost.health.report", json!({"status": "idle"})).await, STALE_EPOCH);
    assert_eq!(old.refused("ghost.registry.deregister", old_proof.clone()).await, STALE_EPOCH);
    let invented = with(new_proof.clone(), json!({"leaseId": "guessed"}));
    assert_eq!(old.refused("ghost.registry.renew", invented).await, LEASE_LOST);
    new.must("ghost.registry.renew", new_proof).await;
    assert_eq!(new.claim().await["request"]["description"], "hello");
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_did_not_know_yet_is_overruled_at_the_next_renewal() {
    let swarm = TestSwarm::in_memory().workers(0).start().await;
    let (one, other) = (Hub::over(&swarm.line()).await, Hub::over(&swarm.line()).await);
    let (old, new) = (one.call().await, other.call().await);
    let old_proof = old.join("ann", "first").await;
    old.must("ghost.registry.renew", old_proof.clone()).await;
    let new_proof = new.join("ann", "second").await;
    // In the same second the first hub still believes the old instance, and writes it over the new one.
    old.must("ghost.registry.renew", old_proof.clone()).await;
    sleep(seconds(5)).await;
    new.must("ghost.registry.renew", new_proof.clone()).await;
    sleep(seconds(1)).await;
    assert_eq!(old.refused("ghost.registry.renew", old_proof).await, STALE_EPOCH);
    new.must("ghost.registry.renew", new_proof).await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_ghost_is_suspect_and_then_down() {
    let swarm = TestSwarm::in_memory().workers(0).start().await;
    let hub = Hub::over(&swarm.line()).await;
    let (ghost, looker) = (hub.call().await, hub.call().await);
    let proof = ghost.join("ann", "one").await;
    let health =
        async || looker.must("ghost.health.check", json!({"agentId": "ann"})).await["health"].clone();
    assert_eq!(health().await, "up");
    sleep(seconds(6)).await;
    assert_eq!(health().await, "up");
    sleep(seconds(6)).await;
    assert_eq!(health().await, "suspect");
    ghost.must("ghost.registry.renew", proof.clone()).await;
    assert_eq!(health().await, "up");
    sleep(seconds(16)).await;
    assert_eq!(health().await, "down");
    assert_eq!(ghost.refused("ghost.registry.renew", proof).await, LEASE_LOST);
    assert_eq!(
        looker.must("ghost.registry.discover", json!({"skills": ["shout"]})).await["agents"],
        json!([])
    );
    // It joins again, as the same instance.
    ghost.join("ann", "one").await;
    assert_eq!(health().await, "up");
}

#[tokio::test(start_paused = true)]
async fn a_watcher_gets_a_snapshot_and_then_every_change_with_its_number() {
    let swarm = TestSwarm::in_memory().workers(0).evaluators(0).start().await;
    let (one, other) = (Hub::over(&swarm.line()).await, Hub::over(&swarm.line()).await);
    let (ann, bob, looker) = (one.call().await, other.call().await, one.call().await);
    let proof = ann.join("ann", "one").await;
    let mut watching = looker.watch().await;
    let mut next = async || watching.next().await.expect("the stream goes on").expect("a part");
    let first = next().await;
    let names = |agents: &Value| -> Vec<String> {
        let agents = agents.as_array().expect("a list").iter();
        agents.map(|agent| agent["agentId"].as_str().unwrap_or_default().to_owned()).collect()
    };
    assert!(names(&first.value["snapshot"]).contains(&"ann".to_owned()));
    assert_eq!(first.value["more"], false);

    let mut seq = first.position.seq;
    let mut change = async |of: &str| loop {
        let part = next().await;
        seq += 1;
        assert_eq!((part.position.seq, part.position.epoch), (seq, first.position.epoch), "none is missing");
        if part.value["agent"]["agentId"] == of {
            let agent = &part.value["agent"];
            return (part.value["change"].clone(), agent["health"].clone(), agent["currentLoad"].clone());
        }
    };
    bob.join("bob", "one").await;
    assert_eq!(change("bob").await, (json!("joined"), json!("up"), json!(0)));
    ann.must("ghost.health.report", json!({"status": "busy", "currentLoad": 3})).await;
    assert_eq!(change("ann").await, (json!("changed"), json!("up"), json!(3)));
    assert_eq!(change("bob").await.1, "suspect");
    assert_eq!(change("bob").await, (json!("down"), json!("down"), Value::Null));
    ann.must("ghost.registry.register", json!({"agentId": "ann", "instanceId": "one"})).await;
    let leaves = ann.must("ghost.registry.register", json!({"agentId": "ann", "instanceId": "one"})).await;
    ann.must("ghost.registry.deregister", with(proof, json!({"leaseId": leaves["leaseId"]}))).await;
    while change("ann").await.0 != "down" {}
}

#[tokio::test(start_paused = true)]
async fn a_watcher_that_reads_too_slowly_is_cut_off_with_a_gap() {
    let swarm = TestSwarm::in_memory().workers(0).start().await;
    let hub = Hub::over(&swarm.line()).await;
    let (ann, looker) = (hub.call().await, hub.call().await);
    ann.join("ann", "one").await;
    let mut watching = looker.watch().await;
    for load in 1..=2000 {
        ann.must("ghost.health.report", json!({"currentLoad": load})).await;
    }
    let mut parts = 0;
    let error = loop {
        match watching.next().await {
            Some(Ok(_)) => parts += 1,
            Some(Err(error)) => break error,
            None => panic!("it ended without a word"),
        }
    };
    assert_eq!(error.code, GAP);
    assert!(parts < 2000);
    // A new watch begins with how it is now.
    let mut watching = looker.watch().await;
    let now = watching.next().await.expect("a snapshot").expect("a snapshot").value;
    assert!(now["snapshot"].as_array().expect("a list").iter().any(|agent| agent["currentLoad"] == 2000));
}

#[tokio::test(start_paused = true)]
async fn agents_are_found_page_by_page_and_services_are_among_them() {
    let swarm = TestSwarm::in_memory().workers(1).start().await;
    let hub = Hub::over(&swarm.line()).await;
    let caller = hub.call().await;
    for n in 0..7 {
        caller.join(&format!("ghost {n}"), "one").await;
    }
    let (mut found, mut token) = (Vec::new(), Value::Null);
    loop {
        let query = json!({"skills": ["shout"], "limit": 3, "pageToken": token});
        let page = caller.must("ghost.registry.discover", query).await;
        let agents = page["agents"].as_array().expect("a list");
        assert!(agents.len() <= 3);
        found.extend(agents.iter().map(|agent| agent["agentId"].as_str().unwrap_or_default().to_owned()));
        token = page["nextPageToken"].clone();
        if token.is_null() {
            break;
        }
    }
    assert_eq!(found, (0..7).map(|n| format!("ghost {n}")).collect::<Vec<_>>());
    let workers = caller.must("ghost.registry.discover", json!({"skills": ["inference"]})).await;
    let worker = &workers["agents"][0];
    assert_eq!(worker["role"], "worker");
    // Its name is not for others.
    let takes = json!({"agentId": worker["agentId"], "instanceId": "x"});
    assert_eq!(caller.refused("ghost.registry.register", takes).await, FORBIDDEN);
}

#[tokio::test(start_paused = true)]
async fn who_does_not_know_the_token_gets_nothing() {
    let line = Line::to_new_store();
    let hub = Hub::with(Config { token: Some(secret()), ..Config::default() }, &line).await;
    let refused = hub.call_with(Some("wrong")).await.err().expect("it is not let in");
    assert!(refused.contains("401"), "{refused}");
    let known = hub.call_with(Some("s3cret")).await.expect("it is let in");
    known.must("ghost.health.check", json!({})).await;

    let stranger = hub.call().await;
    for method in ["ghost.health.check", "ghost.work.claim", "no.such.method"] {
        assert_eq!(stranger.refused(method, json!({})).await, UNAUTHENTICATED);
    }
    assert_eq!(stranger.refused("ghost.session.hello", json!({})).await, UNAUTHENTICATED);
    let hello = stranger.must("ghost.session.hello", json!({"token": "s3cret"})).await;
    assert_eq!((&hello["protocol"], &hello["limits"]["inFlight"]), (&json!("ghost-a2a.v1"), &json!(256)));
    stranger.must("ghost.health.check", json!({})).await;

    let guesser = hub.call().await;
    assert_eq!(guesser.refused("ghost.session.hello", json!({"token": "guess"})).await, UNAUTHENTICATED);
    guesser.running.await.expect("one guess, and it is sent away");

    let began = Instant::now();
    let silent = hub.call().await;
    silent.running.await.expect("who does not say hello is sent away");
    assert_eq!(began.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_is_told_and_comes_back() {
    let line = Line::to_new_store();
    let cut = Arc::new(line.clone());
    let handle =
        Handle::new(Config::default(), Deps { broker: cut.clone() }).await.expect("a store that answers");
    let hub = Hub { handle, shutdown: CancellationToken::new() };
    let caller = hub.call().await;
    caller.join("ann", "one").await;
    cut.cut(true);
    sleep(seconds(2)).await;
    let error = caller.ask("ghost.work.claim", json!({})).await.expect_err("the store is away");
    assert_eq!((error.code, error.data), (INTERNAL, Some(json!({"retryAfterMs": 1000}))));
    cut.cut(false);
    caller.must("ghost.work.claim", json!({})).await;
}

#[tokio::test(start_paused = true)]
async fn a_task_that_no_frame_can_carry_fails_with_words_and_more_than_fit_are_given_back() {
    let swarm = TestSwarm::in_memory().workers(0).start().await;
    let hub = Hub::over(&swarm.line()).await;
    let ghost = hub.call().await;
    ghost.join("ann", "one").await;
    let huge = with(
        shout("x"),
        json!({"parameters": {"capability": "shout", "prompt": "\\u0001\n".repeat(130_000)}}),
    );
    let key = swarm.submit(huge).await;
    assert_eq!(ghost.must("ghost.work.claim", json!({})).await, json!({"tasks": []}));
    assert!(text(&swarm.look(&key).await).starts_with("too_large: "), "{}", text(&swarm.look(&key).await));

    for _ in 0..4 {
        swarm.submit(shout(&"x".repeat(400_000))).await;
    }
    let claimed = ghost.must("ghost.work.claim", json!({"limit": 64})).await;
    assert_eq!(claimed["tasks"].as_array().expect("a list").len(), 2);
    let claimed = ghost.must("ghost.work.claim", json!({"limit": 64})).await;
    assert_eq!(claimed["tasks"].as_array().expect("a list").len(), 2);
    assert_eq!(claimed["tasks"][0]["delivery"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_ends_lets_those_who_wait_go_and_keeps_nothing() {
    let swarm = TestSwarm::in_memory().workers(0).start().await;
    let hub = Hub::over(&swarm.line()).await;
    let ghost = hub.call().await;
    ghost.join("ann", "one").await;
    let (claimed, ()) = tokio::join!(ghost.ask("ghost.work.claim", json!({"waitMs": 30_000})), async {
        sleep(seconds(1)).await;
        hub.shutdown.cancel();
    });
    assert_eq!(claimed, Ok(json!({"tasks": []})));
    assert_eq!(ghost.running.await.expect("no panic"), Ended::Left);
    // The next hub knows the ghost, as its record lies in the store.
    let next = Hub::over(&swarm.line()).await;
    let looker = next.call().await;
    assert_eq!(looker.must("ghost.health.check", json!({"agentId": "ann"})).await["health"], "up");
}

#[tokio::test(start_paused = true)]
async fn what_joins_as_an_evaluator_is_refused_so_that_no_answer_waits_for_it() {
    let line = Line::to_new_store();
    let hub = Hub::over(&line).await;
    let joins = json!({"instanceId": "one", "role": "evaluator"});
    assert_eq!(hub.call().await.refused("ghost.registry.register", joins).await, INVALID_PARAMS);
}

/// A hub opens its door only to callers on its own machine, unless it can ask for a token.
#[tokio::test]
async fn beyond_this_machine_a_hub_needs_a_token() {
    let open = async |token: Option<Secret>, allow_anonymous: bool| {
        let config =
            Config { host: "0.0.0.0".to_owned(), port: 0, token, allow_anonymous, ..Config::default() };
        ghost_a2a_hub::Hub::build(config, Deps { broker: Arc::new(Line::to_new_store()) }).await.map(|_| ())
    };
    let refused = open(None, false).await.expect_err("strangers could come in").to_string();
    assert!(refused.contains("GHOST_API_TOKEN"), "{refused}");
    open(Some(secret()), false).await.expect("strangers are asked");
    open(None, true).await.expect("its user says so");
}

/// A ghost's own record is what every service of the swarm sees of it.
#[tokio::test(start_paused = true)]
async fn the_swarm_sees_a_foreign_ghost_like_any_other_agent() {
    let line = Line::to_new_store();
    let hub = Hub::over(&line).await;
    let ghost = hub.call().await;
    ghost.join("ann", "one").await;
    let agents: Vec<AgentInfo> = line.agents().await.expect("a store that answers");
    let [agent] = &agents[..] else { panic!("one agent, not {agents:?}") };
    assert_eq!((agent.agent_id.as_str(), agent.role, agent.status), ("ann", Role::Worker, AgentStatus::Idle));
    assert_eq!((&agent.capabilities[..], agent.max_load), (&["shout".to_owned()][..], 4));
}
