//! `ghost run`: answers a file of tasks.
//!
//! [`input`] is the file, [`mod@begin`] decides whether it is a new batch or goes on with an earlier one, [`intake`]
//! submits its tasks, and [`projection`] writes down what the swarm settles. The swarm is the same that
//! `ghost submit` starts; a run adds nothing but the batch.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ghost_core::broker::{Broker, News};
use ghost_core::id::BatchId;
use ghost_service::data_dir::Turn;
use ghost_service::shutdown::{self, Shutdown, unless_left};

use self::begin::begin;
use self::input::Input;
use self::intake::Intake;
use self::projection::{Projection, resumed};
use crate::context::Context;
use crate::exit::{Exit, misuse};
use crate::output::{self, Format, count, talk};
use crate::progress::Progress;
use crate::rehearsal;
use crate::results::ResultsFile;
use crate::runs::Run;
use crate::sink::Sink;
use crate::summary::Circumstances;
use crate::swarm::{self, Life, Swarm};

mod begin;
mod input;
mod intake;
mod projection;

/// News may be missed, so the store is looked at this often in any case.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Answer a file of tasks, one JSON object a line
///
/// Each task is classified, sent to the local model or to Claude, checked, and written to the results
/// as soon as it is settled, in the order of settlement. A line needs two fields, the rest is optional:
///
///   {"task_type": "classify", "description": "Spam or not? You won a prize!",
///    "parameters": {"categories": ["spam", "ham"]}}
///
///   ghost run tasks.jsonl -o results.jsonl       results to a file, progress and a summary to the terminal
///   ghost run tasks.jsonl --resume               go on after Ctrl-C or a crash, in the same results file
///   ghost run tasks.jsonl --dry-run              the same way with scripted models: nothing stored or paid
///   generate | ghost run - | jq .result.text     from a pipe into a pipe
///
/// Ctrl-C finishes what runs and keeps the rest for --resume; a second Ctrl-C leaves at once.
/// Lines that are no task are named with their reason, and the rest still runs.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// The tasks; - reads them from stdin
    #[arg(value_name = "FILE.jsonl")]
    file: PathBuf,
    /// Where the results go, as JSONL; stdout where absent
    #[arg(short = 'o', long, value_name = "FILE")]
    results: Option<PathBuf>,
    /// Go on with the last run of this file: nothing is answered twice, and the results file is completed
    #[arg(long)]
    resume: bool,
    /// Give up an unfinished run of this file and start over
    #[arg(long, conflicts_with = "resume")]
    fresh: bool,
    /// Use scripted models and keep nothing
    #[arg(long, conflicts_with = "resume")]
    dry_run: bool,
}

pub(crate) async fn perform(context: &Context, args: Args) -> anyhow::Result<Exit> {
    context.only_here("ghost run")?;
    let input = Input::open(&args.file)?;
    let results = args.results.as_deref().map(std::path::absolute).transpose()?;
    if let Some(results) = &results {
        refuse_to_overwrite(&input, results)?;
    }
    if args.dry_run {
        rehearse(context, &input, results).await
    } else {
        answer(context, &args, &input, results).await
    }
}

async fn rehearse(context: &Context, input: &Input, results: Option<PathBuf>) -> anyhow::Result<Exit> {
    let broker = swarm::rehearsal_store(context)?;
    let sink = match &results {
        Some(path) => Sink::File(ResultsFile::create(path)?),
        None => Sink::stdout(context.output),
    };
    let swarm = Swarm::start(context, broker.clone(), rehearsal::load(&context.config)?, Life::Batch)?;
    let projection = Projection::new(broker, BatchId::generate(), sink);
    let work = Work { context, input, submit: true, dry_run: true, to_file: results.is_some() };
    Ok(execute(work, swarm, projection).await?.exit)
}

async fn answer(
    context: &Context,
    args: &Args,
    input: &Input,
    results: Option<PathBuf>,
) -> anyhow::Result<Exit> {
    let data = context.data()?;
    let _lock = match data.lock(&format!("ghost run {}", args.file.display()))? {
        Turn::Ours(lock) => lock,
        Turn::Theirs(holder) => anyhow::bail!(
            "{} is in use by {holder}; wait for it, or keep this run elsewhere with --data DIR",
            data.path().display()
        ),
    };
    let broker = swarm::store(context, &data)?;
    swarm::free_leases(&*broker).await?;
    let run = begin(args, input, results, &data, &broker).await?;
    let sink = match &run.results {
        Some(path) if args.resume => Sink::File(resumed(&*broker, run.batch, path).await?),
        Some(path) => Sink::File(ResultsFile::create(path)?),
        None => Sink::stdout(context.output),
    };
    let others = unsettled(&*broker, None).await?.saturating_sub(unsettled(&*broker, Some(run.batch)).await?);
    if others > 0 {
        talk(format!(
            "{} of earlier runs or submits wait here too and are answered along the way; `ghost ps` lists them",
            count(others, "task")
        ));
    }
    let models = swarm::load(context, &data)?;
    // Before its first task is submitted, so that a crash from here on leaves something to resume.
    run.save(&data)?;
    let swarm = Swarm::start(context, broker.clone(), models, Life::Batch)?;
    let projection = Projection::new(broker, run.batch, sink);
    // The tasks of a finished run are all known, and `ghost gc` may have removed some: those are not asked again.
    let work = Work { context, input, submit: !run.finished, dry_run: false, to_file: run.results.is_some() };
    let Outcome { exit, finished } = execute(work, swarm, projection).await?;
    Run { finished, ..run }.save(&data)?;
    Ok(exit)
}

