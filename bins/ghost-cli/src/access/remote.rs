//! A running orchestrator, over its HTTP door (`docs/doors.md`).

use std::time::Duration;

use anyhow::Context as _;
use futures_util::StreamExt as _;
use ghost_core::broker::Query;
use ghost_core::config::Secret;
use ghost_core::experiment::{Definition, Report};
use ghost_core::feedback::Feedback;
use ghost_core::id::TaskKey;
use ghost_core::inference::sse;
use ghost_core::lifecycle::{DELIVERIES_EXHAUSTED, Record};
use ghost_core::messages::AgentInfo;
use ghost_core::retry::Backoff;
use ghost_core::stats::Statistics;
use ghost_core::task::{Status, TaskRequest};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Page, Seen};
use crate::exit::misuse;
use crate::output::plain;

const CONNECT: Duration = Duration::from_secs(5);
/// How long a door may leave us without a byte; its streams say every 15 s that they live.
const SILENCE: Duration = Duration::from_secs(60);
/// How often in a row a stream may break before its watcher gives up.
const TRIES: u32 = 8;
/// The door gives no more at once.
const PAGE: usize = 500;

/// The way to an orchestrator.
#[derive(Debug)]
pub(crate) struct Remote {
    client: Client,
    base: Url,
    token: Option<Secret>,
}

/// What a door says no with.
#[derive(Deserialize)]
struct Refusal {
    error: Words,
}

#[derive(Deserialize)]
struct Words {
    code: String,
    message: String,
}

/// A refusal with its code, so that a caller can tell it from others.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct Refused {
    code: String,
    message: String,
}

#[derive(Deserialize)]
struct Listed {
    tasks: Vec<Record>,
    next_offset: Option<usize>,
    total: Option<u64>,
}

#[derive(Deserialize)]
struct Agents {
    agents: Vec<AgentInfo>,
}

#[derive(Deserialize)]
struct Experiments {
    experiments: Vec<Report>,
}

#[derive(Deserialize)]
struct Queue {
    tasks: Map<String, Value>,
}

#[derive(Deserialize)]
struct Stands {
    status: Status,
}

#[derive(Deserialize)]
struct Wrote {
    text: String,
}

impl Remote {
    pub(crate) fn new(url: &str, token: Option<Secret>) -> anyhow::Result<Self> {
        let base = Url::parse(url).map_err(|error| misuse(format!("{url} is no address: {error}")))?;
        let mut client = Client::builder()
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            // The token goes where it was meant to go.
            .redirect(Policy::none())
            .user_agent(concat!("ghost-swarm/", env!("CARGO_PKG_VERSION")));
        if base.host_str().is_some_and(|host| matches!(host, "localhost" | "127.0.0.1" | "[::1]")) {
            client = client.no_proxy();
        }
        let client = client.build().context("the network cannot be used")?;
        Ok(Self { client, base, token })
    }

    /// Submits a task; the same id and payload again are the same task.
    pub(crate) async fn submit(&self, request: &TaskRequest) -> anyhow::Result<Record> {
        let mut url = self.url(&["v1", "tasks"]);
        url.set_query(Some("view=record"));
        self.json(self.post(url, request)?).await.map_err(|error| match code(&error) {
            Some("id_conflict" | "invalid_task") => misuse(error.to_string()),
            _ => error,
        })
    }

    /// Takes a failed task up again.
    pub(crate) async fn retry(&self, key: &TaskKey) -> anyhow::Result<()> {
        let post = self.client.post(self.url(&["v1", "tasks", &key.to_string(), "retry"]));
        self.send(post).await?;
        Ok(())
    }

    /// Takes a dead letter up again.
    pub(crate) async fn replay(&self, key: &TaskKey) -> anyhow::Result<()> {
        let post = self.client.post(self.url(&["v1", "dead-letters", &key.to_string(), "replay"]));
        self.send(post).await?;
        Ok(())
    }

