//! `ghost cancel`: withdraws what is not settled yet.

use ghost_core::id::BatchId;
use ghost_core::task::Status;

use crate::access::{Access, Local};
use crate::context::Context;
use crate::exit::Exit;
use crate::output::{count, talk};
use crate::runs::{self, Run};

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
    let access = context.access()?;
    if let Some(batch) = args.batch {
        let withdrawn = unsettled(&access, batch).await?;
        if let Access::Local(Local { data, .. }) = &access
            && let Some(run) = runs::all(data)?.into_iter().find(|run| run.batch == batch)
        {
            Run { finished: true, ..run }.save(data)?;
        }
        talk(format!("withdrew {}", count(withdrawn, "task")));
        return Ok(Exit::Success);
    }
    let mut exit = Exit::Success;
    for name in &args.tasks {
        let record = access.find(name).await?;
        match access.cancel(record).await? {
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
pub(crate) async fn unsettled(access: &Access, batch: BatchId) -> anyhow::Result<u64> {
    let mut withdrawn = 0;
    for status in Status::ALL.into_iter().filter(|status| !status.is_settled()) {
        for record in access.standing(Some(batch), status).await? {
            withdrawn += u64::from(access.cancel(record).await?.is_none());
        }
    }
    Ok(withdrawn)
}
