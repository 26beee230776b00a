//! Which batch a run is: a new one, or the continuation of an earlier one.

use std::path::PathBuf;
use std::sync::Arc;

use ghost_core::broker::Broker;
use ghost_core::id::BatchId;
use ghost_service::data_dir::DataDir;

use super::Args;
use super::input::Input;
use crate::access::{Access, Local};
use crate::commands::cancel;
use crate::exit::misuse;
use crate::output::{count, talk};
use crate::runs::{self, Run};

/// The run. It is for the caller to store it, once nothing stands in its way.
pub(crate) async fn begin(
    args: &Args,
    input: &Input,
    results: Option<PathBuf>,
    data: &DataDir,
    broker: &Arc<dyn Broker>,
) -> anyhow::Result<Run> {
    let earlier = Run::latest(data, input.path.as_deref(), &input.sha256)?;
    match earlier {
        Some(run) if args.resume => {
            if run.sha256 != input.sha256 {
                return Err(misuse(format!(
                    "{} has changed since its run {}: put it back to resume that run, or start over with --fresh",
                    input.name, run.batch
                )));
            }
            let run = Run { results: results.or(run.results), ..run };
            refuse_what_was_overwritten(&run, data)?;
            Ok(run)
        }
        None if args.resume => Err(misuse(format!(
            "there is no run of {} to resume in {}; leave --resume out to start one",
            input.name,
            data.path().display()
        ))),
        Some(run) if !run.finished => {
            if !args.fresh {
                return Err(misuse(format!(
                    "an earlier run of {} is unfinished: --resume goes on with it, --fresh gives it up and starts over",
                    input.name
                )));
            }
            let here = Access::Local(Local { data: data.clone(), broker: broker.clone() });
            let withdrawn = cancel::unsettled(&here, run.batch).await?;
            talk(format!("gave up run {}: withdrew {}", run.batch, count(withdrawn, "task")));
            Run { finished: true, ..run }.save(data)?;
            Ok(fresh(input, results))
        }
        _ => Ok(fresh(input, results)),
    }
}

/// The lines of another run would pass for ours where they have the same ids.
fn refuse_what_was_overwritten(run: &Run, data: &DataDir) -> anyhow::Result<()> {
    let later = |other: &Run| other.batch > run.batch && other.results == run.results;
    match (&run.results, runs::all(data)?.into_iter().find(later)) {
        (Some(results), Some(other)) => Err(misuse(format!(
            "{} now holds the results of run {}; name another file with -o",
            results.display(),
            other.batch
        ))),
        _ => Ok(()),
    }
}

fn fresh(input: &Input, results: Option<PathBuf>) -> Run {
    Run {
        batch: BatchId::generate(),
        input: input.path.clone(),
        sha256: input.sha256.clone(),
        results,
        finished: false,
    }
}
