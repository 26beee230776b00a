use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use ghost_core::inference::{Backend as _, Request, Shape};
use proptest::prelude::*;
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::*;
use crate::Llama;
use crate::random_model::{CONTEXT, RandomModel};

static LLAMA: LazyLock<(TempDir, Embedder)> = LazyLock::new(|| {
    let (folder, path) = RandomModel::default().write();
    (folder, Embedder::load(EmbedConfig::new(path)).expect("a model that can be loaded"))
});
static BERT: LazyLock<(TempDir, Embedder)> = LazyLock::new(|| {
    let (folder, path) = write(&random_bert::bytes(Some(2), "bert"));
    (folder, Embedder::load(EmbedConfig::new(path)).expect("a model that can be loaded"))
});

/// Writes forwards, and reads both ways.
fn embedders() -> [&'static Embedder; 2] {
    [&LLAMA.1, &BERT.1]
}

fn write(bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.gguf");
    std::fs::write(&path, bytes).expect("a writable folder");
    (folder, path)
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

async fn embed(embedder: &Embedder, words: &[&str]) -> Embeddings {
    embedder.embed(&texts(words), TooLong::Refuse).await.expect("embeddings")
}

async fn refusal(embedder: &Embedder, texts: Vec<String>) -> inference::Error {
    embedder.embed(&texts, TooLong::Refuse).await.expect_err("no embeddings")
}

fn cosine(a: &Embedding, b: &Embedding) -> f32 {
    a.vector.iter().zip(&b.vector).map(|(a, b)| a * b).sum()
}

const SOME: [&str; 4] = ["The port is 5432.", "the cat sat", "Grüße 👻", "x"];

#[tokio::test]
async fn a_text_has_the_same_vector_alone_and_among_others_in_their_order() {
    for embedder in embedders() {
        let together = embed(embedder, &SOME).await;
        assert_eq!(together.embeddings.len(), SOME.len());
        for (text, among) in SOME.iter().zip(&together.embeddings) {
            let alone = &embed(embedder, &[text]).await.embeddings[0];
            assert_eq!(alone.tokens, among.tokens);
            let cosine = cosine(alone, among);
            assert!(cosine > 0.9999, "{}, `{text}`: {cosine}", embedder.facts().model);
        }
    }
}

#[tokio::test]
async fn vectors_have_length_one_and_differ_where_texts_do() {
    for embedder in embedders() {
        let made = embed(embedder, &SOME).await;
        for (index, embedding) in made.embeddings.iter().enumerate() {
            assert_eq!(embedding.vector.len(), embedder.facts().dimensions);
            assert!((cosine(embedding, embedding) - 1.0).abs() < 1e-5);
            for other in &made.embeddings[..index] {
                assert!(cosine(embedding, other) < 0.999, "{}", embedder.facts().model);
            }
        }
    }
}

#[tokio::test]
async fn a_model_that_reads_both_ways_minds_the_order_of_words() {
    let made = embed(&BERT.1, &["a b c", "c b a"]).await;
    assert!(cosine(&made.embeddings[0], &made.embeddings[1]) < 0.999);
}

#[tokio::test]
async fn more_texts_than_a_batch_holds_are_answered_in_their_order() {
    for embedder in embedders() {
        let many: Vec<String> =
            (0..SEQUENCES * 3 + 1).map(|n| format!("{} {n}", "word ".repeat(n % 7))).collect();
        let made = embedder.embed(&many, TooLong::Refuse).await.expect("embeddings");
        assert_eq!(made.usage.input_tokens, made.embeddings.iter().map(|one| one.tokens).sum::<u64>());
        for index in [0, SEQUENCES - 1, SEQUENCES, many.len() - 1] {
            let alone = embed(embedder, &[&many[index]]).await;
            assert!(cosine(&alone.embeddings[0], &made.embeddings[index]) > 0.9999);
        }
    }
}

#[tokio::test]
async fn a_text_too_long_is_refused_with_both_numbers_or_cut_where_that_was_asked_for() {
    for (embedder, context) in embedders().into_iter().zip([CONTEXT, random_bert::CONTEXT]) {
        let context = u64::from(context);
        let long = "a ".repeat(2000);
        let error = refusal(embedder, texts(&["short", &long])).await;
        let inference::Error::ContextTooLong { needed, limit } = error else { panic!("{error}") };
        assert!(needed > 2000 && limit == context, "{needed} {limit}");
        let cut = embedder.embed(&texts(&["short", &long]), TooLong::Cut).await.expect("embeddings");
        assert_eq!(cut.embeddings[0].cut_from, None);
        assert_eq!((cut.embeddings[1].tokens, cut.embeddings[1].cut_from), (context, Some(needed)));
    }
}

#[tokio::test]
async fn a_cut_text_keeps_the_token_that_ends_it() {
    // 46 letters, [CLS] and [SEP] are all that the model reads; what comes after them must not be felt.
    let fits = "a ".repeat(46);
    let made = BERT.1.embed(&texts(&[&fits, &"a ".repeat(100)]), TooLong::Cut).await.expect("embeddings");
    assert_eq!(made.embeddings[0].cut_from, None);
    assert!(cosine(&made.embeddings[0], &made.embeddings[1]) > 0.9999);
}

#[tokio::test]
async fn a_text_that_holds_nothing_is_named() {
    for embedder in embedders() {
        for nothing in ["", " \t\r\n", "\u{a0}\u{2003}"] {
            let error = refusal(embedder, texts(&["something", nothing])).await;
            assert!(
                matches!(&error, inference::Error::InvalidRequest { message, .. } if message.contains("text 2")),
                "{error}"
            );
        }
    }
}

#[tokio::test]
async fn too_many_and_too_large_texts_are_refused() {
    assert!(refusal(&BERT.1, Vec::new()).await.to_string().contains("not 0"));
    assert!(refusal(&BERT.1, vec!["x".into(); TEXTS_MAX + 1]).await.to_string().contains("not 2049"));
    let large = "x".repeat(TEXT_BYTES_MAX + 1);
    assert!(refusal(&BERT.1, vec!["x".into(), large]).await.to_string().contains("text 2"));
}

#[tokio::test]
async fn no_text_brings_the_model_down() {
    let hostile = [
        "\0".to_owned(),
        "a\0b\0".to_owned(),
        "<|im_end|><|im_start|><|pass|><|tool|>".to_owned(),
        "[CLS][SEP] [MASK] <s></s>".to_owned(),
        "\u{feff}\u{202e}\u{200b}\u{301}".to_owned(),
        "\u{10ffff}\u{fffd}".to_owned(),
        "👻".repeat(9000),
        "x".repeat(TEXT_BYTES_MAX),
        " x".repeat(TEXT_BYTES_MAX / 2),
        "\n".repeat(5000) + "x",
        "0".repeat(100_000),
        "'s 're \u{0}\u{1b}[2J".to_owned(),
    ];
    for embedder in embedders() {
        for text in &hostile {
            let made = embedder.embed(std::slice::from_ref(text), TooLong::Cut).await.expect("an embedding");
            assert!((cosine(&made.embeddings[0], &made.embeddings[0]) - 1.0).abs() < 1e-5);
        }
    }
}

#[tokio::test]
async fn what_looks_like_a_special_token_is_plain_text() {
    let made = embed(&LLAMA.1, &["<|im_end|>", "<|im_start|>"]).await;
    assert!(made.embeddings.iter().all(|one| one.tokens > 5));
    let made = embed(&BERT.1, &["[SEP]"]).await;
    assert!(made.embeddings[0].tokens > 3);
}

#[tokio::test]
async fn each_way_of_pooling_gives_another_vector() {
    let (_folder, path) = RandomModel::default().write();
    let mut made = Vec::new();
    for pooling in [Pooling::Mean, Pooling::Cls, Pooling::Last] {
        let config = EmbedConfig { pooling: Some(pooling), ..EmbedConfig::new(&path) };
        let embedder = Embedder::load(config).expect("a model");
        assert_eq!(embedder.facts().pooling, pooling);
        made.extend(embed(&embedder, &["the quick brown fox"]).await.embeddings);
    }
    assert!(cosine(&made[0], &made[1]) < 0.999);
    assert!(cosine(&made[0], &made[2]) < 0.999);
    assert!(cosine(&made[1], &made[2]) < 0.999);
}

#[test]
fn the_facts_are_the_models() {
    let facts = LLAMA.1.facts();
    assert_eq!((facts.model.as_str(), facts.pooling, facts.threads), ("random", Pooling::Mean, 1));
    assert_eq!((facts.context_tokens, facts.dimensions), (CONTEXT as usize, 64));
    let facts = BERT.1.facts();
    assert_eq!((facts.pooling, facts.context_tokens, facts.dimensions), (Pooling::Cls, 48, 32));
}

fn load_error(path: &Path) -> String {
    Embedder::load(EmbedConfig::new(path)).expect_err("no model").to_string()
}

#[test]
fn a_model_that_cannot_embed_is_refused_in_words() {
    let (_folder, path) = write(&random_bert::bytes(Some(4), "bert"));
    assert!(load_error(&path).contains("ranks texts"), "{}", load_error(&path));
    let (_folder, path) = write(&random_bert::bytes(None, "no_vocab"));
    assert!(load_error(&path).contains("no tokenizer"), "{}", load_error(&path));
    // SentencePiece without a token for each byte, over which llama.cpp would end the process.
    let (_folder, path) = write(&random_bert::bytes(None, "llama"));
    assert!(load_error(&path).contains("no token for the byte 0x00"), "{}", load_error(&path));
    // Nor is it one that answers.
    let refused = Llama::load(Config::new(&path)).expect_err("no model").to_string();
    assert!(refused.contains("no token for the byte 0x00"), "{refused}");
    let whole = random_bert::bytes(None, "bert");
    let (_folder, path) = write(&whole[..whole.len() / 2]);
    assert!(load_error(&path).contains("cannot load"), "{}", load_error(&path));
    let config = EmbedConfig { threads: 0, ..EmbedConfig::new(&path) };
    assert!(Embedder::load(config).is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_answers_and_one_that_embeds_work_side_by_side_on_one_file() {
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/ghost-tiny.gguf");
    let slm = Llama::load(Config::new(&tiny)).expect("the built-in model");
    let embedder = Embedder::load(EmbedConfig::new(&tiny)).expect("the built-in model");
    let alone = embed(&embedder, &["Is this spam?"]).await;
    let choices = || Shape::Choice(texts(&["spam", "ham"]));
    let ask = || slm.generate(Request { shape: choices(), max_tokens: 8, ..Request::new("You won!") }, None);
    for _ in 0..3 {
        let (answer, again) = tokio::join!(ask(), async { embed(&embedder, &["Is this spam?"]).await });
        assert!(["spam", "ham"].contains(&answer.expect("an answer").text.as_str()));
        assert!(cosine(&alone.embeddings[0], &again.embeddings[0]) > 0.9999);
    }
}

/// A handle whose thread never takes a job.
fn stuck() -> (Embedder, mpsc::Receiver<Job>) {
    let (owner, waiting) = Owner::idle("embedding model", 1);
    (Embedder { facts: BERT.1.facts().clone(), owner, pace: Arc::default() }, waiting)
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_withdraws_and_a_full_queue_pushes_back() {
    let (embedder, mut waiting) = stuck();
    let words = texts(&["x"]);
    // The clock stands still, so this ends as soon as nothing else can happen.
    let left = tokio::time::timeout(Duration::from_secs(1), embedder.embed(&words, TooLong::Refuse)).await;
    assert!(left.is_err());
    let error = refusal(&embedder, words.clone()).await;
    assert!(matches!(error, inference::Error::Overloaded { retry_after: Some(_), .. }), "{error}");
    let job = waiting.recv().await.expect("the job");
    assert!(job.reply.is_closed(), "which the thread sees before it begins");
    drop(waiting);
    assert!(matches!(refusal(&embedder, words).await, inference::Error::Unavailable(_)));
}

#[tokio::test]
async fn a_withdrawn_request_ends_and_the_next_one_is_answered() {
    let many: Vec<String> = (0..TEXTS_MAX).map(|n| format!("the text number {n} of many")).collect();
    let embedder = &LLAMA.1;
    {
        let abandoned = std::pin::pin!(embedder.embed(&many, TooLong::Refuse));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(abandoned.poll(&mut context).is_pending());
    }
    assert_eq!(embed(embedder, &["next"]).await.embeddings.len(), 1);
}

proptest! {
    #[test]
    fn a_plan_reads_each_text_once_in_order_within_its_bounds(
        tokens in prop::collection::vec(1usize..=64, 0..200), budget in 64usize..600,
    ) {
        let plan = batches(&tokens, budget);
        let read: Vec<usize> = plan.iter().cloned().flatten().collect();
        prop_assert_eq!(read, (0..tokens.len()).collect::<Vec<_>>());
        for batch in plan {
            prop_assert!(!batch.is_empty() && batch.len() <= SEQUENCES);
            prop_assert!(tokens[batch].iter().sum::<usize>() <= budget);
        }
    }
}
