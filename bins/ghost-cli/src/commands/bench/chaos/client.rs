//! Those who want tasks done. They go through the doors alone, survive the death of what is behind them by asking again
//! under the same id, and keep a journal of what they were told.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use ghost_core::lifecycle::{Record, State, Timestamp};
use ghost_core::retry::Backoff;
use ghost_core::stats::Statistics;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::load::{self, Kind};
use super::progress::Progress;

/// Tasks that are under way at once: more than the workers take at once, less than one door lets wait.
const AT_ONCE: usize = 224;
/// How long a door is asked to wait for the end of a task.
const WAIT: u64 = 10;
/// How long a door may be silent beyond that.
const SILENCE: Duration = Duration::from_secs(10);
const BACKOFF: Backoff = Backoff::growing(Duration::from_millis(10), Duration::from_millis(250));
/// How long the doors may refuse to tell what came of everything, when nothing is broken any more.
const PATIENCE: Duration = Duration::from_secs(60);
/// Records that a door hands over at once.
const PAGE: usize = 500;

/// What a client knows of one task.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Entry {
    /// A door said that it was accepted.
    pub(super) accepted: bool,
    /// How it ended, as it was first seen.
    pub(super) settled: Option<Settled>,
    /// How often the swarm knew nothing of it after it was accepted.
    pub(super) forgotten: u32,
    /// How often it was submitted again, be it that no answer came or that it was forgotten.
    pub(super) repeated: u32,
    /// What no door should ever say.
    pub(super) oddities: Vec<String>,
}

/// The end of a task, as far as it must never change.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Settled {
    pub(super) state: State,
    pub(super) generation: u32,
    pub(super) at: Option<Timestamp>,
}

impl Settled {
    /// How this task ended; none where it did not yet.
    pub(super) fn of(record: &Record) -> Option<Self> {
        record.status().is_settled().then(|| Self {
            state: record.state.clone(),
            generation: record.generation,
            at: record.settled_at,
        })
    }
}

/// All clients.
pub(super) struct Clients {
    http: reqwest::Client,
    doors: Vec<String>,
    journal: Mutex<Vec<Entry>>,
    progress: Arc<Progress>,
}

#[derive(Deserialize)]
struct Listed {
    tasks: Vec<Record>,
    next_offset: Option<usize>,
}

impl Clients {
    pub(super) fn new(doors: Vec<String>, tasks: usize, progress: Arc<Progress>) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(Duration::from_secs(2))
            .timeout(Duration::from_secs(WAIT) + SILENCE)
            .build()?;
        Ok(Self { http, doors, journal: Mutex::new(vec![Entry::default(); tasks]), progress })
    }

    /// Sees every task through, as they are admitted.
    pub(super) async fn run(self: &Arc<Self>) -> anyhow::Result<()> {
        let tasks = self.journal().len();
        let next = Arc::new(AtomicUsize::new(0));
        let mut under_way = JoinSet::new();
        for _ in 0..AT_ONCE.min(tasks) {
            let (this, next) = (self.clone(), next.clone());
            under_way.spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= tasks {
                        return;
                    }
                    this.progress.admission(number).await;
                    this.see_through(number).await;
                    this.progress.settled();
                }
            });
        }
        while let Some(done) = under_way.join_next().await {
            done.context("a client panicked")?;
        }
        Ok(())
    }

    /// Submits a task and stays with it to its end, however often the swarm dies meanwhile.
    pub(super) async fn see_through(&self, number: usize) {
        let mut attempt = Attempt { clients: self, number, door: number, failures: 0 };
        while !attempt.seen().await {
            attempt.again().await;
        }
    }

    /// What the clients know of each task.
    pub(super) fn journal(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that the swarm knows of.
    pub(super) async fn records(&self) -> anyhow::Result<Vec<Record>> {
        let (mut records, mut next) = (Vec::new(), Some(0));
        while let Some(offset) = next {
            let path = format!("/v1/tasks?view=record&limit={PAGE}&offset={offset}");
            let page: Listed = self.insist(&path).await?;
            records.extend(page.tasks);
            next = page.next_offset;
        }
        Ok(records)
    }

    /// What the swarm counted.
    pub(super) async fn statistics(&self) -> anyhow::Result<Statistics> {
        self.insist("/v1/stats").await
    }

    async fn insist<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let late = Instant::now() + PATIENCE;
        let mut failures = 0;
        loop {
            let door = &self.doors[failures as usize % self.doors.len()];
            let told = async {
                let response = self.http.get(format!("{door}{path}")).send().await?.error_for_status()?;
                response.json().await
            };
            match told.await {
                Err(error) if Instant::now() > late => {
                    return Err(error).context("the swarm does not tell what came of the tasks");
                }
                Err(_) => {
                    failures += 1;
                    sleep(BACKOFF.wait(failures, &mut fastrand::Rng::new())).await;
                }
                Ok(told) => return Ok(told),
            }
        }
    }
}

