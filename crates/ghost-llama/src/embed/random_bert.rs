//! A tiny BERT with random weights, written as a GGUF: it reads both ways, knows no order but its position table, pools
//! at its first token, and has a WordPiece vocabulary.

use fastrand::Rng;

const WIDTH: usize = 32;
const HIDDEN: usize = 64;
/// The most tokens that it reads, as many as its position table has rows.
pub(super) const CONTEXT: u32 = 48;

/// The file. `pooling` is llama.cpp's number; `tokenizer` is `bert`, or what the model lacks.
pub(super) fn bytes(pooling: Option<u32>, tokenizer: &str) -> Vec<u8> {
    let words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].map(str::to_owned);
    let letters = ('!'..='~').map(|letter| format!("\u{2581}{letter}"));
    let endings = ('!'..='~').map(String::from);
    let tokens: Vec<String> = words.into_iter().chain(letters).chain(endings).collect();

    let mut meta = Vec::new();
    let mut entries = 0u64;
    let mut entry = |key: &str, kind: u32, value: &[u8]| {
        entries += 1;
        string(&mut meta, key);
        meta.extend(kind.to_le_bytes());
        meta.extend(value);
    };
    let text = |value: &str| {
        let mut bytes = Vec::new();
        string(&mut bytes, value);
        bytes
    };
    entry("general.architecture", 8, &text("bert"));
    for (key, value) in [
        ("bert.context_length", CONTEXT),
        ("bert.embedding_length", WIDTH as u32),
        ("bert.block_count", 2),
        ("bert.feed_forward_length", HIDDEN as u32),
        ("bert.attention.head_count", 2),
        ("bert.vocab_size", tokens.len() as u32),
        ("tokenizer.ggml.token_type_count", 2),
        ("tokenizer.ggml.padding_token_id", 0),
        ("tokenizer.ggml.unknown_token_id", 1),
        ("tokenizer.ggml.bos_token_id", 2),
        ("tokenizer.ggml.cls_token_id", 2),
        ("tokenizer.ggml.seperator_token_id", 3),
        ("tokenizer.ggml.mask_token_id", 4),
    ] {
        entry(key, 4, &value.to_le_bytes());
    }
    if let Some(pooling) = pooling {
        entry("bert.pooling_type", 4, &pooling.to_le_bytes());
    }
    entry("bert.attention.layer_norm_epsilon", 6, &1e-6f32.to_le_bytes());
    entry("bert.attention.causal", 7, &[0]);
    entry("tokenizer.ggml.model", 8, &text(tokenizer));
    let mut list = [8u32.to_le_bytes().as_slice(), &(tokens.len() as u64).to_le_bytes()].concat();
    tokens.iter().for_each(|token| string(&mut list, token));
    entry("tokenizer.ggml.tokens", 9, &list);
    let mut list = [5u32.to_le_bytes().as_slice(), &(tokens.len() as u64).to_le_bytes()].concat();
    // The first five are control tokens.
    (0..tokens.len()).for_each(|index| list.extend((if index < 5 { 3i32 } else { 1 }).to_le_bytes()));
    entry("tokenizer.ggml.token_type", 9, &list);

    let mut tensors = vec![
        ("token_embd.weight".to_owned(), vec![WIDTH, tokens.len()]),
        ("token_types.weight".to_owned(), vec![WIDTH, 2]),
        ("position_embd.weight".to_owned(), vec![WIDTH, CONTEXT as usize]),
        ("token_embd_norm.weight".to_owned(), vec![WIDTH]),
        ("token_embd_norm.bias".to_owned(), vec![WIDTH]),
    ];
    for layer in 0..2 {
        for (name, shape) in [
            ("attn_q.weight", vec![WIDTH, WIDTH]),
            ("attn_q.bias", vec![WIDTH]),
            ("attn_k.weight", vec![WIDTH, WIDTH]),
            ("attn_k.bias", vec![WIDTH]),
            ("attn_v.weight", vec![WIDTH, WIDTH]),
            ("attn_v.bias", vec![WIDTH]),
            ("attn_output.weight", vec![WIDTH, WIDTH]),
            ("attn_output.bias", vec![WIDTH]),
            ("attn_output_norm.weight", vec![WIDTH]),
            ("attn_output_norm.bias", vec![WIDTH]),
            ("ffn_up.weight", vec![WIDTH, HIDDEN]),
            ("ffn_up.bias", vec![HIDDEN]),
            ("ffn_down.weight", vec![HIDDEN, WIDTH]),
            ("ffn_down.bias", vec![WIDTH]),
            ("layer_output_norm.weight", vec![WIDTH]),
            ("layer_output_norm.bias", vec![WIDTH]),
        ] {
            tensors.push((format!("blk.{layer}.{name}"), shape));
        }
    }

    let mut file = b"GGUF".to_vec();
    file.extend(3u32.to_le_bytes());
    file.extend((tensors.len() as u64).to_le_bytes());
    file.extend(entries.to_le_bytes());
    file.extend(meta);
    let mut offset = 0u64;
    for (name, shape) in &tensors {
        string(&mut file, name);
        file.extend((shape.len() as u32).to_le_bytes());
        shape.iter().for_each(|&dimension| file.extend((dimension as u64).to_le_bytes()));
        // Plain floats; each tensor begins at a multiple of 32 bytes.
        file.extend(0u32.to_le_bytes());
        file.extend(offset.to_le_bytes());
        offset += (shape.iter().product::<usize>() * 4).next_multiple_of(32) as u64;
    }
    let mut chance = Rng::with_seed(3);
    for (name, shape) in &tensors {
        file.resize(file.len().next_multiple_of(32), 0);
        let norm = name.ends_with("norm.weight");
        for _ in 0..shape.iter().product() {
            let value = if norm { 1.0 } else { chance.f32() - 0.5 };
            file.extend(value.to_le_bytes());
        }
    }
    file
}

fn string(into: &mut Vec<u8>, value: &str) {
    into.extend((value.len() as u64).to_le_bytes());
    into.extend(value.as_bytes());
}
