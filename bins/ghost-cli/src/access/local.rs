//! The store in the data directory.

use std::sync::Arc;
use std::time::Duration;

use ghost_core::broker::{AdvanceError, Broker, News, Query, advance};
use ghost_core::experiment::{self, Definition, Report, store};
use ghost_core::feedback::Feedback;
use ghost_core::id::TaskKey;
use ghost_core::lifecycle::{Event, Record, Refusal, Timestamp};
use ghost_core::messages::AgentInfo;
use ghost_core::stats::Statistics;
use ghost_core::task::Status;
use ghost_service::data_dir::DataDir;
use tokio::time::{Instant, timeout_at};

use super::{Page, Seen};
use crate::context::Context;
use crate::exit::misuse;
use crate::{swarm, tasks};

/// How often a task is looked at: what another process does with it is not heard here.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A data directory and its store.
pub(crate) struct Local {
    /// Where it lies.
    pub data: DataDir,
    /// Its tasks.
    pub broker: Arc<dyn Broker>,
}

impl Local {
    pub(crate) fn open(context: &Context) -> anyhow::Result<Self> {
        let data = context.data()?;
        let broker = swarm::store(context, &data)?;
        Ok(Self { data, broker })
    }

    pub(super) async fn find(&self, name: &str) -> anyhow::Result<Record> {
        tasks::find(&*self.broker, name).await
    }

    pub(super) async fn page(&self, query: &Query) -> anyhow::Result<Page> {
        let records = self.broker.list(query).await?;
        if query.failure.is_some() {
            return Ok(Page { records, total: None });
        }
        let tally = self.broker.tally(query.batch).await?;
        let counted = tally.iter().filter(|(of, _)| query.status.is_none_or(|status| status == *of));
        Ok(Page { records, total: Some(counted.map(|(_, n)| n).sum()) })
    }

    pub(super) async fn cancel(&self, record: Record) -> anyhow::Result<Option<Status>> {
        match advance(&*self.broker, record, Event::Cancel).await {
            Ok(_) => Ok(None),
            Err(AdvanceError::Refused(Refusal::Settled(status))) => Ok(Some(status)),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn rate(&self, record: Record, feedback: Feedback) -> anyhow::Result<()> {
        advance(&*self.broker, record, Event::Rate(feedback)).await?;
        Ok(())
    }

    pub(super) async fn watch(
        &self,
        key: &TaskKey,
        each: &mut dyn FnMut(Seen) -> anyhow::Result<()>,
    ) -> anyhow::Result<Record> {
        let mut news = self.broker.subscribe().await?;
        let mut told = None;
        loop {
            let found = self.broker.get(key).await?;
            let record = found.ok_or_else(|| anyhow::anyhow!("task {key} was removed meanwhile"))?;
            let status = record.status();
            if told.replace(status) != Some(status) {
                each(Seen::Status(status))?;
            }
            if status.is_settled() {
                return Ok(record);
            }
            let look_at = Instant::now() + LOOK_EVERY;
            // Until it is time to look, or something else was heard of the task.
            loop {
                match timeout_at(look_at, news.next()).await {
                    Ok(Some(News::Delta(of, text))) if of == *key => each(Seen::Delta(text))?,
                    Ok(Some(News::Changed(of, _))) if of == *key => break,
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => break,
                }
            }
        }
    }

    pub(super) async fn statistics(&self) -> anyhow::Result<Statistics> {
        Ok(Statistics::from(&self.broker.counters().await?))
    }

    pub(super) async fn start(&self, definition: Definition) -> anyhow::Result<(Report, bool)> {
        let (experiment, new) = store::start(&*self.broker, definition).await.map_err(refused)?;
        Ok((Report::of(&experiment, &self.broker.counters().await?), new))
    }

    pub(super) async fn stop(&self, name: &str) -> anyhow::Result<Report> {
        let experiment = store::stop(&*self.broker, name).await.map_err(refused)?;
        Ok(Report::of(&experiment, &self.broker.counters().await?))
    }

    pub(super) async fn experiments(&self) -> anyhow::Result<Vec<Report>> {
        let (all, counters) = (store::all(&*self.broker).await?, self.broker.counters().await?);
        Ok(all.iter().map(|experiment| Report::of(experiment, &counters)).collect())
    }

    pub(super) async fn agents(&self) -> anyhow::Result<Vec<AgentInfo>> {
        Ok(self.broker.agents().await?)
    }

    pub(super) async fn queue(&self) -> anyhow::Result<Vec<(Status, u64)>> {
        Ok(self.broker.tally(None).await?)
    }

    pub(super) async fn now(&self) -> anyhow::Result<Timestamp> {
        Ok(self.broker.now().await?)
    }
}

/// A definition that makes no sense is its author's to mend.
fn refused(error: experiment::Error) -> anyhow::Error {
    match error {
        experiment::Error::Broker(error) => error.into(),
        error => misuse(error.to_string()),
    }
}
