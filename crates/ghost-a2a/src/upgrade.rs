//! The way in: turns a TCP connection into a WebSocket, if its caller asks for our protocol and may come in.
//!
//! Who brings the right bearer token is known from the start; who brings a wrong one is sent away at once; who brings
//! none, as a browser must, comes in and says `ghost.session.hello` before anything else. A page in a browser is let in
//! only where there is a token to ask for: without one, any page on the web could talk to a hub on this machine.

use std::time::Duration;

use ghost_core::token::Token;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::header::{AUTHORIZATION, ORIGIN, SEC_WEBSOCKET_PROTOCOL};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async_with_config};

use crate::SUBPROTOCOL;
use crate::session::websocket_config;

/// How long a caller may take for its handshake.
pub const HANDSHAKE: Duration = Duration::from_secs(10);

/// Why somebody did not come in.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Sent away, with these words.
    #[error("refused with status {0}")]
    Refused(u16),
    /// It took too long.
    #[error("the handshake was not done within {HANDSHAKE:?}")]
    Slow,
    /// It was no handshake, or the connection broke.
    #[error("the handshake failed: {0}")]
    Failed(String),
}

/// Lets a caller in; the flag says whether it is known already.
///
/// # Errors
/// [`Error`] where the caller was sent away or left.
pub async fn accept<S>(stream: S, token: Option<&Token>) -> Result<(WebSocketStream<S>, bool), Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut known = token.is_none();
    // tungstenite's type for a refusal is large, and the callback's signature is its own.
    #[expect(clippy::result_large_err, reason = "the signature is tungstenite's")]
    let check = |request: &Request, mut response: Response| {
        let admitted = admit(request, token).map_err(|(status, words)| refusal(status, words))?;
        known = admitted;
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
        Ok(response)
    };
    let handshake = accept_hdr_async_with_config(stream, check, Some(websocket_config()));
    let socket =
        timeout(HANDSHAKE, handshake).await.map_err(|_| Error::Slow)?.map_err(|error| match error {
            WsError::Http(response) => Error::Refused(response.status().as_u16()),
            error => Error::Failed(error.to_string()),
        })?;
    Ok((socket, known))
}

/// Whether the caller is known; an error sends it away.
fn admit(request: &Request, token: Option<&Token>) -> Result<bool, (StatusCode, &'static str)> {
    let headers = request.headers();
    let offered = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    if !offered.flat_map(|list| list.split(',')).any(|name| name.trim() == SUBPROTOCOL) {
        return Err((StatusCode::BAD_REQUEST, "offer the WebSocket subprotocol ghost-a2a.v1\n"));
    }
    let Some(token) = token else {
        return match headers.contains_key(ORIGIN) {
            false => Ok(true),
            true => Err((
                StatusCode::FORBIDDEN,
                "pages in a browser are let in only where GHOST_API_TOKEN is set\n",
            )),
        };
    };
    match headers.get(AUTHORIZATION) {
        None => Ok(false),
        Some(value) => {
            let given = value.to_str().ok().and_then(|text| {
                let (scheme, given) = text.split_once(' ')?;
                scheme.eq_ignore_ascii_case("bearer").then(|| given.trim())
            });
            match given {
                Some(given) if token.is(given) => Ok(true),
                _ => Err((
                    StatusCode::UNAUTHORIZED,
                    "this is not the token of this swarm; send GHOST_API_TOKEN as `Authorization: Bearer …`\n",
                )),
            }
        }
    }
}

fn refusal(status: StatusCode, words: &'static str) -> ErrorResponse {
    let mut response = ErrorResponse::new(Some(words.to_owned()));
    *response.status_mut() = status;
    let length = HeaderValue::from(words.len());
    response.headers_mut().insert("content-length", length);
    response.headers_mut().insert("content-type", HeaderValue::from_static("text/plain"));
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert("www-authenticate", HeaderValue::from_static("Bearer"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&'static str, &str)]) -> Request {
        let mut request = Request::new(());
        for (name, value) in headers {
            request.headers_mut().append(*name, value.parse().expect("a header"));
        }
        request
    }

    fn status(headers: &[(&'static str, &str)], token: Option<&Token>) -> Result<bool, u16> {
        let ours = [&[("sec-websocket-protocol", "other, ghost-a2a.v1")], headers].concat();
        admit(&request(&ours), token).map_err(|(status, _)| status.as_u16())
    }

    #[test]
    fn who_does_not_speak_our_protocol_is_sent_away() {
        assert_eq!(admit(&request(&[]), None).map_err(|(status, _)| status.as_u16()), Err(400));
        let other = request(&[("sec-websocket-protocol", "ghost-a2a.v2")]);
        assert_eq!(admit(&other, None).map_err(|(status, _)| status.as_u16()), Err(400));
    }

    #[test]
    fn the_right_token_is_known_at_once_the_wrong_one_sent_away_and_none_must_say_hello() {
        let token = Token::new("s3cret");
        assert_eq!(status(&[("authorization", "Bearer s3cret")], Some(&token)), Ok(true));
        assert_eq!(status(&[("authorization", "bearer s3cret")], Some(&token)), Ok(true));
        assert_eq!(status(&[("authorization", "Bearer other")], Some(&token)), Err(401));
        assert_eq!(status(&[("authorization", "s3cret")], Some(&token)), Err(401));
        assert_eq!(status(&[], Some(&token)), Ok(false));
    }

    #[test]
    fn a_page_in_a_browser_is_let_in_only_where_there_is_a_token() {
        let origin = ("origin", "https://example.org");
        assert_eq!(status(&[origin], None), Err(403));
        assert_eq!(status(&[origin], Some(&Token::new("s3cret"))), Ok(false));
        assert_eq!(status(&[], None), Ok(true));
    }
}
