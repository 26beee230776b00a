//! A model with random weights, written as a GGUF: it drives and measures all of the engine without a download.
//!
//! Llama architecture, one token per byte and some longer ones, ChatML. What it answers is noise that depends on the
//! prompt. [`RandomModel::default`] is tiny, and tests are about what its noise is held to, so its bytes never change;
//! [`RandomModel::billion`] computes as much as a real small model does, for `ghost bench slm`.

use std::io::{self, Write};

use fastrand::Rng;

/// The context that the default model claims.
pub const CONTEXT: u32 = 512;
/// A control token that does not end a turn by itself.
const PASS: &str = "<|pass|>";
const TEMPLATE: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
                        {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// GGUF's number for plain floats.
const F32: u32 = 0;
/// Tensors begin at multiples of so many bytes.
const ALIGNMENT: u64 = 32;

/// What the file is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RandomModel {
    /// Where chance begins.
    pub seed: u64,
    /// The chat template; ChatML by default.
    pub template: Option<&'static str>,
    /// The context that it claims, in tokens.
    pub context: u32,
    /// Numbers that stand for a token; a multiple of the heads, and of the weights' block.
    pub width: u32,
    /// Numbers inside a feed-forward layer; a multiple of the weights' block.
    pub hidden: u32,
    /// How many layers.
    pub layers: u32,
    /// Heads that ask.
    pub heads: u32,
    /// Heads that are asked; the heads that ask share them evenly.
    pub kv_heads: u32,
    /// At least so many tokens; those beyond the bytes and the special ones are words that no text is cut into.
    pub vocabulary: usize,
    /// How weights are stored.
    pub weights: Weights,
    /// Whether a greedy answer always goes on to its token budget: tokens that could end it are never the likeliest.
    pub endless: bool,
}

/// How weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weights {
    /// Blocks of 32 numbers of 8 bits.
    Q8_0,
    /// Blocks of 32 numbers of 4 bits.
    Q4_0,
    /// Blocks of 256 numbers of 4 bits, each eighth with a scale and a minimum.
    Q4K,
}

impl Default for RandomModel {
    fn default() -> Self {
        Self {
            seed: 1,
            template: Some(TEMPLATE),
            context: CONTEXT,
            width: 64,
            hidden: 128,
            layers: 2,
            heads: 2,
            kv_heads: 2,
            vocabulary: 0,
            weights: Weights::Q8_0,
            endless: false,
        }
    }
}

impl RandomModel {
    /// 1.1 billion parameters, in the shape of TinyLlama; its answers go on to their token budget.
    pub fn billion(weights: Weights) -> Self {
        Self {
            context: 4096,
            width: 2048,
            hidden: 5632,
            layers: 22,
            heads: 32,
            kv_heads: 4,
            vocabulary: 32_000,
            weights,
            endless: true,
            ..Self::default()
        }
    }

    /// How many weights it has.
    pub fn parameters(&self) -> u64 {
        let (tokens, _) = self.tokens();
        self.tensors(tokens.len()).iter().map(Tensor::numbers).sum()
    }

