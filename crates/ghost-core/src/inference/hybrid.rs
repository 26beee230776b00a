//! Carries a route out: the local model, the LLM, or local first and the LLM where that stumbles.
//!
//! [`Engine::infer`] is one delivery of one task. An SLM that fails, passes, is cut off or is not sure enough has not
//! answered: the task falls to the LLM, unless that is switched off. A provider that is only busy is asked again for a
//! few seconds (`hybrid/caller.rs`), then the task is postponed and nobody waits in between. Every call is noted with
//! what it cost. What a listener hears as it appears is never taken back (`hybrid/relay.rs`), so a draft that may be
//! dropped is heard only once it is accepted.
//!
//! It knows no broker and judges no answer beyond that: see [`crate::checks`].

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::caller::{Caller, Patience, Stumble};
use self::relay::Relay;
use super::pricing::{ModelStatus, Pricing};
use super::prompt::{self, Audience, Critique};
use super::{Backend, Completion, Deltas, Error, Finish, Provider, Request, Usage, breaker};
use crate::checks::Subject;
use crate::experiment::Arm;
use crate::lifecycle::{Answer, Attempt, Failure, Finding};
use crate::retry::Backoff;
use crate::task::{Kind, TaskRequest};
use crate::taskmaster::capability::Capability;
use crate::taskmaster::route::{Available, Decision, Route};

pub use self::drafts::DraftCheck;

mod caller;
mod drafts;
mod relay;

/// How the engine behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// Whether a task that the SLM did not answer falls to the LLM (ENABLE_SLM_FALLBACK). Default: yes.
    pub fallback: bool,
    /// Whether the two share the work (ENABLE_HYBRID_INFERENCE). Default: yes.
    pub hybrid: bool,
    /// The model that savings are measured against. Default: `claude-sonnet-5-5`.
    pub llm_model: String,
    /// Calls of one provider within one delivery. Default: 4.
    pub max_attempts: u32,
    /// All waits between them together. Default: 3 s.
    pub patience: Duration,
    /// The waits between them where the provider names none. Default: 0.2 s to 1 s.
    pub backoff: Backoff,
    /// When a task comes back whose provider failed and named no time. Default: 5 s.
    pub postpone: Duration,
    /// When a provider that keeps failing is left alone.
    pub breaker: breaker::Config,
    /// Who judges a draft that is to decide ([`Route::SlmThenLlm`]). Default: nobody, it is given as it is.
    pub drafts: Option<DraftCheck>,
}

impl Default for Config {
    fn default() -> Self {
        let backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(1));
        Self {
            fallback: true,
            hybrid: true,
            llm_model: "claude-sonnet-5-5".to_owned(),
            max_attempts: 4,
            patience: Duration::from_secs(3),
            backoff: backoff.expect("0.2 s is above zero and below 1 s"),
            postpone: Duration::from_secs(5),
            breaker: breaker::Config::default(),
            drafts: None,
        }
    }
}

/// The local model, and what it can do.
#[derive(Clone)]
pub struct Slm {
    /// Where it runs.
    pub backend: Arc<dyn Backend>,
    /// What it can do.
    pub capability: Capability,
}

/// One delivery of one task.
#[derive(Debug, Clone)]
pub struct Job {
    /// What is asked.
    pub request: TaskRequest,
    /// The kind of simple task that the prompt shows.
    pub kind: Option<Kind>,
    /// Who is to answer.
    pub decision: Decision,
    /// The arm of an experiment that it belongs to.
    pub arm: Option<Arm>,
    /// What is wrong with the previous answer.
    pub critique: Vec<Finding>,
    /// The previous answer, where it was sent back.
    pub previous: Option<String>,
    /// How long the task may still take.
    pub timeout: Duration,
    /// Ends it early.
    pub cancel: CancellationToken,
}

