//! An answer in the making: from a checked request over token after token to the completion.
//!
//! Knows no context: the engine reads its tokens to the model and shows it the logits.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use fastrand::Rng;
use ghost_core::inference::{self, Completion, Finish, Provider, Request, Role, Shape, Usage};
use llama_cpp_2::token::LlamaToken;

use crate::constraint::{self, Constraint};
use crate::job::{Event, Job, Work};
use crate::plan::Progress;
use crate::prompt::Template;
use crate::sampling::{Sampler, log_probability};
use crate::text::TextStream;
use crate::vocabulary::{Kind, Vocabulary};

/// What all sequences of a model have in common.
pub(crate) struct Rules<'m> {
    pub(crate) model: String,
    pub(crate) template: Template<'m>,
    pub(crate) vocabulary: Vocabulary,
    /// The most tokens that a prompt and its answer may have together.
    pub(crate) context_tokens: usize,
    /// The seed where a request has none.
    pub(crate) seed: u64,
}

/// A request and its answer so far.
pub(crate) struct Sequence {
    pub(crate) job: Arc<Job>,
    pub(crate) began: Instant,
    /// The prompt, then the answer.
    tokens: Vec<LlamaToken>,
    prompt: usize,
    /// Tokens that the model has read.
    read: usize,
    /// Of these, tokens that were remembered.
    cached: usize,
    /// The most tokens that the answer may have.
    budget: usize,
    constraint: Option<Box<dyn Constraint>>,
    validator: Option<jsonschema::Validator>,
    sampler: Sampler,
    text: TextStream,
    logprobs: Vec<f32>,
    /// The texts of the tokens that these are of.
    texts: Vec<String>,
    warnings: Vec<String>,
}

impl Sequence {
    /// Checks all that a job may hold and makes tokens of it.
    pub(crate) fn new(job: Arc<Job>, rules: &Rules) -> Result<Self, inference::Error> {
        match &job.work {
            Work::Request { request, .. } => {
                let parts = Parts::of(request, rules)?;
                let tokens = rules.template.tokens(request).map_err(invalid)?;
                if tokens.is_empty() {
                    return Err(invalid("there is nothing to answer"));
                }
                let sampler = Sampler::new(request.sampling, rules.seed);
                Self::assemble(job.clone(), tokens, request.max_tokens as usize, sampler, parts, rules)
            }
            Work::MadeUp { prompt_tokens, answer_tokens, seed, .. } => {
                let mut chance = Rng::with_seed(*seed);
                let texts = rules.vocabulary.texts();
                let tokens = (0..*prompt_tokens).filter_map(|_| chance.choice(&texts).copied()).collect();
                let sampler = Sampler::new(inference::Sampling::greedy(), *seed);
                Self::assemble(job.clone(), tokens, *answer_tokens, sampler, Parts::default(), rules)
            }
        }
    }

    fn assemble(
        job: Arc<Job>,
        tokens: Vec<LlamaToken>,
        max_tokens: usize,
        sampler: Sampler,
        parts: Parts,
        rules: &Rules,
    ) -> Result<Self, inference::Error> {
        let limit = rules.context_tokens;
        if tokens.len() >= limit {
            // At least one token of the answer must fit too.
            return Err(inference::Error::ContextTooLong {
                needed: tokens.len() as u64 + 1,
                limit: limit as u64,
            });
        }
        Ok(Self {
            job,
            began: Instant::now(),
            prompt: tokens.len(),
            budget: max_tokens.min(limit - tokens.len()),
            tokens,
            read: 0,
            cached: 0,
            constraint: parts.constraint,
            validator: parts.validator,
            sampler,
            text: TextStream::new(parts.stops),
            logprobs: Vec::new(),
            texts: Vec::new(),
            warnings: parts.warnings,
        })
    }

    /// The cells that it may come to need. The last token of the answer is never read.
    pub(crate) fn cells(&self) -> usize {
        self.prompt + self.budget - 1
    }

    pub(crate) fn progress(&self) -> Progress {
        if let Work::MadeUp { unread, .. } = &self.job.work
            && self.read == self.prompt
            && unread.load(Ordering::Relaxed) > 0
        {
            return Progress { read: self.read, known: self.read, answering: false };
        }
        Progress { read: self.read, known: self.tokens.len(), answering: !self.logprobs.is_empty() }
    }

    pub(crate) fn prompt(&self) -> &[LlamaToken] {
        &self.tokens[..self.prompt]
    }

    pub(crate) fn token(&self, position: usize) -> LlamaToken {
        self.tokens[position]
    }

    /// Whether somebody asked for it. What is made up is never remembered.
    pub(crate) fn is_request(&self) -> bool {
        matches!(self.job.work, Work::Request { .. })
    }

