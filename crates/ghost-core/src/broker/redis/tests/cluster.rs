//! Several shards, and the Cluster whose nodes have them.

use std::collections::HashSet;

use super::own::{HOUR, answer, record, wants};
use super::*;
use crate::broker::testing::free_port;
use crate::broker::{patiently, reap};

const SHARDS: usize = 6;
const PATIENT: Duration = Duration::from_secs(20);
/// The slots of a Cluster, by node.
const SLOTS: [(&str, &str); 3] = [("0", "5460"), ("5461", "10922"), ("10923", "16383")];

/// Three nodes that know each other.
struct Cluster(Vec<RedisServer>);

impl Cluster {
    fn start() -> Self {
        let buses = SLOTS.map(|_| free_port().to_string());
        let node = |bus: &String| {
            // What is left goes on where a node is gone.
            let settings =
                ["--cluster-enabled", "yes", "--cluster-require-full-coverage", "no", "--cluster-port", bus];
            RedisServer::with(&settings)
        };
        let nodes: Vec<RedisServer> = buses.iter().map(node).collect();
        let ask = |node: &RedisServer, words: &[&str]| node.cli(words).expect("redis-cli is there");
        let (port, bus) = (nodes[0].port().to_string(), &buses[0]);
        for (number, (node, (from, to))) in nodes.iter().zip(SLOTS).enumerate() {
            ask(node, &["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]);
            ask(node, &["CLUSTER", "ADDSLOTSRANGE", from, to]);
            ask(node, &["CLUSTER", "MEET", "127.0.0.1", &port, bus]);
        }
        let agreed = |node: &RedisServer| {
            let info = ask(node, &["CLUSTER", "INFO"]);
            info.contains("cluster_state:ok") && info.contains("cluster_slots_ok:16384")
        };
        while !nodes.iter().all(agreed) {
            std::thread::yield_now();
        }
        Self(nodes)
    }

    /// The node that has the first shard.
    fn first(&self) -> usize {
        let slot = self.0[0].cli(&["CLUSTER", "KEYSLOT", "{gs:ghost:0}"]).expect("redis-cli is there");
        let slot: u32 = slot.trim().parse().expect("a slot");
        SLOTS.iter().position(|(_, to)| slot <= to.parse().expect("a slot")).expect("all slots are given")
    }

    /// A store that begins at another node than that of the first shard.
    async fn connect(&self, patience: Duration) -> RedisBroker {
        let url = self.0[(self.first() + 1) % SLOTS.len()].url();
        let config = Config { url, shards: SHARDS, patience, ..Config::default() };
        RedisBroker::connect(config).await.expect("the store opens")
    }
}

/// A store of several shards on the shared server.
async fn connect(shards: usize, swarm: &str) -> Result<RedisBroker, Error> {
    let config = Config { url: SERVER.url(), shards, swarm: swarm.to_owned(), ..Config::default() };
    RedisBroker::connect(config).await
}

async fn submit_many(broker: &RedisBroker, count: usize) -> Vec<Record> {
    let now = broker.now().await.expect("the time");
    let records: Vec<Record> = (0..count).map(|n| record(&format!("task-{n}"), now)).collect();
    let submitted = broker.submit(records.clone()).await.expect("they are accepted");
    assert_eq!(submitted, records.iter().cloned().map(Submission::New).collect::<Vec<_>>(), "in their order");
    records
}

fn ids(records: &[Record]) -> HashSet<&str> {
    records.iter().map(|record| record.key.id.as_str()).collect()
}

#[tokio::test]
async fn a_cluster_keeps_each_shard_on_one_of_its_nodes() {
    let cluster = Cluster::start();
    let broker = cluster.connect(PATIENT).await;
    let mut news = broker.subscribe().await.expect("it listens");
    let records = submit_many(&broker, 200).await;
    let mut heard = HashSet::new();
    while heard.len() < records.len() {
        if let Some(News::Changed(key, Status::Pending)) = news.next().await {
            heard.insert(key);
        }
    }
    let mut held = Vec::new();
    while held.len() < records.len() {
        let claimed = broker.claim(&wants(50, HOUR)).await.expect("they are handed out");
        assert!(!claimed.is_empty(), "whatever shard is looked into first");
        held.extend(claimed);
    }
    assert_eq!(ids(&held), ids(&records));
    let now = broker.now().await.expect("the time");
    let commits: Vec<Commit> = held.iter().map(|record| answer(record, now)).collect();
    assert_eq!(broker.commit(&commits).await, Ok(vec![Outcome::Done; 200]));
    assert_eq!(broker.tally(None).await, Ok(vec![(Status::Completed, 200)]));
    let sizes = cluster.0.iter().map(|node| node.cli(&["DBSIZE"]).expect("it answers"));
    assert!(sizes.filter(|size| size.trim() != "0").count() > 1, "all lies on one node");
}

#[tokio::test]
async fn a_node_that_dies_takes_its_own_shards_along_and_brings_them_back() {
    let mut cluster = Cluster::start();
    let broker = cluster.connect(PATIENT).await;
    let records = submit_many(&broker, 100).await;
    let short = broker.claim(&wants(40, Duration::from_millis(1))).await.expect("they are handed out");
    assert_eq!(short.len(), 40);
    let impatient = cluster.connect(Duration::from_millis(50)).await;
    let first = cluster.first();
    cluster.0[first].kill();
    let left = impatient.claim(&wants(MAX_BATCH, HOUR)).await.expect("the others go on");
    assert!(!left.is_empty());
    while reap(&impatient, HOUR).await.expect("the others are looked after") == 0 {
        tokio::task::yield_now().await;
    }
    let mut refused = None;
    for record in &records {
        if let Err(error) = impatient.get(&record.key).await {
            refused = Some(error);
            break;
        }
    }
    assert!(
        matches!(refused, Some(Error::Unavailable(_))),
        "some of a hundred lay on that node: {refused:?}"
    );
    cluster.0[first].restart();
    for record in &records {
        let found = patiently(|| broker.get(&record.key)).await.expect("it is back");
        assert!(found.is_some(), "nothing is lost");
    }
}

#[tokio::test]
async fn lists_and_counters_are_of_all_shards_and_a_batch_lies_in_one() {
    let broker = connect(3, &swarm()).await.expect("the store opens");
    let now = broker.now().await.expect("the time");
    for n in 0..9 {
        let later = Timestamp(now.0 + n);
        broker.submit(vec![record(&format!("{n}"), later)]).await.expect("it is accepted");
    }
    let query = Query { limit: 3, offset: 2, ..Query::default() };
    let listed = broker.list(&query).await.expect("a list");
    assert_eq!(listed.iter().map(|record| record.key.id.as_str()).collect::<Vec<_>>(), ["6", "5", "4"]);
    assert_eq!(broker.counters().await.expect("counters")["tasks.submitted"], 9);

    let batch = BatchId::generate();
    let of_it = |n: usize| {
        let mut record = record(&format!("of-a-batch-{n}"), now);
        record.key.batch = Some(batch);
        record
    };
    let records: Vec<Record> = (0..20).map(of_it).collect();
    broker.submit(records.clone()).await.expect("they are accepted");
    let cancels: Vec<Commit> =
        records.iter().map(|record| Commit::step(record, Event::Cancel, now).expect("it waits")).collect();
    assert_eq!(broker.commit(&cancels).await, Ok(vec![Outcome::Done; 20]));
    let first = broker.settled(batch, 0, 15).await.expect("the first of them");
    let (cursor, _) = first.last().expect("there are some");
    let rest = broker.settled(batch, *cursor, 15).await.expect("the others");
    assert_eq!((first.len(), rest.len()), (15, 5));
    assert_eq!(broker.tally(Some(batch)).await, Ok(vec![(Status::Cancelled, 20)]));
    assert_eq!(broker.purge(None, Some(0)).await, Ok(20));

    assert_eq!(broker.claim(&wants(9, HOUR)).await.expect("they are handed out").len(), 9);
    assert_eq!(broker.release_all().await, Ok(9));
    assert_eq!(broker.claim(&wants(9, HOUR)).await.expect("and again").len(), 9);
}

#[tokio::test]
async fn a_program_that_counts_other_shards_than_the_swarm_has_is_refused() {
    for (there, here) in [(1, 2), (3, 1), (3, 2)] {
        let swarm = swarm();
        connect(there, &swarm).await.expect("the store opens");
        connect(there, &swarm).await.expect("and again");
        let refused = connect(here, &swarm).await.expect_err("it would not find the tasks");
        let says = format!("lie in {there} shards, and REDIS_SHARDS says {here}");
        assert!(matches!(&refused, Error::Misconfigured(why) if why.contains(&says)), "{refused}");
    }
    for shards in [0, MOST_SHARDS + 1] {
        let refused = connect(shards, &swarm()).await.expect_err("it makes no sense");
        assert!(matches!(refused, Error::Misconfigured(_)), "{refused}");
    }
}
