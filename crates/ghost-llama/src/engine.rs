//! The thread that owns the model: *admit → prefill → decode → sample → emit → retire*, one answer at a time.
//!
//! Requests come over a bounded channel, text and results go back over one channel per request. Whoever is no longer
//! interested drops its end; the loop looks between any two decodes. Nothing else touches the context, and nothing
//! that a request may hold reaches an assertion of llama.cpp: positions stay below the context, batches below
//! `n_batch`, tokens come from the vocabulary.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::Instant;

use ghost_core::inference::{self, Completion, Finish, Provider, Request, Role, Shape, Usage};
use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;
use tokio::sync::mpsc;
use tracing::info;

use crate::constraint::{self, Constraint};
use crate::prompt::Template;
use crate::sampling::{Sampler, log_probability};
use crate::text::TextStream;
use crate::vocabulary::{Kind, Vocabulary};
use crate::{Config, Error, Facts, load, log};

/// The most tokens of a prompt that are decoded before the loop looks whether anybody is still interested.
const CHUNK: u32 = 256;

/// A request on its way to the thread.
pub(crate) struct Job {
    pub(crate) request: Request,
    /// Whether somebody reads the text as it appears.
    pub(crate) streams: bool,
    /// Where text and result go. Unbounded, so that a slow reader never stalls the model; an answer's own token
    /// budget bounds what lies in it. Closed, it withdraws the request.
    pub(crate) events: mpsc::UnboundedSender<Event>,
}

/// What the thread reports of a request.
#[derive(Debug)]
pub(crate) enum Event {
    /// More text.
    Delta(String),
    /// The end.
    End(Result<Completion, inference::Error>),
}

/// The thread's whole life. Reports over `ready` what was loaded; `pace` holds the milliseconds of the last answer.
pub(crate) fn run(
    config: &Config,
    ready: &SyncSender<Result<Facts, Error>>,
    mut jobs: mpsc::Receiver<Job>,
    pace: &AtomicU64,
) {
    let model = match load::model(config) {
        Ok(model) => model,
        Err(error) => return drop(ready.send(Err(error))),
    };
    let mut engine = match Engine::new(config, &model) {
        Ok(engine) => engine,
        Err(error) => return drop(ready.send(Err(error))),
    };
    let facts = &engine.facts;
    info!(
        model = facts.model,
        parameters = facts.parameters,
        context_tokens = facts.context_tokens,
        threads = facts.threads,
        "loaded the model {}",
        facts.model
    );
    if ready.send(Ok(facts.clone())).is_err() {
        return;
    }
    while let Some(job) = jobs.blocking_recv() {
        if job.events.is_closed() {
            continue;
        }
        let begin = Instant::now();
        let result = engine.answer(&job);
        pace.store(u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        // Nobody may be there to hear it.
        let _ = job.events.send(Event::End(result));
    }
}

/// The model and all that an answer needs.
pub(crate) struct Engine<'m> {
    facts: Facts,
    seed: u64,
    context: LlamaContext<'m>,
    batch: LlamaBatch<'static>,
    template: Template<'m>,
    vocabulary: Vocabulary,
}

/// An answer in the making.
struct Sequence<'j> {
    job: &'j Job,
    prompt: Vec<LlamaToken>,
    /// The most tokens that the answer may have.
    budget: usize,
    constraint: Option<Box<dyn Constraint>>,
    validator: Option<jsonschema::Validator>,
    sampler: Sampler,
    text: TextStream,
    /// The token of text that was taken last.
    last: Option<LlamaToken>,
    logprobs: Vec<f32>,
    warnings: Vec<String>,
}

