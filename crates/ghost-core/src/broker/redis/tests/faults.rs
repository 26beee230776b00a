//! A Redis that dies, forgets, refuses and runs out of memory, each time a server of the test's own.

use super::own::{HOUR, answer, claim_one, record, submit, wants};
use super::*;
use crate::broker::patiently;

async fn connect(server: &RedisServer) -> RedisBroker {
    let config = Config { url: server.url(), ..Config::default() };
    RedisBroker::connect(config).await.expect("the store opens")
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_killed_redis() {
    let mut server = RedisServer::start();
    let broker = connect(&server).await;
    let mut records = Vec::new();
    for n in 0..50 {
        records.push(submit(&broker, &n.to_string()).await);
    }
    let held = broker.claim(&wants(20, HOUR)).await.expect("they are handed out");
    let now = broker.now().await.expect("the time");
    let settled: Vec<Commit> = held[..10].iter().map(|record| answer(record, now)).collect();
    assert!(broker.commit(&settled).await.expect("written").iter().all(|outcome| *outcome == Outcome::Done));
    let before = broker.counters().await.expect("the counters");

    server.kill();
    let lost = broker.get(&records[0].key).await;
    assert!(matches!(&lost, Err(Error::Unavailable(why)) if why.contains("127.0.0.1")), "{lost:?}");
    server.restart();

    let get = async |key| patiently(|| broker.get(key)).await.expect("it answers").expect("it is there");
    for commit in &settled {
        assert_eq!(get(&commit.record.key).await, commit.record);
    }
    for record in &held[10..] {
        assert_eq!(get(&record.key).await, *record);
    }
    for record in &records[20..] {
        assert_eq!(get(&record.key).await, *record);
    }
    assert_eq!(broker.counters().await.expect("the counters"), before);
    let now = broker.now().await.expect("the time");
    let rest: Vec<Commit> = held[10..].iter().map(|record| answer(record, now)).collect();
    assert!(broker.commit(&rest).await.expect("written").iter().all(|outcome| *outcome == Outcome::Done));
    assert_eq!(
        broker.commit(&settled).await.expect("known"),
        vec![Outcome::Done; 10],
        "a late repeat is known"
    );
    assert_eq!(broker.claim(&wants(64, HOUR)).await.expect("handed out").len(), 30);
    let tally = broker.tally(None).await;
    assert_eq!(tally, Ok(vec![(Status::Assigned, 30), (Status::Completed, 20)]));
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_redis_dies_in_the_middle() {
    let mut server = RedisServer::start();
    let broker = Arc::new(connect(&server).await);
    let (accepted, mut acknowledged) = tokio::sync::mpsc::unbounded_channel();
    let mut senders = tokio::task::JoinSet::new();
    for sender in 0..4 {
        let (broker, accepted) = (broker.clone(), accepted.clone());
        senders.spawn(async move {
            for n in 0.. {
                let record = record(&format!("{sender}-{n}"), Timestamp(1_700_000_000_000));
                match broker.submit(vec![record.clone()]).await {
                    Ok(_) => drop(accepted.send(record)),
                    // It may or may not be there; its sender would submit it again.
                    Err(_) => return,
                }
            }
        });
    }
    drop(accepted);
    let mut records = Vec::new();
    while records.len() < 100 {
        records.push(acknowledged.recv().await.expect("submits go on"));
    }
    server.kill();
    while let Some(record) = acknowledged.recv().await {
        records.push(record);
    }
    while senders.join_next().await.is_some() {}
    server.restart();
    for record in &records {
        let found = patiently(|| broker.get(&record.key)).await.expect("it answers");
        assert_eq!(found.as_ref(), Some(record));
    }
}

#[tokio::test]
async fn who_waits_for_news_hears_of_work_after_redis_came_back() {
    let mut server = RedisServer::start();
    let broker = connect(&server).await;
    let mut news = broker.subscribe().await.expect("it listens");
    server.restart();
    assert_eq!(news.next().await, Some(News::Work(Stage::Infer)), "something may have been missed, so look");
    assert_eq!(news.next().await, Some(News::Work(Stage::Evaluate)));
    let now = patiently(|| broker.now()).await.expect("it answers");
    let record = record("a", now);
    patiently(|| broker.submit(vec![record.clone()])).await.expect("it is accepted");
    assert_eq!(news.next().await, Some(News::Changed(record.key, Status::Pending)));
    let mut second = broker.subscribe().await.expect("it listens");
    broker.publish(News::Work(Stage::Infer)).await.expect("it is told");
    assert_eq!(second.next().await, Some(News::Work(Stage::Infer)));
}

#[tokio::test]
async fn who_listens_to_a_redis_that_is_gone_is_told_so() {
    let mut server = RedisServer::start();
    let broker = connect(&server).await;
    server.kill();
    assert!(matches!(broker.subscribe().await, Err(Error::Unavailable(_))));
    server.restart();
    let news = patiently(|| broker.subscribe()).await;
    assert!(news.is_ok(), "{news:?}");
}

#[tokio::test]
async fn a_redis_that_forgot_the_scripts_is_told_them_again() {
    let server = RedisServer::start();
    let broker = connect(&server).await;
    submit(&broker, "a").await;
    broker.shards[0].command(&["SCRIPT", "FLUSH"]).await.expect("they are forgotten");
    submit(&broker, "b").await;
    broker.shards[0].command(&["SCRIPT", "FLUSH"]).await.expect("they are forgotten");
    let record = claim_one(&broker, HOUR).await;
    broker.shards[0].command(&["SCRIPT", "FLUSH"]).await.expect("they are forgotten");
    let commit = answer(&record, broker.now().await.expect("the time"));
    assert_eq!(broker.commit(&[commit]).await, Ok(vec![Outcome::Done]));
}

#[tokio::test]
async fn a_redis_without_memory_refuses_what_is_new_and_lets_the_rest_end() {
    let server = RedisServer::start();
    let broker = connect(&server).await;
    let known = submit(&broker, "a").await;
    broker.shards[0].command(&["CONFIG", "SET", "maxmemory", "1"]).await.expect("it is set");
    let new = record("b", known.submitted_at);
    let refused = broker.submit(vec![new.clone()]).await;
    assert!(matches!(&refused, Err(Error::Unavailable(why)) if why.contains("out of memory")), "{refused:?}");
    assert_eq!(broker.submit(vec![known.clone()]).await, Ok(vec![Submission::Known(known)]));
    let record = claim_one(&broker, HOUR).await;
    let commit = answer(&record, broker.now().await.expect("the time"));
    assert_eq!(broker.commit(&[commit]).await, Ok(vec![Outcome::Done]));
    assert_eq!(broker.purge(None, Some(0)).await, Ok(1));
    broker.shards[0].command(&["CONFIG", "SET", "maxmemory", "0"]).await.expect("it is set");
    assert_eq!(broker.get(&new.key).await, Ok(None), "the refused submit left nothing");
    assert_eq!(broker.submit(vec![new.clone()]).await, Ok(vec![Submission::New(new)]));
}

#[tokio::test]
async fn a_redis_that_evicts_keys_is_refused() {
    let server = RedisServer::with(&["--maxmemory-policy", "allkeys-lru"]);
    let refused = RedisBroker::connect(Config { url: server.url(), ..Config::default() }).await;
    assert!(matches!(&refused, Err(Error::Misconfigured(why)) if why.contains("noeviction")), "{refused:?}");
}

#[tokio::test]
async fn a_wrong_password_is_named_and_not_shown() {
    let server = RedisServer::with(&["--requirepass", "sesame"]);
    let with = |password: Option<&str>| Config {
        url: server.url(),
        password: password.map(str::to_owned),
        patience: Duration::from_millis(20),
        ..Config::default()
    };
    for wrong in [None, Some("simsalabim")] {
        let refused = RedisBroker::connect(with(wrong)).await.expect_err("it does not let us in");
        assert!(matches!(&refused, Error::Unavailable(why) if why.contains("REDIS_PASSWORD")), "{refused}");
        assert!(!refused.to_string().contains("simsalabim"));
    }
    let broker = RedisBroker::connect(with(Some("sesame"))).await.expect("it lets us in");
    assert!(!format!("{broker:?}").contains("sesame"));
    submit(&broker, "a").await;
    assert!(broker.subscribe().await.is_ok(), "the connection for news has the password too");
}

#[tokio::test]
async fn a_replica_that_became_the_master_goes_on() {
    let server = RedisServer::start();
    let broker = connect(&server).await;
    let record = submit(&broker, "a").await;
    // A master that nobody answers for: this server is a read-only replica now.
    broker.shards[0].command(&["REPLICAOF", "127.0.0.1", "1"]).await.expect("it follows");
    let new = own::record("b", record.submitted_at);
    let refused = broker.submit(vec![new]).await;
    assert!(matches!(&refused, Err(Error::Unavailable(_))), "{refused:?}");
    broker.shards[0].command(&["REPLICAOF", "NO", "ONE"]).await.expect("it leads");
    assert_eq!(broker.get(&record.key).await, Ok(Some(record)));
    submit(&broker, "b").await;
}

/// Does this in a runtime of its own, as leases are renewed in, which knows no sockets and ends with it.
fn elsewhere(work: impl Future<Output = ()> + Send) {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.expect("a runtime").block_on(work);
    };
    std::thread::scope(|scope| scope.spawn(run).join().expect("it does not panic"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_another_runtime_mended_serves_everybody() {
    let server = RedisServer::start();
    let broker = connect(&server).await;
    let record = submit(&broker, "a").await;
    server.cli(&["CLIENT", "KILL", "TYPE", "normal"]).expect("a line that is cut");
    elsewhere(async {
        let found = patiently(|| broker.get(&record.key)).await;
        assert_eq!(found.as_ref(), Ok(&Some(record.clone())));
    });
    assert_eq!(broker.get(&record.key).await, Ok(Some(record)), "the runtime that mended it is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_listens_first_may_go_without_making_the_others_deaf() {
    let server = RedisServer::start();
    let broker = connect(&server).await;
    elsewhere(async {
        broker.subscribe().await.expect("it listens");
    });
    let mut news = broker.subscribe().await.expect("it listens");
    broker.publish(News::Work(Stage::Infer)).await.expect("it is told");
    assert_eq!(news.next().await, Some(News::Work(Stage::Infer)));
}
