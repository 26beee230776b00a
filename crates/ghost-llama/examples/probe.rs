//! Tokens a second of a model by the number of answers at once, through the engine's own steps, and what a prompt costs
//! that begins like the one before.
//!
//! `cargo run --release -p ghost-llama --example probe -- MODEL.gguf [PROMPT_TOKENS ANSWER_TOKENS SEQUENCES…]`

use std::io::Write as _;
use std::time::Instant;

use ghost_core::inference::{Backend as _, Request};
use ghost_llama::{Config, Llama, Probe};

/// A model of random weights takes each letter of it for a token.
const SYSTEM: &str = "You are brief, kind and exact. ";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("name a GGUF file")?;
    let numbers = arguments.map(|text| text.parse()).collect::<Result<Vec<usize>, _>>()?;
    let (prompt_tokens, answer_tokens) = match numbers[..] {
        [prompt, answer, ..] => (prompt, answer),
        _ => (128, 32),
    };
    let counts = numbers.get(2..).filter(|counts| !counts.is_empty()).unwrap_or(&[1, 2, 4, 8, 16]);
    let most = counts.iter().copied().max().unwrap_or(1);
    let context = u32::try_from((prompt_tokens + answer_tokens).max(768))?;
    let llama = Llama::load(Config {
        sequences: most,
        context_tokens: Some(context),
        kv_bytes: Some(8 << 30),
        ..Config::new(path)
    })?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{:?}", llama.facts())?;
    writeln!(out, "{:>9} {:>12} {:>12}", "sequences", "prefill t/s", "decode t/s")?;
    for &sequences in counts {
        let timing = llama.probe(Probe { sequences, prompt_tokens, answer_tokens })?;
        // The first token of each answer comes with its prompt.
        let decoded = (sequences * (answer_tokens - 1)) as f64 / timing.decode.as_secs_f64();
        let read = (sequences * prompt_tokens) as f64 / timing.prefill.as_secs_f64();
        writeln!(out, "{sequences:>9} {read:>12.1} {decoded:>12.1}")?;
    }

    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    for text in ["the first question", "another question"] {
        let system = Some(SYSTEM.repeat(16));
        let begin = Instant::now();
        let answer = llama.generate(Request { system, max_tokens: 1, ..Request::new(text) }, None);
        let tokens = runtime.block_on(answer)?.usage.input_tokens;
        let cached = llama.statistics().prompt_tokens_cached;
        writeln!(
            out,
            "a prompt of {tokens} tokens: {:?}, {cached} tokens remembered so far",
            begin.elapsed()
        )?;
    }
    Ok(())
}
