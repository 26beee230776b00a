//! Follows a batch in the store and writes down what is settled: results, sums, progress.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use ghost_core::broker::{Broker, MAX_BATCH};
use ghost_core::id::{BatchId, TaskId};
use ghost_core::lifecycle::Record;

use crate::results::ResultsFile;
use crate::sink::Sink;
use crate::summary::Summary;

/// A batch as it has been written down so far.
pub(crate) struct Projection {
    /// Where it is stored.
    pub broker: Arc<dyn Broker>,
    /// Which one it is.
    pub batch: BatchId,
    cursor: u64,
    sink: Sink,
    seen: HashSet<TaskId>,
    /// The sums of it.
    pub summary: Summary,
}

impl Projection {
    /// Begins at the first settlement of the batch.
    pub(crate) fn new(broker: Arc<dyn Broker>, batch: BatchId, sink: Sink) -> Self {
        Self { broker, batch, cursor: 0, sink, seen: HashSet::new(), summary: Summary::default() }
    }

    /// Writes down what was settled since the last time.
    pub(crate) async fn catch_up(&mut self) -> anyhow::Result<()> {
        loop {
            let settled = self.broker.settled(self.batch, self.cursor, MAX_BATCH).await?;
            let Some((last, _)) = settled.last() else { return Ok(()) };
            self.cursor = *last;
            let mut results = Vec::with_capacity(settled.len());
            for (_, record) in &settled {
                // A task that was retried while we looked would be seen a second time.
                if self.seen.insert(record.key.id.clone()) {
                    self.summary.add(record);
                    results.push((record.generation, record.result()));
                }
            }
            self.sink.append(results)?;
        }
    }

    /// Puts everything where it stays.
    pub(crate) fn finish(&mut self) -> anyhow::Result<()> {
        self.sink.finish()
    }
}

/// A results file that goes on where it was broken off.
pub(crate) async fn resumed(broker: &dyn Broker, batch: BatchId, path: &Path) -> anyhow::Result<ResultsFile> {
    let mut current: HashMap<TaskId, u32> = HashMap::new();
    let mut cursor = 0;
    loop {
        let settled: Vec<(u64, Record)> = broker.settled(batch, cursor, MAX_BATCH).await?;
        let Some((last, _)) = settled.last() else { break };
        cursor = *last;
        current.extend(settled.into_iter().map(|(_, record)| (record.key.id, record.generation)));
    }
    ResultsFile::resume(path, &current)
}
