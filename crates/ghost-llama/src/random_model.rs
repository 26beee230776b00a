//! A tiny model with random weights, written as a GGUF: enough to drive all of the engine without a download.
//!
//! Llama architecture, two layers in q8_0, one token per byte and some longer ones, ChatML. What it answers is noise
//! that depends on the prompt; the tests are about what that noise is held to.

use std::path::PathBuf;

use fastrand::Rng;
use tempfile::TempDir;

/// The context that the model claims.
pub(crate) const CONTEXT: u32 = 512;
/// A control token that does not end a turn by itself.
const PASS: &str = "<|pass|>";
const TEMPLATE: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
                        {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// GGUF's number for plain floats.
const F32: u32 = 0;
/// GGUF's number for blocks of 32 bytes with a scale.
const Q8_0: u32 = 8;

const WIDTH: usize = 64;
const HIDDEN: usize = 128;
const LAYERS: usize = 2;
const HEADS: u32 = 2;

/// What the file is like.
pub(crate) struct RandomModel {
    pub(crate) seed: u64,
    pub(crate) template: Option<&'static str>,
    pub(crate) context: u32,
}

impl Default for RandomModel {
    fn default() -> Self {
        Self { seed: 1, template: Some(TEMPLATE), context: CONTEXT }
    }
}

impl RandomModel {
    /// Writes the file into a folder of its own, which lives as long as the answer.
    pub(crate) fn write(&self) -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("random.gguf");
        std::fs::write(&path, self.bytes()).expect("a writable folder");
        (folder, path)
    }

    /// The file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let (tokens, types) = tokens();
        let count = tokens.len();
        let mut meta = Meta::default();
        meta.string("general.architecture", "llama");
        meta.string("general.name", "Random");
        meta.number("llama.context_length", self.context);
        meta.number("llama.embedding_length", WIDTH as u32);
        meta.number("llama.block_count", LAYERS as u32);
        meta.number("llama.feed_forward_length", HIDDEN as u32);
        meta.number("llama.attention.head_count", HEADS);
        meta.number("llama.rope.dimension_count", WIDTH as u32 / HEADS);
        meta.key("llama.attention.layer_norm_rms_epsilon", 6);
        meta.bytes.extend(1e-5f32.to_le_bytes());
        meta.string("tokenizer.ggml.model", "gpt2");
        meta.string("tokenizer.ggml.pre", "smollm");
        meta.strings("tokenizer.ggml.tokens", &tokens);
        meta.numbers("tokenizer.ggml.token_type", &types);
        meta.strings("tokenizer.ggml.merges", &["Ġ t".to_owned()]);
        let end = tokens.iter().position(|token| token == "<|im_end|>").expect("it is among them");
        meta.number("tokenizer.ggml.eos_token_id", end as u32);
        if let Some(template) = self.template {
            meta.string("tokenizer.chat_template", template);
        }

        let mut tensors = vec![
            ("token_embd.weight".to_owned(), vec![WIDTH, count]),
            ("output.weight".to_owned(), vec![WIDTH, count]),
            ("output_norm.weight".to_owned(), vec![WIDTH]),
        ];
        for layer in 0..LAYERS {
            for (name, shape) in [
                ("attn_norm", vec![WIDTH]),
                ("attn_q", vec![WIDTH, WIDTH]),
                ("attn_k", vec![WIDTH, WIDTH]),
                ("attn_v", vec![WIDTH, WIDTH]),
                ("attn_output", vec![WIDTH, WIDTH]),
                ("ffn_norm", vec![WIDTH]),
                ("ffn_gate", vec![WIDTH, HIDDEN]),
                ("ffn_up", vec![WIDTH, HIDDEN]),
                ("ffn_down", vec![HIDDEN, WIDTH]),
            ] {
                tensors.push((format!("blk.{layer}.{name}.weight"), shape));
            }
        }

        let mut file = b"GGUF".to_vec();
        file.extend(3u32.to_le_bytes());
        file.extend((tensors.len() as u64).to_le_bytes());
        file.extend(meta.count.to_le_bytes());
        file.extend(meta.bytes);
        let mut offset = 0u64;
        for (name, shape) in &tensors {
            string(&mut file, name);
            file.extend((shape.len() as u32).to_le_bytes());
            shape.iter().for_each(|&dimension| file.extend((dimension as u64).to_le_bytes()));
            let count: usize = shape.iter().product();
            let (kind, size) = if shape.len() == 1 { (F32, count * 4) } else { (Q8_0, count / 32 * 34) };
            file.extend(kind.to_le_bytes());
            file.extend(offset.to_le_bytes());
            assert_eq!(size % 32, 0, "tensors are aligned to 32 bytes");
            offset += size as u64;
        }
        file.resize(file.len().next_multiple_of(32), 0);
        let mut chance = Rng::with_seed(self.seed);
        for (_, shape) in &tensors {
            if let [count] = shape[..] {
                file.extend(std::iter::repeat_n(1f32.to_le_bytes(), count).flatten());
                continue;
            }
            for _ in 0..shape.iter().product::<usize>() / 32 {
                // The scale of a block is 2⁻⁹, as a 16-bit float.
                file.extend(0x1800u16.to_le_bytes());
                file.extend(std::iter::repeat_with(|| chance.u8(..)).take(32));
            }
        }
        file
    }
}

