//! Ingestion against a real Redis: what is put in becomes tasks, once each, and what cannot is put aside.

use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{Client, FromRedisValue};
use ghost_core::broker::redis::RedisBroker;
use ghost_core::broker::testing::RedisServer;
use ghost_core::broker::{Broker, Query};
use ghost_core::id::TaskKey;
use ghost_core::lifecycle::Record;
use ghost_core::taskmaster::route::Available;
use ghost_core::taskmaster::{TaskMaster, Thresholds};

use super::*;
use crate::{Deps, Orchestrator};

const RULES: &str = r#"
[[rules]]
stream = "mails"
id = "mail-{number}"
task = { task_type = "classify", description = "Who should answer?", parameters = { prompt = "{text}", categories = ["sales", "support"] } }

[[rules]]
stream = "events"
json = "body"
task = { task_type = "llm_inference", description = "Explain {kind} of {source}", priority = "{priority}" }

[[rules]]
channel = "alerts.*"
task = { task_type = "llm_inference", description = "What is wrong? {message}" }
"#;

/// A Redis, a swarm's orchestrators over it, and someone who says things to it.
struct Scene {
    server: RedisServer,
    broker: Arc<dyn Broker>,
    sender: MultiplexedConnection,
    shutdown: CancellationToken,
    running: tokio::task::JoinSet<()>,
}

impl Scene {
    async fn new(backlog: u64) -> Self {
        let server = RedisServer::start();
        let config = redis::Config { url: server.url(), backlog, ..redis::Config::default() };
        let broker: Arc<dyn Broker> = Arc::new(RedisBroker::connect(config).await.expect("a broker"));
        let client = Client::open(server.url()).expect("an address");
        let sender = client.get_multiplexed_async_connection().await.expect("a connection");
        Self {
            server,
            broker,
            sender,
            shutdown: CancellationToken::new(),
            running: tokio::task::JoinSet::new(),
        }
    }

    /// Another orchestrator that takes in.
    fn orchestrator(&mut self) -> Handle {
        let deps = Deps {
            broker: self.broker.clone(),
            taskmaster: Arc::new(TaskMaster::new(Thresholds::default())),
            available: Available { slm: None, llm: true, hybrid: true },
        };
        let handle = Orchestrator::build(crate::Config::default(), deps).handle();
        let config = Config {
            agent_id: AgentId::generate("orchestrator"),
            redis: redis::Config { url: self.server.url(), ..redis::Config::default() },
            rules: Rules::parse(RULES, "rules.toml".as_ref()).expect("rules"),
        };
        let ingest = Ingest::build(config, handle.clone()).expect("an address");
        self.running.spawn(ingest.run(self.shutdown.clone()));
        handle
    }

    async fn say<T: FromRedisValue>(&mut self, words: &[&str]) -> T {
        let mut command = ::redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query_async(&mut self.sender).await.expect("redis takes it")
    }

    async fn accepted(&self, id: &str) -> Record {
        let key = TaskKey::lone(id.parse().expect("an id"));
        let mut news = self.broker.subscribe().await.expect("news");
        loop {
            if let Some(record) = self.broker.get(&key).await.expect("a broker") {
                return record;
            }
            news.wait(Duration::from_millis(200), |_| true).await;
        }
    }

    async fn tasks(&self) -> Vec<Record> {
        self.broker.list(&Query::default()).await.expect("a broker")
    }

    /// What was put aside next: its source and why.
    async fn put_aside(&mut self, after: &mut String) -> (String, String) {
        type Reply = Vec<(String, Vec<(String, Vec<String>)>)>;
        let stream = "{gs:ghost:0}:unusable";
        let reply: Reply = loop {
            let reply: Option<Reply> =
                self.say(&["XREAD", "COUNT", "1", "BLOCK", "400", "STREAMS", stream, after.as_str()]).await;
            if let Some(reply) = reply {
                break reply;
            }
        };
        let (id, fields) = &reply[0].1[0];
        after.clone_from(id);
        (fields[1].clone(), fields[5].clone())
    }

    async fn end(mut self) {
        self.shutdown.cancel();
        while let Some(ended) = self.running.join_next().await {
            ended.expect("it does not panic");
        }
    }
}

