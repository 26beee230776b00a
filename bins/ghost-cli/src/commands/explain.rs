//! `ghost explain`: the life of one task.

use serde_json::json;

use crate::context::Context;
use crate::exit::Exit;
use crate::{output, story};

/// Tell a task's life: what was asked, why it went where it went, who answered, what was found, what it cost
///
///   ghost explain line-3-a1b2c3d4
///   ghost explain line-3-a1b2c3d4 --output json | jq .record.attempts
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// The task's id, or RUN/ID where several runs have one of this id
    task: String,
}

pub(crate) async fn perform(context: &Context, args: Args) -> anyhow::Result<Exit> {
    let access = context.access()?;
    let record = access.find(&args.task).await?;
    let now = access.now().await?;
    let all = json!({ "result": record.result(), "record": record });
    output::one(context.format(), &all, |_| story::tell(&record, now, context.yardstick()))?;
    Ok(Exit::Success)
}
