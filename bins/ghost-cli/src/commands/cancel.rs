//! `ghost cancel`: withdraws what is not settled yet.

use ghost_core::broker::{AdvanceError, Broker, advance};
use ghost_core::id::BatchId;
use ghost_core::lifecycle::{Event, Record, Refusal};
use ghost_core::task::Status;

use crate::context::Context;
use crate::exit::Exit;
use crate::output::{count, talk};
use crate::runs::{self, Run};
use crate::{swarm, tasks};

/// Withdraw tasks: one that waits at once, one that runs between two words
///
///   ghost cancel line-3-a1b2c3d4
///   ghost cancel --batch 0199c0de-…
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
#[group(required = true)]
pub(crate) struct Args {
    /// The tasks' ids, or RUN/ID where several runs have one of this id
    #[arg(value_name = "TASK")]
    tasks: Vec<String>,
    /// Everything of this run
    #[arg(long, value_name = "RUN", conflicts_with = "tasks")]
    batch: Option<BatchId>,
}

pub(crate) async fn perform(context: &Context, args: Args) -> anyhow::Result<Exit> {
    let data = context.data()?;
    let broker = swarm::store(context, &data)?;
    if let Some(batch) = args.batch {
        let withdrawn = unsettled(&*broker, batch).await?;
        if let Some(run) = runs::all(&data)?.into_iter().find(|run| run.batch == batch) {
            Run { finished: true, ..run }.save(&data)?;
        }
        talk(format!("withdrew {}", count(withdrawn, "task")));
        return Ok(Exit::Success);
    }
    let mut exit = Exit::Success;
    for name in &args.tasks {
        let record = tasks::find(&*broker, name).await?;
        match withdraw(&*broker, record).await? {
            None => talk(format!("withdrew {name}")),
            Some(settled) => {
                talk(format!("{name} is {settled} already"));
                exit = Exit::Failed;
            }
        }
    }
    Ok(exit)
}

/// Withdraws everything of a batch that is not settled; says how many.
pub(crate) async fn unsettled(broker: &dyn Broker, batch: BatchId) -> anyhow::Result<u64> {
    let mut withdrawn = 0;
    for status in Status::ALL.into_iter().filter(|status| !status.is_settled()) {
        for record in tasks::all(broker, Some(batch), status).await? {
            withdrawn += u64::from(withdraw(broker, record).await?.is_none());
        }
    }
    Ok(withdrawn)
}

/// Withdraws one task, unless it is settled already; then its status comes back.
async fn withdraw(broker: &dyn Broker, record: Record) -> anyhow::Result<Option<Status>> {
    match advance(broker, record, Event::Cancel).await {
        Ok(_) => Ok(None),
        Err(AdvanceError::Refused(Refusal::Settled(status))) => Ok(Some(status)),
        Err(error) => Err(error.into()),
    }
}
