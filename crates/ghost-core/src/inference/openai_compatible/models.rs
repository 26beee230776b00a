//! What `GET …/models` tells: whether the server is one of Ghost Swarm's own, and what its model can do.
//!
//! Pure. Other servers list their models in many ways, or not at all; whatever they say, they cannot tell.

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};
use serde_json::Value;

use super::{Config, extension};
use crate::inference::Error;
use crate::taskmaster::capability::Capability;

/// What the configured model can do, by this answer; none where the server is none of ours.
pub(super) fn capability(
    config: &Config,
    provider: &str,
    status: u16,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Option<Capability>, Error> {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let ours = headers.get(WWW_AUTHENTICATE).is_some_and(|asked| asked == extension::REALM);
    match status {
        401 if ours => {
            let message = body["error"]["message"].as_str().unwrap_or("it asks for a token").to_owned();
            return Err(Error::Authentication { provider: provider.to_owned(), message });
        }
        500.. => {
            let message = body["error"]["message"].as_str().unwrap_or("it is not ready").to_owned();
            return Err(Error::Server { provider: provider.to_owned(), status, message });
        }
        _ => {}
    }
    let models = body["data"].as_array().map(Vec::as_slice).unwrap_or_default();
    let ours: Vec<&Value> = models.iter().filter(|model| model.get(extension::GHOST).is_some()).collect();
    if ours.is_empty() {
        return Ok(None);
    }
    let Some(model) = ours.iter().find(|model| model["id"] == config.model.as_str()) else {
        let names: Vec<&str> = ours.iter().filter_map(|model| model["id"].as_str()).collect();
        return Err(Error::Unavailable(format!(
            "{provider} has no model {}; it has {}",
            config.model,
            names.join(", ")
        )));
    };
    extension::read_capability(&model[extension::GHOST]).map(Some).map_err(|problem| {
        Error::Unavailable(format!(
            "{provider} says what {} can do in words of another version of Ghost Swarm: {problem}",
            config.model
        ))
    })
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;
    use serde_json::json;

    use super::*;
    use crate::inference::Provider;

    fn told(status: u16, headers: &HeaderMap, body: Value) -> Result<Option<Capability>, Error> {
        let config = Config::new(Provider::Slm, "http://localhost:8090", "phi");
        capability(&config, "localhost:8090", status, headers, body.to_string().as_bytes())
    }

    fn listed(id: &str) -> Value {
        let ghost = extension::write_capability(&Capability::general(id));
        json!({"object": "list", "data": [{"id": id, "object": "model", "ghost": ghost}]})
    }

    #[test]
    fn a_server_of_our_own_tells_what_its_model_can_do() {
        let known = told(200, &HeaderMap::new(), listed("phi")).expect("it tells");
        assert_eq!(known, Some(Capability::general("phi")));
    }

    #[test]
    fn other_servers_cannot_tell_whatever_they_say() {
        for (status, body) in [
            (200, json!({"object": "list", "data": [{"id": "phi", "object": "model"}]})),
            (200, json!({"object": "list", "data": [{"id": "other"}]})),
            (200, json!("llama")),
            (401, json!({"error": {"message": "incorrect key"}})),
            (404, json!(null)),
        ] {
            assert!(matches!(told(status, &HeaderMap::new(), body.clone()), Ok(None)), "{status} {body}");
        }
    }

    #[test]
    fn what_stands_in_the_way_is_said() {
        let mut asks = HeaderMap::new();
        asks.insert(WWW_AUTHENTICATE, HeaderValue::from_static(extension::REALM));
        let error =
            |status, headers: &HeaderMap, body| told(status, headers, body).expect_err("it cannot be asked");
        assert_eq!(error(401, &asks, json!({})).code(), "authentication_failed");
        assert_eq!(error(503, &HeaderMap::new(), json!(null)).code(), "server_error");
        let another = error(200, &HeaderMap::new(), listed("tiny")).to_string();
        assert_eq!(another, "localhost:8090 has no model phi; it has tiny");
        let mut newer = listed("phi");
        newer["data"][0]["ghost"]["capability"]["telepathy"] = true.into();
        assert!(error(200, &HeaderMap::new(), newer).to_string().contains("another version"));
    }
}