#[tokio::test]
async fn entries_of_streams_become_tasks_once_each_though_two_orchestrators_read() {
    let mut scene = Scene::new(1000).await;
    // What was said before anybody listened counts too, and a sender may say it twice.
    for number in 0..40 {
        for _ in 0..2 {
            let _: String = scene
                .say(&["XADD", "mails", "*", "number", &number.to_string(), "text", "Where is my chair?"])
                .await;
        }
        if number == 20 {
            scene.orchestrator();
            scene.orchestrator();
        }
    }
    for number in 0..40 {
        let record = scene.accepted(&format!("mail-{number}")).await;
        assert_eq!(record.request.parameters.prompt.as_deref(), Some("Where is my chair?"));
    }
    let _: String =
        scene.say(&["XADD", "events", "7-1", "body", r#"{"kind": "a fall", "priority": 9}"#]).await;
    let explained = loop {
        let found = scene.tasks().await.into_iter().find(|task| task.request.task_type == "llm_inference");
        if let Some(found) = found {
            break found;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(explained.request.description, "Explain a fall of events");
    assert_eq!(explained.request.priority.get(), 9);
    assert_eq!(scene.tasks().await.len(), 41);
    scene.end().await;
}

#[tokio::test]
async fn what_no_task_can_be_made_of_is_put_aside_and_stops_nothing() {
    let mut scene = Scene::new(1000).await;
    scene.orchestrator();
    let mut after = "0".to_owned();
    let cases: [(&[&str], &str, &str); 5] = [
        (&["XADD", "mails", "*", "text", "no number"], "mails", "has no \"number\""),
        (&["XADD", "events", "*", "body", "[1]"], "events", "is no JSON object"),
        (&["XADD", "events", "*", "body", r#"{"kind": "x", "priority": 11}"#], "events", "priority"),
        (&["XADD", "mails", "*", "number", "\u{fc}", "text", "x"], "mails", "printable ASCII"),
        (&["XADD", "mails", "*", "number", "1", "text", ""], "", ""),
    ];
    for (words, source, reason) in cases {
        let _: String = scene.say(words).await;
        if source.is_empty() {
            continue;
        }
        let (from, why) = scene.put_aside(&mut after).await;
        assert_eq!(from, source);
        assert!(why.contains(reason), "{why} should say {reason}");
    }
    scene.accepted("mail-1").await;
    let _: String = scene.say(&["XADD", "mails", "*", "number", "1", "text", "another text"]).await;
    assert!(scene.put_aside(&mut after).await.1.contains("another task has the id mail-1"));
    assert_eq!(scene.tasks().await.len(), 1);
    scene.end().await;
}

#[tokio::test]
async fn what_a_dead_reader_left_is_taken_over() {
    let mut scene = Scene::new(1000).await;
    let id: String = scene.say(&["XADD", "mails", "*", "number", "1", "text", "x"]).await;
    let group = "{gs:ghost:0}";
    let _: String = scene.say(&["XGROUP", "CREATE", "mails", group, "0"]).await;
    let _: ::redis::Value = scene.say(&["XREADGROUP", "GROUP", group, "dead", "STREAMS", "mails", ">"]).await;
    let _: ::redis::Value = scene.say(&["XCLAIM", "mails", group, "dead", "0", &id, "IDLE", "61000"]).await;
    scene.orchestrator();
    scene.accepted("mail-1").await;
    scene.end().await;
}

#[tokio::test]
async fn a_full_queue_holds_messages_back_and_loses_none() {
    let mut scene = Scene::new(4).await;
    for number in 0..6 {
        let _: String = scene.say(&["XADD", "mails", "*", "number", &number.to_string(), "text", "x"]).await;
    }
    let handle = scene.orchestrator();
    for number in 0..6 {
        let key = scene.accepted(&format!("mail-{number}")).await.key;
        handle.cancel(&key).await.expect("it waits");
    }
    scene.end().await;
}

#[tokio::test]
async fn messages_on_channels_become_tasks_once_each_though_two_orchestrators_hear_them() {
    let mut scene = Scene::new(1000).await;
    scene.orchestrator();
    scene.orchestrator();
    // Who listens says so to Redis; until then nothing can be heard.
    while scene.say::<u64>(&["PUBLISH", "alerts.cellar", "water"]).await < 2 {}
    let _: u64 = scene.say(&["PUBLISH", "elsewhere", "nothing"]).await;
    let _: u64 = scene.say(&["PUBLISH", "alerts.roof", r#"{"what": "wind"}"#]).await;
    while scene.tasks().await.len() < 2 {
        tokio::task::yield_now().await;
    }
    let mut said: Vec<String> =
        scene.tasks().await.into_iter().map(|task| task.request.description).collect();
    said.sort();
    assert_eq!(said, ["What is wrong? water", r#"What is wrong? {"what": "wind"}"#]);
    scene.end().await;
}

#[test]
fn rules_that_make_no_sense_are_refused_with_the_reason() {
    let task = r#"task = { task_type = "a", description = "b" }"#;
    let cases = [
        ("", "0 rules"),
        ("[[rules]]\nstream = \"a\"", "missing field `task`"),
        (&format!("[[rules]]\n{task}"), "either `stream` or `channel`"),
        (&format!("[[rules]]\nstream = \"a\"\nchannel = \"b\"\n{task}"), "either `stream` or `channel`"),
        (&format!("[[rules]]\nstream = \"\"\n{task}"), "empty"),
        (&format!("[[rules]]\nchannel = \"a\"\njson = \"b\"\n{task}"), "as a whole"),
        (&format!("[[rules]]\nstream = \"a\"\nid = \"{{\"\n{task}"), "brace"),
        (&format!("[[rules]]\nstream = \"a\"\nwhat = 1\n{task}"), "unknown field `what`"),
        (&format!("[[rules]]\nstream = \"a\"\n{task}\n[[rules]]\nstream = \"a\"\n{task}"), "another rule"),
        ("[[rules]]\nstream = \"a\"\ntask = { task_type = \"a\" }", "needs `description`"),
        ("[[rules]]\nstream = \"a\"\ntask = { task_id = \"a\" }", "leave out `task_id`"),
    ];
    for (text, reason) in cases {
        let error = Rules::parse(text, "rules.toml".as_ref()).expect_err(text).to_string();
        assert!(error.contains(reason) && error.contains("rules.toml"), "{error} should say {reason}");
    }
}
