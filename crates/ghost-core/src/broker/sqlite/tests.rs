//! SQLite through the contract suite, on good lines and bad, and what only a file can suffer.

use std::path::PathBuf;

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::broker::contract::{self, Harness};
use crate::broker::faulty::{Faults, Faulty};
use crate::task::TaskRequest;

/// A store that can be put behind a bad line and, where it is a file, be closed, copied and opened again.
struct Sqlite {
    broker: Option<Box<dyn Broker>>,
    clock: Clock,
    directory: Option<TempDir>,
    faults: Option<Faults>,
}

impl Sqlite {
    fn in_memory(faults: Option<Faults>) -> Self {
        Self::start(None, faults)
    }

    fn in_a_file(faults: Option<Faults>) -> Self {
        Self::start(Some(TempDir::new().expect("a directory can be made")), faults)
    }

    fn start(directory: Option<TempDir>, faults: Option<Faults>) -> Self {
        let clock = Clock::manual(Timestamp(1_700_000_000_000));
        let mut harness = Self { broker: None, clock, directory, faults };
        harness.open();
        harness
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.directory.as_ref().map(|directory| directory.path().join(name))
    }

    fn open(&mut self) {
        let options = Options {
            backlog: contract::BACKLOG,
            durability: Durability::Crash,
            clock: self.clock.clone(),
            ..Options::default()
        };
        let opened = match self.path("ghost.db") {
            Some(path) => SqliteBroker::open(&path, options),
            None => SqliteBroker::in_memory(options),
        };
        let broker = opened.expect("the store opens");
        self.broker = Some(match self.faults {
            Some(faults) => Box::new(Faulty::new(broker, faults)),
            None => Box::new(broker),
        });
    }

    fn copy(&mut self, from: &str, to: &str) -> bool {
        let Some((from, to)) = self.path(from).zip(self.path(to)) else { return false };
        self.broker = None;
        std::fs::copy(from, to).expect("a closed store is one file");
        self.open();
        true
    }
}

#[async_trait]
impl Harness for Sqlite {
    fn broker(&self) -> &dyn Broker {
        self.broker.as_deref().expect("it is open")
    }

    fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }

    async fn restart(&mut self) -> bool {
        self.broker = None;
        let keeps = self.directory.is_some();
        self.open();
        keeps
    }

    async fn save(&mut self) -> bool {
        self.copy("ghost.db", "saved.db")
    }

    async fn roll_back(&mut self) {
        self.copy("saved.db", "ghost.db");
    }
}

#[tokio::test]
async fn a_store_in_memory_keeps_the_contract() {
    contract::suite(async || Sqlite::in_memory(None)).await;
}

#[tokio::test]
async fn a_store_in_a_file_keeps_the_contract() {
    contract::suite(async || Sqlite::in_a_file(None)).await;
}

#[tokio::test]
async fn a_store_behind_a_bad_line_keeps_what_can_be_kept() {
    for seed in 0..2 {
        contract::suite_under_faults(async || Sqlite::in_memory(Some(Faults::one_in_ten(seed)))).await;
    }
    contract::suite_under_faults(async || Sqlite::in_a_file(Some(Faults::one_in_ten(2)))).await;
}

fn record(id: &str, broker: &SqliteBroker) -> Record {
    let request = json!({"task_id": id, "task_type": "llm_inference", "description": "add two and two"});
    let request = TaskRequest::parse(request.to_string().as_bytes()).expect("a request");
    contract::record(None, request, broker.clock.now())
}

fn in_a_directory() -> (TempDir, PathBuf) {
    let directory = TempDir::new().expect("a directory can be made");
    let path = directory.path().join("ghost.db");
    (directory, path)
}

fn open(path: &Path) -> Result<SqliteBroker, Error> {
    SqliteBroker::open(path, Options { lock_wait: Duration::from_millis(1), ..Options::default() })
}

#[test]
fn a_file_that_is_something_else_is_refused_and_left_as_it_was() {
    let (_directory, path) = in_a_directory();
    let text = b"{\"task_id\": \"a\"}\n".repeat(100);
    std::fs::write(&path, &text).expect("it is written");
    let refused = open(&path).expect_err("this is JSON");
    assert!(matches!(&refused, Error::Damaged(why) if why.contains("ghost.db")), "{refused}");
    assert_eq!(std::fs::read(&path).expect("it is there"), text);

    let (_directory, path) = in_a_directory();
    let other = rusqlite::Connection::open(&path).expect("a new file");
    other.execute_batch("CREATE TABLE notes (text)").expect("a table");
    let refused = open(&path).expect_err("this is somebody's notes");
    assert!(matches!(&refused, Error::Damaged(why) if why.contains("another program")), "{refused}");
}

#[test]
fn a_store_of_another_version_is_refused_by_name() {
    let (_directory, path) = in_a_directory();
    drop(open(&path).expect("a new store"));
    let other = rusqlite::Connection::open(&path).expect("the store");
    other.pragma_update(None, "user_version", 99).expect("a later version");
    let refused = open(&path).expect_err("it is of a later version");
    assert!(matches!(&refused, Error::Damaged(why) if why.contains("version 99")), "{refused}");
}

