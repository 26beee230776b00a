use ghost_core::broker::redis::{Config, RedisBroker};
use ghost_core::broker::testing::RedisServer;

use super::*;
use crate::door::{Address, Limits};

async fn at(health: &Health) -> (u16, CancellationToken) {
    let address = Address {
        host: "127.0.0.1".to_owned(),
        port: 0,
        settings: ["HEALTH_HOST", "HEALTH_PORT"],
        token: None,
        allow_anonymous: false,
    };
    let door = Door::open(&address, Limits::default()).await.expect("a free port");
    let port = door.address().port();
    let shutdown = CancellationToken::new();
    tokio::spawn(health.clone().serve(door, shutdown.clone()));
    (port, shutdown)
}

async fn get(port: u16, path: &str) -> (u16, String) {
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let response = client.get(format!("http://127.0.0.1:{port}{path}")).send().await.expect("it answers");
    (response.status().as_u16(), response.text().await.expect("text"))
}

#[tokio::test]
async fn a_program_is_ready_while_its_redis_is_there_and_alive_all_along() {
    let mut server = RedisServer::start();
    let health = Health::new("test", CancellationToken::new());
    let (port, _shutdown) = at(&health).await;
    let (status, words) = get(port, "/readyz").await;
    assert_eq!((status, words.as_str()), (503, "not ready: it waits for the broker\n"));
    let config = Config { url: server.url(), ..Config::default() };
    health.uses(Arc::new(RedisBroker::connect(config).await.expect("it is there")));
    assert_eq!(get(port, "/readyz").await, (200, "ready\n".to_owned()));
    assert_eq!(ask("0.0.0.0", port).await.expect("it is ready"), "ready");

    server.kill();
    let (status, words) = get(port, "/readyz").await;
    assert!(status == 503 && words.contains("cannot be reached"), "{status} {words}");
    assert!(ask("127.0.0.1", port).await.is_err());
    assert_eq!(get(port, "/healthz").await, (200, "alive\n".to_owned()));
    assert!(get(port, "/metrics").await.1.contains("ghost_broker_up 0"));

    server.restart();
    assert_eq!(get(port, "/readyz").await.0, 200);
    assert!(get(port, "/metrics").await.1.contains("ghost_broker_up 1"));
}

#[tokio::test]
async fn a_program_is_not_ready_before_its_model_is_and_once_it_is_told_to_end() {
    let draining = CancellationToken::new();
    let health = Health::new("test", draining.clone());
    let broker = ghost_core::broker::sqlite::SqliteBroker::in_memory(Default::default()).expect("memory");
    health.uses(Arc::new(broker));
    let model = health.waits_for("the model");
    assert_eq!(health.obstacles().await, ["it waits for the model"]);
    drop(model);
    assert!(health.obstacles().await.is_empty());
    draining.cancel();
    assert_eq!(health.obstacles().await, ["it was told to end"]);
}

#[tokio::test]
async fn a_program_without_a_broker_waits_for_none() {
    let health = Health::new("test", CancellationToken::new());
    let model = health.waits_for("its model");
    health.needs_no_broker();
    assert_eq!(health.obstacles().await, ["it waits for its model"]);
    drop(model);
    assert!(health.obstacles().await.is_empty());
    assert!(!health.metrics().await.contains("ghost_broker_up"));
}
