//! `ghost taskmaster`: scores prompts and drafts, trains, calibrates and measures what decides the routes.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use ghost_core::taskmaster::TaskMaster;
use ghost_core::taskmaster::model::{EMBEDDED, Model};
use ghost_core::taskmaster::quality::{Calls, Figure, Quality, Scored};
use ghost_core::taskmaster::rows::{self, Row};
use ghost_core::taskmaster::train::{self, Example};
use serde::Serialize;
use serde_json::{Value, json};

use crate::context::Context;
use crate::exit::{Exit, misuse};
use crate::output::{self, count, data, table, talk};

mod learning;

/// The longest line that is read from stdin.
const MAX_LINE: u64 = 8 << 20;

/// Score prompts and drafts, train, calibrate and measure what decides the routes
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Score prompts from stdin: {id, prompt} a line in, {id, score, complexity, confidence} a line out
    ///
    /// The score, 0 to 1, is the probability that the weak (local) model's answer would not do.
    Score(WithModel),
    /// Score drafts from stdin: {id, prompt, drafts: {name: answer}} a line in, {id, score} a line out
    ///
    /// The score is the need for the strong model once the drafts are seen. The first draft is the answer that would be
    /// given (or the one that `weak_model` names); the others are asked only for their opinion.
    Accept(WithModel),
    /// Learn from how two models did: rows {prompt, weak, strong}, qualities from 0 to 1 or in percent
    Train(Train),
    /// Measure a model on rows {prompt, weak, strong}; with --drafts on rows that have `drafts` too
    Eval(Eval),
    /// Find the thresholds for a share of calls, a quality or a budget on your own rows, and tell what they realise
    Calibrate(Calibrate),
    #[command(flatten)]
    Learning(learning::Command),
}

