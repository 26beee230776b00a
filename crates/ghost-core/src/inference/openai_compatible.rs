//! Any endpoint that speaks OpenAI's chat completions: llama-server, Ollama, vLLM, OpenAI; as the small model or as the
//! large one.
//!
//! The call and its patience are [`super::http`]'s; `wire` says what is sent, `fold` what comes back.
//!
//! A server of Ghost Swarm's own understands more ([`extension`]); [`OpenAiCompatible::capability`] tells whether one is
//! there.
//!
//! A refusal or a filter that stops the answer is an answer that [ended with one](super::Finish::Refusal), since it was
//! paid for; a request that is turned away by a filter is [`Error::ContentFilter`].

pub mod extension;
mod fold;
mod models;
mod wire;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};

use super::http::{Http, Patience};
use super::{Backend, Completion, Deltas, Error, Provider, Request};
use crate::taskmaster::capability::Capability;

/// How long a server may take to name its models.
const LOOK: Duration = Duration::from_secs(10);

/// How to reach the endpoint.
#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    /// As which sort of model it is used.
    pub provider: Provider,
    /// Where it listens, with the path before `/chat/completions`: `https://api.openai.com/v1`. Where there is no path,
    /// `/v1` is meant.
    pub base_url: String,
    /// Its key, where it asks for one.
    pub api_key: Option<String>,
    /// Who answers where a request names no model.
    pub model: String,
    /// Whether to ask for a stream. Default true.
    pub streaming: bool,
    /// Whether to ask for the tokens' log-probabilities: the confidence of a small model rests on them. Default: for
    /// [`Provider::Slm`].
    pub logprobs: bool,
    /// Whether the server is one of Ghost Swarm's own, as [`OpenAiCompatible::capability`] tells: it is sent what
    /// [`extension`] adds to the API, and asked for a stream only where somebody listens. Default false.
    pub extended: bool,
    /// How long a connection may take to be made. Default 5 s.
    pub connect_timeout: Duration,
    /// How long the first token may take. Default 15 s.
    pub first_token_timeout: Duration,
    /// How long each further token may take. Default 15 s.
    pub next_token_timeout: Duration,
}

impl Config {
    /// An endpoint that asks for no key, with the defaults for all else.
    pub fn new(provider: Provider, base_url: impl Into<String>, model: impl Into<String>) -> Self {
        Self {
            provider,
            base_url: base_url.into(),
            api_key: None,
            model: model.into(),
            streaming: true,
            logprobs: provider == Provider::Slm,
            extended: false,
            connect_timeout: Duration::from_secs(5),
            first_token_timeout: Duration::from_secs(15),
            next_token_timeout: Duration::from_secs(15),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("provider", &self.provider)
            .field("base_url", &self.base_url)
            .field("api_key", &self.api_key.as_ref().map(|_| "…"))
            .field("model", &self.model)
            .finish_non_exhaustive()
    }
}

/// The backend.
pub struct OpenAiCompatible {
    http: Http,
    url: Url,
    headers: HeaderMap,
    config: Config,
}

impl OpenAiCompatible {
    /// A client of the endpoint; makes no connection yet.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where the address or the key cannot be right.
    pub fn build(config: Config) -> Result<Self, Error> {
        let base = config.base_url.trim_end_matches('/');
        let mut url = Url::parse(base)
            .ok()
            .filter(|url| url.has_host() && matches!(url.scheme(), "http" | "https"))
            .ok_or_else(|| {
                Error::Unavailable(format!(
                    "the endpoint's address must look like http://localhost:8080/v1, not {base}"
                ))
            })?;
        let path = url.path().trim_end_matches('/').trim_end_matches("/chat/completions");
        url.set_path(&format!("{}/chat/completions", if path.is_empty() { "/v1" } else { path }));

        let mut headers = HeaderMap::new();
        if let Some(key) = config.api_key.as_deref().map(str::trim).filter(|key| !key.is_empty()) {
            let mut value = HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| {
                Error::Unavailable("the endpoint's key holds characters that no key has".to_owned())
            })?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let patience = Patience {
            connect: config.connect_timeout,
            first_token: config.first_token_timeout,
            next_token: config.next_token_timeout,
        };
        let http =
            Http::new(url.authority().rsplit('@').next().unwrap_or_default().to_owned(), &url, patience)?;
        Ok(Self { http, url, headers, config })
    }

    /// What the model can do, as a server of Ghost Swarm's own says; none where another server answers, which cannot
    /// tell. Asked once, before the first request.
    ///
    /// # Errors
    /// [`Error`] where nobody answers, the server is not ready, or it has another model.
    pub async fn capability(&self) -> Result<Option<Capability>, Error> {
        let mut url = self.url.clone();
        let path = url.path().trim_end_matches("chat/completions");
        url.set_path(&format!("{path}models"));
        let (status, headers, body) = self.http.get(&url, self.headers.clone(), LOOK).await?;
        models::capability(&self.config, self.http.provider(), status, &headers, &body)
    }
}

#[async_trait]
impl Backend for OpenAiCompatible {
    fn provider(&self) -> Provider {
        self.config.provider
    }

    fn model(&self) -> &str {
        &self.config.model
    }

    async fn generate(&self, request: Request, deltas: Option<Deltas>) -> Result<Completion, Error> {
        // A failure before the answer has begun has a status of its own; inside a stream it has none.
        let streaming = self.config.streaming && (deltas.is_some() || !self.config.extended);
        let at_openai = self.url.host_str() == Some("api.openai.com");
        let wire::Body { json, warnings } = wire::body(&request, &self.config, streaming, at_openai);
        let call = self.http.post(&self.url, &json).headers(self.headers.clone());
        let mut completion = self.http.call::<fold::Fold>(call, streaming, &request, deltas).await?;
        completion.warnings.splice(..0, warnings);
        if completion.model.is_empty() {
            completion.model = request.model.unwrap_or_else(|| self.config.model.clone());
        }
        Ok(completion)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(base: &str) -> Result<String, Error> {
        OpenAiCompatible::build(Config::new(Provider::Slm, base, "m")).map(|backend| backend.url.to_string())
    }

    #[test]
    fn the_address_may_be_written_with_and_without_its_path() {
        for (base, full) in [
            ("http://localhost:8080", "http://localhost:8080/v1/chat/completions"),
            ("http://localhost:11434/v1/", "http://localhost:11434/v1/chat/completions"),
            ("https://api.openai.com/v1", "https://api.openai.com/v1/chat/completions"),
            (
                "https://proxy.example/llm/v2/chat/completions",
                "https://proxy.example/llm/v2/chat/completions",
            ),
        ] {
            assert_eq!(url(base).expect("a good address"), full);
        }
        for base in ["", "localhost:8080", "unix:/run/llama.sock"] {
            assert!(url(base).expect_err("refused").to_string().contains("must look like"), "{base}");
        }
    }

    #[test]
    fn the_key_shows_nowhere() {
        let mut config = Config::new(Provider::Llm, "https://user:pass@api.example/v1", "m");
        config.api_key = Some("sk-secret".to_owned());
        assert!(!format!("{config:?}").contains("sk-"));
        let backend = OpenAiCompatible::build(config).expect("a good configuration");
        assert!(!format!("{:?}{:?}", backend.headers, backend.http).contains("sk-"));
    }
}
