//! Finds the task that a user means.

use ghost_core::broker::{Broker, MAX_BATCH, Query};
use ghost_core::id::{BatchId, TaskId, TaskKey};
use ghost_core::lifecycle::Record;

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