    /// Notes that so much of the prompt need not be read.
    pub(crate) fn starts_at(&mut self, cached: usize) {
        (self.read, self.cached) = (cached, cached);
    }

    /// How much of the prompt was remembered.
    pub(crate) fn cached(&self) -> usize {
        self.cached
    }

    /// Notes that the model has read up to here.
    pub(crate) fn has_read(&mut self, read: usize) {
        self.read = read;
        if read == self.prompt
            && let Work::MadeUp { unread, .. } = &self.job.work
        {
            unread.fetch_sub(1, Ordering::Relaxed);
            // Whoever measures listens for it.
            let _ = self.job.events.send(Event::Read(Instant::now()));
        }
    }

    /// Takes the next token and hands on its text. Returns why the answer ends, where it does.
    pub(crate) fn take(
        &mut self,
        logits: &[f32],
        vocabulary: &Vocabulary,
    ) -> Result<Option<Finish>, inference::Error> {
        let finish = self.take_token(logits, vocabulary)?;
        if finish.is_some() {
            return Ok(finish);
        }
        if let Some(text) = self.text.take() {
            self.job.hand_on(text);
        }
        Ok((self.logprobs.len() == self.budget).then_some(Finish::Length))
    }

    fn take_token(
        &mut self,
        logits: &[f32],
        vocabulary: &Vocabulary,
    ) -> Result<Option<Finish>, inference::Error> {
        let first = self.tokens.len() == self.prompt;
        let Self { constraint, sampler, text, tokens, logprobs, texts, job, .. } = self;
        let token = sampler.choose(logits, |token| match (&constraint, vocabulary.kind(token)) {
            (None, _) => true,
            (Some(constraint), Kind::Text) => {
                let bytes = vocabulary.bytes(token, first);
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
        let kept = LlamaToken::new(i32::try_from(token).expect("a vocabulary is smaller than that"));
        let Work::Request { request, .. } = &job.work else {
            tokens.push(kept);
            return Ok(None);
        };
        if vocabulary.kind(token) != Kind::Text {
            texts.push(String::new());
            return Ok(Some(Finish::Stop));
        }
        let bytes = vocabulary.bytes(token, first);
        texts.push(String::from_utf8_lossy(bytes).into_owned());
        if let Some(constraint) = constraint {
            constraint.accept(bytes);
        }
        tokens.push(kept);
        Ok(text.push(bytes).map(|stop| match request.shape {
            // A newline is what ends a line by itself.
            Shape::Line if stop == "\n" || stop == "\r" => Finish::Stop,
            _ => Finish::StopSequence(stop),
        }))
    }

    /// How many tokens it has answered.
    pub(crate) fn answered(&self) -> usize {
        self.logprobs.len()
    }

    /// Hands out what was held back, looks at the whole, and reports it.
    pub(crate) fn finish(self, finish: Finish, model: &str) {
        let Self { job, text, prompt, logprobs, texts, warnings, validator, .. } = self;
        let (text, rest) = text.finish();
        if let Some(rest) = rest {
            job.hand_on(rest);
        }
        let fault = match &job.work {
            Work::Request { request, .. } if finish == Finish::Stop => {
                check(&request.shape, validator.as_ref(), &text).err()
            }
            _ => None,
        };
        job.end(match fault {
            Some(fault) => Err(inference::Error::Engine(fault)),
            None => Ok(Completion {
                text,
                finish,
                usage: Usage {
                    input_tokens: prompt as u64,
                    output_tokens: logprobs.len() as u64,
                    ..Usage::default()
                },
                model: model.to_owned(),
                request_id: None,
                logprobs,
                tokens: texts,
                tool_calls: Vec::new(),
                warnings,
            }),
        });
    }
}

/// What a request asks of its answer.
#[derive(Default)]
struct Parts {
    constraint: Option<Box<dyn Constraint>>,
    validator: Option<jsonschema::Validator>,
    stops: Vec<String>,
    warnings: Vec<String>,
}

impl Parts {
    fn of(request: &Request, rules: &Rules) -> Result<Self, inference::Error> {
        if request.messages.last().is_none_or(|message| message.role != Role::User) {
            return Err(invalid("the last turn must be the user's"));
        }
        if request.max_tokens == 0 {
            return Err(invalid("max_tokens must be at least 1"));
        }
        if let Some((name, range)) = request.sampling.out_of_range() {
            return Err(invalid(format!("{name} must be {range}")));
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
            warnings.push(format!("tools were left out: {} does not use any", rules.model));
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
        Ok(Self { constraint, validator, stops, warnings })
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
