//! `ghost bench slm`: the local model's engine beside llama.cpp's own tools, in one run.
//!
//! Ours and the reference take turns, figure by figure and round by round, so that whatever else the machine does hits
//! both. Progress goes to stderr; a report with every row, flag and revision to stdout.

use std::path::PathBuf;
use std::sync::Arc;

use clap::ValueEnum;
use ghost_core::inference::Backend;
use ghost_llama::{Facts, LLAMA_CPP, Llama, Probe};
use ghost_service::shutdown;
use ghost_worker::tiny;
use serde::Serialize;

use super::engine::{Pace, Setup, pace, remembered};
use super::hog::Hog;
use super::machine::{Machine, Memory};
use super::model::{self, Quantization};
use super::reference::{self, Server, Tools};
use super::rows::{Better, Kind, Rounds, Row, people};
use super::serve::{Load, serve};
use crate::context::Context;
use crate::exit::{Exit, misuse};
use crate::output::{self, bytes, plain, talk};

/// Measure the local model's engine beside llama-batched-bench and llama-server
///
///   ghost bench slm                                a made model of 1.1 billion random weights
///   ghost bench slm --only decode,prefill --rounds 5
///   ghost bench slm --tiny --output json           the built-in model
///
/// `make llama-reference` builds both tools; without them the columns of the reference stay empty. A ratio above 1 is
/// better than the reference, of times too. All of it takes half an hour or more on two cores; --quick takes minutes and
/// only shows that everything works.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// The folder of llama-batched-bench and llama-server [default: PATH, then where `make llama-reference` puts them]
    #[arg(long, value_name = "DIR")]
    llama_bin: Option<PathBuf>,
    /// A GGUF file to measure instead of random weights
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// How the random weights are stored
    #[arg(long, value_enum, default_value = "q4_0", conflicts_with_all = ["model", "tiny"])]
    quantization: Quantization,
    /// Measure the built-in model
    #[arg(long, conflicts_with = "model")]
    tiny: bool,
    /// Short prompts and answers, and few numbers of sequences
    #[arg(long)]
    quick: bool,
    /// How often everything is measured; the median counts
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u8).range(1..=99))]
    rounds: u8,
    /// Only these
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART,…")]
    only: Vec<Part>,
}

/// What can be measured alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Tokens a second written, by the number of sequences
    Decode,
    /// Tokens a second read, by the number of sequences
    Prefill,
    /// 16 clients at once
    Serve,
    /// A second prompt with the same beginning
    Prefix,
    /// What it takes
    Memory,
    /// Beside a program that takes every core
    Hog,
    /// A context for each request, as the contrast
    Contexts,
}

/// How much of what is measured.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    /// Answers at once.
    counts: &'static [usize],
    /// Tokens of a prompt and of an answer, for pure speed.
    prompt: usize,
    answer: usize,
    /// What clients ask for.
    load: Load,
}

const FULL: Sizes = Sizes {
    counts: &[1, 2, 3, 4, 5, 7, 8, 11, 13, 15, 16, 32],
    prompt: 64,
    answer: 32,
    load: Load { clients: 16, requests: 4, letters: 160, answer_tokens: 96 },
};
const QUICK: Sizes = Sizes {
    counts: &[1, 4, 16],
    prompt: 16,
    answer: 8,
    load: Load { clients: 16, requests: 1, letters: 32, answer_tokens: 8 },
};
/// Clients beside a hog: it is patience that is measured, not how many there can be.
const BESIDE_A_HOG: usize = 4;
/// Contexts at once, each with a request.
const CONTEXTS: usize = 4;
/// Tokens of a context: at least a whole step of the engine, which is never longer than a context.
const CONTEXT: usize = 512;
/// For [`Part::Prefix`], with room for a model that cuts words otherwise than its sample.
const LONG: usize = 768;

const BATCHED_BENCH: &str = "llama-batched-bench";
const LLAMA_SERVER: &str = "llama-server";
const SPEED: Kind = Kind { unit: "tokens/s", better: Better::More, against: Some(BATCHED_BENCH) };
const TIME: Kind = Kind { unit: "ms", better: Better::Less, against: None };
const BYTES: Kind = Kind { unit: "bytes", better: Better::Less, against: None };
const TOKENS: Kind = Kind { unit: "tokens", better: Better::Less, against: None };
const SHARE: Kind = Kind { unit: "of the first's prefill", better: Better::Less, against: None };