/// What came of a delivery, with every call it took.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// There is an answer.
    Answered {
        /// What the model said.
        answer: Answer,
        /// The calls it took.
        attempts: Vec<Attempt>,
    },
    /// The provider stumbled; the same task may be answered later.
    Postponed {
        /// The calls it took.
        attempts: Vec<Attempt>,
        /// How much later.
        delay: Duration,
    },
    /// There will be no answer.
    Failed {
        /// Why.
        failure: Failure,
        /// The calls it took.
        attempts: Vec<Attempt>,
    },
    /// The job's token ended it.
    Cancelled {
        /// The calls it took.
        attempts: Vec<Attempt>,
    },
}

/// The local model and the LLM, whichever there are.
pub struct Engine {
    config: Config,
    /// None until it is known, where it runs elsewhere.
    slm: RwLock<Option<Arc<(Caller, Capability)>>>,
    llm: Option<Caller>,
    pricing: Pricing,
    /// Models whose price or end was spoken of already.
    warned: Mutex<HashSet<String>>,
}

/// Why one side has no answer.
enum Miss {
    /// As [`Stumble`].
    Call(Stumble),
    /// It answered, and the answer is not given.
    Withheld(Failure),
}

impl Engine {
    /// An engine over these backends.
    pub fn build(config: Config, slm: Option<Slm>, llm: Option<Arc<dyn Backend>>, pricing: Pricing) -> Self {
        let llm = llm.map(|llm| Caller::new(llm, config.breaker));
        let engine = Self { config, slm: RwLock::default(), llm, pricing, warned: Mutex::default() };
        if let Some(slm) = slm {
            engine.learn_of(slm);
        }
        engine
    }