/// What is executed.
#[derive(Clone, Copy)]
struct Work<'a> {
    context: &'a Context,
    input: &'a Input,
    /// Whether the tasks are still to be submitted.
    submit: bool,
    dry_run: bool,
    to_file: bool,
}

/// What came of it.
struct Outcome {
    exit: Exit,
    /// Whether every task is settled and written down.
    finished: bool,
}

async fn execute(work: Work<'_>, swarm: Swarm, mut projection: Projection) -> anyhow::Result<Outcome> {
    let started = Instant::now();
    let shutdown = shutdown::signals();
    let mut progress = Progress::new(work.input.lines);
    let intake = Intake::default();
    let followed = follow(work, &swarm, &intake, &mut projection, &mut progress, &shutdown).await;
    if shutdown.drain.is_cancelled() {
        talk("finishing what runs; Ctrl-C again leaves at once");
    }
    let Some(drained) = unless_left(&shutdown, swarm.drain()).await else {
        progress.finish();
        talk("left at once; what ran is run again by --resume");
        return Ok(Outcome { exit: Exit::Interrupted, finished: false });
    };
    // Whatever failed, what was settled is written down.
    let written = projection.catch_up().await.and_then(|()| projection.finish());
    progress.finish();
    let finished = followed?;
    drained.and(written)?;

    let summary = &projection.summary;
    let about = Circumstances {
        rejected: intake.rejected(),
        unsettled: intake.accepted().saturating_sub(summary.settled()),
        elapsed: started.elapsed(),
        yardstick: work.context.yardstick(),
        dry_run: work.dry_run,
    };
    talk(summary.words(about));
    if let (Some(format @ (Format::Json | Format::Jsonl)), true) = (work.context.output, work.to_file) {
        output::one(format, &summary.report(about), |_| String::new())?;
    }
    if finished {
        return Ok(Outcome { exit: summary.exit(about.rejected), finished });
    }
    let file = work.input.path.as_ref().map_or("-", |_| work.input.name.as_str());
    talk(format!("stopped; `ghost run {file} --resume` goes on"));
    Ok(Outcome { exit: Exit::Interrupted, finished })
}

/// Submits and writes down until all is settled (true) or somebody wants an end (false).
async fn follow(
    work: Work<'_>,
    swarm: &Swarm,
    intake: &Intake,
    projection: &mut Projection,
    progress: &mut Progress,
    shutdown: &Shutdown,
) -> anyhow::Result<bool> {
    let batch = projection.batch;
    let broker = projection.broker.clone();
    let mut news = broker.subscribe().await?;
    let ours = |news: &News| matches!(news, News::Changed(key, status) if key.batch == Some(batch) && status.is_settled());
    let submit = async {
        if work.submit {
            intake.submit(work.input, swarm.handle(), batch).await
        } else {
            intake.accept(broker.tally(Some(batch)).await?.iter().map(|(_, n)| n).sum());
            Ok(())
        }
    };
    tokio::pin!(submit);
    let mut submitting = true;
    loop {
        projection.catch_up().await?;
        let total = if submitting { work.input.lines } else { intake.accepted() };
        progress.show(&projection.summary, total);
        if !submitting && projection.summary.settled() >= intake.accepted() {
            return Ok(true);
        }
        tokio::select! {
            () = shutdown.drain.cancelled() => return Ok(false),
            () = swarm.failed() => return Ok(false),
            submitted = &mut submit, if submitting => {
                submitted?;
                submitting = false;
            }
            () = news.wait(LOOK_EVERY, ours) => {}
        }
    }
}

async fn unsettled(broker: &dyn Broker, batch: Option<BatchId>) -> anyhow::Result<u64> {
    let tally = broker.tally(batch).await?;
    Ok(tally.iter().filter(|(status, _)| !status.is_settled()).map(|(_, n)| n).sum())
}

fn refuse_to_overwrite(input: &Input, results: &Path) -> anyhow::Result<()> {
    let same = std::fs::canonicalize(results).is_ok_and(|results| input.path.as_ref() == Some(&results));
    if same {
        return Err(misuse(format!("{} holds the tasks; name another file for the results", input.name)));
    }
    Ok(())
}