/// What is printed.
#[derive(Debug, Serialize)]
struct Report {
    rows: Vec<Row>,
    machine: Machine,
    model: Model,
    ghost: &'static str,
    llama_cpp: &'static str,
    reference: Tools,
    rounds: u8,
    /// Every command of the reference, and this one.
    commands: Vec<String>,
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Model {
    path: PathBuf,
    parameters: u64,
    weight_bytes: u64,
    threads: usize,
    step_tokens: usize,
}

pub(crate) async fn perform(context: &Context, args: Args) -> anyhow::Result<Exit> {
    let tools = Tools::find(args.llama_bin.as_deref()).await?;
    for (tool, name) in [(&tools.batched_bench, BATCHED_BENCH), (&tools.server, LLAMA_SERVER)] {
        if tool.is_none() {
            talk(format!("no {name}: `make llama-reference` builds it; its columns stay empty"));
        }
    }
    let path = match &args.model {
        Some(path) if path.is_file() => path.clone(),
        Some(path) => return Err(misuse(format!("--model: there is no file {}", path.display()))),
        None if args.tiny => tiny::file(&context.data()?)?,
        None => tokio::task::block_in_place(|| model::random(args.quantization))?,
    };
    let slm = &context.config.slm;
    let mut session = Session {
        sizes: if args.quick { QUICK } else { FULL },
        only: args.only,
        setup: Setup {
            model: &path,
            threads: slm.threads,
            gpu_layers: slm.gpu_layers,
            sequences: 1,
            context: LONG,
        },
        tools,
        rounds: args.rounds,
        measured: Rounds::default(),
        facts: None,
        commands: vec![std::env::args().collect::<Vec<_>>().join(" ")],
    };
    // Whatever ends this ends the server too.
    let signals = shutdown::signals();
    match signals.drain.run_until_cancelled(session.measure()).await {
        Some(measured) => measured?,
        None => return Ok(Exit::Interrupted),
    }
    let Session { tools, measured, facts, commands, rounds, .. } = session;
    let Some(facts) = facts else { return Err(misuse("--only names nothing to measure here")) };
    let report = Report {
        rows: measured.rows(),
        machine: Machine::here(),
        model: Model {
            path: path.clone(),
            parameters: facts.parameters,
            weight_bytes: facts.weight_bytes,
            threads: facts.threads,
            step_tokens: facts.step_tokens,
        },
        ghost: env!("CARGO_PKG_VERSION"),
        llama_cpp: LLAMA_CPP,
        reference: tools,
        rounds,
        commands,
    };
    output::one(context.format(), &report, shown)?;
    Ok(Exit::Success)
}

/// A run of the command.
struct Session<'a> {
    sizes: Sizes,
    only: Vec<Part>,
    setup: Setup<'a>,
    tools: Tools,
    rounds: u8,
    measured: Rounds,
    /// Of the engine that was loaded last.
    facts: Option<Facts>,
    commands: Vec<String>,
}

