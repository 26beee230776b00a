//! `ghost gc`: keeps the store from growing for ever.

use std::collections::HashSet;
use std::time::Duration;

use ghost_core::broker::Query;

use crate::context::Context;
use crate::exit::{Exit, misuse};
use crate::output::{count, talk};
use crate::runs::{self, Run};
use crate::swarm;

/// Remove settled tasks that are old or too many; what is not settled stays
///
///   ghost gc --older-than 7d
///   ghost gc --keep 10000
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Those that were settled longer ago than this: 90s, 15m, 12h or 7d
    #[arg(long, value_parser = age, value_name = "AGE")]
    older_than: Option<Duration>,
    /// All but the last N settled ones
    #[arg(long, value_name = "N")]
    keep: Option<u64>,
}

fn age(text: &str) -> Result<Duration, String> {
    let wrong = || "an age is a whole number and a unit: 90s, 15m, 12h or 7d".to_owned();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wrong)
}

pub(crate) async fn perform(context: &Context, args: Args) -> anyhow::Result<Exit> {
    context.only_here("ghost gc")?;
    if args.older_than.is_none() && args.keep.is_none() {
        return Err(misuse("say what may go: --older-than 7d, --keep 10000, or both"));
    }
    let data = context.data()?;
    let broker = swarm::store(context, &data)?;
    let runs = runs::all(&data)?;
    if let Some(run) = runs.iter().find(|run| !run.finished) {
        // What it has answered would be asked, and paid for, again.
        let file = run.input.as_ref().map_or("stdin".to_owned(), |file| file.display().to_string());
        anyhow::bail!(
            "run {0} of {file} is unfinished: finish it with --resume, or give it up with `ghost cancel --batch {0}`",
            run.batch
        );
    }
    let removed = broker.purge(args.older_than, args.keep).await?;
    let mut alive = HashSet::new();
    for run in runs {
        let query = Query { batch: Some(run.batch), limit: 1, ..Query::default() };
        if !broker.list(&query).await?.is_empty() {
            alive.insert(run.batch);
        }
    }
    Run::forget(&data, |run| alive.contains(&run.batch))?;
    talk(format!("removed {}", count(removed, "settled task")));
    Ok(Exit::Success)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_a_number_and_a_unit() {
        assert_eq!(age("7d"), Ok(Duration::from_secs(604_800)));
        assert_eq!(age("90s"), Ok(Duration::from_secs(90)));
        for wrong in ["", "7", "d", "7 days", "-1d", "1.5h", "99999999999999999999d", "7é"] {
            assert!(age(wrong).is_err(), "{wrong}");
        }
    }
}