    /// Writes the file, one block of weights after the other: a billion of them take seconds and no memory.
    ///
    /// # Errors
    /// Where the shape makes no sense, and what writing says.
    pub fn write_to(&self, file: &mut impl Write) -> io::Result<()> {
        self.check()?;
        let (tokens, types) = self.tokens();
        let meta = self.meta(&tokens, &types);
        let tensors = self.tensors(tokens.len());

        let mut head = b"GGUF".to_vec();
        head.extend(3u32.to_le_bytes());
        head.extend((tensors.len() as u64).to_le_bytes());
        head.extend(meta.count.to_le_bytes());
        head.extend(meta.bytes);
        let mut offset = 0u64;
        for tensor in &tensors {
            string(&mut head, &tensor.name);
            head.extend((tensor.shape.len() as u32).to_le_bytes());
            tensor.shape.iter().for_each(|&dimension| head.extend(u64::from(dimension).to_le_bytes()));
            let (kind, size) = if tensor.is_plain() {
                (F32, tensor.numbers() * 4)
            } else {
                (self.weights.number(), tensor.numbers() / self.weights.block() * self.weights.block_bytes())
            };
            head.extend(kind.to_le_bytes());
            head.extend(offset.to_le_bytes());
            offset += size.next_multiple_of(ALIGNMENT);
        }
        head.resize(head.len().next_multiple_of(ALIGNMENT as usize), 0);
        file.write_all(&head)?;

        let mut chance = Rng::with_seed(self.seed);
        let scale = self.weights.scale(self.width);
        let mut row = Vec::new();
        for tensor in &tensors {
            let mut size = 0u64;
            let rows = tensor.shape.get(1).copied().unwrap_or(1);
            for at in 0..rows as usize {
                row.clear();
                if tensor.is_plain() {
                    row.extend(std::iter::repeat_n(1f32.to_le_bytes(), tensor.shape[0] as usize).flatten());
                } else {
                    // All weights of a token that is never to be the likeliest are zero.
                    let mute = self.endless
                        && tensor.name == "output.weight"
                        && types.get(at) != Some(&(Kind::Normal as i32));
                    let scale = if mute { None } else { Some(scale) };
                    for _ in 0..u64::from(tensor.shape[0]) / self.weights.block() {
                        self.weights.write(&mut row, scale, &mut chance);
                    }
                }
                size += row.len() as u64;
                file.write_all(&row)?;
            }
            let padding = size.next_multiple_of(ALIGNMENT) - size;
            file.write_all(&[0; ALIGNMENT as usize][..padding as usize])?;
        }
        Ok(())
    }

    fn check(&self) -> io::Result<()> {
        let block = self.weights.block() as u32;
        let sound = self.heads > 0
            && self.kv_heads > 0
            && self.width > 0
            && self.hidden > 0
            && self.heads.is_multiple_of(self.kv_heads)
            && self.width.is_multiple_of(2 * self.heads)
            && self.width.is_multiple_of(block)
            && self.hidden.is_multiple_of(block);
        if sound {
            return Ok(());
        }
        let reason = format!(
            "width and hidden must be multiples of {block}, the width of twice the heads, and the heads of kv_heads"
        );
        Err(io::Error::new(io::ErrorKind::InvalidInput, reason))
    }

    fn meta(&self, tokens: &[String], types: &[i32]) -> Meta {
        let mut meta = Meta::default();
        meta.string("general.architecture", "llama");
        meta.string("general.name", "Random");
        meta.number("llama.context_length", self.context);
        meta.number("llama.embedding_length", self.width);
        meta.number("llama.block_count", self.layers);
        meta.number("llama.feed_forward_length", self.hidden);
        meta.number("llama.attention.head_count", self.heads);
        if self.kv_heads != self.heads {
            meta.number("llama.attention.head_count_kv", self.kv_heads);
        }
        meta.number("llama.rope.dimension_count", self.width / self.heads);
        meta.key("llama.attention.layer_norm_rms_epsilon", 6);
        meta.bytes.extend(1e-5f32.to_le_bytes());
        meta.string("tokenizer.ggml.model", "gpt2");
        meta.string("tokenizer.ggml.pre", "smollm");
        meta.strings("tokenizer.ggml.tokens", tokens);
        meta.numbers("tokenizer.ggml.token_type", types);
        meta.strings("tokenizer.ggml.merges", &["Ġ t".to_owned()]);
        let end = tokens.iter().position(|token| token == "<|im_end|>").expect("it is among them");
        meta.number("tokenizer.ggml.eos_token_id", end as u32);
        if let Some(template) = self.template {
            meta.string("tokenizer.chat_template", template);
        }
        meta
    }

