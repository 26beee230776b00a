//! Who is there, as the broker knows it, and what changes.
//!
//! The agents are read from the broker at most once a second, when somebody asks or watches, so that many who ask cost
//! one read; what this hub writes itself is known at once. Watchers get a snapshot, then every change with its number; one that
//! reads too slowly is cut off with a gap and begins anew.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use ghost_a2a::error::RpcError;
use ghost_a2a::frame::Position;
use ghost_a2a::session::{Part, gap};
use ghost_core::broker::{self, Broker, patiently};
use ghost_core::id::AgentId;
use ghost_core::lifecycle::Timestamp;
use ghost_core::messages::AgentInfo;
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio::time::Instant;

use crate::registry::{Discover, view};

/// How old may be what is told of others.
pub(crate) const FRESH: Duration = Duration::from_secs(1);
/// Changes that a watcher may fall behind.
const CHANGES: usize = 1024;
/// The most bytes of agents in one part of a snapshot.
const SNAPSHOT_BYTES: usize = 256 << 10;
/// Agents on a page, where nobody says, and at most.
const PAGE: usize = 100;
/// The name of the stream of changes.
const STREAM: &str = "agents";

/// Who is there.
pub(crate) struct Directory {
    broker: Arc<dyn Broker>,
    state: Mutex<State>,
    changes: broadcast::Sender<Arc<Change>>,
    /// Tells this directory's numbers from those of another hub.
    epoch: u64,
    reading: tokio::sync::Mutex<()>,
}

struct State {
    entries: BTreeMap<AgentId, Entry>,
    /// Counts what this hub wrote itself, so that an older read does not undo it.
    marks: u64,
    /// Who left through this hub, and when.
    left: HashMap<AgentId, u64>,
    seq: u64,
    /// The broker's time, and when it was asked.
    time: Option<(Timestamp, Instant)>,
}

struct Entry {
    info: AgentInfo,
    view: Value,
    mark: u64,
}

struct Change {
    seq: u64,
    value: Value,
}

impl Directory {
    pub(crate) fn new(broker: Arc<dyn Broker>, epoch: u64) -> Self {
        let state = State { entries: BTreeMap::new(), marks: 0, left: HashMap::new(), seq: 0, time: None };
        Self {
            broker,
            state: Mutex::new(state),
            changes: broadcast::channel(CHANGES).0,
            epoch,
            reading: tokio::sync::Mutex::default(),
        }
    }

    /// Reads the agents, unless they were read just now.
    pub(crate) async fn refresh(&self) -> Result<(), broker::Error> {
        let _one_at_a_time = self.reading.lock().await;
        let mark = {
            let state = self.state();
            if state.time.is_some_and(|(_, asked)| asked.elapsed() < FRESH) {
                return Ok(());
            }
            state.marks
        };
        let agents = patiently(|| self.broker.agents()).await?;
        let now = patiently(|| self.broker.now()).await?;
        let mut state = self.state();
        state.time = Some((now, Instant::now()));
        let mut read: BTreeMap<AgentId, AgentInfo> =
            agents.into_iter().map(|info| (info.agent_id.clone(), info)).collect();
        state.left.retain(|_, left| *left > mark);
        read.retain(|id, _| !state.left.contains_key(id));
        let gone: Vec<_> = state
            .entries
            .iter()
            .filter(|(id, entry)| entry.mark <= mark && !read.contains_key(*id))
            .map(|(id, _)| id.clone())
            .collect();
        for id in gone {
            self.remove(&mut state, &id);
        }
        for (id, info) in read {
            if state.entries.get(&id).is_none_or(|entry| entry.mark <= mark) {
                self.put(&mut state, info, now, mark);
            }
        }
        Ok(())
    }

    /// Takes note of what this hub wrote.
    pub(crate) fn note(&self, info: AgentInfo, now: Timestamp) {
        let mut state = self.state();
        state.marks += 1;
        let mark = state.marks;
        state.left.remove(&info.agent_id);
        self.put(&mut state, info, now, mark);
    }

    /// Takes note that an agent left through this hub.
    pub(crate) fn note_left(&self, id: &AgentId) {
        let mut state = self.state();
        state.marks += 1;
        let mark = state.marks;
        state.left.insert(id.clone(), mark);
        self.remove(&mut state, id);
    }

    /// An agent's record, if it is there.
    pub(crate) fn get(&self, id: &AgentId) -> Option<AgentInfo> {
        self.state().entries.get(id).map(|entry| entry.info.clone())
    }