    pub(super) async fn find(&self, name: &str) -> anyhow::Result<Record> {
        let mut url = self.url(&["v1", "tasks", name]);
        url.set_query(Some("view=record"));
        let found = self.json(self.client.get(url)).await;
        found.map_err(|error| match code(&error) {
            Some("task_not_found") => {
                anyhow::anyhow!("there is no task `{name}` at {}; `ghost ps` lists them", self.base)
            }
            Some("ambiguous_id") => misuse(format!(
                "several runs have a task `{name}`; say which one as RUN/{name}; `ghost ps` lists them"
            )),
            Some("invalid_id") => misuse(format!("`{name}` names no task: {error}")),
            _ => error,
        })
    }

    pub(super) async fn page(&self, query: &Query) -> anyhow::Result<Page> {
        let path: &[&str] = match query.failure.as_deref() {
            None => &["v1", "tasks"],
            Some(DELIVERIES_EXHAUSTED) => &["v1", "dead-letters"],
            Some(code) => anyhow::bail!("an orchestrator lists no tasks that failed with {code}"),
        };
        let (mut records, mut total) = (Vec::new(), None);
        let mut next = Some(query.offset);
        while let Some(offset) = next.filter(|_| records.len() < query.limit) {
            let mut url = self.url(path);
            {
                let mut pairs = url.query_pairs_mut();
                let limit = PAGE.min(query.limit - records.len());
                pairs.append_pair("view", "record").append_pair("limit", &limit.to_string());
                pairs.append_pair("offset", &offset.to_string());
                if let Some(status) = query.status {
                    pairs.append_pair("status", status.name());
                }
                if let Some(batch) = query.batch {
                    pairs.append_pair("batch", &batch.to_string());
                }
            }
            let listed: Listed = self.json(self.client.get(url)).await?;
            records.extend(listed.tasks);
            (next, total) = (listed.next_offset, listed.total);
        }
        Ok(Page { records, total })
    }

    pub(super) async fn cancel(&self, key: &TaskKey) -> anyhow::Result<Option<Status>> {
        let name = key.to_string();
        let delete = self.client.request(Method::DELETE, self.url(&["v1", "tasks", &name]));
        match self.send(delete).await {
            Ok(_) => Ok(None),
            Err(error) if code(&error) == Some("already_settled") => {
                Ok(Some(self.find(&name).await?.status()))
            }
            Err(error) => Err(error),
        }
    }

    pub(super) async fn rate(&self, key: &TaskKey, feedback: &Feedback) -> anyhow::Result<()> {
        let url = self.url(&["v1", "tasks", &key.to_string(), "feedback"]);
        self.send(self.post(url, feedback)?).await?;
        Ok(())
    }

    pub(super) async fn watch(
        &self,
        key: &TaskKey,
        each: &mut dyn FnMut(Seen) -> anyhow::Result<()>,
    ) -> anyhow::Result<Record> {
        let name = key.to_string();
        let backoff = Backoff::growing(Duration::from_millis(250), Duration::from_secs(5));
        let (mut told, mut failures) = (None, 0);
        loop {
            let response = match self.send(self.client.get(self.url(&["v1", "tasks", &name, "events"]))).await
            {
                Ok(response) => response,
                // An orchestrator that restarts comes back; one that was never there does not.
                Err(error) if failures == 0 || failures >= TRIES || code(&error).is_some() => {
                    return Err(error);
                }
                Err(_) => {
                    failures += 1;
                    tokio::time::sleep(backoff.wait(failures, &mut fastrand::Rng::new())).await;
                    continue;
                }
            };
            let mut events = sse::events(Box::pin(response.bytes_stream()));
            while let Some(Ok(event)) = events.next().await {
                failures = 0;
                match event.name.as_deref() {
                    Some("task" | "status") => {
                        let Stands { status } = self.read(event.data.as_bytes())?;
                        if told.replace(status) != Some(status) {
                            each(Seen::Status(status))?;
                        }
                        if status.is_settled() {
                            return self.find(&name).await;
                        }
                    }
                    Some("delta") => each(Seen::Delta(self.read::<Wrote>(event.data.as_bytes())?.text))?,
                    _ => {}
                }
            }
            failures += 1;
            tokio::time::sleep(backoff.wait(failures, &mut fastrand::Rng::new())).await;
        }
    }

