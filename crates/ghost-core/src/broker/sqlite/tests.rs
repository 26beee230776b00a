//! SQLite through the contract suite, on good lines and bad, and what only a file can suffer.

use std::path::PathBuf;

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::broker::contract::{self, Harness};
use crate::broker::faulty::{Faults, Faulty};

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
