//! Tasks through the door: in, looked at, listed, withdrawn, taken up again.

use std::time::Duration;

use ghost_core::broker::{Broker, Claim, reap};
use ghost_core::id::{BatchId, TaskId};
use ghost_core::inference::scripted::Script;
use ghost_core::lifecycle::{DEFAULT_CAPABILITY, MAX_DELIVERIES, Stage};
use ghost_core::task::TaskRequest;
use ghost_orchestrator::api;
use ghost_tests::{Line, TestSwarm};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Server, checked, document};

fn task(id: &str) -> Value {
    json!({ "task_id": id, "task_type": "llm_inference", "description": "Say something.", "parameters": { "force_llm": true } })
}

/// A swarm whose LLM says `four`, and a door to it.
async fn answering() -> (TestSwarm, Server) {
    let swarm = TestSwarm::in_memory().llm(Script::always("four")).start().await;
    let server = Server::to(swarm.handle.clone()).await;
    (swarm, server)
}

/// A swarm in which nobody works, and a door to it.
async fn idle() -> (TestSwarm, Server) {
    let swarm = TestSwarm::in_memory().workers(0).llm(Script::always("four")).start().await;
    let server = Server::to(swarm.handle.clone()).await;
    (swarm, server)
}

/// Every task in the queue is claimed and left, until it is a dead letter.
async fn abandon(line: &Line) {
    for _ in 0..MAX_DELIVERIES {
        let claim = Claim {
            stage: Stage::Infer,
            holder: "worker-that-vanishes".parse().expect("an id"),
            capabilities: vec![DEFAULT_CAPABILITY.to_owned()],
            limit: 64,
            lease: Duration::ZERO,
            begins: false,
        };
        line.claim(&claim).await.expect("claims succeed");
        reap(line, Duration::from_secs(3600)).await.expect("the store answers");
    }
}

fn ids(listed: &Value) -> Vec<&str> {
    let tasks = listed["tasks"].as_array().expect("a list");
    tasks.iter().map(|task| task["task_id"].as_str().expect("an id")).collect()
}

#[tokio::test]
async fn every_route_and_method_is_in_the_document_and_nothing_else() {
    let (_swarm, server) = idle().await;
    let served = server.get("/openapi.json").await.with(200).json;
    assert_eq!(served, document(), "the door serves what it is held against");
    let documented: Vec<&String> = served["paths"].as_object().expect("paths").keys().collect();
    assert_eq!(documented, api::paths());
    for (path, operations) in served["paths"].as_object().expect("paths") {
        let refused =
            server.request(Method::PATCH, &path.replace("{id}", "x")).send().await.expect("an answer");
        assert_eq!(refused.status(), 405, "{path}");
        let allowed = refused.headers()["allow"].to_str().expect("text").to_owned();
        let mut allowed: Vec<String> =
            allowed.split(',').map(|method| method.trim().to_lowercase()).collect();
        // Whoever may GET may also ask for the head alone.
        allowed.retain(|method| method != "head");
        allowed.sort();
        let mut told: Vec<String> = operations.as_object().expect("operations").keys().cloned().collect();
        told.sort();
        assert_eq!(allowed, told, "{path}");
    }
    let index = server.get("/").await.with(200).json;
    assert!(index.as_str().expect("a text").contains("/openapi.json"));
}

#[tokio::test]
async fn a_task_goes_in_and_its_answer_comes_out() {
    let (_swarm, server) = answering().await;
    let accepted = server.post("/v1/tasks", task("a b/c")).await.with(202);
    assert_eq!(accepted.header("location"), "/v1/tasks/a%20b%2Fc");
    let settled = server.get(&format!("{}?wait=30", accepted.header("location"))).await.with(200);
    assert_eq!(
        (&settled.json["task_id"], &settled.json["result"]["text"]),
        (&json!("a b/c"), &json!("four"))
    );
    let record = server.get("/v1/tasks/a%20b%2Fc?view=record").await.with(200).json;
    assert_eq!(record["request"]["description"], "Say something.");
    let settled = server
        .post(
            "/v1/tasks?wait=30",
            json!({"task_type": "llm_inference", "description": "Hello", "parameters": {"force_llm": true}}),
        )
        .await;
    assert_eq!(settled.with(200).json["result"]["text"], "four", "waited for, and with an id that was made");
}