impl<'m> Engine<'m> {
    fn new(config: &Config, model: &'m LlamaModel) -> Result<Self, Error> {
        let template =
            Template::of(model).map_err(|reason| Error::Template { path: config.path.clone(), reason })?;
        let context_tokens = config.context_for(model.n_ctx_train());
        let threads = config.threads_for(model.n_params());
        let n_threads = i32::try_from(threads).expect("a checked configuration has few threads");
        let chunk = CHUNK.min(context_tokens);
        let params = LlamaContextParams::default()
            .with_n_ctx(NonZeroU32::new(context_tokens))
            .with_n_batch(chunk)
            .with_n_ubatch(chunk)
            .with_n_threads(n_threads)
            .with_n_threads_batch(n_threads);
        let context = model
            .new_context(load::backend()?, params)
            .map_err(|error| Error::Start(log::take_complaint().unwrap_or_else(|| error.to_string())))?;
        let stem = config.path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned);
        let name = stem.or_else(|| model.meta_val_str("general.name").ok()).unwrap_or_else(|| "model".into());
        Ok(Self {
            facts: Facts { model: name, parameters: model.n_params(), context_tokens, threads },
            seed: config.seed,
            context,
            batch: LlamaBatch::new(chunk as usize, 1),
            template,
            vocabulary: Vocabulary::of(model),
        })
    }

    fn answer(&mut self, job: &Job) -> Result<Completion, inference::Error> {
        let mut sequence = self.admit(job)?;
        self.prefill(&sequence)?;
        let finish = loop {
            if let Some(finish) = self.sample(&mut sequence)? {
                break finish;
            }
            if job.streams
                && let Some(text) = sequence.text.take()
            {
                // Whether anybody still reads is looked at before the next decode.
                let _ = job.events.send(Event::Delta(text));
            }
            if sequence.logprobs.len() == sequence.budget {
                break Finish::Length;
            }
            let last = sequence.last.expect("a token was just taken");
            let position = sequence.prompt.len() + sequence.logprobs.len() - 1;
            self.decode(job, &[last], position, true)?;
        };
        self.retire(sequence, finish)
    }

    /// Checks all that a request may hold and makes tokens of it.
    fn admit<'j>(&self, job: &'j Job) -> Result<Sequence<'j>, inference::Error> {
        let request = &job.request;
        if request.messages.last().is_none_or(|message| message.role != Role::User) {
            return Err(invalid("the last turn must be the user's"));
        }
        if request.max_tokens == 0 {
            return Err(invalid("max_tokens must be at least 1"));
        }
        if request.temperature.is_some_and(|temperature| !(0.0..=2.0).contains(&temperature)) {
            return Err(invalid("temperature must be 0 to 2"));
        }
        if request.stop.iter().any(String::is_empty) {
            return Err(invalid("a stop string must not be empty"));
        }
        let constraint = constraint::of(&request.shape).map_err(invalid)?;
        let validator = match &request.shape {
            Shape::Json(schema) | Shape::JsonOfSpans { schema, .. } => Some(
                jsonschema::validator_for(schema).map_err(|error| invalid(format!("the schema: {error}")))?,
            ),
            _ => None,
        };
        let mut warnings = Vec::new();
        if request.tools.is_some() {
            warnings.push(format!("tools were left out: {} does not use any", self.facts.model));
        }
        let stops = match &request.shape {
            Shape::Line => [&["\n".to_owned(), "\r".to_owned()], request.stop.as_slice()].concat(),
            Shape::Text | Shape::Grammar(_) => request.stop.clone(),
            _ => {
                if !request.stop.is_empty() {
                    warnings.push("stop strings were left out: the answer's shape says where it ends".into());
                }
                Vec::new()
            }
        };

        let prompt = self.template.tokens(request).map_err(invalid)?;
        if prompt.is_empty() {
            return Err(invalid("there is nothing to answer"));
        }
        let limit = self.facts.context_tokens as usize;
        if prompt.len() >= limit {
            // At least one token of the answer must fit too.
            return Err(inference::Error::ContextTooLong {
                needed: prompt.len() as u64 + 1,
                limit: limit as u64,
            });
        }
        Ok(Sequence {
            job,
            budget: (request.max_tokens as usize).min(limit - prompt.len()),
            prompt,
            constraint,
            validator,
            sampler: Sampler::new(request.temperature, self.seed),
            text: TextStream::new(stops),
            last: None,
            logprobs: Vec::new(),
            warnings,
        })
    }

    /// Decodes the prompt, chunk by chunk.
    fn prefill(&mut self, sequence: &Sequence) -> Result<(), inference::Error> {
        // Forgets the last answer without wiping the memory, which takes longer than a short answer.
        self.context
            .clear_kv_cache_seq(Some(0), None, None)
            .map_err(|error| inference::Error::Engine(format!("the context cannot be emptied: {error}")))?;
        let chunks = sequence.prompt.chunks(self.context.n_batch() as usize);
        let last = chunks.len() - 1;
        let mut position = 0;
        for (number, chunk) in chunks.enumerate() {
            self.decode(sequence.job, chunk, position, number == last)?;
            position += chunk.len();
        }
        Ok(())
    }

    /// Decodes these tokens from this position on, unless nobody is interested any more.
    fn decode(
        &mut self,
        job: &Job,
        tokens: &[LlamaToken],
        position: usize,
        logits: bool,
    ) -> Result<(), inference::Error> {
        if job.events.is_closed() || job.request.cancel.is_cancelled() {
            return Err(inference::Error::Cancelled);
        }
        self.batch.clear();
        for (offset, token) in tokens.iter().enumerate() {
            let position = i32::try_from(position + offset).expect("the context is smaller than that");
            let last = offset + 1 == tokens.len();
            self.batch
                .add(*token, position, &[0], logits && last)
                .map_err(|error| inference::Error::Engine(format!("a batch is full: {error}")))?;
        }
        self.context
            .decode(&mut self.batch)
            .map_err(|error| inference::Error::Engine(format!("llama.cpp could not decode: {error}")))
    }

    /// Takes the next token. Returns why the answer ends, where it does.
    fn sample(&self, sequence: &mut Sequence) -> Result<Option<Finish>, inference::Error> {
        let logits = self.context.get_logits_ith(self.batch.n_tokens() - 1);
        let vocabulary = &self.vocabulary;
        let Sequence { constraint, sampler, text, last, logprobs, job, .. } = sequence;
        let token = sampler.choose(logits, |token| match (&constraint, vocabulary.kind(token)) {
            (None, _) => true,
            (Some(constraint), Kind::Text) => {
                let bytes = vocabulary.bytes(token, last.is_none());
                // A costly constraint over a large vocabulary takes a while; whoever withdraws need not wait.
                !bytes.is_empty() && !job.events.is_closed() && constraint.allows(bytes)
            }
            (Some(constraint), Kind::End) => constraint.may_end(),
            (Some(_), Kind::Control) => false,
        });
        let Some(token) = token else {
            return match constraint {
                // The model has no token for the end of a turn.
                Some(constraint) if constraint.may_end() => Ok(Some(Finish::Stop)),
                _ => {
                    Err(inference::Error::Engine("the model has no token that could go on the answer".into()))
                }
            };
        };
        logprobs.push(log_probability(logits, token));
        if vocabulary.kind(token) != Kind::Text {
            return Ok(Some(Finish::Stop));
        }
        let bytes = vocabulary.bytes(token, last.is_none());
        if let Some(constraint) = constraint {
            constraint.accept(bytes);
        }
        *last = Some(LlamaToken::new(i32::try_from(token).expect("a vocabulary is smaller than that")));
        Ok(text.push(bytes).map(|stop| match job.request.shape {
            // A newline is what ends a line by itself.
            Shape::Line if stop == "\n" || stop == "\r" => Finish::Stop,
            _ => Finish::StopSequence(stop),
        }))
    }

    /// Hands out what was held back, and looks at the whole.
    fn retire(&self, sequence: Sequence, finish: Finish) -> Result<Completion, inference::Error> {
        let job = sequence.job;
        let (text, rest) = sequence.text.finish();
        if let Some(rest) = rest.filter(|_| job.streams) {
            let _ = job.events.send(Event::Delta(rest));
        }
        if finish == Finish::Stop {
            check(&job.request.shape, sequence.validator.as_ref(), &text)
                .map_err(inference::Error::Engine)?;
        }
        Ok(Completion {
            text,
            finish,
            usage: Usage {
                input_tokens: sequence.prompt.len() as u64,
                output_tokens: sequence.logprobs.len() as u64,
                ..Usage::default()
            },
            model: self.facts.model.clone(),
            request_id: None,
            logprobs: sequence.logprobs,
            tool_calls: Vec::new(),
            warnings: sequence.warnings,
        })
    }
}

fn invalid(message: impl Into<String>) -> inference::Error {
    inference::Error::InvalidRequest { provider: Provider::Slm.name().into(), message: message.into() }
}

/// Whether a finished answer is what was asked for, whatever its tokens were held to.
fn check(shape: &Shape, validator: Option<&jsonschema::Validator>, text: &str) -> Result<(), String> {
    match (shape, validator) {
        (_, Some(validator)) => {
            let json =
                serde_json::from_str(text).map_err(|error| format!("the answer is no JSON: {error}"))?;
            validator.validate(&json).map_err(|error| format!("the answer breaks its schema: {error}"))
        }
        (Shape::Choice(choices), _) if !choices.iter().any(|choice| choice == text) => {
            Err("the answer is none of the choices".into())
        }
        (Shape::Span(source), _) if !source.contains(text) => {
            Err("the answer is no part of the source".into())
        }
        _ => Ok(()),
    }
}