/// One token per byte, some with several bytes, and the special ones; 8 makes their number a multiple of 8.
fn tokens() -> (Vec<String>, Vec<i32>) {
    const NORMAL: i32 = 1;
    const CONTROL: i32 = 3;
    const USER_DEFINED: i32 = 4;
    let texts: [&[u8]; 12] = [
        b" t",
        b"\":\"",
        b"{\"",
        b"\"}",
        b"\n\n",
        b"\r\n",
        b"a\nb",
        "é".as_bytes(),
        b"\xf0\x9f",
        b"\x91\xbb",
        b"true",
        b"the ",
    ];
    let mut tokens: Vec<String> = (0..=255).map(|byte| spelled(&[byte])).collect();
    tokens.extend(texts.iter().map(|text| spelled(text)));
    let mut types = vec![NORMAL; tokens.len()];
    for (text, kind) in
        [("<|im_start|>", CONTROL), ("<|im_end|>", CONTROL), (PASS, CONTROL), ("<|tool|>", USER_DEFINED)]
    {
        tokens.push(text.to_owned());
        types.push(kind);
    }
    (tokens, types)
}

/// Bytes as GPT-2's vocabulary spells them, each as a printable character.
fn spelled(bytes: &[u8]) -> String {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    bytes
        .iter()
        .map(|&byte| {
            if printable(byte) {
                return char::from(byte);
            }
            let number = (0..byte).filter(|&earlier| !printable(earlier)).count() as u32;
            char::from_u32(256 + number).expect("a letter")
        })
        .collect()
}

/// The key-value part of the file.
#[derive(Default)]
struct Meta {
    count: u64,
    bytes: Vec<u8>,
}

impl Meta {
    fn key(&mut self, key: &str, kind: u32) {
        self.count += 1;
        string(&mut self.bytes, key);
        self.bytes.extend(kind.to_le_bytes());
    }

    fn number(&mut self, key: &str, value: u32) {
        self.key(key, 4);
        self.bytes.extend(value.to_le_bytes());
    }

    fn string(&mut self, key: &str, value: &str) {
        self.key(key, 8);
        string(&mut self.bytes, value);
    }

    fn strings(&mut self, key: &str, values: &[String]) {
        self.key(key, 9);
        self.bytes.extend(8u32.to_le_bytes());
        self.bytes.extend((values.len() as u64).to_le_bytes());
        values.iter().for_each(|value| string(&mut self.bytes, value));
    }

    fn numbers(&mut self, key: &str, values: &[i32]) {
        self.key(key, 9);
        self.bytes.extend(5u32.to_le_bytes());
        self.bytes.extend((values.len() as u64).to_le_bytes());
        values.iter().for_each(|value| self.bytes.extend(value.to_le_bytes()));
    }
}

fn string(into: &mut Vec<u8>, value: &str) {
    into.extend((value.len() as u64).to_le_bytes());
    into.extend(value.as_bytes());
}