#[tokio::test]
async fn a_store_of_before_there_were_documents_keeps_its_tasks_and_takes_documents() {
    let (_directory, path) = in_a_directory();
    let broker = open(&path).expect("a new store");
    let record = record("a", &broker);
    broker.submit(vec![record.clone()]).await.expect("it is accepted");
    drop(broker);
    let old = rusqlite::Connection::open(&path).expect("the store");
    old.execute_batch("DROP TABLE documents").expect("as it was before");
    drop(old);
    let broker = open(&path).expect("it is of this version still");
    let document = Document { version: 1, content: b"x".to_vec() };
    assert_eq!(broker.put_document("d", &document).await, Ok(true));
    assert_eq!(broker.document("d").await, Ok(Some(document)));
    assert_eq!(broker.get(&record.key).await, Ok(Some(record)));
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let refused = open(Path::new("/nowhere/ghost.db")).expect_err("there is no such directory");
    assert!(matches!(&refused, Error::Unavailable(why) if why.contains("/nowhere/ghost.db")), "{refused}");
}

#[tokio::test]
async fn a_store_that_another_process_is_writing_to_says_so_and_recovers() {
    let (_directory, path) = in_a_directory();
    let broker = open(&path).expect("a new store");
    let record = record("a", &broker);
    let other = rusqlite::Connection::open(&path).expect("the store");
    other.execute_batch("BEGIN IMMEDIATE").expect("a writer");
    let refused = broker.submit(vec![record.clone()]).await;
    assert!(matches!(refused, Err(Error::Locked(_))), "{refused:?}");
    assert_eq!(broker.get(&record.key).await, Ok(None), "readers are not locked out");
    other.execute_batch("COMMIT").expect("it is done");
    assert_eq!(broker.submit(vec![record.clone()]).await, Ok(vec![Submission::New(record)]));
}

#[tokio::test]
async fn a_full_disk_loses_nothing_that_was_accepted() {
    let (_directory, path) = in_a_directory();
    let broker = open(&path).expect("a new store");
    let pages = |n: i64| {
        broker.thread.read(move |store| {
            Ok(store.connection.pragma_update_and_check(None, "max_page_count", n, |_| Ok(()))?)
        })
    };
    let first = record("first", &broker);
    assert_eq!(broker.submit(vec![first.clone()]).await, Ok(vec![Submission::New(first.clone())]));
    pages(1).await.expect("the file may not grow");
    let mut accepted = Vec::new();
    let error = loop {
        let record = record(&format!("{}", accepted.len()), &broker);
        match broker.submit(vec![record.clone()]).await {
            Ok(_) => accepted.push(record),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::DiskFull(_)), "{error}");
    for record in accepted.iter().chain([&first]) {
        assert_eq!(broker.get(&record.key).await, Ok(Some(record.clone())));
    }
    pages(1_000_000).await.expect("there is room again");
    let next = record("next", &broker);
    assert_eq!(broker.submit(vec![next.clone()]).await, Ok(vec![Submission::New(next)]));
}

#[tokio::test]
async fn a_failing_call_takes_nothing_from_those_that_share_its_transaction() {
    let broker = SqliteBroker::in_memory(Options::default()).expect("a store");
    let (good, bad) = (record("good", &broker), record("bad", &broker));
    let rows = |record: &Record| vec![(Row::of(record), "{}".to_owned())];
    let (good_rows, bad_rows) = (rows(&good), rows(&bad));
    let (accepted, refused) = tokio::join!(
        broker.thread.write(|store| store.submit(good_rows).map(drop)),
        broker.thread.write(|store| {
            store.submit(bad_rows)?;
            Err::<(), _>(Error::Unavailable("changed its mind".to_owned()))
        }),
    );
    assert_eq!((accepted, refused), (Ok(()), Err(Error::Unavailable("changed its mind".to_owned()))));
    assert_eq!(broker.tally(None).await, Ok(vec![(Status::Pending, 1)]));
    assert_eq!(broker.counters().await, Ok(Counters::from([("tasks.submitted".to_owned(), 1)])));
}

#[tokio::test]
async fn two_brokers_on_one_file_see_each_others_tasks() {
    let (_directory, path) = in_a_directory();
    let one = SqliteBroker::open(&path, Options::default()).expect("a new store");
    let two = SqliteBroker::open(&path, Options::default()).expect("the same store");
    let record = record("a", &one);
    one.submit(vec![record.clone()]).await.expect("it is accepted");
    assert_eq!(two.get(&record.key).await, Ok(Some(record.clone())));
    assert_eq!(two.submit(vec![record.clone()]).await, Ok(vec![Submission::Known(record)]));
}

#[tokio::test]
async fn time_does_not_run_backwards_over_a_restart() {
    let (_directory, path) = in_a_directory();
    let at = |ms| Options { clock: Clock::manual(Timestamp(ms)), ..Options::default() };
    let broker = SqliteBroker::open(&path, at(5_000)).expect("a new store");
    broker.submit(vec![record("a", &broker)]).await.expect("it is accepted");
    drop(broker);
    let broker = SqliteBroker::open(&path, at(1_000)).expect("the store, by a clock that is behind");
    broker.submit(vec![record("b", &broker)]).await.expect("it is accepted");
    assert_eq!(broker.now().await, Ok(Timestamp(5_000)));
}
