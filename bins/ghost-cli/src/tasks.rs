//! Finds the task that a user means.

use ghost_core::broker::{Broker, MAX_BATCH, Query};
use ghost_core::id::{BatchId, TaskId, TaskKey};
use ghost_core::lifecycle::Record;
use ghost_core::task::Status;

use crate::exit::misuse;

/// The task of this name: its id, or `RUN/ID` where several runs have such a task.
pub(crate) async fn find(broker: &dyn Broker, name: &str) -> anyhow::Result<Record> {
    if let Some(key) = key(name)
        && let Some(record) = broker.get(&key).await?
    {
        return Ok(record);
    }
    let id: TaskId = name.parse().map_err(|error| misuse(format!("`{name}` names no task: {error}")))?;
    let mut found = broker.list(&Query { id: Some(id), limit: MAX_BATCH, ..Query::default() }).await?;
    match (found.pop(), &found[..]) {
        (Some(record), []) => Ok(record),
        (Some(record), others) => {
            let keys: Vec<_> = others.iter().chain([&record]).map(|r| r.key.to_string()).collect();
            Err(misuse(format!("several runs have a task `{name}`; say which one:\n  {}", keys.join("\n  "))))
        }
        (None, _) => {
            anyhow::bail!("there is no task `{name}` here; `ghost ps` lists them, --data names the place")
        }
    }
}

/// `RUN/ID` as [`TaskKey`] prints it.
fn key(name: &str) -> Option<TaskKey> {
    let (batch, id) = name.split_once('/')?;
    Some(TaskKey { batch: Some(batch.parse::<BatchId>().ok()?), id: id.parse().ok()? })
}

/// Every task that stands in this status, oldest first.
pub(crate) async fn all(
    broker: &dyn Broker,
    batch: Option<BatchId>,
    status: Status,
) -> anyhow::Result<Vec<Record>> {
    let mut records = Vec::new();
    loop {
        let query =
            Query { batch, status: Some(status), limit: 1000, offset: records.len(), ..Query::default() };
        let page = broker.list(&query).await?;
        if page.is_empty() {
            records.reverse();
            return Ok(records);
        }
        records.extend(page);
    }
}