    /// From now on there is this local model: a server that was not there yet has come.
    pub fn learn_of(&self, slm: Slm) {
        let caller = Caller::new(slm.backend, self.config.breaker);
        *self.slm.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new((caller, slm.capability)));
    }

    fn slm(&self) -> Option<Arc<(Caller, Capability)>> {
        self.slm.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Who could answer, for the one who decides on routes.
    pub fn available(&self) -> Available {
        Available {
            slm: self.slm().map(|slm| slm.1.clone()),
            llm: self.llm.is_some(),
            hybrid: self.config.hybrid,
        }
    }

    /// Whether a task that the SLM did not answer falls to the LLM.
    pub fn falls_back(&self) -> bool {
        self.config.fallback
    }

    /// Answers a task. Text goes to `deltas` as it appears, where it is sure to stay.
    pub async fn infer(&self, job: Job, deltas: Option<Deltas>) -> Outcome {
        let mut attempts = Vec::new();
        let mut relay = deltas.map(Relay::new);
        let result = match job.decision.route {
            Route::Llm => self.ask_llm(&job, relay.as_mut(), &mut attempts).await,
            Route::Slm | Route::SlmThenLlm => match self.ask_slm(&job, relay.as_mut(), &mut attempts).await {
                Err(miss) => self.after_slm(&job, miss, relay.as_mut(), &mut attempts).await,
                answer => answer,
            },
        };
        match result {
            Ok(answer) => Outcome::Answered { answer, attempts },
            Err(Miss::Call(Stumble::Cancelled)) => Outcome::Cancelled { attempts },
            Err(Miss::Call(Stumble::Later(error, delay))) => {
                // That a provider is left alone is told once, where it is decided, and not again for each task.
                let words = format!("task {} is put off for {:.1} s: {error}", id(&job), delay.as_secs_f64());
                match error {
                    Error::Unavailable(_) => info!(task.id = id(&job), "{words}"),
                    _ => warn!(task.id = id(&job), error = %error, "{words}"),
                }
                Outcome::Postponed { attempts, delay }
            }
            Err(Miss::Call(Stumble::Never(error))) => {
                Outcome::Failed { failure: failure_of(&job, &error), attempts }
            }
            Err(Miss::Withheld(failure)) => Outcome::Failed { failure, attempts },
        }
    }

    async fn ask_slm(
        &self,
        job: &Job,
        relay: Option<&mut Relay>,
        attempts: &mut Vec<Attempt>,
    ) -> Result<Answer, Miss> {
        let Some(slm) = self.slm() else {
            return Err(withheld(
                "slm_unavailable",
                "no local model is loaded; set SLM_MODEL_PATH or SLM_ENDPOINT",
            ));
        };
        let (caller, capability) = &*slm;
        let skill = job.kind.and_then(|kind| capability.kinds.get(&kind));
        if !capability.general && skill.is_none() {
            let kinds: Vec<_> = capability.kinds.keys().map(|kind| kind.name()).collect();
            let words =
                format!("the local model {} takes {} and nothing else", capability.model, kinds.join(", "));
            return Err(withheld("slm_unable", words));
        }
        let audience = if capability.general { Audience::Generalist } else { Audience::Specialist };
        let request = self.request(job, audience);
        let sure_to_stay = skill.is_none() && !self.may_fall_back(job);
        let (live, later) = if sure_to_stay { (relay, None) } else { (None, relay) };
        let price = |completion: &Completion| {
            // A model of one's own has no price; one behind a paid endpoint can be given one in the table.
            self.pricing.cost_micro_usd(&completion.model, &completion.usage).unwrap_or(0)
        };
        let completion =
            caller.ask(&request, &self.patience(), live, price, attempts).await.map_err(Miss::Call)?;
        let confidence = confidence(&completion.logprobs);
        let doubt = if completion.text.trim().is_empty() {
            Some(("slm_passed", "the local model passed: it does not take this one".to_owned()))
        } else if completion.finish == Finish::Length {
            Some(("cut_off", "the local model's answer was cut off".to_owned()))
        } else if completion.finish == Finish::Refusal {
            Some(("refused", "the local model declined".to_owned()))
        } else {
            skill.map(|skill| skill.min_confidence).filter(|least| confidence.is_none_or(|c| c < *least)).map(
                |least| {
                    let sure = confidence.map_or("unknown".to_owned(), |c| format!("{c:.2}"));
                    (
                        "slm_unsure",
                        format!("the local model is not sure enough: {sure}, where {least:.2} are asked for"),
                    )
                },
            )
        };
        let mut failure = doubt.map(|(code, words)| Failure::new(code, words));
        let noted = attempts.len() - 1;
        let decides =
            job.decision.route == Route::SlmThenLlm && self.llm.is_some() && self.may_fall_back(job);
        if let Some(check) = self.config.drafts.as_ref().filter(|_| decides && failure.is_none()) {
            let asked = (caller, &request, &self.patience());
            failure = check.doubt(job, &completion, asked, price, attempts).await.map_err(Miss::Call)?;
        }
        if let Some(failure) = failure {
            attempts[noted].failure = Some(failure.clone());
            return Err(Miss::Withheld(failure));
        }
        if let Some(relay) = later {
            relay.finish(&completion.text).await;
        }
        let read = request.messages.iter().map(|message| message.text.len()).sum();
        let usage = as_of_an_llm(completion.usage, read, completion.text.len());
        let llm_cost_micro_usd = self.yardstick(&usage).unwrap_or(0);
        Ok(answer(job, Provider::Slm, completion, confidence, llm_cost_micro_usd))
    }

    /// The SLM did not answer: the LLM does, if it may and there is one.
    async fn after_slm(
        &self,
        job: &Job,
        miss: Miss,
        relay: Option<&mut Relay>,
        attempts: &mut Vec<Attempt>,
    ) -> Result<Answer, Miss> {
        let reason = match &miss {
            // What one provider declines on grounds of content is not shopped around.
            Miss::Call(Stumble::Cancelled | Stumble::Never(Error::ContentFilter { .. })) => return Err(miss),
            Miss::Call(Stumble::Later(error, _) | Stumble::Never(error)) => error.to_string(),
            Miss::Withheld(failure) => failure.message.clone(),
        };
        warn!(event = "slm_inference_failed", task.id = id(job), error = %reason, "the SLM did not answer task {}: {reason}", id(job));
        if !self.may_fall_back(job) {
            return Err(miss);
        }
        if self.llm.is_none() {
            return Err(match miss {
                // The SLM itself may answer later.
                Miss::Call(Stumble::Later(..)) => miss,
                _ => Miss::Withheld(llm_unavailable(job, &reason)),
            });
        }
        info!(event = "falling_back_to_llm", task.id = id(job), "task {} falls to the LLM", id(job));
        self.ask_llm(job, relay, attempts).await
    }

    async fn ask_llm(
        &self,
        job: &Job,
        mut relay: Option<&mut Relay>,
        attempts: &mut Vec<Attempt>,
    ) -> Result<Answer, Miss> {
        let Some(caller) = &self.llm else {
            return Err(Miss::Withheld(llm_unavailable(job, &job.decision.reason)));
        };
        let request = self.request(job, Audience::Llm);
        let price = |completion: &Completion| {
            self.warn_of(&completion.model);
            let priced = self.pricing.cost_micro_usd(&completion.model, &completion.usage);
            let priced = priced.or_else(|| self.yardstick(&completion.usage));
            priced.unwrap_or_else(|| self.pricing.at_most_micro_usd(&completion.usage))
        };
        let asked = caller.ask(&request, &self.patience(), relay.as_deref_mut(), price, attempts).await;
        let completion = asked.map_err(Miss::Call)?;
        let Some(attempt) = attempts.last_mut() else {
            return Err(Miss::Call(Stumble::Never(Error::Engine("a call that nobody noted".to_owned()))));
        };
        if let Some(failure) = shortcoming(&completion, request.max_tokens) {
            attempt.failure = Some(failure.clone());
            return Err(Miss::Withheld(failure));
        }
        if let Some(relay) = relay {
            relay.finish(&completion.text).await;
        }
        // An unpriced yardstick saves nothing.
        let llm_cost_micro_usd = self.yardstick(&completion.usage).unwrap_or(attempt.cost_micro_usd);
        Ok(answer(job, Provider::Llm, completion, None, llm_cost_micro_usd))
    }

    fn may_fall_back(&self, job: &Job) -> bool {
        self.config.fallback && !job.request.parameters.force_slm
    }

    fn request(&self, job: &Job, audience: Audience) -> Request {
        let critique = job.previous.as_deref().map(|draft| Critique { draft, findings: &job.critique });
        let mut request =
            prompt::request(&job.request, job.kind, audience, critique, job.timeout, job.cancel.clone());
        if let Some(arm) = &job.arm {
            prompt::vary(&mut request, arm, audience);
        }
        request
    }

    fn patience(&self) -> Patience {
        let Config { max_attempts, patience, backoff, postpone, .. } = self.config;
        Patience { max_attempts, waits: patience, backoff, postpone }
    }

    /// What a call would have cost on the configured LLM.
    fn yardstick(&self, usage: &Usage) -> Option<u64> {
        self.warn_of(&self.config.llm_model);
        self.pricing.cost_micro_usd(&self.config.llm_model, usage)
    }

    /// Says once what is wrong with a model's price or future.
    fn warn_of(&self, model: &str) {
        let words = match self.pricing.status(model) {
            ModelStatus::Priced => return,
            ModelStatus::Unpriced => format!(
                "nobody knows what {model} costs: it is billed as the configured LLM, or else as the dearest model \
                 known, and no savings are counted against it; add it to your table of prices"
            ),
            ModelStatus::Retired { on, successor: Some(successor) } => {
                format!("{model} is retired on {on}: set LLM_MODEL={successor}")
            }
            ModelStatus::Retired { on, successor: None } => {
                format!("{model} is retired on {on}: set LLM_MODEL to another one")
            }
        };
        if self.warned.lock().unwrap_or_else(PoisonError::into_inner).insert(model.to_owned()) {
            warn!(model, "{words}");
        }
    }
}

