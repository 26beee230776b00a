//! `ghost experiment`: compares ways to answer on the tasks that come.

use std::path::PathBuf;

use anyhow::Context as _;
use ghost_core::experiment::report::{Comparison, Figures, Mean};
use ghost_core::experiment::{Arm, Definition, Metric, Report};

use crate::context::Context;
use crate::exit::{Exit, misuse};
use crate::output::{self, dollars, duration, table, talk};

/// Compare ways to answer, on the tasks that come
///
/// Tasks are dealt to arms, by the session or user that their `context` names, else one by one. An arm may have other
/// thresholds, another LLM, a system prompt or a prefix of its own. The comparison may be watched: however often one
/// looks, a difference that is not there is told with probability alpha at most (docs/experiments.md).
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    Start(Start),
    /// Show how experiments stand: those of these names, else the latest one
    ///
    ///   ghost experiment status
    ///   ghost experiment status cheaper --output json | jq '.[].arms[].cost_per_task_micro_usd'
    #[command(verbatim_doc_comment)]
    Status {
        /// Their names
        #[arg(value_name = "NAME")]
        names: Vec<String>,
        /// All that are kept
        #[arg(long, conflicts_with = "names")]
        all: bool,
    },
    /// Deal no more tasks to its arms; those that have one keep it and are counted still
    Stop {
        /// Its name
        name: String,
    },
}

/// Start an experiment; one runs at a time
///
///   ghost experiment start cheaper --control opus,model=claude-opus-5-5 --arm haiku,model=claude-haiku-4-5
///   ghost experiment start bolder --control now --arm bold,simple=0.5,complex=0.9,weight=2 --metric rating
///   ghost experiment start --file prompts.json
///
/// What an arm does not set is as it is for everybody. The file has what POST /v1/experiments takes, and can set a
/// `system_prompt` and a `prompt_prefix` too.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Start {
    /// Its name: letters, digits, dashes, underscores
    #[arg(required_unless_present = "file", conflicts_with = "file", requires = "control", requires = "arm")]
    name: Option<String>,
    /// The arm that the others are compared with
    #[arg(long, value_name = "ARM[,weight=N][,simple=X,complex=Y][,model=M]")]
    control: Option<String>,
    /// Another arm; may be given up to seven times
    #[arg(long, value_name = "ARM[,…]")]
    arm: Vec<String>,
    /// What they are compared by
    #[arg(long, value_enum, default_value_t = By::Verdict, conflicts_with = "file")]
    metric: By,
    /// How often, at most, a difference may be told that is not there
    #[arg(long, value_name = "0..0.5", default_value_t = 0.05, conflicts_with = "file")]
    alpha: f64,
    /// By how much, from 0 to 1, an arm may be below the control and still count as no worse
    #[arg(long, value_name = "0..1", default_value_t = 0.05, conflicts_with = "file")]
    margin: f64,
    /// A JSON file that describes it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["control", "arm"])]
    file: Option<PathBuf>,
}

/// [`Metric`], as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum By {
    /// Whether the answer passed the evaluator
    Verdict,
    /// How its user rated it (`ghost feedback`)
    Rating,
}

pub(crate) async fn perform(context: &Context, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Start(start) => {
            let (report, new) = context.access()?.start(start.definition()?).await?;
            output::one(context.format(), &report, people)?;
            let name = &report.name;
            talk(if new {
                format!("{name} runs; `ghost experiment stop {name}` ends it")
            } else {
                format!("{name} runs already")
            });
        }
        Command::Status { names, all } => return status(context, &names, all).await,
        Command::Stop { name } => {
            let report = context.access()?.stop(&name).await?;
            output::one(context.format(), &report, people)?;
            talk(format!("{name} has stopped"));
        }
    }
    Ok(Exit::Success)
}

async fn status(context: &Context, names: &[String], all: bool) -> anyhow::Result<Exit> {
    let known = context.access()?.experiments().await?;
    let reports: Vec<Report> = if names.is_empty() {
        known.into_iter().take(if all { usize::MAX } else { 1 }).collect()
    } else {
        let find = |name: &String| {
            let found = known.iter().find(|report| report.name == *name).cloned();
            found.ok_or_else(|| {
                misuse(format!("there is no experiment {name}; `ghost experiment status --all` lists them"))
            })
        };
        names.iter().map(find).collect::<Result<_, _>>()?
    };
    output::many(context.format(), &reports, |reports| {
        reports.iter().map(people).collect::<Vec<_>>().join("\n")
    })?;
    if reports.is_empty() {
        talk("there are no experiments; `ghost experiment start --help` tells how to begin one");
    }
    Ok(Exit::Success)
}

impl Start {
    fn definition(self) -> anyhow::Result<Definition> {
        let Start { name, control, arm, metric, alpha, margin, file } = self;
        if let Some(file) = file {
            let json = std::fs::read(&file).with_context(|| format!("{} cannot be read", file.display()))?;
            return Definition::parse(&json).map_err(|error| misuse(format!("{}: {error}", file.display())));
        }
        let arms = control.iter().chain(&arm).map(|words| parsed(words)).collect::<anyhow::Result<_>>()?;
        let metric = match metric {
            By::Verdict => Metric::Verdict,
            By::Rating => Metric::Rating,
        };
        let definition = Definition { name: name.unwrap_or_default(), arms, metric, alpha, margin };
        definition.check().map_err(|error| misuse(error.to_string()))?;
        Ok(definition)
    }
}

