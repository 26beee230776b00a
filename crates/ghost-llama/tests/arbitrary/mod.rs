//! Requests made of any bytes, asked of the tiny model: each is answered or refused with words, none ends the process.

use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use ghost_core::inference::{Backend, Message, Request, Role, Sampling, Shape};
use ghost_llama::{Config, Llama};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// The tiny model, with so little room that requests fill it.
static ENGINE: LazyLock<(Runtime, Arc<Llama>)> = LazyLock::new(|| {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|folder| folder.join("models/ghost-tiny.gguf"));
    let path = path.into_iter().find(|path| path.exists()).expect("the tiny model lies in the repository");
    let config = Config { sequences: 4, context_tokens: Some(128), kv_bytes: Some(1), ..Config::new(path) };
    (Runtime::new().expect("a runtime"), Arc::new(Llama::load(config).expect("the tiny model")))
});

/// Asks up to four requests at once.
///
/// # Panics
/// Where an answer breaks a promise.
pub(crate) fn ask(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let requests: Vec<Request> = (0..=bytes.number(4)).map(|_| request(&mut bytes)).collect();
    let (runtime, llama) = &*ENGINE;
    runtime.block_on(async {
        let mut answers = JoinSet::new();
        for request in requests {
            let llama = llama.clone();
            answers.spawn(async move { llama.generate(request, None).await });
        }
        for answer in answers.join_all().await {
            match answer {
                Ok(completion) => assert!(completion.logprobs.iter().all(|logprob| *logprob <= 0.0)),
                Err(error) => {
                    let said = error.to_string();
                    assert!(!said.is_empty() && !said.contains("thread"), "{said}");
                }
            }
        }
    });
}

fn request(bytes: &mut Bytes) -> Request {
    let shape = match bytes.number(8) {
        0 => Shape::Line,
        1 => Shape::Choice((0..bytes.number(5)).map(|_| bytes.text(20)).collect()),
        2 => Shape::Span(bytes.text(200)),
        3 => Shape::Json(schema(bytes)),
        4 => Shape::JsonOfSpans { schema: schema(bytes), source: bytes.text(200) },
        5 => Shape::Grammar(format!("root ::= {}", bytes.text(60))),
        _ => Shape::Text,
    };
    let role = |number| if number == 0 { Role::Assistant } else { Role::User };
    let messages =
        (0..1 + bytes.number(3)).map(|_| Message { role: role(bytes.number(4)), text: bytes.text(300) });
    Request {
        messages: messages.collect(),
        system: (bytes.number(2) == 0).then(|| bytes.text(100)),
        max_tokens: bytes.number(40) as u32,
        stop: (0..bytes.number(3)).map(|_| bytes.text(4)).collect(),
        shape,
        sampling: Sampling {
            temperature: bytes.float(),
            top_k: bytes.float().map(|number| number as u32),
            top_p: bytes.float(),
            min_p: bytes.float(),
            repetition_penalty: bytes.float(),
            presence_penalty: bytes.float(),
            frequency_penalty: bytes.float(),
            seed: None,
        },
        timeout: Duration::from_millis(bytes.number(250) as u64 * 8),
        ..Request::new("")
    }
}

fn schema(bytes: &mut Bytes) -> Value {
    serde_json::from_str(&bytes.text(200)).unwrap_or_else(|_| {
        let kinds = ["string", "integer", "boolean", "null", "array", "object", "number", "none"];
        json!({"type": kinds[bytes.number(8)], "maxLength": bytes.number(9), "minLength": bytes.number(9)})
    })
}

/// The input, read from its front; nothing but zeros behind its end.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().map_or((0, self.0), |(first, rest)| (*first, rest));
        self.0 = rest;
        first
    }

    fn number(&mut self, below: usize) -> usize {
        self.byte() as usize % below
    }

    fn text(&mut self, most: usize) -> String {
        let length = (self.byte() as usize * most / 255).min(self.0.len());
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        String::from_utf8_lossy(text).into_owned()
    }

    /// Most often absent; else in or out of range, or no number.
    fn float(&mut self) -> Option<f32> {
        match self.byte() {
            0..128 => None,
            128..240 => Some(f32::from(self.byte()) / 100.0 - 0.3),
            _ => Some(f32::from_bits(u32::from_le_bytes(std::array::from_fn(|_| self.byte())))),
        }
    }
}