#[tokio::test]
async fn the_same_request_again_is_the_same_task_and_another_one_a_conflict() {
    let (swarm, server) = idle().await;
    server.post("/v1/tasks", task("a")).await.with(202);
    let again = server.post("/v1/tasks", task("a")).await.with(200);
    assert_eq!((again.json["status"].as_str(), again.header("location")), (Some("pending"), "/v1/tasks/a"));
    let mut other = task("a");
    other["description"] = json!("Say something else.");
    let refused = server.post("/v1/tasks", other).await.says(409, "id_conflict");
    assert!(refused.message().contains("another task has the id a"), "{}", refused.message());
    assert_eq!(swarm.counters().await["tasks.submitted"], 1);
}

#[tokio::test]
async fn an_array_is_accepted_as_a_whole_and_told_one_by_one() {
    let (_swarm, server) = idle().await;
    server.post("/v1/tasks", task("known")).await.with(202);
    let mut other = task("known");
    other["priority"] = json!(9);
    let told = server.post("/v1/tasks", json!([task("new"), task("known"), other])).await.with(202).json;
    let outcomes: Vec<&Value> =
        told["tasks"].as_array().expect("a list").iter().map(|one| &one["outcome"]).collect();
    assert_eq!(outcomes, ["new", "known", "conflict"]);
    server.post("/v1/tasks", json!([task("new"), task("known")])).await.with(200);
    let refused =
        server.post("/v1/tasks", json!([task("first"), {"task_type": "x"}])).await.says(422, "invalid_task");
    assert!(refused.message().starts_with("task 2: missing field `description`"), "{}", refused.message());
    server.get("/v1/tasks/first").await.says(404, "task_not_found");
    let many: Vec<Value> = (0..65).map(|n| task(&n.to_string())).collect();
    server.post("/v1/tasks", json!(many)).await.says(422, "invalid_task");
    server.post("/v1/tasks", json!(many[..64])).await.with(202);
    server.post("/v1/tasks", json!([])).await.says(422, "invalid_task");
    server.post("/v1/tasks?wait=1", json!([task("new")])).await.says(400, "invalid_query");
}

#[tokio::test]
async fn tasks_are_listed_page_by_page() {
    let (_swarm, server) = idle().await;
    for id in ["a", "b", "c", "d", "e"] {
        server.post("/v1/tasks", task(id)).await.with(202);
    }
    server.delete("/v1/tasks/b").await.with(200);
    let page = server.get("/v1/tasks?limit=2").await.with(200).json;
    assert_eq!((ids(&page), &page["total"], &page["next_offset"]), (vec!["e", "d"], &json!(5), &json!(2)));
    let page = server.get("/v1/tasks?limit=2&offset=4").await.with(200).json;
    assert_eq!((ids(&page), &page["next_offset"]), (vec!["a"], &Value::Null));
    let page = server.get("/v1/tasks?status=cancelled").await.with(200).json;
    assert_eq!((ids(&page), &page["total"]), (vec!["b"], &json!(1)));
    let page = server.get("/v1/tasks?status=pending&view=record").await.with(200).json;
    assert_eq!(page["tasks"][0]["key"]["id"], "e");
    for wrong in ["limit=0", "limit=501", "limit=many", "offset=-1", "status=done", "batch=x", "colour=red"] {
        server.get(&format!("/v1/tasks?{wrong}")).await.says(400, "invalid_query");
    }
}

