//! `ghost models bench`: how fast a model is on this machine, and what to set for it.
//!
//! Loaded as a swarm would load it, with the settings as they are. How it compares with llama.cpp's own tools is
//! `ghost bench slm --model FILE`'s to say.

use std::path::{Path, PathBuf};

use ghost_core::config::SlmChoice;
use ghost_llama::{Config, Llama, Probe};
use ghost_worker::tiny;
use serde::Serialize;

use crate::commands::bench::{Machine, Memory, Pace, pace};
use crate::context::Context;
use crate::exit::{Exit, misuse};
use crate::hub;
use crate::output::{self, bytes, duration, plain, table, talk};

/// Measure how fast a model is here, and say what to set for it
///
///   ghost models bench                     the model that answers with the settings as they are
///   ghost models bench phi-3-mini          one that was pulled
///   ghost models bench path/to/model.gguf
///
/// It takes a minute or two for a large model. `ghost bench slm --model FILE` compares with llama.cpp's own tools.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// A GGUF file, or the name of a pulled model [default: the one that answers]
    model: Option<String>,
}

/// Answers at once.
const COUNTS: [usize; 6] = [1, 2, 4, 8, 16, 32];
const PROMPT_TOKENS: usize = 64;
const ANSWER_TOKENS: usize = 17;
/// With so much of the best speed, more answers at once only make each of them slower.
const NEARLY: f64 = 0.95;
/// Slower than people read.
const SLOW: f64 = 5.0;

/// What is printed.
#[derive(Debug, Serialize)]
struct Report {
    model: String,
    path: PathBuf,
    parameters: u64,
    threads: usize,
    context_tokens: u32,
    rows: Vec<Row>,
    /// Until an answer to a prompt of 64 tokens begins, with nobody else there.
    first_token_ms: u64,
    weight_bytes: u64,
    kv_bytes: u64,
    /// The most that this process had, where the system tells.
    peak_bytes: Option<u64>,
    machine: Machine,
    /// What to set.
    recommendation: Vec<String>,
}

/// How fast so many answers at once are.
#[derive(Debug, Clone, Copy, Serialize)]
struct Row {
    sequences: usize,
    /// Tokens a second, of all prompts together.
    prefill: f64,
    /// Tokens a second, of all answers together.
    decode: f64,
}

pub(crate) fn perform(context: &Context, args: &Args) -> anyhow::Result<Exit> {
    let path = path(context, args.model.as_deref())?;
    let slm = &context.config.slm;
    let default = Config::new(&path);
    let config = Config {
        threads: slm.threads.or(context.config.executor.cpus).unwrap_or(default.threads),
        gpu_layers: slm.gpu_layers,
        context_tokens: slm.context_tokens,
        sequences: slm.parallel,
        kv_bytes: slm.kv_mib.map(|mebibytes| mebibytes << 20),
        prefix_cache_bytes: slm.prefix_cache_mib << 20,
        deterministic: slm.deterministic,
        ..default
    };
    let llama = tokio::task::block_in_place(|| Llama::load(config))?;
    let facts = llama.facts().clone();
    let fits = |&sequences: &usize| {
        sequences <= facts.sequences && sequences * (PROMPT_TOKENS + ANSWER_TOKENS) <= facts.cells
    };
    let mut rows = Vec::new();
    for sequences in COUNTS.into_iter().filter(fits) {
        let probe = Probe { sequences, prompt_tokens: PROMPT_TOKENS, answer_tokens: ANSWER_TOKENS };
        if rows.is_empty() {
            // The first touch brings the weights into memory.
            pace(&llama, Probe { answer_tokens: 2, ..probe })?;
        }
        let Pace { prefill, decode } = pace(&llama, probe)?;
        talk(format!("{sequences} at once: {prefill:.1} tokens/s read, {decode:.1} written"));
        let tenths = |speed: f64| (speed * 10.0).round() / 10.0;
        rows.push(Row { sequences, prefill: tenths(prefill), decode: tenths(decode) });
    }
    let Some(alone) = rows.first() else {
        let least = PROMPT_TOKENS + ANSWER_TOKENS;
        return Err(misuse(format!(
            "a context of less than {least} tokens cannot be measured; set SLM_CONTEXT_TOKENS"
        )));
    };
    let report = Report {
        model: facts.model,
        path,
        parameters: facts.parameters,
        threads: facts.threads,
        context_tokens: facts.context_tokens,
        first_token_ms: (PROMPT_TOKENS as f64 / alone.prefill * 1e3) as u64,
        weight_bytes: facts.weight_bytes,
        kv_bytes: facts.kv_bytes,
        peak_bytes: Memory::now().map(|memory| memory.peak),
        machine: Machine::here(),
        recommendation: recommendation(&rows, slm.parallel),
        rows,
    };
    output::one(context.format(), &report, people)?;
    Ok(Exit::Success)
}