    pub(super) async fn statistics(&self) -> anyhow::Result<Statistics> {
        self.json(self.client.get(self.url(&["v1", "stats"]))).await
    }

    pub(super) async fn start(&self, definition: &Definition) -> anyhow::Result<(Report, bool)> {
        let post = self.post(self.url(&["v1", "experiments"]), definition)?;
        let response = self.send(post).await.map_err(of_experiments)?;
        let new = response.status() == StatusCode::CREATED;
        let body = response.bytes().await.map_err(|error| self.unreachable(&error))?;
        Ok((self.read(&body)?, new))
    }

    pub(super) async fn stop(&self, name: &str) -> anyhow::Result<Report> {
        let post = self.client.post(self.url(&["v1", "experiments", name, "stop"]));
        self.json(post).await.map_err(of_experiments)
    }

    pub(super) async fn experiments(&self) -> anyhow::Result<Vec<Report>> {
        let get = self.client.get(self.url(&["v1", "experiments"]));
        Ok(self.json::<Experiments>(get).await?.experiments)
    }

    pub(super) async fn agents(&self) -> anyhow::Result<Vec<AgentInfo>> {
        Ok(self.json::<Agents>(self.client.get(self.url(&["v1", "agents"]))).await?.agents)
    }

    pub(super) async fn queue(&self) -> anyhow::Result<Vec<(Status, u64)>> {
        let Queue { tasks } = self.json(self.client.get(self.url(&["v1", "queue"]))).await?;
        let count = |status: Status| Some((status, tasks.get(status.name())?.as_u64()?));
        Ok(Status::ALL.into_iter().filter_map(count).collect())
    }

    fn post(&self, url: Url, thing: &impl Serialize) -> anyhow::Result<RequestBuilder> {
        let body = serde_json::to_vec(thing)?;
        Ok(self.client.post(url).header("content-type", "application/json").body(body))
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        url.path_segments_mut().expect("an http address has a path").pop_if_empty().extend(path);
        url
    }

    async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> anyhow::Result<T> {
        let body = self.send(request).await?.bytes().await;
        self.read(&body.map_err(|error| self.unreachable(&error))?)
    }

    fn read<T: DeserializeOwned>(&self, body: &[u8]) -> anyhow::Result<T> {
        let words = || format!("what answers at {} is no orchestrator of this version", self.base);
        serde_json::from_slice(body).with_context(words)
    }

    /// The response, if it is a good one.
    async fn send(&self, mut request: RequestBuilder) -> anyhow::Result<Response> {
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.reveal());
        }
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        if status == StatusCode::UNAUTHORIZED {
            anyhow::bail!(
                "{} wants a token: set GHOST_API_TOKEN to {}",
                self.base,
                if self.token.is_some() { "the right one; this one is not" } else { "that of the swarm" }
            );
        }
        let body = response.bytes().await.unwrap_or_default();
        match serde_json::from_slice::<Refusal>(&body) {
            Ok(Refusal { error: Words { code, message } }) => {
                Err(Refused { code, message: plain(&message) }.into())
            }
            Err(_) => anyhow::bail!(
                "what answers at {} is no orchestrator: it says {status}; --url and GHOST_URL say where one is",
                self.base
            ),
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> anyhow::Error {
        let base = &self.base;
        if error.is_connect() {
            return anyhow::anyhow!(
                "nobody answers at {base}; is it running? `ghost up` starts a swarm, --url and GHOST_URL say where one is"
            );
        }
        let mut words = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(source) = cause {
            words.push_str(&format!(": {source}"));
            cause = source.source();
        }
        anyhow::anyhow!("{base} did not answer: {words}; try again")
    }
}

/// The code of a refusal.
fn code(error: &anyhow::Error) -> Option<&str> {
    error.downcast_ref::<Refused>().map(|refused| refused.code.as_str())
}

/// A definition that makes no sense is its author's to mend.
fn of_experiments(error: anyhow::Error) -> anyhow::Error {
    match code(&error) {
        Some("invalid_experiment" | "experiment_running" | "name_taken" | "experiment_not_found") => {
            misuse(error.to_string())
        }
        _ => error,
    }
}
