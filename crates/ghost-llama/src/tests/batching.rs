//! Many requests at once: who runs, who waits, what is remembered, and that nobody disturbs anybody.

use tokio::task::JoinSet;

use super::*;
use crate::context::{Context, Failure, Row};
use crate::layout::Layout;

fn load(change: impl FnOnce(Config) -> Config) -> (TempDir, Arc<Llama>) {
    let (folder, path) = RandomModel::default().write();
    (folder, Arc::new(Llama::load(change(Config::new(path))).expect("a model")))
}

async fn all(llama: &Arc<Llama>, requests: impl IntoIterator<Item = Request>) -> Vec<Completion> {
    let mut answers = JoinSet::new();
    for (number, request) in requests.into_iter().enumerate() {
        let llama = llama.clone();
        answers.spawn(async move { (number, llama.generate(request, None).await.expect("an answer")) });
    }
    let mut answers = answers.join_all().await;
    answers.sort_by_key(|(number, _)| *number);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

#[tokio::test]
async fn answers_are_made_together() {
    for kv_bytes in [None, Some(64 << 20)] {
        let (_folder, llama) = load(|config| Config { sequences: 8, kv_bytes, ..config });
        let texts = (0..8).map(|n| format!("question {n}"));
        let answers = all(&llama, texts.map(|text| request(&text, letters(40)))).await;
        assert!(answers.iter().all(|answer| answer.text.len() == 40));
        let statistics = llama.statistics();
        assert_eq!((statistics.requests, statistics.running, statistics.waiting), (8, 0, 0));
        assert!(statistics.answer_tokens >= 8 * 5);
        assert!(statistics.steps < statistics.answer_tokens, "several tokens a step: {statistics:?}");
    }
}

#[tokio::test]
async fn what_others_ask_does_not_change_a_greedy_answer() {
    let (_folder, llama) = load(|config| Config { prefix_cache_bytes: 0, ..config });
    let mut prompts = prompts();
    prompts.truncate(8);
    let shape = || Shape::Grammar("root ::= [a-d]{30}".into());
    let mut alone = Vec::new();
    for prompt in &prompts {
        alone.extend(all(&llama, [request(prompt, shape())]).await);
    }
    let together = all(&llama, prompts.iter().map(|prompt| request(prompt, shape()))).await;
    // Another batch may round otherwise, so that a close race between two tokens ends otherwise; most do not.
    let same = alone.iter().zip(&together).filter(|(a, b)| a.text[..5] == b.text[..5]).count();
    assert!(same >= 6, "{same} of 8");
}

#[tokio::test]
async fn those_who_leave_early_leave_the_others_their_own_answers() {
    for kv_bytes in [Some(64 << 20), Some(1 << 20)] {
        let (_folder, llama) =
            load(|config| Config { prefix_cache_bytes: 0, sequences: 8, kv_bytes, ..config });
        // Of several lengths, so that slots between those in use become free.
        let requests = || {
            let lengths = [3, 40, 5, 30, 2, 50, 4, 45].into_iter().enumerate();
            lengths.map(|(n, length)| {
                request(&format!("{n}{n}{n}"), Shape::Grammar(format!("root ::= [a-d]{{{length}}}")))
            })
        };
        let mut alone = Vec::new();
        for request in requests() {
            alone.extend(all(&llama, [request]).await);
        }
        let together = all(&llama, requests()).await;
        // Rounding may part a few of them, late; answers that are mixed up differ at once.
        let same =
            alone.iter().zip(&together).filter(|(a, b)| a.text.chars().take(25).eq(b.text.chars().take(25)));
        assert!(same.count() >= 6, "{alone:?}\n{together:?}");
    }
}

#[tokio::test]
async fn prompts_that_find_no_room_in_a_step_keep_what_they_have_read() {
    let (_folder, llama) = load(|config| Config {
        prefix_cache_bytes: 0,
        sequences: 8,
        kv_bytes: Some(64 << 20),
        context_tokens: Some(512),
        ..config
    });
    // Short ones answer while long ones between them are being read, a few at a time.
    let lengths = [2, 400, 300, 3, 350, 4, 380, 5];
    let requests = || lengths.map(|length| request(&"ab ".repeat(length / 3 + 1), letters(30)));
    let mut alone = Vec::new();
    for request in requests() {
        alone.extend(all(&llama, [request]).await);
    }
    let together = all(&llama, requests()).await;
    let same = alone.iter().zip(&together).filter(|(a, b)| a.text[..5] == b.text[..5]).count();
    assert!(same >= 6, "{alone:?}\n{together:?}");
}

#[tokio::test]
async fn requests_wait_for_room_and_are_all_answered() {
    // One context's worth of cells for eight sequences, and each request wants most of it.
    let (_folder, llama) = load(|config| Config { sequences: 8, kv_bytes: Some(1), ..config });
    let requests = (0..6).map(|n| Request { max_tokens: 300, ..request(&format!("{n}"), letters(20)) });
    let answers = all(&llama, requests).await;
    assert_eq!(answers.len(), 6);
    assert!(answers.iter().all(|answer| answer.text.len() == 20));
}

#[tokio::test]
async fn an_answer_with_a_remembered_prefix_equals_one_without() {
    let (_folder, path) = RandomModel::default().write();
    let with = Llama::load(Config { sequences: 1, ..Config::new(&path) }).expect("a model");
    let without = Llama::load(Config { sequences: 1, prefix_cache_bytes: 0, ..Config::new(&path) });
    let without = without.expect("a model");
    let system = Some("Be brief, be kind, and never say more than you know. ".repeat(5));
    let ask = |text: &str| Request {
        system: system.clone(),
        ..request(text, Shape::Grammar("root ::= [a-d]{30}".into()))
    };
    for text in ["first", "second", "second", "first, and then some more of it"] {
        let hit = with.generate(ask(text), None).await.expect("an answer");
        let miss = without.generate(ask(text), None).await.expect("an answer");
        assert_eq!(hit.text, miss.text);
        assert_eq!(hit.usage, miss.usage);
    }
    let statistics = with.statistics();
    assert!(statistics.prompt_tokens_cached > 3 * 250, "{statistics:?}");
    assert!(statistics.prompt_tokens_cached < statistics.prompt_tokens);
    assert_eq!(without.statistics().prompt_tokens_cached, 0);
}

#[tokio::test]
async fn a_group_of_conversations_survives_withdrawals_at_any_moment() {
    let (_folder, llama) = load(|config| Config { sequences: 4, ..config });
    let mut chance = fastrand::Rng::with_seed(5);
    for _ in 0..30 {
        let (deltas, mut read) = mpsc::channel(1);
        let withdrawn = Request { max_tokens: 200, ..request("withdrawn", letters(200)) };
        let cancel = withdrawn.cancel.clone();
        let patience = chance.usize(0..4);
        let (answer, ()) = tokio::join!(llama.generate(withdrawn, Some(deltas)), async {
            for _ in 0..patience {
                read.recv().await;
            }
            cancel.cancel();
        });
        assert!(matches!(answer, Err(inference::Error::Cancelled)), "{answer:?}");
        let answers = all(&llama, ["a", "b"].map(|text| request(text, letters(10)))).await;
        assert!(answers.iter().all(|answer| answer.text.len() == 10));
    }
    assert_eq!(llama.statistics().running, 0);
}

#[tokio::test]
async fn a_request_whose_time_is_over_leaves() {
    let (_folder, llama) = load(|config| config);
    let late =
        Request { timeout: Duration::from_millis(1), max_tokens: 400, ..request("late", letters(400)) };
    let late = llama.generate(late, None).await;
    assert!(matches!(late, Err(inference::Error::Timeout { .. })), "{late:?}");
    all(&llama, [request("next", letters(5))]).await;
    assert_eq!(llama.statistics().running, 0);
}

#[test]
fn a_probe_takes_the_same_steps() {
    let (_folder, llama) = load(|config| Config { sequences: 4, ..config });
    let timing = llama.probe(Probe { sequences: 4, prompt_tokens: 30, answer_tokens: 20 }).expect("a timing");
    assert!(timing.prefill > Duration::ZERO && timing.decode > Duration::ZERO);
    let statistics = llama.statistics();
    assert_eq!((statistics.answer_tokens, statistics.prompt_tokens), (80, 120));
    // The prompts in one step, which also gives the first tokens, and 19 more.
    assert_eq!(statistics.steps, 20);
    for (sequences, prompt_tokens, answer_tokens) in
        [(0, 1, 1), (5, 1, 1), (1, 0, 1), (1, 1, 0), (1, 500, 20)]
    {
        let refused = llama.probe(Probe { sequences, prompt_tokens, answer_tokens });
        assert!(matches!(refused, Err(Error::Config(_))), "{refused:?}");
    }
}

/// Runs this on a context of two sequences, in both layouts.
fn with_contexts(test: impl Fn(&mut Context)) {
    let (_folder, path) = RandomModel::default().write();
    let config = Config { sequences: 2, ..Config::new(&path) };
    let model = load::model(&config).expect("a model");
    for together in [false, true] {
        let layout = Layout { sequences: 2, context_tokens: 512, cells: 1024, together };
        test(&mut Context::new(&model, &layout, 256, 1).expect("a context"));
    }
}

fn row(token: i32, position: usize, sequence: usize, wanted: bool) -> Row {
    Row { token: llama_cpp_2::token::LlamaToken(token), position, sequence, wanted }
}

#[test]
fn a_batch_that_nobody_waits_for_is_broken_off_and_can_be_read_again() {
    with_contexts(|context| {
        let prompt: Vec<Row> = (0..200).map(|at| row(at as i32, at, 0, at == 199)).collect();
        context.decode(&prompt, Vec::new()).expect("a batch");
        let expected = context.logits(199).to_vec();
        assert!(context.forget(0, 0));
        context.decode(&[row(7, 0, 1, true)], Vec::new()).expect("a batch of another sequence");

        let gone = || {
            Arc::new(Job {
                work: Work::MadeUp { prompt_tokens: 1, answer_tokens: 1, seed: 0, unread: Arc::default() },
                events: mpsc::unbounded_channel().0,
            })
        };
        let (events, _reader) = mpsc::unbounded_channel();
        let there = Arc::new(Job {
            events,
            work: Work::MadeUp { prompt_tokens: 1, answer_tokens: 1, seed: 0, unread: Arc::default() },
        });
        assert_eq!(context.decode(&prompt, vec![gone(), gone()]), Err(Failure::Abandoned));
        assert!(context.forget(0, 0));
        context.decode(&prompt, vec![gone(), there]).expect("somebody waits");
        assert_eq!(context.logits(199), expected);
        context.decode(&[row(8, 1, 1, true)], Vec::new()).expect("the other sequence is as it was");
    });
}

#[test]
fn what_would_end_the_process_is_refused_before() {
    with_contexts(|context| {
        for rows in [
            vec![],
            vec![row(0, 0, 0, false); context.rows() + 1],
            vec![row(0, 0, 3, true)],
            vec![row(0, 512, 0, true)],
            vec![row(-1, 0, 0, true)],
            vec![row(1 << 20, 0, 0, true)],
            (0..100).map(|at| row(0, at, 0, true)).collect(),
        ] {
            assert!(matches!(context.decode(&rows, Vec::new()), Err(Failure::Broken(_))));
        }
        assert!(!context.forget(7, 0));
        assert!(context.save(7).is_none());
        context.decode(&[row(1, 0, 1, true)], Vec::new()).expect("a batch");
    });
}

#[test]
fn a_saved_sequence_goes_on_where_it_was_in_any_other() {
    with_contexts(|context| {
        let prompt: Vec<Row> = (0..50).map(|at| row(at as i32, at, 0, at == 49)).collect();
        context.decode(&prompt, Vec::new()).expect("a batch");
        let state = context.save(0).expect("a state");
        context.decode(&[row(9, 50, 0, true)], Vec::new()).expect("a batch");
        let expected = context.logits(0).to_vec();
        assert!(context.restore(&state, 1) && context.forget(1, 50));
        context.decode(&[row(9, 50, 1, true)], Vec::new()).expect("a batch");
        let logits = context.logits(0);
        assert!(logits.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-3));
    });
}