/// The file of the model that was named, or else of the one that answers.
fn path(context: &Context, named: Option<&str>) -> anyhow::Result<PathBuf> {
    let embedded = || -> anyhow::Result<PathBuf> { Ok(tiny::file(&context.data()?)?) };
    match (named, context.config.slm.choice()) {
        (Some(file), _) if Path::new(file).is_file() => Ok(file.into()),
        (Some(name), _) if name == ghost_service::models::tiny().model => embedded(),
        (Some(name), _) => {
            let models = context.data()?.path().join(hub::FOLDER);
            hub::named(&models, name)
                .map_err(|why| misuse(format!("{name}: there is no such file, and {why}")))
        }
        (None, SlmChoice::File(path)) => Ok(path.to_owned()),
        (None, SlmChoice::Embedded) => embedded(),
        (None, SlmChoice::Endpoint { url, .. }) => Err(misuse(format!(
            "the local model answers at {url}, not in this process; name a file to measure"
        ))),
        (None, SlmChoice::None) => {
            Err(misuse("the local model is switched off (SLM_PROVIDER=none); name a file to measure"))
        }
    }
}

/// What the figures say about the settings.
fn recommendation(rows: &[Row], parallel: usize) -> Vec<String> {
    let best = rows.iter().map(|row| row.decode).fold(0.0, f64::max);
    let enough = rows.iter().find(|row| row.decode >= best * NEARLY);
    let mut words = Vec::new();
    if let Some(row) = enough {
        let more = if row.sequences == parallel { ", as it is set" } else { "" };
        words.push(format!(
            "SLM_PARALLEL={}{more}: {:.0} tokens/s in all, and more at once gain less than {:.0} %",
            row.sequences,
            row.decode,
            (1.0 - NEARLY) * 100.0
        ));
    }
    if rows.first().is_some_and(|row| row.decode < SLOW) {
        words.push(
            "alone, an answer comes slower than people read: a smaller model, or one with weights of 4 bits (q4_0), \
             is faster"
                .to_owned(),
        );
    }
    words
}

fn people(report: &Report) -> String {
    let cells = report.rows.iter().map(|row| {
        let each = row.decode / row.sequences as f64;
        [
            row.sequences.to_string(),
            format!("{:.1}", row.prefill),
            format!("{:.1}", row.decode),
            format!("{each:.1}"),
        ]
    });
    let mut text = table(["AT ONCE", "READ TOKENS/S", "WRITTEN TOKENS/S", "EACH"], cells);
    text.push_str(&format!(
        "\n{} of {} parameters, {} threads, a context of {} tokens\n\
         first token of an answer to {PROMPT_TOKENS} tokens after {}\nweights {}, memory for what is read {}",
        plain(&report.model),
        report.parameters,
        report.threads,
        report.context_tokens,
        duration(report.first_token_ms),
        bytes(report.weight_bytes),
        bytes(report.kv_bytes),
    ));
    if let Some(peak) = report.peak_bytes {
        text.push_str(&format!(", process {}", bytes(peak)));
    }
    text.push('\n');
    for words in &report.recommendation {
        text.push_str(&format!("→ {words}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(decode: [f64; 4]) -> Vec<Row> {
        let row = |(at, decode)| Row { sequences: COUNTS[at], prefill: 100.0, decode };
        decode.into_iter().enumerate().map(row).collect()
    }

    #[test]
    fn no_more_answers_at_once_are_recommended_than_gain_anything() {
        let words = recommendation(&rows([20.0, 30.0, 58.5, 60.0]), 16);
        assert!(
            words[0].starts_with("SLM_PARALLEL=4: 58 tokens/s") || words[0].starts_with("SLM_PARALLEL=4: 59"),
            "{words:?}"
        );
        assert_eq!(words.len(), 1);
        let words = recommendation(&rows([20.0, 30.0, 40.0, 60.0]), 8);
        assert!(words[0].starts_with("SLM_PARALLEL=8, as it is set"), "{words:?}");
    }

    #[test]
    fn a_model_that_is_too_slow_is_said_to_be() {
        assert!(recommendation(&rows([2.0, 3.0, 4.0, 6.0]), 16)[1].contains("slower than people read"));
    }
}