impl Session<'_> {
    async fn measure(&mut self) -> anyhow::Result<()> {
        // First, since a process remembers the most memory that it ever had.
        if self.wants(Part::Memory) {
            self.memory()?;
        }
        if self.wants(Part::Decode) || self.wants(Part::Prefill) {
            self.pace().await?;
        }
        if self.wants(Part::Serve) {
            self.serve().await?;
        }
        if self.wants(Part::Prefix) {
            self.prefix().await?;
        }
        if self.wants(Part::Hog) {
            self.hog().await?;
        }
        if self.wants(Part::Contexts) {
            self.contexts().await?;
        }
        Ok(())
    }

    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    /// An engine of ours.
    fn load(&mut self, sequences: usize, context: usize) -> anyhow::Result<(Llama, Facts)> {
        self.setup = Setup { sequences, context, ..self.setup };
        let llama = self.setup.load()?;
        let facts = llama.facts().clone();
        self.facts = Some(facts.clone());
        Ok((llama, facts))
    }

    /// What the process takes in all, of that what is its own, and what each sequence adds.
    fn memory(&mut self) -> anyhow::Result<()> {
        const MANY: usize = 16;
        let Sizes { prompt, answer, .. } = self.sizes;
        let mut seen = Vec::new();
        for sequences in [1, MANY] {
            let (llama, facts) = self.load(sequences, CONTEXT)?;
            pace(&llama, Probe { sequences, prompt_tokens: prompt, answer_tokens: answer })?;
            let Some(memory) = Memory::now() else {
                talk("this system does not tell how much memory a process has: no figures of memory");
                return Ok(());
            };
            talk(format!("memory with {sequences} sequences of {CONTEXT} tokens: {}", bytes(memory.peak)));
            seen.push((memory, facts));
        }
        let [(one, _), (many, facts)] = &seen[..] else { return Ok(()) };
        let each = many.own.saturating_sub(one.own) as f64 / (MANY - 1) as f64;
        let beside = |memory: u64| memory.saturating_sub(facts.weight_bytes + facts.kv_bytes) as f64;
        for (name, value) in [
            ("memory/per_sequence", each),
            ("memory/peak", many.peak as f64),
            ("memory/own", many.own as f64),
            ("memory/own/beside_weights_and_kv", beside(many.own)),
        ] {
            self.measured.note(name, BYTES, value, None);
        }
        Ok(())
    }

    /// Reading and writing, by the number of sequences.
    async fn pace(&mut self) -> anyhow::Result<()> {
        let Sizes { counts, prompt, answer, .. } = self.sizes;
        let most = counts.iter().copied().max().unwrap_or(1);
        let (llama, facts) = self.load(most, CONTEXT.max(prompt + answer))?;
        for round in 1..=self.rounds {
            for &sequences in counts {
                let probe = Probe { sequences, prompt_tokens: prompt, answer_tokens: answer };
                // Each goes first in every other round.
                let (ours, theirs) = if round % 2 == 1 {
                    let ours = pace(&llama, probe)?;
                    (ours, self.reference_pace(&facts, probe).await)
                } else {
                    let theirs = self.reference_pace(&facts, probe).await;
                    (pace(&llama, probe)?, theirs)
                };
                let beside = |theirs: Option<f64>| {
                    theirs.map_or_else(String::new, |speed| format!(" (reference {speed:.1})"))
                };
                talk(format!(
                    "round {round}: {sequences} at once read {:.1}{} and write {:.1}{} tokens/s",
                    ours.prefill,
                    beside(theirs.map(|pace| pace.prefill)),
                    ours.decode,
                    beside(theirs.map(|pace| pace.decode)),
                ));
                if self.wants(Part::Decode) {
                    let name = format!("decode/{sequences}");
                    self.measured.note(&name, SPEED, ours.decode, theirs.map(|pace| pace.decode));
                }
                if self.wants(Part::Prefill) {
                    let name = format!("prefill/{sequences}");
                    self.measured.note(&name, SPEED, ours.prefill, theirs.map(|pace| pace.prefill));
                }
            }
        }
        Ok(())
    }

    /// The same by llama-batched-bench, where it is there and works.
    async fn reference_pace(&mut self, facts: &Facts, probe: Probe) -> Option<Pace> {
        let tool = self.tools.batched_bench.clone()?;
        let flags = reference::bench_flags(&self.setup, facts, probe);
        self.note_command(&tool.display().to_string(), &flags);
        match reference::bench(&tool, &flags).await {
            Ok(pace) => Some(pace),
            Err(error) => {
                talk(format!("warning: {error:#}"));
                None
            }
        }
    }

    /// Clients at once, of ours and of llama-server.
    async fn serve(&mut self) -> anyhow::Result<()> {
        const SPEED: Kind = Kind { unit: "tokens/s", better: Better::More, against: Some(LLAMA_SERVER) };
        const TIME: Kind = Kind { unit: "ms", better: Better::Less, against: Some(LLAMA_SERVER) };
        let load = self.sizes.load;
        let (llama, facts) = self.load(load.clients, room(load))?;
        let ours: [Arc<dyn Backend>; 1] = [Arc::new(llama)];
        let server = self.server(&facts).await;
        let theirs: Option<[Arc<dyn Backend>; 1]> = match &server {
            Some(server) => Some([Arc::new(server.client()?)]),
            None => None,
        };
        for round in 0..=u64::from(self.rounds) {
            let served = serve(&ours, load, round).await?;
            let reference = match &theirs {
                Some(theirs) => match serve(theirs, load, round).await {
                    Ok(served) => Some(served),
                    Err(error) => {
                        talk(format!("warning: {LLAMA_SERVER} does not answer: {error}"));
                        None
                    }
                },
                None => None,
            };
            // The first round only warms both up.
            if round == 0 {
                continue;
            }
            let (throughput, first) = (served.throughput(), served.first_p99());
            talk(format!("round {round}: {} clients get {throughput:.1} tokens/s", load.clients));
            let reference_throughput = reference.as_ref().map(|served| served.throughput());
            let reference_first = reference.as_ref().map(|served| served.first_p99());
            let name = format!("serve/{}", load.clients);
            self.measured.note(&format!("{name}/throughput"), SPEED, throughput, reference_throughput);
            self.measured.note(&format!("{name}/ttft_p99"), TIME, first, reference_first);
        }
        Ok(())
    }

    async fn server(&mut self, facts: &Facts) -> Option<Server> {
        let tool = self.tools.server.clone()?;
        match Server::start(&tool, &self.setup, facts).await {
            Ok(server) => {
                self.note_command(&tool.display().to_string(), &server.flags);
                Some(server)
            }
            Err(error) => {
                talk(format!("warning: {error:#}"));
                None
            }
        }
    }

    /// A second prompt that begins as the first did.
    async fn prefix(&mut self) -> anyhow::Result<()> {
        let (llama, _) = self.load(4, LONG)?;
        for round in 1..=self.rounds {
            let seen = remembered(&llama, u64::from(round)).await?;
            let first = seen.first.as_secs_f64();
            let share = seen.second.as_secs_f64() / first;
            let beyond = seen.second.saturating_sub(seen.unread).as_secs_f64() / first;
            talk(format!(
                "round {round}: {} of {} tokens were remembered, and took {:.1} % of the first time",
                seen.cached_tokens,
                seen.cached_tokens + seen.unread_tokens,
                share * 100.0
            ));
            self.measured.note("prefix/512", SHARE, share, None);
            self.measured.note("prefix/512/beyond_unread", SHARE, beyond, None);
            self.measured.note("prefix/512/unread", TOKENS, seen.unread_tokens as f64, None);
            self.measured.note("prefix/512/cached", TOKENS, seen.cached_tokens as f64, None);
            self.measured.note("prefix/512/first", TIME, first * 1e3, None);
        }
        Ok(())
    }

    /// Clients, in turn alone and beside a program that takes every core.
    async fn hog(&mut self) -> anyhow::Result<()> {
        const QUIET: Option<&str> = Some("the quiet run");
        const SPEED: Kind = Kind { unit: "tokens/s", better: Better::More, against: QUIET };
        const TIME: Kind = Kind { unit: "ms", better: Better::Less, against: QUIET };
        let load = Load { clients: BESIDE_A_HOG, ..self.sizes.load };
        let (llama, _) = self.load(load.clients, room(load))?;
        let ours: [Arc<dyn Backend>; 1] = [Arc::new(llama)];
        serve(&ours, load, 0).await?;
        for round in 1..=u64::from(self.rounds) {
            let quiet = serve(&ours, load, 2 * round).await?;
            let hog = Hog::start();
            let hogged = serve(&ours, load, 2 * round + 1).await?;
            drop(hog);
            talk(format!(
                "round {round}: {:.1} tokens/s beside a hog, {:.1} alone",
                hogged.throughput(),
                quiet.throughput()
            ));
            self.measured.note("hog/throughput", SPEED, hogged.throughput(), Some(quiet.throughput()));
            self.measured.note("hog/p99", TIME, hogged.whole_p99(), Some(quiet.whole_p99()));
        }
        Ok(())
    }

    /// One context for each request, beside one context for all.
    async fn contexts(&mut self) -> anyhow::Result<()> {
        const ONE: Option<&str> = Some("one context for all");
        const SPEED: Kind = Kind { unit: "tokens/s", better: Better::More, against: ONE };
        let load = Load { clients: CONTEXTS, ..self.sizes.load };
        let mut many: Vec<Arc<dyn Backend>> = Vec::new();
        for _ in 0..CONTEXTS {
            many.push(Arc::new(self.load(1, room(load))?.0));
        }
        let one: [Arc<dyn Backend>; 1] = [Arc::new(self.load(CONTEXTS, room(load))?.0)];
        for round in 0..=u64::from(self.rounds) {
            let apart = serve(&many, load, round).await?;
            let together = serve(&one, load, round).await?;
            // The first round only warms both up.
            if round > 0 {
                let (apart, together) = (apart.throughput(), together.throughput());
                talk(format!(
                    "round {round}: {CONTEXTS} contexts write {apart:.1} tokens/s, one writes {together:.1}"
                ));
                self.measured.note(&format!("contexts/{CONTEXTS}"), SPEED, apart, Some(together));
            }
        }
        Ok(())
    }

    fn note_command(&mut self, tool: &str, flags: &[String]) {
        let command = format!("{tool} {}", flags.join(" "));
        if !self.commands.contains(&command) {
            self.commands.push(command);
        }
    }
}

/// Tokens of a prompt and its answer together, with room for the template's words.
fn room(load: Load) -> usize {
    CONTEXT.max(load.letters + load.answer_tokens as usize + 64)
}

fn shown(report: &Report) -> String {
    let or_unknown = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".to_owned());
    let reference = match (&report.reference.batched_bench, &report.reference.server) {
        (None, None) => "none".to_owned(),
        _ => match &report.reference.revision {
            Some(revision) => format!("llama.cpp {revision}"),
            None => format!("version {}", or_unknown(&report.reference.version)),
        },
    };
    let Model { path, parameters, weight_bytes, threads, step_tokens } = &report.model;
    let mut text = people(&report.rows);
    text.push_str(&format!(
        "\n{} of {parameters} parameters, {}; {threads} threads, {step_tokens} tokens a step, {} rounds\n\
         {}, {} cores, {}\nghost {} with {}; reference: {}\n",
        plain(&path.display().to_string()),
        bytes(*weight_bytes),
        report.rounds,
        or_unknown(&report.machine.cpu),
        report.machine.cores,
        report.machine.system,
        report.ghost,
        report.llama_cpp,
        plain(&reference),
    ));
    text
}
