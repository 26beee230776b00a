//! What a store in Redis does beside the contract: it expires, shares, and keeps time by Redis's clock.

use serde_json::json;

use super::super::reply::{array, bytes};
use super::*;
use crate::broker::reap;
use crate::id::TaskId;
use crate::lifecycle::{DEFAULT_CAPABILITY, Then};
use crate::task::TaskRequest;

pub(super) const HOUR: Duration = Duration::from_secs(3600);

pub(super) fn record(id: &str, now: Timestamp) -> Record {
    let request = json!({"task_id": id, "task_type": "llm_inference", "description": "add two and two"});
    let request = TaskRequest::parse(request.to_string().as_bytes()).expect("a request");
    contract::record(None, request, now)
}

pub(super) async fn submit(broker: &RedisBroker, id: &str) -> Record {
    let record = record(id, broker.now().await.expect("the time"));
    broker.submit(vec![record.clone()]).await.expect("it is accepted");
    record
}

pub(super) fn wants(limit: usize, lease: Duration) -> Claim {
    Claim {
        stage: Stage::Infer,
        holder: "w".parse().expect("an id"),
        capabilities: vec![DEFAULT_CAPABILITY.to_owned()],
        limit,
        lease,
        begins: false,
    }
}

pub(super) async fn claim_one(broker: &RedisBroker, lease: Duration) -> Record {
    broker.claim(&wants(1, lease)).await.expect("it is handed out").pop().expect("there is one")
}

pub(super) fn answer(record: &Record, now: Timestamp) -> Commit {
    let token = record.lease().expect("it is leased").token;
    let answer = contract::answer("4");
    let event = Event::Answer { token, answer, attempts: Vec::new(), then: Then::Settle };
    Commit::step(record, event, now).expect("its holder answers")
}

async fn settle(broker: &RedisBroker, id: &str) {
    submit(broker, id).await;
    let record = claim_one(broker, HOUR).await;
    let commit = answer(&record, broker.now().await.expect("the time"));
    assert_eq!(broker.commit(&[commit]).await, Ok(vec![Outcome::Done]));
}

/// A store on the shared server whose time stands still.
async fn still(result_ttl: Duration) -> (RedisBroker, Clock) {
    let clock = Clock::manual(Timestamp(1_700_000_000_000));
    let config = Config {
        url: SERVER.url(),
        swarm: swarm(),
        clock: Some(clock.clone()),
        result_ttl,
        ..Config::default()
    };
    (RedisBroker::connect(config).await.expect("the store opens"), clock)
}

#[tokio::test]
async fn settled_records_expire_and_leave_nothing_behind() {
    let (broker, clock) = still(HOUR).await;
    for id in ["a", "b", "c", "d"] {
        settle(&broker, id).await;
    }
    let batch = BatchId::generate();
    let mut of_a_batch = record("e", broker.now().await.expect("the time"));
    of_a_batch.key.batch = Some(batch);
    broker.submit(vec![of_a_batch.clone()]).await.expect("it is accepted");
    let cancel = Commit::step(&of_a_batch, Event::Cancel, clock.now()).expect("it waits");
    assert_eq!(broker.commit(&[cancel]).await, Ok(vec![Outcome::Done]));
    clock.advance(HOUR);
    assert_eq!(reap(&broker, HOUR).await, Ok(0));
    assert_eq!(broker.tally(None).await, Ok(vec![(Status::Completed, 4), (Status::Cancelled, 1)]), "not yet");
    clock.advance(Duration::from_millis(1));
    let new = submit(&broker, "new").await;
    let kept = broker.tally(None).await.expect("a tally");
    assert_eq!(
        kept,
        [(Status::Pending, 1), (Status::Completed, 2), (Status::Cancelled, 1)],
        "two for each new one"
    );
    assert_eq!(reap(&broker, HOUR).await, Ok(0));
    assert_eq!(broker.tally(None).await, Ok(vec![(Status::Pending, 1)]), "whoever reaps removes the rest");
    assert_eq!(broker.tally(Some(batch)).await, Ok(vec![]));
    let cancel = Commit::step(&new, Event::Cancel, clock.now()).expect("it waits");
    assert_eq!(broker.commit(&[cancel]).await, Ok(vec![Outcome::Done]));
    assert_eq!(broker.purge(None, Some(0)).await, Ok(1));
    let pattern = format!("{}:*", broker.shards[0].keys.shard());
    let left = array(broker.shards[0].command(&["KEYS", &pattern]).await.expect("the keys")).expect("a list");
    let mut left: Vec<String> = left
        .into_iter()
        .map(|key| form::text(bytes(key).expect("a key")).expect("a name"))
        .map(|key| key.trim_start_matches(broker.shards[0].keys.shard()).to_owned())
        .collect();
    left.sort();
    assert_eq!(left, [":counters", ":layout", ":tally", ":totals", ":turns"]);
}