fn id(job: &Job) -> &str {
    job.request.task_id.as_ref().map_or("without an id", |id| id.as_str())
}

fn withheld(code: &str, words: impl Into<String>) -> Miss {
    Miss::Withheld(Failure::new(code, words))
}

fn llm_unavailable(job: &Job, why: &str) -> Failure {
    Failure::new(
        "llm_unavailable",
        format!(
            "{why}, and no LLM is configured; set ANTHROPIC_API_KEY (or OPENAI_API_KEY with LLM_MODEL), then `ghost retry {}`",
            job.request.task_id.as_ref().map_or("ID", |id| id.as_str())
        ),
    )
}

/// A failure in words that say what to do.
fn failure_of(job: &Job, error: &Error) -> Failure {
    match error {
        Error::Unavailable(why) => llm_unavailable(job, why),
        Error::Authentication { .. } => Failure::new(
            error.code(),
            format!(
                "{error}; set the right key, then `ghost retry {}`",
                job.request.task_id.as_ref().map_or("ID", |id| id.as_str())
            ),
        ),
        error => Failure::new(error.code(), error.to_string()),
    }
}

/// How sure a model is of its whole answer; none where it does not say.
fn confidence(logprobs: &[f32]) -> Option<f64> {
    let sum: f64 = logprobs.iter().map(|logprob| f64::from(*logprob)).sum();
    (!logprobs.is_empty() && !sum.is_nan()).then(|| sum.exp().min(1.0))
}

