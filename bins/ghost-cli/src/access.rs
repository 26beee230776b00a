//! The swarm that a command looks at: the data directory on this machine, or one that runs, over its orchestrator's door.
//!
//! Commands ask an [`Access`] and do not know which it is. Only those that execute tasks have to: where there is no
//! running swarm, they host one ([`crate::swarm`]).

use std::time::{SystemTime, UNIX_EPOCH};

use ghost_core::broker::Query;
use ghost_core::experiment::{Definition, Report};
use ghost_core::feedback::Feedback;
use ghost_core::id::{BatchId, TaskKey};
use ghost_core::lifecycle::{Record, Timestamp};
use ghost_core::messages::AgentInfo;
use ghost_core::stats::Statistics;
use ghost_core::task::Status;

mod local;
mod remote;

pub(crate) use local::Local;
pub(crate) use remote::Remote;

/// Records that one page of a long list holds.
const PAGE: usize = 500;

/// A swarm to look at.
pub(crate) enum Access {
    /// The store in the data directory.
    Local(Local),
    /// A running orchestrator.
    Remote(Remote),
}

/// Some records of a list.
#[derive(Debug)]
pub(crate) struct Page {
    /// Newest first.
    pub records: Vec<Record>,
    /// How many there are in all, where that is known.
    pub total: Option<u64>,
}

/// What is seen of a task that is watched.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Seen {
    /// It stands elsewhere now.
    Status(Status),
    /// A model wrote this.
    Delta(String),
}

impl Access {
    /// The task of this name: its id, or `RUN/ID` where several runs have such a task.
    pub(crate) async fn find(&self, name: &str) -> anyhow::Result<Record> {
        match self {
            Access::Local(local) => local.find(name).await,
            Access::Remote(remote) => remote.find(name).await,
        }
    }

    /// Up to `query.limit` records that fit.
    pub(crate) async fn page(&self, query: &Query) -> anyhow::Result<Page> {
        match self {
            Access::Local(local) => local.page(query).await,
            Access::Remote(remote) => remote.page(query).await,
        }
    }

    /// Every task that fits, oldest first.
    pub(crate) async fn all(&self, query: &Query) -> anyhow::Result<Vec<Record>> {
        let mut records = Vec::new();
        loop {
            let query = Query { limit: PAGE, offset: records.len(), ..query.clone() };
            let page = self.page(&query).await?.records;
            let full = page.len() == PAGE;
            records.extend(page);
            if !full {
                records.reverse();
                return Ok(records);
            }
        }
    }

    /// Every task of a batch (of all, where none is named) that stands in this status, oldest first.
    pub(crate) async fn standing(
        &self,
        batch: Option<BatchId>,
        status: Status,
    ) -> anyhow::Result<Vec<Record>> {
        self.all(&Query { batch, status: Some(status), ..Query::default() }).await
    }

    /// Withdraws a task, unless it is settled already; then its status comes back.
    pub(crate) async fn cancel(&self, record: Record) -> anyhow::Result<Option<Status>> {
        match self {
            Access::Local(local) => local.cancel(record).await,
            Access::Remote(remote) => remote.cancel(&record.key).await,
        }
    }

    /// Says how good the answer of a task was.
    pub(crate) async fn rate(&self, record: Record, feedback: Feedback) -> anyhow::Result<()> {
        match self {
            Access::Local(local) => local.rate(record, feedback).await,
            Access::Remote(remote) => remote.rate(&record.key, &feedback).await,
        }
    }

    /// Tells `each` what is seen of a task until it is settled.
    pub(crate) async fn watch(
        &self,
        key: &TaskKey,
        each: &mut dyn FnMut(Seen) -> anyhow::Result<()>,
    ) -> anyhow::Result<Record> {
        match self {
            Access::Local(local) => local.watch(key, each).await,
            Access::Remote(remote) => remote.watch(key, each).await,
        }
    }

    /// What was done, saved and spent.
    pub(crate) async fn statistics(&self) -> anyhow::Result<Statistics> {
        match self {
            Access::Local(local) => local.statistics().await,
            Access::Remote(remote) => remote.statistics().await,
        }
    }

    /// Starts an experiment; says whether it is new.
    pub(crate) async fn start(&self, definition: Definition) -> anyhow::Result<(Report, bool)> {
        match self {
            Access::Local(local) => local.start(definition).await,
            Access::Remote(remote) => remote.start(&definition).await,
        }
    }

    /// Stops an experiment.
    pub(crate) async fn stop(&self, name: &str) -> anyhow::Result<Report> {
        match self {
            Access::Local(local) => local.stop(name).await,
            Access::Remote(remote) => remote.stop(name).await,
        }
    }

    /// The latest experiments, newest first.
    pub(crate) async fn experiments(&self) -> anyhow::Result<Vec<Report>> {
        match self {
            Access::Local(local) => local.experiments().await,
            Access::Remote(remote) => remote.experiments().await,
        }
    }

    /// Who is alive.
    pub(crate) async fn agents(&self) -> anyhow::Result<Vec<AgentInfo>> {
        match self {
            Access::Local(local) => local.agents().await,
            Access::Remote(remote) => remote.agents().await,
        }
    }

    /// How many tasks stand where.
    pub(crate) async fn queue(&self) -> anyhow::Result<Vec<(Status, u64)>> {
        match self {
            Access::Local(local) => local.queue().await,
            Access::Remote(remote) => remote.queue().await,
        }
    }

    /// The time by which ages are reckoned.
    pub(crate) async fn now(&self) -> anyhow::Result<Timestamp> {
        match self {
            Access::Local(local) => local.now().await,
            // Ages are for people: what two machines' clocks differ by does not matter to them.
            Access::Remote(_) => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Ok(Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)))
            }
        }
    }
}