    fn tokens(&self) -> (Vec<String>, Vec<i32>) {
        let (mut tokens, mut types) = tokens();
        for number in tokens.len()..self.vocabulary {
            tokens.push(format!("Ġw{number}"));
            types.push(Kind::Normal as i32);
        }
        (tokens, types)
    }

    fn tensors(&self, tokens: usize) -> Vec<Tensor> {
        let (width, hidden, tokens) = (self.width, self.hidden, tokens as u32);
        let asked = width / self.heads.max(1) * self.kv_heads;
        let tensor = |name: String, shape: &[u32]| Tensor { name, shape: shape.to_vec() };
        let mut tensors = vec![
            tensor("token_embd.weight".to_owned(), &[width, tokens]),
            tensor("output.weight".to_owned(), &[width, tokens]),
            tensor("output_norm.weight".to_owned(), &[width]),
        ];
        for layer in 0..self.layers {
            for (name, shape) in [
                ("attn_norm", &[width][..]),
                ("attn_q", &[width, width]),
                ("attn_k", &[width, asked]),
                ("attn_v", &[width, asked]),
                ("attn_output", &[width, width]),
                ("ffn_norm", &[width]),
                ("ffn_gate", &[width, hidden]),
                ("ffn_up", &[width, hidden]),
                ("ffn_down", &[hidden, width]),
            ] {
                tensors.push(tensor(format!("blk.{layer}.{name}.weight"), shape));
            }
        }
        tensors
    }
}

/// For tests.
#[cfg(test)]
impl RandomModel {
    /// Writes the file into a folder of its own, which lives as long as the answer.
    pub(crate) fn write(&self) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("random.gguf");
        std::fs::write(&path, self.bytes()).expect("a writable folder");
        (folder, path)
    }

    /// The file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write_to(&mut bytes).expect("a shape that can be");
        bytes
    }
}

impl Weights {
    /// Numbers in a block.
    fn block(self) -> u64 {
        match self {
            Weights::Q8_0 | Weights::Q4_0 => 32,
            Weights::Q4K => 256,
        }
    }

    /// Bytes of a block.
    fn block_bytes(self) -> u64 {
        match self {
            Weights::Q8_0 => 34,
            Weights::Q4_0 => 18,
            Weights::Q4K => 144,
        }
    }

    /// GGUF's number.
    fn number(self) -> u32 {
        match self {
            Weights::Q8_0 => 8,
            Weights::Q4_0 => 2,
            Weights::Q4K => 12,
        }
    }

    /// The power of two by which a block's numbers are scaled, so that a layer neither drowns nor explodes what goes
    /// through it.
    fn scale(self, width: u32) -> i32 {
        // How far the numbers of a block lie from zero, typically.
        let spread = match self {
            Weights::Q8_0 => 73.9,
            Weights::Q4_0 => 4.6,
            Weights::Q4K => 4.6 * f64::from(SUB_SCALE),
        };
        (1.0 / (f64::from(width).sqrt() * spread)).log2().round() as i32
    }

    /// Adds a block of random numbers with this scale; without one all of them are zero.
    fn write(self, into: &mut Vec<u8>, scale: Option<i32>, chance: &mut Rng) {
        into.extend(scale.map_or(0, |power| half(power, 0)).to_le_bytes());
        let numbers = match self {
            Weights::Q8_0 => 32,
            Weights::Q4_0 => 16,
            Weights::Q4K => {
                // A number of 4 bits is 7.5 on average, and 7.5 is 1.875 × 2².
                into.extend(scale.map_or(0, |power| half(power + 2, 0x380)).to_le_bytes());
                // Eight scales and eight minima of 6 bits each: the low ones in eight bytes, the high ones' low bits in
                // four.
                into.extend([SUB_SCALE; 8]);
                into.extend([SUB_SCALE << 4 | SUB_SCALE; 4]);
                128
            }
        };
        into.extend(std::iter::repeat_with(|| chance.u8(..)).take(numbers));
    }
}

