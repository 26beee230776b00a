//! Claude, over the Messages API.
//!
//! The call and its patience are [`super::http`]'s; `wire` says what is sent, `fold` what comes back, `schema` which
//! JSON schemas Claude can be held to.
//!
//! A refusal (`stop_reason` `refusal`) is an answer that [ended with one](super::Finish::Refusal): it was paid for, so
//! its usage must not be lost. [`Error::ContentFilter`] is a request that was turned away before it cost anything.
//! Neither is to be routed around.

mod fold;
mod schema;
mod wire;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use jiff::civil::Date;
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderValue};

use super::http::{Http, Patience};
use super::{Backend, Completion, Deltas, Error, Provider, Request};

/// The first version that takes the key as a bearer token.
const BEARER_SINCE: Date = jiff::civil::date(2026, 10, 21);

/// How to reach Claude.
#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    /// ANTHROPIC_API_KEY. No default: it must be set.
    pub api_key: String,
    /// ANTHROPIC_BASE_URL, without the `/v1` of the API's paths. Default `https://api.anthropic.com`.
    pub base_url: String,
    /// LLM_MODEL: who answers where a request names no model. Default `claude-sonnet-5-5`.
    pub model: String,
    /// ANTHROPIC_VERSION: the header `anthropic-version`. Default `2026-10-21`; an older one, for proxies that know
    /// only that, also sends the key as `x-api-key`.
    pub version: String,
    /// Whether to ask for a stream. Default true; false is for proxies that cannot stream, and then only the request's
    /// own timeout bounds the wait.
    pub streaming: bool,
    /// How long a connection may take to be made. Default 5 s.
    pub connect_timeout: Duration,
    /// How long the first token may take. Default 15 s.
    pub first_token_timeout: Duration,
    /// How long each further token may take. Default 15 s.
    pub next_token_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            api_key: String::new(),
            base_url: "https://api.anthropic.com".to_owned(),
            model: "claude-sonnet-5-5".to_owned(),
            version: BEARER_SINCE.to_string(),
            streaming: true,
            connect_timeout: Duration::from_secs(5),
            first_token_timeout: Duration::from_secs(15),
            next_token_timeout: Duration::from_secs(15),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("api_key", &"…")
            .field("base_url", &self.base_url)
            .field("model", &self.model)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// The backend.
pub struct Claude {
    http: Http,
    url: Url,
    headers: HeaderMap,
    model: String,
    streaming: bool,
}

impl Claude {
    /// A client of the Messages API; makes no connection yet.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where the key, the address or the version cannot be right.
    pub fn build(config: Config) -> Result<Self, Error> {
        let unavailable = |problem: &str| Error::Unavailable(problem.to_owned());
        let key = config.api_key.trim();
        if key.is_empty() {
            return Err(unavailable("claude needs a key; set ANTHROPIC_API_KEY"));
        }
        let version: Date = config
            .version
            .parse()
            .map_err(|_| unavailable("ANTHROPIC_VERSION must be a date, as in 2026-10-21 or 2023-06-01"))?;
        let base = Url::parse(config.base_url.trim_end_matches('/'))
            .ok()
            .filter(|base| base.has_host() && matches!(base.scheme(), "http" | "https"));
        let base = base.ok_or_else(|| {
            unavailable("ANTHROPIC_BASE_URL must be an address, as in https://api.anthropic.com")
        })?;
        let mut url = base.clone();
        url.set_path(&format!("{}/v1/messages", base.path().trim_end_matches('/')));

        let (name, value) = if version < BEARER_SINCE {
            ("x-api-key", key.to_owned())
        } else {
            ("authorization", format!("Bearer {key}"))
        };
        let mut value = HeaderValue::from_str(&value)
            .map_err(|_| unavailable("ANTHROPIC_API_KEY holds characters that no key has"))?;
        value.set_sensitive(true);
        let mut headers = HeaderMap::new();
        headers.insert(name, value);
        headers.insert(
            "anthropic-version",
            HeaderValue::from_str(&version.to_string()).expect("a date is plain text"),
        );

        let patience = Patience {
            connect: config.connect_timeout,
            first_token: config.first_token_timeout,
            next_token: config.next_token_timeout,
        };
        let http = Http::new("claude".to_owned(), &base, patience)?;
        Ok(Self { http, url, headers, model: config.model, streaming: config.streaming })
    }
}

#[async_trait]
impl Backend for Claude {
    fn provider(&self) -> Provider {
        Provider::Llm
    }

    fn model(&self) -> &str {
        &self.model
    }

    async fn generate(&self, request: Request, deltas: Option<Deltas>) -> Result<Completion, Error> {
        let model = request.model.as_deref().unwrap_or(&self.model);
        let wire::Body { json, warnings } = wire::body(&request, model, self.streaming);
        let call = self.http.post(&self.url, &json).headers(self.headers.clone());
        let mut completion = self.http.call::<fold::Fold>(call, self.streaming, &request, deltas).await?;
        completion.warnings.splice(..0, warnings);
        if completion.model.is_empty() {
            completion.model = model.to_owned();
        }
        Ok(completion)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(change: impl FnOnce(&mut Config)) -> Result<Claude, Error> {
        let mut config = Config { api_key: "sk-test".to_owned(), ..Config::default() };
        change(&mut config);
        Claude::build(config)
    }

    #[test]
    fn a_configuration_that_cannot_work_is_refused_with_what_to_set() {
        let refusal = |change: fn(&mut Config)| with(change).err().expect("refused").to_string();
        assert!(refusal(|config| config.api_key = " ".to_owned()).contains("ANTHROPIC_API_KEY"));
        assert!(refusal(|config| config.api_key = "sk\n1".to_owned()).contains("ANTHROPIC_API_KEY"));
        assert!(refusal(|config| config.version = "newest".to_owned()).contains("ANTHROPIC_VERSION"));
        for base in ["", "api.anthropic.com", "file:///etc", "localhost:80"] {
            let error = with(|config| config.base_url = base.to_owned()).err().expect("refused");
            assert!(error.to_string().contains("ANTHROPIC_BASE_URL"), "{base}");
        }
    }

    #[test]
    fn the_key_goes_out_as_the_version_wants_it_and_shows_nowhere_else() {
        let newer = with(|_| {}).expect("a good configuration");
        assert_eq!(newer.headers["authorization"], "Bearer sk-test");
        assert!(!newer.headers.contains_key("x-api-key"));
        let older = with(|config| config.version = "2023-06-01".to_owned()).expect("a good configuration");
        assert_eq!(older.headers["x-api-key"], "sk-test");
        assert!(!older.headers.contains_key("authorization"));
        let config = Config { api_key: "sk-secret".to_owned(), ..Config::default() };
        assert!(!format!("{config:?}{:?}{:?}", newer.headers, newer.http).contains("sk-"));
    }

    #[test]
    fn a_base_with_a_path_keeps_it() {
        let proxied = with(|config| config.base_url = "https://proxy.example/anthropic/".to_owned());
        assert_eq!(proxied.expect("good").url.as_str(), "https://proxy.example/anthropic/v1/messages");
    }
}