/// Bytes of plain text that a token of a large model covers, roughly.
const BYTES_PER_TOKEN: usize = 4;

/// The tokens that an LLM would have counted: as many as the SLM did, but no more than the text suggests, as a small
/// model with a small vocabulary counts more of them and would claim to save more.
fn as_of_an_llm(usage: Usage, read: usize, written: usize) -> Usage {
    let at_most = |bytes: usize| u64::try_from(bytes.div_ceil(BYTES_PER_TOKEN)).unwrap_or(u64::MAX);
    Usage {
        input_tokens: usage.input_tokens.min(at_most(read)),
        output_tokens: usage.output_tokens.min(at_most(written)),
        ..Usage::default()
    }
}

/// Why what the LLM sent is no answer, though the call was paid for; none where it is one.
fn shortcoming(completion: &Completion, max_tokens: u32) -> Option<Failure> {
    let model = &completion.model;
    let silent = completion.text.trim().is_empty() && completion.tool_calls.is_empty();
    match completion.finish {
        Finish::Refusal => Some(Failure::new("content_filter", format!("{model} declined to answer"))),
        // A model that thinks first may think until its budget is gone.
        Finish::Length if silent => Some(Failure::new(
            "cut_off",
            format!(
                "{model} used all {max_tokens} tokens before its answer began; raise parameters.max_tokens"
            ),
        )),
        _ if silent => Some(Failure::new("empty", format!("{model} said nothing"))),
        _ => None,
    }
}

fn answer(
    job: &Job,
    provider: Provider,
    completion: Completion,
    confidence: Option<f64>,
    llm_cost_micro_usd: u64,
) -> Answer {
    for warning in &completion.warnings {
        warn!(task.id = id(job), model = completion.model, "task {}: {warning}", id(job));
    }
    let wants_json = Subject { request: &job.request, kind: job.kind }.wants_json();
    Answer {
        json: if wants_json { json_in(&completion.text, provider) } else { None },
        text: completion.text,
        tool_calls: completion.tool_calls,
        provider,
        model: completion.model,
        finish: completion.finish,
        confidence,
        llm_cost_micro_usd,
    }
}

/// The JSON of an answer. The LLM likes to put it into a code fence; nothing of the SLM's answer is mended.
fn json_in(text: &str, provider: Provider) -> Option<Value> {
    let text = text.trim();
    let unfenced =
        (provider == Provider::Llm).then(|| text.strip_prefix("```json")?.strip_suffix("```")).flatten();
    serde_json::from_str(unfenced.unwrap_or(text).trim()).ok()
}

#[cfg(test)]
mod tests;
