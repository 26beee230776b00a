//! The loop in which TaskMaster learns, from one end to the other, through the services that the product runs.

use ghost_core::learning::registry::SHIPPED;
use ghost_core::taskmaster::route::Route;
use ghost_tests::learning_loop::{made_up, replay};

#[tokio::test(start_paused = true)]
async fn recorded_outcomes_train_a_candidate_that_is_promoted_and_turned_back() {
    let mut told = Vec::new();
    let replay = replay(&made_up(260), &mut |line| told.push(line)).await.expect("every step succeeds");
    assert!(replay.version.held_back.expect("rows were held back").low > 0.0);
    assert_eq!(replay.standing.shadow.expect("tasks came in shadow").rows, 120);
    // Probes are proofs, proofs, greetings, thanks, and so on.
    let to_the_llm = |routes: &[Route], n: usize| {
        routes.iter().enumerate().filter(|(at, route)| at % 4 / 2 == n && **route == Route::Llm).count()
    };
    assert!(
        to_the_llm(&replay.before, 0) > to_the_llm(&replay.promoted, 0),
        "proofs stay here now: {replay:?}"
    );
    assert_ne!(replay.before, replay.promoted);
    assert_eq!(replay.before, replay.rolled_back);
    assert_eq!(replay.live, SHIPPED);
    assert_eq!(told.len(), 6, "{told:#?}");
}
