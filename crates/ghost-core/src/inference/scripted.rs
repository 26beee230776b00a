//! A backend that answers from a script: for tests, for demonstrations and for `--dry-run`.
//!
//! It keeps the promises of a real one: it streams, waits, fails in the middle, ends at once when cancelled, and says
//! what it was asked. A word counts as a token.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{sleep, timeout};

use super::{Backend, Completion, Deltas, Error, Finish, Provider, Request, Usage};

/// How many requests are kept for whoever asks; a dry run of many thousand tasks must not fill the memory.
const KEPT_REQUESTS: usize = 1_000;

/// The backend.
#[derive(Debug)]
pub struct Scripted {
    provider: Provider,
    model: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    script: Script,
    calls: u64,
    requests: VecDeque<Request>,
}

/// What to say: first each of the steps once, then by rule, then always the same.
#[derive(Debug, Clone, Default)]
pub struct Script {
    steps: VecDeque<Reply>,
    rules: Vec<(String, Reply)>,
    otherwise: Option<Reply>,
}

impl Script {
    /// The same reply to everything.
    pub fn always(reply: impl Into<Reply>) -> Self {
        Self { otherwise: Some(reply.into()), ..Self::default() }
    }

    /// One reply after the other.
    pub fn steps<R: Into<Reply>>(replies: impl IntoIterator<Item = R>) -> Self {
        Self { steps: replies.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// This reply to every request whose last turn contains `part`; earlier rules win.
    pub fn when(mut self, part: impl Into<String>, reply: impl Into<Reply>) -> Self {
        self.rules.push((part.into(), reply.into()));
        self
    }

    /// This reply once the steps are used up and no rule applies.
    pub fn otherwise(mut self, reply: impl Into<Reply>) -> Self {
        self.otherwise = Some(reply.into());
        self
    }

    fn next(&mut self, asked: &str) -> Option<Reply> {
        self.steps.pop_front().or_else(|| {
            let rule = self.rules.iter().find(|(part, _)| asked.contains(part.as_str()));
            rule.map(|(_, reply)| reply).or(self.otherwise.as_ref()).cloned()
        })
    }
}

/// One reply: a text, and how it ends.
#[derive(Debug, Clone)]
pub struct Reply {
    /// How long the model thinks before its first word.
    pub after: Duration,
    /// What it says.
    pub text: String,
    /// Why it stops, or what breaks it off once it has said this.
    pub end: Result<Finish, Error>,
    /// What the call takes; counted in words where absent.
    pub usage: Option<Usage>,
    /// How sure the model is of the whole, 0 to 1; it gives no log-probabilities where absent.
    pub confidence: Option<f32>,
}

impl Reply {
    /// A whole answer.
    pub fn text(text: impl Into<String>) -> Self {
        Self {
            after: Duration::ZERO,
            text: text.into(),
            end: Ok(Finish::Stop),
            usage: None,
            confidence: None,
        }
    }

    /// No answer at all.
    pub fn error(error: Error) -> Self {
        Self { end: Err(error), ..Self::text("") }
    }

    /// The same, later.
    pub fn after(self, wait: Duration) -> Self {
        Self { after: wait, ..self }
    }

    /// The same, ended or broken off in another way.
    pub fn ending(self, end: Result<Finish, Error>) -> Self {
        Self { end, ..self }
    }

    /// The same, said with this much confidence.
    pub fn confident(self, confidence: f32) -> Self {
        Self { confidence: Some(confidence), ..self }
    }
}

impl From<&str> for Reply {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<Error> for Reply {
    fn from(error: Error) -> Self {
        Self::error(error)
    }
}

impl Scripted {
    /// A backend that poses as `model` and answers by `script`.
    pub fn new(provider: Provider, model: impl Into<String>, script: Script) -> Self {
        let state = State { script, calls: 0, requests: VecDeque::new() };
        Self { provider, model: model.into(), state: Mutex::new(state) }
    }

    /// How often it was asked.
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// What it was asked, oldest first; the last thousand requests.
    pub fn requests(&self) -> Vec<Request> {
        self.state().requests.iter().cloned().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self, request: &Request) -> Option<Reply> {
        let mut state = self.state();
        state.calls += 1;
        if state.requests.len() == KEPT_REQUESTS {
            state.requests.pop_front();
        }
        state.requests.push_back(request.clone());
        state.script.next(request.messages.last().map_or("", |message| &message.text))
    }

    async fn play(&self, request: &Request, deltas: Option<Deltas>) -> Result<Completion, Error> {
        let reply =
            self.next(request).ok_or_else(|| Error::Engine("the script has no reply to this".to_owned()))?;
        sleep(reply.after).await;
        if let Some(deltas) = deltas {
            for word in reply.text.split_inclusive(' ') {
                if deltas.send(word.to_owned()).await.is_err() {
                    break;
                }
            }
        }
        let finish = reply.end?;
        let usage = reply.usage.unwrap_or_else(|| Usage {
            input_tokens: request.messages.iter().map(|message| words(&message.text)).sum(),
            output_tokens: words(&reply.text),
            ..Usage::default()
        });
        Ok(Completion {
            text: reply.text,
            finish,
            usage,
            model: request.model.clone().unwrap_or_else(|| self.model.clone()),
            request_id: None,
            logprobs: reply.confidence.map(f32::ln).into_iter().collect(),
            tokens: Vec::new(),
            tool_calls: Vec::new(),
            warnings: Vec::new(),
        })
    }
}

fn words(text: &str) -> u64 {
    text.split_whitespace().count() as u64
}

#[async_trait]
impl Backend for Scripted {
    fn provider(&self) -> Provider {
        self.provider
    }

    fn model(&self) -> &str {
        &self.model
    }

    async fn generate(&self, request: Request, deltas: Option<Deltas>) -> Result<Completion, Error> {
        let play = timeout(request.timeout, self.play(&request, deltas));
        match request.cancel.run_until_cancelled(play).await {
            None => Err(Error::Cancelled),
            Some(Err(_)) => Err(Error::Timeout { provider: self.model.clone(), waited: request.timeout }),
            Some(Ok(result)) => result,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    fn scripted(script: Script) -> Scripted {
        Scripted::new(Provider::Llm, "scripted-1", script)
    }

    async fn say(backend: &Scripted, text: &str) -> Result<String, Error> {
        backend.generate(Request::new(text), None).await.map(|completion| completion.text)
    }

    #[tokio::test]
    async fn steps_come_first_then_rules_then_the_rest() {
        let script = Script::steps(["one", "two"]).when("colour", "blue").otherwise("who knows");
        let backend = scripted(script);
        let mut said = Vec::new();
        for asked in ["colour?", "colour?", "colour?", "shape?"] {
            said.push(say(&backend, asked).await.expect("an answer"));
        }
        assert_eq!(said, ["one", "two", "blue", "who knows"]);
        assert_eq!(backend.calls(), 4);
        assert_eq!(backend.requests()[3].messages[0].text, "shape?");
    }

    #[tokio::test]
    async fn a_used_up_script_is_an_error_and_not_an_empty_answer() {
        assert!(matches!(say(&scripted(Script::default()), "hello").await, Err(Error::Engine(_))));
    }

    #[tokio::test]
    async fn text_streams_word_by_word_and_may_break_off() {
        let cut = Error::Connection { provider: "scripted".to_owned(), message: "cut".to_owned() };
        let backend = scripted(Script::always(Reply::text("a b c").ending(Err(cut))));
        let (deltas, mut heard) = mpsc::channel(8);
        let result = backend.generate(Request::new("hello"), Some(deltas)).await;
        assert!(matches!(result, Err(Error::Connection { .. })));
        let mut words = Vec::new();
        while let Some(word) = heard.recv().await {
            words.push(word);
        }
        assert_eq!(words, ["a ", "b ", "c"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_reply_meets_the_timeout_and_the_callers_patience() {
        let backend = scripted(Script::always(Reply::text("late").after(Duration::from_secs(10))));
        let hurried = Request { timeout: Duration::from_secs(1), ..Request::new("hello") };
        assert!(matches!(backend.generate(hurried, None).await, Err(Error::Timeout { .. })));
        let withdrawn = Request::new("hello");
        withdrawn.cancel.cancel();
        assert!(matches!(backend.generate(withdrawn, None).await, Err(Error::Cancelled)));
        assert_eq!(say(&backend, "hello").await.expect("in time"), "late");
    }

    #[tokio::test]
    async fn confidence_is_what_the_log_probabilities_add_up_to() {
        let backend = scripted(Script::always(Reply::text("sure").confident(0.9)));
        let completion = backend.generate(Request::new("hello"), None).await.expect("an answer");
        assert!((completion.logprobs.iter().sum::<f32>().exp() - 0.9).abs() < 1e-6);
    }
}