#[tokio::test]
async fn two_processes_share_tasks_and_news() {
    let config = Config { url: SERVER.url(), swarm: swarm(), ..Config::default() };
    let one = RedisBroker::connect(config.clone()).await.expect("the store opens");
    let two = RedisBroker::connect(config).await.expect("the store opens");
    let mut heard = two.subscribe().await.expect("it listens");
    let record = submit(&one, "a").await;
    assert_eq!(heard.next().await, Some(News::Changed(record.key.clone(), Status::Pending)));
    assert_eq!(heard.next().await, Some(News::Work(Stage::Infer)));
    assert_eq!(two.get(&record.key).await, Ok(Some(record.clone())));
    assert_eq!(two.submit(vec![record.clone()]).await, Ok(vec![Submission::Known(record)]));
}

#[tokio::test]
async fn swarms_of_different_names_do_not_see_each_other() {
    let (one, _) = still(HOUR).await;
    let (two, _) = still(HOUR).await;
    let record = submit(&one, "a").await;
    assert_eq!(two.get(&record.key).await, Ok(None));
    assert_eq!(two.claim(&wants(1, HOUR)).await, Ok(vec![]));
}

#[tokio::test]
async fn a_lease_ends_by_the_clock_of_redis_and_its_zombie_is_refused() {
    let config = Config { url: SERVER.url(), swarm: swarm(), ..Config::default() };
    let broker = RedisBroker::connect(config).await.expect("the store opens");
    submit(&broker, "a").await;
    let zombie = claim_one(&broker, Duration::from_millis(1)).await;
    while reap(&broker, HOUR).await.expect("one can reap") == 0 {
        tokio::task::yield_now().await;
    }
    let successor = claim_one(&broker, HOUR).await;
    let late = answer(&zombie, broker.now().await.expect("the time"));
    assert_eq!(broker.commit(std::slice::from_ref(&late)).await, Ok(vec![Outcome::Conflict]));
    let settled = answer(&successor, broker.now().await.expect("the time"));
    assert_eq!(broker.commit(&[settled.clone(), late]).await, Ok(vec![Outcome::Done, Outcome::Conflict]));
    assert_eq!(broker.get(&successor.key).await, Ok(Some(settled.record)));
}

#[tokio::test]
async fn whatever_a_task_asks_for_can_be_asked_for() {
    let (broker, clock) = still(HOUR).await;
    for (n, capability) in ["naïve: a\nb", "a:b", "", "sha256-x"].into_iter().enumerate() {
        let mut record = record(&n.to_string(), clock.now());
        record.request.parameters.capability = Some(capability.to_owned());
        record.request.context.insert("tenant".to_owned(), json!("x:y / z"));
        broker.submit(vec![record.clone()]).await.expect("it is accepted");
        let able = Claim { capabilities: vec![capability.to_owned(); 2], ..wants(9, HOUR) };
        let claimed = broker.claim(&able).await.expect("it is handed out");
        assert_eq!(claimed.iter().map(|record| &record.key).collect::<Vec<_>>(), [&record.key]);
        assert_eq!(claimed[0].request, record.request);
    }
}

#[tokio::test]
async fn a_damaged_record_does_not_hold_up_the_others() {
    let (broker, clock) = still(HOUR).await;
    for id in ["a", "b", "c"] {
        submit(&broker, id).await;
    }
    let records = format!("{}:records", broker.shards[0].keys.shard());
    broker.shards[0].command(&["HSET", &records, "/b", "{"]).await.expect("it is damaged");
    let claimed = broker.claim(&wants(9, HOUR)).await.expect("they are handed out");
    assert_eq!(claimed.iter().map(|record| record.key.id.as_str()).collect::<Vec<_>>(), ["a", "c"]);
    clock.advance(HOUR);
    assert_eq!(reap(&broker, HOUR).await, Ok(2));
    let damaged = broker.get(&TaskKey::lone("b".parse().expect("an id"))).await;
    assert!(matches!(&damaged, Err(Error::Damaged(why)) if why.contains("/b")), "{damaged:?}");
}

#[tokio::test]
async fn numbers_beyond_all_reason_break_nothing() {
    let (broker, clock) = still(Duration::MAX).await;
    let record = submit(&broker, "a").await;
    let query = Query { limit: usize::MAX, offset: usize::MAX, ..Query::default() };
    assert_eq!(broker.list(&query).await, Ok(vec![]));
    let claimed = claim_one(&broker, Duration::MAX).await;
    assert_eq!(broker.get(&record.key).await, Ok(Some(claimed.clone())));
    assert_eq!(broker.overdue(Duration::MAX, usize::MAX).await, Ok(vec![]));
    assert_eq!(broker.commit(&[answer(&claimed, clock.now())]).await, Ok(vec![Outcome::Done]));
    assert_eq!(broker.purge(Some(Duration::MAX), Some(u64::MAX)).await, Ok(0));
    assert_eq!(broker.settled(BatchId::generate(), u64::MAX, usize::MAX).await, Ok(vec![]));
}