/// The scale and the minimum of each part of a [`Weights::Q4K`] block; the most that 4 bits hold.
const SUB_SCALE: u8 = 15;

/// A power of two as a 16-bit float, times 1 and so many 1024ths.
fn half(power: i32, fraction: u16) -> u16 {
    ((power + 15).clamp(1, 30) as u16) << 10 | fraction
}

/// A tensor's name and shape, its rows first.
struct Tensor {
    name: String,
    shape: Vec<u32>,
}

impl Tensor {
    fn numbers(&self) -> u64 {
        self.shape.iter().copied().map(u64::from).product()
    }

    /// Whether it holds plain floats.
    fn is_plain(&self) -> bool {
        self.shape.len() == 1
    }
}

/// GGUF's numbers for kinds of tokens.
#[derive(Clone, Copy)]
enum Kind {
    Normal = 1,
    Control = 3,
    UserDefined = 4,
}

/// One token per byte, some with several bytes, and the special ones; 8 makes their number a multiple of 8.
fn tokens() -> (Vec<String>, Vec<i32>) {
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
    let mut types = vec![Kind::Normal as i32; tokens.len()];
    for (text, kind) in [
        ("<|im_start|>", Kind::Control),
        ("<|im_end|>", Kind::Control),
        (PASS, Kind::Control),
        ("<|tool|>", Kind::UserDefined),
    ] {
        tokens.push(text.to_owned());
        types.push(kind as i32);
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

#[cfg(test)]
mod tests {
    use ghost_core::inference::{Backend as _, Finish, Request};

    use super::*;
    use crate::{Config, Llama, Probe};

    /// Large enough for each way to store weights.
    fn small(weights: Weights) -> RandomModel {
        RandomModel {
            width: 256,
            hidden: 512,
            kv_heads: 1,
            vocabulary: 320,
            weights,
            endless: true,
            ..RandomModel::default()
        }
    }

    #[test]
    fn the_default_models_bytes_never_change() {
        // FNV-1a, which needs no library.
        let hash = RandomModel::default().bytes().iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        assert_eq!(format!("{hash:016x}"), "46b7e341467a851c");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn whatever_its_weights_are_stored_as_it_answers_up_to_its_budget() {
        for weights in [Weights::Q8_0, Weights::Q4_0, Weights::Q4K] {
            let model = small(weights);
            let (_folder, path) = model.write();
            let llama = Llama::load(Config::new(path)).expect("a model that can be loaded");
            assert_eq!(llama.facts().parameters, model.parameters());
            let request = Request { max_tokens: 40, ..Request::new("Hello there") };
            let answer = llama.generate(request, None).await.expect("an answer");
            assert_eq!((answer.usage.output_tokens, answer.finish), (40, Finish::Length), "{weights:?}");
            assert!(answer.logprobs.iter().all(|logprob| logprob.is_finite()), "{weights:?}");
            let probe = Probe { sequences: 3, prompt_tokens: 20, answer_tokens: 5 };
            tokio::task::block_in_place(|| llama.probe(probe)).expect("it can be measured");
        }
    }

    #[test]
    fn the_large_one_has_more_than_a_billion_weights() {
        assert!(RandomModel::billion(Weights::Q4K).parameters() > 1_000_000_000);
        RandomModel::billion(Weights::Q4K).check().expect("its shape can be");
    }

    #[test]
    fn a_shape_that_cannot_be_is_refused() {
        let model = RandomModel { weights: Weights::Q4K, ..RandomModel::default() };
        assert_eq!(
            model.write_to(&mut Vec::new()).expect_err("64 is less than a block").kind(),
            io::ErrorKind::InvalidInput
        );
        let model = RandomModel { heads: 0, ..RandomModel::default() };
        assert!(model.write_to(&mut Vec::new()).is_err());
    }
}