    /// The agents that match, by name, and where the next page begins.
    pub(crate) fn find(&self, query: &Discover) -> (Vec<Value>, Option<String>) {
        let state = self.state();
        let now = state.now();
        let limit = query.limit.unwrap_or(PAGE).clamp(1, PAGE);
        let after = query.page_token.as_deref().unwrap_or("");
        let mut found = state
            .entries
            .values()
            .filter(|entry| entry.info.agent_id.as_str() > after && query.matches(&entry.info, now));
        let (mut page, mut bytes, mut last) = (Vec::new(), 0, None);
        for entry in found.by_ref() {
            let view = view(&entry.info, now);
            bytes += view.to_string().len();
            // One fits always: an agent is smaller than a page.
            if page.len() == limit || (bytes > SNAPSHOT_BYTES && !page.is_empty()) {
                return (page, last);
            }
            last = Some(entry.info.agent_id.to_string());
            page.push(view);
        }
        (page, None)
    }

    /// The broker's time, as far as it is known.
    pub(crate) fn now(&self) -> Timestamp {
        self.state().now()
    }

    /// How many agents there are.
    pub(crate) fn len(&self) -> usize {
        self.state().entries.len()
    }

    /// Whether anybody wants to hear of changes.
    pub(crate) fn is_watched(&self) -> bool {
        self.changes.receiver_count() > 0
    }

    /// Who is there, and from then on every change.
    pub(crate) fn watch(&self) -> BoxStream<'static, Result<Part, RpcError>> {
        let (views, seq, receiver) = {
            // Under one lock, so that no change falls between the two.
            let state = self.state();
            let views: Vec<_> = state.entries.values().map(|entry| entry.view.clone()).collect();
            (views, state.seq, self.changes.subscribe())
        };
        let epoch = self.epoch;
        let position = move |seq| Position { stream: STREAM.to_owned(), epoch, seq };
        let mut pages = pages(views).into_iter().peekable();
        let mut snapshot = Vec::new();
        while let Some(page) = pages.next() {
            let value = json!({"snapshot": page, "more": pages.peek().is_some()});
            snapshot.push(Ok(Part { value, position: position(seq) }));
        }
        let changes = stream::unfold(Some(receiver), move |receiver| async move {
            let mut receiver = receiver?;
            match receiver.recv().await {
                Ok(change) => {
                    let part = Part { value: change.value.clone(), position: position(change.seq) };
                    Some((Ok(part), Some(receiver)))
                }
                Err(broadcast::error::RecvError::Lagged(_)) => Some((Err(gap()), None)),
                Err(broadcast::error::RecvError::Closed) => None,
            }
        });
        stream::iter(snapshot).chain(changes).boxed()
    }

    fn put(&self, state: &mut State, info: AgentInfo, now: Timestamp, mark: u64) {
        let view = view(&info, now);
        let before = state.entries.get(&info.agent_id).map(|entry| &entry.view);
        let change = match before {
            Some(before) if *before == view => None,
            Some(_) => Some("changed"),
            None => Some("joined"),
        };
        if let Some(change) = change {
            self.tell(state, json!({"change": change, "agent": view}));
        }
        state.entries.insert(info.agent_id.clone(), Entry { info, view, mark });
    }

    fn remove(&self, state: &mut State, id: &AgentId) {
        if state.entries.remove(id).is_some() {
            self.tell(state, json!({"change": "down", "agent": {"agentId": id, "health": "down"}}));
        }
    }

    fn tell(&self, state: &mut State, value: Value) {
        state.seq += 1;
        // Nobody may be watching.
        let _ = self.changes.send(Arc::new(Change { seq: state.seq, value }));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn now(&self) -> Timestamp {
        self.time.map(|(time, asked)| time.plus(asked.elapsed())).unwrap_or_default()
    }
}

/// Views in parts that fit into frames; one part at least.
fn pages(views: Vec<Value>) -> Vec<Vec<Value>> {
    let (mut pages, mut bytes) = (vec![Vec::new()], 0);
    for view in views {
        let size = view.to_string().len();
        let page = pages.last_mut().expect("there is one from the start");
        if bytes + size > SNAPSHOT_BYTES && !page.is_empty() {
            pages.push(vec![view]);
            bytes = size;
        } else {
            page.push(view);
            bytes += size;
        }
    }
    pages
}
