//! `ghost submit`: answers one task.
//!
//! Where nobody executes from the data directory, this process does until the task is settled. Where somebody does,
//! the task is put into their queue; with `--wait` this process looks until it is settled, and takes over if they
//! leave. With `--url` it is put into the queue of that swarm. [`request`] makes a task of the command line.

use std::time::Duration;

use ghost_core::broker::{Broker, News, Submission, Subscription};
use ghost_core::id::TaskKey;
use ghost_core::lifecycle::{Record, State, saved_micro_usd};
use ghost_core::task::TaskRequest;
use ghost_orchestrator::Handle;
use ghost_service::data_dir::{DataDir, Turn};
use ghost_service::models;
use ghost_service::shutdown;
use serde_json::json;

use crate::access::{Access, Local, Remote, Seen};
use crate::context::Context;
use crate::exit::{Exit, misuse};
use crate::output::{self, Format, dollars, duration, talk};
use crate::summary::LLM_UNAVAILABLE;
use crate::swarm::{self, Swarm};

mod request;

pub(crate) use self::request::Args;

/// How often a task in somebody else's hands is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

pub(crate) async fn perform(context: &Context, args: Args) -> anyhow::Result<Exit> {
    let request = request::read(&args)?;
    let access = context.access()?;
    let Local { data, broker } = match &access {
        Access::Local(local) => local,
        Access::Remote(remote) => return send(context, &access, remote, &args, &request).await,
    };
    loop {
        let holder = match data.lock("ghost submit")? {
            Turn::Ours(_lock) => {
                let work = async |swarm: &Swarm| {
                    let heard = broker.subscribe().await?;
                    let key = submit(swarm.handle(), request.clone()).await?;
                    answer(context, swarm.handle(), &key, args.stream.then_some(heard)).await
                };
                return Ok(swarm::host(context, data, broker, work).await?.unwrap_or(Exit::Interrupted));
            }
            Turn::Theirs(holder) => holder,
        };
        let door = swarm::door(context, broker.clone(), models::available(&context.config)?)?;
        // Submitted again after the holder has left, it is the same task by its id.
        let key = submit(&door, request.clone()).await?;
        if !(args.wait || args.stream) {
            talk(format!("queued for {holder}; `ghost explain {key}` tells how it stands"));
            let result = broker.get(&key).await?.map(|record| record.result());
            output::one(context.format(), &result, |_| key.to_string())?;
            return Ok(Exit::Success);
        }
        talk(format!("{holder} answers from this data directory; waiting for it"));
        // Only the waiting is given up by Ctrl-C: the task stays in the queue.
        let shutdown = shutdown::signals();
        match shutdown.drain.run_until_cancelled(look(data, &**broker, &key)).await {
            None => return Ok(Exit::Interrupted),
            Some(looked) => match looked? {
                Some(record) => return report(context, &record, ""),
                None => talk("it has left; answering here"),
            },
        }
    }
}

/// Gives a task to a running swarm, and waits for it where its user wants to.
async fn send(
    context: &Context,
    access: &Access,
    remote: &Remote,
    args: &Args,
    request: &TaskRequest,
) -> anyhow::Result<Exit> {
    let record = remote.submit(request).await?;
    let key = &record.key;
    if !(args.wait || args.stream) {
        talk(format!("queued; `ghost watch {key}` waits for it, `ghost explain {key}` tells how it stands"));
        output::one(context.format(), &record.result(), |_| key.to_string())?;
        return Ok(Exit::Success);
    }
    let mut shown = String::new();
    let mut each = |seen| match seen {
        Seen::Delta(text) if args.stream => {
            show(context.format(), &text)?;
            shown.push_str(&text);
            Ok(())
        }
        _ => Ok(()),
    };
    // Only the waiting is given up by Ctrl-C: the task stays in the queue.
    let shutdown = shutdown::signals();
    let watched = shutdown.drain.run_until_cancelled(access.watch(key, &mut each)).await;
    match watched {
        None => Ok(Exit::Interrupted),
        Some(record) => report(context, &record?, &shown),
    }
}

async fn submit(door: &Handle, request: TaskRequest) -> anyhow::Result<TaskKey> {
    match door.submit(None, vec![request]).await?.pop() {
        Some(Submission::New(record) | Submission::Known(record)) => Ok(record.key),
        Some(Submission::Conflict(key)) => {
            Err(misuse(format!("another task has the id {key}; leave --id out, or choose another")))
        }
        None => anyhow::bail!("the store did not say what became of the task; submit it again"),
    }
}

/// Waits for a task that another process answers; none where that process has left.
async fn look(data: &DataDir, broker: &dyn Broker, key: &TaskKey) -> anyhow::Result<Option<Record>> {
    loop {
        if let Some(record) = broker.get(key).await?.filter(|record| record.status().is_settled()) {
            return Ok(Some(record));
        }
        if let Turn::Ours(_) = data.lock("ghost submit")? {
            return Ok(None);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Waits for a task that this process answers, and shows what is heard of it.
async fn answer(
    context: &Context,
    door: &Handle,
    key: &TaskKey,
    mut heard: Option<Subscription>,
) -> anyhow::Result<Exit> {
    let mut shown = String::new();
    let settled = door.wait(key);
    tokio::pin!(settled);
    loop {
        let next = async {
            match &mut heard {
                Some(heard) => heard.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            record = &mut settled => return report(context, &record?, &shown),
            news = next => {
                if let Some(News::Delta(of, text)) = news
                    && of == *key
                {
                    show(context.format(), &text)?;
                    shown.push_str(&text);
                }
            }
        }
    }
}

fn show(format: Format, delta: &str) -> anyhow::Result<()> {
    match format {
        Format::Table => output::part(delta),
        Format::Jsonl => output::one(format, &json!({ "delta": delta }), |_| String::new()),
        // One document cannot grow.
        Format::Json => Ok(()),
    }
}

/// Tells what came of it. What was `shown` already is not said again.
pub(crate) fn report(context: &Context, record: &Record, shown: &str) -> anyhow::Result<Exit> {
    match (context.format(), &record.state) {
        (Format::Table, State::Completed(answer)) => match answer.text.strip_prefix(shown) {
            Some(rest) => output::data(&format!("{rest}\n"))?,
            None => output::data(&format!("\n\n{}", answer.text))?,
        },
        (Format::Table, _) => {}
        (format, _) => output::one(format, &record.result(), |_| String::new())?,
    }
    Ok(match &record.state {
        State::Completed(answer) => {
            let took = record.first_claimed_at.zip(record.settled_at).map(|(first, last)| last.since(first));
            talk(format!(
                "{} ({}) in {}, cost {}, saved {}; `ghost explain {}` tells more",
                answer.model,
                answer.provider.name(),
                duration(u64::try_from(took.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)),
                dollars(i64::try_from(record.spent.cost_micro_usd).unwrap_or(i64::MAX)),
                dollars(saved_micro_usd(answer, record.spent)),
                record.key
            ));
            Exit::Success
        }
        State::Failed(failure) => {
            talk(format!("error: {failure}"));
            // That failure says itself what to do.
            if failure.code != LLM_UNAVAILABLE {
                talk(format!("`ghost explain {0}` tells more, `ghost retry {0}` tries again", record.key));
            }
            if failure.code == "timeout" { Exit::Timeout } else { Exit::TaskFailed }
        }
        _ => {
            talk(format!("{} was withdrawn", record.key));
            Exit::TaskFailed
        }
    })
}