#[tokio::test]
async fn what_waits_is_withdrawn_and_what_is_settled_is_not() {
    let (_swarm, server) = idle().await;
    server.post("/v1/tasks", task("a")).await.with(202);
    assert_eq!(server.delete("/v1/tasks/a").await.with(200).json["status"], "cancelled");
    assert_eq!(server.delete("/v1/tasks/a").await.with(200).json["status"], "cancelled", "asked again");
    server.post("/v1/tasks/a/retry", Value::Null).await.says(409, "not_failed");
    server.delete("/v1/tasks/b").await.says(404, "task_not_found");
    let (_swarm, server) = answering().await;
    server.post("/v1/tasks?wait=30", task("a")).await.with(200);
    server.delete("/v1/tasks/a").await.says(409, "already_settled");
}

#[tokio::test]
async fn a_failed_task_is_taken_up_again() {
    let swarm = TestSwarm::in_memory().start().await;
    let server = Server::to(swarm.handle.clone()).await;
    let failed = server.post("/v1/tasks?wait=30", task("a")).await.with(200).json;
    assert_eq!(
        (&failed["status"], &failed["metadata"]["error_code"]),
        (&json!("failed"), &json!("llm_unavailable"))
    );
    let again = server.post("/v1/tasks/a/retry", Value::Null).await.with(202);
    assert_eq!((&again.json["metadata"]["generation"], again.header("location")), (&json!(1), "/v1/tasks/a"));
    server.post("/v1/tasks/b/retry", Value::Null).await.says(404, "task_not_found");
}

#[tokio::test]
async fn dead_letters_are_listed_and_replayed() {
    let (swarm, server) = idle().await;
    for id in ["poison", "venom"] {
        server.post("/v1/tasks", task(id)).await.with(202);
    }
    abandon(&swarm.line()).await;
    server.post("/v1/tasks", task("sound")).await.with(202);
    let listed = server.get("/v1/dead-letters").await.with(200).json;
    assert_eq!(ids(&listed), ["venom", "poison"]);
    assert!(listed["tasks"][0]["error"].as_str().expect("an error").starts_with("deliveries_exhausted: "));
    assert_eq!(ids(&server.get("/v1/dead-letters?limit=1&offset=1").await.with(200).json), ["poison"]);
    let again = server.post("/v1/dead-letters/poison/replay", Value::Null).await.with(202).json;
    assert_eq!((&again["status"], &again["metadata"]["generation"]), (&json!("pending"), &json!(1)));
    assert_eq!(ids(&server.get("/v1/dead-letters").await.with(200).json), ["venom"]);
    server.post("/v1/dead-letters/sound/replay", Value::Null).await.says(409, "not_a_dead_letter");
    server.post("/v1/dead-letters/gone/replay", Value::Null).await.says(404, "task_not_found");
}

#[tokio::test]
async fn tasks_of_runs_are_found_by_run_and_id() {
    let (swarm, server) = idle().await;
    let runs = [BatchId::generate(), BatchId::generate()];
    for run in runs {
        let request = TaskRequest {
            task_id: Some("line-1".parse::<TaskId>().expect("an id")),
            ..TaskRequest::new("x", "y")
        };
        swarm.handle.submit(Some(run), vec![request]).await.expect("a store that accepts");
    }
    let refused = server.get("/v1/tasks/line-1").await.says(409, "ambiguous_id");
    assert!(refused.message().contains("RUN%2FID"), "{}", refused.message());
    let found = server.get(&format!("/v1/tasks/{}%2Fline-1?view=record", runs[1])).await.with(200).json;
    assert_eq!(found["key"]["batch"], runs[1].to_string());
    server.delete(&format!("/v1/tasks/{}%2Fline-1", runs[0])).await.with(200);
    assert_eq!(
        ids(&server.get(&format!("/v1/tasks?batch={}&status=pending", runs[1])).await.json),
        ["line-1"]
    );
}

#[tokio::test]
async fn the_token_of_a_lease_is_not_shown() {
    let (swarm, server) = idle().await;
    server.post("/v1/tasks", task("a")).await.with(202);
    let claim = Claim {
        stage: Stage::Infer,
        holder: "worker-1".parse().expect("an id"),
        capabilities: vec![DEFAULT_CAPABILITY.to_owned()],
        limit: 1,
        lease: Duration::from_secs(60),
        begins: false,
    };
    let claimed = swarm.line().claim(&claim).await.expect("claims succeed");
    let token = claimed[0].lease().expect("it is leased").token.to_string();
    for path in ["/v1/tasks/a?view=record", "/v1/tasks?view=record"] {
        let shown = server.get(path).await.with(200).json.to_string();
        assert!(shown.contains("worker-1") && !shown.contains(&token), "{shown}");
    }
}

