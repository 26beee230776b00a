//! What the door does not take, and what it says then.

use std::sync::Arc;

use ghost_core::broker::sqlite::{Options, SqliteBroker};
use ghost_core::inference::scripted::Script;
use ghost_tests::{Line, TestSwarm};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Server, checked, config, handle};

fn task(id: &str) -> Value {
    json!({ "task_id": id, "task_type": "llm_inference", "description": "Say something." })
}

async fn server() -> Server {
    Server::to(handle(Arc::new(Line::to_new_store()))).await
}

#[tokio::test]
async fn bytes_that_are_no_task_are_refused_with_what_would_be_right() {
    let server = server().await;
    let with = |fields: &str| format!(r#"{{"task_type": "x", "description": "y", {fields}}}"#);
    let deep = format!(
        r#"{{"task_type": "x", "description": "y", "context": {{"a": {}{}}}}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    let deep_array = format!("[{deep}]");
    let only_brackets = "[".repeat(1 << 20);
    for (body, status, code) in [
        (&b""[..], 400, "invalid_json"),
        (b"{", 400, "invalid_json"),
        (b"{\"task_type\": \"\xff\"}", 400, "invalid_json"),
        (b"[\"\xff\"]", 400, "invalid_json"),
        (with(r#""timeout": NaN"#).as_bytes(), 400, "invalid_json"),
        (deep.as_bytes(), 400, "invalid_json"),
        (deep_array.as_bytes(), 400, "invalid_json"),
        (only_brackets.as_bytes(), 400, "invalid_json"),
        (b"7", 422, "invalid_task"),
        (b"{}", 422, "invalid_task"),
        (with(r#""priority": 11"#).as_bytes(), 422, "invalid_task"),
        (with(r#""timeout": -1"#).as_bytes(), 422, "invalid_task"),
        (with(r#""colour": "red""#).as_bytes(), 422, "invalid_task"),
        (with(r#""task_id": "a\nb""#).as_bytes(), 422, "invalid_task"),
        (with(r#""parameters": {"temperature": 9}"#).as_bytes(), 422, "invalid_task"),
    ] {
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
        let reply = server.post_bytes("/v1/tasks", body).await;
        assert_eq!((reply.status, &reply.json["error"]["code"]), (status, &json!(code)), "{shown}");
        assert!(!reply.message().is_empty(), "{shown}");
    }
    let told = server.post_bytes("/v1/tasks", with(r#""parameters": {"temperature": 9}"#).as_bytes()).await;
    assert!(told.message().starts_with("parameters.temperature: must be"), "{}", told.message());
}

#[tokio::test]
async fn what_is_not_said_to_be_json_is_not_read() {
    let server = server().await;
    for kind in ["text/plain", "application/x-www-form-urlencoded"] {
        let request = server
            .request(Method::POST, "/v1/tasks")
            .header("content-type", kind)
            .body(task("a").to_string());
        let response = request.send().await.expect("an answer");
        checked(&Method::POST, "/v1/tasks", response).await.says(415, "not_json");
    }
}

#[tokio::test]
async fn more_bytes_than_a_task_may_have_are_refused_unread() {
    let server = server().await;
    let mut stream = TcpStream::connect(server.address).await.expect("the door listens");
    let head = "POST /v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 4194305\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("it is heard");
    let mut said = String::new();
    stream.read_to_string(&mut said).await.expect("an answer");
    assert!(said.starts_with("HTTP/1.1 413 ") && said.contains(r#""code":"too_large""#), "{said}");
}

#[tokio::test]
async fn ids_that_nothing_can_have_name_nothing() {
    let server = server().await;
    for wrong in ["a%0Ab", "%C3%A9", "%FF", &"x".repeat(129)] {
        for (method, path) in [
            (Method::GET, format!("/v1/tasks/{wrong}")),
            (Method::DELETE, format!("/v1/tasks/{wrong}")),
            (Method::GET, format!("/v1/tasks/{wrong}/events")),
            (Method::POST, format!("/v1/dead-letters/{wrong}/replay")),
        ] {
            let response = server.request(method.clone(), &path).send().await.expect("an answer");
            checked(&method, &path, response).await.says(400, "invalid_id");
        }
    }
    server.get(&format!("/v1/tasks/{}", "x".repeat(128))).await.says(404, "task_not_found");
    for wrong in ["wait=31", "wait=-1", "wait=NaN", "wait=soon", "view=all"] {
        server.get(&format!("/v1/tasks/a?{wrong}")).await.says(400, "invalid_query");
    }
}

#[tokio::test]
async fn paths_and_methods_that_are_not_there_are_told_so() {
    let server = server().await;
    server.get("/v2/tasks").await.says(404, "not_found");
    server.get("/v1/tasks/").await.says(404, "not_found");
    server.delete("/v1/tasks").await.says(405, "method_not_allowed");
    server.post("/v1/stats", Value::Null).await.says(405, "method_not_allowed");
}

#[tokio::test]
async fn a_door_with_a_token_opens_to_who_knows_it() {
    let server = Server::with(config(Some("s3cret")), handle(Arc::new(Line::to_new_store()))).await;
    server.get("/v1/tasks").await.with(200);
    for path in ["/", "/openapi.json", "/v1/tasks", "/v1/tasks/a/events"] {
        let stranger = reqwest::Client::builder().no_proxy().build().expect("a client");
        let response = stranger.get(server.url(path)).send().await.expect("an answer");
        checked(&Method::GET, path, response).await.says(401, "unauthorized");
    }
}

#[tokio::test]
async fn pages_of_other_origins_cannot_submit() {
    let server = server().await;
    let request = server.request(Method::POST, "/v1/tasks").header("origin", "https://evil.example");
    let response = request.header("content-type", "application/json").body(task("a").to_string()).send();
    checked(&Method::POST, "/v1/tasks", response.await.expect("an answer")).await.says(403, "forbidden");
    server.get("/v1/tasks/a").await.says(404, "task_not_found");
}

#[tokio::test]
async fn a_full_queue_pushes_back() {
    let store =
        SqliteBroker::in_memory(Options { backlog: 2, ..Options::default() }).expect("memory for a store");
    let server = Server::to(handle(Arc::new(store))).await;
    server.post("/v1/tasks", task("a")).await.with(202);
    let refused = server.post("/v1/tasks", json!([task("b"), task("c")])).await.says(429, "queue_full");
    assert_eq!(refused.header("retry-after"), "1");
    server.get("/v1/tasks/b").await.says(404, "task_not_found");
    server.post("/v1/tasks", task("b")).await.with(202);
    server.post("/v1/tasks", task("c")).await.says(429, "queue_full");
    server.post("/v1/tasks", task("a")).await.with(200);
}

#[tokio::test]
async fn a_store_that_is_away_is_waited_for_by_its_callers() {
    let swarm = TestSwarm::in_memory().workers(0).llm(Script::default()).start().await;
    let line = Arc::new(swarm.line());
    let server = Server::to(handle(line.clone())).await;
    line.cut(true);
    let refused = server.post("/v1/tasks", task("a")).await.says(503, "store_unavailable");
    assert_eq!(refused.header("retry-after"), "1");
    for path in ["/v1/tasks", "/v1/tasks/a", "/v1/stats", "/v1/agents", "/v1/queue", "/v1/dead-letters"] {
        server.get(path).await.says(503, "store_unavailable");
    }
    line.cut(false);
    server.post("/v1/tasks", task("a")).await.with(202);
}