#[derive(Debug, clap::Args)]
pub(crate) struct WithModel {
    /// The model's file, from `ghost taskmaster train`; the one that ships without
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Train {
    /// Rows to learn from, JSON lines; may be given more than once
    #[arg(long, value_name = "FILE", required = true)]
    data: Vec<PathBuf>,
    /// Where to write the model
    #[arg(long, value_name = "MODEL")]
    out: PathBuf,
    /// Learn from the rows alone, and forget what the model knew
    #[arg(long)]
    fresh: bool,
    #[command(flatten)]
    from: WithModel,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Eval {
    /// Rows to measure with, JSON lines
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Measure the scores after the drafts instead of those before
    #[arg(long)]
    drafts: bool,
    /// Where chance begins that draws the intervals
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    #[command(flatten)]
    model: WithModel,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Calibrate {
    /// Your own rows {prompt, weak, strong}, JSON lines
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    #[command(flatten)]
    target: Target,
    /// What one call to the strong model costs
    #[arg(long, value_name = "USD", requires = "budget_usd")]
    call_usd: Option<f64>,
    #[command(flatten)]
    model: WithModel,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Target {
    /// The share of prompts that the strong model answers, 0 to 1
    #[arg(long, value_name = "SHARE")]
    target_share: Option<f64>,
    /// The share of the strong model's quality to reach, 0 to 1
    #[arg(long, value_name = "SHARE")]
    target_quality: Option<f64>,
    /// What all rows may cost together, with --call-usd for each call to the strong model
    #[arg(long, value_name = "USD", requires = "call_usd")]
    budget_usd: Option<f64>,
}

pub(crate) async fn perform(context: &Context, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Score(model) => score(context, &model),
        Command::Accept(model) => accept(context, &model),
        Command::Train(args) => train(context, &args),
        Command::Eval(args) => eval(context, &args),
        Command::Calibrate(args) => calibrate(context, &args),
        Command::Learning(command) => return learning::perform(context, command).await,
    }?;
    Ok(Exit::Success)
}

impl WithModel {
    fn open(&self) -> anyhow::Result<Model> {
        let Some(file) = &self.model else { return Ok(Model::from_bytes(EMBEDDED)?) };
        let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        Model::from_bytes(&bytes).map_err(|error| misuse(format!("{}: {error}", file.display())))
    }

    fn taskmaster(&self, context: &Context) -> anyhow::Result<TaskMaster> {
        Ok(TaskMaster::with_model(self.open()?, context.config.routing.thresholds()?))
    }
}

fn score(context: &Context, model: &WithModel) -> anyhow::Result<()> {
    let taskmaster = model.taskmaster(context)?;
    each_line(|row| {
        let verdict = taskmaster.classify(&row.request());
        let (score, confidence) = (verdict.score, verdict.confidence);
        json!({"id": row.id, "score": score, "complexity": verdict.complexity, "confidence": confidence})
    })
}

fn accept(context: &Context, model: &WithModel) -> anyhow::Result<()> {
    let taskmaster = model.taskmaster(context)?;
    each_line(|row| json!({"id": row.id, "score": taskmaster.need_after(&row.request(), &row.answers())}))
}

/// Answers each row on stdin with a line on stdout.
fn each_line(answer: impl Fn(Row) -> Value) -> anyhow::Result<()> {
    let mut input = BufReader::new(std::io::stdin().lock());
    for number in 1.. {
        let mut line = Vec::new();
        input.by_ref().take(MAX_LINE).read_until(b'\n', &mut line).context("stdin cannot be read")?;
        if line.is_empty() {
            break;
        }
        let wrong = |why: String| misuse(format!("stdin line {number}: {why}"));
        let line = std::str::from_utf8(&line).map_err(|error| wrong(error.to_string()))?;
        if !line.trim().is_empty() {
            let row = Row::parse(line.trim()).map_err(wrong)?;
            data(&answer(row).to_string())?;
        }
    }
    Ok(())
}

fn read(file: &Path) -> anyhow::Result<Vec<Row>> {
    rows::read_labelled(file).map_err(|error| match error {
        rows::Error::Read { .. } => anyhow::Error::new(error),
        error => misuse(error.to_string()),
    })
}

fn train(context: &Context, args: &Train) -> anyhow::Result<()> {
    let base = args.from.open()?;
    let mut examples: Vec<Example> = Vec::new();
    for file in &args.data {
        examples.extend(read(file)?.iter().filter_map(Row::example));
    }
    talk(format!("learning from {}", count(examples.len() as u64, "row")));
    let known = (!args.fresh).then_some(&base.need);
    let model = Model { need: train::train(&examples, known), ..base.clone() };
    std::fs::write(&args.out, model.to_bytes())
        .with_context(|| format!("cannot write {}", args.out.display()))?;
    #[derive(Serialize)]
    struct Trained<'a> {
        model: &'a Path,
        rows: usize,
    }
    output::one(context.format(), &Trained { model: &args.out, rows: examples.len() }, |trained| {
        format!(
            "wrote {}; `ghost taskmaster eval --model` measures it on rows that it never saw",
            trained.model.display()
        )
    })
}

/// The scores of rows whose qualities are known.
fn scored(taskmaster: &TaskMaster, rows: &[Row], drafts: bool) -> Vec<Scored> {
    let score = |row: &Row| match drafts {
        true => taskmaster.need_after(&row.request(), &row.answers()),
        false => taskmaster.classify(&row.request()).score,
    };
    rows.iter().filter_map(|row| row.scored(score(row))).collect()
}

#[derive(Serialize)]
struct Measured {
    #[serde(flatten)]
    quality: Quality,
    /// Microseconds of one decision.
    latency_us_p50: f64,
    latency_us_p99: f64,
}

fn eval(context: &Context, args: &Eval) -> anyhow::Result<()> {
    let taskmaster = args.model.taskmaster(context)?;
    let mut rows = read(&args.data)?;
    if args.drafts {
        rows.retain(|row| !row.drafts.is_empty());
    }
    let quality = Quality::of(&scored(&taskmaster, &rows, args.drafts), args.seed).ok_or_else(|| {
        misuse(format!(
            "{}: the strong model is no better than the weak one on these rows, so there is nothing to gain{}",
            args.data.display(),
            if args.drafts { " (rows without drafts are left out)" } else { "" }
        ))
    })?;
    let mut micros: Vec<f64> = rows
        .iter()
        .map(|row| {
            let request = row.request();
            let begun = std::time::Instant::now();
            std::hint::black_box(taskmaster.classify(&request));
            begun.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    micros.sort_by(f64::total_cmp);
    let at = |share: f64| micros[((micros.len() - 1) as f64 * share) as usize];
    let measured = Measured { quality, latency_us_p50: at(0.5), latency_us_p99: at(0.99) };
    output::one(context.format(), &measured, people)
}

fn people(measured: &Measured) -> String {
    let Measured { quality: q, latency_us_p50, latency_us_p99 } = measured;
    let line = |name: &str, figure: Figure, digits: usize, meaning: &str| {
        let Figure { value, low, high } = figure;
        [
            name.to_owned(),
            format!("{value:.digits$}"),
            format!("{low:.digits$} to {high:.digits$}"),
            meaning.to_owned(),
        ]
    };
    let rows = [
        line(
            "APGR",
            q.apgr,
            3,
            "recovered share of the quality gap, over all shares of calls; 0.5 is chance",
        ),
        line("CPT50", q.cpt50, 1, "% of calls that recover half of the gap"),
        line("CPT80", q.cpt80, 1, "% of calls that recover four fifths of it"),
        line("calls for 95 %", q.calls_for_95, 1, "% of calls for 95 % of the strong model's quality"),
        line("calibration error", q.calibration_error, 3, "how far scores are from the truth, on average"),
    ];
    format!(
        "{}\n{}: weak model {:.3}, strong model {:.3}; a decision takes {latency_us_p50:.0} µs (p99 {latency_us_p99:.0})\n",
        table(["FIGURE", "VALUE", "95 % INTERVAL", "MEANING"], rows),
        count(q.prompts as u64, "prompt"),
        q.weak,
        q.strong
    )
}

fn calibrate(context: &Context, args: &Calibrate) -> anyhow::Result<()> {
    let taskmaster = args.model.taskmaster(context)?;
    let scored = scored(&taskmaster, &read(&args.data)?, false);
    let calls = Calls::of(&scored);
    let share_of = |name: &str, share: f64| {
        (0.0..=1.0).contains(&share).then_some(share).ok_or_else(|| misuse(format!("--{name} takes 0 to 1")))
    };
    let Target { target_share, target_quality, budget_usd } = args.target;
    let realised = match (target_share, target_quality, budget_usd.zip(args.call_usd)) {
        (Some(share), ..) => calls.share(share_of("target-share", share)?),
        (_, Some(quality), _) => calls.quality(share_of("target-quality", quality)?).ok_or_else(|| {
            misuse("the strong model alone does not reach that quality on these rows".to_owned())
        })?,
        (.., Some((budget, call))) if budget >= 0.0 && call > 0.0 => {
            calls.share((budget / call / scored.len() as f64).min(1.0))
        }
        _ => return Err(misuse("--budget-usd takes 0 or more, --call-usd more than 0".to_owned())),
    };
    output::one(context.format(), &realised, |r| {
        format!(
            // All digits: where scores lie close together, a rounded threshold realises something else.
            "SIMPLE_THRESHOLD={0}\nCOMPLEX_THRESHOLD={0}\n# on {1}: {2:.1} % of calls to the strong model, quality {3:.4} of {4:.4} ({5:.1} %)\n",
            r.threshold,
            count(scored.len() as u64, "prompt"),
            100.0 * r.share,
            r.quality,
            r.strong,
            100.0 * r.quality / r.strong.max(f64::MIN_POSITIVE)
        )
    })
}
