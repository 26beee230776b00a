//! Several doors to one swarm, over Redis.

use std::sync::Arc;

use futures_util::future::join_all;
use ghost_core::broker::Broker;
use ghost_core::broker::redis::{Config, RedisBroker};
use ghost_core::broker::testing::RedisServer;
use ghost_core::inference::Provider;
use ghost_core::inference::hybrid::{self, Engine};
use ghost_core::inference::pricing::Pricing;
use ghost_core::inference::scripted::{Script, Scripted};
use ghost_worker::{Pulse, Worker};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::{Server, handle};

fn task(id: &str) -> Value {
    json!({ "task_id": id, "task_type": "llm_inference", "description": "Say something.", "parameters": { "force_llm": true } })
}

/// One process's own connection.
async fn broker(redis: &RedisServer) -> Arc<dyn Broker> {
    let config = Config { url: redis.url(), ..Config::default() };
    Arc::new(RedisBroker::connect(config).await.expect("a Redis that answers"))
}

async fn start_redis() -> RedisServer {
    tokio::task::spawn_blocking(RedisServer::start).await.expect("it starts")
}

/// A worker with an LLM that says `four`, on a connection of its own.
async fn add_worker(redis: &RedisServer, shutdown: &CancellationToken) {
    let llm = Arc::new(Scripted::new(Provider::Llm, "scripted", Script::always("four")));
    let engine = Engine::build(hybrid::Config::default(), None, Some(llm), Pricing::builtin());
    let deps = ghost_worker::Deps { broker: broker(redis).await, engine: Arc::new(engine) };
    let config = ghost_worker::Config { pulse: Pulse::SameRuntime, ..ghost_worker::Config::default() };
    tokio::spawn(Worker::build(config, deps).run(shutdown.clone()));
}

#[tokio::test]
async fn a_task_goes_in_at_one_door_and_is_watched_at_another() {
    let redis = start_redis().await;
    let (one, other) =
        (Server::to(handle(broker(&redis).await)).await, Server::to(handle(broker(&redis).await)).await);
    one.post("/v1/tasks", task("a")).await.with(202);
    let events = other.request(reqwest::Method::GET, "/v1/tasks/a/events").send().await.expect("an answer");
    let shutdown = CancellationToken::new();
    add_worker(&redis, &shutdown).await;
    let told = events.text().await.expect("the stream ends in good order");
    assert!(told.starts_with("event: task\n") && told.contains("\"text\":\"four\""), "{told}");
    assert_eq!(other.get("/v1/tasks/a").await.with(200).json["status"], "completed");
    assert_eq!(one.delete("/v1/tasks/a").await.says(409, "already_settled").status, 409);
    assert_eq!(one.get("/v1/tasks?status=completed").await.with(200).json["total"], 1);
    assert_eq!(one.get("/v1/stats").await.with(200).json["llm"]["calls"], 1);
    shutdown.cancel();
}

#[tokio::test]
async fn the_same_task_at_two_doors_at_once_is_one_task() {
    let redis = start_redis().await;
    let (one, other) =
        (Server::to(handle(broker(&redis).await)).await, Server::to(handle(broker(&redis).await)).await);
    for round in 0..20 {
        let id = format!("task-{round}");
        let submits = [&one, &other, &one, &other].map(|server| server.post("/v1/tasks", task(&id)));
        let mut statuses: Vec<u16> = join_all(submits).await.into_iter().map(|reply| reply.status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 200, 200, 202], "one is new, the others find it");
    }
    assert_eq!(other.get("/v1/queue").await.with(200).json["tasks"]["pending"], 20);
    let mut different = task("task-0");
    different["description"] = json!("Say something else.");
    other.post("/v1/tasks", different).await.says(409, "id_conflict");
}