/// One client with its task.
struct Attempt<'a> {
    clients: &'a Clients,
    number: usize,
    door: usize,
    failures: u32,
}

impl Attempt<'_> {
    /// Goes through all of it; false where a door failed on the way, so that it is to be begun again.
    async fn seen(&mut self) -> bool {
        let submit = self.request(Method::POST, "?view=record").json(&load::request(self.number));
        let mut record = match self.ask(submit).await {
            Told::Record(record) => *record,
            Told::Missing | Told::Nothing => return false,
        };
        self.note(|entry| entry.accepted = true);
        if Kind::of(self.number) == Kind::Withdrawn && !record.status().is_settled() {
            match self.ask(self.request(Method::DELETE, &self.path(""))).await {
                // It is withdrawn, or was settled before: the record tells.
                Told::Record(_) | Told::Nothing => {}
                Told::Missing => return self.forgotten(),
            }
        }
        while !record.status().is_settled() {
            let wait = self.path(&format!("?view=record&wait={WAIT}"));
            record = match self.ask(self.request(Method::GET, &wait)).await {
                Told::Record(record) => *record,
                Told::Missing => return self.forgotten(),
                Told::Nothing => {
                    self.back_off().await;
                    continue;
                }
            };
        }
        let settled = Settled::of(&record);
        self.note(|entry| entry.settled = settled);
        true
    }

    async fn again(&mut self) {
        self.note(|entry| entry.repeated += 1);
        self.back_off().await;
    }

    async fn back_off(&mut self) {
        self.failures += 1;
        self.door += 1;
        sleep(BACKOFF.wait(self.failures, &mut fastrand::Rng::new())).await;
    }

    fn forgotten(&self) -> bool {
        self.note(|entry| entry.forgotten += 1);
        false
    }

    fn note(&self, change: impl FnOnce(&mut Entry)) {
        change(&mut self.clients.journal()[self.number]);
    }

    fn path(&self, query: &str) -> String {
        format!("/{}{query}", load::id(self.number))
    }

    fn request(&self, method: Method, rest: &str) -> RequestBuilder {
        let door = &self.clients.doors[self.door % self.clients.doors.len()];
        self.clients.http.request(method, format!("{door}/v1/tasks{rest}"))
    }

    async fn ask(&mut self, request: RequestBuilder) -> Told {
        let Ok(response) = request.send().await else { return Told::Nothing };
        let status = response.status();
        let Ok(body) = response.bytes().await else { return Told::Nothing };
        match status {
            StatusCode::NOT_FOUND => Told::Missing,
            // Full, or without Redis: later.
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Told::Nothing,
            _ if status.is_success() => match serde_json::from_slice(&body) {
                Ok(record) => Told::Record(record),
                Err(_) => Told::Nothing,
            },
            _ => {
                let words = String::from_utf8_lossy(&body);
                // What was settled cannot be withdrawn.
                if !words.contains("already_settled") {
                    let words = format!("a door said of {}: {status} {words}", load::id(self.number));
                    self.note(|entry| entry.oddities.push(words));
                }
                Told::Nothing
            }
        }
    }
}

/// What a door says.
enum Told {
    /// How a task stands.
    Record(Box<Record>),
    /// That there is no such task.
    Missing,
    /// Nothing that helps, for now.
    Nothing,
}