#[tokio::test]
async fn many_tenants_take_turns_too() {
    let (broker, clock) = still(HOUR).await;
    let of = |n: usize| {
        let mut record = record(&TaskId::generate().to_string(), clock.now());
        record.request.context.insert("tenant".to_owned(), json!(format!("tenant {:03}", n % 300)));
        record
    };
    for some in (0..600).map(of).collect::<Vec<_>>().chunks(MAX_BATCH) {
        broker.submit(some.to_vec()).await.expect("they are accepted");
    }
    let mut tenants = Vec::new();
    loop {
        let claimed = broker.claim(&wants(MAX_BATCH, HOUR)).await.expect("they are handed out");
        if claimed.is_empty() {
            break;
        }
        tenants.extend(claimed.iter().map(|record| record.tenant().to_string()));
    }
    let round: Vec<String> = (0..300).map(|n| format!("tenant {n:03}")).collect();
    assert_eq!(tenants[..300], round);
    assert_eq!(tenants[300..], round);
}

#[tokio::test]
async fn a_list_by_status_goes_beyond_a_page() {
    let (broker, clock) = still(HOUR).await;
    let records: Vec<Record> = (0..700).map(|n| record(&n.to_string(), clock.now())).collect();
    broker.submit(records.clone()).await.expect("they are accepted");
    let cancels: Vec<Commit> = records[..10]
        .iter()
        .chain(&records[690..])
        .map(|record| Commit::step(record, Event::Cancel, clock.now()).expect("it waits"))
        .collect();
    assert!(broker.commit(&cancels).await.expect("written").iter().all(|outcome| *outcome == Outcome::Done));
    let ids = async |query: Query| -> Vec<String> {
        let records = broker.list(&query).await.expect("a list");
        records.into_iter().map(|record| record.key.id.into()).collect()
    };
    let cancelled = Query { status: Some(Status::Cancelled), limit: 3, offset: 9, ..Query::default() };
    assert_eq!(ids(cancelled).await, ["690", "9", "8"]);
    let all = Query { limit: 2, offset: 689, ..Query::default() };
    assert_eq!(ids(all).await, ["10", "9"]);
    assert_eq!(ids(Query { status: Some(Status::Failed), ..Query::default() }).await, [""; 0]);
    assert_eq!(ids(Query { limit: 1000, ..Query::default() }).await.len(), 700);
}

#[tokio::test]
async fn settings_that_make_no_sense_are_refused() {
    for (url, swarm) in [("http://localhost", "a"), ("nonsense", "a"), ("redis://localhost", "a b")] {
        let config = Config { url: url.to_owned(), swarm: swarm.to_owned(), ..Config::default() };
        let refused = RedisBroker::connect(config).await.expect_err("it makes no sense");
        assert!(matches!(refused, Error::Misconfigured(_)), "{refused}");
    }
}

#[tokio::test]
async fn a_store_of_another_version_is_refused_by_name() {
    let config = Config { url: SERVER.url(), swarm: swarm(), ..Config::default() };
    let broker = RedisBroker::connect(config.clone()).await.expect("the store opens");
    broker.shards[0].command(&["SET", &broker.shards[0].keys.layout(), "99"]).await.expect("a later version");
    let refused = RedisBroker::connect(config).await.expect_err("it is of a later version");
    assert!(matches!(&refused, Error::Damaged(why) if why.contains("version 99")), "{refused}");
}

/// How many scripts a server has run.
async fn scripts(broker: &RedisBroker) -> u64 {
    let stats = broker.shards[0].command(&["INFO", "commandstats"]).await.expect("the server answers");
    let stats = form::text(bytes(stats).expect("a text")).expect("a text");
    let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls=")?.split(',').next());
    calls.expect("scripts are counted").parse().expect("a number")
}

#[tokio::test]
async fn commits_that_come_together_are_written_together_and_each_hears_of_its_own() {
    let server = RedisServer::start();
    let config = Config { url: server.url(), ..Config::default() };
    let broker = RedisBroker::connect(config).await.expect("the store opens");
    let now = broker.now().await.expect("the time");
    let records = (0..3 * MAX_BATCH).map(|n| record(&format!("task-{n}"), now)).collect();
    broker.submit(records).await.expect("they are accepted");
    let mut claimed = Vec::new();
    for _ in 0..3 {
        claimed.extend(broker.claim(&wants(MAX_BATCH, HOUR)).await.expect("they are handed out"));
    }
    let late = claimed.pop().expect("there are many");
    let begun = Commit::step(&late, Event::Start(late.lease().expect("it is leased").token), now);
    broker.commit(&[begun.expect("it was not begun")]).await.expect("it is written");

    let before = scripts(&broker).await;
    let commit = async |record: &Record| broker.commit(&[answer(record, now)]).await;
    let all = claimed.iter().chain([&late]).map(commit);
    let mut outcomes = join_all(all).await;
    assert_eq!(outcomes.pop(), Some(Ok(vec![Outcome::Conflict])), "it was begun meanwhile");
    assert!(outcomes.iter().all(|outcome| *outcome == Ok(vec![Outcome::Done])), "{outcomes:?}");
    let scripts = scripts(&broker).await - before;
    assert!(scripts < 12, "{scripts} scripts for {} commits", claimed.len() + 1);
}