/// `NAME[,weight=N][,simple=X,complex=Y][,model=M]`.
fn parsed(words: &str) -> anyhow::Result<Arm> {
    let mut parts = words.split(',');
    let mut arm = Arm {
        name: parts.next().unwrap_or_default().to_owned(),
        weight: 1,
        simple_threshold: None,
        complex_threshold: None,
        model: None,
        system_prompt: None,
        prompt_prefix: None,
    };
    for part in parts {
        let number = |value: &str| {
            value.parse().map_err(|_| misuse(format!("`{part}` in `{words}` takes a number from 0 to 1")))
        };
        match part.split_once('=') {
            Some(("weight", value)) => {
                arm.weight = value
                    .parse()
                    .map_err(|_| misuse(format!("`{part}` in `{words}` takes a whole number")))?;
            }
            Some(("simple", value)) => arm.simple_threshold = Some(number(value)?),
            Some(("complex", value)) => arm.complex_threshold = Some(number(value)?),
            Some(("model", value)) => arm.model = Some(value.to_owned()),
            _ => {
                return Err(misuse(format!(
                    "`{part}` in `{words}` says nothing; an arm takes weight=N, simple=X, complex=Y and model=M"
                )));
            }
        }
    }
    Ok(arm)
}

/// Figures first, then what each arm changes, then what may be concluded.
fn people(report: &Report) -> String {
    let stands = if report.running { "runs" } else { "has stopped" };
    let mut text = format!("{} {stands}, compared by {}\n\n", report.name, report.metric.name());
    text.push_str(&table(
        ["ARM", "TASKS", "FAILED", "BY SLM", "COST A TASK", "LATENCY P50", "P95", "VERDICT", "RATING"],
        report.arms.iter().map(row),
    ));
    text.push('\n');
    for figures in &report.arms {
        text.push_str(&format!("{}: {}\n", figures.arm.name, changes(&figures.arm)));
    }
    let control = report.arms.first().map(|figures| figures.arm.name.as_str()).unwrap_or_default();
    for figures in &report.arms {
        if let Some(against) = &figures.against_control {
            text.push_str(&compared(&figures.arm.name, control, against, report));
        }
    }
    text
}

fn row(figures: &Figures) -> [String; 9] {
    let time = |ms: Option<u64>| ms.map_or("-".to_owned(), duration);
    let answers = figures.slm_answers + figures.llm_answers;
    [
        figures.arm.name.clone(),
        figures.tasks.to_string(),
        figures.failed.to_string(),
        if answers > 0 { percent(figures.slm_answers as f64 / answers as f64) } else { "-".to_owned() },
        figures.cost_per_task_micro_usd.map_or("-".to_owned(), |cost| dollars(cost.round() as i64)),
        time(figures.latency_ms.p50),
        time(figures.latency_ms.p95),
        mean(&figures.verdict),
        mean(&figures.rating),
    ]
}

fn mean(of: &Mean) -> String {
    match of.mean {
        Some(mean) => format!("{mean:.3} of {} ({:.3} to {:.3})", of.n, of.low, of.high),
        None => "-".to_owned(),
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn changes(arm: &Arm) -> String {
    let thresholds = arm.simple_threshold.zip(arm.complex_threshold);
    let changes: Vec<String> = [
        thresholds.map(|(simple, complex)| format!("thresholds {simple} and {complex}")),
        arm.model.as_ref().map(|model| format!("LLM {model}")),
        arm.system_prompt.as_ref().map(|_| "a system prompt of its own".to_owned()),
        arm.prompt_prefix.as_ref().map(|_| "a prompt prefix of its own".to_owned()),
    ]
    .into_iter()
    .flatten()
    .collect();
    let what = if changes.is_empty() { "as for everybody".to_owned() } else { changes.join(", ") };
    format!("{what}; weight {}", arm.weight)
}

fn compared(arm: &str, control: &str, against: &Comparison, report: &Report) -> String {
    let difference = against.difference;
    format!(
        "{arm} against {control}: {}; {:+.3}, between {:+.3} and {:+.3} (p {:.3})\n",
        against.conclusion.words(report.margin),
        difference.estimate,
        difference.low,
        difference.high,
        difference.p_value
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arm_is_typed_in_one_word() {
        let arm = parsed("bold,weight=2,simple=0.5,complex=0.9,model=claude-haiku-4-5").expect("an arm");
        assert_eq!((arm.name.as_str(), arm.weight), ("bold", 2));
        assert_eq!((arm.simple_threshold, arm.complex_threshold), (Some(0.5), Some(0.9)));
        assert_eq!(arm.model.as_deref(), Some("claude-haiku-4-5"));
        for (words, help) in [
            ("a,weight=much", "takes a whole number"),
            ("a,simple=low", "takes a number from 0 to 1"),
            ("a,colour=red", "an arm takes weight=N"),
            ("a,model", "an arm takes weight=N"),
        ] {
            let refused = parsed(words).expect_err(words).to_string();
            assert!(refused.contains(help), "{words}: {refused}");
        }
    }
}