#[tokio::test]
async fn the_swarm_tells_of_its_agents_its_queue_and_what_it_did() {
    let (swarm, server) = answering().await;
    server.post("/v1/tasks?wait=30", task("a")).await.with(200);
    let stats = server.get("/v1/stats").await.with(200).json;
    assert_eq!((&stats["tasks"]["completed"], &stats["llm"]["answers"]), (&json!(1), &json!(1)));
    assert_eq!(stats, json!(swarm.statistics().await));
    let queue = server.get("/v1/queue").await.with(200).json;
    assert_eq!((&queue["tasks"]["completed"], &queue["tasks"]["pending"]), (&json!(1), &json!(0)));
    let agents = server.get("/v1/agents").await.with(200).json;
    let mut roles: Vec<&str> = agents["agents"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|agent| agent["role"].as_str())
        .collect();
    roles.sort_unstable();
    assert_eq!(roles, ["evaluator", "orchestrator", "worker"]);
}

#[tokio::test]
async fn the_last_word_on_an_answer_counts() {
    let (swarm, server) = answering().await;
    server.post("/v1/tasks?wait=30", task("a")).await.with(200);
    server.post("/v1/tasks/a/feedback", json!({"rating": "good"})).await.with(200);
    let words = json!({"rating": 0.25, "comment": "It says four.", "correction": "five"});
    for _ in 0..2 {
        let rated = server.post("/v1/tasks/a/feedback", words.clone()).await.with(200).json;
        assert_eq!((&rated["metadata"]["feedback"], &rated["result"]["text"]), (&words, &json!("four")));
    }
    let shown = server.get("/v1/tasks/a").await.with(200).json;
    assert_eq!(shown["metadata"]["feedback"], words);
    let stats = server.get("/v1/stats").await.with(200).json;
    assert_eq!(stats["feedback"], json!({"ratings": 1, "mean": 0.25}));
    assert_eq!(swarm.counters().await["tasks.completed"], 1, "a rating is no second settlement");
}

#[tokio::test]
async fn what_cannot_be_rated_is_told_so() {
    let (_swarm, server) = idle().await;
    server.post("/v1/tasks", task("a")).await.with(202);
    let refused = server.post("/v1/tasks/a/feedback", json!({"rating": "good"})).await.says(409, "no_answer");
    assert!(refused.message().contains("pending"), "{}", refused.message());
    server.post("/v1/tasks/b/feedback", json!({"rating": "good"})).await.says(404, "task_not_found");
    for wrong in [
        json!({"rating": 2}),
        json!({"rating": "meh"}),
        json!({}),
        json!([1]),
        json!({"rating": 1, "stars": 5}),
    ] {
        server.post("/v1/tasks/a/feedback", wrong).await.says(422, "invalid_feedback");
    }
    let long = json!({"rating": 1, "comment": "x".repeat(4097)});
    let refused = server.post("/v1/tasks/a/feedback", long).await.says(422, "invalid_feedback");
    assert_eq!(refused.message(), "comment: has more than 4096 bytes");
    server.post_bytes("/v1/tasks/a/feedback", b"{\"rating\": ").await.says(400, "invalid_json");
    server.post_bytes("/v1/tasks/a/feedback", &vec![b' '; 600 << 10]).await.says(413, "too_large");
    let request = server.request(Method::POST, "/v1/tasks/a/feedback").body("{\"rating\": 1}");
    let response = request.send().await.expect("an answer");
    checked(&Method::POST, "/v1/tasks/a/feedback", response).await.says(415, "not_json");
    server.delete("/v1/tasks/a").await.with(200);
    server.post("/v1/tasks/a/feedback", json!({"rating": "bad"})).await.says(409, "no_answer");
}
